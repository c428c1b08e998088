//! How sealed sessions end, and how the gateway does (PROTOCOL section 3.6).

use syncseal::net::server::Drained;
use syncseal::seal::Reason;
use tokio::net::TcpStream;

use crate::http::{post_seal, post_seal_bytes};
use crate::syncml::{Client, FIRST, SECOND, accepted, answer};
use crate::terminal::{Terminal, request};
use crate::world::World;

#[tokio::test]
async fn a_session_ends_when_nothing_comes() {
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    terminal.send(&FIRST).await.assert_says(200, &accepted());
    world.clock.advance(600);
    terminal.send(&SECOND).await.assert_says(200, &accepted());
    world.clock.advance(601);
    let sealed = terminal.seal_message(&SECOND);
    post_seal(world.addr, &sealed).await.assert_problem(Reason::SessionUnknown);
    assert_eq!(world.server.seen().len(), 2);
}

#[tokio::test]
async fn a_session_ends_at_its_age_in_use_or_not() {
    let world = World::with("[sessions]\nage = \"15 min\"", "").await;
    let mut terminal = Terminal::new(&world).await;
    for _ in 0..2 {
        terminal.send(&FIRST).await.assert_says(200, &accepted());
        world.clock.advance(450);
    }
    world.clock.advance(1);
    let sealed = terminal.seal_message(&SECOND);
    post_seal(world.addr, &sealed).await.assert_problem(Reason::SessionUnknown);
}

#[tokio::test]
async fn a_session_ends_after_its_requests() {
    let world = World::with("[sessions]\nrequests = 2", "").await;
    let mut terminal = Terminal::new(&world).await;
    terminal.send(&FIRST).await.assert_says(200, &accepted());
    terminal.send(&SECOND).await.assert_says(200, &accepted());
    let sealed = terminal.seal_message(&SECOND);
    post_seal(world.addr, &sealed).await.assert_problem(Reason::SessionUnknown);
}

#[tokio::test]
async fn the_last_answer_of_a_syncml_session_says_so() {
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    assert!(!terminal.send(&FIRST).await.end);
    let last = answer(212, "", "<Final/>");
    world.server.will_say(&last);
    let opened = terminal.send(&SECOND).await;
    opened.assert_says(200, &last);
    assert!(opened.end);
    // What follows is taken for another minute.
    world.clock.advance(60);
    terminal.send(&SECOND).await.assert_says(200, &accepted());
    world.clock.advance(61);
    let sealed = terminal.seal_message(&SECOND);
    post_seal(world.addr, &sealed).await.assert_problem(Reason::SessionUnknown);
}

#[tokio::test]
async fn an_answer_after_which_something_follows_does_not_say_the_end() {
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    let challenge = "<Status><CmdRef>1</CmdRef><Data>407</Data><Chal><Meta/></Chal></Status><Final/>";
    for document in [
        answer(200, "", challenge),
        answer(200, "", "<Alert><CmdID>2</CmdID></Alert><Final/>"),
        answer(200, "", ""),
        answer(401, "", "<Final/>"),
    ] {
        world.server.will_say(&document);
        let opened = terminal.send(&FIRST).await;
        opened.assert_says(200, &document);
        assert!(!opened.end, "{}", String::from_utf8_lossy(&document));
    }
    // Nor does any answer to a message after which the client has more.
    let more = String::from_utf8(FIRST.xml()).unwrap().replace("<Final/>", "");
    world.server.will_say(&answer(200, "", "<Final/>"));
    assert!(!terminal.ask(&request(more.as_bytes())).await.end);
}

#[tokio::test]
async fn a_syncml_session_is_nobodys_once_its_sealed_session_ended() {
    let world = World::new().await;
    let mut one = Terminal::new(&world).await;
    one.send(&FIRST).await.assert_says(200, &accepted());
    world.server.will_say(&answer(200, "", "<Final/>"));
    assert!(one.send(&SECOND).await.end);
    let mut next = Terminal::new(&world).await;
    next.send(&Client { cred: true, ..FIRST }).await.assert_says(200, &accepted());
}

#[tokio::test]
async fn an_exchange_in_flight_is_finished_before_the_gateway_ends() {
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    let release = world.server.will_hold();
    let sealed = terminal.seal_message(&FIRST);
    let addr = world.addr;
    let exchange = tokio::spawn(async move { post_seal(addr, &sealed).await });
    world.server.has_seen(1).await;
    world.trigger.drain();
    // It stops listening before the exchange is over.
    while TcpStream::connect(addr).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!exchange.is_finished());
    drop(release);
    terminal.open(&exchange.await.unwrap()).assert_says(200, &accepted());
    assert_eq!(world.serving.await.unwrap(), Drained::Clean);
}

#[tokio::test]
async fn a_drain_does_not_wait_for_ever() {
    let world = World::with("[limits]\ndrain = \"100 ms\"", "").await;
    let mut terminal = Terminal::new(&world).await;
    let _held = world.server.will_hold();
    let sealed = terminal.seal_message(&FIRST);
    let addr = world.addr;
    let exchange = tokio::spawn(async move {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let bytes = post_seal_bytes(&sealed);
        tokio::io::AsyncWriteExt::write_all(&mut stream, &bytes).await.unwrap();
        tokio::io::AsyncReadExt::read(&mut stream, &mut [0]).await.unwrap_or(0)
    });
    world.server.has_seen(1).await;
    world.trigger.drain();
    assert_eq!(world.serving.await.unwrap(), Drained::Forced);
    assert_eq!(exchange.await.unwrap(), 0);
}
