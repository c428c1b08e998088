//! Wrong policies with their faults, the documented files, and what values come out.

// The documents name what only AWS-LC has.
#[cfg(feature = "aws-lc")]
mod reference;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::crypto::{Algorithm, KeyId, KeyTransport, RsaPrivateKey, RsaPublicKey};
use crate::net::tls::ClientNames;
use crate::session::UnixTime;
use crate::syncml::Form;

const GATEWAY: &str = include_str!("../../config/gateway.toml");
const AGENT: &str = include_str!("../../config/agent.toml");
const SMALL_GATEWAY: &str = "version = 1\n[gateway]\nkeys = 'gateway.pem'\n\
     [[route]]\npath = '/sync'\nupstream = 'http://127.0.0.1:9080'\n";
const SMALL_AGENT: &str =
    "version = 1\n[agent]\ngateway = 'http://gateway.example.org:8080/sync'\nkey = 'gateway.pub.pem'\n";

/// A directory with a key pair, a secret and certificates under the names of the documented files, and a second pair.
fn keys() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (source, name) in [("pkcs8.pem", "gateway"), ("exponent-3.pem", "other")] {
        let pem = fs::read_to_string(format!("{}/tests/keys/{source}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let public = RsaPrivateKey::from_pem(&pem).unwrap().public().to_pem();
        fs::write(dir.path().join(format!("{name}.pem")), pem).unwrap();
        fs::write(dir.path().join(format!("{name}.pub.pem")), public).unwrap();
        set_mode(&dir, &format!("{name}.pem"), 0o600);
    }
    let made = rcgen::generate_simple_self_signed(["client".to_owned()]).unwrap();
    for (name, pem) in
        [("server-ca", made.cert.pem()), ("client", made.cert.pem()), ("client-key", made.signing_key.serialize_pem())]
    {
        fs::write(dir.path().join(format!("{name}.pem")), pem).unwrap();
        set_mode(&dir, &format!("{name}.pem"), 0o600);
    }
    fs::create_dir(dir.path().join("secrets")).unwrap();
    set_mode(&dir, "secrets", 0o700);
    for name in ["phone-1.secret", "secrets/phone-1.secret"] {
        fs::write(dir.path().join(name), base64_turbo::STANDARD.encode([7; 32]) + "\n").unwrap();
        set_mode(&dir, name, 0o600);
    }
    let (certificate, key) = certificate(2020, 2050);
    write(&dir, "tls.pem", &certificate);
    write(&dir, "tls.key", &key);
    write(&dir, "client-ca.pem", &certificate);
    dir
}

/// A certificate that is valid from one year on until another, and its key.
fn certificate(from: i32, until: i32) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(["gateway.example".to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.not_before = rcgen::date_time_ymd(from, 1, 1);
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// Writes a file for its owner alone.
fn write(dir: &TempDir, name: &str, text: &str) {
    fs::write(dir.path().join(name), text).unwrap();
    set_mode(dir, name, 0o600);
}

fn set_mode(dir: &TempDir, name: &str, mode: u32) {
    fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
}

fn no_env() -> Environment {
    Environment::default()
}

fn env(variables: &[(&str, &str)]) -> Environment {
    variables.iter().copied().collect()
}

fn gateway_in(dir: &TempDir, text: &str) -> Result<GatewayPolicy, Faults> {
    GatewayPolicy::parse(&dir.path().join("p.toml"), text, &no_env())
}

/// The policy of a gateway with the route `/sync`, and what follows it.
pub(crate) fn gateway_with(rest: &str) -> GatewayPolicy {
    gateway_in(&keys(), &format!("{SMALL_GATEWAY}{rest}")).unwrap_or_else(|faults| panic!("{faults}\n{rest}"))
}

fn agent_in(dir: &TempDir, text: &str) -> Result<AgentPolicy, Faults> {
    AgentPolicy::parse(&dir.path().join("p.toml"), text, &no_env())
}

/// The faults as shown, without the directory.
fn shown(dir: &TempDir, faults: &Faults) -> Vec<String> {
    let text = faults.to_string().replace(&format!("{}/", dir.path().display()), "");
    text.lines().map(str::to_owned).collect()
}

/// Checks that `text` has exactly these faults; each as the beginning of its line, and words that follow in it.
pub(super) fn assert_faults(text: &str, expected: &[(&str, &[&str])]) {
    let dir = keys();
    let faults = match Policy::parse(&dir.path().join("p.toml"), text, &no_env()) {
        Ok(policy) => panic!("no fault in {text}\n{policy:?}"),
        Err(faults) => shown(&dir, &faults),
    };
    let all = faults.join("\n");
    assert_eq!(faults.len(), expected.len(), "{text}\n{all}");
    for (fault, (begin, words)) in faults.iter().zip(expected) {
        assert!(fault.starts_with(begin), "{begin}\n{all}");
        for word in *words {
            assert!(fault.contains(word), "{word}\n{all}");
        }
    }
}

/// The documented file with every default in force that `pick` picks by the text above it.
fn uncommented(text: &str, with_examples: bool) -> String {
    let mut out = String::new();
    let mut comment = String::new();
    for line in text.lines() {
        let is_setting = |rest: &&str| rest.starts_with("[[") || rest.starts_with(|c: char| c.is_ascii_lowercase());
        let setting = line.strip_prefix('#').filter(is_setting);
        match setting {
            Some(setting) if with_examples || !comment.contains("No default.") => out.push_str(setting),
            _ => out.push_str(line),
        }
        out.push('\n');
        if line.starts_with("# ") {
            comment.push_str(line);
        } else if line.is_empty() {
            comment.clear();
        }
    }
    out
}

#[test]
fn the_documented_gateway_says_what_leaving_out_means() {
    let dir = keys();
    let meant = |text: &str| {
        let policy = GatewayPolicy { digest: FileDigest::default(), ..gateway_in(&dir, text).unwrap() };
        format!("{policy:?}")
    };
    let small = meant(SMALL_GATEWAY);
    assert_eq!(meant(GATEWAY), small);
    if cfg!(feature = "aws-lc") {
        assert_eq!(meant(&uncommented(GATEWAY, false)), small);
        // Some examples are about servers with TLS.
        let examples = uncommented(GATEWAY, true).replace("http://127.0.0.1:9080", "https://127.0.0.1:9080");
        gateway_in(&dir, &examples).unwrap();
    }
}

#[test]
fn the_documented_agent_says_what_leaving_out_means() {
    let dir = keys();
    let meant = |text: &str| {
        let policy = AgentPolicy { digest: FileDigest::default(), ..agent_in(&dir, text).unwrap() };
        format!("{policy:?}")
    };
    let small = meant(SMALL_AGENT);
    assert_eq!(meant(AGENT), small);
    if cfg!(feature = "aws-lc") {
        assert_eq!(meant(&uncommented(AGENT, false)), small);
        let pin = pinned(&agent_in(&dir, SMALL_AGENT).unwrap())[0].to_string();
        let example = format!("sha256//{}=", "A".repeat(43));
        agent_in(&dir, &uncommented(AGENT, true).replace(&example, &pin)).unwrap();
    }
}

/// Every key of a table, and of the tables in it.
fn document(path: &str, table: &DeTable<'_>, keys: &mut Vec<String>) {
    for (key, value) in table {
        let path = format!("{path}{}{}", if path.is_empty() { "" } else { "." }, key.get_ref());
        keys.push(path.clone());
        match value.get_ref() {
            toml::de::DeValue::Table(table) => document(&path, table, keys),
            toml::de::DeValue::Array(items) => {
                let tables = items.iter().filter_map(|item| item.get_ref().as_table());
                tables.for_each(|table| document(&path, table, keys));
            }
            _ => {}
        }
    }
}

#[test]
fn every_known_key_is_documented_and_every_documented_key_is_known() {
    let dir = keys();
    let file = dir.path().join("p.toml");
    // Of tables that there may be several of, keys are asked for only if there is one.
    let known = |role, text: &str| match role {
        Role::Gateway => parse(&file, text, &no_env(), role, GatewayPolicy::read).1,
        Role::Agent => parse(&file, text, &no_env(), role, AgentPolicy::read).1,
    };
    for (role, text) in [(Role::Gateway, GATEWAY), (Role::Agent, AGENT)] {
        let text = uncommented(text, true);
        let mut known: Vec<String> = known(role, &text).iter().map(Known::path).collect();
        let mut documented = Vec::new();
        document("", DeTable::parse(&text).unwrap().get_ref(), &mut documented);
        known.sort();
        documented.sort();
        documented.dedup();
        assert_eq!(known, documented);
    }
}

#[test]
fn a_gateway_comes_out_as_it_was_written() {
    let dir = keys();
    let text = r#"
        version = 1
        [gateway]
        listen = ["127.0.0.1:0", "[::1]:8081"]
        public_url = "HTTPS://Sync.Example.org:443"
        keys = ["other.pem", "gateway.pem"]
        [crypto]
        provider = "rustcrypto"
        algorithms = ["A192GCM", "A128GCM"]
        groups = []
        [dangerous]
        require_key_exchange = false
        [early]
        accept = true
        window = "2 min"
        [sessions]
        idle = "90s"
        stored_responses = "1 MB"
        owner_idle = "1 min"
        [limits]
        message = "300 kB"
        unwrap_queue = 3
        header = "8 KiB"
        connections_per_source = 5
        streams = 7
        in_flight_per_source = 6
        init_rate = "90/min"
        init_burst = 9
        init_rate_per_source = "2/h"
        [log]
        format = "json"
        filter = "warn,syncseal::seal=debug"
        [[route]]
        path = "/"
        upstream = "unix:/run/server.sock"
        [[route]]
        path = "/dm"
        targets = ["/dm", "/other/place"]
        upstream = "https://[::1]"
        host = "target"
        server_names = ["http://internal.example", "http://10.0.0.1:8080"]
        dangerous = { bind_sessions = false }
        timeout = "1 h"
        extra_headers = ["ms-signature"]
        extra_types = { "application/X-SyncML" = "xml", "application/x-wb" = "wbxml" }
    "#;
    let policy = gateway_in(&dir, text).unwrap();
    let addresses: Vec<String> = policy.listeners.iter().map(|listener| listener.address.to_string()).collect();
    assert_eq!(addresses, ["127.0.0.1:0", "[::1]:8081"]);
    assert_eq!(policy.dangers, [Danger::NoKeyExchange, Danger::UnboundSessions("/dm".to_owned())]);
    assert_eq!(policy.public_url, Some("https://sync.example.org".parse().unwrap()));
    let id = |name: &str| read_public_half(&dir.path().join(name)).unwrap().key_id();
    let ids: Vec<KeyId> = policy.recipients.iter().map(Recipient::key_id).collect();
    assert_eq!(ids, [id("other.pub.pem"), id("gateway.pem")]);
    assert_eq!(policy.provider.name(), "rustcrypto");
    assert_eq!(policy.algorithms, [Algorithm::A192Gcm, Algorithm::A128Gcm]);
    assert_eq!((policy.groups.len(), policy.require_exchange), (0, false));
    assert_eq!((policy.early, policy.sessions.early_window), (true, Duration::from_secs(120)));
    assert_eq!(policy.sessions.idle, Duration::from_secs(90));
    assert_eq!(policy.sessions.stored_responses, 1_000_000);
    assert_eq!((policy.message_limit, policy.unwrap_queue), (300_000, 3));
    let limits = &policy.limits;
    assert_eq!((limits.header, limits.connections_per_source, limits.streams), (8192, 5, 7));
    assert_eq!(policy.in_flight_per_source, 6);
    let rate = |interval, burst| Rate { interval, burst: std::num::NonZeroU32::new(burst).unwrap() };
    assert_eq!(policy.init_rate, rate(Duration::from_secs(60) / 90, 9));
    assert_eq!(policy.init_rate_per_source, rate(Duration::from_secs(1800), 100));
    assert_eq!(policy.log.format, LogFormat::Json);
    assert_eq!(policy.log.filter, "warn,syncseal::seal=debug".parse().unwrap());

    let dm = policy.route("/dm/x").unwrap();
    assert_eq!(dm.path, "/dm");
    assert_eq!(dm.upstream, UpstreamAddr::Https { host: "[::1]".into(), port: 443 });
    assert_eq!(dm.host, HostField::Target);
    assert_eq!(dm.timeout, Duration::from_secs(3600));
    assert_eq!(dm.server_names.len(), 2);
    assert_eq!(dm.extra_headers, ["ms-signature"]);
    assert_eq!(dm.extra_types, [("application/x-syncml".into(), Form::Xml), ("application/x-wb".into(), Form::Wbxml)]);
    assert_eq!(dm.targets, ["/dm", "/other/place"]);
    let rest = policy.route("/dmx").unwrap();
    assert_eq!(rest.upstream, UpstreamAddr::Unix("/run/server.sock".into()));
    assert!(rest.bind_sessions);
}

#[test]
fn the_longest_path_at_a_segment_boundary_chooses_the_route() {
    let dir = keys();
    let mut text = "version = 1\n[gateway]\nkeys = 'gateway.pem'\n".to_owned();
    for path in ["/a/b", "/", "/a", "/a/b/c"] {
        text += &format!("[[route]]\npath = '{path}'\nupstream = 'http://127.0.0.1:1'\n");
    }
    let policy = gateway_in(&dir, &text).unwrap();
    let cases = [("/a/b/c/d", "/a/b/c"), ("/a/bc", "/a"), ("/a/b;x=1", "/a/b"), ("/ab", "/"), ("/", "/")];
    for (path, route) in cases {
        assert_eq!(policy.route(path).unwrap().path, route, "{path}");
    }
    assert!(policy.route("a").is_none());
}

#[test]
fn all_faults_are_reported_at_once_with_their_lines() {
    assert_faults(
        "version = 1\n\
         [gatewai]\n\
         [gateway]\n\
         lisen = '127.0.0.1:8080'\n\
         keys = ['nowhere.pem', 'gateway.pub.pem', 'gateway.pem', 'gateway.pem']\n\
         idle = '5 min'\n\
         [limits]\n\
         message = 16\n\
         drain = '5 minutes'\n\
         in_flight = 0\n\
         [[route]]\n\
         path = '/sync/'\n\
         upstream = 'ftp://server'\n\
         plaintext = 'off'\n\
         [[route]]\n\
         path = '/a'\n\
         [[route]]\n\
         path = '/a'\n\
         upstream = 'http://user:secret@server'\n\
         layers = ['transport']\n\
         [[route]]\n\
         path = '/b'\n\
         upstream = 'http://server/path'\n\
         server_names = 'http://internal'\n\
         [[route]]\n\
         path = '/a'\n\
         upstream = 'http://server'\n\
         [[route]]\n\
         path = '/a'\n\
         upstream = 'http://server'\n\
         server_names = 'http://internal'\n",
        &[
            (
                "p.toml:2:2: gatewai: unknown key, did you mean `gateway`?",
                &["Allowed here: version, dangerous, crypto, gateway"],
            ),
            ("p.toml:4:1: gateway.lisen: unknown key, did you mean `listen`?", &[]),
            ("p.toml:5:9: gateway.keys[0]: cannot read nowhere.pem: No such file", &[]),
            ("p.toml:5:24: gateway.keys[1]: gateway.pub.pem: a public key where the private key is", &[]),
            ("p.toml:5:58: gateway.keys[3]: found \"gateway.pem\" a second time", &[]),
            ("p.toml:6:1: gateway.idle: unknown key, did you mean `sessions.idle`?", &[]),
            ("p.toml:8:11: limits.message: found 16, a number without a unit; allowed: a size", &["MiB", "\"4 KiB\""]),
            ("p.toml:9:9: limits.drain: found \"5 minutes\"; allowed: a duration with its unit (ms, s, min, h", &[]),
            ("p.toml:10:13: limits.in_flight: found 0; allowed: a whole number from 1 to 1000000", &[]),
            ("p.toml:12:8: route[0].path: found \"/sync/\"; allowed: a path", &["no / at the end"]),
            ("p.toml:13:12: route[0].upstream: found \"ftp://server\"; allowed: \"http://HOST[:PORT]\"", &["unix:"]),
            ("p.toml:14:13: route[0].plaintext: this is said by rules now; allowed: a table [[rule]]", &["require"]),
            ("p.toml:15:1: route[1].upstream: missing; allowed: \"http://HOST", &[]),
            ("p.toml:18:8: route[2].path: found \"/a\" a second time; allowed: each once", &[]),
            ("p.toml:19:12: route[2].upstream: found \"http://…@server\"; allowed", &[]),
            ("p.toml:20:11: route[2].layers[0]: found \"transport\"; allowed: \"data\", \"message\"", &[]),
            ("p.toml:23:12: route[3].upstream: found \"http://server/path\"; allowed", &["without user, path"]),
            ("p.toml:24:16: route[3].server_names: server_names are replaced", &["missing: gateway.public_url"]),
            ("p.toml:26:8: route[4].path: found \"/a\" a second time", &[]),
            ("p.toml:29:8: route[5].path: found \"/a\" a second time", &[]),
            ("p.toml:31:16: route[5].server_names: server_names are replaced", &["missing: gateway.public_url"]),
        ],
    );
}

#[test]
fn each_kind_of_wrong_value_is_told() {
    let gateway = |line: &str| format!("version = 1\n[gateway]\nkeys = 'gateway.pem'\n{line}\n");
    let route = |line: &str| format!("{SMALL_GATEWAY}{line}\n");
    let agent = |line: &str| format!("{SMALL_AGENT}{line}\n");
    let cases: &[(String, &str, &[&str])] = &[
        (gateway(""), "p.toml:1:1: route: missing; allowed: one or more tables, [[route]]", &[]),
        (gateway("[route]\npath = '/a'"), "p.toml:4:1: route: found a table; allowed: one or more tables", &[]),
        (route("[gateway.x]"), "p.toml:7:10: gateway.x: unknown key", &["listen, public_url, keys"]),
        (route("host = 5"), "p.toml:7:8: route[0].host: found 5; allowed: \"upstream\", \"target\"", &[]),
        (route("targets = []"), "p.toml:7:11: route[0].targets: found an empty list", &[]),
        (route("targets = ['/a/../b']"), "p.toml:7:12: route[0].targets[0]: found \"/a/../b\"", &["dot segment"]),
        (route("extra_headers = ['Accept']"), "p.toml:7:18: route[0].extra_headers[0]: found \"Accept\"", &["lower"]),
        (route("extra_headers = ['host']"), "p.toml:7:18: route[0].extra_headers[0]: found \"host\"", &[]),
        (
            route("extra_headers = ['forwarded']"),
            "p.toml:7:18: route[0].extra_headers[0]: found",
            &["client's address"],
        ),
        (route("extra_headers = ['x-forwarded-for']"), "p.toml:7:18: route[0].extra_headers[0]: found", &[]),
        (
            route("forwarded = 'all'"),
            "p.toml:7:13: route[0].forwarded: found \"all\"; allowed: \"none\"",
            &["\"both\""],
        ),
        (
            route("upstream_ca = 'server-ca.pem'"),
            "p.toml:7:15: route[0].upstream_ca: these are about TLS",
            &["https://"],
        ),
        (
            route("upstream_certificate = 'client.pem'").replace("http:", "https:"),
            "p.toml:4:1: route[0].upstream_key: missing; allowed: the file of the certificate's private key",
            &[],
        ),
        (
            route("upstream_key = 'client-key.pem'").replace("http:", "https:"),
            "p.toml:4:1: route[0].upstream_certificate: missing; allowed: the file of a certificate",
            &[],
        ),
        (
            route("upstream_ca = 'gateway.pem'").replace("http:", "https:"),
            "p.toml:7:15: route[0].upstream_ca: gateway.pem: there is no certificate in it",
            &[],
        ),
        (
            route("upstream_certificate = 'client.pem'\nupstream_key = 'gateway.pem'").replace("http:", "https:"),
            "p.toml:7:24: route[0].upstream_certificate: client.pem: the private key does not belong",
            &[],
        ),
        (
            route("[limits]\ninit_rate = 20"),
            "p.toml:8:13: limits.init_rate: found 20; allowed: a rate from \"1/h\"",
            &[],
        ),
        (route("[limits]\ninit_rate = '0/s'"), "p.toml:8:13: limits.init_rate: found \"0/s\"", &["1000000/s"]),
        (route("[limits]\ninit_rate = '5/d'"), "p.toml:8:13: limits.init_rate: found \"5/d\"", &["(s, min, h)"]),
        (route("[limits]\ninit_burst = 0"), "p.toml:8:14: limits.init_burst: found 0", &["from 1 to 1000000"]),
        (route("[limits]\nheader = '4 kB'"), "p.toml:8:10: limits.header: found \"4 kB\"", &["\"8 KiB\" to \"1 MiB\""]),
        (route("extra_types = { a = 'xml' }"), "p.toml:7:21: route[0].extra_types.\"a\": found \"a\"", &[]),
        (route("timeout = 1.5"), "p.toml:7:11: route[0].timeout: found 1.5, a number without a unit", &[]),
        (route("timeout = '30'"), "p.toml:7:11: route[0].timeout: found \"30\", a number without a unit", &[]),
        (route("timeout = '2 h'"), "p.toml:7:11: route[0].timeout: found \"2 h\"", &["from \"1 s\" to \"1 h\""]),
        (route("[crypto]\ngroups = []"), "p.toml:8:10: crypto.groups: found no group, but", &[]),
        (route("[crypto]\nalgorithms = ['AES']"), "p.toml:8:15: crypto.algorithms[0]: found \"AES\"", &["\"A128GCM\""]),
        (route("[log]\nfilter = 'loud'"), "p.toml:8:10: log.filter: found \"loud\"; allowed: a level", &[]),
        (route("[early]\naccept = 'yes'"), "p.toml:8:10: early.accept: found \"yes\"; allowed: true or false", &[]),
        (route("[agent]"), "p.toml:7:1: agent: found the table of the other role", &["here [gateway]"]),
        (agent("listen = '0.0.0.0:80'"), "p.toml:5:10: agent.listen: found \"0.0.0.0:80\"", &["this machine alone"]),
        (route("[admin]\nlisten = '0.0.0.0:1'"), "p.toml:8:10: admin.listen: found \"0.0.0.0:1\"", &["no password"]),
        (route("[admin]\nlisten = 'systemd:x'"), "p.toml:8:10: admin.listen: found \"systemd:x\"", &["\"unix:/PATH\""]),
        (route("[admin]\nhosts = ['a:1']"), "p.toml:8:10: admin.hosts[0]: found \"a:1\"; allowed: a host name", &[]),
        (
            route("[admin]\nready_needs_upstreams = true"),
            "p.toml:8:25: admin.ready_needs_upstreams: found true",
            &["any"],
        ),
        (agent("[[route]]\npath = '/'"), "p.toml:5:3: route: unknown key", &[]),
        (agent("[retransmit]\nattempts = 6"), "p.toml:6:12: retransmit.attempts: found 6", &["from 0 to 5"]),
        (agent("pin = 'sha256//x'"), "p.toml:5:7: agent.pin: found \"sha256//x\"; allowed: a key id", &["keyid"]),
        (SMALL_AGENT.replace(".pub", ""), "p.toml:4:7: agent.key: gateway.pem: a private key where", &[]),
        (SMALL_AGENT.replace("8080/", "8080/?"), "p.toml:3:11: agent.gateway: found", &["without user or query"]),
    ];
    for (text, begin, words) in cases {
        assert_faults(text, &[(begin, words)]);
    }
}

#[test]
fn the_version_comes_first_and_alone_decides_what_may_follow() {
    let text = |head: &str| format!("{head}{}", SMALL_GATEWAY.replace("version = 1\n", ""));
    assert_faults(&text(""), &[("p.toml:1:1: version: missing; allowed: 1, as the first key", &[])]);
    assert_faults(
        &text("version = 2\nanything = 'else'\n"),
        &[("p.toml:1:11: version: found 2; allowed: 1, as the first key of the file: version = 1", &[])],
    );
    assert_faults(
        &text("vers = 1\nversion = 1\n"),
        &[
            ("p.toml:1:1: vers: unknown key, did you mean `version`?", &[]),
            ("p.toml:2:11: version: `version = 1` must be the first key of the file; found `vers` before it", &[]),
        ],
    );
}

#[test]
fn what_is_not_toml_is_told_beside_the_other_faults() {
    assert_faults(
        &format!("{SMALL_GATEWAY}host = upstream\ntimeout = 5\nmax_connections = 1\nmax_connections = 2\n"),
        &[
            ("p.toml:7:8: not TOML: ", &[]),
            ("p.toml:8:11: route[0].timeout: found 5, a number without a unit", &[]),
            ("p.toml:10:1: not TOML: duplicate key", &[]),
        ],
    );
}

#[test]
fn a_private_key_is_for_its_owner_alone() {
    let dir = keys();
    for mode in [0o600, 0o400] {
        set_mode(&dir, "gateway.pem", mode);
        gateway_in(&dir, SMALL_GATEWAY).unwrap();
    }
    for mode in [0o660, 0o604, 0o620, 0o602, 0o700] {
        set_mode(&dir, "gateway.pem", mode);
        let faults = gateway_in(&dir, SMALL_GATEWAY).unwrap_err();
        let file = dir.path().join("gateway.pem");
        assert_eq!(faults.faults[0].cause, Cause::Exposed { file, mode });
        assert!(faults.to_string().contains(&format!("mode {mode:04o}")), "{faults}");
    }
}

#[test]
fn a_group_may_read_what_root_gave_it() {
    let allowed = |owner, mode| keys::owner_alone(Path::new("k"), keys::Access { owner, mode }).is_ok();
    for mode in [0o600, 0o400] {
        assert!(allowed(0, mode) && allowed(1000, mode));
    }
    for mode in [0o640, 0o440] {
        assert!(allowed(0, mode) && !allowed(1000, mode));
    }
    for mode in [0o644, 0o660, 0o604, 0o650, 0o700] {
        assert!(!allowed(0, mode) && !allowed(1000, mode), "{mode:o}");
    }
}

#[test]
fn credentials_of_the_service_manager_come_before_files_beside_the_policy() {
    let (dir, credentials) = (keys(), keys());
    let move_to = |from: &str, to: &str| {
        let from = credentials.path().join(from);
        fs::rename(from, credentials.path().join(to)).unwrap();
    };
    move_to("other.pem", "keys_gateway.pem");
    move_to("secrets/phone-1.secret", "secrets_phone-2.secret");
    let text = SMALL_GATEWAY.replace("'gateway.pem'", "'keys/gateway.pem'\nsecrets = 'secrets'");
    fs::create_dir(dir.path().join("keys")).unwrap();
    fs::rename(dir.path().join("gateway.pem"), dir.path().join("keys/gateway.pem")).unwrap();
    let read = |env: &Environment| {
        let policy = GatewayPolicy::parse(&dir.path().join("p.toml"), &text, env).unwrap();
        (policy.recipients[0].file.clone(), policy.secrets[0].name.to_string())
    };
    assert_eq!(read(&no_env()), (dir.path().join("keys/gateway.pem"), "phone-1".to_owned()));
    let env: Environment = [("CREDENTIALS_DIRECTORY", credentials.path())].into_iter().collect();
    assert_eq!(read(&env), (credentials.path().join("keys_gateway.pem"), "phone-2".to_owned()));
    // What was not handed over is looked for where it always is.
    move_to("keys_gateway.pem", "another.pem");
    assert_eq!(read(&env), (dir.path().join("keys/gateway.pem"), "phone-2".to_owned()));
}

#[test]
fn a_key_file_is_a_small_text_file() {
    let dir = keys();
    fs::write(dir.path().join("long"), "x".repeat(70_000)).unwrap();
    fs::write(dir.path().join("binary"), [0xff; 9]).unwrap();
    fs::write(dir.path().join("empty"), "").unwrap();
    let cases = [
        (".", "not a regular file"),
        ("/dev/zero", "not a regular file"),
        ("long", "longer"),
        ("binary", "not a text file"),
        ("empty", "not an RSA key"),
    ];
    for (name, word) in cases {
        let faults = gateway_in(&dir, &SMALL_GATEWAY.replace("gateway.pem", name)).unwrap_err();
        assert!(faults.to_string().contains(word), "{faults}");
    }
}

#[test]
fn the_pin_is_that_of_the_key_and_does_not_stand_alone() {
    let dir = keys();
    let pin = |name: &str| read_public_half(&dir.path().join(name)).unwrap().key_id();
    let with_pin = |pin: KeyId| format!("{SMALL_AGENT}pin = '{pin}'\n");
    assert_eq!(pinned(&agent_in(&dir, &with_pin(pin("gateway.pem"))).unwrap()), [pin("gateway.pem")]);

    let faults = agent_in(&dir, &with_pin(pin("other.pem"))).unwrap_err();
    let file = dir.path().join("gateway.pub.pem");
    let cause = Cause::PinMismatch { file, found: pin("gateway.pem"), pins: vec![pin("other.pem")] };
    assert_eq!((&faults.faults[0].path[..], &faults.faults[0].cause), ("agent.pin", &cause));

    let alone = with_pin(pin("gateway.pem")).replace("key = 'gateway.pub.pem'\n", "");
    let faults = agent_in(&dir, &alone).unwrap_err();
    assert_eq!(faults.faults[0].cause, Cause::Conflict(Conflict::PinWithoutKey));
    assert!(faults.to_string().contains(".well-known/syncseal"), "{faults}");

    let several = |keys: &str, pins: &[KeyId]| {
        let pins: Vec<String> = pins.iter().map(KeyId::to_string).collect();
        agent_in(&dir, &SMALL_AGENT.replace("'gateway.pub.pem'", &format!("{keys}\npin = {pins:?}")))
    };
    let (first, second) = (pin("gateway.pem"), pin("other.pem"));
    let both = several("['gateway.pub.pem', 'other.pub.pem']", &[second, first]).unwrap();
    assert_eq!(pinned(&both), [first, second], "in the order of the keys");
    let faults = several("['gateway.pub.pem', 'other.pub.pem']", &[first]).unwrap_err();
    let file = dir.path().join("other.pub.pem");
    assert_eq!(faults.faults[0].cause, Cause::PinMismatch { file, found: second, pins: vec![first] });
    let faults = several("'gateway.pub.pem'", &[first, second]).unwrap_err();
    assert_eq!(faults.faults[0].cause, Cause::Conflict(Conflict::PinWithoutKey));
}

/// The ids of the keys that an agent pins.
fn pinned(policy: &AgentPolicy) -> Vec<KeyId> {
    match &policy.recipients {
        AgentRecipients::Rsa(keys) => keys.iter().map(RsaPublicKey::key_id).collect(),
        AgentRecipients::Secret(name, _) => panic!("an agent with the secret {name}"),
    }
}

#[test]
fn an_agent_uses_its_secret_unless_it_is_told_to_use_the_key() {
    let dir = keys();
    let shares = |policy: &AgentPolicy| match &policy.recipients {
        AgentRecipients::Secret(name, secret) => {
            assert_eq!((name.as_str(), secret.expose()), ("phone-1", &[7; 32][..]));
            true
        }
        AgentRecipients::Rsa(_) => false,
    };
    let with = |more: &str| agent_in(&dir, &format!("{SMALL_AGENT}{more}"));
    assert!(shares(&with("name = 'phone-1'\nsecret = 'phone-1.secret'").unwrap()));
    assert!(!shares(&with("name = 'phone-1'\nsecret = 'phone-1.secret'\nkey_transport = 'RSA-OAEP-256'").unwrap()));
    let alone = SMALL_AGENT.replace("key = 'gateway.pub.pem'", "name = 'phone-1'\nsecret = 'phone-1.secret'");
    assert!(shares(&agent_in(&dir, &alone).unwrap()));
    let faults = agent_in(&dir, &format!("{alone}key_transport = 'RSA-OAEP-256'")).unwrap_err();
    assert!(matches!(faults.faults[..], [Fault { ref path, cause: Cause::Missing { .. }, .. }] if path == "agent.key"));
    for (more, missing) in [
        ("name = 'phone-1'", "agent.secret"),
        ("secret = 'phone-1.secret'", "agent.name"),
        ("key_transport = 'A256KW'", "agent.secret"),
    ] {
        let faults = with(more).unwrap_err();
        assert!(faults.faults.iter().all(|fault| fault.path == missing), "{faults}");
    }
}

#[test]
fn secrets_come_from_a_directory_or_a_table() {
    let dir = keys();
    let with = |secrets: &str| {
        gateway_in(&dir, &SMALL_GATEWAY.replace("keys = 'gateway.pem'", &format!("keys = 'gateway.pem'\n{secrets}")))
    };
    let policy = with("secrets = 'secrets'").unwrap();
    assert_eq!(policy.key_transports, KeyTransport::ALL);
    let [secret] = &policy.secrets[..] else { panic!("{:?}", policy.secrets) };
    assert_eq!((secret.name.as_str(), secret.secret.expose()), ("phone-1", &[7; 32][..]));

    let policy = with(
        "[gateway.secrets]\n'Å' = 'phone-1.secret'\n'a.b' = { file = 'phone-1.secret', \
         devices = ['IMEI:49*', 'x?'], expires = 2027-01-31T01:00:00+01:00 }",
    )
    .unwrap();
    let of = |name: &str| policy.secrets.iter().find(|secret| secret.name.as_str() == name).unwrap();
    assert!(of("Å").devices.is_none() && of("Å").expires.is_none());
    assert_eq!(of("a.b").expires, Some(UnixTime(1_801_353_600)));
    let devices = of("a.b").devices.as_ref().unwrap();
    for (source, among) in [
        ("IMEI:49", true),
        (" IMEI:4930051\n", true),
        ("imei:4930051", false),
        ("IMEI:50", false),
        ("xy", true),
        ("xyz", false),
        ("", false),
    ] {
        assert_eq!(devices.contain(source.as_bytes()), among, "{source:?}");
    }
    assert!(!devices.contain(b"IMEI:49\xff"), "not text");

    let alone = SMALL_GATEWAY.replace("keys = 'gateway.pem'", "secrets = 'secrets'");
    assert_eq!(gateway_in(&dir, &alone).unwrap().key_transports, [KeyTransport::A256Kw]);
    let policy = with("secrets = 'secrets'\nkey_transports = 'RSA-OAEP-256'").unwrap();
    assert_eq!(policy.key_transports, [KeyTransport::RsaOaep256]);
    assert_eq!(with("secrets = {}").unwrap().key_transports, [KeyTransport::RsaOaep256]);
    assert_eq!(with("secrets = {}\nkey_transports = ['A256KW']").unwrap().key_transports, [KeyTransport::A256Kw]);
}

#[test]
fn wrong_secrets_are_reported_each() {
    let dir = keys();
    let write = |name: &str, text: &str, mode: u32| {
        fs::write(dir.path().join(name), text).unwrap();
        set_mode(&dir, name, mode);
    };
    let good = fs::read_to_string(dir.path().join("phone-1.secret")).unwrap();
    write("open.secret", &good, 0o644);
    write("short.secret", "AAAA\n", 0o600);
    write("two.secret", &format!("{good}{good}"), 0o600);
    let faults = |gateway: &str| {
        let text = SMALL_GATEWAY.replace("keys = 'gateway.pem'", &format!("keys = 'gateway.pem'\n{gateway}"));
        gateway_in(&dir, &text).unwrap_err().to_string()
    };
    for (secrets, words) in [
        ("secrets = { a = 'open.secret' }", "gateway.secrets.\"a\": found"),
        ("secrets = { a = 'open.secret' }", "mode 0644: group or others can use it"),
        ("secrets = { a = 'short.secret' }", "a secret of 3 bytes"),
        ("secrets = { a = 'two.secret' }", "one line of standard base64"),
        ("secrets = { a = 'nowhere' }", "cannot read"),
        ("secrets = { '' = 'phone-1.secret' }", "found \"\"; allowed: the name of a secret"),
        ("secrets = { a = { devices = [] } }", "an empty list"),
        ("secrets = { a = { devices = [] } }", "gateway.secrets.\"a\".file: missing"),
        ("secrets = { a = { file = 'phone-1.secret', device = 'x' } }", "did you mean `devices`?"),
        ("secrets = { a = { file = 'phone-1.secret', expires = 2027-01-31 } }", "a time with its offset"),
        ("secrets = { a = { file = 'phone-1.secret', expires = '2027-01-31T00:00:00Z' } }", "a time with its offset"),
        ("secrets = 'nowhere'", "cannot read"),
        ("secrets = 7", "the directory of files NAME.secret"),
        ("key_transports = ['A256KW']", "missing: gateway.secrets"),
        ("key_transports = []", "an empty list"),
    ] {
        let faults = faults(secrets);
        assert!(faults.contains(words), "{secrets} {faults}");
    }
    let text = "secrets = 'secrets'";
    write(&format!("secrets/{}.secret", "x".repeat(65)), &good, 0o600);
    write("secrets/bad.secret", "", 0o600);
    write("secrets/README", "not looked at", 0o644);
    let both = faults(text);
    assert!(both.contains("bad.secret: a secret of 0 bytes") && both.contains("UTF-8 of 1 to 64 bytes"), "{both}");
    set_mode(&dir, "secrets", 0o770);
    assert!(faults(text).contains("mode 0770: group or others can write to it"));
}

#[test]
fn keys_after_the_first_may_have_an_end() {
    let dir = keys();
    let with = |keys: &str| gateway_in(&dir, &SMALL_GATEWAY.replace("'gateway.pem'", keys));
    let policy = with("['gateway.pem', { file = 'other.pem', accept_until = 2027-01-31T00:00:00Z }]").unwrap();
    let ends: Vec<_> = policy.recipients.iter().map(|key| key.accept_until).collect();
    assert_eq!(ends, [None, Some(UnixTime(1_801_353_600))]);
    for (keys, words) in [
        ("[{ file = 'other.pem', accept_until = 2027-01-31T00:00:00Z }]", "the first key is the active one"),
        ("['gateway.pem', { file = 'gateway.pem', accept_until = 2027-01-31T00:00:00Z }]", "a second time"),
        ("['gateway.pem', { accept_until = 2027-01-31T00:00:00Z }]", "gateway.keys[1].file: missing"),
        ("['gateway.pem', { file = 'other.pem', accept_till = 2027-01-31T00:00:00Z }]", "did you mean `accept_until`?"),
    ] {
        let faults = with(keys).unwrap_err().to_string();
        assert!(faults.contains(words), "{keys} {faults}");
    }
}

#[test]
fn the_environment_overrides_keys_of_tables() {
    let dir = keys();
    let file = dir.path().join("p.toml");
    let env = env(&[
        ("SYNCSEAL_GATEWAY__LISTEN", "127.0.0.1:1234"),
        ("SYNCSEAL_CRYPTO__ALGORITHMS", "['A128GCM', 'A192GCM']"),
        ("SYNCSEAL_EARLY__ACCEPT", "true"),
        ("SYNCSEAL_LIMITS__DRAIN", "5 s"),
        ("SYNCSEAL_LIMITS__IN_FLIGHT", "7"),
        ("SYNCSEAL_VECTORS", "elsewhere"),
        ("HOME", "a__b"),
    ]);
    let policy = GatewayPolicy::parse(&file, SMALL_GATEWAY, &env).unwrap();
    assert_eq!(policy.listeners, [Listener::from("127.0.0.1:1234".parse::<std::net::SocketAddr>().unwrap())]);
    assert_eq!(policy.algorithms, [Algorithm::A128Gcm, Algorithm::A192Gcm]);
    assert!(policy.early);
    assert_eq!((policy.limits.drain, policy.limits.in_flight), (Duration::from_secs(5), 7));
}

#[test]
fn a_fault_from_the_environment_names_its_variable() {
    let dir = keys();
    let env = env(&[
        ("SYNCSEAL_LIMITS__DRAIN", "5"),
        ("SYNCSEAL_GATEWAY__LISTEN", "['127.0.0.1:1', 'x']"),
        ("SYNCSEAL_GATEWAY__LISTN", "127.0.0.1:1"),
        ("SYNCSEAL_ROUTE__PATH", "/"),
    ]);
    let faults = GatewayPolicy::parse(&dir.path().join("p.toml"), SMALL_GATEWAY, &env).unwrap_err();
    let faults = shown(&dir, &faults);
    assert_eq!(faults.len(), 4, "{faults:?}");
    let begins = [
        "environment variable SYNCSEAL_GATEWAY__LISTEN: gateway.listen[1]: found \"x\"; allowed: an address and port",
        "environment variable SYNCSEAL_GATEWAY__LISTN: no such setting, did you mean `SYNCSEAL_GATEWAY__LISTEN`?",
        "environment variable SYNCSEAL_LIMITS__DRAIN: limits.drain: found 5, a number without a unit",
        "environment variable SYNCSEAL_ROUTE__PATH: no such setting",
    ];
    for (fault, begin) in faults.iter().zip(begins) {
        assert!(fault.starts_with(begin), "{fault}");
    }
}

#[test]
fn the_role_is_told_by_its_table() {
    let dir = keys();
    let load = |text: &str| Policy::parse(&dir.path().join("p.toml"), text, &no_env());
    assert!(matches!(load(SMALL_GATEWAY), Ok(Policy::Gateway(_))));
    assert!(matches!(load(SMALL_AGENT), Ok(Policy::Agent(_))));
    let faults = gateway_in(&dir, SMALL_AGENT).unwrap_err();
    assert_eq!(shown(&dir, &faults).len(), 1, "{faults}");
    assert_eq!(faults.faults[0].cause, Cause::OtherRole { wanted: "gateway" });
}

#[test]
fn a_file_that_cannot_be_read_is_a_fault() {
    let dir = keys();
    let faults = Policy::load(&dir.path().join("none.toml"), &no_env()).unwrap_err();
    assert!(matches!(faults.faults[0].cause, Cause::Unreadable { .. }), "{faults}");
}

#[test]
fn secrets_are_not_shown() {
    let dir = keys();
    let shown = format!("{:?}", gateway_in(&dir, SMALL_GATEWAY).unwrap());
    assert!(shown.contains("Recipient(") && shown.contains("gateway.pem"), "{shown}");
    let pem = fs::read_to_string(dir.path().join("gateway.pem")).unwrap();
    assert!(!pem.lines().any(|line| shown.contains(line)));
}

#[test]
fn the_policies_in_the_readme_load() {
    let dir = keys();
    let readme = include_str!("../../README.md");
    let blocks: Vec<String> = readme
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| {
            Some(rest.split_once("```")?.0.lines().map(|line| format!("{}\n", line.trim_start())).collect())
        })
        .collect();
    let roles: Vec<bool> = blocks
        .iter()
        .filter(|block| block.starts_with("version"))
        .map(|block| match Policy::parse(&dir.path().join("p.toml"), block, &no_env()) {
            Ok(policy) => matches!(policy, Policy::Gateway(_)),
            Err(faults) => panic!("{faults}"),
        })
        .collect();
    assert_eq!(roles, [true, false], "a gateway's and an agent's");
}

/// What `limits` with this line makes of it: the message limit and the drain time, or the causes.
fn limits(line: &str) -> Result<(usize, Duration), Vec<Cause>> {
    let policy = gateway_in(&keys(), &format!("{SMALL_GATEWAY}[limits]\n{line}\n"));
    policy
        .map(|policy| (policy.message_limit, policy.limits.drain))
        .map_err(|faults| faults.faults.into_iter().map(|fault| fault.cause).collect())
}

#[test]
fn sizes_and_durations_have_units() {
    let sizes =
        [("4096B", 4096), ("5 kB", 5000), ("4KiB", 4096), ("2 MB", 2_000_000), ("1 MiB", 1 << 20), ("1 GiB", 1 << 30)];
    for (text, size) in sizes {
        assert_eq!(limits(&format!("message = '{text}'")).unwrap().0, size, "{text}");
    }
    let durations = [("100ms", 100), ("7 s", 7_000), ("3min", 180_000), ("1 h", 3_600_000), (" 2  s ", 2_000)];
    for (text, millis) in durations {
        assert_eq!(limits(&format!("drain = '{text}'")).unwrap().1, Duration::from_millis(millis), "{text}");
    }
}

#[test]
fn a_number_without_its_unit_is_told_apart_from_other_faults() {
    for line in ["message = 5000", "message = '5000'", "drain = 5", "drain = 0.5", "drain = '5'"] {
        assert!(matches!(limits(line).unwrap_err()[..], [Cause::Unitless { .. }]), "{line}");
    }
    let wrong =
        ["5 mb", "5 K", "-5 kB", "0.5 MB", "5 kB 1 B", "kB", "", "1 B", "2 GiB", "99999999999999999999 B", "5 min"];
    for text in wrong {
        let causes = limits(&format!("message = '{text}'")).unwrap_err();
        assert!(matches!(causes[..], [Cause::Refused { .. }]), "{text} {causes:?}");
    }
    for text in ["5 sec", "5 M", "1 d", "0 s", "10 kB", "18446744073709551615 d"] {
        let causes = limits(&format!("drain = '{text}'")).unwrap_err();
        assert!(matches!(causes[..], [Cause::Refused { .. }]), "{text} {causes:?}");
    }
}

const STORE_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n";

/// The gateway's policy with these lines in `[sessions]`, in a directory with a store key.
fn gateway_with_store(lines: &str) -> (TempDir, Result<GatewayPolicy, Faults>) {
    let dir = keys();
    fs::write(dir.path().join("store.key"), STORE_KEY).unwrap();
    set_mode(&dir, "store.key", 0o600);
    fs::write(dir.path().join("ca.pem"), rcgen::generate_simple_self_signed(Vec::new()).unwrap().cert.pem()).unwrap();
    let text = SMALL_GATEWAY.replacen("[[route]]", &format!("[sessions]\n{lines}\n[[route]]"), 1);
    let policy = gateway_in(&dir, &text);
    (dir, policy)
}

#[test]
fn sessions_are_kept_where_the_policy_says() {
    let (_dir, policy) = gateway_with_store("store = \"memory\"");
    assert!(matches!(policy.unwrap().store, Store::Memory));
    let (_dir, policy) = gateway_with_store("store = \"redis://:secret@127.0.0.1:7000/3\"\nstore_key = \"store.key\"");
    let Store::Redis(settings) = policy.unwrap().store else { panic!("in memory") };
    assert_eq!(settings.servers[0].to_string(), "redis://127.0.0.1:7000");
    assert!(!format!("{settings:?}").contains("secret"));
    let (_dir, policy) = gateway_with_store(
        "store = [\"rediss://a\", \"rediss://b\"]\nstore_sentinel = \"m\"\nstore_key = \"store.key\"",
    );
    let Store::Redis(settings) = policy.unwrap().store else { panic!("in memory") };
    assert_eq!((settings.servers.len(), settings.sentinel.as_deref()), (2, Some("m")));
}

#[test]
fn a_store_that_cannot_be_is_refused() {
    for (lines, faults) in [
        ("store = \"redis://127.0.0.1\"", &["sessions.store_key: missing"][..]),
        (
            "store = \"http://127.0.0.1\"",
            &["sessions.store: found \"http://127.0.0.1\"; allowed: \"memory\", \"redis://"],
        ),
        ("store = \"rediss://a#insecure\"", &["sessions.store: found"]),
        ("store = [\"memory\", \"redis://a\"]\nstore_key = \"store.key\"", &["sessions.store: found \"memory\" among"]),
        ("store = [\"redis://a\", \"redis://b\"]\nstore_key = \"store.key\"", &["missing: sessions.store_sentinel"]),
        ("store = \"redis://a\"\nstore_key = \"gateway.pem\"", &["not a store key"]),
        ("store = \"rediss://a\"\nstore_key = \"store.key\"\nstore_ca = \"store.key\"", &["no certificate in it"]),
        ("store = \"redis://a\"\nstore_key = \"store.key\"\nstore_ca = \"ca.pem\"", &["count with TLS only"]),
        (
            "store = [\"redis://a\", \"rediss://b\"]\nstore_key = \"store.key\"\nstore_sentinel = \"m\"",
            &["found servers with TLS and without"],
        ),
    ] {
        let (dir, policy) = gateway_with_store(lines);
        let shown = shown(&dir, &policy.expect_err(lines));
        assert_eq!(shown.len(), faults.len(), "{lines}: {shown:?}");
        for (fault, words) in shown.iter().zip(faults) {
            assert!(fault.contains(words), "{fault}");
        }
    }
    let dir = keys();
    fs::write(dir.path().join("store.key"), STORE_KEY).unwrap();
    set_mode(&dir, "store.key", 0o644);
    let text = SMALL_GATEWAY.replacen(
        "[[route]]",
        "[sessions]\nstore = \"redis://a\"\nstore_key = \"store.key\"\n[[route]]",
        1,
    );
    let faults = shown(&dir, &gateway_in(&dir, &text).unwrap_err());
    assert!(faults[0].contains("mode 0644"), "{faults:?}");
}

/// What `SMALL_GATEWAY` or `SMALL_AGENT` with these lines makes of listeners: each as it is shown, or the faults.
fn listeners(small: &str, lines: &str) -> Result<Vec<String>, Vec<String>> {
    let dir = keys();
    let listeners = match Policy::parse(&dir.path().join("p.toml"), &format!("{small}{lines}\n"), &no_env()) {
        Ok(Policy::Gateway(policy)) => policy.listeners,
        Ok(Policy::Agent(policy)) => policy.listeners,
        Err(faults) => return Err(shown(&dir, &faults)),
    };
    let show = |listener: &Listener| format!("{} {:o} {:?}", listener.address, listener.mode, listener.balancers);
    Ok(listeners.iter().map(show).collect())
}

#[test]
fn listeners_come_from_both_forms() {
    let both = SMALL_GATEWAY.replace("[gateway]\n", "[gateway]\nlisten = ['127.0.0.1:1', '[::]:2']\n");
    let tables = "[[listener]]\naddress = 'unix:/run/a'\nmode = '0600'\nproxy_protocol_from = ['127.0.0.1', '::/0']\n\
         [[listener]]\naddress = 'systemd:sync'";
    let all = ["127.0.0.1:1 660 []", "[::]:2 660 []", "unix:/run/a 600 [127.0.0.1/32, ::/0]", "systemd:sync 660 []"];
    assert_eq!(listeners(&both, tables).unwrap(), all);
    assert_eq!(listeners(SMALL_GATEWAY, tables).unwrap(), all[2..]);
    assert_eq!(listeners(SMALL_GATEWAY, "").unwrap(), ["127.0.0.1:8080 660 []"]);
    assert_eq!(listeners(SMALL_AGENT, "").unwrap(), ["127.0.0.1:8070 660 []"]);
}

#[test]
fn what_cannot_be_listened_on_is_told() {
    let twice = "[[listener]]\naddress = '127.0.0.1:1'\n[[listener]]\naddress = '127.0.0.1:1'";
    for (lines, fault) in [
        ("[[listener]]\nmode = '0600'", "listener[0].address: missing; allowed: \"ADDRESS:PORT\", \"unix:/PATH\""),
        ("[[listener]]\naddress = 'unix:run/x'", "listener[0].address: found \"unix:run/x\""),
        ("[[listener]]\naddress = 'systemd:'", "listener[0].address: found \"systemd:\""),
        ("[[listener]]\naddress = 'localhost:1'", "listener[0].address: found \"localhost:1\""),
        ("[[listener]]\naddress = 'unix:/x'\nmode = '0060'", "listener[0].mode: found \"0060\""),
        ("[[listener]]\naddress = 'unix:/x'\nmode = '66'", "listener[0].mode: found \"66\""),
        ("[[listener]]\naddress = '127.0.0.1:1'\nmode = '0600'", "listener[0].mode: only the socket of an address"),
        (twice, "listener[1].address: found \"127.0.0.1:1\" a second time"),
        (
            "[[listener]]\naddress = '[::1]:1'\nproxy_protocol_from = ['10.0.0.1/8']",
            "listener[0].proxy_protocol_from[0]",
        ),
        ("[listener]\naddress = '[::1]:1'", "listener: found a table; allowed: one or more tables, [[listener]]"),
    ] {
        let faults = listeners(SMALL_GATEWAY, lines).expect_err(lines);
        assert!(faults.len() == 1 && faults[0].contains(fault), "{lines}: {faults:?}");
    }
    let long = format!("[[listener]]\naddress = 'unix:/{}'", "x".repeat(107));
    assert_eq!(listeners(SMALL_GATEWAY, &long).unwrap_err().len(), 1);
}

#[test]
fn an_agent_takes_plaintext_from_other_machines_only_if_the_policy_says_how_dangerous_that_is() {
    let dangerous = "\n[dangerous]\npublic_plaintext_listener = true";
    for public in ["listen = '0.0.0.0:80'", "listen = '[::ffff:192.0.2.1]:80'", "[[listener]]\naddress = '[::]:80'"] {
        let faults = listeners(SMALL_AGENT, public).expect_err(public);
        assert!(
            faults.len() == 1 && faults[0].contains("public_plaintext_listener = true in [dangerous]"),
            "{faults:?}"
        );
        listeners(SMALL_AGENT, &format!("{public}{dangerous}")).unwrap();
    }
    for private in ["listen = '[::ffff:127.0.0.1]:80'", "[[listener]]\naddress = 'unix:/run/x'"] {
        listeners(SMALL_AGENT, private).unwrap();
    }
    let policy = agent_in(&keys(), &format!("{SMALL_AGENT}{dangerous}")).unwrap();
    assert_eq!(policy.dangers, [Danger::PublicPlaintextListener]);
    assert!(policy.dangers[0].to_string().contains("plaintext from other machines"));
}

#[test]
fn the_operators_window_is_open_to_others_only_if_the_policy_says_how_dangerous_that_is() {
    let table = "version = 1\n";
    for small in [SMALL_GATEWAY, SMALL_AGENT] {
        let dir = keys();
        let with = |tables: &str| {
            let text = small.replace(table, &format!("{table}{tables}"));
            Policy::parse(&dir.path().join("p.toml"), &text, &no_env())
        };
        let admin = "[admin]\nlisten = '0.0.0.0:9901'\n";
        let faults = with(admin).unwrap_err().to_string();
        assert!(faults.contains("public_admin_listener = true in [dangerous]"), "{faults}");
        let (admin, dangers) = match with(&format!("{admin}[dangerous]\npublic_admin_listener = true\n")).unwrap() {
            Policy::Gateway(policy) => (policy.admin, policy.dangers),
            Policy::Agent(policy) => (policy.admin, policy.dangers),
        };
        assert_eq!(admin.listen, Some(ListenAddr::Tcp("0.0.0.0:9901".parse().unwrap())));
        assert_eq!(dangers, [Danger::PublicAdminListener]);
    }
}

#[test]
fn keys_that_became_dangerous_say_where_they_are_now() {
    let old = format!("{SMALL_GATEWAY}bind_sessions = false\n[crypto]\nrequire_key_exchange = true\n");
    assert_faults(
        &old,
        &[
            ("p.toml:7:17: route[0].bind_sessions: this is less safe", &["dangerous = { bind_sessions = false }"]),
            ("p.toml:9:24: crypto.require_key_exchange: this is less safe", &["in [dangerous]"]),
        ],
    );
}

#[test]
fn a_listener_speaks_tls_as_its_files_say() {
    let dir = keys();
    let with = |tls: &str| {
        let lines = format!(
            "clients = ['*.fleet.example', 'spiffe://x']\n[[listener]]\naddress = '[::]:443'\ntls = {{ {tls} }}\n"
        );
        gateway_in(&dir, &format!("{SMALL_GATEWAY}{lines}"))
    };
    let files = "certificate = 'tls.pem', key = 'tls.key', client_ca = 'client-ca.pem'";
    for (more, required) in [("", true), (", client_auth = 'require'", true), (", client_auth = 'request'", false)] {
        let policy = with(&format!("{files}{more}")).unwrap();
        let listener = &policy.listeners[0];
        assert!(!listener.is_plaintext() && listener.asks_clients());
        let tls = &listener.tls.as_ref().unwrap().tls;
        assert_eq!(tls.clients().map(|clients| clients.required), Some(required));
        assert_eq!(tls.identity().not_after().to_string(), "2050-01-01T00:00:00Z");
        let names = |name: &str| ClientNames([name.to_owned()].into());
        assert!(policy.routes[0].admits(Some(&names("a.fleet.example"))));
        assert!(!policy.routes[0].admits(Some(&names("a.example"))));
        assert!(!policy.routes[0].admits(None));
    }
    let agent = format!("{SMALL_AGENT}[[listener]]\naddress = '0.0.0.0:443'\ntls = {{ {files} }}\n");
    assert!(agent_in(&dir, &agent).is_ok(), "TLS may be public");
}

#[test]
fn certificates_that_cannot_be_used_are_told_with_what_to_do() {
    let dir = keys();
    for (name, from, until) in [("old", 2001, 2020), ("new", 2049, 2050), ("other", 2020, 2050)] {
        let (certificate, key) = certificate(from, until);
        write(&dir, &format!("{name}.pem"), &certificate);
        write(&dir, &format!("{name}.key"), &key);
    }
    write(&dir, "open.key", &fs::read_to_string(dir.path().join("tls.key")).unwrap());
    set_mode(&dir, "open.key", 0o644);
    let tls = |certificate: &str, key: &str, more: &str| {
        format!("tls = {{ certificate = '{certificate}', key = '{key}'{more} }}")
    };
    for (lines, path, words) in [
        (
            tls("old.pem", "old.key", ""),
            "tls.certificate",
            ["old.pem: a certificate expired on 2020-01-01", "put a new one"],
        ),
        (tls("new.pem", "new.key", ""), "tls.certificate", ["new.pem: a certificate is valid only from 2049", "clock"]),
        (tls("tls.pem", "other.key", ""), "tls.certificate", ["the private key does not belong", "was made for"]),
        (
            tls("tls.key", "tls.key", ""),
            "tls.certificate",
            ["tls.key: there is no certificate", "put PEM certificates"],
        ),
        (tls("tls.pem", "tls.pem", ""), "tls.certificate", ["there is no private key", "unencrypted"]),
        (tls("tls.pem", "open.key", ""), "tls.key", ["mode 0644", "chmod 600"]),
        (tls("no.pem", "tls.key", ""), "tls.certificate", ["cannot read no.pem", ""]),
        (
            tls("tls.pem", "tls.key", ", client_ca = 'tls.key'"),
            "tls.client_ca",
            ["there is no certificate in it", "PEM"],
        ),
        (tls("tls.pem", "tls.key", ", client_auth = 'request'"), "tls.client_auth", ["missing: client_ca", ""]),
        (tls("tls.pem", "tls.key", ", client_caa = 'x'"), "tls.client_caa", ["unknown key, did you mean", ""]),
        ("tls = { certificate = 'tls.pem' }".to_owned(), "tls.key", ["missing; allowed: the file of the cert", ""]),
        ("tls = 'tls.pem'".to_owned(), "tls", ["found \"tls.pem\"; allowed: { certificate", ""]),
    ] {
        let text = format!("{SMALL_GATEWAY}[[listener]]\naddress = '127.0.0.1:0'\n{lines}\n");
        let faults = shown(&dir, &gateway_in(&dir, &text).expect_err(&lines));
        assert_eq!(faults.len(), 1, "{lines}: {faults:?}");
        let [one, other] = words;
        let path = format!("listener[0].{path}: ");
        assert!(
            faults[0].contains(&path) && faults[0].contains(one) && faults[0].contains(other),
            "{lines}: {faults:?}"
        );
    }
    let faults = shown(&dir, &gateway_in(&dir, &format!("{SMALL_GATEWAY}clients = 'a.example'\n")).unwrap_err());
    assert!(
        faults.len() == 1 && faults[0].contains("route[0].clients: nobody is asked for a certificate"),
        "{faults:?}"
    );
}

#[test]
fn operators_look_in_at_an_address_at_a_socket_or_not_at_all() {
    let dir = keys();
    let listen = |lines: &str| gateway_in(&dir, &format!("{SMALL_GATEWAY}{lines}")).map(|policy| policy.admin.listen);
    assert_eq!(listen("").unwrap(), Some(ListenAddr::Tcp("127.0.0.1:9901".parse().unwrap())));
    assert_eq!(listen("[admin]\nlisten = 'off'").unwrap(), None);
    let unix = Some(ListenAddr::Unix("/run/syncseal/admin.sock".into()));
    assert_eq!(listen("[admin]\nlisten = 'unix:/run/syncseal/admin.sock'").unwrap(), unix);
}

#[test]
fn what_is_shown_of_a_policy_holds_no_secret() {
    let dir = keys();
    let store_key = base64_turbo::STANDARD.encode([9; 32]);
    fs::write(dir.path().join("store.key"), &store_key).unwrap();
    set_mode(&dir, "store.key", 0o600);
    let text = "version = 1\n[gateway]\nkeys = ['gateway.pem', { file = 'other.pem', accept_until = 2030-01-31T00:00:00Z }]\n\
         [gateway.secrets]\n'phone-1' = { file = 'phone-1.secret', devices = ['IMEI:49*'] }\n\
         [sessions]\nstore = 'redis://user:hunter2@127.0.0.1:6379'\nstore_key = 'store.key'\n\
         [[route]]\npath = '/sync'\nupstream = 'http://127.0.0.1:9080'\n";
    let policy = gateway_in(&dir, text).unwrap();
    let view = policy.view();
    let shown = view.to_string();
    let pem = fs::read_to_string(dir.path().join("gateway.pem")).unwrap();
    let secret = base64_turbo::STANDARD.encode([7; 32]);
    for hidden in ["hunter2", &store_key, &secret, pem.lines().nth(1).unwrap(), "PRIVATE"] {
        assert!(!shown.contains(hidden), "{hidden} in {shown}");
    }
    let keys = &view["gateway"]["keys"];
    assert_eq!(keys[0]["kid"], policy.recipients[0].key_id().to_string());
    assert_eq!(keys[1]["accept_until"], "2030-01-31T00:00:00Z");
    assert_eq!(view["gateway"]["secrets"][0]["devices"], "\"IMEI:49*\"");
    assert_eq!(view["sessions"]["store"]["servers"], serde_json::json!(["redis://127.0.0.1:6379"]));
    assert_eq!(view["route"][0]["upstream"], "http://127.0.0.1:9080");
    // The digest is that of the file's text.
    assert_eq!(view["file_sha256"], hex::encode(policy.provider.sha256(&[text.as_bytes()])));
}
