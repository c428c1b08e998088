//! Routes where policy permits plaintext.

use syncseal::seal::Reason;

use crate::http::{exchange, post, post_bytes, request_bytes};
use crate::server::{Reply, Server};
use crate::syncml::{FIRST, SECOND, XML, accepted, accepted_at, http, resp_uri};
use crate::world::{PERMIT, World};

#[tokio::test]
async fn permitted_plaintext_is_forwarded_byte_for_byte_without_the_fields_of_the_hop() {
    let world = World::with("", PERMIT).await;
    let fields = format!(
        "Content-Type: {XML}; charset=utf-8\r\nKeep-Alive: 5\r\nX-Private: 1\r\nConnection: x-private\r\nTE: trailers\r\n\
         Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic eA==\r\nUpgrade: h2c\r\nAccept-Encoding: gzip\r\n\
         User-Agent: Phone/1.0\r\nAuthorization: Basic eQ==\r\nX-Other: 2\r\n"
    );
    let answer = exchange(world.addr, &post_bytes(&fields, &FIRST.xml())).await;
    assert_eq!((answer.status, answer.content_type(), &answer.body), (200, XML, &accepted()));
    let seen = &world.server.seen()[0];
    assert_eq!(seen.body, FIRST.xml());
    assert_eq!(seen.line(), "POST /sync HTTP/1.1");
    let names: Vec<_> = seen.fields().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["authorization", "content-length", "content-type", "host", "user-agent", "x-other"]);
    assert_eq!(seen.field("content-type"), Some(format!("{XML}; charset=utf-8")));
    assert_eq!(seen.field("host").as_deref(), Some(world.server.authority()));
}

#[tokio::test]
async fn the_answer_to_plaintext_comes_back_without_the_fields_of_the_hop() {
    let world = World::with("", PERMIT).await;
    let head = format!("200 OK\r\nContent-Type: {XML}\r\nSet-Cookie: a=b\r\nKeep-Alive: 5\r\nServer: old/1.0");
    world.server.will(Reply::Bytes(http(&head, &accepted())));
    let answer = post(world.addr, XML, &FIRST.xml()).await;
    assert_eq!(answer.body, accepted());
    assert_eq!(answer.field("set-cookie"), Some("a=b"));
    assert_eq!(answer.field("server"), Some("old/1.0"));
    assert_eq!(answer.field("keep-alive"), None);
}

#[tokio::test]
async fn a_resp_uri_is_judged_in_plaintext_too() {
    let world = World::with("", PERMIT).await;
    world.server.will_say(&accepted_at(&format!("{}/sync?s=1", world.server.address)));
    let answer = post(world.addr, XML, &FIRST.xml()).await;
    assert_eq!(resp_uri(&answer.body), "https://gateway.example/sync?s=1");
    world.server.will_say(&accepted_at("http://evil.example/sync"));
    assert_eq!(post(world.addr, XML, &SECOND.xml()).await.reason(), Reason::UpstreamInvalid);
}

#[tokio::test]
async fn forbidden_targets_are_refused_in_plaintext_too() {
    let world = World::with("", PERMIT).await;
    for target in ["/sync/../admin", "/sync/%2e%2e/admin", "/sync/..;x/admin", "/sync/%2fadmin", "/sync/%5c"] {
        let body = FIRST.xml();
        let fields = format!("Content-Type: {XML}\r\nContent-Length: {}\r\n", body.len());
        let answer = exchange(world.addr, &request_bytes(&format!("POST {target} HTTP/1.1"), &fields, &body)).await;
        assert_eq!(answer.reason(), Reason::Malformed, "{target}");
    }
    world.server.assert_untouched();
}

#[tokio::test]
async fn trouble_with_the_server_is_told_in_syncml() {
    let world = World::before(Server::down(), "", PERMIT, |_| {}).await;
    let answer = post(world.addr, XML, &FIRST.xml()).await;
    assert_eq!((answer.status, answer.content_type()), (200, XML));
    assert_eq!(answer.reason(), Reason::UpstreamUnreachable);
}

#[tokio::test]
async fn plaintext_at_the_limit_is_forwarded_and_one_byte_over_refused() {
    let world = World::with("[limits]\nmessage = \"4 KiB\"", PERMIT).await;
    let answer = post(world.addr, XML, &FIRST.xml_of(4096)).await;
    assert_eq!(answer.body, accepted());
    post(world.addr, XML, &FIRST.xml_of(4097)).await.assert_problem(Reason::TooLarge);
    assert_eq!(world.server.seen().len(), 1);
}
