//! Targets and header fields out of a seal, checked as strictly as if they came over the wire (PROTOCOL section 5).

use syncseal::seal::{Direction, Extras, Fields, Reason, Request};

use crate::syncml::{FIRST, accepted, reason};
use crate::terminal::{Opened, Terminal, forbidden, request};
use crate::world::World;

/// Fails unless the terminal was told in a seal that its plaintext is malformed.
#[track_caller]
fn assert_malformed(opened: &Opened, what: &str) {
    let found = reason(&opened.content_type, &opened.body);
    assert_eq!((found, opened.status), (Some(Reason::Malformed), 400), "{what}");
}

#[tokio::test]
async fn forbidden_targets_never_reach_the_server() {
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    let body = FIRST.xml();
    for target in [
        "",
        "sync",
        "*",
        "//evil.example/sync",
        "/\\evil.example/sync",
        "http://evil.example/sync",
        "@evil.example/sync",
        "/",
        "/admin",
        "/synchronize",
        "/sync%3b/../admin",
        "/sync/../admin",
        "/sync/..",
        "/sync/./x",
        "/sync/.",
        "/sync/%2e%2e/admin",
        "/sync/.%2E/admin",
        "/sync/..;x=1/admin",
        "/sync;x/%2e%2e;y/admin",
        "/sync/%2fadmin",
        "/sync/%2Fadmin",
        "/sync/%5cadmin",
        "/sync/%5Cadmin",
        "/sync\\admin",
        "/sync#x",
        "/sync?x#y",
        "/sync?x\\y",
        "/sync x",
        "/sync\tx",
        "/sync\r\nHost: evil.example",
        "/sync?x HTTP/1.1\r\nX: y",
        "/sync\0",
        "/sync\u{7f}",
        "/sync/\u{e9}",
    ] {
        let opened = terminal.ask(&Request { target, ..request(&body) }).await;
        assert_malformed(&opened, target);
    }
    world.server.assert_untouched();
}

#[tokio::test]
async fn allowed_targets_reach_the_server_as_they_were_written() {
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    let body = FIRST.xml();
    let targets =
        ["/sync", "/sync/", "/sync;jsessionid=A1", "/sync?a=/../b&c=%2f", "/sync/%7Euser/..x", "/sync/%252e%252e/x"];
    for target in targets {
        terminal.ask(&Request { target, ..request(&body) }).await.assert_says(200, &accepted());
    }
    let seen: Vec<_> = world.server.seen().iter().map(|seen| seen.line().to_owned()).collect();
    assert_eq!(seen, targets.map(|target| format!("POST {target} HTTP/1.1")));
}

#[tokio::test]
async fn forbidden_fields_never_reach_the_server() {
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    let body = FIRST.xml();
    for name in [
        "host",
        "content-length",
        "content-type",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "accept-encoding",
        "content-encoding",
        "proxy-authorization",
        "proxy-connection",
        "forwarded",
        "x-forwarded-for",
        "via",
        "set-cookie",
        "www-authenticate",
        "ms-signature",
        "Authorization",
        "authorization ",
        "x y",
        "cookie:",
        "",
    ] {
        let fields = forbidden(&[(name, b"x")]);
        assert_malformed(&terminal.ask(&Request { fields, ..request(&body) }).await, name);
        let fields = forbidden(&[("accept", b"*/*"), (name, b"x")]);
        assert_malformed(&terminal.ask(&Request { fields, ..request(&body) }).await, name);
    }
    world.server.assert_untouched();
}

/// Every field that may travel with a request.
const TRAVELS: [(&str, &[u8]); 9] = [
    ("accept", b"application/vnd.syncml+xml"),
    ("accept-charset", b"utf-8"),
    ("accept-language", b"fi"),
    ("authorization", b"Basic dXNlcjpwYXNz"),
    ("cache-control", b"no-store"),
    ("cookie", b"a=b"),
    ("user-agent", b"Phone/1.0"),
    ("x-syncml-hmac", b"algorithm=MD5, username=\"u\", mac=x"),
    ("x-syncml-client", b"phone"),
];

#[tokio::test]
async fn the_fields_that_may_travel_reach_the_server_and_no_others() {
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    let body = FIRST.xml();
    let fields = Fields::filter(Direction::C2s, &Extras::default(), TRAVELS);
    terminal.ask(&Request { fields, ..request(&body) }).await.assert_says(200, &accepted());
    let seen = world.server.seen();
    let mut expected: Vec<_> = TRAVELS
        .iter()
        .map(|(name, value)| ((*name).to_owned(), String::from_utf8(value.to_vec()).unwrap()))
        .chain([
            ("content-length".into(), body.len().to_string()),
            ("content-type".into(), crate::syncml::XML.into()),
            ("host".into(), world.server.authority().into()),
        ])
        .collect();
    expected.sort();
    assert_eq!(seen[0].fields(), expected);
}

#[tokio::test]
async fn policy_adds_fields_that_may_travel() {
    let world = World::with("", "extra_headers = [\"ms-signature\"]").await;
    let mut terminal = Terminal::new(&world).await;
    let body = FIRST.xml();
    let fields = forbidden(&[("ms-signature", b"MD5, x")]);
    terminal.ask(&Request { fields, ..request(&body) }).await.assert_says(200, &accepted());
    assert_eq!(world.server.seen()[0].field("ms-signature").as_deref(), Some("MD5, x"));
}

#[tokio::test]
async fn a_sealed_content_type_other_than_syncml_is_malformed() {
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    let body = FIRST.xml();
    for content_type in ["text/xml", "application/vnd.syncml+json", "", "application/vnd.syncml+xml\r\nx: y"] {
        assert_malformed(&terminal.ask(&Request { content_type, ..request(&body) }).await, content_type);
    }
    world.server.assert_untouched();
}
