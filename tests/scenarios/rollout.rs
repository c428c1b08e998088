//! The rollout ladder: which rule decides, and what is observed, permitted and refused under it.

use serde_json::Value;
use syncseal::seal::Reason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::common::Program;
use crate::http::{exchange, post, post_seal, request_bytes};
use crate::server::Reply;
use crate::site::{Running, Site, rule};
use crate::syncml::{Client, FIRST, SECOND, XML, accepted, accepted_at, http, resp_uri};

/// A gateway under one rule, for everybody.
async fn under(plaintext: &str) -> Running {
    Site::new("", &rule("everybody", "", plaintext)).await.start().await
}

/// The fields of the next line about an exchange that has this field.
async fn exchanged(program: &mut Program, name: &str, value: &str) -> Value {
    program
        .logged(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            let fields = &line["fields"];
            (fields["message"] == "exchange" && fields[name] == value).then(|| fields.clone())
        })
        .await
}

fn device(source: &'static str) -> Client {
    Client { source, ..FIRST }
}

#[tokio::test]
async fn what_is_observed_is_forwarded_byte_for_byte_and_would_have_been_refused() {
    let mut gateway = under("observe").await;
    let answer = post(gateway.addr, XML, &FIRST.xml()).await;
    assert_eq!((answer.status, answer.content_type(), &answer.body), (200, XML, &accepted()));
    assert_eq!(gateway.site.server.bodies(), [FIRST.xml()]);
    let line = exchanged(&mut gateway.program, "decision", "observed").await;
    assert_eq!((&line["rule"], &line["would_refuse"]), (&"everybody".into(), &"encryption-required".into()));
}

#[tokio::test]
async fn what_is_sealed_is_honoured_under_every_rule() {
    for plaintext in ["observe", "permit", "require"] {
        let mut gateway = under(plaintext).await;
        gateway.terminal().await.send(&FIRST).await.assert_says(200, &accepted());
        let line = exchanged(&mut gateway.program, "decision", "forwarded").await;
        assert_eq!((&line["rule"], &line["would_refuse"]), (&Value::Null, &Value::Null), "{plaintext}");
    }
}

#[tokio::test]
async fn observed_syncml_that_cannot_be_read_is_forwarded() {
    let mut gateway = under("observe").await;
    for body in [&b"<SyncML><SyncHdr>"[..], b"no XML at all", b"<SyncML><SyncBody/></SyncML>", b""] {
        assert_eq!(post(gateway.addr, XML, body).await.body, accepted());
        assert_eq!(gateway.site.server.bodies().last().unwrap(), body);
    }
    exchanged(&mut gateway.program, "would_refuse", "malformed").await;
}

#[tokio::test]
async fn other_types_and_methods_are_forwarded_under_observation_and_so_are_their_answers() {
    let mut gateway = under("observe").await;
    let page = b"<html>\xff\x00</html>";
    gateway.site.server.will(Reply::Bytes(http("404 Not Found\r\nContent-Type: text/html\r\nX-Of: server", page)));
    let request = request_bytes("GET /sync/status?a=%20b HTTP/1.1", "Accept: */*\r\nTE: trailers\r\n", b"");
    let answer = exchange(gateway.addr, &request).await;
    assert_eq!((answer.status, answer.content_type(), &answer.body[..]), (404, "text/html", &page[..]));
    assert_eq!(answer.field("x-of"), Some("server"));
    exchanged(&mut gateway.program, "would_refuse", "method-not-allowed").await;

    for (fields, body) in
        [("Content-Type: text/xml\r\n", &b"<x/>"[..]), ("", b"\x00"), ("Content-Encoding: gzip\r\n", b"z")]
    {
        let fields = format!("{fields}Content-Length: {}\r\n", body.len());
        assert_eq!(exchange(gateway.addr, &request_bytes("POST /sync HTTP/1.1", &fields, body)).await.body, accepted());
        assert_eq!(gateway.site.server.bodies().last().unwrap(), body);
    }
    exchanged(&mut gateway.program, "would_refuse", "unsupported-media-type").await;
    let seen = gateway.site.server.seen();
    assert_eq!(seen[0].line(), "GET /sync/status?a=%20b HTTP/1.1");
    assert_eq!((seen[0].field("accept").as_deref(), seen[0].field("te")), (Some("*/*"), None));
    assert_eq!((seen[1].field("content-type").as_deref(), seen[2].field("content-type")), (Some("text/xml"), None));
    assert_eq!(seen[3].field("content-encoding").as_deref(), Some("gzip"));
}

