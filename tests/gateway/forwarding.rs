//! What reaches the server and what comes back: byte for byte, but for what PROTOCOL section 8.3 names.

use syncseal::seal::{Reason, Request};

use crate::server::{Reply, Server};
use crate::syncml::{Client, FIRST, SECOND, WBXML, XML, accepted, accepted_at, http, http_ok, resp_uri};
use crate::terminal::{Terminal, request};
use crate::world::World;

#[tokio::test]
async fn a_sealed_message_reaches_the_server_byte_for_byte() {
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    let wbxml = include_bytes!("../captures/syncevolution-wbxml/01.req");
    terminal.ask(&Request { content_type: WBXML, ..request(wbxml) }).await.assert_says(200, &accepted());
    let seen = &world.server.seen()[0];
    assert_eq!(seen.body, wbxml);
    assert_eq!(seen.line(), "POST /sync HTTP/1.1");
    assert_eq!(seen.field("content-type").as_deref(), Some(WBXML));
}

#[tokio::test]
async fn the_servers_answer_comes_back_byte_for_byte_with_the_fields_that_may_travel() {
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    let fields = "Set-Cookie: a=b\r\nX-Syncml-Hmac: mac\r\nServer: old/1.0\r\nDate: now\r\nKeep-Alive: 5";
    world
        .server
        .will(Reply::Bytes(http(&format!("200 OK\r\nContent-Type: {XML}; charset=UTF-8\r\n{fields}"), &accepted())));
    let opened = terminal.send(&FIRST).await;
    opened.assert_says(200, &accepted());
    assert_eq!(opened.content_type, format!("{XML}; charset=UTF-8"));
    let mut fields = opened.fields;
    fields.sort();
    assert_eq!(fields, [("set-cookie".to_owned(), b"a=b".to_vec()), ("x-syncml-hmac".to_owned(), b"mac".to_vec())]);
}

#[tokio::test]
async fn the_host_is_the_upstreams_unless_policy_takes_the_messages_target() {
    let world = World::new().await;
    Terminal::new(&world).await.send(&FIRST).await.assert_says(200, &accepted());
    assert_eq!(world.server.seen()[0].field("host").as_deref(), Some(world.server.authority()));

    let world = World::with("", "host = \"target\"").await;
    let mut terminal = Terminal::new(&world).await;
    for (address, host) in [
        ("http://sync.example/sync", "sync.example"),
        ("https://sync.example:8443/sync?a=b", "sync.example:8443"),
        // What is no address says nothing of a host.
        ("sync.example/sync", world.server.authority()),
        ("http://user@sync.example/sync", world.server.authority()),
    ] {
        terminal.send(&Client { address, ..FIRST }).await.assert_says(200, &accepted());
        assert_eq!(world.server.seen().last().unwrap().field("host").as_deref(), Some(host), "{address}");
    }
}

#[tokio::test]
async fn a_server_behind_a_unix_socket_is_reached() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::unix(&dir.path().join("server.sock"));
    let world = World::before(server, "", "", |_| {}).await;
    Terminal::new(&world).await.send(&FIRST).await.assert_says(200, &accepted());
    let seen = &world.server.seen()[0];
    assert_eq!(seen.body, FIRST.xml());
    assert_eq!(seen.field("host").as_deref(), Some("localhost"));
}

#[tokio::test]
async fn a_resp_uri_in_the_servers_name_gets_the_public_url() {
    let world = World::with("", "server_names = [\"http://internal.example:8080\"]").await;
    let mut terminal = Terminal::new(&world).await;
    let own = format!("http://{}/sync?s=1", world.server.authority());
    for given in ["http://internal.example:8080/sync?s=1&amp;t=2", "HTTP://INTERNAL.example:8080/sync?s=1&amp;t=2"] {
        world.server.will_say(&accepted_at(given));
        let opened = terminal.send(&FIRST).await;
        assert_eq!(resp_uri(&opened.body), "https://gateway.example/sync?s=1&t=2");
        let expected = String::from_utf8(accepted_at(given)).unwrap();
        let expected = expected.replace(given, "https://gateway.example/sync?s=1&amp;t=2");
        opened.assert_says(200, expected.as_bytes());
    }
    world.server.will_say(&accepted_at(&own));
    assert_eq!(resp_uri(&terminal.send(&FIRST).await.body), "https://gateway.example/sync?s=1");
}

#[tokio::test]
async fn a_resp_uri_that_is_relative_or_the_clients_own_is_left_alone() {
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    for given in ["/sync?s=1", "http://sync.example/sync?s=2", "http://SYNC.example:80/sync?s=3"] {
        world.server.will_say(&accepted_at(given));
        terminal.send(&FIRST).await.assert_says(200, &accepted_at(given));
    }
}

#[tokio::test]
async fn a_foreign_resp_uri_never_reaches_a_terminal() {
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    for given in [
        "http://evil.example/sync",
        "https://sync.example/sync",
        "http://sync.example:81/sync",
        "http://sync.example@evil.example/sync",
        "http://user@sync.example/sync",
        "http://sync.e&#118;il/sync",
        "<![CDATA[http://evil.example/sync]]>",
        "//evil.example/sync",
    ] {
        world.server.will_say(&accepted_at(given));
        terminal.send(&FIRST).await.assert_refused(Reason::UpstreamInvalid);
    }
}

#[tokio::test]
async fn an_answer_under_x_syncml_hmac_is_never_changed() {
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    let own = format!("http://{}/sync?s=1", world.server.authority());
    let under_hmac = |uri: &str| {
        Reply::Bytes(http(&format!("200 OK\r\nContent-Type: {XML}\r\nX-Syncml-Hmac: mac"), &accepted_at(uri)))
    };
    world.server.will(under_hmac(&own));
    terminal.send(&FIRST).await.assert_refused(Reason::UpstreamInvalid);
    world.server.will(under_hmac("/sync?s=1"));
    terminal.send(&FIRST).await.assert_says(200, &accepted_at("/sync?s=1"));
}

#[tokio::test]
async fn connections_to_the_server_are_no_part_of_a_session() {
    // The server closes after each answer; nothing but the message ties two exchanges together.
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    terminal.send(&FIRST).await.assert_says(200, &accepted());
    world.server.will(Reply::Bytes(http_ok(&accepted())));
    terminal.send(&SECOND).await.assert_says(200, &accepted());
    assert_eq!(world.server.bodies(), [FIRST.xml(), SECOND.xml()]);
}
