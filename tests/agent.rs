//! The agent over real sockets, before a gateway that does something wrong on request.
//!
//! Whatever happens, its client gets an answer, nothing that is not authentic is passed on, and nothing but seals leaves:
//! every [`World`] checks that at its end against all that the gateway heard.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;
#[path = "agent/fake_gateway.rs"]
mod fake_gateway;
#[path = "agent/whole.rs"]
mod whole;
#[path = "agent/world.rs"]
mod world;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use syncseal::agent;
use syncseal::crypto::{Algorithm, NamedGroup, RsaPublicKey};
use syncseal::net::drain::Trigger;
use syncseal::net::server::Drained;
use syncseal::policy::{AgentPolicy, AgentRecipients};
use syncseal::seal::{self, Extras, Reason, Refusal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use fake_gateway::{Answer, FakeGateway, Fault};
use world::*;

// --- The way of a message

#[tokio::test]
async fn a_message_and_its_answer_arrive_as_they_were_sent() {
    let world = World::new().await;
    let answer = server_answer("1", 1);
    let (body, sent) = (answer.clone(), message("1", 1, ALERT));
    world.gateway.serve_with(move |_| Answer {
        status: 202,
        content_type: "Application/VND.syncml+xml;charset=UTF-8".into(),
        fields: vec![
            ("set-cookie", b"a=1".to_vec()),
            ("x-syncml-hmac", b"algorithm=MD5".to_vec()),
            ("set-cookie", b"b=2".to_vec()),
            ("server", b"dropped by the gateway".to_vec()),
        ],
        body: body.clone().into(),
        end: false,
    });
    let request = Request::post(TARGET)
        .header("content-type", "application/vnd.SyncML+xml; charset=\"utf-8\"")
        .header("user-agent", "phone/SECRET")
        .header("authorization", "Basic SECRET")
        .header("cookie", "a=SECRET")
        .header("cookie", "b=SECRET")
        .header("x-syncml-hmac", "mac=SECRET")
        .header("accept-encoding", "gzip")
        .header("x-forwarded-for", "SECRET")
        .body(Full::from(sent.clone()))
        .unwrap();
    let response = world.send(request).await;

    assert_eq!(response.status(), 202);
    assert_eq!(response.body(), &answer);
    assert_eq!(response.headers()["content-type"], "Application/VND.syncml+xml;charset=UTF-8");
    assert_eq!(response.headers()["content-length"], answer.len().to_string());
    assert!(!response.headers().contains_key("server"));
    let cookies: Vec<_> = response.headers().get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1", "b=2"]);

    let [heard] = &world.gateway.heard()[..] else { panic!("one message") };
    assert_eq!((heard.number, heard.target.as_str()), (1, TARGET));
    assert_eq!(heard.content_type, "application/vnd.SyncML+xml; charset=\"utf-8\"");
    assert_eq!(heard.body, sent.as_bytes());
    let mut fields: Vec<_> = heard.fields.iter().map(|(name, value)| (name.as_str(), &value[..])).collect();
    fields.sort_unstable();
    let expected: [(&str, &[u8]); 5] = [
        ("authorization", b"Basic SECRET"),
        ("cookie", b"a=SECRET"),
        ("cookie", b"b=SECRET"),
        ("user-agent", b"phone/SECRET"),
        ("x-syncml-hmac", b"mac=SECRET"),
    ];
    assert_eq!(fields, expected);
    world.end().await;
}

#[tokio::test]
async fn an_old_client_is_answered_and_its_fields_of_one_hop_stay_here() {
    let world = World::new().await;
    let body = message("1", 1, ALERT);
    let head = format!(
        "POST http://{}{TARGET} HTTP/1.0\r\nConnection: x-syncml-client, keep-alive\r\nX-SyncML-Client: {SECRET}\r\n\
         Cache-Control: private\r\nContent-Type: {XML}\r\nContent-Length: {}\r\n\r\n",
        world.agent,
        body.len()
    );
    let mut stream = TcpStream::connect(world.agent).await.unwrap();
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("Content-Length: {}", body.len())) && !head.contains("chunked"), "{head}");
    assert_eq!(body, server_answer("1", 1));
    let heard = &world.gateway.heard()[0];
    assert_eq!(heard.target, TARGET, "of an absolute form path and query count");
    assert_eq!(heard.fields, [("cache-control".to_owned(), b"private".to_vec())]);
    world.end().await;
}

#[tokio::test]
async fn what_real_peers_sent_goes_through_in_both_forms() {
    let captures = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures");
    for (directory, content_type) in
        [("syncevolution-xml", XML), ("syncevolution-wbxml", "application/vnd.syncml+wbxml")]
    {
        let world = World::new().await;
        let read = |name: String| std::fs::read(captures.join(directory).join(name)).unwrap();
        for exchange in 1..=4 {
            let (request, answer) = (read(format!("0{exchange}.req")), read(format!("0{exchange}.resp")));
            let body = answer.clone();
            world
                .gateway
                .serve_with(move |_| Answer { content_type: content_type.into(), ..Answer::syncml(body.clone()) });
            let sent = Request::post("/syncevolution").header("content-type", content_type);
            let response = world.send(sent.body(Full::from(request.clone())).unwrap()).await;
            assert_eq!((response.status(), response.body()), (StatusCode::OK, &Bytes::from(answer)), "{directory}");
            assert_eq!(world.gateway.heard().last().unwrap().body, request);
        }
        assert_eq!(numbers(&world.gateway.heard()), [1, 2, 3, 4]);
        world.end().await;
    }
}

