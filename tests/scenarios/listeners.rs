//! Where connections come in: sockets of every kind, TLS, client certificates, balancers; and what is dangerous about
//! some of them.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::NamedGroup;
use rustls::version::{TLS12, TLS13};
use serde_json::Value;
use syncseal::seal::{self, Reason};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::common::Program;
use crate::http::{Answer, exchange, post_bytes, post_seal_bytes, read_answer, request_bytes};
use crate::pki::{Authority, Pair, SERVER};
use crate::site::{Running, Site, rule};
use crate::syncml::{Client, FIRST, XML, accepted};
use crate::terminal::{handshake_bytes, parameters};
use crate::world::public_key;

/// A request that any gateway answers 200.
fn discovery() -> Vec<u8> {
    request_bytes("GET /.well-known/syncseal HTTP/1.1", "", b"")
}

/// A POST that begins a sealed session.
fn handshake() -> Vec<u8> {
    post_seal_bytes(&handshake_bytes(&parameters(&public_key())))
}

/// The next line of a program's log with this message, and this value of a field.
async fn logged(program: &mut Program, message: &str, field: &str, value: &str) -> Value {
    program
        .logged(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            let fields = &line["fields"];
            (fields["message"] == message && fields[field] == value).then(|| fields.clone())
        })
        .await
}

/// The cause in the next line of a connection that was turned away.
async fn turned_away(program: &mut Program) -> String {
    program
        .logged(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            let fields = &line["fields"];
            (fields["message"] == "connection turned away").then(|| fields["cause"].as_str().unwrap().to_owned())
        })
        .await
}

/// What a program listens on, and whether in TLS, once it has told of so many listeners.
async fn listening(program: &mut Program, many: usize) -> Vec<(String, bool)> {
    let told = RefCell::new(Vec::new());
    program
        .logged(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            let fields = &line["fields"];
            let listener = (fields["addr"].as_str()?.to_owned(), fields["tls"].as_bool()?);
            let mut told = told.borrow_mut();
            if fields["message"] == "listening" && !told.contains(&listener) {
                told.push(listener);
            }
            (told.len() == many).then(|| told.clone())
        })
        .await
}

/// Reads what is left of a connection that is closed, whether in order or not.
async fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    // A reset is an end, too.
    let _ = stream.read_to_end(&mut rest).await;
    rest
}

