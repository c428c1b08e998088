//! Each refusal that depends on the request alone, as its sender hears it; the server hears of none.

use syncseal::crypto::{Algorithm, KeyId};
use syncseal::seal::{Layer, Reason};

use crate::http::{Answer, post, post_seal};
use crate::syncml::{FIRST, SECOND, WBXML, XML, reason, refusal};
use crate::terminal::{Terminal, handshake_bytes, init, parameters, request};
use crate::world::World;

/// Replaces the one place where `from` stands.
#[track_caller]
fn patched(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut places = bytes.windows(from.len()).enumerate().filter(|(_, window)| *window == from);
    let (at, _) = places.next().expect("what is to be replaced");
    assert!(places.next().is_none(), "it stands there twice");
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

/// The request of a case of the vectors that the refusals are about.
fn vector(name: &str) -> (String, Vec<u8>) {
    let file: serde_json::Value = serde_json::from_str(include_str!("../vectors/refusals.json")).unwrap();
    let case = file["cases"].as_array().unwrap().iter().find(|case| case["name"] == name).unwrap();
    let request = &case["requests"][0];
    (request["content_type"].as_str().unwrap().to_owned(), hex::decode(request["body"].as_str().unwrap()).unwrap())
}

/// Sends what should be an init request to a gateway with these tables in its policy, whose server hears nothing.
async fn refused(tables: &str, make: impl FnOnce(&World) -> Vec<u8>) -> Answer {
    let world = World::with(tables, "").await;
    let answer = post_seal(world.addr, &make(&world)).await;
    world.server.assert_untouched();
    answer
}

#[tokio::test]
async fn plaintext_in_xml_is_refused_in_xml() {
    let world = World::new().await;
    let answer = post(world.addr, XML, &FIRST.xml()).await;
    assert_eq!((answer.status, answer.content_type()), (200, XML));
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    assert_eq!(answer.reason(), Reason::EncryptionRequired);
    let said = refusal(XML, &answer.body).unwrap();
    assert_eq!(said.keys, [world.key.key_id()]);
    assert_eq!(said.algorithms, [3, 24, 1]);
    assert_eq!(said.layers, [1]);
    world.server.assert_untouched();
}

#[tokio::test]
async fn plaintext_in_wbxml_is_refused_in_wbxml() {
    let world = World::new().await;
    let answer = post(world.addr, WBXML, include_bytes!("../captures/syncevolution-wbxml/01.req")).await;
    assert_eq!((answer.status, answer.content_type()), (200, WBXML));
    assert_eq!(reason(WBXML, &answer.body), Some(Reason::EncryptionRequired));
    world.server.assert_untouched();
}

#[tokio::test]
async fn the_layer_that_policy_does_not_take_is_refused() {
    let world = World::new().await;
    let (content_type, body) = vector("layer-unsupported, data layer, xml");
    let answer = post(world.addr, &content_type, &body).await;
    assert_eq!((answer.status, answer.reason()), (200, Reason::LayerUnsupported));
    assert_eq!(refusal(answer.content_type(), &answer.body).unwrap().layers, [u64::from(Layer::Message.number())]);
    world.server.assert_untouched();
}

#[tokio::test]
async fn an_algorithm_that_policy_forbids_is_refused_with_those_that_it_allows() {
    let answer = refused("[crypto]\nalgorithms = [\"A256GCM\"]", |world| {
        handshake_bytes(&syncseal::seal::InitParameters { alg: Algorithm::ChaCha20Poly1305, ..parameters(&world.key) })
            .into()
    })
    .await;
    answer.assert_problem(Reason::AlgorithmUnsupported);
    assert_eq!(refusal(answer.content_type(), &answer.body).unwrap().algorithms, [3]);
}

#[tokio::test]
async fn an_unknown_algorithm_is_refused() {
    // COSE algorithm 2 becomes 4, which is an HMAC.
    let answer = refused("[crypto]\nalgorithms = [\"A192GCM\"]", |world| {
        let parameters = syncseal::seal::InitParameters { alg: Algorithm::A192Gcm, ..parameters(&world.key) };
        patched(&handshake_bytes(&parameters), b"\xa2\x01\x02\x64init", b"\xa2\x01\x04\x64init")
    })
    .await;
    answer.assert_problem(Reason::AlgorithmUnsupported);
}

#[tokio::test]
async fn an_algorithm_at_another_key_length_is_refused_for_its_length() {
    let answer = refused("[crypto]\nalgorithms = [\"A256GCM\"]", |world| {
        handshake_bytes(&syncseal::seal::InitParameters { alg: Algorithm::A128Gcm, ..parameters(&world.key) }).into()
    })
    .await;
    answer.assert_problem(Reason::KeyLengthUnsupported);
}

#[tokio::test]
async fn an_unknown_key_transport_is_refused() {
    // RSA-OAEP with SHA-256, -41, becomes the one with SHA-1, -40.
    let answer = refused("", |world| {
        patched(&handshake_bytes(&parameters(&world.key)), b"\x02\x38\x28\x03", b"\x02\x38\x27\x03")
    })
    .await;
    answer.assert_problem(Reason::KeyTransportUnsupported);
    assert!(refusal(answer.content_type(), &answer.body).unwrap().key_transports.contains(&-41));
}

#[tokio::test]
async fn an_init_request_without_a_key_exchange_is_refused_where_policy_demands_one() {
    let answer = refused("", |world| {
        handshake_bytes(&syncseal::seal::InitParameters {
            group: None,
            require_exchange: false,
            ..parameters(&world.key)
        })
        .into()
    })
    .await;
    answer.assert_problem(Reason::KeyExchangeRequired);
    assert!(refusal(answer.content_type(), &answer.body).unwrap().groups.contains(&29));
}

#[tokio::test]
async fn a_key_exchange_of_an_unknown_group_is_none() {
    let answer = refused("", |world| {
        patched(&handshake_bytes(&parameters(&world.key)), b"\x06\x82\x18\x1d\x58\x20", b"\x06\x82\x18\x1e\x58\x20")
    })
    .await;
    answer.assert_problem(Reason::KeyExchangeRequired);
}

#[tokio::test]
async fn another_version_is_refused_before_anything_else_is_looked_at() {
    let answer = refused("", |world| {
        let version_2 =
            patched(&handshake_bytes(&parameters(&world.key)), b"\x64init\xa6\x00\x01", b"\x64init\xa6\x00\x02");
        patched(&version_2, b"\x02\x38\x28\x03", b"\x02\x38\x27\x03")
    })
    .await;
    answer.assert_problem(Reason::VersionUnsupported);
}

#[tokio::test]
async fn an_unknown_recipient_key_is_refused_with_the_ids_of_those_there_are() {
    let world = World::new().await;
    let KeyId(mut kid) = world.key.key_id();
    let known = kid;
    kid[31] ^= 1;
    let answer = post_seal(world.addr, &patched(&handshake_bytes(&parameters(&world.key)), &known, &kid)).await;
    answer.assert_problem(Reason::KeyUnknown);
    assert_eq!(refusal(answer.content_type(), &answer.body).unwrap().keys, [world.key.key_id()]);
    world.server.assert_untouched();
}

#[tokio::test]
async fn a_session_key_that_cannot_be_unwrapped_is_a_seal_that_does_not_open() {
    let world = World::new().await;
    let mut sealed = handshake_bytes(&parameters(&world.key)).to_vec();
    let kid = world.key.key_id().0;
    let after = sealed.windows(32).position(|window| window == kid).unwrap() + 32;
    // Key 4, the head of a string of 256 bytes, and then the last of them.
    sealed[after + 4 + 255] ^= 1;
    let answer = post_seal(world.addr, &sealed).await;
    answer.assert_problem(Reason::CannotOpen);
}

#[tokio::test]
async fn a_handshake_whose_tag_is_wrong_begins_no_session() {
    let answer = refused("", |world| {
        let mut sealed = handshake_bytes(&parameters(&world.key)).to_vec();
        *sealed.last_mut().unwrap() ^= 0x80;
        sealed
    })
    .await;
    answer.assert_problem(Reason::CannotOpen);
}

#[tokio::test]
async fn a_session_that_nobody_knows_is_refused() {
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    let elsewhere = World::new().await;
    let answer = post_seal(elsewhere.addr, &terminal.seal_message(&FIRST)).await;
    answer.assert_problem(Reason::SessionUnknown);
    elsewhere.server.assert_untouched();
}

#[tokio::test]
async fn a_session_lives_on_its_own_route() {
    let world = World::with("", "[[route]]\npath = \"/other\"\nupstream = \"http://127.0.0.1:9\"\n").await;
    let mut terminal = Terminal::new(&world).await;
    let sealed = terminal.seal_message(&FIRST);
    let fields = format!("Content-Type: {}\r\nContent-Length: {}\r\n", syncseal::seal::CONTENT_TYPE, sealed.len());
    let bytes = crate::http::request_bytes("POST /other HTTP/1.1", &fields, &sealed);
    crate::http::exchange(world.addr, &bytes).await.assert_problem(Reason::SessionUnknown);
    world.server.assert_untouched();
    // It was not taken, so its number is free.
    terminal.next = 1;
    terminal.send(&FIRST).await.assert_says(200, &crate::syncml::accepted());
}

#[tokio::test]
async fn what_is_no_seal_is_malformed() {
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    let sealed = terminal.seal_message(&FIRST);
    let untagged = &sealed[1..];
    let trailing = [&sealed[..], b"\0"].concat();
    for body in [b"".as_slice(), b"SyncML", &[0xd0], untagged, &trailing, &[0xff; 4000]] {
        post_seal(world.addr, body).await.assert_problem(Reason::Malformed);
    }
    world.server.assert_untouched();
}

#[tokio::test]
async fn every_truncation_of_a_request_is_malformed() {
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    let sealed = terminal.seal_message(&FIRST);
    for len in (0..sealed.len()).step_by(17) {
        post_seal(world.addr, &sealed[..len]).await.assert_problem(Reason::Malformed);
    }
    world.server.assert_untouched();
    terminal.open(&post_seal(world.addr, &sealed).await).assert_says(200, &crate::syncml::accepted());
}

#[tokio::test]
async fn plaintext_that_cannot_be_read_is_refused_in_problem_details() {
    let world = World::new().await;
    post(world.addr, XML, b"<SyncML><SyncHdr>").await.assert_problem(Reason::Malformed);
    world.server.assert_untouched();
}

#[tokio::test]
async fn a_sealed_message_that_is_no_document_is_refused_in_a_seal() {
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    let opened = terminal.ask(&request(b"BEGIN:VCARD")).await;
    assert_eq!((opened.status, opened.content_type.as_str()), (400, "application/problem+json"));
    assert_eq!(reason(&opened.content_type, &opened.body), Some(Reason::Malformed));
    world.server.assert_untouched();
}

#[tokio::test]
async fn a_handshake_that_carries_a_message_is_refused() {
    let answer =
        refused("", |world| init(&parameters(&world.key)).seal(&request(&FIRST.xml()).plaintext()).0.into()).await;
    answer.assert_problem(Reason::Malformed);
}

#[tokio::test]
async fn a_numbered_request_with_the_empty_map_is_refused_in_a_seal() {
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    let sealed = terminal.keys.seal_request(syncseal::seal::Number::new(1).unwrap(), &crate::terminal::empty());
    terminal.next = 2;
    let opened = terminal.open(&post_seal(world.addr, &sealed).await);
    assert_eq!(reason(&opened.content_type, &opened.body), Some(Reason::Malformed));
    world.server.assert_untouched();
}

#[tokio::test]
async fn a_syncml_session_that_begins_in_the_middle_is_refused_in_a_seal() {
    let world = World::new().await;
    let mut terminal = Terminal::new(&world).await;
    terminal.send(&SECOND).await.assert_refused(Reason::SessionBound);
    world.server.assert_untouched();
}
