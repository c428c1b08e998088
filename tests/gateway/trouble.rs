//! A server that is down, slow, or answers what cannot be passed on: the terminal gets exactly one sealed answer, and the
//! server no request twice.

use syncseal::seal::Reason;

use crate::http::post_seal;
use crate::server::{Reply, Server};
use crate::syncml::{FIRST, SECOND, XML, accepted, answer, http};
use crate::terminal::Terminal;
use crate::world::World;

/// What a terminal hears when the server replies so to a request that it gets once.
async fn told(reply: Vec<u8>) -> crate::terminal::Opened {
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    world.server.will(Reply::Bytes(reply));
    let opened = terminal.send(&FIRST).await;
    assert_eq!(world.server.seen().len(), 1);
    opened
}

#[tokio::test]
async fn a_server_that_is_down_is_unreachable() {
    let world = World::before(Server::down(), "", "", |_| {}).await;
    let mut terminal = Terminal::new(&world).await;
    terminal.send(&FIRST).await.assert_refused(Reason::UpstreamUnreachable);
}

#[tokio::test]
async fn a_server_that_takes_too_long_is_told_as_a_timeout() {
    let world = World::with("", "timeout = \"1 s\"").await;
    let mut terminal = Terminal::new(&world).await;
    world.server.will(Reply::Silence);
    let sealed = terminal.seal_message(&FIRST);
    let answer = post_seal(world.addr, &sealed).await;
    terminal.open(&answer).assert_refused(Reason::UpstreamTimeout);
    // The failure is the one answer under that number: a retransmission gets it, too.
    assert_eq!(post_seal(world.addr, &sealed).await.body, answer.body);
    assert_eq!(world.server.seen().len(), 1);
    terminal.send(&FIRST).await.assert_says(200, &accepted());
}

#[tokio::test]
async fn a_server_that_closes_without_an_answer_is_asked_once() {
    told(Vec::new()).await.assert_refused(Reason::UpstreamInvalid);
}

#[tokio::test]
async fn half_an_answer_is_none() {
    let whole = http(&format!("200 OK\r\nContent-Type: {XML}"), &accepted());
    for len in [1, 20, whole.len() - accepted().len(), whole.len() - 1] {
        told(whole[..len].to_vec()).await.assert_refused(Reason::UpstreamInvalid);
    }
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_invalid() {
    told(b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec()).await.assert_refused(Reason::UpstreamInvalid);
}

#[tokio::test]
async fn an_error_page_is_passed_on_sealed_with_its_status() {
    let page = b"<html><body>Internal Server Error</body></html>";
    let opened = told(http("500 Internal Server Error\r\nContent-Type: text/html", page)).await;
    opened.assert_says(500, page);
    assert_eq!(opened.content_type, "text/html");
    assert!(!opened.end);
}

#[tokio::test]
async fn a_redirect_is_never_followed_nor_passed_on() {
    for status in ["301 Moved Permanently", "302 Found", "304 Not Modified", "307 Temporary Redirect"] {
        let elsewhere = World::new().await;
        let location = format!("{status}\r\nContent-Type: {XML}\r\nLocation: {}/sync", elsewhere.server.address);
        // A 304 has no body.
        let body = if status.starts_with("304") { Vec::new() } else { accepted() };
        told(http(&location, &body)).await.assert_refused(Reason::UpstreamInvalid);
        elsewhere.server.assert_untouched();
    }
}

#[tokio::test]
async fn an_answer_without_one_content_type_is_invalid() {
    told(http("200 OK", &accepted())).await.assert_refused(Reason::UpstreamInvalid);
    let two = format!("200 OK\r\nContent-Type: {XML}\r\nContent-Type: {XML}");
    told(http(&two, &accepted())).await.assert_refused(Reason::UpstreamInvalid);
}

#[tokio::test]
async fn a_coded_answer_is_invalid() {
    let coded = format!("200 OK\r\nContent-Type: {XML}\r\nContent-Encoding: gzip");
    told(http(&coded, b"\x1f\x8b")).await.assert_refused(Reason::UpstreamInvalid);
}

#[tokio::test]
async fn an_answer_of_a_syncml_type_that_is_no_document_is_invalid() {
    for body in [&b"It works!"[..], b"", b"<SyncML><SyncHdr/>"] {
        told(http(&format!("200 OK\r\nContent-Type: {XML}"), body)).await.assert_refused(Reason::UpstreamInvalid);
    }
}

#[tokio::test]
async fn an_answer_at_the_limit_passes_and_one_byte_over_does_not() {
    let world = World::with("[limits]\nmessage = \"4 KiB\"", "").await;
    let mut terminal = Terminal::new(&world).await;
    let mut document = accepted();
    document.resize(4096, b'\n');
    world.server.will_say(&document);
    terminal.send(&FIRST).await.assert_says(200, &document);
    document.push(b'\n');
    world.server.will_say(&document);
    terminal.send(&SECOND).await.assert_refused(Reason::UpstreamInvalid);
    // Nor is it taken in pieces of unknown number.
    let chunk = vec![b' '; 4097];
    let chunked = format!("HTTP/1.1 200 OK\r\nContent-Type: {XML}\r\nTransfer-Encoding: chunked\r\n\r\n1001\r\n");
    world.server.will(Reply::Bytes([chunked.as_bytes(), &chunk, b"\r\n0\r\n\r\n"].concat()));
    terminal.send(&SECOND).await.assert_refused(Reason::UpstreamInvalid);
}

#[tokio::test]
async fn a_chunked_answer_is_passed_on_whole() {
    let body = accepted();
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: {XML}\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n", body.len());
    told([head.as_bytes(), &body, b"\r\n0\r\n\r\n"].concat()).await.assert_says(200, &body);
}

#[tokio::test]
async fn a_refusal_by_the_server_itself_is_passed_on() {
    let body = answer(401, "", "<Final/>");
    told(http(&format!("200 OK\r\nContent-Type: {XML}"), &body)).await.assert_says(200, &body);
}
