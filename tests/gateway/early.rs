//! Early messages (PROTOCOL section 3.5).

use bytes::{Bytes, BytesMut};
use syncseal::crypto::default_provider;
use syncseal::seal::{self, Extras, InitParameters, Reason};

use crate::http::post_seal;
use crate::server::Server;
use crate::syncml::{Client, FIRST, SECOND, accepted};
use crate::terminal::{init, parameters, request};
use crate::world::World;

const ACCEPT: &str = "[early]\naccept = true";

/// A gateway that takes early messages, ten seconds after it began to remember them.
async fn world() -> World {
    let world = World::with(ACCEPT, "").await;
    world.clock.advance(10);
    world
}

fn early(world: &World, client: &Client, issued: u64) -> (Bytes, seal::PendingInit) {
    let parameters = InitParameters { issued: Some(issued), ..parameters(&world.key) };
    init(&parameters).seal(&request(&client.xml()).plaintext())
}

#[tokio::test]
async fn an_early_message_is_forwarded_and_answered_at_once() {
    let world = world().await;
    let (sealed, pending) = early(&world, &FIRST, world.clock.seconds());
    let answer = post_seal(world.addr, &sealed).await;
    answer.assert_sealed();
    let established = pending.handle_response(default_provider(), BytesMut::from(&*answer.body)).unwrap();
    let response = seal::Response::decode(&established.plaintext, &Extras::default()).unwrap();
    assert_eq!(response.body, accepted());
    assert_eq!(world.server.bodies(), [FIRST.xml()]);
}

#[tokio::test]
async fn a_replayed_early_message_is_refused_and_forwarded_once() {
    let world = world().await;
    let (sealed, _) = early(&world, &FIRST, world.clock.seconds());
    post_seal(world.addr, &sealed).await.assert_sealed();
    world.clock.advance(299);
    post_seal(world.addr, &sealed).await.assert_problem(Reason::EarlyRefused);
    assert_eq!(world.server.seen().len(), 1);
}

#[tokio::test]
async fn early_messages_are_refused_where_policy_does_not_take_them() {
    let world = World::new().await;
    world.clock.advance(10);
    let (sealed, _) = early(&world, &FIRST, world.clock.seconds());
    post_seal(world.addr, &sealed).await.assert_problem(Reason::EarlyRefused);
    world.server.assert_untouched();
}

#[tokio::test]
async fn an_early_message_that_was_not_issued_just_now_is_refused() {
    let world = world().await;
    world.clock.advance(1000);
    let now = world.clock.seconds();
    for issued in [0, now - 301, now + 301, u64::MAX] {
        let (sealed, _) = early(&world, &FIRST, issued);
        post_seal(world.addr, &sealed).await.assert_problem(Reason::EarlyRefused);
    }
    world.server.assert_untouched();
}

#[tokio::test]
async fn an_early_message_from_before_the_gateways_memory_is_refused() {
    let world = world().await;
    let (sealed, _) = early(&world, &FIRST, world.clock.seconds() - 10);
    post_seal(world.addr, &sealed).await.assert_problem(Reason::EarlyRefused);
    world.server.assert_untouched();
}

#[tokio::test]
async fn an_early_message_that_changes_data_or_goes_on_is_refused() {
    let world = world().await;
    let sync = Client { commands: "<Sync><CmdID>1</CmdID><Add/></Sync>", ..FIRST };
    let exec = Client { commands: "<Exec><CmdID>1</CmdID></Exec>", ..FIRST };
    for client in [sync, exec, SECOND, Client { cred: true, ..SECOND }] {
        let (sealed, _) = early(&world, &client, world.clock.seconds());
        post_seal(world.addr, &sealed).await.assert_problem(Reason::EarlyRefused);
    }
    world.server.assert_untouched();
}

#[tokio::test]
async fn a_server_that_fails_is_told_in_the_early_messages_seal() {
    let world = World::before(Server::down(), ACCEPT, "", |_| {}).await;
    world.clock.advance(10);
    let (sealed, pending) = early(&world, &FIRST, world.clock.seconds());
    let answer = post_seal(world.addr, &sealed).await;
    answer.assert_sealed();
    let established = pending.handle_response(default_provider(), BytesMut::from(&*answer.body)).unwrap();
    let response = seal::Response::decode(&established.plaintext, &Extras::default()).unwrap();
    assert_eq!(response.status, 502);
    let reason = crate::syncml::reason(response.content_type, response.body);
    assert_eq!(reason, Some(Reason::UpstreamUnreachable));
}
