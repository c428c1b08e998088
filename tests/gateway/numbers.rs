//! Replay, reordering, duplicates, reflection: what becomes of a request that was sent before, elsewhere, or by someone
//! else (PROTOCOL section 3.4).

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use syncseal::seal::{self, Layer, Number, Reason};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::http::{post_seal, post_seal_bytes};
use crate::syncml::{FIRST, SECOND, accepted};
use crate::terminal::{Terminal, request};
use crate::world::World;

#[tokio::test]
async fn a_retransmission_gets_the_same_bytes_and_the_server_sees_it_once() {
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    let sealed = terminal.seal_message(&FIRST);
    let first = post_seal(world.addr, &sealed).await;
    let again = post_seal(world.addr, &sealed).await;
    again.assert_sealed();
    assert_eq!(first.body, again.body);
    assert_eq!(world.server.seen().len(), 1);
}

#[tokio::test]
async fn an_answer_is_given_again_five_times_and_no_more() {
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    let sealed = terminal.seal_message(&FIRST);
    for _ in 0..6 {
        post_seal(world.addr, &sealed).await.assert_sealed();
    }
    post_seal(world.addr, &sealed).await.assert_problem(Reason::Replayed);
    assert_eq!(world.server.seen().len(), 1);
}

#[tokio::test]
async fn an_older_request_is_a_replay() {
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    let old = terminal.seal_message(&FIRST);
    terminal.open(&post_seal(world.addr, &old).await).assert_says(200, &accepted());
    terminal.send(&SECOND).await.assert_says(200, &accepted());
    post_seal(world.addr, &old).await.assert_problem(Reason::Replayed);
    assert_eq!(world.server.seen().len(), 2);
}

#[tokio::test]
async fn requests_out_of_order_are_replays() {
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    let first = terminal.seal_message(&FIRST);
    let second = terminal.seal_message(&FIRST);
    terminal.open(&post_seal(world.addr, &second).await).assert_says(200, &accepted());
    post_seal(world.addr, &first).await.assert_problem(Reason::Replayed);
    assert_eq!(world.server.seen().len(), 1);
}

#[tokio::test]
async fn numbers_may_be_skipped() {
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    for next in [70_000, 1 << 39, (1 << 40) - 1] {
        terminal.next = next;
        terminal.send(&FIRST).await.assert_says(200, &accepted());
    }
}

#[tokio::test]
async fn another_message_under_a_used_number_is_a_replay() {
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    terminal.send(&FIRST).await.assert_says(200, &accepted());
    terminal.next = 1;
    let other = terminal.seal_message(&SECOND);
    post_seal(world.addr, &other).await.assert_problem(Reason::Replayed);
    assert_eq!(world.server.bodies(), [FIRST.xml()]);
}

#[tokio::test]
async fn a_duplicate_in_flight_waits_for_the_one_answer() {
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    let release = world.server.will_hold();
    let sealed = terminal.seal_message(&FIRST);
    let send = || {
        let (addr, sealed) = (world.addr, sealed.clone());
        tokio::spawn(async move { post_seal(addr, &sealed).await })
    };
    let first = send();
    world.server.has_seen(1).await;
    let (mut second, mut third) = (send(), send());
    // Of two that wait, the newer one stays; the other is let go at once.
    let (let_go, waits) = tokio::select! {
        answer = &mut second => (answer, third),
        answer = &mut third => (answer, second),
    };
    let_go.unwrap().assert_problem(Reason::Overloaded);
    drop(release);
    let (first, waited) = (first.await.unwrap(), waits.await.unwrap());
    terminal.open(&first).assert_says(200, &accepted());
    assert_eq!(first.body, waited.body);
    assert_eq!(world.server.seen().len(), 1);
}

#[tokio::test]
async fn a_client_that_goes_away_finds_its_answer_when_it_comes_back() {
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    let release = world.server.will_hold();
    let sealed = terminal.seal_message(&FIRST);
    let mut stream = TcpStream::connect(world.addr).await.unwrap();
    stream.write_all(&post_seal_bytes(&sealed)).await.unwrap();
    world.server.has_seen(1).await;
    drop(stream);
    drop(release);
    terminal.open(&post_seal(world.addr, &sealed).await).assert_says(200, &accepted());
    assert_eq!(world.server.seen().len(), 1);
}

