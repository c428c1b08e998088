//! The demo as someone sees it who types `syncseal demo`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use common::Program;
use rustix::process::{Pid, Signal, kill_process};
use syncseal::sample::{Client, ClientConfig, Mode};
use syncseal::syncml::{Document, Form, Limits};
use tempfile::TempDir;

/// What stands on the client's and the server's side, and must not on the wire.
const SECRETS: [&str; 9] = [
    "Mira",
    "Lindqvist",
    "Weber",
    "Ferreira",
    "VCARD",
    "202-555",
    "alice",
    "wonderland",
    // alice:wonderland-1865
    "YWxpY2U6d29uZGVybGFuZC0xODY1",
];

/// `syncseal demo`, with its files under `files`.
fn demo(files: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_syncseal"));
    command.arg("demo").env("TMPDIR", files).env_remove("CLICOLOR_FORCE");
    command
}

fn run(files: &Path) -> (Output, String) {
    run_with(files, &[])
}

fn run_with(files: &Path, args: &[&str]) -> (Output, String) {
    let output = demo(files).args(args).output().unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    (output, text)
}

/// The lines with a label, without it.
fn labelled<'t>(text: &'t str, label: &str) -> Vec<&'t str> {
    text.lines().filter_map(|line| line.strip_prefix("  ")?.strip_prefix(label)).map(str::trim).collect()
}

fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).unwrap().next().is_none()
}

#[test]
fn everything_is_as_it_should_be_and_nothing_is_left_behind() {
    let files = TempDir::new().unwrap();
    let (output, text) = run(files.path());
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(output.stderr.is_empty(), "logs are off: {}", String::from_utf8_lossy(&output.stderr));
    assert!(is_empty(files.path()));

    let checks = labelled(&text, "check");
    assert!(checks.len() > 20 && checks.iter().all(|check| check.starts_with("ok ")), "{checks:#?}");
    for contacts in [5, 6] {
        let equal = format!("ok      both address books hold the same {contacts} contacts");
        assert!(checks.contains(&equal.as_str()), "{checks:#?}");
    }
    assert!(!text.contains('\x1b'), "no colours but on a terminal");
}

#[test]
fn the_table_tells_every_step_and_why_who_was_refused() {
    let files = TempDir::new().unwrap();
    let (_, text) = run(files.path());
    let (_, table) = text.split_once("bytes plain").unwrap();
    for (step, result) in [
        ("handshake", "A256GCM"),
        ("slow sync, XML", "sent 2 new; received 2 new"),
        ("changes on both sides", "2 by the client, 2 by the server"),
        ("two-way sync, WBXML", "sent 1 new, 1 changed; received 1 new, 1 deleted"),
        ("no encryption", "refused: 403 encryption-required"),
        ("A128GCM", "refused: 406 key-length-unsupported"),
        ("ChaCha20/Poly1305", "refused: 406 algorithm-unsupported"),
        ("replayed request", "refused: 409 replayed"),
        ("tampered request", "refused: 400 cannot-open"),
        ("two-way sync, no changes", "sent nothing; received nothing"),
        ("slow sync, XML, data", "sent 1 new; received 5 new"),
        ("two-way sync, WBXML, data", "sent 1 changed; received nothing"),
        ("changed address, data", "refused: 400 cannot-open"),
        ("no changes, data", "sent nothing; received nothing"),
    ] {
        assert!(table.lines().any(|line| line.contains(step) && line.contains(result)), "{step}: {result}: {table}");
    }
    // The 403 as the client without encryption gets it, and what is offered.
    let answers = labelled(&text, "answer").join("\n");
    for said in [
        "<Data>403</Data>",
        "<Data>encryption-required: this server only takes sealed messages</Data>",
        "\"algorithms\": [\"A256GCM\"]",
        "\"key_transports\": [\"RSA-OAEP-256\"]",
        "\"keys\": [\"sha256//",
    ] {
        assert!(answers.contains(said), "{said}: {answers}");
    }
}

#[test]
fn the_wire_shows_seals_and_nothing_of_what_is_in_them() {
    let files = TempDir::new().unwrap();
    let (_, text) = run_with(files.path(), &["--layer", "message"]);
    assert!(!text.contains("The data layer"), "{text}");
    let wire = labelled(&text, "wire");
    for shown in ["POST /sync HTTP/1.1   application/cose; cose-type=\"cose-encrypt0\"", "init request, a handshake"] {
        assert!(wire.iter().any(|line| line.starts_with(shown)), "{shown}: {wire:#?}");
    }
    // The tag, the array and the protected header's bstr begin every seal.
    assert!(wire.iter().filter(|line| line.starts_with("000000  d0 83 5")).count() >= 10, "{wire:#?}");
    let sent = labelled(&text, "sent").join("\n");
    for secret in SECRETS {
        assert!(wire.iter().all(|line| !line.contains(secret)), "{secret}: {wire:#?}");
    }
    for secret in ["Mira", "VCARD", "202-555", "YWxpY2U6d29uZGVybGFuZC0xODY1"] {
        assert!(sent.contains(secret), "{secret}: {sent}");
    }
    // What was looked for in the recording: found only where there was no encryption.
    let found = labelled(&text, "spy");
    let yes: Vec<_> = found.iter().filter(|line| line.ends_with("found: yes")).collect();
    assert_eq!(yes.len(), 1, "{found:#?}");
    for what in ["name  ", "phone number", "user name", "password", "both in base64", "session id"] {
        let hits = found.iter().filter(|line| line.starts_with(what) && line.ends_with("found: no")).count();
        assert!(hits >= 6, "{what}: {hits} times: {found:#?}");
    }
}

