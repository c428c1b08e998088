//! What real peers sent each other, scanned.
#![allow(clippy::unwrap_used, reason = "a test ends at what it does not expect")]

use std::path::{Path, PathBuf};

use syncseal::syncml::{Command, Document, Form, Limits, MediaType};

/// Every body under `tests/captures`, with its form.
fn captures() -> Vec<(PathBuf, Form, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures");
    let mut captures = Vec::new();
    for (directory, form) in [("syncevolution-xml", Form::Xml), ("syncevolution-wbxml", Form::Wbxml)] {
        for entry in std::fs::read_dir(root.join(directory)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension != "head") {
                let body = std::fs::read(&path).unwrap();
                captures.push((path, form, body));
            }
        }
    }
    captures.sort_by(|(a, ..), (b, ..)| a.cmp(b));
    assert_eq!(captures.len(), 16);
    captures
}

/// What is to be seen in a capture.
#[derive(Debug, PartialEq)]
struct Seen {
    msg_id: String,
    target: String,
    source: String,
    resp_uri: Option<String>,
    has_cred: bool,
    commands: Vec<Command>,
    n_commands: usize,
    hdr_status: Option<u16>,
    has_chal: bool,
    is_final: bool,
}

fn see(document: &Document<'_>) -> Seen {
    let text = |field: &Option<_>| field.as_ref().map(|f| String::from_utf8(document.text(f).into_owned()).unwrap());
    Seen {
        msg_id: text(&document.header.msg_id).unwrap(),
        target: text(&document.header.target).unwrap(),
        source: text(&document.header.source).unwrap(),
        resp_uri: text(&document.header.resp_uri),
        has_cred: document.header.has_cred,
        commands: document.body.commands.iter().collect(),
        n_commands: document.body.n_commands,
        hdr_status: document.body.hdr_status,
        has_chal: document.body.has_chal,
        is_final: document.body.is_final,
    }
}

#[test]
fn every_capture_scans_to_what_was_sent() {
    use Command::{Add, Alert, Get, Map, Put, Results, Status, Sync};
    for (path, form, body) in captures() {
        let document = Document::scan(form, &body, &Limits::default()).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        let text = |field: &Option<_>| field.as_ref().map(|f| document.text(f).into_owned());
        assert_eq!(text(&document.header.ver_dtd).as_deref(), Some(&b"1.2"[..]));
        assert_eq!(text(&document.header.ver_proto).as_deref(), Some(&b"SyncML/1.2"[..]));
        assert_eq!(text(&document.header.session_id).as_deref(), Some(&b"5"[..]));
        assert_eq!(document.header.seal_marks, 0);

        let (server, session) = match form {
            Form::Xml => ("http://127.0.0.1:9120/syncevolution", "7939103091795360156"),
            Form::Wbxml => ("http://127.0.0.1:9121/syncevolution", "3532304411795360175"),
        };
        let in_session = format!("{server}?sessionid={session}");
        let name = path.file_name().unwrap().to_str().unwrap();
        let is_request = name.ends_with(".req");
        let first = name.starts_with("01");
        let to = if first { server } else { &in_session };
        let (commands, n_commands) = match name {
            "01.req" => (vec![Alert, Get, Put], 3),
            "01.resp" => (vec![Alert, Results, Status], 6),
            "02.req" => (vec![Add, Status, Sync], 8),
            "02.resp" => (vec![Status], 6),
            "03.req" => (vec![Add, Status, Sync], 3),
            "03.resp" => (vec![Add, Status, Sync], 6),
            "04.req" => (vec![Map, Status], 5),
            _ => (vec![Status], 2),
        };
        let expected = Seen {
            msg_id: name[1..2].to_owned(),
            target: if is_request { to.to_owned() } else { "sc-peer-1".to_owned() },
            source: if is_request { "sc-peer-1".to_owned() } else { to.to_owned() },
            resp_uri: (name == "01.resp").then(|| in_session.clone()),
            has_cred: name == "01.req",
            commands,
            n_commands,
            hdr_status: (name != "01.req").then_some(if name == "01.resp" { 212 } else { 200 }),
            has_chal: name == "01.resp",
            is_final: !name.starts_with("02"),
        };
        assert_eq!(see(&document), expected, "{path:?}");
        assert_eq!(document.body.holds_only_status(), matches!(name, "02.resp" | "04.resp"), "{path:?}");
    }
}