/// Writes a private key for its owner alone, and the certificate.
fn write_pair(dir: &Path, name: &str, pair: &Pair) {
    std::fs::write(dir.join(format!("{name}.pem")), &pair.certificate).unwrap();
    let key = dir.join(format!("{name}.key"));
    std::fs::write(&key, &pair.key).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// The table of a listener that shows the pair `tls`, with more in its `tls`, and more keys.
fn tls_listener(tls: &str, keys: &str) -> String {
    format!(
        "[[listener]]\naddress = \"127.0.0.1:0\"\ntls = {{ certificate = \"tls.pem\", key = \"tls.key\"{tls} }}\n{keys}\n"
    )
}

/// A gateway that listens in plaintext and in TLS.
struct Secure {
    gateway: Running,
    /// Where it speaks TLS.
    tls: SocketAddr,
    authority: Authority,
}

impl Secure {
    async fn new() -> Self {
        Self::with("", "", "").await
    }

    /// With more in the listener's `tls`, more tables, and more lines in the route. The CA of clients is the server's.
    async fn with(tls: &str, tables: &str, route: &str) -> Self {
        let authority = Authority::new();
        let site = Site::new(&format!("{}{tables}", tls_listener(tls, "")), route).await;
        write_pair(site.dir(), "tls", &authority.certify(SERVER));
        site.write_file("ca.pem", &authority.pem());
        let mut gateway = site.start().await;
        let listeners = listening(&mut gateway.program, 2).await;
        let (tls, _) = listeners.iter().find(|(_, is_tls)| *is_tls).unwrap();
        Self { tls: tls.parse().unwrap(), gateway, authority }
    }

    async fn ask(&self, request: &[u8]) -> Answer {
        self.authority.client().ask(self.tls, request).await.unwrap()
    }
}

#[tokio::test]
async fn tcp_a_unix_socket_and_tls_serve_side_by_side() {
    let authority = Authority::new();
    let site = Site::new("", "").await;
    let path = site.path("gateway.sock");
    let unix = format!("[[listener]]\naddress = \"unix:{}\"\nmode = \"0600\"\n", path.display());
    site.write_policy(&format!("{unix}{}", tls_listener("", "")), "");
    write_pair(site.dir(), "tls", &authority.certify(SERVER));
    let mut gateway = site.start().await;
    let listeners = listening(&mut gateway.program, 3).await;
    assert_eq!(listeners[1], (format!("unix:{}", path.display()), false));
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let tls = listeners[2].0.parse().unwrap();

    assert_eq!(exchange(gateway.addr, &discovery()).await.status, 200);
    authority.client().ask(tls, &handshake()).await.unwrap().assert_sealed();
    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream.write_all(&handshake()).await.unwrap();
    read_answer(&mut stream).await.assert_sealed();
    // Whoever can open the socket is this machine.
    logged(&mut gateway.program, "exchange", "peer", "127.0.0.1:0").await;

    assert_eq!(gateway.terminate().await.code(), Some(0));
    assert!(!path.exists());
}

#[tokio::test]
async fn the_socket_of_a_gateway_that_was_killed_is_taken_over() {
    let site = Site::new("", "").await;
    let path = site.path("gateway.sock");
    site.write_policy(&format!("[[listener]]\naddress = \"unix:{}\"", path.display()), "");
    let mut first = site.spawn();
    listening(&mut first, 2).await;
    first.kill();
    first.ended().await;
    assert!(path.exists());
    let mut second = site.spawn();
    listening(&mut second, 2).await;
    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream.write_all(&discovery()).await.unwrap();
    assert_eq!(read_answer(&mut stream).await.status, 200);
}

#[tokio::test]
async fn a_unix_socket_in_use_and_a_file_in_its_place_are_left_alone() {
    let site = Site::new("", "").await;
    let path = site.path("gateway.sock");
    site.write_policy(&format!("[[listener]]\naddress = \"unix:{}\"", path.display()), "");
    site.write_file("gateway.sock", "precious");
    let (status, log) = site.run(&["gateway", "gateway.toml"]).await;
    assert_eq!(status, Some(71), "{log}");
    assert!(log.contains("something else than a socket is there"), "{log}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");

    std::fs::remove_file(&path).unwrap();
    let mut running = site.spawn();
    listening(&mut running, 2).await;
    let (status, log) = site.run(&["gateway", "gateway.toml"]).await;
    assert_eq!(status, Some(71), "{log}");
    UnixStream::connect(&path).await.unwrap();
}

/// Starts the gateway of a site as a service manager does, which hands over a socket under this name.
fn activate(site: &Site, name: &str, socket: std::net::TcpListener) -> Program {
    activate_role("gateway", site, name, socket)
}

fn activate_role(role: &str, site: &Site, name: &str, socket: std::net::TcpListener) -> Program {
    let mut command = Command::new("sh");
    // The socket comes as standard input, and belongs at descriptor 3.
    command.args(["-c", "exec 3<&0 0</dev/null; LISTEN_PID=$$ exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_syncseal")]);
    command.args([role, &format!("{role}.toml"), "--log-format", "json"]).current_dir(site.dir());
    command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", name);
    Program::spawn_with(command, Stdio::from(OwnedFd::from(socket)), site.dir(), "activated")
}