#[test]
fn the_data_layer_leaves_documents_on_the_wire_without_what_is_in_them() {
    let files = TempDir::new().unwrap();
    let (output, text) = run_with(files.path(), &["--layer", "data"]);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(!text.contains("The message layer"), "{text}");
    let wire = labelled(&text, "wire");
    for shown in [
        "POST /sync?sessionid=",
        "Source: demo-tablet",
        "<LocURI>./contacts</LocURI>",
        "<LocURI>demo-tablet</LocURI>",
        "<Add>",
        "<Replace>",
        "sealed in the data layer",
    ] {
        assert!(wire.iter().any(|line| line.starts_with(shown)), "{shown}: {wire:#?}");
    }
    let sent = labelled(&text, "sent").join("\n");
    for secret in SECRETS.into_iter().chain(["Lucia", "Moreno"]) {
        assert!(wire.iter().all(|line| !line.contains(secret)), "{secret}: {wire:#?}");
    }
    for secret in ["Lucia", "VCARD", "202-555", "YWxpY2U6d29uZGVybGFuZC0xODY1"] {
        assert!(sent.contains(secret), "{secret}: {sent}");
    }
    // Each step's eavesdropper finds the structure, and nothing else of what is looked for.
    let found = labelled(&text, "spy");
    for (what, answer) in [
        ("name  ", "no"),
        ("phone number", "no"),
        ("name or number of any other contact", "no"),
        ("user name", "no"),
        ("password", "no"),
        ("both in base64", "no"),
        ("session id", "yes"),
        ("address of device", "yes"),
        ("address of database", "yes"),
        ("address of contact", "yes"),
    ] {
        let answers: Vec<_> = found.iter().filter(|line| line.starts_with(what)).collect();
        let expected = format!("found: {answer}");
        assert!(answers.len() == 3 && answers.iter().all(|line| line.ends_with(&expected)), "{what}: {answers:#?}");
    }
    // The address that was changed on its way, and what was said to it.
    let answers = labelled(&text, "answer").join("\n");
    assert!(answers.contains("<Data>cannot-open"), "{answers}");
}

/// `demo --keep`, as soon as it says that it goes on: the program, and the agent's URL.
async fn kept(files: &Path) -> (Program, String) {
    let mut command = demo(files);
    command.arg("--keep");
    let mut program = Program::spawn(command, files, "demo");
    program.logged(|line| line.contains("go on until SIGINT").then_some(())).await;
    let agent = program.logged(|line| Some(line.strip_prefix("  agent ")?.split_whitespace().next()?.to_owned())).await;
    program.logged(|line| line.contains("--remove demo@syncseal").then_some(())).await;
    (program, agent)
}

/// The demo's files, in the directory that holds its log, too.
fn stage(files: &Path) -> Option<PathBuf> {
    let mut paths = std::fs::read_dir(files).unwrap().map(|entry| entry.unwrap().path());
    paths.find(|path| path.is_dir())
}

#[tokio::test]
async fn kept_it_serves_other_clients_until_sigterm() {
    let files = TempDir::new().unwrap();
    let (mut program, agent) = kept(files.path()).await;
    assert!(stage(files.path()).is_some());

    let book = TempDir::new().unwrap();
    let config =
        ClientConfig { device: "another".into(), password: "wonderland-1865".into(), ..ClientConfig::new(agent) };
    let client = Client::new(book.path().join("book"), config);
    for expected in [6, 0] {
        let report = client.sync(Mode::TwoWay, &mut |_| ()).await.unwrap();
        assert_eq!(report.received.added, expected);
    }

    // What the printed curl commands post.
    let message = std::fs::read(stage(files.path()).unwrap().join("message.xml")).unwrap();
    assert!(Document::scan(Form::Xml, &message, &Limits::default()).unwrap().header.has_cred);

    program.terminate();
    assert_eq!(program.ended().await.code(), Some(0), "{}", program.log());
    assert_eq!(stage(files.path()), None, "its files are gone");
}

#[tokio::test]
async fn sigint_while_it_plays_ends_it_and_leaves_nothing_behind() {
    let files = TempDir::new().unwrap();
    let mut command = demo(files.path());
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    while stage(files.path()).is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::INT).unwrap();
    // Whether it was through by then is a matter of chance.
    let output = child.wait_with_output().unwrap();
    assert!(matches!(output.status.code(), Some(0 | 1)));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(is_empty(files.path()));
}

#[test]
fn logs_come_when_they_are_asked_for() {
    let files = TempDir::new().unwrap();
    let output = demo(files.path()).args(["--log-level", "info", "--log-format", "json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let logs = String::from_utf8(output.stderr).unwrap();
    assert!(logs.lines().count() > 10, "{logs}");
    for line in logs.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
    for secret in SECRETS {
        assert!(!logs.contains(secret), "{secret}: {logs}");
    }
}
