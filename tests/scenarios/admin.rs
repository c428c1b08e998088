//! The window for operators: alive, ready, what is counted, which sessions, which policy.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use syncseal::crypto::NamedGroup;
use syncseal::seal::{InitParameters, Reason};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;

use crate::common::Program;
use crate::common::redis::Redis;
use crate::http::{exchange, post, post_bytes, post_seal, request_bytes};
use crate::scrape::{self, Scrape, ask, readiness};
use crate::server::{Reply, Server};
use crate::site::{Running, Site, rule};
use crate::syncml::{Client, FIRST, XML, accepted};
use crate::terminal::{Terminal, handshake_bytes, parameters};
use crate::world::{policy_text, public_key};

const IN_FLIGHT: &str = "syncseal_exchanges_in_flight";

/// What holds between the counters of a gateway at rest; see docs/metrics.md.
#[track_caller]
fn assert_balanced(scrape: &Scrape) {
    let ended = |outcome| scrape.sum("syncseal_exchanges_total", &[("outcome", outcome)]);
    let messages = |protection, direction| {
        scrape.sum("syncseal_messages_total", &[("protection", protection), ("direction", direction)])
    };
    let received = scrape.sum("syncseal_exchanges_received_total", &[]);
    assert_eq!(received, scrape.sum("syncseal_exchanges_total", &[]), "1: every exchange has one outcome");
    assert_eq!(received, scrape.sum("syncseal_exchange_duration_seconds_count", &[]), "1: and one duration");
    let refused = ended("refused") + ended("refused_sealed") + ended("shed");
    assert_eq!(refused, scrape.sum("syncseal_refusals_total", &[]), "2: every refusal has one reason");
    let sealed = messages("message", "s2c") + messages("data", "s2c");
    assert_eq!(sealed, ended("forwarded") + ended("refused_sealed"), "3: what was accepted is sealed once");
    assert!(messages("message", "c2s") + messages("data", "c2s") >= sealed, "3: and was opened before");
    let begun = scrape.sum("syncseal_handshakes_total", &[("result", "begun")]);
    assert_eq!(begun, ended("handshake"), "4: handshakes");
    let passed = ["2xx", "3xx", "4xx", "5xx"]
        .map(|class| scrape.sum("syncseal_upstream_requests_total", &[("result", &format!("passed_{class}"))]));
    let forwarded = ended("forwarded") + ended("plaintext") + ended("observed");
    assert_eq!(passed.iter().sum::<f64>(), forwarded, "5: what was forwarded was answered");
    let plaintext = messages("plaintext", "s2c");
    assert!(plaintext >= ended("plaintext") && plaintext <= ended("plaintext") + ended("observed"), "6: plaintext");
}