#[tokio::test]
async fn a_socket_of_the_service_manager_is_served_by_its_name() {
    let site = Site::new("[[listener]]\naddress = \"systemd:sync\"", "").await;
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = socket.local_addr().unwrap();
    // Connections wait until somebody accepts them.
    let early = TcpStream::connect(addr).await.unwrap();
    let mut program = activate(&site, "sync", socket);
    assert!(listening(&mut program, 2).await.contains(&(addr.to_string(), false)));
    let mut early = early;
    early.write_all(&handshake()).await.unwrap();
    read_answer(&mut early).await.assert_sealed();
    program.terminate();
    assert_eq!(program.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_socket_that_the_service_manager_has_under_no_such_name_is_missed_and_told() {
    let site = Site::new("[[listener]]\naddress = \"systemd:sync\"", "").await;
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut program = activate(&site, "other", socket);
    assert_eq!(program.ended().await.code(), Some(71));
    let log = program.log();
    assert!(log.contains("cannot listen on systemd:sync") && log.contains("(names: other)"), "{log}");

    let site = Site::new("", "").await;
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut program = activate(&site, "other", socket);
    logged(&mut program, "the service manager handed over a socket that no [[listener]] names", "name", "other").await;
}

#[tokio::test]
async fn both_versions_of_tls_are_spoken() {
    let secure = Secure::new().await;
    for version in [&TLS12, &TLS13] {
        let versions = [version];
        let client = secure.authority.client().speaking(&versions);
        client.ask(secure.tls, &handshake()).await.unwrap().assert_sealed();
        let stream = client.connect(secure.tls).await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(version.version));
    }
}

#[tokio::test]
#[cfg_attr(not(feature = "aws-lc"), ignore = "needs X25519MLKEM768, which only AWS-LC has")]
async fn tls_agrees_on_a_key_that_a_later_quantum_computer_does_not_find() {
    let secure = Secure::new().await;
    let stream = secure.authority.client().connect(secure.tls).await.unwrap();
    let group = stream.get_ref().1.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, NamedGroup::X25519MLKEM768);
}

#[tokio::test]
async fn http_2_and_http_1_1_are_agreed_on_by_alpn() {
    let secure = Secure::new().await;
    let client = secure.authority.client();
    let stream = client.offering(&[b"http/1.1"]).connect(secure.tls).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let answer = client.offering(&[b"http/1.1"]).ask(secure.tls, &discovery()).await.unwrap();
    assert_eq!((answer.status, answer.minor), (200, 1));

    let stream = client.offering(&[b"http/1.1", b"h2"]).connect(secure.tls).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let sealed = Full::<Bytes>::from(handshake_bytes(&parameters(&public_key())));
    let request = ::http::Request::post(format!("https://{SERVER}/sync")).header("Content-Type", seal::CONTENT_TYPE);
    let answer = sender.send_request(request.body(sealed).unwrap()).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (200, ::http::Version::HTTP_2));
    assert!(!answer.into_body().collect().await.unwrap().to_bytes().is_empty());
    drop(sender);
    connection.await.unwrap().unwrap();

    assert!(client.offering(&[b"gopher"]).connect(secure.tls).await.is_err());
}

#[tokio::test]
#[cfg_attr(not(feature = "aws-lc"), ignore = "needs X25519MLKEM768, which only AWS-LC has")]
async fn curl_gets_through_tls_with_http_2() {
    let secure = Secure::new().await;
    let mut command = Command::new("curl");
    command.args(["--disable", "--silent", "--show-error", "--http2", "--noproxy", "*", "--cacert", "ca.pem"]);
    command.args(["--write-out", "%{http_version} %{http_code}", "--output", "answer.json"]);
    command.args(["--resolve", &format!("{SERVER}:{}:127.0.0.1", secure.tls.port())]);
    command.arg(format!("https://{SERVER}:{}/.well-known/syncseal", secure.tls.port()));
    let site = &secure.gateway.site;
    let mut curl = Program::spawn(
        {
            command.current_dir(site.dir());
            command
        },
        site.dir(),
        "curl",
    );
    let status = curl.ended().await;
    assert_eq!((status.code(), curl.log().as_str()), (Some(0), "2 200"));
    let answer = std::fs::read_to_string(site.path("answer.json")).unwrap();
    assert!(answer.contains("X25519MLKEM768"), "{answer}");
}

