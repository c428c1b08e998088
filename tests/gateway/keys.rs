//! Several RSA keys: the active one, and one that is accepted until a time.

use serde_json::Value;
use syncseal::crypto::{KeyId, RsaPrivateKey, RsaPublicKey};
use syncseal::seal::Reason;

use crate::http::{exchange, post, post_seal, request_bytes};
use crate::syncml::{FIRST, SECOND, XML, accepted, refusal};
use crate::terminal::{Terminal, handshake_bytes, parameters};
use crate::world::World;

const OLD: &str = include_str!("../keys/exponent-3.pem");

fn old_key() -> RsaPublicKey {
    RsaPrivateKey::from_pem(OLD).unwrap().public().clone()
}

/// A gateway that accepts an older key for another 1000 s.
async fn world() -> World {
    World::adjusted("", "", |policy| {
        let provider = policy.provider;
        let old = RsaPrivateKey::from_pem(OLD).unwrap();
        let mut recipient = policy.recipients[0].clone();
        recipient.public = old.public().clone();
        recipient.unwrap = provider.rsa_unwrap(&old).unwrap().into();
        recipient.accept_until = Some(syncseal::session::UnixTime(1_790_001_000));
        policy.recipients.push(recipient);
    })
    .await
}

/// The keys that the gateway names: to those who ask what is supported, and in refusals.
async fn named(world: &World) -> Vec<KeyId> {
    let answer = exchange(world.addr, &request_bytes("GET /.well-known/syncseal HTTP/1.1", "", b"")).await;
    let supported: Value = serde_json::from_slice(&answer.body).unwrap();
    let supported: Vec<KeyId> =
        supported["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().parse().unwrap()).collect();
    let answer = post(world.addr, XML, &FIRST.xml()).await;
    let refused = refusal(answer.content_type(), &answer.body).unwrap();
    assert_eq!(refused.keys, supported);
    supported
}

#[tokio::test]
async fn an_older_key_is_accepted_until_its_time_by_the_clock_of_each_request() {
    let world = world().await;
    let old = old_key();
    assert_eq!(named(&world).await, [world.key.key_id(), old.key_id()]);
    world.clock.advance(999);
    let mut terminal = Terminal::at(world.addr, &old).await;
    terminal.send(&FIRST).await.assert_says(200, &accepted());

    world.clock.advance(1);
    let answer = post_seal(world.addr, &handshake_bytes(&parameters(&old))).await;
    answer.assert_problem(Reason::KeyUnknown);
    let refused = refusal(answer.content_type(), &answer.body).unwrap();
    assert_eq!(refused.keys, [world.key.key_id()]);
    assert_eq!(named(&world).await, [world.key.key_id()]);

    // A session that began in time goes on; and the active key has no end.
    terminal.send(&SECOND).await.assert_says(200, &accepted());
    world.clock.advance(10 * 365 * 24 * 3600);
    Terminal::new(&world).await;
}
