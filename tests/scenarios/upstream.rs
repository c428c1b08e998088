//! The way to the server: TLS with certificates of one's own on either side, and what it is told of clients.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use syncseal::net::tls::crypto_provider;
use syncseal::seal::Reason;

use crate::http::{exchange, post_bytes};
use crate::pki::{Authority, Pair};
use crate::server::Server;
use crate::site::{Running, Site, rule};
use crate::syncml::{Client, FIRST, SECOND, XML, accepted};
use crate::world::policy_text;

/// A server at `localhost`, which demands certificates of this authority.
async fn server_of(authority: &Authority, versions: &[&'static SupportedProtocolVersion]) -> Server {
    let provider = crypto_provider();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let Pair { certificate, key } = authority.certify("localhost");
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    Server::tls(config).await
}

const BOTH: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
const LINES: &str =
    "upstream_ca = \"ca.pem\"\nupstream_certificate = \"client.pem\"\nupstream_key = \"client-key.pem\"";

/// A gateway's files in front of this server, with this authority and this certificate of its own.
async fn site(server: Server, authority: &Authority, client: &Pair, lines: &str) -> Site {
    let site = Site::new("", "").await.before(server);
    site.write_file("ca.pem", &authority.pem());
    write_client(&site, client);
    site.write_policy("", lines);
    site
}

fn write_client(site: &Site, client: &Pair) {
    site.write_file("client.pem", &client.certificate);
    write_key(site, &client.key, 0o600);
}

fn write_key(site: &Site, key: &str, mode: u32) {
    let _ = std::fs::remove_file(site.path("client-key.pem"));
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(mode).open(site.path("client-key.pem")).unwrap();
    file.write_all(key.as_bytes()).unwrap();
}

/// Fails unless the server is unreachable, for a cause in the log that has this word.
async fn assert_unreachable(gateway: &mut Running, cause: &str) {
    let mut terminal = gateway.terminal().await;
    let opened = terminal.send(&FIRST).await;
    let logged = gateway.program.logged(|line| {
        let line: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_it = line["fields"]["reason"].as_str().is_some_and(|reason| reason.starts_with("upstream-"));
        is_it.then(|| line["fields"]["cause"].as_str().unwrap().to_owned())
    });
    let logged = logged.await;
    assert!(logged.contains(cause), "{logged}");
    opened.assert_refused(Reason::UpstreamUnreachable);
    assert!(gateway.site.server.seen().is_empty());
}

#[tokio::test]
async fn a_server_and_its_gateway_know_each_other_by_certificates_of_their_own_authority() {
    let authority = Authority::new();
    for versions in [&BOTH[..1], &BOTH[1..]] {
        let server = server_of(&authority, versions).await;
        let gateway = site(server, &authority, &authority.certify("gateway"), LINES).await.start().await;
        let mut terminal = gateway.terminal().await;
        terminal.send(&FIRST).await.assert_says(200, &accepted());
        terminal.send(&SECOND).await.assert_says(200, &accepted());
        assert_eq!(gateway.site.server.bodies(), [FIRST.xml(), SECOND.xml()]);
    }
}

#[tokio::test]
async fn a_server_with_a_certificate_of_another_authority_is_unreachable() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = server_of(&authority, BOTH).await;
    let mut gateway = site(server, &other, &authority.certify("gateway"), LINES).await.start().await;
    assert_unreachable(&mut gateway, "certificate").await;
}

#[tokio::test]
async fn a_server_of_another_name_than_in_its_certificate_is_unreachable() {
    let authority = Authority::new();
    let mut server = server_of(&authority, BOTH).await;
    server.address = server.address.replace("localhost", "127.0.0.1");
    let mut gateway = site(server, &authority, &authority.certify("gateway"), LINES).await.start().await;
    assert_unreachable(&mut gateway, "certificate").await;
}

#[tokio::test]
async fn a_server_that_turns_the_gateway_away_is_unreachable() {
    let (authority, other) = (Authority::new(), Authority::new());
    for versions in [&BOTH[..1], &BOTH[1..]] {
        let server = server_of(&authority, versions).await;
        let mut gateway = site(server, &authority, &other.certify("gateway"), LINES).await.start().await;
        assert_unreachable(&mut gateway, "alert").await;
        let server = server_of(&authority, versions).await;
        let none = "upstream_ca = \"ca.pem\"";
        let mut gateway = site(server, &authority, &authority.certify("gateway"), none).await.start().await;
        assert_unreachable(&mut gateway, "alert").await;
    }
}