#[tokio::test]
async fn where_a_client_certificate_is_required_only_those_of_the_ca_come_in() {
    let mut secure = Secure::with(", client_ca = \"ca.pem\"", "", "").await;
    let ours = secure.authority.certify("phone-1.fleet.example");
    let stranger = Authority::new().certify("phone-1.fleet.example");
    let over = secure.authority.certify_from("phone-1.fleet.example", 2019, 2020);
    for version in [&TLS12, &TLS13] {
        let versions = [version];
        let client = secure.authority.client().speaking(&versions);
        client.showing(&ours).ask(secure.tls, &handshake()).await.unwrap().assert_sealed();
        for turned_away in [client, client.showing(&stranger), client.showing(&over)] {
            // In TLS 1.3 a client hears of it only after its side of the handshake.
            turned_away.ask(secure.tls, &handshake()).await.unwrap_err();
        }
    }
    let cause = turned_away(&mut secure.gateway.program).await;
    assert!(cause.contains("the TLS handshake failed"), "{cause}");
}

#[tokio::test]
async fn where_a_client_certificate_is_only_asked_for_one_can_do_without() {
    let secure = Secure::with(", client_ca = \"ca.pem\", client_auth = \"request\"", "", "").await;
    secure.ask(&handshake()).await.assert_sealed();
    let stranger = Authority::new().certify("phone-1.fleet.example");
    secure.authority.client().showing(&stranger).ask(secure.tls, &handshake()).await.unwrap_err();
}

#[tokio::test]
async fn a_route_is_for_clients_with_the_names_that_it_allows() {
    let route = "clients = [\"*.fleet.example\", \"spiffe://fleet/phone-1\"]";
    let mut secure = Secure::with(", client_ca = \"ca.pem\", client_auth = \"request\"", "", route).await;
    for allowed in ["phone-1.fleet.example", "spiffe://fleet/phone-1"] {
        let pair = secure.authority.certify(allowed);
        secure.authority.client().showing(&pair).ask(secure.tls, &handshake()).await.unwrap().assert_sealed();
    }
    for other in ["phone-1.elsewhere.example", "a.b.fleet.example", "spiffe://fleet/phone-2"] {
        let pair = secure.authority.certify(other);
        let answer = secure.authority.client().showing(&pair).ask(secure.tls, &handshake()).await.unwrap();
        assert_eq!(answer.status, 403, "{other}");
    }
    // Neither without a certificate, nor at a listener that asks for none.
    assert_eq!(secure.ask(&handshake()).await.status, 403);
    assert_eq!(exchange(secure.gateway.addr, &handshake()).await.status, 403);
    let cause = "no name of a client certificate that the route is for";
    logged(&mut secure.gateway.program, "exchange", "cause", cause).await;
    assert_eq!(secure.gateway.site.server.seen().len(), 0);
}

#[tokio::test]
async fn plaintext_at_a_tls_listener_gets_nowhere_and_harms_nobody() {
    let mut secure = Secure::new().await;
    let mut stream = TcpStream::connect(secure.tls).await.unwrap();
    stream.write_all(&handshake()).await.unwrap();
    let rest = rest(&mut stream).await;
    assert!(!rest.starts_with(b"HTTP"), "{rest:?}");
    turned_away(&mut secure.gateway.program).await;
    secure.ask(&handshake()).await.assert_sealed();
}

#[tokio::test]
async fn who_is_slow_at_the_handshake_is_cut_off_and_holds_nobody_up() {
    let mut secure = Secure::with("", "[limits]\nhandshake_timeout = \"1 s\"\n", "").await;
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(secure.tls).await.unwrap();
        stream.write_all(&[0x16, 3, 1]).await.unwrap();
        slow.push(stream);
    }
    secure.ask(&handshake()).await.assert_sealed();
    for stream in &mut slow {
        assert_eq!(rest(stream).await, b"");
    }
    assert_eq!(turned_away(&mut secure.gateway.program).await, "it was not ready for a request in time");
}

