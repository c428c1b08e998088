//! The protocol's test vectors of kind `gateway`, over real sockets: requests to a gateway with the policy, keys,
//! sessions and clock of the case, in front of a server that answers as the case says.
//!
//! `SYNCSEAL_VECTORS` names another directory of such files. Cases that are for another test are printed by
//! name.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

#[path = "vectors/file.rs"]
mod file;
#[path = "vectors/keys.rs"]
mod keys;
#[path = "vectors/world.rs"]
mod world;

use std::collections::BTreeMap;

use bytes::BytesMut;
use file::{Elsewhere, File, bytes, number, text};
use serde_json::Value;
use syncseal::seal::data::SealedDocument;
use syncseal::seal::{self, Layer, SessionKeys};
use syncseal::syncml::{Document, Form, Kind, Limits, MediaType, Reader, Strictness};
use world::{Answer, World};

/// Which cases another test runs.
fn elsewhere(case: &Value) -> Option<Elsewhere> {
    (case["kind"] != "gateway").then_some(Elsewhere::SingleFunction)
}

fn form(content_type: &Value) -> Option<Form> {
    MediaType::parse(content_type.as_str()?.as_bytes()).map(|media_type| media_type.form)
}

/// What an answer says, read as its receiver reads it.
#[derive(Debug, Default)]
struct Said {
    /// `ok`, a refusal's reason, or a bare HTTP status.
    reason: String,
    sealed: bool,
    end: bool,
    number: Option<u64>,
    inner_status: Option<u16>,
    inner_content_type: Option<String>,
    inner_body: Option<Vec<u8>>,
    /// A document or problem details: the refusal, or the server's.
    body: Vec<u8>,
    refusal: Option<seal::Refusal>,
    problem: Option<Value>,
}

fn read(answer: &Answer, keys: &[SessionKeys]) -> Said {
    if answer.content_type.as_deref() == Some(seal::CONTENT_TYPE) {
        assert_eq!(answer.status, 200);
        return read_sealed(answer, keys);
    }
    if let Some(form) = answer.content_type.as_deref().and_then(|value| form(&value.into()))
        && Document::scan(form, &answer.body, &Limits::default()).unwrap().header.seal_marks > 0
    {
        assert_eq!(answer.status, 200);
        return read_sealed_document(answer, form, keys);
    }
    let mut said = Said { body: answer.body.to_vec(), ..Said::default() };
    said.read_body(answer.status, answer.content_type.as_deref());
    said
}

fn read_sealed(answer: &Answer, keys: &[SessionKeys]) -> Said {
    let body = BytesMut::from(&*answer.body);
    let Ok(response) = seal::decode_response(Layer::Message, body.clone()) else {
        // Only the terminal that asked has its key; that it is an init response is all that can be seen.
        let response = seal::decode_init_response(Layer::Message, body).unwrap();
        return Said { reason: "ok".into(), sealed: true, end: response.header().end, ..Said::default() };
    };
    let header = response.header().clone();
    let keys = keys.iter().find(|keys| keys.sid() == header.sid).expect("a session of the case");
    let plaintext = keys.open(response).unwrap();
    let response = seal::Response::decode(&plaintext, &seal::Extras::default()).unwrap();
    let mut said = Said {
        sealed: true,
        end: header.end,
        number: Some(header.number.value()),
        inner_status: Some(response.status),
        inner_content_type: Some(response.content_type.into()),
        inner_body: Some(response.body.to_vec()),
        body: response.body.to_vec(),
        ..Said::default()
    };
    said.read_body(200, Some(response.content_type));
    said
}

fn read_sealed_document(answer: &Answer, form: Form, keys: &[SessionKeys]) -> Said {
    let content_type = answer.content_type.clone().unwrap();
    let body = BytesMut::from(&*answer.body);
    let (seal, document) = SealedDocument::split(form, content_type.as_bytes(), body).unwrap();
    let Ok(response) = seal::decode_response(Layer::Data, seal.clone()) else {
        let response = seal::decode_init_response(Layer::Data, seal).unwrap();
        return Said { reason: "ok".into(), sealed: true, end: response.header().end, ..Said::default() };
    };
    let header = response.header();
    let keys = keys.iter().find(|keys| keys.sid() == header.sid).expect("a session of the case");
    let opened = keys.open_document(&response, document, None).unwrap().check().unwrap();
    let mut said = Said {
        sealed: true,
        end: header.end,
        number: Some(header.number.value()),
        inner_status: Some(answer.status),
        inner_content_type: Some(content_type.clone()),
        inner_body: Some(opened.to_vec()),
        body: opened.to_vec(),
        ..Said::default()
    };
    said.read_body(200, Some(&content_type));
    said
}

