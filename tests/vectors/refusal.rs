//! Refusals of the vectors, as they are written.

use serde_json::Value;
use syncseal::crypto::KeyId;
use syncseal::seal::{Reason, Refusal, RefusalReason};
use syncseal::syncml::{Document, Form, Kind, Limits, MediaType, Reader, Strictness, Tag};

use crate::elsewhere;
use crate::file::{File, array, bytes, number, text};

#[test]
fn written_refusals() {
    File::read("refusals.json", elsewhere).run("write", |case| {
        let refusal = read_refusal(case);
        let expected = &case["expect"];
        assert_eq!(Refusal::from_map(&refusal.to_map()).as_ref(), Ok(&refusal));
        assert_eq!(Refusal::from_problem(&refusal.to_problem()).as_ref(), Ok(&refusal));
        if let Some(map) = expected.get("refusal_map_cbor") {
            assert_eq!(refusal.to_map(), bytes(map));
        }
        if let Some(problem) = expected.get("problem") {
            let written: Value = serde_json::from_slice(&refusal.to_problem()).unwrap();
            assert_eq!(without_words(&written), without_words(problem));
        }
        if let Some(request) = case.get("request").filter(|request| !request.is_null()) {
            check_refusal_document(&refusal, request, expected);
        }
    });
}

fn read_refusal(case: &Value) -> Refusal {
    let members = &case["members"];
    let list = |name: &str| members[name].as_array().cloned().unwrap_or_default();
    let mut refusal = Refusal::from(Reason::from_name(text(&case["reason"])).unwrap());
    refusal.algorithms = list("algorithms").iter().map(|alg| alg.as_i64().unwrap().into()).collect();
    refusal.key_transports = list("key_transports").iter().map(|kt| kt.as_i64().unwrap().into()).collect();
    refusal.groups = list("groups").iter().map(number).collect();
    refusal.keys = list("keys").iter().map(|key| KeyId(array(key))).collect();
    refusal.layers = list("layers").iter().map(number).collect();
    refusal.retry_after = members["retry_after"].as_u64();
    refusal
}

/// Problem details without the members that are words for a person.
fn without_words(problem: &Value) -> Value {
    let mut problem = problem.clone();
    for member in ["title", "detail"] {
        let words = problem.as_object_mut().unwrap().remove(member).unwrap();
        assert!(text(&words).is_ascii() && !text(&words).is_empty());
    }
    problem
}

/// The document that answers `request`: its leaves, status and refusal map, and the sentence for a person.
fn check_refusal_document(refusal: &Refusal, request: &Value, expected: &Value) {
    let form = MediaType::parse(text(&request["content_type"]).as_bytes()).unwrap().form;
    let request = bytes(&request["body"]);
    let RefusalReason::Known(reason) = refusal.reason else { panic!("{} is none of ours", refusal.reason) };
    let document = Document::scan(form, &request, &Limits::default()).unwrap().refusal(
        reason.syncml_status(),
        &refusal.to_map(),
        &refusal.sentence(),
    );
    assert_eq!(u64::from(reason.syncml_status()), number(&expected["syncml_status"]));

    let answer = Document::scan(form, &document, &Limits::default()).unwrap();
    assert_eq!(answer.refusal_map().as_deref(), Some(&bytes(&expected["refusal_map_cbor"])[..]));
    let (words, leaves): (Vec<_>, Vec<_>) = leaves(form, &document).into_iter().partition(|(path, _)| is_words(path));
    let expected: Vec<_> =
        expected["leaves"].as_array().unwrap().iter().map(|leaf| (text(&leaf[0]), text(&leaf[1]))).collect();
    assert_eq!(leaves.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect::<Vec<_>>(), expected);
    let sentence = &words.iter().find(|(path, _)| path.ends_with("/Data")).unwrap().1;
    assert!(sentence.starts_with(reason.name()) && sentence.is_ascii());
}

/// Whether a leaf is the EMI with the refusal map, or the sentence.
fn is_words(path: &str) -> bool {
    ["Item/Meta/EMI", "Item/Data"].iter().any(|end| path.ends_with(end))
}

/// Path and text of every leaf.
fn leaves(form: Form, document: &[u8]) -> Vec<(String, String)> {
    let (mut path, mut leaves): (Vec<String>, Vec<(String, String)>) = (Vec::new(), Vec::new());
    let (mut content, mut is_leaf) = (Vec::new(), true);
    let name = |tag: Tag<'_>| String::from_utf8(tag.name.to_vec()).unwrap();
    for event in Reader::new(form, document, &Limits::default(), Strictness::Strict).unwrap() {
        match event.unwrap().kind {
            Kind::Start(tag) => {
                path.push(name(tag));
                content.clear();
                is_leaf = true;
            }
            Kind::Empty(tag) => {
                leaves.push((format!("{}/{}", path.join("/"), name(tag)), String::new()));
                is_leaf = false;
            }
            Kind::Text(text) => content.extend_from_slice(text.bytes()),
            Kind::End => {
                if is_leaf {
                    leaves.push((path.join("/"), String::from_utf8_lossy(&content).into_owned()));
                }
                path.pop();
                is_leaf = false;
            }
        }
    }
    leaves
}