#[tokio::test]
async fn a_certificate_that_is_over_or_not_yet_or_of_another_key_is_found_before_anything_listens() {
    let authority = Authority::new();
    let site = Site::new(&tls_listener("", ""), "").await;
    for (from, until, told) in [(2019, 2020, "expired on 2020-01-01"), (2049, 2050, "valid only from 2049-01-01")] {
        write_pair(site.dir(), "tls", &authority.certify_from(SERVER, from, until));
        for verb in ["check", "gateway"] {
            let (status, log) = site.run(&[verb, "gateway.toml"]).await;
            assert_eq!(status, Some(78), "{log}");
            assert!(
                log.contains("listener[0].tls.certificate: ") && log.contains(told) && log.contains("clock"),
                "{log}"
            );
        }
    }
    let pair = Pair { certificate: authority.certify(SERVER).certificate, key: authority.certify(SERVER).key };
    write_pair(site.dir(), "tls", &pair);
    let (status, log) = site.run(&["gateway", "gateway.toml"]).await;
    assert!(status == Some(78) && log.contains("the private key does not belong to the first certificate"), "{log}");
    write_pair(site.dir(), "tls", &authority.certify(SERVER));
    assert_eq!(site.run(&["check", "gateway.toml"]).await.0, Some(0));
}

/// Nothing is read again but on SIGHUP.
const UNWATCHED: &str = "[reload]\nwatch = false\n";

#[tokio::test]
async fn a_reload_shows_the_new_certificate_and_leaves_connections_alone() {
    let mut secure = Secure::with("", UNWATCHED, "").await;
    let mut open = secure.authority.client().connect(secure.tls).await.unwrap();
    let next = Authority::new();
    write_pair(secure.gateway.site.dir(), "tls", &next.certify(SERVER));
    next.client().connect(secure.tls).await.unwrap_err();
    secure.gateway.reload(2).await;
    next.client().ask(secure.tls, &handshake()).await.unwrap().assert_sealed();
    secure.authority.client().connect(secure.tls).await.unwrap_err();
    open.write_all(&handshake()).await.unwrap();
    read_answer(&mut open).await.assert_sealed();
}

#[tokio::test]
async fn a_reload_with_a_certificate_that_cannot_be_shown_changes_nothing() {
    let mut secure = Secure::with("", UNWATCHED, "").await;
    let dir = secure.gateway.site.dir().to_owned();
    let good = secure.authority.certify(SERVER);
    let other = secure.authority.certify(SERVER);
    let half = Pair { certificate: good.certificate[..good.certificate.len() / 2].to_owned(), key: good.key.clone() };
    for (pair, told) in [
        (secure.authority.certify_from(SERVER, 2019, 2020), "expired on 2020-01-01"),
        (Pair { certificate: other.certificate, key: good.key.clone() }, "does not belong to the first certificate"),
        (half, "tls.pem: "),
    ] {
        write_pair(&dir, "tls", &pair);
        secure.gateway.program.hang_up();
        secure.gateway.not_reloaded(told).await;
        secure.ask(&handshake()).await.assert_sealed();
    }
    write_pair(&dir, "tls", &good);
    secure.gateway.reload(2).await;
    secure.ask(&handshake()).await.assert_sealed();
}

#[tokio::test]
async fn a_reload_takes_the_certificates_of_another_ca_and_no_longer_those_of_the_first() {
    let mut secure = Secure::with(", client_ca = \"ca.pem\"", UNWATCHED, "").await;
    let next = Authority::new();
    let (before, after) = (secure.authority.certify("a.example"), next.certify("a.example"));
    let client = secure.authority.client();
    client.showing(&before).ask(secure.tls, &handshake()).await.unwrap().assert_sealed();
    secure.gateway.site.write_file("ca.pem", &next.pem());
    secure.gateway.reload(2).await;
    client.showing(&after).ask(secure.tls, &handshake()).await.unwrap().assert_sealed();
    client.showing(&before).ask(secure.tls, &handshake()).await.unwrap_err();
}

#[tokio::test]
async fn a_reload_says_that_sockets_stay_as_they_were() {
    let mut gateway = Site::new(UNWATCHED, "").await.start().await;
    gateway.site.write_policy(&format!("{UNWATCHED}[[listener]]\naddress = \"127.0.0.1:0\"\n"), "");
    gateway.reload(2).await;
    logged(&mut gateway.program, "this change waits for the next start", "key", "gateway.listen or listener").await;
}