impl Said {
    fn read_body(&mut self, status: u16, content_type: Option<&str>) {
        self.reason = if status == 200 { "ok".into() } else { format!("HTTP {status}") };
        if content_type == Some("application/problem+json") {
            let refusal = seal::Refusal::from_problem(&self.body).unwrap();
            self.reason = refusal.reason.to_string();
            self.problem = Some(serde_json::from_slice(&self.body).unwrap());
            self.refusal = Some(refusal);
        } else if let Some(form) = content_type.and_then(|value| form(&value.into())) {
            let document = Document::scan(form, &self.body, &Limits::default()).unwrap();
            if let Some(map) = document.refusal_map() {
                let refusal = seal::Refusal::from_map(&map).unwrap();
                self.reason = refusal.reason.to_string();
                self.refusal = Some(refusal);
            }
        }
    }

    fn document(&self, form: Form) -> Document<'_> {
        Document::scan(form, &self.body, &Limits::default()).unwrap()
    }
}

#[tokio::main(flavor = "current_thread")]
async fn answers(file: &File, case: &Value) -> (Vec<Answer>, Vec<Said>) {
    let world = World::new(file, case).await;
    let keys = world.keys();
    let mut answers = Vec::new();
    for request in case["requests"].as_array().unwrap() {
        answers.push(world.ask(request).await);
    }
    world.end().await;
    let said = answers.iter().map(|answer| read(answer, &keys)).collect();
    (answers, said)
}

#[test]
fn cases_that_are_not_run_are_named() {
    for name in ["invalid.json", "refusals.json"] {
        File::read(name, elsewhere).print_elsewhere(&["gateway"]);
    }
}

#[test]
#[cfg_attr(not(feature = "aws-lc"), ignore = "needs X25519MLKEM768, which only AWS-LC has")]
fn bad_requests_get_the_reason_that_the_vectors_name() {
    let file = File::read("invalid.json", elsewhere);
    file.run("gateway", |case| {
        let (answers, said) = answers(&file, case);
        let expected = case["expect"].as_array().unwrap();
        assert_eq!(answers.len(), expected.len());
        for ((answer, said), expected) in answers.iter().zip(&said).zip(expected) {
            let found = (&*said.reason, said.sealed, u64::from(answer.status));
            let expected =
                (text(&expected["reason"]), expected["sealed"].as_bool().unwrap(), number(&expected["http_status"]));
            assert_eq!(found, expected, "{}: {}", case["name"], case["comment"]);
        }
    });
}

#[test]
#[cfg_attr(not(feature = "aws-lc"), ignore = "needs X25519MLKEM768, which only AWS-LC has")]
fn refusals_are_said_as_the_vectors_say_them() {
    let file = File::read("refusals.json", elsewhere);
    file.run("gateway", |case| {
        let (answers, said) = answers(&file, case);
        let (answer, said) = (answers.last().unwrap(), said.last().unwrap());
        let expected = &case["expect"];
        let name = &case["name"];
        assert_eq!(said.reason, text(&expected["reason"]), "{name}");
        assert_eq!(Value::from(said.sealed), expected["sealed"], "{name}");
        assert_eq!(u64::from(answer.status), number(&expected["http_status"]), "{name}");
        // A bare status says nothing of a content type.
        if let Some(content_type) = expected["content_type"].as_str().filter(|value| !value.is_empty()) {
            assert_eq!(answer.content_type.as_deref(), Some(content_type), "{name}");
        }
        if said.reason != "ok" && !said.reason.starts_with("HTTP") {
            assert_eq!(answer.cache_control.as_deref(), Some("no-store"), "{name}");
        }
        compare_sealed(said, expected);
        if let Some(map) = expected.get("refusal_map") {
            compare_map(said.refusal.as_ref().unwrap(), map);
        }
        if let Some(problem) = expected.get("problem") {
            compare_problem(said.problem.as_ref().unwrap(), problem);
        }
        let inner = said.inner_content_type.clone().map(Value::from);
        let form = form(inner.as_ref().unwrap_or_else(|| &expected["content_type"]));
        if let (Some(leaves), Some(form)) = (expected.get("leaves"), form) {
            assert_eq!(leaves_of(form, &said.body), *leaves, "{name}");
            let status = said.document(form).body.hdr_status.map(u64::from);
            assert_eq!(status, expected["syncml_status"].as_u64(), "{name}");
        }
        if let (Some(uri), Some(form)) = (expected.get("resp_uri"), form) {
            let document = said.document(form);
            let field = document.header.resp_uri.as_ref().unwrap();
            assert_eq!(document.text(field), text(uri).as_bytes(), "{name}");
        }
    });
}