#[tokio::test]
async fn sealed_refusals_and_other_answers_are_given_as_they_are() {
    let world = World::new().await;
    for (msg, status, content_type) in [(1, 409, XML), (2, 500, "text/html"), (3, 404, "application/problem+json")] {
        let answer = server_answer("1", msg);
        let body = answer.clone();
        world.gateway.serve_with(move |_| Answer {
            status,
            content_type: content_type.into(),
            ..Answer::syncml(body.clone())
        });
        let response = world.post(message("1", msg, ALERT)).await;
        assert_eq!((response.status().as_u16(), response.body()), (status, &Bytes::from(answer)));
        assert_eq!(response.headers()["content-type"], content_type);
    }
    assert_eq!(numbers(&world.gateway.heard()), [1, 2, 3]);
    world.end().await;
}

#[tokio::test]
async fn what_is_not_syncml_ends_at_the_agent_with_a_sentence() {
    let world = World::with(|policy| policy.message_limit = 2000).await;
    let document = || message("1", 1, ALERT);
    let request = |target: &str| Request::post(target).header("content-type", XML);
    let full = |body: String| Full::from(body);
    for (request, status) in [
        (Request::get("/sync").body(Full::default()), 405),
        (Request::put("/sync").header("content-type", XML).body(full(document())), 405),
        (Request::post("/sync").body(full(document())), 415),
        (Request::post("/sync").header("content-type", "text/xml").body(full(document())), 415),
        (Request::post("/sync").header("content-type", seal::CONTENT_TYPE).body(full(document())), 415),
        (request("/sync").header("content-type", XML).body(full(document())), 415),
        (request("/sync").header("content-encoding", "gzip").body(full(document())), 415),
        (request("/sync").body(full("no document".into())), 400),
        (request("/sync").body(full("<html/>".into())), 400),
        (request("/sync").body(full(document()[..200].into())), 400),
        (request("/a/../b").body(full(document())), 400),
        (request("/a/%2E%2e;x/b").body(full(document())), 400),
        (request("/a%2fb").body(full(document())), 400),
        (request("//host/").body(full(document())), 400),
        (request("/sync").body(full(message("1", 1, &"x".repeat(2000)))), 413),
    ] {
        let request = request.unwrap();
        let what = format!("{request:?}");
        let response = world.send(request).await;
        assert_eq!(response.status(), status, "{what}");
        assert_own(&response, status);
        assert_eq!(response.headers().get("allow").is_some(), status == 405);
    }
    assert!(world.gateway.received().is_empty());
    // At the limit it goes.
    let short = message("1", 1, "<!---->").len();
    assert_answer(&world.post(message("1", 1, &format!("<!--{}-->", "x".repeat(2000 - short)))).await, "1", 1);
    world.end().await;
}

#[tokio::test]
async fn media_types_and_fields_that_policy_adds_travel() {
    let world = World::with(|policy| {
        policy.extra_types = vec![("application/x-sync".into(), syncseal::syncml::Form::Xml)];
        policy.extra_headers = vec!["ms-signature".into()];
    })
    .await;
    world.gateway.extend(Extras {
        media_types: vec!["application/x-sync".into()],
        request_fields: vec!["ms-signature".into()],
        response_fields: vec!["ms-signature".into()],
    });
    world.gateway.serve_with(|heard| Answer {
        fields: vec![("ms-signature", b"b".to_vec())],
        ..Answer::syncml(answer_to(heard))
    });
    let request = |content_type: &str| {
        let request = Request::post("/sync").header("content-type", content_type).header("ms-signature", "a");
        request.body(Full::from(message("1", 1, ALERT))).unwrap()
    };
    let response = world.send(request("Application/X-Sync; a=b")).await;
    assert_answer(&response, "1", 1);
    assert_eq!(response.headers()["ms-signature"], "b");
    let heard = &world.gateway.heard()[0];
    assert_eq!(heard.content_type, "Application/X-Sync; a=b");
    assert_eq!(heard.fields, [("ms-signature".to_owned(), b"a".to_vec())]);
    assert_own(&world.send(request("application/y-sync")).await, 415);
    world.end().await;

    // Where only the agent's policy has them, nothing is passed on that the gateway did not take.
    let world = World::with(|policy| policy.extra_headers = vec!["ms-signature".into()]).await;
    let request = Request::post("/sync").header("content-type", XML).header("ms-signature", "a");
    assert_own(&world.send(request.body(Full::from(message("1", 1, ALERT))).unwrap()).await, 403);
    world.end().await;
}

// --- Addresses

