//! Whose SyncML session it is: what a second terminal with keys of its own can do that knows the victim's Source,
//! SessionID and RespURI (PROTOCOL section 8.2).

use syncseal::seal::{Fields, Reason, Request};

use crate::http::post;
use crate::syncml::{Client, FIRST, SECOND, XML, accepted, accepted_at, challenged};
use crate::terminal::{Terminal, request};
use crate::world::{PERMIT, World};

const CRED: Client = Client { cred: true, ..FIRST };

/// A gateway, the victim, whose SyncML session the server has accepted, and someone else.
async fn world(route: &str) -> (World, Terminal, Terminal) {
    let world = World::with("", route).await;
    let mut victim = Terminal::new(&world).await;
    let mallory = Terminal::new(&world).await;
    world.server.will_say(&accepted_at("/sync?session=secret"));
    victim.send(&CRED).await.assert_says(200, &accepted_at("/sync?session=secret"));
    (world, victim, mallory)
}

#[tokio::test]
async fn a_second_terminal_cannot_go_on_with_a_syncml_session() {
    let (world, mut victim, mut mallory) = world("").await;
    mallory.send(&SECOND).await.assert_refused(Reason::SessionBound);
    mallory.send(&Client { cred: true, ..SECOND }).await.assert_refused(Reason::SessionBound);
    assert_eq!(world.server.seen().len(), 1);
    victim.send(&SECOND).await.assert_says(200, &accepted());
}

#[tokio::test]
async fn a_second_terminal_cannot_begin_an_owned_syncml_session_anew() {
    let (world, mut victim, mut mallory) = world("").await;
    mallory.send(&FIRST).await.assert_refused(Reason::SessionBound);
    mallory.send(&CRED).await.assert_refused(Reason::SessionBound);
    assert_eq!(world.server.seen().len(), 1);
    victim.send(&SECOND).await.assert_says(200, &accepted());
}

#[tokio::test]
async fn white_space_around_the_ids_makes_no_other_syncml_session() {
    let (world, _victim, mut mallory) = world("").await;
    let spaced = Client { source: " IMEI:490154203237518\n", session_id: "\t7 ", ..SECOND };
    mallory.send(&spaced).await.assert_refused(Reason::SessionBound);
    assert_eq!(world.server.seen().len(), 1);
}

#[tokio::test]
async fn a_target_from_a_resp_uri_is_its_owners_alone() {
    let (world, mut victim, mut mallory) = world("").await;
    let other = Client { source: "IMEI:other", session_id: "9", ..CRED };
    let (theirs, own) = (other.xml(), SECOND.xml());
    let target = "/sync?session=secret";
    let opened = mallory.ask(&Request { target, ..request(&theirs) }).await;
    opened.assert_refused(Reason::SessionBound);
    assert_eq!(world.server.seen().len(), 1);
    victim.ask(&Request { target, ..request(&own) }).await.assert_says(200, &accepted());
}

#[tokio::test]
async fn plaintext_cannot_go_on_with_a_sealed_syncml_session() {
    let (world, _victim, _) = world(PERMIT).await;
    for client in [SECOND, FIRST, CRED] {
        let answer = post(world.addr, XML, &client.xml()).await;
        assert_eq!((answer.status, answer.reason()), (200, Reason::SessionBound));
    }
    assert_eq!(world.server.seen().len(), 1);
}

#[tokio::test]
async fn plaintext_cannot_reach_a_sealed_sessions_target() {
    let (world, _victim, _) = world(PERMIT).await;
    let other = Client { source: "IMEI:other", session_id: "9", ..CRED }.xml();
    let fields = format!("Content-Type: {XML}\r\nContent-Length: {}\r\n", other.len());
    let bytes = crate::http::request_bytes("POST /sync?session=secret HTTP/1.1", &fields, &other);
    assert_eq!(crate::http::exchange(world.addr, &bytes).await.reason(), Reason::SessionBound);
    assert_eq!(world.server.seen().len(), 1);
}

#[tokio::test]
async fn an_idle_owner_gives_way_to_someone_whom_the_server_accepts() {
    let (world, mut victim, mut heir) = world("").await;
    world.clock.advance(59);
    heir.send(&CRED).await.assert_refused(Reason::SessionBound);
    world.clock.advance(1);
    heir.send(&CRED).await.assert_says(200, &accepted());
    victim.send(&SECOND).await.assert_refused(Reason::SessionBound);
    heir.send(&SECOND).await.assert_says(200, &accepted());
}

#[tokio::test]
async fn an_idle_owner_stays_when_the_server_does_not_accept_the_other() {
    let (world, mut victim, mut mallory) = world("").await;
    world.clock.advance(60);
    world.server.will_say(&challenged());
    mallory.send(&CRED).await.assert_says(200, &challenged());
    mallory.send(&SECOND).await.assert_refused(Reason::SessionBound);
    victim.send(&SECOND).await.assert_says(200, &accepted());
}

#[tokio::test]
async fn a_syncml_session_that_nobody_owns_yet_can_be_begun_anew() {
    let world = World::new().await;
    let (mut one, mut other) = (Terminal::new(&world).await, Terminal::new(&world).await);
    world.server.will_say(&challenged());
    one.send(&FIRST).await.assert_says(200, &challenged());
    other.send(&FIRST).await.assert_says(200, &accepted());
    one.send(&SECOND).await.assert_refused(Reason::SessionBound);
}

#[tokio::test]
async fn a_first_message_with_another_number_needs_credentials() {
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    terminal.send(&Client { cred: true, ..SECOND }).await.assert_says(200, &accepted());
}

#[tokio::test]
async fn ids_that_peers_may_read_differently_are_refused() {
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    for source in ["IMEI:&#233;", "IMEI:1\n2"] {
        terminal.send(&Client { source, ..FIRST }).await.assert_refused(Reason::Malformed);
    }
    world.server.assert_untouched();
}

#[tokio::test]
async fn policy_can_switch_binding_off() {
    let (world, _victim, mut mallory) = world("dangerous = { bind_sessions = false }").await;
    mallory.send(&SECOND).await.assert_says(200, &accepted());
    assert_eq!(world.server.seen().len(), 2);
}

#[tokio::test]
async fn fields_do_not_say_whose_it_is() {
    let (world, _victim, mut mallory) = world("").await;
    let body = SECOND.xml();
    let fields = Fields::filter(
        syncseal::seal::Direction::C2s,
        &syncseal::seal::Extras::default(),
        [("authorization", b"Basic dXNlcjpwYXNz".as_slice()), ("cookie", b"session=secret")],
    );
    mallory.ask(&Request { fields, ..request(&body) }).await.assert_refused(Reason::SessionBound);
    assert_eq!(world.server.seen().len(), 1);
}
