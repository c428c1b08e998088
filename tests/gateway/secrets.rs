//! Terminals that share a secret with the gateway: who they are, what they may say, and what strangers can learn of them.

use std::os::unix::fs::PermissionsExt;

use bytes::BytesMut;
use syncseal::crypto::{KeyName, KeyTransport, TerminalSecret, default_provider};
use syncseal::policy::GatewayPolicy;
use syncseal::seal::{Extras, InitParameters, PendingInit, Reason, Recipient, Response};
use tempfile::TempDir;

use crate::http::{Answer, post_seal};
use crate::syncml::{Client, FIRST, SECOND, accepted, accepted_at, refusal};
use crate::terminal::{Terminal, empty, handshake_bytes, init, parameters, request};
use crate::world::World;

/// A terminal's name and secret.
struct Shared {
    name: KeyName,
    secret: TerminalSecret,
}

impl Shared {
    fn new(name: &str, byte: u8) -> Self {
        let text = base64_turbo::STANDARD.encode([byte; 32]);
        Self { name: name.parse().unwrap(), secret: TerminalSecret::from_text(&text).unwrap() }
    }

    fn asks<'a>(&'a self, world: &'a World) -> InitParameters<'a> {
        InitParameters { recipient: Recipient::Secret(&self.name, &self.secret), ..parameters(&world.key) }
    }

    async fn begin(&self, world: &World) -> Terminal {
        Terminal::asking(world.addr, &self.asks(world)).await
    }
}

fn phone() -> Shared {
    Shared::new("phone", 1)
}

fn tablet() -> Shared {
    Shared::new("tablet", 2)
}

/// A gateway that shares secrets: with `phone` without limits, with `tablet` for the devices `IMEI:4901*` until 1000 s
/// after it began.
async fn world(lines: &str, tables: &str, adjust: impl FnOnce(&mut GatewayPolicy)) -> World {
    let dir = tempfile::tempdir().unwrap();
    let file = |shared: &Shared| write(&dir, shared);
    let (phone, tablet) = (file(&phone()), file(&tablet()));
    let secrets = format!(
        "secrets = {{ phone = {phone:?}, tablet = {{ file = {tablet:?}, devices = ['IMEI:4901*'], \
         expires = 2026-09-21T16:30:00+02:00 }} }}\n"
    );
    World::adjusted(&format!("{secrets}{lines}\n{tables}"), "", adjust).await
}

fn write(dir: &TempDir, shared: &Shared) -> String {
    let file = dir.path().join(format!("{}.secret", shared.name));
    std::fs::write(&file, shared.secret.to_text().as_bytes()).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    file.display().to_string()
}

async fn any_world() -> World {
    world("", "", |_| {}).await
}

#[tokio::test]
async fn a_terminal_with_a_secret_is_served_beside_one_without() {
    let world = any_world().await;
    phone().begin(&world).await.send(&FIRST).await.assert_says(200, &accepted());
    let other = Client { source: "IMEI:other", ..FIRST };
    Terminal::new(&world).await.send(&other).await.assert_says(200, &accepted());
}

#[tokio::test]
async fn how_session_keys_may_travel_is_policy() {
    let world = world("key_transports = ['A256KW']", "", |_| {}).await;
    phone().begin(&world).await.send(&FIRST).await.assert_says(200, &accepted());
    let answer = post_seal(world.addr, &handshake_bytes(&parameters(&world.key))).await;
    answer.assert_problem(Reason::KeyTransportUnsupported);
    let refusal = refusal(answer.content_type(), &answer.body).unwrap();
    assert_eq!(refusal.key_transports, [KeyTransport::A256Kw.cose_id().into()]);

    let without = World::new().await;
    let answer = post_seal(without.addr, &handshake_bytes(&phone().asks(&without))).await;
    answer.assert_problem(Reason::KeyTransportUnsupported);
}

/// All of an answer that a stranger sees.
fn seen(answer: &Answer) -> (u16, Vec<(String, String)>, Vec<u8>) {
    let mut fields = answer.fields.clone();
    fields.retain(|(name, _)| name != "date");
    fields.sort();
    (answer.status, fields, answer.body.clone())
}

#[tokio::test]
async fn unknown_names_expired_secrets_and_wrong_ones_get_the_same_answer() {
    let world = any_world().await;
    world.clock.advance(1000);
    let mut answers = Vec::new();
    for (name, byte) in [("nobody", 1), ("phone", 2), ("tablet", 2), ("tablet", 1), ("phone ", 1)] {
        let stranger = Shared::new(name, byte);
        let answer = post_seal(world.addr, &handshake_bytes(&stranger.asks(&world))).await;
        answer.assert_problem(Reason::CannotOpen);
        answers.push(seen(&answer));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1);
    phone().begin(&world).await.send(&FIRST).await.assert_says(200, &accepted());
    assert_eq!(world.server.seen().len(), 1);
}