/// A gateway with a listener behind a balancer on loopback, and that listener's address. Its other listener has none.
async fn balanced(tables: &str) -> (Running, SocketAddr) {
    let listener = "[[listener]]\naddress = \"127.0.0.1:0\"\nproxy_protocol_from = [\"127.0.0.0/8\"]\n";
    let mut gateway = Site::new(&format!("{listener}{tables}"), "").await.start().await;
    let addr = listening(&mut gateway.program, 2).await[1].0.parse().unwrap();
    (gateway, addr)
}

/// A header of version 2 for this source of IPv4.
fn binary_header(source: [u8; 4], port: u16) -> Vec<u8> {
    let begin = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c";
    [&begin[..], &source, &[10, 0, 0, 1], &port.to_be_bytes(), &443_u16.to_be_bytes()].concat()
}

#[tokio::test]
async fn the_address_that_a_balancer_tells_is_the_clients() {
    let (mut gateway, addr) = balanced("").await;
    let text = b"PROXY TCP4 192.0.2.7 10.0.0.1 4000 443\r\n".to_vec();
    exchange(addr, &[text, handshake()].concat()).await.assert_sealed();
    logged(&mut gateway.program, "exchange", "peer", "192.0.2.7:4000").await;
    exchange(addr, &[binary_header([192, 0, 2, 8], 4001), handshake()].concat()).await.assert_sealed();
    logged(&mut gateway.program, "exchange", "peer", "192.0.2.8:4001").await;
    let ipv6 = b"PROXY TCP6 2001:db8::7 2001:db8::1 4002 443\r\n".to_vec();
    exchange(addr, &[ipv6, handshake()].concat()).await.assert_sealed();
    logged(&mut gateway.program, "exchange", "peer", "[2001:db8::7]:4002").await;
}

#[tokio::test]
async fn a_balancer_that_asks_for_itself_keeps_its_own_address() {
    let (mut gateway, addr) = balanced("").await;
    for header in [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"] {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let own = stream.local_addr().unwrap().to_string();
        stream.write_all(&[header, &discovery()].concat()).await.unwrap();
        assert_eq!(read_answer(&mut stream).await.status, 200);
        logged(&mut gateway.program, "exchange", "peer", &own).await;
    }
}

#[tokio::test]
async fn bounds_by_address_are_about_the_client_and_not_about_the_balancer() {
    let (_gateway, addr) = balanced("[sessions]\nper_source = 1\n").await;
    let from = |host: u8| [binary_header([192, 0, 2, host], 4000), handshake()].concat();
    exchange(addr, &from(1)).await.assert_sealed();
    exchange(addr, &from(1)).await.assert_problem(Reason::Overloaded);
    exchange(addr, &from(2)).await.assert_sealed();
}

#[tokio::test]
async fn a_header_that_a_stranger_forges_is_no_header() {
    let (mut gateway, _) = balanced("").await;
    let text = b"PROXY TCP4 192.0.2.7 10.0.0.1 4000 443\r\n".to_vec();
    for header in [text, binary_header([192, 0, 2, 7], 4000)] {
        // This listener has no balancers: what comes is HTTP, and this is none.
        let mut stream = TcpStream::connect(gateway.addr).await.unwrap();
        stream.write_all(&[header, handshake()].concat()).await.unwrap();
        let rest = rest(&mut stream).await;
        assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&rest));
    }
    assert_eq!(exchange(gateway.addr, &discovery()).await.status, 200);
    logged(&mut gateway.program, "exchange", "decision", "discovery").await;
    assert!(!gateway.program.log().contains("192.0.2.7"));
}

#[tokio::test]
async fn a_balancer_that_tells_no_address_or_tells_it_slowly_is_turned_away() {
    let (mut gateway, addr) = balanced("[limits]\nhandshake_timeout = \"500 ms\"\n").await;
    for (sent, cause) in [
        (handshake(), "the connection does not begin with a PROXY header"),
        (b"PROXY TCP4 192.0.2.7 nonsense\r\n".to_vec(), "the PROXY header is malformed"),
        ([b"PROXY TCP4 ", &[b'1'; 200][..]].concat(), "the PROXY header is too long"),
        (b"PROXY TCP4 192.0.2.7 10.".to_vec(), "it was not ready for a request in time"),
        (Vec::new(), "it was not ready for a request in time"),
    ] {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let peer = stream.local_addr().unwrap().to_string();
        stream.write_all(&sent).await.unwrap();
        assert_eq!(rest(&mut stream).await, b"", "{cause}");
        assert_eq!(logged(&mut gateway.program, "connection turned away", "peer", &peer).await["cause"], cause);
    }
}