#[tokio::test]
async fn the_answer_to_an_observed_head_says_how_long_the_body_would_have_been() {
    let gateway = under("observe").await;
    gateway.site.server.will(Reply::Bytes(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 17\r\nConnection: close\r\n\r\n".to_vec(),
    ));
    let mut stream = TcpStream::connect(gateway.addr).await.unwrap();
    stream.write_all(&request_bytes("HEAD /sync HTTP/1.1", "", b"")).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
    assert!(answer.to_lowercase().contains("content-length: 17\r\n"), "{answer}");
}

#[tokio::test]
async fn an_answer_that_could_not_be_passed_on_is_passed_on_under_observation() {
    let mut gateway = under("observe").await;
    gateway.site.server.will(Reply::Bytes(http("302 Found\r\nContent-Type: text/html\r\nLocation: /login", b"go")));
    let answer = post(gateway.addr, XML, &FIRST.xml()).await;
    assert_eq!((answer.status, answer.field("location"), &answer.body[..]), (302, Some("/login"), &b"go"[..]));
    gateway.site.server.will_say(&accepted_at("http://elsewhere.example/sync"));
    let answer = post(gateway.addr, XML, &FIRST.xml()).await;
    assert_eq!(answer.body, accepted_at("http://elsewhere.example/sync"));
    exchanged(&mut gateway.program, "would_refuse", "upstream-invalid").await;
    // The server's own name is replaced all the same.
    let own = format!("{}/sync?s=1", gateway.site.server.address);
    gateway.site.server.will_say(&accepted_at(&own));
    assert_eq!(resp_uri(&post(gateway.addr, XML, &FIRST.xml()).await.body), "https://gateway.example/sync?s=1");
}

#[tokio::test]
async fn a_syncml_session_that_is_anothers_is_observed_and_does_not_change_hands() {
    let mut gateway = under("observe").await;
    let mut terminal = gateway.terminal().await;
    terminal.send(&Client { cred: true, ..FIRST }).await.assert_says(200, &accepted());
    assert_eq!(post(gateway.addr, XML, &SECOND.xml()).await.body, accepted());
    exchanged(&mut gateway.program, "would_refuse", "session-bound").await;
    terminal.send(&SECOND).await.assert_says(200, &accepted());
    assert_eq!(gateway.site.server.bodies().len(), 3);
}

#[tokio::test]
async fn a_target_beside_those_of_the_route_is_observed_and_one_that_leads_out_of_it_is_refused() {
    let route = format!("targets = [\"/sync/ds\"]\n{}", rule("everybody", "", "observe"));
    let mut gateway = Site::new("", &route).await.start().await;
    let to = |target: &str| {
        let body = FIRST.xml();
        let fields = format!("Content-Type: {XML}\r\nContent-Length: {}\r\n", body.len());
        request_bytes(&format!("POST {target} HTTP/1.1"), &fields, &body)
    };
    assert_eq!(exchange(gateway.addr, &to("/sync/ds")).await.body, accepted());
    exchanged(&mut gateway.program, "would_refuse", "encryption-required").await;
    assert_eq!(exchange(gateway.addr, &to("/sync/dm")).await.body, accepted());
    exchanged(&mut gateway.program, "would_refuse", "malformed").await;
    for target in ["/sync/../admin", "/sync/%2e%2e/admin", "/sync/..;x/admin", "/sync/%2fadmin", "/sync/%5c"] {
        assert_eq!(exchange(gateway.addr, &to(target)).await.reason(), Reason::Malformed, "{target}");
        let get = request_bytes(&format!("GET {target} HTTP/1.1"), "", b"");
        exchange(gateway.addr, &get).await.assert_problem(Reason::Malformed);
    }
    assert_eq!(gateway.site.server.seen().len(), 2);
}

#[tokio::test]
async fn what_is_over_the_limit_is_refused_under_observation_too() {
    let tables = "[limits]\nmessage = \"4 KiB\"";
    let gateway = Site::new(tables, &rule("everybody", "", "observe")).await.start().await;
    assert_eq!(post(gateway.addr, XML, &FIRST.xml_of(4096)).await.body, accepted());
    post(gateway.addr, XML, &FIRST.xml_of(4097)).await.assert_problem(Reason::TooLarge);
    assert_eq!(post(gateway.addr, "text/plain", &[b'a'; 4096]).await.body, accepted());
    post(gateway.addr, "text/plain", &[b'a'; 4097]).await.assert_problem(Reason::TooLarge);
    assert_eq!(gateway.site.server.seen().len(), 2);
}

