//! What strangers can take up, and what they cannot take from others.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, mpsc};

use syncseal::crypto::{Key, RsaUnwrap};
use syncseal::seal::Reason;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;
use tokio::task::JoinSet;

use crate::http::{Answer, post_seal, post_seal_bytes, read_answer};
use crate::syncml::{FIRST, SECOND, accepted};
use crate::terminal::{Terminal, handshake_bytes, parameters};
use crate::world::World;

/// A handshake from another of this machine's loopback addresses.
async fn handshake_from(source: [u8; 4], world: &World) -> Answer {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((Ipv4Addr::from(source), 0))).unwrap();
    let mut stream = socket.connect(world.addr).await.unwrap();
    stream.write_all(&post_seal_bytes(&handshake_bytes(&parameters(&world.key)))).await.unwrap();
    read_answer(&mut stream).await
}

#[tokio::test]
async fn sessions_are_capped_for_each_source_address() {
    let world = World::with("[sessions]\nper_source = 2", "").await;
    for _ in 0..2 {
        handshake_from([127, 0, 0, 1], &world).await.assert_sealed();
    }
    handshake_from([127, 0, 0, 1], &world).await.assert_overloaded();
    handshake_from([127, 0, 0, 2], &world).await.assert_sealed();
    // Without a second request, a place is free again after a minute.
    world.clock.advance(61);
    handshake_from([127, 0, 0, 1], &world).await.assert_sealed();
}

#[tokio::test]
async fn strangers_cannot_push_out_established_sessions() {
    let world = World::with("[sessions]\ntotal = 3", "").await;
    let mut one = Terminal::new(&world).await;
    let mut other = Terminal::new(&world).await;
    one.send(&FIRST).await.assert_says(200, &accepted());
    let second = crate::syncml::Client { source: "IMEI:other", ..FIRST };
    other.send(&second).await.assert_says(200, &accepted());
    // Each stranger's session takes the place of the stranger's before it.
    let mut strangers = Vec::new();
    for _ in 0..5 {
        strangers.push(Terminal::new(&world).await);
    }
    let pushed_out = strangers[0].seal_message(&FIRST);
    post_seal(world.addr, &pushed_out).await.assert_problem(Reason::SessionUnknown);
    one.send(&SECOND).await.assert_says(200, &accepted());
    other.send(&crate::syncml::Client { msg_id: 2, ..second }).await.assert_says(200, &accepted());
}

#[tokio::test]
async fn a_new_session_finds_no_place_among_established_ones() {
    let world = World::with("[sessions]\ntotal = 1", "").await;
    let mut terminal = Terminal::new(&world).await;
    terminal.send(&FIRST).await.assert_says(200, &accepted());
    post_seal(world.addr, &handshake_bytes(&parameters(&world.key))).await.assert_overloaded();
    terminal.send(&SECOND).await.assert_says(200, &accepted());
}

#[tokio::test]
async fn exchanges_beyond_the_places_there_are_are_refused_at_once() {
    let world = World::with("[limits]\nin_flight = 1", "").await;
    let mut terminal = Terminal::new(&world).await;
    let release = world.server.will_hold();
    let sealed = terminal.seal_message(&FIRST);
    let (addr, bytes) = (world.addr, sealed.clone());
    let first = tokio::spawn(async move { post_seal(addr, &bytes).await });
    world.server.has_seen(1).await;
    post_seal(world.addr, &handshake_bytes(&parameters(&world.key))).await.assert_overloaded();
    drop(release);
    terminal.open(&first.await.unwrap()).assert_says(200, &accepted());
    post_seal(world.addr, &handshake_bytes(&parameters(&world.key))).await.assert_sealed();
}

/// A private key whose operations wait until the other end of the channel is dropped.
struct Held {
    inner: Arc<dyn RsaUnwrap>,
    release: Mutex<mpsc::Receiver<()>>,
}

impl RsaUnwrap for Held {
    fn unwrap_key(&self, wrapped: &[u8]) -> Option<Key> {
        let _ = self.release.lock().unwrap().recv();
        self.inner.unwrap_key(wrapped)
    }
}

#[tokio::test]
async fn private_key_operations_beyond_the_queue_are_refused_at_once() {
    let (release, held) = mpsc::channel();
    let world = World::adjusted("[limits]\nunwrap_queue = 3", "", |policy| {
        let recipient = &mut policy.recipients[0];
        recipient.unwrap = Arc::new(Held { inner: Arc::clone(&recipient.unwrap), release: Mutex::new(held) });
    })
    .await;
    let places = std::thread::available_parallelism().unwrap().get() + 3;
    let mut handshakes = JoinSet::new();
    for _ in 0..=places {
        let (addr, sealed) = (world.addr, handshake_bytes(&parameters(&world.key)));
        handshakes.spawn(async move { post_seal(addr, &sealed).await });
    }
    // All others wait, so the one that is answered is the one too many.
    handshakes.join_next().await.unwrap().unwrap().assert_overloaded();
    drop(release);
    let others = handshakes.join_all().await;
    assert_eq!(others.len(), places);
    others.iter().for_each(Answer::assert_sealed);
}

#[tokio::test]
async fn a_replayed_handshake_takes_up_a_place_for_a_minute_at_most() {
    let world = World::with("[sessions]\nper_source = 3", "").await;
    let sealed = handshake_bytes(&parameters(&world.key));
    for _ in 0..3 {
        post_seal(world.addr, &sealed).await.assert_sealed();
    }
    post_seal(world.addr, &sealed).await.assert_overloaded();
    world.clock.advance(61);
    post_seal(world.addr, &sealed).await.assert_sealed();
}

#[tokio::test]
async fn stored_answers_have_a_budget_and_a_dropped_one_is_never_sealed_again() {
    let world = World::with("[sessions]\nstored_responses = \"64 KiB\"", "").await;
    let mut one = Terminal::new(&world).await;
    let mut other = Terminal::new(&world).await;
    let large = {
        let mut document = accepted();
        document.resize(40_000, b'\n');
        document
    };
    world.server.will_say(&large);
    world.server.will_say(&large);
    let sealed = one.seal_message(&FIRST);
    one.open(&post_seal(world.addr, &sealed).await).assert_says(200, &large);
    other.send(&crate::syncml::Client { source: "IMEI:other", ..FIRST }).await.assert_says(200, &large);
    post_seal(world.addr, &sealed).await.assert_problem(Reason::Replayed);
    assert_eq!(world.server.seen().len(), 2);
    one.send(&SECOND).await.assert_says(200, &accepted());
}