#[tokio::test]
async fn a_resp_uri_that_names_the_gateway_names_the_agent() {
    let world = World::with(|policy| policy.gateway_names.push("https://gateway.example".parse().unwrap())).await;
    let own = format!("http://{}", world.agent);
    let gateway = format!("http://{}", world.gateway.addr());
    let cases = [
        (format!("{gateway}/sync?a=1&amp;b=2"), Some(format!("{own}/sync?a=1&amp;b=2"))),
        ("<![CDATA[https://GATEWAY.example:443/s;x]]>".into(), Some(format!("{own}/s;x"))),
        ("http://server.example/sync?s=1".into(), Some("http://server.example/sync?s=1".into())),
        ("/relative".into(), Some("/relative".into())),
        (format!("http://{POISON}.example/"), None),
        (format!("//{POISON}.example/"), None),
        (format!("{gateway}@{POISON}.example/"), None),
    ];
    for (msg, (resp_uri, expected)) in (1..).zip(cases) {
        let document = |uri: &str| server_document(&format!("<MsgID>{msg}</MsgID><RespURI>{uri}</RespURI>"));
        let body = document(&resp_uri);
        world.gateway.serve_with(move |_| Answer::syncml(body.clone()));
        let request = message("1", msg, ALERT);
        let response = world.post(request.clone()).await;
        match expected {
            Some(expected) => assert_eq!(response.body(), &document(&expected)),
            None => {
                assert_own(&response, 502);
                // It was opened with success, so its resend gets the same, and the server does not hear it twice.
                assert_own(&world.post(request).await, 502);
            }
        }
    }
    assert_eq!(numbers(&world.gateway.heard()), [1, 2, 3, 4, 5, 6, 7]);

    // Signed, it can be left alone but not changed.
    for (msg, uri, status) in [(8, "http://server.example/", 200), (9, gateway.as_str(), 502)] {
        let body = server_document(&format!("<MsgID>{msg}</MsgID><RespURI>{uri}</RespURI>"));
        world.gateway.serve_with(move |_| Answer {
            fields: vec![("x-syncml-hmac", b"mac=x".to_vec())],
            ..Answer::syncml(body.clone())
        });
        assert_eq!(world.post(message("1", msg, ALERT)).await.status(), status);
    }
    // SyncML that cannot be read could lead anywhere.
    world.gateway.serve_with(|_| Answer::syncml(format!("<SyncML><RespURI>http://{POISON}/</RespURI>")));
    assert_own(&world.post(message("1", 10, ALERT)).await, 502);
    world.end().await;
}

#[tokio::test]
async fn the_public_url_of_the_policy_stands_for_the_agent() {
    let world = World::with(|policy| policy.public_url = Some("https://phones.example".parse().unwrap())).await;
    let uri = format!("http://{}/sync", world.gateway.addr());
    world.gateway.serve_with(move |_| Answer::syncml(server_document(&format!("<RespURI>{uri}</RespURI>"))));
    let response = world.post(message("1", 1, ALERT)).await;
    assert_eq!(response.body(), &server_document("<RespURI>https://phones.example/sync</RespURI>"));
    world.end().await;
}

// --- What is not authentic