#[tokio::test]
async fn a_certificate_that_cannot_be_shown_is_found_by_check_and_start() {
    let authority = Authority::new();
    let (good, over) = (authority.certify("gateway"), authority.certify_from("gateway", 2000, 2001));
    let site = site(Server::down(), &authority, &good, LINES).await;
    let fault = async |expected: &str| {
        for args in [&["check", "gateway.toml"], &["gateway", "gateway.toml"]] {
            let (status, out) = site.run(args).await;
            assert_eq!(status, Some(78), "{out}");
            assert!(out.contains(expected), "{out}");
        }
    };
    fault("allowed with upstream = \"https://HOST[:PORT]\" only").await;
    let https = site.server.address.replace("http://", "https://");
    let policy = policy_text("127.0.0.1:0", &https, "", LINES);
    site.write_file("gateway.toml", &policy);
    let (status, out) = site.run(&["check", "gateway.toml"]).await;
    assert_eq!(status, Some(0), "{out}");

    write_client(&site, &over);
    fault("a certificate expired on 2001-01-01T00:00:00Z").await;
    write_client(&site, &Pair { certificate: good.certificate.clone(), key: authority.certify("gateway").key });
    fault("the private key does not belong to the first certificate").await;
    write_key(&site, &good.key, 0o644);
    fault("group or others can use it").await;
    write_client(&site, &good);
    site.write_file("client.pem", "nothing");
    fault("there is no certificate in it").await;
    site.write_file("ca.pem", "nothing");
    fault("ca.pem: there is no certificate in it").await;
    site.write_file("gateway.toml", &policy.replace("upstream_key = \"client-key.pem\"", ""));
    fault("route[0].upstream_key: missing").await;
}

/// A message in plaintext whose head claims to come from elsewhere.
fn claimed() -> Vec<u8> {
    let claims = "Forwarded: for=192.0.2.66\r\nX-Forwarded-For: 192.0.2.66\r\nX-Forwarded-For: 192.0.2.67\r\n\
                  X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.example\r\nX-Real-IP: 192.0.2.66\r\n";
    post_bytes(&format!("Content-Type: {XML}\r\n{claims}"), &FIRST.xml())
}

/// What the server is told of clients.
fn told(server: &Server) -> Vec<(String, String)> {
    let mut fields = server.seen().pop().unwrap().fields();
    fields.retain(|(name, _)| name.contains("forwarded") || name.contains("real"));
    fields
}

fn field(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[tokio::test]
async fn what_clients_claim_of_their_address_never_reaches_the_server() {
    for plaintext in ["permit", "observe"] {
        let gateway = Site::new("", &rule("all", "", plaintext)).await.start().await;
        assert_eq!(exchange(gateway.addr, &claimed()).await.body, accepted());
        assert_eq!(told(&gateway.site.server), []);
    }
}

#[tokio::test]
async fn the_server_is_told_the_clients_address_as_the_policy_says() {
    for (key, expected) in [
        ("none", vec![]),
        ("x-forwarded-for", vec![field("x-forwarded-for", "127.0.0.1")]),
        ("forwarded", vec![field("forwarded", "for=127.0.0.1")]),
        ("both", vec![field("forwarded", "for=127.0.0.1"), field("x-forwarded-for", "127.0.0.1")]),
    ] {
        let route = format!("forwarded = \"{key}\"\n{}", rule("all", "", "permit"));
        let gateway = Site::new("", &route).await.start().await;
        assert_eq!(exchange(gateway.addr, &claimed()).await.body, accepted());
        assert_eq!(told(&gateway.site.server), expected, "{key}");
        // What is sealed is forwarded as it was sealed, with the same two fields and no others.
        let before = gateway.site.server.seen().len();
        let mut terminal = gateway.terminal().await;
        terminal.send(&Client { source: "IMEI:other", ..FIRST }).await.assert_says(200, &accepted());
        assert_eq!(gateway.site.server.seen().len(), before + 1);
        assert_eq!(told(&gateway.site.server), expected, "{key}");
    }
}

#[tokio::test]
async fn behind_a_balancer_the_server_is_told_the_client_that_it_names() {
    let listener = "[[listener]]\naddress = \"127.0.0.1:0\"\nproxy_protocol_from = [\"127.0.0.1\"]\n";
    let route = format!("forwarded = \"both\"\n{}", rule("all", "", "permit"));
    let site = Site::new(listener, &route).await;
    let policy = policy_text("127.0.0.1:0", &site.server.address, listener, &route);
    site.write_file("gateway.toml", &policy.replace("listen = \"127.0.0.1:0\"\npublic_url", "public_url"));
    let gateway = site.start().await;
    let request = [&b"PROXY TCP6 2001:db8::7 2001:db8::1 40000 80\r\n"[..], &claimed()].concat();
    assert_eq!(exchange(gateway.addr, &request).await.body, accepted());
    let expected = [field("forwarded", "for=\"[2001:db8::7]\""), field("x-forwarded-for", "2001:db8::7")];
    assert_eq!(told(&gateway.site.server), expected);
}

#[tokio::test]
async fn a_new_certificate_and_authority_are_used_without_another_start() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = server_of(&authority, BOTH).await;
    let mut gateway = site(server, &other, &other.certify("gateway"), LINES).await.start().await;
    assert_unreachable(&mut gateway, "certificate").await;
    // The certificate comes before its key, which is a mismatch until both are there.
    let client = authority.certify("gateway");
    gateway.site.write_file("client.pem", &client.certificate);
    gateway.not_reloaded("client.pem: ").await;
    gateway.site.write_file("ca.pem", &authority.pem());
    write_client(&gateway.site, &client);
    gateway.reloaded(2).await;
    // Before all three were there, another may have been in force.
    gateway.program.hang_up();
    gateway.program.event("reloaded", |fields| (fields["by"] == "SIGHUP").then_some(())).await;
    let other_phone = Client { source: "IMEI:other", ..FIRST };
    gateway.terminal().await.send(&other_phone).await.assert_says(200, &accepted());
}