#[test]
fn the_heads_of_the_captures_name_their_form() {
    for (path, form, _) in captures() {
        let mut head = path.clone().into_os_string();
        head.push(".head");
        let head = std::fs::read_to_string(head).unwrap();
        let (_, field) = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-type"))
            .unwrap();
        let media_type = MediaType::parse(field.as_bytes()).unwrap_or_else(|| panic!("{path:?}: {field}"));
        assert_eq!((media_type.form, media_type.dm), (form, false));
    }
}

#[test]
fn no_prefix_of_a_capture_scans() {
    for (path, form, body) in captures() {
        for length in 0..body.len() {
            let scan = Document::scan(form, &body[..length], &Limits::default());
            assert!(scan.is_err(), "{path:?}, {length} bytes");
        }
    }
}

#[test]
fn a_capture_with_a_flipped_bit_scans_or_does_not() {
    let mut scanned = 0;
    for (_, form, mut body) in captures() {
        // The header and the first commands byte by byte; then there is user data, most of it.
        let length = body.len();
        for at in (0..length).filter(|&at| at < 900 || at % 53 == 0 || at + 100 > length) {
            let bit = 1 << (at % 7);
            body[at] ^= bit;
            if let Ok(document) = Document::scan(form, &body, &Limits::default()) {
                scanned += 1;
                // Whatever was found lies in the document, and can be answered and edited.
                see_any(&document);
            }
            body[at] ^= bit;
        }
    }
    assert!(scanned > 1000, "{scanned}");
}

/// Uses everything that a scan found.
fn see_any(document: &Document<'_>) {
    let header = &document.header;
    let fields = [&header.session_id, &header.msg_id, &header.target, &header.source, &header.resp_uri];
    for field in fields.into_iter().flatten() {
        assert!(document.bytes.get(field.span.clone()).is_some());
        document.text(field);
    }
    let refusal = document.refusal(403, b"\xa0", "x");
    let refusal = Document::scan(document.form, &refusal, &Limits::default()).unwrap();
    assert_eq!(refusal.body.hdr_status, Some(403));
    assert_eq!(refusal.refusal_map().as_deref(), Some(&b"\xa0"[..]));
    if let Some(edited) = document.with_resp_uri("http://g/") {
        let edited = Document::scan(document.form, &edited, &Limits::default()).unwrap();
        assert_eq!(*edited.text(edited.header.resp_uri.as_ref().unwrap()), *b"http://g/");
    }
}

#[test]
fn a_resp_uri_is_replaced_and_every_other_byte_stays() {
    let mut edited = 0;
    for (path, form, body) in captures() {
        let document = Document::scan(form, &body, &Limits::default()).unwrap();
        let Some(resp_uri) = document.header.resp_uri.clone() else {
            assert_eq!(document.with_resp_uri("http://g/"), None);
            continue;
        };
        let with = document.with_resp_uri("https://g/s?a&b").unwrap();
        let (content, old) = match form {
            Form::Xml => (&b"https://g/s?a&amp;b"[..], document.text(&resp_uri).into_owned()),
            Form::Wbxml => (&b"\x03https://g/s?a&b\0"[..], [b"\x03", &document.text(&resp_uri)[..], b"\0"].concat()),
        };
        assert_eq!(body[resp_uri.span.clone()], old);
        assert_eq!(with, [&body[..resp_uri.span.start], content, &body[resp_uri.span.end..]].concat(), "{path:?}");
        edited += 1;
    }
    assert_eq!(edited, 2);
}