/// Everything that can come in the place of a response, and what the client hears of it.
fn faults(foreign: &FakeGateway) -> Vec<(Fault, u16)> {
    let redirect = format!("Location: http://{}/{POISON}\r\nContent-Type: {XML}\r\n", foreign.addr());
    let syncml = format!("Content-Type: {XML}\r\n");
    let html = "Content-Type: text/html\r\n".to_owned();
    let problem = "Content-Type: application/problem+json\r\n".to_owned();
    let body = unauthentic;
    let answer = |status, headers: &str, body| Fault::Answer { status, headers: headers.to_owned(), body };
    let mut faults = vec![
        (Fault::LoseRequest, 502),
        (Fault::LoseResponse, 502),
        (Fault::Truncate, 502),
        (Fault::FlipBit, 502),
        (Fault::Reflect, 502),
        (Fault::Bytes(body()), 502),
        (Fault::Bytes(Vec::new()), 502),
        (answer(200, &syncml, body()), 502),
        (answer(403, &syncml, body()), 502),
        (answer(200, "", body()), 502),
        (answer(200, &html, format!("<html>{POISON}</html>").into()), 502),
        (answer(500, &html, format!("<html>{POISON}</html>").into()), 502),
        (answer(404, &html, format!("<html>{POISON}</html>").into()), 502),
        (answer(301, &redirect, body()), 502),
        (answer(307, &redirect, body()), 502),
        (answer(400, &problem, format!("{{\"type\":\"{POISON}\"}}").into()), 502),
        (answer(400, &problem, format!("{{\"type\":\"urn:syncseal:refusal:{POISON}\"}}").into()), 403),
        (answer(200, &problem, br#"{"type":"urn:syncseal:refusal:malformed"}"#.to_vec()), 502),
        (Fault::Dress { status: 200, content_type: "text/html" }, 502),
        (Fault::Dress { status: 200, content_type: XML }, 502),
        (Fault::Dress { status: 200, content_type: "application/cose" }, 502),
        (Fault::Dress { status: 403, content_type: seal::CONTENT_TYPE }, 502),
    ];
    faults.extend(Reason::ALL.map(|reason| (refusal(reason), 403)));
    faults
}

#[tokio::test]
async fn nothing_unauthentic_is_passed_on_and_the_client_always_hears_why() {
    let foreign = FakeGateway::start(&KEY).await;
    for (fault, status) in faults(&foreign) {
        // In the place of the handshake's response.
        let world = World::with(|policy| {
            policy.algorithms.truncate(1);
            policy.groups.truncate(1);
        })
        .await;
        world.gateway.fault(fault.clone());
        let first = message("1", 1, ALERT);
        assert_own(&world.post(first.clone()).await, status);
        assert!(world.gateway.heard().is_empty(), "{fault:?}: the message left before there was a session");
        // A resend begins anew.
        assert_answer(&world.post(first).await, "1", 1);
        assert_eq!(world.gateway.received().len(), 3, "{fault:?}: two handshakes and the message");

        // In the place of the response to a message.
        let heard = world.gateway.heard().len();
        let second = message("1", 2, SYNC);
        world.gateway.fault(fault.clone());
        assert_own(&world.post(second.clone()).await, status);
        let received = world.gateway.received();
        let lost = received.last().unwrap().clone();
        // A resend is answered, with the same seal unless the session was said to be unknown; the server hears it once.
        assert_answer(&world.post(second).await, "1", 2);
        let received = world.gateway.received();
        if matches!(&fault, Fault::Refuse(refusal) if refusal.reason == Refusal::from(Reason::SessionUnknown).reason) {
            assert_eq!(received.len(), 6, "a handshake and the message");
            assert_ne!(received.last(), Some(&lost));
        } else {
            assert_eq!(received.len(), 5);
            assert_eq!(received.last(), Some(&lost), "{fault:?}");
        }
        assert_eq!(world.gateway.heard().len(), heard + 1, "{fault:?}");
        assert!(world.gateway.is_spent());
        world.end().await;
    }
    assert!(foreign.received().is_empty(), "a redirect was followed");
}

#[tokio::test]
async fn a_response_counts_for_its_own_request_alone() {
    let world = World::new().await;
    assert_answer(&world.post(message("1", 1, ALERT)).await, "1", 1);
    assert_answer(&world.post(message("2", 1, ALERT)).await, "2", 1);
    let sent = world.gateway.sent();
    let [handshake, first, _, other_session] = &sent[..] else { panic!("two handshakes, two messages") };
    for bytes in [handshake, first, other_session] {
        let request = message("1", 2, SYNC);
        world.gateway.fault(Fault::Bytes(bytes.clone()));
        assert_own(&world.post(request.clone()).await, 502);
        // The very response that belongs to it is still taken.
        assert_answer(&world.post(request).await, "1", 2);
        world.post(message("1", 3, ALERT)).await;
    }
    world.end().await;
}

#[tokio::test]
async fn a_response_over_the_limit_is_not_taken() {
    let world = World::with(|policy| policy.message_limit = 4096).await;
    let body = |length: usize| {
        let frame = server_document("<RespURI></RespURI>").len();
        server_document(&format!("<RespURI>{}</RespURI>", "a".repeat(length - frame)))
    };
    for (msg, length, status) in [(1, 4096, 200), (2, 4097, 502), (3, 50_000, 502)] {
        let document = body(length);
        world.gateway.serve_with(move |_| Answer::syncml(document.clone()));
        assert_eq!(world.post(message("1", msg, ALERT)).await.status(), status, "{length}");
    }
    world.end().await;
}

// --- Key exchange and what else may be asked for

#[tokio::test]
async fn no_message_goes_to_a_gateway_without_the_key_exchange_that_is_demanded() {
    for early in [false, true] {
        let world = World::with(|policy| policy.early = early).await;
        world.gateway.fault(Fault::NoShare);
        let response = world.post(message("1", 1, ALERT)).await;
        assert_own(&response, 502);
        assert!(contains(response.body(), "key exchange"));
        assert_eq!(world.gateway.received().len(), 1, "no second try");
        world.end().await;
    }
    let world = World::with(|policy| policy.require_exchange = false).await;
    world.gateway.fault(Fault::NoShare);
    assert_answer(&world.post(message("1", 1, ALERT)).await, "1", 1);
    world.end().await;
}

#[tokio::test]
#[cfg_attr(not(feature = "aws-lc"), ignore = "needs X25519MLKEM768, which only AWS-LC has")]
async fn an_unsealed_refusal_changes_the_offer_at_most_once() {
    use Algorithm::{A128Gcm, A192Gcm, A256Gcm, ChaCha20Poly1305};
    let preferences = [A256Gcm, ChaCha20Poly1305, A128Gcm, A192Gcm];
    for early in [false, true] {
        for (accepted, tried) in [
            (vec![A256Gcm], vec![A256Gcm]),
            (vec![A192Gcm, A128Gcm], vec![A256Gcm, A128Gcm]),
            (vec![ChaCha20Poly1305], vec![A256Gcm, ChaCha20Poly1305]),
        ] {
            let world = World::with(|policy| {
                policy.algorithms = preferences.to_vec();
                policy.early = early;
            })
            .await;
            world.gateway.accept(|accepts| accepts.algorithms = accepted);
            assert_answer(&world.post(message("1", 1, ALERT)).await, "1", 1);
            let algorithms: Vec<_> = world.gateway.inits().into_iter().map(|(alg, _)| alg).collect();
            assert_eq!(algorithms, tried);
            world.end().await;
        }

        // Whatever is said, and whatever would be left to try.
        let world = World::with(|policy| {
            policy.algorithms = preferences.to_vec();
            policy.early = early;
        })
        .await;
        for reasons in [
            [Reason::AlgorithmUnsupported, Reason::AlgorithmUnsupported],
            [Reason::AlgorithmUnsupported, Reason::KeyExchangeRequired],
            [Reason::KeyExchangeRequired, Reason::KeyLengthUnsupported],
        ] {
            reasons.into_iter().for_each(|reason| world.gateway.fault(refusal(reason)));
            let before = world.gateway.received().len();
            assert_own(&world.post(message("1", 1, ALERT)).await, 403);
            assert_eq!(world.gateway.received().len(), before + 2);
            assert!(world.gateway.is_spent());
        }
        assert!(world.gateway.heard().is_empty());
        world.end().await;
    }
}

#[tokio::test]
async fn another_group_is_offered_but_never_none() {
    let groups = syncseal::crypto::default_provider().groups();
    let world = World::with(|policy| policy.groups = groups.iter().rev().copied().collect()).await;
    let preferred = *groups.last().unwrap();
    world.gateway.accept(|accepts| accepts.groups = vec![NamedGroup::X25519]);
    let response = world.post(message("1", 1, ALERT)).await;
    assert_answer(&response, "1", 1);
    let offered: Vec<_> = world.gateway.inits().into_iter().map(|(_, group)| group).collect();
    let expected: Vec<_> =
        [preferred, NamedGroup::X25519].into_iter().map(Some).take(if groups.len() > 1 { 2 } else { 1 }).collect();
    assert_eq!(offered, expected);

    world.gateway.accept(|accepts| accepts.groups.clear());
    assert_own(&world.post(message("2", 1, ALERT)).await, 403);
    assert!(world.gateway.inits().iter().all(|(_, group)| group.is_some()));
    world.end().await;
}

/// Pins more keys after the one that is pinned.
fn pin<const N: usize>(policy: &mut AgentPolicy, more: [&RsaPublicKey; N]) {
    let AgentRecipients::Rsa(keys) = &mut policy.recipients else { panic!("an agent that pins a key") };
    keys.extend(more.into_iter().cloned());
}

#[tokio::test]
async fn another_pinned_key_is_tried_and_no_key_that_is_not_pinned() {
    let (other, third) = (generate(), generate());
    let world = World::before(FakeGateway::start(&other).await, |policy| {
        pin(policy, [third.public(), other.public()]);
    })
    .await;
    assert_answer(&world.post(message("1", 1, ALERT)).await, "1", 1);
    assert_eq!(world.gateway.inits().len(), 2);
    world.end().await;

    // It says that it does not know the key, and which it has: the agent does not pin that one.
    let world = World::before(FakeGateway::start(&other).await, |policy| {
        pin(policy, [third.public()]);
    })
    .await;
    assert_own(&world.post(message("1", 1, ALERT)).await, 403);
    assert_eq!((world.gateway.inits().len(), world.gateway.heard().len()), (1, 0));
    world.end().await;
}

// --- Numbers, resends, retransmission

#[tokio::test]
async fn what_got_lost_is_retransmitted_byte_by_byte() {
    let world = World::with(|policy| policy.retransmit.attempts = 2).await;
    for (msg, losses) in [
        (1, vec![]),
        (2, vec![Fault::LoseRequest]),
        (3, vec![Fault::LoseResponse]),
        (4, vec![Fault::LoseResponse, Fault::Truncate]),
        (5, vec![refusal(Reason::Overloaded), Fault::Answer { status: 502, headers: String::new(), body: vec![] }]),
    ] {
        let attempts = losses.len() + 1;
        losses.into_iter().for_each(|fault| world.gateway.fault(fault));
        assert_answer(&world.post(message("1", msg, SYNC)).await, "1", msg);
        let received = world.gateway.received();
        let last = &received[received.len() - attempts..];
        assert!(last.iter().all(|received| received.body == last[0].body), "the same bytes");
    }
    assert_eq!(numbers(&world.gateway.heard()), [1, 2, 3, 4, 5], "the server heard each once");

    // A handshake's, too.
    world.gateway.fault(Fault::LoseResponse);
    assert_answer(&world.post(message("2", 1, ALERT)).await, "2", 1);
    let received = world.gateway.received();
    let [.., lost, handshake, _] = &received[..] else { panic!("more than three") };
    assert_eq!(lost.body, handshake.body);

    // Three times in all, then the client is told; its resend takes up the same seal.
    (0..3).for_each(|_| world.gateway.fault(Fault::LoseRequest));
    let before = world.gateway.received().len();
    assert_own(&world.post(message("1", 6, SYNC)).await, 502);
    assert_eq!(world.gateway.received().len(), before + 3);
    assert_answer(&world.post(message("1", 6, SYNC)).await, "1", 6);
    let received = world.gateway.received();
    assert_eq!(received.len(), before + 4);
    assert!(received[before..].iter().all(|received| received.body == received_body(&world, before)));
    world.end().await;
}

#[tokio::test]
async fn a_gateway_that_does_not_answer_is_504_and_its_answer_is_there_for_the_resend() {
    let world = World::with(|policy| policy.retransmit.timeout = Duration::from_millis(300)).await;
    // On a busy machine this may take more than one try.
    while world.post(message("1", 1, ALERT)).await.status() != 200 {}
    let go_on = Arc::new(Notify::new());
    world.gateway.fault(Fault::Hold(Arc::clone(&go_on)));
    assert_own(&world.post(message("1", 2, SYNC)).await, 504);
    go_on.notify_one();
    // The stored response comes once it is there.
    let response = loop {
        let response = world.post(message("1", 2, SYNC)).await;
        if response.status() == 200 {
            break response;
        }
    };
    assert_answer(&response, "1", 2);
    assert_eq!(numbers(&world.gateway.heard()), [1, 2]);
    world.end().await;
}

#[tokio::test]
async fn a_resend_that_was_answered_is_answered_again_without_the_gateway() {
    let world = World::new().await;
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    world.gateway.serve_with(move |heard| {
        count.fetch_add(1, Ordering::Relaxed);
        Answer::syncml(answer_to(heard))
    });
    let request = message("1", 1, ALERT);
    for _ in 0..3 {
        assert_answer(&world.post(request.clone()).await, "1", 1);
    }
    assert_eq!((calls.load(Ordering::Relaxed), world.gateway.received().len()), (1, 2));

    // To another target, or with another byte, it is another message.
    let elsewhere = Request::post("/other").header("content-type", XML).body(Full::from(request.clone())).unwrap();
    assert_answer(&world.send(elsewhere).await, "1", 1);
    assert_answer(&world.post(request + "\n").await, "1", 1);
    assert_eq!(numbers(&world.gateway.heard()), [1, 2, 3]);
    world.end().await;
}

#[tokio::test]
async fn a_resend_of_what_was_answered_with_an_error_is_sealed_anew() {
    let world = World::new().await;
    let mut statuses = vec![200, 503, 500];
    world
        .gateway
        .serve_with(move |heard| Answer { status: statuses.pop().unwrap(), ..Answer::syncml(answer_to(heard)) });
    for status in [500, 503, 200, 200] {
        assert_eq!(world.post(message("1", 1, ALERT)).await.status(), status);
    }
    assert_eq!(numbers(&world.gateway.heard()), [1, 2, 3]);
    let received = world.gateway.received();
    assert_ne!(received[1].body, received[2].body);
    world.end().await;
}

#[tokio::test]
async fn after_replayed_the_session_goes_on_with_the_next_number() {
    let world = World::new().await;
    world.post(message("1", 1, ALERT)).await;
    world.gateway.fault(Fault::LoseResponse);
    assert_own(&world.post(message("1", 2, SYNC)).await, 502);
    world.gateway.drop_responses();
    let response = world.post(message("1", 2, SYNC)).await;
    assert_own(&response, 403);
    assert!(contains(response.body(), "replayed"));
    assert_answer(&world.post(message("1", 3, SYNC)).await, "1", 3);
    assert_eq!(numbers(&world.gateway.heard()), [1, 2, 3]);
    world.end().await;
}

#[tokio::test]
async fn after_session_unknown_the_resend_starts_a_new_session() {
    let world = World::new().await;
    world.post(message("1", 1, ALERT)).await;
    world.gateway.forget_sessions();
    let response = world.post(message("1", 2, SYNC)).await;
    assert_own(&response, 403);
    assert!(contains(response.body(), "session-unknown"));
    assert_answer(&world.post(message("1", 2, SYNC)).await, "1", 2);
    let heard = world.gateway.heard();
    assert_eq!((numbers(&heard), sids(&heard)), (vec![1, 1], 2));
    world.end().await;
}

#[tokio::test]
async fn after_end_a_first_message_starts_a_new_session_and_no_other() {
    let world = World::new().await;
    world
        .gateway
        .serve_with(|heard| Answer { end: contains(&heard.body, "<MsgID>2<"), ..Answer::syncml(answer_to(heard)) });
    for msg in [1, 2, 3] {
        assert_answer(&world.post(message("1", msg, &format!("{SYNC}<!--{msg}-->"))).await, "1", msg);
    }
    // A first message without `end` before it would have stayed.
    assert_answer(&world.post(message("1", 1, ALERT)).await, "1", 1);
    assert_answer(&world.post(message("1", 1, SYNC)).await, "1", 1);
    let heard = world.gateway.heard();
    assert_eq!((numbers(&heard), sids(&heard)), (vec![1, 2, 3, 1, 2], 2));
    world.end().await;
}

#[tokio::test]
async fn a_challenge_round_stays_in_its_session() {
    let world = World::new().await;
    for msg in [1, 2] {
        assert_answer(&world.post(message("1", msg, ALERT)).await, "1", msg);
    }
    // And one that comes back with MsgID 1, in the same SyncML session.
    assert_answer(&world.post(message("1", 1, &format!("{ALERT}<!--again-->"))).await, "1", 1);
    let heard = world.gateway.heard();
    assert_eq!((numbers(&heard), sids(&heard)), (vec![1, 2, 3], 1));
    world.end().await;
}

#[tokio::test]
async fn syncml_sessions_run_side_by_side_and_each_strictly_in_order() {
    const SESSIONS: usize = 8;
    const MESSAGES: u32 = 6;
    let world = Arc::new(World::new().await);
    let mut clients = Vec::new();
    for session in 0..SESSIONS {
        for msg in 1..=MESSAGES {
            // Also those of one SyncML session all at once, as no client should.
            let world = Arc::clone(&world);
            clients.push(tokio::spawn(async move {
                let session = session.to_string();
                assert_answer(&world.post(message(&session, msg, ALERT)).await, &session, msg);
            }));
        }
    }
    for client in clients {
        client.await.unwrap();
    }
    let heard = world.gateway.heard();
    assert_eq!((heard.len(), sids(&heard)), (SESSIONS * MESSAGES as usize, SESSIONS));
    assert_eq!(world.gateway.inits().len(), SESSIONS, "one handshake for each");
    assert_eq!(world.gateway.most_in_flight(), 1);
    for sid in heard.iter().map(|heard| heard.sid).collect::<std::collections::HashSet<_>>() {
        let of_one: Vec<_> = heard.iter().filter(|heard| heard.sid == sid).map(|heard| heard.number).collect();
        assert_eq!(of_one, (1..=u64::from(MESSAGES)).collect::<Vec<_>>());
    }
    Arc::into_inner(world).unwrap().end().await;
}

#[tokio::test]
async fn one_session_that_waits_keeps_no_other_waiting() {
    let world = Arc::new(World::new().await);
    world.post(message("1", 1, ALERT)).await;
    let go_on = Arc::new(Notify::new());
    world.gateway.fault(Fault::Hold(Arc::clone(&go_on)));
    let waiting = Arc::clone(&world);
    let waiting = tokio::spawn(async move { waiting.post(message("1", 2, SYNC)).await });
    until(|| world.gateway.heard().len() == 2).await;
    assert_answer(&world.post(message("2", 1, ALERT)).await, "2", 1);
    go_on.notify_one();
    assert_answer(&waiting.await.unwrap(), "1", 2);
    Arc::into_inner(world).unwrap().end().await;
}

#[tokio::test]
async fn a_client_that_goes_away_finds_its_response_when_it_comes_again() {
    let world = World::new().await;
    world.post(message("1", 1, ALERT)).await;
    let go_on = Arc::new(Notify::new());
    world.gateway.fault(Fault::Hold(Arc::clone(&go_on)));
    let request = message("1", 2, SYNC);
    {
        let gone = world.post(request.clone());
        let begun = until(|| world.gateway.heard().len() == 2);
        tokio::select! {
            response = gone => panic!("{response:?}"),
            () = begun => {}
        }
    }
    go_on.notify_one();
    // Whether it is still on its way or there already.
    assert_answer(&world.post(request).await, "1", 2);
    assert_answer(&world.post(message("1", 3, SYNC)).await, "1", 3);
    assert_eq!(numbers(&world.gateway.heard()), [1, 2, 3]);
    assert_eq!(world.gateway.received().len(), 4);
    world.end().await;
}

#[tokio::test]
async fn over_its_bounds_the_agent_says_so() {
    let world = World::with(|policy| policy.limits.in_flight = 1).await;
    let go_on = Arc::new(Notify::new());
    world.post(message("1", 1, ALERT)).await;
    world.gateway.fault(Fault::Hold(Arc::clone(&go_on)));
    let world = Arc::new(world);
    let waiting = Arc::clone(&world);
    let waiting = tokio::spawn(async move { waiting.post(message("1", 2, SYNC)).await });
    until(|| world.gateway.heard().len() == 2).await;
    assert_own(&world.post(message("2", 1, ALERT)).await, 503);
    go_on.notify_one();
    assert_answer(&waiting.await.unwrap(), "1", 2);
    Arc::into_inner(world).unwrap().end().await;

    let world = World::with(|policy| policy.sessions.sync_sessions = 1).await;
    assert_answer(&world.post(message("1", 1, ALERT)).await, "1", 1);
    assert_own(&world.post(message("2", 1, ALERT)).await, 503);
    assert_answer(&world.post(message("1", 2, ALERT)).await, "1", 2);
    world.end().await;
}

// --- Early messages

#[tokio::test]
async fn an_early_message_goes_in_the_init_request_and_the_rest_follows() {
    let world = World::with(|policy| policy.early = true).await;
    for msg in [1, 2, 3] {
        assert_answer(&world.post(message("1", msg, ALERT)).await, "1", msg);
    }
    let heard = world.gateway.heard();
    assert_eq!((numbers(&heard), sids(&heard)), (vec![0, 1, 2], 1));
    assert_eq!(world.gateway.received().len(), 3);
    assert_eq!((heard[0].target.as_str(), heard[0].body.as_slice()), (TARGET, message("1", 1, ALERT).as_bytes()));
    world.end().await;
}

#[tokio::test]
async fn only_what_may_go_early_goes_early() {
    let nested = format!("<Atomic><CmdID>1</CmdID>{ALERT}</Atomic>");
    for (msg, commands, early) in [
        (1, ALERT, true),
        (1, "", true),
        (1, "<Put/><Get/><Results/><Status/>", true),
        (2, ALERT, false),
        (1, SYNC, false),
        (1, "<Replace/>", false),
        (1, "<Invented/>", false),
        (1, &nested, false),
    ] {
        let world = World::with(|policy| policy.early = true).await;
        assert_answer(&world.post(message("1", msg, commands)).await, "1", msg);
        assert_eq!(numbers(&world.gateway.heard()), [u64::from(!early)], "{commands} {msg}");
        world.end().await;
    }
}

#[tokio::test]
async fn an_early_message_that_is_refused_goes_after_a_handshake() {
    let world = World::with(|policy| policy.early = true).await;
    world.gateway.refuse_early();
    for msg in [1, 2] {
        assert_answer(&world.post(message("1", msg, ALERT)).await, "1", msg);
    }
    let heard = world.gateway.heard();
    assert_eq!((numbers(&heard), sids(&heard)), (vec![1, 2], 1));
    assert_eq!(world.gateway.received().len(), 4);

    // Together with another algorithm.
    world.gateway.accept(|accepts| accepts.algorithms = vec![Algorithm::A128Gcm]);
    assert_answer(&world.post(message("2", 1, ALERT)).await, "2", 1);
    assert_eq!(numbers(&world.gateway.heard()), [1, 2, 1]);
    world.end().await;
}

#[tokio::test]
async fn a_lost_early_message_is_retransmitted_byte_by_byte() {
    let world = World::with(|policy| policy.early = true).await;
    world.gateway.fault(Fault::LoseRequest);
    assert_own(&world.post(message("1", 1, ALERT)).await, 502);
    assert_answer(&world.post(message("1", 1, ALERT)).await, "1", 1);
    assert_eq!(received_body(&world, 0), received_body(&world, 1));
    assert_answer(&world.post(message("1", 1, ALERT)).await, "1", 1);
    assert_eq!(numbers(&world.gateway.heard()), [0]);

    // Where the response was lost, the gateway remembers the message; a handshake follows.
    world.gateway.fault(Fault::LoseResponse);
    assert_own(&world.post(message("2", 1, ALERT)).await, 502);
    world.gateway.fault(refusal(Reason::EarlyRefused));
    assert_answer(&world.post(message("2", 1, ALERT)).await, "2", 1);
    assert_eq!(received_body(&world, 2), received_body(&world, 3));
    assert_eq!(numbers(&world.gateway.heard()), [0, 0, 1]);
    world.end().await;
}

#[tokio::test]
async fn an_answer_to_an_early_message_that_does_not_open_is_not_used() {
    let world = World::with(|policy| policy.early = true).await;
    for (session, fault) in [("1", Fault::FlipBit), ("2", Fault::Reflect), ("3", Fault::Bytes(unauthentic()))] {
        world.gateway.fault(fault);
        assert_own(&world.post(message(session, 1, ALERT)).await, 502);
        assert_answer(&world.post(message(session, 1, ALERT)).await, session, 1);
    }
    world.end().await;
}

// --- Start and end

#[tokio::test]
async fn it_starts_without_its_gateway_and_works_once_that_is_there() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let elsewhere = FakeGateway::start(&KEY).await;
    let world = World::before(elsewhere, |policy| policy.gateway = self::policy(addr).gateway).await;
    assert_own(&world.post(message("1", 1, ALERT)).await, 502);
    let late = FakeGateway::start_on(TcpListener::bind(addr).await.unwrap(), &KEY);
    assert_answer(&world.post(message("1", 1, ALERT)).await, "1", 1);
    assert_eq!(numbers(&late.heard()), [1]);
    world.end().await;
}

#[tokio::test]
async fn run_says_what_cannot_be_bound_and_ends_when_it_is_drained() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut policy = policy("127.0.0.1:9".parse().unwrap());
    policy.listeners = vec![taken.local_addr().unwrap().into()];
    let trigger = Trigger::new();
    let error = agent::run(policy.clone(), None, drop, trigger.subscribe()).await.unwrap_err();
    let told = format!("cannot listen on {}: ", taken.local_addr().unwrap());
    assert!(matches!(error, agent::RunError::Bind(_)) && error.to_string().starts_with(&told), "{error}");

    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    policy.listeners = vec![any.into(), any.into()];
    let running = tokio::spawn(agent::run(policy, None, drop, trigger.subscribe()));
    trigger.drain();
    assert_eq!(running.await.unwrap().unwrap(), Drained::Clean);
}