#[tokio::test]
async fn a_gateway_that_runs_is_alive_and_ready_and_counts() {
    let gateway = Site::new("", "").await.start().await;
    let _terminal = gateway.terminal().await;
    assert_eq!(scrape::json(gateway.admin, "/livez").await, (200, json!({ "live": true })));
    assert_eq!(scrape::json(gateway.admin, "/readyz").await, (200, json!({ "ready": true, "causes": [] })));
    let scrape = Scrape::of(gateway.admin).await;
    assert_eq!(scrape.sum("syncseal_exchanges_total", &[("outcome", "handshake")]), 1.0);
    assert_eq!(scrape.sum("syncseal_sessions", &[("state", "pending")]), 1.0);
    assert_eq!(scrape.sum("syncseal_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1.0);
}

/// Sends the same request four times: it is answered, and then repeated.
async fn retransmit(addr: SocketAddr, mut terminal: Terminal, client: Client) {
    let sealed = terminal.seal_message(&client);
    for _ in 0..4 {
        terminal.open(&post_seal(addr, &sealed).await).assert_says(200, &accepted());
    }
}

/// Begins a request, and goes away in the middle of it.
async fn abandon(addr: SocketAddr) {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let request = post_bytes(&format!("Content-Type: {XML}\r\n"), &FIRST.xml());
    stream.write_all(&request[..request.len() - 10]).await.unwrap();
}

#[tokio::test]
async fn whatever_comes_in_has_one_outcome_and_the_books_balance() {
    let rules = [
        rule("old", "devices = ['OLD:*']", "permit"),
        rule("new", "devices = ['NEW:*']", "observe"),
        rule("rest", "", "require"),
    ];
    let gateway = Site::new("[limits]\nin_flight = 64\nmessage = \"64 kB\"", &rules.concat()).await.start().await;
    let addr = gateway.addr;
    let ids = ["11", "12", "13", "14"];
    let mut load = JoinSet::new();
    for session_id in ids {
        let (mut terminal, repeating) = (gateway.terminal().await, gateway.terminal().await);
        load.spawn(async move {
            for _ in 0..12 {
                terminal.send(&Client { session_id, ..FIRST }).await.assert_says(200, &accepted());
            }
            // Its number is accepted, its message refused: in a seal.
            let foreign = Client { session_id, msg_id: 9, source: "IMEI:other", ..FIRST };
            terminal.send(&foreign).await.assert_refused(Reason::SessionBound);
        });
        load.spawn(retransmit(addr, repeating, Client { session_id, source: "IMEI:repeating", ..FIRST }));
        load.spawn(async move {
            for source in ["OLD:1", "NEW:1", "IMEI:1"] {
                post(addr, XML, &Client { session_id, source, ..FIRST }.xml()).await;
            }
            post(addr, XML, b"<SyncML>").await;
            post(addr, "text/plain", b"x").await;
            post_seal(addr, b"\xd0\x83").await;
            post(addr, XML, &vec![b'x'; 200_000]).await;
            exchange(addr, &request_bytes("GET /sync HTTP/1.1", "", b"")).await;
            exchange(addr, &request_bytes("GET /.well-known/syncseal HTTP/1.1", "", b"")).await;
            exchange(addr, &request_bytes("POST /elsewhere HTTP/1.1", "Content-Length: 0\r\n", b"")).await;
            abandon(addr).await;
        });
    }
    while let Some(done) = load.join_next().await {
        done.unwrap();
    }
    let scrape = Scrape::at_rest(gateway.admin, IN_FLIGHT).await;
    assert_balanced(&scrape);
    let n = ids.len() as f64;
    let ended = |outcome| scrape.sum("syncseal_exchanges_total", &[("outcome", outcome)]) / n;
    // Of each kind, as many as were sent.
    for (outcome, each) in [
        ("handshake", 2.0),
        ("forwarded", 13.0),
        ("refused_sealed", 1.0),
        ("repeated", 3.0),
        ("plaintext", 1.0),
        ("observed", 1.0),
        ("discovery", 1.0),
        ("failed", 0.0),
        ("shed", 0.0),
    ] {
        assert_eq!(ended(outcome), each, "{outcome}");
    }
    // One without a seal, one that is no document, one that is no seal, one that is too long.
    assert_eq!(ended("refused"), 4.0);
    assert_eq!(ended("declined") + ended("abandoned"), 4.0, "a method, a type, a path; and one that went away");
    assert_eq!(scrape.sum("syncseal_rule_refusals_total", &[("rule", "rest"), ("reason", "encryption-required")]), n);
    assert_eq!(scrape.sum("syncseal_would_be_refusals_total", &[("rule", "new")]), n);
    assert_eq!(scrape.sum("syncseal_limit_hits_total", &[("limit", "message")]), n);
    // What the stages took was measured where they were passed.
    let stage = |stage| scrape.sum("syncseal_stage_duration_seconds_count", &[("stage", stage)]) / n;
    assert_eq!((stage("unwrap"), stage("open"), stage("seal"), stage("upstream")), (2.0, 14.0, 14.0, 15.0));
    let accepts = scrape.sum("syncseal_store_operations_total", &[("operation", "accept"), ("result", "done")]) / n;
    assert_eq!((stage("accept"), accepts), (14.0, 14.0));
}

#[tokio::test]
async fn what_is_shed_is_counted_and_so_is_the_limit_that_was_hit() {
    let gateway = Site::new("[limits]\nin_flight = 2", "").await.start().await;
    let (mut one, mut other) = (gateway.terminal().await, gateway.terminal().await);
    let held = [gateway.site.server.will_hold(), gateway.site.server.will_hold()];
    let addr = gateway.addr;
    let sealed = [one.seal_message(&FIRST), other.seal_message(&Client { session_id: "8", ..FIRST })];
    let busy = sealed.map(|sealed| tokio::spawn(async move { post_seal(addr, &sealed).await }));
    gateway.site.server.has_seen(2).await;
    let scrape = Scrape::of(gateway.admin).await;
    assert_eq!(scrape.sum(IN_FLIGHT, &[]), 2.0);
    post(addr, XML, &FIRST.xml()).await.assert_problem(Reason::Overloaded);
    drop(held);
    for busy in busy {
        busy.await.unwrap().assert_sealed();
    }
    let scrape = Scrape::at_rest(gateway.admin, IN_FLIGHT).await;
    assert_balanced(&scrape);
    assert_eq!(scrape.sum("syncseal_exchanges_total", &[("outcome", "shed")]), 1.0);
    assert_eq!(scrape.sum("syncseal_limit_hits_total", &[("limit", "in_flight")]), 1.0);
}

#[tokio::test]
async fn a_gateway_without_its_server_is_alive_but_not_ready_until_the_server_is_back() {
    let site = Site::new("", "").await;
    let socket = site.path("server.sock");
    site.write_file("gateway.toml", &policy_text("127.0.0.1:0", &format!("unix:{}", socket.display()), "", ""));
    let gateway = site.start().await;
    let causes = readiness(gateway.admin, 503).await;
    assert_eq!(causes.len(), 1);
    assert_eq!(causes[0].0, "upstream");
    assert!(causes[0].1.contains("server.sock cannot be reached"), "{causes:?}");
    assert_eq!(scrape::json(gateway.admin, "/livez").await.0, 200);
    let server = Server::unix(&socket);
    assert_eq!(readiness(gateway.admin, 200).await, []);
    drop(server);
    readiness(gateway.admin, 503).await;
}

#[tokio::test]
async fn how_many_servers_must_be_there_is_policy() {
    for (needs, status) in [("any", 200), ("all", 503), ("none", 200)] {
        let down = Server::down();
        let route = format!("[[route]]\npath = \"/other\"\nupstream = \"{}\"", down.address);
        let admin = format!("[admin]\nlisten = \"127.0.0.1:0\"\nready_needs_upstreams = \"{needs}\"");
        let gateway = Site::new(&admin, &route).await.start().await;
        let causes = readiness(gateway.admin, status).await;
        assert_eq!(causes.iter().filter(|cause| cause.1.contains(&down.address)).count(), usize::from(status == 503));
        assert!(causes.len() <= 1, "the server that is there is no cause: {causes:?}");
    }
}

#[tokio::test]
async fn while_it_drains_it_is_alive_and_not_ready_and_can_be_watched_to_the_end() {
    let mut gateway = Site::new("", "").await.start().await;
    let mut terminal = gateway.terminal().await;
    let release = gateway.site.server.will_hold();
    let (addr, sealed) = (gateway.addr, terminal.seal_message(&FIRST));
    let busy = tokio::spawn(async move { post_seal(addr, &sealed).await });
    gateway.site.server.has_seen(1).await;
    gateway.program.terminate();
    assert_eq!(readiness(gateway.admin, 503).await[0].0, "draining");
    assert_eq!(scrape::json(gateway.admin, "/livez").await.0, 200);
    assert_eq!(Scrape::of(gateway.admin).await.sum(IN_FLIGHT, &[]), 1.0);
    drop(release);
    terminal.open(&busy.await.unwrap()).assert_says(200, &accepted());
    assert_eq!(gateway.program.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_gateway_whose_secrets_have_all_expired_is_not_ready() {
    let site = Site::new("", "").await;
    let made = site.run(&["keygen", "--shared", "phone-1"]).await;
    assert_eq!(made.0, Some(0), "{}", made.1);
    let upstream = &site.server.address;
    let policy = |expires: &str| {
        format!(
            "version = 1\n[gateway]\nlisten = \"127.0.0.1:0\"\n[gateway.secrets]\n\
             'phone-1' = {{ file = 'phone-1.secret', expires = {expires} }}\n[admin]\nlisten = \"127.0.0.1:0\"\n\
             [[route]]\npath = \"/sync\"\nupstream = \"{upstream}\"\n"
        )
    };
    site.write_file("gateway.toml", &policy("2020-01-01T00:00:00Z"));
    let later = policy("2999-01-01T00:00:00Z");
    let mut gateway = site.start().await;
    assert_eq!(readiness(gateway.admin, 503).await, [("keys".into(), "every key and secret has expired".into())]);
    assert_eq!(Scrape::of(gateway.admin).await.sum("syncseal_secrets", &[("state", "expired")]), 1.0);
    gateway.site.write_file("gateway.toml", &later);
    gateway.reload(2).await;
    assert_eq!(readiness(gateway.admin, 200).await, []);
    let scrape = Scrape::of(gateway.admin).await;
    assert_eq!(scrape.sum("syncseal_secret_expiry_timestamp_seconds", &[]), 32_472_144_000.0);
    assert_eq!(scrape.sum("syncseal_policy_generation", &[]), 2.0);
}

#[tokio::test]
async fn a_store_that_is_lost_is_a_cause_and_its_gauges_are_not_made_up() {
    let site = Site::new("", "").await;
    let mut redis = Redis::start(site.dir()).await;
    site.write_file("store.key", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n");
    std::fs::set_permissions(site.path("store.key"), std::fs::Permissions::from_mode(0o600)).unwrap();
    site.write_policy(&format!("[sessions]\nstore = \"{}\"\nstore_key = \"store.key\"", redis.url()), "");
    let gateway = site.start().await;
    let _terminal = gateway.terminal().await;
    assert_eq!(readiness(gateway.admin, 200).await, []);
    let scrape = Scrape::of(gateway.admin).await;
    assert_eq!(scrape.sum("syncseal_store_up", &[]), 1.0);
    assert_eq!(scrape.sum("syncseal_sessions", &[("state", "pending")]), 1.0);
    // What replicas share is counted, and not listed.
    let (_, sessions) = scrape::json(gateway.admin, "/sessions").await;
    assert_eq!(sessions, json!({ "count": 1, "pending": 1, "sessions": null, "next": null }));
    redis.kill().await;
    let causes = readiness(gateway.admin, 503).await;
    assert_eq!(causes, [("store".into(), "the session store is out of reach".into())]);
    let scrape = Scrape::of(gateway.admin).await;
    assert_eq!(scrape.sum("syncseal_store_up", &[]), 0.0);
    assert!(!scrape.has("syncseal_sessions", &[]));
    assert!(
        scrape.sum("syncseal_store_operations_total", &[("operation", "counts"), ("result", "unavailable")]) >= 1.0
    );
    redis.restart().await;
    assert_eq!(readiness(gateway.admin, 200).await, []);
}

#[tokio::test]
async fn a_page_in_a_browser_can_neither_read_nor_reload() {
    let gateway = Site::new("", "").await.start().await;
    let admin = gateway.admin;
    // A name that was made to lead here.
    let rebound = format!("GET /policy HTTP/1.1\r\nHost: evil.example:{}\r\nConnection: close\r\n\r\n", admin.port());
    assert_eq!(exchange(admin, rebound.as_bytes()).await.status, 421);
    // A form, from anywhere.
    let form =
        "Origin: http://evil.example\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 0\r\n";
    assert_eq!(ask(admin, "POST", "/reload", form).await.status, 403);
    // A script asks before it sends what no form can; nobody says yes.
    let preflight = "Origin: http://evil.example\r\nAccess-Control-Request-Headers: syncseal-admin\r\n";
    let answer = ask(admin, "OPTIONS", "/reload", preflight).await;
    assert_eq!(answer.status, 405);
    assert!(!answer.fields.iter().any(|(name, _)| name.starts_with("access-control")), "{answer:?}");
    assert_eq!(Scrape::of(admin).await.sum("syncseal_reloads_total", &[]), 0.0);
}

#[tokio::test]
async fn a_reload_through_the_window_is_answered_and_counted_with_what_became_of_it() {
    let gateway = Site::new("", "").await.start().await;
    let admin = gateway.admin;
    let guard = "syncseal-admin: 1\r\nContent-Length: 0\r\n";
    let answer = ask(admin, "POST", "/reload", guard).await;
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    gateway.site.write_policy("nonsense = 1", "");
    let answer = ask(admin, "POST", "/reload", guard).await;
    assert!((400..600).contains(&answer.status));
    assert!(String::from_utf8_lossy(&answer.body).contains("nonsense"), "{answer:?}");
    let scrape = Scrape::of(admin).await;
    for (result, n) in [("applied", 1.0), ("faulty", 1.0)] {
        assert_eq!(scrape.sum("syncseal_reloads_total", &[("result", result)]), n, "{result}");
    }
}

#[tokio::test]
async fn series_come_and_go_with_the_rules_and_routes_that_they_are_about() {
    let rules = |name| format!("{}{}", rule(name, "devices = ['OLD:*']", "permit"), rule("rest", "", "require"));
    let mut gateway = Site::new("", &rules("first")).await.start().await;
    post(gateway.addr, XML, &FIRST.xml()).await;
    let before = Scrape::of(gateway.admin).await;
    let rest = [("rule", "rest"), ("reason", "encryption-required")];
    assert_eq!(before.sum("syncseal_rule_refusals_total", &rest), 1.0);
    let other = format!("[[route]]\npath = \"/other\"\nupstream = \"{}\"", gateway.site.server.address);
    let mut generation = 1;
    for (name, route) in [("second", ""), ("third", &*other), ("fourth", "")] {
        gateway.site.write_policy("", &format!("{route}\n{}", rules(name)));
        generation += 1;
        gateway.reload(generation).await;
        let after = Scrape::of(gateway.admin).await;
        assert!(after.has("syncseal_rule_refusals_total", &[("rule", name)]));
        assert!(!after.has("syncseal_rule_refusals_total", &[("rule", "first")]));
        assert_eq!(after.sum("syncseal_rule_refusals_total", &rest), 1.0, "what stays counts on");
        assert_eq!(after.has("syncseal_upstream_requests_total", &[("route", "/other")]), !route.is_empty());
    }
    assert_eq!(Scrape::of(gateway.admin).await.len(), before.len(), "as many as at first");
}

#[tokio::test]
async fn what_strangers_send_makes_no_series() {
    let gateway = Site::new("", &rule("everybody", "", "observe")).await.start().await;
    let before = Scrape::of(gateway.admin).await.len();
    for n in 0..20 {
        let request = request_bytes(&format!("BREW{n} /sync/{n}?{n} HTTP/1.1"), &format!("X-{n}: {n}\r\n"), b"");
        exchange(gateway.addr, &request).await;
        post(gateway.addr, &format!("application/x-{n}"), b"x").await;
        exchange(gateway.addr, &request_bytes(&format!("GET /{n} HTTP/1.1"), "", b"")).await;
    }
    assert_eq!(Scrape::of(gateway.admin).await.len(), before);
}

#[tokio::test]
async fn handshakes_are_counted_by_what_they_ask_for_and_what_became_of_them() {
    let gateway = Site::new("", "").await.start().await;
    let key = public_key();
    let _begun = gateway.terminal().await;
    let without = InitParameters { group: None, require_exchange: false, ..parameters(&key) };
    post_seal(gateway.addr, &handshake_bytes(&without)).await.assert_problem(Reason::KeyExchangeRequired);
    let mut spoilt = handshake_bytes(&parameters(&key)).to_vec();
    *spoilt.last_mut().unwrap() ^= 1;
    post_seal(gateway.addr, &spoilt).await.assert_problem(Reason::CannotOpen);
    let scrape = Scrape::of(gateway.admin).await;
    let rsa = |group, result| {
        let labels = [("transport", "RSA-OAEP-256"), ("group", group), ("result", result)];
        scrape.sum("syncseal_handshakes_total", &labels)
    };
    let group = NamedGroup::X25519.name();
    assert_eq!((rsa(group, "begun"), rsa("none", "refused"), rsa(group, "cannot_open")), (1.0, 1.0, 1.0));
    assert_eq!(scrape.sum("syncseal_handshakes_total", &[]), 3.0);
    assert_balanced(&scrape);
}

#[tokio::test]
async fn what_servers_do_is_counted_by_route() {
    let down = Server::down();
    let route = format!("[[route]]\npath = \"/other\"\nupstream = \"{}\"", down.address);
    let gateway = Site::new("", &format!("timeout = \"1 s\"\n{route}")).await.start().await;
    let mut terminal = gateway.terminal().await;
    terminal.send(&FIRST).await.assert_says(200, &accepted());
    gateway.site.server.will(Reply::Bytes(b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n".to_vec()));
    terminal.send(&FIRST).await.assert_refused(Reason::UpstreamInvalid);
    gateway.site.server.will(Reply::Silence);
    terminal.send(&FIRST).await.assert_refused(Reason::UpstreamTimeout);
    let scrape = Scrape::of(gateway.admin).await;
    let of = |route, result| scrape.sum("syncseal_upstream_requests_total", &[("route", route), ("result", result)]);
    assert_eq!([of("/sync", "passed_2xx"), of("/sync", "invalid"), of("/sync", "timeout")], [1.0; 3]);
    assert_eq!(scrape.sum("syncseal_upstream_requests_total", &[("route", "/other")]), 0.0);
    assert_balanced(&scrape);
}

#[tokio::test]
async fn sessions_are_listed_page_by_page_and_without_secrets() {
    let gateway = Site::new("", "").await.start().await;
    let mut terminals = Vec::new();
    for _ in 0..5 {
        terminals.push(gateway.terminal().await);
    }
    terminals[0].send(&FIRST).await.assert_says(200, &accepted());
    let mut listed = Vec::new();
    let mut path = "/sessions?limit=2".to_owned();
    loop {
        let (_, page) = scrape::json(gateway.admin, &path).await;
        assert_eq!((&page["count"], &page["pending"]), (&json!(5), &json!(4)));
        let sessions = page["sessions"].as_array().unwrap();
        assert!(sessions.len() <= 2);
        listed.extend(sessions.iter().cloned());
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/sessions?limit=2&after={next}");
    }
    assert_eq!(listed.len(), 5);
    let keys: Vec<_> = listed[0].as_object().unwrap().keys().cloned().collect();
    let mut expected =
        ["age_seconds", "idle_seconds", "kid", "layer", "next_number", "route", "sid", "stage", "sync_sessions"];
    expected.sort_unstable();
    assert_eq!(keys, expected);
    let used: Vec<&Value> = listed.iter().filter(|session| session["stage"] == "established").collect();
    assert_eq!(used.len(), 1);
    let used = used[0];
    assert_eq!((&used["next_number"], &used["sync_sessions"]), (&json!(2), &json!(1)));
    assert_eq!((&used["route"], &used["layer"]), (&json!("/sync"), &json!("message")));
    assert_eq!(used["kid"], public_key().key_id().to_string());
    assert_eq!(ask(gateway.admin, "GET", "/sessions?limit=5000", "").await.status, 400);
}

/// SHA-256 of a file, in hexadecimal digits.
fn digest(file: &Path) -> String {
    Sha256::digest(std::fs::read(file).unwrap()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn the_policy_in_force_is_shown_with_the_version_of_its_file() {
    let mut gateway = Site::new("[early]\naccept = true", "").await.start().await;
    let file = gateway.site.path("gateway.toml");
    let (_, shown) = scrape::json(gateway.admin, "/policy").await;
    assert_eq!(shown["generation"], 1);
    assert_eq!(shown["policy"]["file_sha256"], digest(&file));
    // What the file says, and what it leaves out.
    assert_eq!(shown["policy"]["early"], json!({ "accept": true, "window": "300 s", "remembered": 65_536 }));
    assert_eq!(shown["policy"]["rule"][0]["plaintext"], "require");
    assert_eq!(shown["policy"]["gateway"]["keys"][0]["kid"], public_key().key_id().to_string());
    assert!(!shown.to_string().contains("PRIVATE KEY"));
    let before = digest(&file);
    gateway.site.write_policy("", &rule("everybody", "", "permit"));
    assert_ne!(digest(&file), before);
    let (_, waiting) = scrape::json(gateway.admin, "/policy").await;
    assert_eq!(waiting["policy"]["file_sha256"], before, "in force is what was read");
    gateway.reload(2).await;
    let (_, shown) = scrape::json(gateway.admin, "/policy").await;
    assert_eq!((&shown["generation"], &shown["policy"]["file_sha256"]), (&json!(2), &json!(digest(&file))));
    assert_eq!(shown["policy"]["rule"][0]["plaintext"], "permit");
}

#[tokio::test]
async fn the_window_can_be_a_unix_socket_or_none() {
    let site = Site::new("[admin]\nlisten = \"off\"", "").await;
    let mut program = site.spawn();
    program.listening().await;
    assert!(!program.log().contains("admin listening"));
    program.terminate();
    assert_eq!(program.ended().await.code(), Some(0));
    let socket = site.path("admin.sock");
    site.write_policy(&format!("[admin]\nlisten = \"unix:{}\"", socket.display()), "");
    let mut program = site.spawn();
    program.listening().await;
    let mut stream = UnixStream::connect(&socket).await.unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    program.terminate();
    assert_eq!(program.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_gateway_on_the_machine_is_told_which_key_to_change() {
    let gateway = Site::new("", "").await.start().await;
    let second = Site::new(&format!("[admin]\nlisten = \"{}\"", gateway.admin), "").await;
    let mut program = second.spawn();
    assert_eq!(program.ended().await.code(), Some(71));
    let log = program.log();
    assert!(log.contains("admin.listen in the policy, or SYNCSEAL_ADMIN__LISTEN") && log.contains("in use"), "{log}");
}

#[tokio::test]
async fn an_agent_has_a_window_too() {
    let gateway = Site::new("", "").await.start().await;
    let dir = gateway.site.dir();
    std::fs::write(dir.join("gateway.pub.pem"), public_key().to_pem()).unwrap();
    let agent = format!(
        "version = 1\n[agent]\nlisten = \"127.0.0.1:0\"\ngateway = \"http://{}/sync\"\nkey = \"gateway.pub.pem\"\n\
         gateway_names = [\"https://gateway.example\"]\n[admin]\nlisten = \"127.0.0.1:0\"\n",
        gateway.addr
    );
    std::fs::write(dir.join("agent.toml"), agent).unwrap();
    let command = Program::command(["agent", "agent.toml", "--log-format", "json"], dir);
    let mut program = Program::spawn(command, dir, "agent");
    let (admin, addr) = (program.admin_listening().await, program.listening().await);
    assert_eq!(readiness(admin, 200).await, []);
    assert_eq!(post(addr, XML, &FIRST.xml()).await.body, accepted());
    // Its last answer again; what it cannot take; one that goes away.
    assert_eq!(post(addr, XML, &FIRST.xml()).await.body, accepted());
    assert_eq!(post(addr, "text/plain", b"x").await.status, 415);
    abandon(addr).await;
    let (_, policy) = scrape::json(admin, "/policy").await;
    assert_eq!(policy["policy"]["agent"]["keys"][0], public_key().key_id().to_string());
    assert_eq!(ask(admin, "GET", "/sessions", "").await.status, 404);
    let scrape = Scrape::at_rest(admin, "syncseal_agent_exchanges_in_flight").await;
    let ended = |outcome| scrape.sum("syncseal_agent_exchanges_total", &[("outcome", outcome)]);
    assert_eq!((ended("answered"), ended("repeated")), (1.0, 1.0));
    let received = scrape.sum("syncseal_agent_exchanges_received_total", &[]);
    assert_eq!(received, scrape.sum("syncseal_agent_exchanges_total", &[]));
    assert_eq!(ended("declined"), scrape.sum("syncseal_agent_declined_total", &[]));
    assert_eq!(scrape.sum("syncseal_agent_gateway_duration_seconds_count", &[]), 1.0);
    assert_eq!(documented(true), shown(&scrape));
    drop(gateway);
    assert_eq!(readiness(admin, 503).await[0].0, "upstream");
}

/// The names of series, and of their labels, that an expression of PromQL uses.
fn named(expression: &str) -> Vec<(String, Vec<String>)> {
    let is_of_a_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(at) = rest.find("syncseal_") {
        rest = &rest[at..];
        let end = rest.find(|c| !is_of_a_name(c)).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let labels = after.strip_prefix('{').and_then(|after| after.split_once('}')).map_or("", |(labels, _)| labels);
        let labels = labels.split(',').filter_map(|label| label.split_once(['=', '!'])).map(|(label, _)| label.trim());
        found.push((name.to_owned(), labels.map(str::to_owned).collect()));
        rest = after;
    }
    found
}

/// A scrape in which everything shows that ever does, but what depends on TLS and on Redis.
async fn full_scrape() -> (Running, Scrape) {
    let site = Site::new("", "").await;
    let made = site.run(&["keygen", "--shared", "phone-1"]).await;
    assert_eq!(made.0, Some(0), "{}", made.1);
    let key = std::fs::read(site.path("gateway.pem")).unwrap();
    let made = site.run(&["keygen", "new.pem"]).await;
    assert_eq!(made.0, Some(0), "{}", made.1);
    assert!(!key.is_empty());
    let secrets = "[gateway.secrets]\n'phone-1' = { file = 'phone-1.secret', expires = 2999-01-01T00:00:00Z }";
    let rules = rule("everybody", "", "permit");
    let text = policy_text("127.0.0.1:0", &site.server.address, secrets, &rules).replace(
        "keys = [\"gateway.pem\"]",
        "keys = [\"new.pem\", { file = \"gateway.pem\", accept_until = 2999-01-01T00:00:00Z }]",
    );
    site.write_file("gateway.toml", &text);
    let gateway = site.start().await;
    let scrape = Scrape::of(gateway.admin).await;
    (gateway, scrape)
}

/// What shows only with TLS at a listener.
const TLS_ONLY: [&str; 1] = ["syncseal_certificate_expiry_timestamp_seconds"];

#[tokio::test]
async fn alert_rules_and_dashboard_name_what_a_scrape_shows_and_nothing_else() {
    let (_gateway, scrape) = full_scrape().await;
    let names = scrape.names();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    let rules = std::fs::read_to_string(root.join("prometheus/alerts.yml")).unwrap();
    let dashboard = std::fs::read_to_string(root.join("grafana/syncseal.json")).unwrap();
    let board: Value = serde_json::from_str(&dashboard).unwrap();
    let panels = board["panels"].as_array().unwrap();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let asked: Vec<&str> = targets.map(|target| target["expr"].as_str().unwrap()).collect();
    assert!(asked.len() >= 15, "a dashboard");
    // The alert rules are read by their form: one expression on the line of its key.
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).collect();
    assert_eq!(alerts.len(), rules.lines().filter(|line| line.trim().starts_with("- alert: ")).count());
    assert!(alerts.len() >= 10, "rules");
    for expression in asked.into_iter().chain(alerts) {
        let used = named(expression);
        assert!(!used.is_empty() || expression.starts_with("up{"), "{expression}");
        for (name, labels) in used.iter().filter(|(name, _)| !TLS_ONLY.contains(&&**name)) {
            let known = names.get(&**name).unwrap_or_else(|| panic!("no {name}: {expression}"));
            for label in labels.iter().filter(|label| !["job", "instance"].contains(&&***label)) {
                assert!(known.contains(&**label), "{name} has no label {label}: {expression}");
            }
        }
    }
}

/// The metrics that docs/metrics.md lists, with their types, of a gateway or of an agent.
fn documented(of_agent: bool) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md")).unwrap();
    let row = |line: &str| -> Option<(String, String)> {
        let mut cells = line.strip_prefix("| `syncseal_")?.split(" | ");
        let name = format!("syncseal_{}", cells.next()?.strip_suffix('`')?);
        Some((name, cells.next()?.to_owned()))
    };
    let mut rows: Vec<_> = text.lines().filter_map(row).collect();
    rows.retain(|(name, _)| name.starts_with("syncseal_agent_") == of_agent && !TLS_ONLY.contains(&&**name));
    rows.sort();
    rows
}

/// The metrics of a scrape, each with its type.
#[track_caller]
fn shown(scrape: &Scrape) -> Vec<(String, String)> {
    let families = scrape.families.iter();
    let described = families.inspect(|(name, (_, help))| assert!(help.len() > 9, "{name} says nothing: {help}"));
    described.map(|(name, (kind, _))| (name.clone(), kind.clone())).collect()
}

#[tokio::test]
async fn the_documentation_lists_every_metric_and_no_other() {
    let (_gateway, scrape) = full_scrape().await;
    assert_eq!(documented(false), shown(&scrape));
    // And every value of the labels whose values are ours; reasons are the protocol's.
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md")).unwrap();
    let others = ["kid", "le", "provider", "reason", "route", "rule", "version"];
    for (label, value) in scrape.values().into_iter().filter(|(label, _)| !others.contains(label)) {
        assert!(text.contains(&format!("`{value}`")), "{label} {value} is not in docs/metrics.md");
    }
}