#[tokio::test]
async fn a_seal_that_cannot_be_opened_is_refused_under_observation_too() {
    let gateway = under("observe").await;
    let mut terminal = gateway.terminal().await;
    let mut sealed = terminal.seal_message(&FIRST).to_vec();
    *sealed.last_mut().unwrap() ^= 1;
    post_seal(gateway.addr, &sealed).await.assert_problem(Reason::CannotOpen);
    post_seal(gateway.addr, b"no seal").await.assert_problem(Reason::Malformed);
    assert_eq!(post(gateway.addr, "application/cose", &sealed).await.status, 415);
    let get =
        request_bytes("GET /sync HTTP/1.1", "Content-Type: application/cose; cose-type=\"cose-encrypt0\"\r\n", b"");
    assert_eq!(exchange(gateway.addr, &get).await.status, 405);

    let mark = "<Meta><EMI xmlns=\"syncml:metinf\">syncseal+:AAAA</EMI></Meta></SyncHdr>";
    let document = |end: &str| String::from_utf8(FIRST.xml()).unwrap().replace("</SyncHdr>", end).into_bytes();
    assert_eq!(post(gateway.addr, XML, &document(mark)).await.reason(), Reason::Malformed);
    let twice = mark.replace("<Meta>", &format!("{}<Meta>", mark.replace("</SyncHdr>", "")));
    assert_eq!(post(gateway.addr, XML, &document(&twice)).await.reason(), Reason::Malformed);
    let broken = document(mark);
    post(gateway.addr, XML, &broken[..broken.len() - 9]).await.assert_problem(Reason::Malformed);
    gateway.site.server.assert_untouched();
}

#[tokio::test]
async fn a_server_that_is_away_is_told_to_whoever_is_observed() {
    let mut gateway = under("observe").await;
    gateway.site.server.will(Reply::Bytes(b"no HTTP\r\n\r\n".to_vec()));
    assert_eq!(post(gateway.addr, XML, &FIRST.xml()).await.reason(), Reason::UpstreamInvalid);
    gateway.site.server.will(Reply::Bytes(b"no HTTP\r\n\r\n".to_vec()));
    post(gateway.addr, "text/plain", b"a").await.assert_problem(Reason::UpstreamInvalid);
    exchanged(&mut gateway.program, "reason", "upstream-invalid").await;
}

#[tokio::test]
async fn an_exception_for_some_devices_leaves_the_others_refused() {
    let rules = rule("old-phones", "devices = [\"IMEI:4901*\"]", "permit") + &rule("everybody", "", "require");
    let mut gateway = Site::new("", &rules).await.start().await;
    assert_eq!(post(gateway.addr, XML, &device("IMEI:490154203237518").xml()).await.body, accepted());
    let line = exchanged(&mut gateway.program, "decision", "plaintext").await;
    assert_eq!(line["rule"], "old-phones");
    let refused = post(gateway.addr, XML, &device("IMEI:4902").xml()).await;
    assert_eq!(refused.reason(), Reason::EncryptionRequired);
    let line = exchanged(&mut gateway.program, "reason", "encryption-required").await;
    assert_eq!(line["rule"], "everybody");
    // Peers would read this name differently: it is nobody's here.
    let ambiguous = post(gateway.addr, XML, &device("IMEI:4901&#233;").xml()).await;
    assert_eq!(ambiguous.reason(), Reason::EncryptionRequired);
    assert_eq!(gateway.site.server.seen().len(), 1);
}

#[tokio::test]
async fn an_exception_for_some_addresses_is_for_them_alone() {
    for (addresses, permitted) in [("127.0.0.0/8", true), ("127.0.0.1", true), ("10.0.0.0/8", false), ("::1", false)] {
        let lab = rule("lab", &format!("addresses = [\"{addresses}\"]"), "permit");
        let gateway = Site::new("", &(lab + &rule("everybody", "", "require"))).await.start().await;
        let answer = post(gateway.addr, XML, &FIRST.xml()).await;
        assert_eq!(answer.body == accepted(), permitted, "{addresses}");
    }
}