#[tokio::test]
async fn other_methods_hear_what_this_is() {
    let world = World::new().await;
    let request = Request::builder().method(Method::GET).uri("/").body(Full::default()).unwrap();
    let response = world.send(request).await;
    assert_own(&response, 405);
    assert!(contains(response.body(), "SyncSeal"));
    world.end().await;
}

// --- What is logged

/// Keeps what is written.
#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        std::io::Write::write(&mut *self.0.lock().unwrap(), bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn each_exchange_has_one_line_that_says_what_became_of_it_and_nothing_of_its_contents() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    // Everything of this test runs on its one thread.
    let logging = tracing::subscriber::set_default(subscriber);
    let world = World::new().await;
    world.post(message("1", 1, ALERT)).await;
    world.post(message("1", 1, ALERT)).await;
    world.gateway.fault(refusal(Reason::Replayed));
    world.post(message("1", 2, ALERT)).await;
    world.post(message("1", 2, ALERT)).await;
    world.gateway.fault(refusal(Reason::AlgorithmUnsupported));
    world.post(message("2", 1, ALERT)).await;
    world.send(Request::get("/SECRET").body(Full::default()).unwrap()).await;
    let sid = world.gateway.heard()[0].sid.to_string();
    world.end().await;
    drop(logging);

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(!log.contains(SECRET), "{log}");
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let fields: Vec<_> =
        lines.iter().map(|line| &line["fields"]).filter(|line| line["message"] == "exchange").collect();
    let expected = [
        ("sealed", 200, None, None),
        ("repeated", 200, None, None),
        ("sealed", 403, Some("replayed"), None),
        ("retransmitted", 200, None, None),
        ("sealed", 200, None, Some("algorithm-unsupported")),
        ("declined", 405, Some("method"), None),
    ];
    let said: Vec<_> = fields
        .iter()
        .map(|line| {
            let status = line["status"].as_u64().unwrap();
            (line["decision"].as_str().unwrap(), status, line["reason"].as_str(), line["refused_first"].as_str())
        })
        .collect();
    assert_eq!(said, expected, "{log}");
    assert_eq!((&fields[0]["sid"], &fields[0]["number"]), (&sid.into(), &1.into()));
    assert_eq!(fields[0]["message"], "exchange");
    assert_eq!(fields[0]["device"], fields[4]["device"], "one device");
    for line in &fields[..1] {
        assert!(["sealed", "sent", "gateway_ms", "ms"].iter().all(|field| line[*field].is_number()), "{line}");
    }
}
