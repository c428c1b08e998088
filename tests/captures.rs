//! What real peers sent each other, scanned.

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