#[tokio::test]
async fn a_client_that_takes_its_request_back_finds_its_answer_too() {
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    let release = world.server.will_hold();
    let sealed = terminal.seal_message(&FIRST);
    let stream = TokioIo::new(TcpStream::connect(world.addr).await.unwrap());
    let (mut client, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    let request = hyper::Request::post(format!("http://{}/sync", world.addr))
        .header("content-type", seal::CONTENT_TYPE)
        .body(Full::new(sealed.clone()))
        .unwrap();
    let exchange = tokio::spawn(async move { client.send_request(request).await });
    world.server.has_seen(1).await;
    // In HTTP/2 that resets the stream, and the gateway has time to notice.
    exchange.abort();
    sleep(Duration::from_millis(50)).await;
    drop(release);
    terminal.open(&post_seal(world.addr, &sealed).await).assert_says(200, &accepted());
    assert_eq!(world.server.seen().len(), 1);
}

#[tokio::test]
async fn every_changed_bit_is_refused_and_changes_nothing() {
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    let sealed = terminal.seal_message(&FIRST);
    // Heads, sid, number, ciphertext and tag; every single bit of them is turned over where `seal` is tested.
    for at in (0..48).chain((48..sealed.len()).step_by(29)).chain([sealed.len() - 1]) {
        let mut changed = sealed.to_vec();
        changed[at] ^= 1 << (at % 8);
        let answer = post_seal(world.addr, &changed).await;
        assert_eq!(answer.content_type(), "application/problem+json", "byte {at}");
    }
    world.server.assert_untouched();
    terminal.open(&post_seal(world.addr, &sealed).await).assert_says(200, &accepted());
}

#[tokio::test]
async fn another_number_in_front_of_a_seal_does_not_open() {
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    let sealed = terminal.seal_message(&FIRST);
    post_seal(world.addr, &sealed).await.assert_sealed();
    let number = sealed.windows(3).position(|window| window == [0x06, 0x41, 0x01]).unwrap() + 2;
    let mut changed = sealed.to_vec();
    changed[number] = 2;
    post_seal(world.addr, &changed).await.assert_problem(Reason::CannotOpen);
    assert_eq!(world.server.seen().len(), 1);
}

#[tokio::test]
async fn a_response_sent_back_as_a_request_is_refused() {
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    let response = post_seal(world.addr, &terminal.seal_message(&FIRST)).await;
    response.assert_sealed();
    post_seal(world.addr, &response.body).await.assert_problem(Reason::Replayed);
    assert_eq!(world.server.seen().len(), 1);
}

#[tokio::test]
async fn an_init_response_sent_back_as_a_request_is_refused() {
    let world = World::new().await;
    let parameters = crate::terminal::parameters(&world.key);
    let response = post_seal(world.addr, &crate::terminal::handshake_bytes(&parameters)).await;
    response.assert_sealed();
    post_seal(world.addr, &response.body).await.assert_problem(Reason::Malformed);
    world.server.assert_untouched();
}

#[tokio::test]
async fn a_seal_of_the_other_direction_does_not_open() {
    let world = World::new().await;
    let terminal = Terminal::new(&world).await;
    // What a gateway would answer under a number that is still free, with the plaintext of a request.
    let body = FIRST.xml();
    let reflected = terminal.keys.seal_response(Number::new(1).unwrap(), false, &request(&body).plaintext());
    post_seal(world.addr, &reflected).await.assert_problem(Reason::CannotOpen);
    world.server.assert_untouched();
}

#[tokio::test]
async fn a_response_opens_under_no_other_number() {
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    let first = post_seal(world.addr, &terminal.seal_message(&FIRST)).await;
    let number = first.body.windows(3).position(|window| window == [0x06, 0x41, 0x01]).unwrap() + 2;
    let mut changed = first.body.clone();
    changed[number] = 2;
    let sealed = seal::decode_response(Layer::Message, BytesMut::from(&*changed)).unwrap();
    assert_eq!(terminal.keys.open(sealed), Err(Reason::CannotOpen));
    let sealed = seal::decode_response(Layer::Message, BytesMut::from(&*first.body)).unwrap();
    assert_eq!(sealed.header().number.value(), 1);
    assert!(terminal.keys.open(sealed).is_ok());
}

#[tokio::test]
async fn a_seal_of_another_session_does_not_open() {
    let world = World::new().await;
    let mut mallory = Terminal::new(&world).await;
    let victim = Terminal::new(&world).await;
    let mut sealed = mallory.seal_message(&FIRST).to_vec();
    let (from, to) = (mallory.keys.sid().0, victim.keys.sid().0);
    let sid = sealed.windows(16).position(|window| window == from).unwrap();
    sealed[sid..sid + 16].copy_from_slice(&to);
    post_seal(world.addr, &sealed).await.assert_problem(Reason::CannotOpen);
    world.server.assert_untouched();
}

#[tokio::test]
async fn what_does_not_open_does_not_disturb_an_exchange_in_flight() {
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    let release = world.server.will_hold();
    let sealed = Arc::new(terminal.seal_message(&FIRST));
    let (addr, bytes) = (world.addr, Arc::clone(&sealed));
    let exchange = tokio::spawn(async move { post_seal(addr, &bytes).await });
    world.server.has_seen(1).await;
    let mut changed = sealed.to_vec();
    *changed.last_mut().unwrap() ^= 1;
    post_seal(world.addr, &changed).await.assert_problem(Reason::Replayed);
    drop(release);
    terminal.open(&exchange.await.unwrap()).assert_says(200, &accepted());
}

#[tokio::test]
async fn a_replayed_handshake_gives_other_keys() {
    let world = World::new().await;
    let parameters = crate::terminal::parameters(&world.key);
    let (sealed, pending) = crate::terminal::init(&parameters).seal(&crate::terminal::empty());
    let first = post_seal(world.addr, &sealed).await;
    let second = post_seal(world.addr, &sealed).await;
    first.assert_sealed();
    second.assert_sealed();
    assert_ne!(first.body, second.body);
    let provider = syncseal::crypto::default_provider();
    let established = pending.handle_response(provider, BytesMut::from(&*second.body)).unwrap();
    let response = seal::decode_init_response(Layer::Message, BytesMut::from(&*first.body)).unwrap();
    assert_ne!(established.keys.sid(), response.header().sid);
}