#[tokio::test]
async fn a_header_stands_before_tls() {
    let authority = Authority::new();
    let site = Site::new(&tls_listener("", "proxy_protocol_from = [\"127.0.0.1\"]"), "").await;
    write_pair(site.dir(), "tls", &authority.certify(SERVER));
    let mut gateway = site.start().await;
    let tls: SocketAddr = listening(&mut gateway.program, 2).await[1].0.parse().unwrap();
    let mut stream = TcpStream::connect(tls).await.unwrap();
    stream.write_all(b"PROXY TCP4 192.0.2.7 10.0.0.1 4000 443\r\n").await.unwrap();
    let mut stream = authority.client().over(stream).await.unwrap();
    stream.write_all(&handshake()).await.unwrap();
    read_answer(&mut stream).await.assert_sealed();
    logged(&mut gateway.program, "exchange", "peer", "192.0.2.7:4000").await;
    authority.client().connect(tls).await.unwrap_err();
}

/// The policy of an agent with these lines in `[agent]`, and further tables.
pub(crate) fn agent_policy(site: &Site, gateway: SocketAddr, lines: &str, tables: &str) {
    site.write_file("gateway.pub.pem", &public_key().to_pem());
    let text = format!(
        "version = 1\n[agent]\ngateway = \"http://{gateway}/sync\"\nkey = \"gateway.pub.pem\"\n{lines}\n{tables}\n\
         [admin]\nlisten = \"off\"\n"
    );
    site.write_file("agent.toml", &text);
}

pub(crate) fn spawn_agent(site: &Site) -> Program {
    Program::syncseal(["agent", "agent.toml", "--log-format", "json"], site.dir(), "agent")
}

#[tokio::test]
async fn an_agent_takes_plaintext_from_other_machines_only_if_its_policy_says_that_this_is_dangerous() {
    let gateway = Site::new("", "").await.start().await;
    let site = &gateway.site;
    agent_policy(site, gateway.addr, "listen = \"0.0.0.0:0\"", "");
    for verb in ["check", "agent"] {
        let (status, log) = site.run(&[verb, "agent.toml"]).await;
        assert_eq!(status, Some(78), "{log}");
        assert!(log.contains("public_plaintext_listener = true in [dangerous]"), "{log}");
    }
    agent_policy(site, gateway.addr, "listen = \"0.0.0.0:0\"", "[dangerous]\npublic_plaintext_listener = true");
    let (status, log) = site.run(&["check", "agent.toml"]).await;
    assert!(status == Some(0) && log.contains("DANGEROUS dangerous.public_plaintext_listener"), "{log}");
    let mut agent = spawn_agent(site);
    agent
        .logged(|line| line.contains("dangerous.public_plaintext_listener").then(|| assert!(line.contains("WARN"))))
        .await;
    let port = agent.listening().await.port();
    let request = post_bytes(&format!("Content-Type: {XML}\r\n"), &FIRST.xml());
    let answer = exchange(SocketAddr::from(([127, 0, 0, 1], port)), &request).await;
    assert_eq!((answer.status, answer.body), (200, accepted()));
}

#[tokio::test]
async fn an_agent_takes_no_plaintext_from_other_machines_through_a_socket_of_the_service_manager() {
    let site = Site::new("", "").await;
    let gateway = SocketAddr::from(([127, 0, 0, 1], 9));
    agent_policy(&site, gateway, "", "[[listener]]\naddress = \"systemd:sync\"");
    let socket = || std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let mut agent = activate_role("agent", &site, "sync", socket());
    assert_eq!(agent.ended().await.code(), Some(78));
    let log = agent.log();
    assert!(log.contains("takes plaintext, and others than this machine could reach it"), "{log}");
    let dangerous = "[[listener]]\naddress = \"systemd:sync\"\n[dangerous]\npublic_plaintext_listener = true";
    agent_policy(&site, gateway, "", dangerous);
    let mut agent = activate_role("agent", &site, "sync", socket());
    listening(&mut agent, 1).await;
}