#[tokio::test]
async fn a_rule_of_one_route_says_nothing_of_another() {
    let rules = rule("dm", "route = \"/sync/dm\"", "permit") + &rule("everybody", "", "require");
    let site = Site::new("", "").await;
    let dm = format!("[[route]]\npath = \"/sync/dm\"\nupstream = \"{}\"\n", site.server.address);
    site.write_policy("", &(dm + &rules));
    let gateway = site.start().await;
    let body = FIRST.xml();
    let fields = format!("Content-Type: {XML}\r\nContent-Length: {}\r\n", body.len());
    let ask = |target: &str| request_bytes(&format!("POST {target} HTTP/1.1"), &fields, &body);
    assert_eq!(exchange(gateway.addr, &ask("/sync/dm/a")).await.body, accepted());
    assert_eq!(exchange(gateway.addr, &ask("/sync/ds")).await.reason(), Reason::EncryptionRequired);
}

#[tokio::test]
async fn an_exception_that_has_ended_is_as_if_it_were_not_there_and_start_says_so() {
    let past = rule("old-phones", "until = 2026-01-31", "permit");
    let mut gateway = Site::new("", &(past + &rule("everybody", "", "require"))).await.start().await;
    assert_eq!(post(gateway.addr, XML, &FIRST.xml()).await.reason(), Reason::EncryptionRequired);
    gateway.program.logged(|line| line.contains("rule old-phones ended at 2026-02-01T00:00:00Z").then_some(())).await;
}

#[tokio::test]
async fn check_tells_exceptions_that_have_ended_and_that_end_soon() {
    let tomorrow = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24);
    let soon = rule("soon", &format!("until = {tomorrow:.0}"), "permit");
    let past = rule("past", "until = 2026-01-31", "permit");
    let later = rule("later", "until = 2999-01-31", "permit");
    let site = Site::new("", &(soon + &past + &later + &rule("everybody", "", "require"))).await;
    let (status, out) = site.run(&["check", "gateway.toml"]).await;
    assert_eq!(status, Some(0), "{out}");
    for said in
        ["rule soon ends soon, at ", "rule past ended at 2026-02-01T00:00:00Z", "rule later: permit, until 2999"]
    {
        assert!(out.contains(said), "{said}: {out}");
    }
    assert!(!out.contains("rule later end"), "{out}");
}

#[tokio::test]
async fn rules_without_a_catch_all_are_not_started_under() {
    let site = Site::new("", &rule("some", "devices = [\"a\"]", "permit")).await;
    for verb in ["check", "gateway"] {
        let (status, out) = site.run(&[verb, "gateway.toml"]).await;
        assert_eq!(status, Some(78), "{out}");
        assert!(out.contains("rule[0]: the last [[rule]] decides about all that no other is about"), "{out}");
    }
}

#[tokio::test]
async fn the_key_of_earlier_policies_is_told_what_to_write_instead() {
    let site = Site::new("", "plaintext = \"permit\"").await;
    let (status, out) = site.run(&["check", "gateway.toml"]).await;
    assert_eq!(status, Some(78), "{out}");
    assert!(out.contains("route[0].plaintext: ") && out.contains("[[rule]]"), "{out}");
}

#[tokio::test]
async fn the_policies_of_the_week_from_observe_to_require_are_right() {
    const WEEK: &str = include_str!("../../docs/rollout.md");
    let between = |begin: &str, end: &str| {
        WEEK.split(begin).skip(1).map(|rest| rest.split(end).next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let first = between("<<'TOML'\n", "TOML\n").remove(0);
    let (before_rules, _) = first.split_once("[[rule]]").unwrap();
    let later = between("```toml\n", "```\n");
    assert_eq!(later.len(), 3);
    let site = Site::new("", "").await;
    std::fs::write(
        site.path("phone.bin"),
        request_bytes("POST /sync HTTP/1.1", &format!("Content-Type: {XML}\r\n"), b""),
    )
    .unwrap();
    let mut policies: Vec<String> = vec![first.clone()];
    for part in later {
        // An empty body is no SyncML, which is what is said of it.
        let part = part.replace("observed: encryption-required", "observed: malformed");
        policies.push(if part.starts_with("[[case]]") {
            first.clone() + &part
        } else {
            before_rules.to_owned() + &part
        });
    }
    for policy in policies {
        site.write_file("gateway.toml", &policy);
        let (status, out) = site.run(&["check", "gateway.toml"]).await;
        assert_eq!(status, Some(0), "{policy}\n{out}");
    }
}