#[tokio::test]
async fn a_session_ends_with_its_secret() {
    let world = world("", "[sessions]\nidle = '1 h'", |_| {}).await;
    let (mut phone, mut tablet) = (phone().begin(&world).await, tablet().begin(&world).await);
    let other = Client { source: "IMEI:other", ..FIRST };
    phone.send(&other).await.assert_says(200, &accepted());
    tablet.send(&FIRST).await.assert_says(200, &accepted());
    world.clock.advance(999);
    tablet.send(&SECOND).await.assert_says(200, &accepted());
    world.clock.advance(1);
    let sealed = tablet.seal_message(&SECOND);
    post_seal(world.addr, &sealed).await.assert_problem(Reason::SessionUnknown);
    phone.send(&Client { msg_id: 2, ..other }).await.assert_says(200, &accepted());
    assert_eq!(world.server.seen().len(), 4);
}

#[tokio::test]
async fn a_device_outside_the_patterns_of_its_secret_is_refused_sealed() {
    for route in [true, false] {
        let world = world("", "", |policy| policy.routes[0].bind_sessions = route).await;
        let mut tablet = tablet().begin(&world).await;
        for source in ["IMEI:4902", "", "imei:490154203237518", "x IMEI:4901"] {
            tablet.send(&Client { source, ..FIRST }).await.assert_refused(Reason::SessionBound);
        }
        world.server.assert_untouched();
        // The number is used, and has its one answer.
        let sealed = tablet.seal_message(&Client { source: "IMEI:4902", ..FIRST });
        let answer = post_seal(world.addr, &sealed).await;
        tablet.open(&answer).assert_refused(Reason::SessionBound);
        assert_eq!(post_seal(world.addr, &sealed).await.body, answer.body);
        tablet.send(&FIRST).await.assert_says(200, &accepted());
        phone().begin(&world).await.send(&Client { source: "IMEI:4902", ..FIRST }).await.assert_says(200, &accepted());
    }
}

const EARLY: &str = "[early]\naccept = true";

/// An early message.
fn early(shared: &Shared, world: &World, client: &Client) -> (bytes::Bytes, PendingInit) {
    let parameters = InitParameters { issued: Some(world.clock.seconds()), ..shared.asks(world) };
    init(&parameters).seal(&request(&client.xml()).plaintext())
}

#[tokio::test]
async fn an_early_message_from_another_device_begins_no_session() {
    let world = world("", EARLY, |_| {}).await;
    world.clock.advance(10);
    let (sealed, _) = early(&tablet(), &world, &Client { source: "IMEI:4902", ..FIRST });
    post_seal(world.addr, &sealed).await.assert_problem(Reason::SessionBound);
    world.server.assert_untouched();
    // Who has not the secret hears nothing of devices.
    let (sealed, _) = early(&Shared::new("tablet", 7), &world, &Client { source: "IMEI:4902", ..FIRST });
    post_seal(world.addr, &sealed).await.assert_problem(Reason::CannotOpen);

    let (sealed, pending) = early(&tablet(), &world, &FIRST);
    let answer = post_seal(world.addr, &sealed).await;
    let established = pending.handle_response(default_provider(), BytesMut::from(&*answer.body)).unwrap();
    assert_eq!(Response::decode(&established.plaintext, &Extras::default()).unwrap().body, accepted());
}

#[tokio::test]
async fn a_syncml_session_belongs_to_the_secret_not_to_the_sealed_session() {
    let world = any_world().await;
    world.server.will_say(&accepted_at("/sync?session=secret"));
    phone().begin(&world).await.send(&Client { cred: true, ..FIRST }).await;
    tablet().begin(&world).await.send(&SECOND).await.assert_refused(Reason::SessionBound);
    Terminal::new(&world).await.send(&SECOND).await.assert_refused(Reason::SessionBound);
    // The same terminal in another sealed session.
    phone().begin(&world).await.send(&SECOND).await.assert_says(200, &accepted());
    assert_eq!(world.server.seen().len(), 2);
}

#[tokio::test]
async fn sessions_are_capped_for_each_secret() {
    let world = world("", "", |policy| policy.sessions.sessions_per_secret = 2).await;
    for _ in 0..2 {
        phone().begin(&world).await;
    }
    post_seal(world.addr, &handshake_bytes(&phone().asks(&world))).await.assert_problem(Reason::Overloaded);
    // Who only knows the name cannot take up the places of its owner.
    for _ in 0..3 {
        let stranger = Shared::new("tablet", 9);
        let sealed = init(&stranger.asks(&world)).seal(&empty()).0;
        post_seal(world.addr, &sealed).await.assert_problem(Reason::CannotOpen);
    }
    tablet().begin(&world).await;
}