#[tokio::test]
async fn an_agent_listens_on_a_unix_socket_and_in_tls() {
    let gateway = Site::new("", "").await.start().await;
    let (site, authority) = (&gateway.site, Authority::new());
    let path = site.path("agent.sock");
    let unix = format!("[[listener]]\naddress = \"unix:{}\"\n", path.display());
    agent_policy(site, gateway.addr, "", &format!("{unix}{}", tls_listener("", "")));
    write_pair(site.dir(), "tls", &authority.certify(SERVER));
    let mut agent = spawn_agent(site);
    let listeners = listening(&mut agent, 2).await;
    let request = post_bytes(&format!("Content-Type: {XML}\r\n"), &FIRST.xml());
    let answer = authority.client().ask(listeners[1].0.parse().unwrap(), &request).await.unwrap();
    assert_eq!((answer.status, answer.body), (200, accepted()));
    let other = Client { source: "IMEI:490154203237519", ..FIRST };
    let request = post_bytes(&format!("Content-Type: {XML}\r\n"), &other.xml());
    let mut stream = UnixStream::connect(&path).await.unwrap();
    stream.write_all(&request).await.unwrap();
    let answer = read_answer(&mut stream).await;
    assert_eq!((answer.status, answer.body), (200, accepted()));
}

#[tokio::test]
async fn start_warns_of_each_dangerous_key() {
    let route = "dangerous = { bind_sessions = false }";
    let mut gateway = Site::new("[dangerous]\nrequire_key_exchange = false", route).await.start().await;
    for key in ["dangerous.require_key_exchange", "route.dangerous.bind_sessions"] {
        gateway.program.logged(|line| (line.contains(key) && line.contains("WARN")).then_some(())).await;
    }
    let harmless = Site::new("", "").await.start().await;
    assert!(!harmless.program.log().contains("dangerous"));
}

#[tokio::test]
async fn start_warns_where_plaintext_is_permitted_and_could_be_read_on_the_way() {
    let permit = rule("everybody", "", "permit");
    let site = Site::new("[[listener]]\naddress = \"0.0.0.0:0\"", &permit).await;
    let told = "unsealed messages may come over it and be read on the way";
    let mut gateway = site.start().await;
    gateway.program.logged(|line| (line.contains(told) && line.contains("WARN")).then_some(())).await;
    for (tables, rules) in [("", permit.as_str()), ("[[listener]]\naddress = \"0.0.0.0:0\"", "")] {
        let quiet = Site::new(tables, rules).await.start().await;
        assert!(!quiet.program.log().contains(told));
    }
}

#[tokio::test]
async fn check_says_what_each_listener_is() {
    let authority = Authority::new();
    let tls = tls_listener(", client_ca = \"ca.pem\"", "proxy_protocol_from = [\"10.0.0.0/8\"]");
    let others = "[[listener]]\naddress = \"unix:/run/x.sock\"\n[[listener]]\naddress = \"systemd:sync\"\n";
    let site = Site::new(&format!("{tls}{others}"), "").await;
    write_pair(site.dir(), "tls", &authority.certify(SERVER));
    site.write_file("ca.pem", &authority.pem());
    let (status, out) = site.run(&["check", "gateway.toml"]).await;
    assert_eq!(status, Some(0), "{out}");
    for line in [
        "  listens on 127.0.0.1:0: HTTP in plaintext\n",
        "tls.pem, valid until 2050-01-01T00:00:00Z; client certificates under ",
        "ca.pem required; PROXY protocol from 10.0.0.0/8\n",
        "  listens on unix:/run/x.sock (mode 0660): HTTP in plaintext\n",
        "  listens on systemd:sync: HTTP in plaintext\n",
    ] {
        assert!(out.contains(line), "{line}{out}");
    }
}
