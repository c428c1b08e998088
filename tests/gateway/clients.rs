//! Clients of all kinds: slow ones, old ones, new ones, and those that ask for what is not there.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use syncseal::seal::{self, Reason};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::http::{exchange, post, post_bytes, post_seal, read_answer, request_bytes};
use crate::syncml::{FIRST, XML, accepted};
use crate::terminal::{Terminal, request};
use crate::world::{PERMIT, World};

/// The line that says that a seal follows.
fn sealed_type() -> String {
    format!("Content-Type: {}\r\n", seal::CONTENT_TYPE)
}

#[tokio::test]
async fn a_client_may_write_a_byte_at_a_time() {
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    let sealed = terminal.seal_message(&FIRST);
    let mut stream = TcpStream::connect(world.addr).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in post_bytes(&sealed_type(), &sealed) {
        stream.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    terminal.open(&read_answer(&mut stream).await).assert_says(200, &accepted());
}

#[tokio::test]
async fn a_client_of_http_1_0_is_answered_in_http_1_0() {
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    let sealed = terminal.seal_message(&FIRST);
    let head = format!("POST /sync HTTP/1.0\r\n{}Content-Length: {}\r\n\r\n", sealed_type(), sealed.len());
    let mut stream = TcpStream::connect(world.addr).await.unwrap();
    stream.write_all(&[head.as_bytes(), &sealed].concat()).await.unwrap();
    let answer = read_answer(&mut stream).await;
    assert_eq!(answer.minor, 0);
    terminal.open(&answer).assert_says(200, &accepted());
    // The connection ends with the answer.
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_client_of_http_2_needs_no_upgrade() {
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    let stream = TokioIo::new(TcpStream::connect(world.addr).await.unwrap());
    let (mut client, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = hyper::Request::post(format!("http://{}/sync", world.addr))
        .header("content-type", seal::CONTENT_TYPE)
        .body(Full::new(terminal.seal_message(&FIRST)))
        .unwrap();
    let answer = client.send_request(request).await.unwrap();
    assert_eq!(answer.headers()["content-type"], seal::CONTENT_TYPE);
    let body: Bytes = answer.into_body().collect().await.unwrap().to_bytes();
    let sealed = seal::decode_response(seal::Layer::Message, (&*body).into()).unwrap();
    let plaintext = terminal.keys.open(sealed).unwrap();
    assert_eq!(seal::Response::decode(&plaintext, &seal::Extras::default()).unwrap().body, accepted());
    assert_eq!(world.server.bodies(), [FIRST.xml()]);
    drop(client);
    connection.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_chunked_request_reaches_the_server_with_its_length() {
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    let sealed = terminal.seal_message(&FIRST);
    let (one, two) = sealed.split_at(100);
    let chunks = [
        format!("{:x}\r\n", one.len()).as_bytes(),
        one,
        format!("\r\n{:x};extension=x\r\n", two.len()).as_bytes(),
        two,
        b"\r\n0\r\nTrailer: x\r\n\r\n",
    ]
    .concat();
    let fields = format!("{}Transfer-Encoding: chunked\r\n", sealed_type());
    let answer = exchange(world.addr, &request_bytes("POST /sync HTTP/1.1", &fields, &chunks)).await;
    terminal.open(&answer).assert_says(200, &accepted());
    let seen = &world.server.seen()[0];
    assert_eq!(seen.body, FIRST.xml());
    assert_eq!((seen.field("transfer-encoding"), seen.field("trailer")), (None, None));
}

#[tokio::test]
async fn a_client_that_waits_for_a_100_gets_it_before_it_writes_its_body() {
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    let sealed = terminal.seal_message(&FIRST);
    let fields = format!("{}Expect: 100-continue\r\n", sealed_type());
    let bytes = post_bytes(&fields, &sealed);
    let (head, body) = bytes.split_at(bytes.len() - sealed.len());
    let mut stream = TcpStream::connect(world.addr).await.unwrap();
    stream.write_all(head).await.unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(body).await.unwrap();
    terminal.open(&read_answer(&mut stream).await).assert_says(200, &accepted());
    assert_eq!(world.server.seen()[0].field("expect"), None);
}

#[tokio::test]
async fn a_client_that_waits_for_a_100_is_told_at_once_that_it_has_too_much() {
    let world = World::with("[limits]\nmessage = \"4 KiB\"", "").await;
    let fields = format!("{}Expect: 100-continue\r\nContent-Length: 100000000\r\n", sealed_type());
    let answer = exchange(world.addr, &request_bytes("POST /sync HTTP/1.1", &fields, b"")).await;
    answer.assert_problem(Reason::TooLarge);
}

#[tokio::test]
async fn a_sealed_message_at_the_limit_is_forwarded_and_one_byte_over_refused_in_a_seal() {
    let world = World::with("[limits]\nmessage = \"4 KiB\"", "").await;
    let mut terminal = Terminal::new(&world).await;
    terminal.ask(&request(&FIRST.xml_of(4096))).await.assert_says(200, &accepted());
    let opened = terminal.ask(&request(&FIRST.xml_of(4097))).await;
    assert_eq!(opened.status, 413);
    assert_eq!(crate::syncml::reason(&opened.content_type, &opened.body), Some(Reason::TooLarge));
    assert_eq!(world.server.seen().len(), 1);
}

#[tokio::test]
async fn a_body_is_read_up_to_its_bound_and_not_a_byte_further() {
    let world = World::with("[limits]\nmessage = \"4 KiB\"", "").await;
    let bound = 4096 * 3 / 2 + 8192;
    post_seal(world.addr, &vec![0xff; bound]).await.assert_problem(Reason::Malformed);
    post_seal(world.addr, &vec![0xff; bound + 1]).await.assert_problem(Reason::TooLarge);
    let mut chunked = format!("{:x}\r\n", bound + 1).into_bytes();
    chunked.extend(vec![0xff; bound + 1]);
    chunked.extend(b"\r\n0\r\n\r\n");
    let fields = format!("{}Transfer-Encoding: chunked\r\n", sealed_type());
    let answer = exchange(world.addr, &request_bytes("POST /sync HTTP/1.1", &fields, &chunked)).await;
    answer.assert_problem(Reason::TooLarge);
    world.server.assert_untouched();
}

#[tokio::test]
async fn only_posts_of_known_types_are_looked_at() {
    let world = World::with("", PERMIT).await;
    let length = |body: &[u8]| format!("Content-Type: {XML}\r\nContent-Length: {}\r\n", body.len());
    for method in ["GET", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"] {
        let body = FIRST.xml();
        let line = format!("{method} /sync HTTP/1.1");
        let answer = exchange(world.addr, &request_bytes(&line, &length(&body), &body)).await;
        assert_eq!((answer.status, answer.field("allow")), (405, Some("POST")), "{method}");
    }
    for content_type in [
        "text/xml",
        "application/xml",
        "application/vnd.syncml",
        "application/vnd.syncml+xmlx",
        "application/cose",
        "application/cose; cose-type=\"cose-sign1\"",
        "application/octet-stream",
        "multipart/form-data; boundary=x",
        "application/vnd.syncml+xml, application/vnd.syncml+xml",
    ] {
        assert_eq!(post(world.addr, content_type, &FIRST.xml()).await.status, 415, "{content_type}");
    }
    let two = format!("Content-Type: {XML}\r\nContent-Type: {XML}\r\n");
    let coded = format!("Content-Type: {XML}\r\nContent-Encoding: gzip\r\n");
    for fields in ["", &two, &coded] {
        assert_eq!(exchange(world.addr, &post_bytes(fields, &FIRST.xml())).await.status, 415, "{fields}");
    }
    world.server.assert_untouched();
}

#[tokio::test]
async fn nothing_is_served_beside_the_routes() {
    let world = World::with("", PERMIT).await;
    for line in ["POST / HTTP/1.1", "POST /synchronize HTTP/1.1", "GET /admin HTTP/1.1", "GET /favicon.ico HTTP/1.1"] {
        let body = FIRST.xml();
        let fields = format!("Content-Type: {XML}\r\nContent-Length: {}\r\n", body.len());
        assert_eq!(exchange(world.addr, &request_bytes(line, &fields, &body)).await.status, 404, "{line}");
    }
    world.server.assert_untouched();
}

#[tokio::test]
async fn what_is_supported_is_told_to_everybody() {
    let world =
        World::with("[crypto]\nalgorithms = [\"A128GCM\", \"ChaCha20/Poly1305\"]\ngroups = [\"X25519\"]", "").await;
    let answer = exchange(world.addr, &request_bytes("GET /.well-known/syncseal HTTP/1.1", "", b"")).await;
    assert_eq!((answer.status, answer.content_type()), (200, "application/json"));
    let found: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(found["versions"], serde_json::json!([1]));
    assert_eq!(found["algorithms"], serde_json::json!(["A128GCM", "ChaCha20/Poly1305"]));
    assert_eq!(found["groups"], serde_json::json!(["X25519"]));
    assert!(found["key_transports"].as_array().unwrap().contains(&"RSA-OAEP-256".into()));
    assert_eq!(found["layers"], serde_json::json!(["message"]));
    assert_eq!(found["keys"][0]["kid"], world.key.key_id().to_string());
    assert_eq!(found["keys"][0]["spki"], seal::encode_base64(world.key.to_der()));
    let post =
        exchange(world.addr, &request_bytes("POST /.well-known/syncseal HTTP/1.1", "Content-Length: 0\r\n", b"")).await;
    assert_eq!(post.status, 405);
    world.server.assert_untouched();
}

#[tokio::test]
async fn requests_that_could_be_smuggled_are_refused() {
    let world = World::with("", PERMIT).await;
    let body = FIRST.xml();
    let lengths = [
        format!("Content-Length: {}\r\nContent-Length: 1\r\n", body.len()),
        "Content-Length: +5\r\n".to_owned(),
        "Transfer-Encoding: chunked, identity\r\n".to_owned(),
        "Transfer-Encoding: xchunked\r\n".to_owned(),
    ];
    for lengths in lengths {
        let fields = format!("Content-Type: {XML}\r\n{lengths}");
        let mut stream = TcpStream::connect(world.addr).await.unwrap();
        stream.write_all(&request_bytes("POST /sync HTTP/1.1", &fields, &body)).await.unwrap();
        let mut answer = Vec::new();
        // It may be reset over what it did not read.
        let _ = stream.read_to_end(&mut answer).await;
        assert!(answer.starts_with(b"HTTP/1.1 400"), "{lengths}: {}", String::from_utf8_lossy(&answer));
    }
    world.server.assert_untouched();
}