/// What only a sealed answer says.
fn compare_sealed(said: &Said, expected: &Value) {
    if !said.sealed || said.number.is_none() {
        return;
    }
    let compared = [
        ("end", Value::from(said.end)),
        ("number", said.number.into()),
        ("inner_status", said.inner_status.into()),
        ("inner_content_type", said.inner_content_type.clone().into()),
    ];
    for (member, found) in compared {
        if let Some(expected) = expected.get(member) {
            assert_eq!(found, *expected, "{member}");
        }
    }
    let untouched = said.reason == "ok" && expected.get("resp_uri").is_none();
    if let (true, Some(body)) = (untouched, expected.get("inner_body")) {
        assert_eq!(said.inner_body, Some(bytes(body)));
    }
}

/// Members that both have are equal.
fn compare_map(refusal: &seal::Refusal, expected: &Value) {
    let numbers = |member: &str| -> Vec<i128> {
        let all = expected.get(member).and_then(Value::as_array).into_iter().flatten();
        all.map(|number| number.as_i64().unwrap().into()).collect()
    };
    let wide = |numbers: &[u64]| -> Vec<i128> { numbers.iter().map(|&number| number.into()).collect() };
    assert_eq!(refusal.reason.to_string(), text(&expected["0"]));
    for (found, member) in [
        (refusal.algorithms.clone(), "1"),
        (refusal.key_transports.clone(), "2"),
        (wide(&refusal.groups), "3"),
        (wide(&refusal.layers), "5"),
    ] {
        let expected = numbers(member);
        if !found.is_empty() && !expected.is_empty() {
            assert_eq!(found, expected, "member {member}");
        }
    }
    let keys: Vec<_> = refusal.keys.iter().map(|kid| Value::from(hex::encode(kid.0))).collect();
    if let (false, Some(expected)) = (keys.is_empty(), expected.get("4")) {
        assert_eq!(Value::from(keys), *expected);
    }
    if let (Some(found), Some(expected)) = (refusal.retry_after, expected.get("7")) {
        assert_eq!(found, number(expected));
    }
}

fn compare_problem(found: &Value, expected: &Value) {
    for (member, expected) in expected.as_object().unwrap() {
        let Some(found) = found.get(member) else { continue };
        match (member.as_str(), expected) {
            ("title" | "detail", _) => assert!(found.is_string()),
            (_, expected) => assert_eq!(found, expected, "{member}"),
        }
    }
}

/// Path and text of every leaf, without the EMI and the sentence in the Data of the Status' Item.
fn leaves_of(form: Form, document: &[u8]) -> Value {
    let (mut path, mut texts) = (Vec::new(), vec![Vec::new()]);
    let mut parents = BTreeMap::from([(0, true)]);
    let mut leaves = Vec::new();
    for event in Reader::new(form, document, &Limits::default(), Strictness::Tolerant).unwrap() {
        match event.unwrap().kind {
            Kind::Start(tag) => {
                parents.insert(path.len(), true);
                path.push(String::from_utf8(tag.name.to_vec()).unwrap());
                parents.insert(path.len(), false);
                texts.push(Vec::new());
            }
            Kind::Empty(tag) => {
                parents.insert(path.len(), true);
                let name = String::from_utf8(tag.name.to_vec()).unwrap();
                leaves.push((path.iter().cloned().chain([name]).collect::<Vec<_>>().join("/"), String::new()));
            }
            Kind::Text(run) => texts.last_mut().unwrap().extend_from_slice(run.bytes()),
            Kind::End => {
                let text = String::from_utf8_lossy(&texts.pop().unwrap()).into_owned();
                if !parents[&path.len()] {
                    leaves.push((path.join("/"), text));
                }
                path.pop();
            }
        }
    }
    leaves.retain(|(path, _)| !path.contains("/Status/Item/"));
    leaves.into_iter().map(|(path, text)| vec![path, text]).collect::<Vec<_>>().into()
}
