//! The command line over the built program: exit statuses, keys, checks, and what `inspect` shows.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use common::Program;
use serde_json::Value;
use tempfile::TempDir;

const DONE: i32 = 0;
const USAGE: i32 = 64;
const BIND: i32 = 71;
const CONFIGURATION: i32 = 78;

/// What one run of the program said.
#[derive(Debug)]
struct Said {
    status: i32,
    out: String,
    err: String,
}

fn run_with(dir: &Path, args: &[&str], env: &[(&str, &str)], input: &[u8]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_syncseal"));
    command.args(args).current_dir(dir).envs(env.iter().copied());
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program");
    // A program that does not read its input closes it.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    Said {
        status: output.status.code().expect("an exit, not a signal"),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn run(dir: &Path, args: &[&str]) -> Said {
    run_with(dir, args, &[], &[])
}

/// Runs the program, which must succeed, and gives its output.
fn done(dir: &Path, args: &[&str]) -> String {
    let said = run(dir, args);
    assert_eq!(said.status, DONE, "{args:?} {said:?}");
    said.out
}

/// Inspects `bytes` from stdin, which must succeed.
fn inspect(bytes: &[u8]) -> String {
    let said = run_with(Path::new("/"), &["inspect", "-"], &[], bytes);
    assert_eq!(said.status, DONE, "{said:?}");
    said.out
}

fn from_tests(path: &str) -> String {
    format!("{}/tests/{path}", env!("CARGO_MANIFEST_DIR"))
}

/// A directory with `gateway.pem`, `gateway.pub.pem`, `gateway.toml` and `agent.toml`, on ports that the system chooses.
fn set_up() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    done(dir.path(), &["keygen", "--bits", "2048", "gateway.pem"]);
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    write(
        "gateway.toml",
        "version = 1\n[gateway]\nlisten = '127.0.0.1:0'\nkeys = 'gateway.pem'\n\
         [[route]]\npath = '/sync'\nupstream = 'http://127.0.0.1:9'\n",
    );
    write(
        "agent.toml",
        "version = 1\n[agent]\nlisten = '127.0.0.1:0'\ngateway = 'http://127.0.0.1:9/sync'\nkey = 'gateway.pub.pem'\n",
    );
    dir
}

fn mode(file: &Path) -> u32 {
    fs::metadata(file).unwrap().permissions().mode() & 0o7777
}

#[test]
fn help_teaches_every_verb_by_an_example() {
    let dir = Path::new("/");
    let help = done(dir, &["--help"]);
    for verb in ["gateway", "agent", "check", "keygen", "keyid", "keys", "inspect", "version"] {
        assert!(help.contains(&format!("\n  {verb} ")), "{verb} {help}");
        let own = done(dir, &[verb, "--help"]);
        assert!(own.contains("Example:\n  ") && own.contains(&format!("syncseal {verb}")), "{own}");
    }
    for status in ["0   done", "64  usage", "70  internal", "71  cannot bind", "78  configuration"] {
        assert!(help.contains(status), "{status}");
    }
}

#[test]
fn a_shared_secret_is_for_its_owner_alone_and_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let snippets = done(dir.path(), &["keygen", "--shared", "phone 1"]);
    let file = dir.path().join("phone 1.secret");
    assert_eq!(mode(&file), 0o600);
    let secret = fs::read_to_string(&file).unwrap();
    assert_eq!((secret.len(), secret.ends_with('\n')), (45, true));
    assert!(!snippets.contains(secret.trim_end()));

    let (gateway, agent) = snippets.split_once("\n\n").unwrap();
    let policy = |text: &str, name: &str| {
        fs::write(dir.path().join(name), format!("version = 1\n{text}")).unwrap();
        done(dir.path(), &["check", name])
    };
    let gateway =
        policy(&format!("{gateway}\n[[route]]\npath = '/sync'\nupstream = 'http://127.0.0.1:9'\n"), "gateway.toml");
    assert!(gateway.contains("secret phone 1 ("), "{gateway}");
    let agent = policy(&format!("{agent}gateway = 'http://127.0.0.1:9/sync'\n"), "agent.toml");
    assert!(agent.contains("secret phone 1\n"), "{agent}");

    let again = run(dir.path(), &["keygen", "--shared", "phone 1"]);
    assert_eq!(again.status, USAGE, "{again:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), secret);
    done(dir.path(), &["keygen", "--shared", "a/b", "ab.secret"]);
    assert_ne!(fs::read_to_string(dir.path().join("ab.secret")).unwrap(), secret);
}

#[test]
fn a_wrong_command_line_is_a_usage_fault() {
    let lines: &[&[&str]] = &[
        &[],
        &["gatway"],
        &["gateway"],
        &["gateway", "a.toml", "b.toml"],
        &["gateway", "a.toml", "--log-format", "xml"],
        &["gateway", "a.toml", "--log-level", "loud"],
        &["keygen", "--bits", "1024", "key.pem"],
        &["keyid", "/nowhere.pem"],
        &["inspect", "/nowhere"],
        &["keygen", "/nowhere/key.pem"],
        &["keygen"],
        &["keygen", "--shared", ""],
        &["keygen", "--shared", "a/b"],
        &["keygen", "--shared", "phone", "/nowhere/phone.secret"],
        &["keygen", "--shared", "phone", "--bits", "2048"],
    ];
    for line in lines {
        let said = run(Path::new("/"), line);
        assert_eq!(said.status, USAGE, "{line:?} {said:?}");
        assert!(said.out.is_empty() && !said.err.is_empty(), "{line:?} {said:?}");
    }
}

#[test]
fn version_names_the_protocol_and_the_providers() {
    let out = done(Path::new("/"), &["version"]);
    assert!(out.starts_with(concat!("syncseal ", env!("CARGO_PKG_VERSION"), "\nprotocol 1\n")), "{out}");
    assert!(out.contains("rustcrypto"), "{out}");
}

#[test]
fn keygen_makes_a_pair_whose_private_half_is_its_owners_and_prints_the_pin() {
    let dir = tempfile::tempdir().unwrap();
    let pin = done(dir.path(), &["keygen", "--bits", "2048", "gateway.pem"]);
    assert!(pin.starts_with("sha256//") && pin.ends_with("=\n") && pin.lines().count() == 1, "{pin}");
    assert_eq!(mode(&dir.path().join("gateway.pem")), 0o600);
    for file in ["gateway.pem", "gateway.pub.pem"] {
        assert_eq!(done(dir.path(), &["keyid", file]), pin);
    }
    let private = fs::read_to_string(dir.path().join("gateway.pem")).unwrap();
    let public = fs::read_to_string(dir.path().join("gateway.pub.pem")).unwrap();
    assert!(private.starts_with("-----BEGIN PRIVATE KEY-----\n"), "{public}");
    assert!(public.starts_with("-----BEGIN PUBLIC KEY-----\n"), "{public}");

    let other = done(dir.path(), &["keygen", "--bits", "2048", "other"]);
    assert_ne!(other, pin);
    assert_eq!(done(dir.path(), &["keyid", "other.pub.pem"]), other);
}

#[test]
fn keygen_never_overwrites() {
    let dir = tempfile::tempdir().unwrap();
    for taken in ["gateway.pem", "gateway.pub.pem"] {
        let file = dir.path().join(taken);
        fs::write(&file, "mine").unwrap();
        let said = run(dir.path(), &["keygen", "--bits", "2048", "gateway.pem"]);
        assert_eq!((said.status, &said.out[..]), (USAGE, ""), "{said:?}");
        assert!(said.err.contains(&format!("{taken} is there already")), "{said:?}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
        fs::remove_file(&file).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "half a pair stayed behind");
    }
}

#[test]
fn keyid_gives_the_pin_that_openssl_gives() {
    // tests/keys/README.md says how it was found.
    let pin = "sha256//PoUCGujQjBBQwjT6W+8ZDK0xmzozMgEH9xA0Sgk5sXk=\n";
    for file in ["pkcs8.pem", "public.pem"] {
        assert_eq!(done(Path::new("/"), &["keyid", &from_tests(&format!("keys/{file}"))]), pin);
    }
    for (file, word) in [("pkcs1.pem", "PKCS#1"), ("ec.pem", "RSA"), ("encrypted.pem", "encrypted")] {
        let said = run(Path::new("/"), &["keyid", &from_tests(&format!("keys/{file}"))]);
        assert_eq!(said.status, USAGE, "{said:?}");
        assert!(said.err.contains(word), "{said:?}");
    }
}

#[test]
fn check_says_what_a_right_policy_means() {
    let dir = set_up();
    let pin = done(dir.path(), &["keyid", "gateway.pem"]);
    let out = done(dir.path(), &["check", "gateway.toml"]);
    assert!(out.starts_with("gateway.toml: OK\n  gateway\n  listens on 127.0.0.1:0: HTTP in plaintext\n"), "{out}");
    assert!(out.contains(pin.trim()) && out.contains("route /sync to http://127.0.0.1:9\n"), "{out}");
    let out = done(dir.path(), &["check", "agent.toml"]);
    assert!(
        out.starts_with("agent.toml: OK\n  agent for the gateway http://127.0.0.1:9/sync\n  listens on 127.0.0.1:0: HTTP in plaintext\n"),
        "{out}"
    );
    assert!(out.contains(pin.trim()), "{out}");
}

#[test]
fn check_and_start_say_all_faults_and_end_with_78() {
    let dir = set_up();
    let broken = "version = 1\n[gateway]\nlistn = ''\nkeys = 'none.pem'\n[[route]]\npath = 'x'\nupstream = ''\n";
    fs::write(dir.path().join("broken.toml"), broken).unwrap();
    for verb in ["check", "gateway"] {
        let said = run(dir.path(), &[verb, "broken.toml"]);
        assert_eq!((said.status, &said.out[..]), (CONFIGURATION, ""), "{said:?}");
        for fault in ["3:1: gateway.listn", "4:8: gateway.keys", "6:8: route[0].path", "7:12: route[0].upstream"] {
            assert!(said.err.contains(&format!("broken.toml:{fault}")), "{fault} {said:?}");
        }
    }
    for (verb, file) in [("gateway", "agent.toml"), ("agent", "gateway.toml"), ("check", "none.toml")] {
        let said = run(dir.path(), &[verb, file]);
        assert_eq!(said.status, CONFIGURATION, "{said:?}");
    }
}

#[test]
fn keys_that_are_swapped_or_open_to_others_stop_the_start() {
    let dir = set_up();
    let path = |name: &str| dir.path().join(name);
    let refused = |file: &str, word: &str| {
        let said = run(dir.path(), &["check", file]);
        assert_eq!(said.status, CONFIGURATION, "{said:?}");
        assert!(said.err.contains(word), "{said:?}");
    };
    fs::set_permissions(path("gateway.pem"), fs::Permissions::from_mode(0o644)).unwrap();
    refused("gateway.toml", "mode 0644");
    fs::rename(path("gateway.pem"), path("private")).unwrap();
    refused("gateway.toml", "cannot read gateway.pem");
    fs::rename(path("gateway.pub.pem"), path("gateway.pem")).unwrap();
    fs::rename(path("private"), path("gateway.pub.pem")).unwrap();
    refused("gateway.toml", "a public key where the private key is needed");
    refused("agent.toml", "a private key where the public key is needed");
}

#[test]
fn the_environment_overrides_the_policy() {
    let dir = set_up();
    let said = run_with(dir.path(), &["check", "gateway.toml"], &[("SYNCSEAL_GATEWAY__LISTEN", "127.0.0.1:99")], &[]);
    assert!(said.status == DONE && said.out.contains("listens on 127.0.0.1:99: HTTP in plaintext"), "{said:?}");
    let said = run_with(dir.path(), &["check", "gateway.toml"], &[("SYNCSEAL_LIMITS__DRAIN", "soon")], &[]);
    assert_eq!(said.status, CONFIGURATION, "{said:?}");
    assert!(said.err.contains("environment variable SYNCSEAL_LIMITS__DRAIN: limits.drain"), "{said:?}");
}

#[test]
fn an_address_in_use_ends_with_71() {
    let dir = set_up();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    for (verb, variable) in [("gateway", "SYNCSEAL_GATEWAY__LISTEN"), ("agent", "SYNCSEAL_AGENT__LISTEN")] {
        let said = run_with(dir.path(), &[verb, &format!("{verb}.toml")], &[(variable, &addr)], &[]);
        assert_eq!(said.status, BIND, "{said:?}");
        assert!(said.err.contains(&addr), "{said:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_told_to_end_drains_and_ends_with_0() {
    let dir = set_up();
    for verb in ["gateway", "agent"] {
        let mut server = Program::syncseal([verb, &format!("{verb}.toml")], dir.path(), verb);
        let addr = server.listening().await;
        assert_eq!(addr.ip().to_string(), "127.0.0.1");
        server.terminate();
        assert_eq!(server.ended().await.code(), Some(DONE), "{}", server.log());
        for line in server.log().lines() {
            serde_json::from_str::<Value>(line).expect("logs that nobody watches are JSON");
        }
    }
}

#[tokio::test]
async fn an_exchange_gets_one_line_of_log_that_says_what_was_decided() {
    let dir = set_up();
    let mut gateway = Program::syncseal(["gateway", "gateway.toml"], dir.path(), "gateway");
    let mut stream = TcpStream::connect(gateway.listening().await).unwrap();
    let body = fs::read(from_tests("captures/syncevolution-xml/01.req")).unwrap();
    let head = format!(
        "POST /sync HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: application/vnd.syncml+xml\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), &body].concat()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    gateway.terminate();
    gateway.ended().await;
    let log = gateway.log();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let exchanges: Vec<Value> = lines.filter(|line| line["fields"]["message"] == "exchange").collect();
    assert_eq!(exchanges.len(), 1, "{log}");
    let fields = &exchanges[0]["fields"];
    assert_eq!((&fields["decision"], &fields["reason"]), (&"refused".into(), &"encryption-required".into()), "{log}");
    assert_eq!((&fields["received"], &fields["opened"]), (&body.len().into(), &body.len().into()), "{log}");
    assert!(!log.contains("sc-peer") && !log.contains("alice"), "{log}");
}

#[tokio::test]
async fn options_for_logs_come_before_the_policy() {
    let dir = set_up();
    let args = ["gateway", "gateway.toml", "--log-format", "text", "--log-level", "warn,syncseal::gateway=info"];
    let mut server = Program::syncseal(args, dir.path(), "gateway");
    let line = server.logged(|line| line.contains("listening").then(|| line.to_owned())).await;
    assert!(serde_json::from_str::<Value>(&line).is_err() && line.contains(" INFO "), "{line}");
    server.terminate();
    assert_eq!(server.ended().await.code(), Some(DONE));
    assert!(!server.log().contains("drain"), "{}", server.log());
}

#[test]
fn inspect_shows_every_capture() {
    for (set, begin) in [("syncevolution-xml", "XML, "), ("syncevolution-wbxml", "WBXML 1.2, ")] {
        let mut shown = 0;
        for entry in fs::read_dir(from_tests(&format!("captures/{set}"))).unwrap() {
            let file = entry.unwrap().path();
            if !file.extension().is_some_and(|extension| extension == "req" || extension == "resp") {
                continue;
            }
            let out = done(Path::new("/"), &["inspect", file.to_str().unwrap()]);
            assert!(out.starts_with(begin) && out.ends_with("</SyncML>\n"), "{out}");
            for line in ["\n  not sealed\n", "\n    <VerProto>SyncML/1.2</VerProto>\n", "\n  SessionID: "] {
                assert!(out.contains(line), "{line} {out}");
            }
            shown += 1;
        }
        assert!(shown >= 8, "{set}: {shown}");
    }
}

#[test]
fn inspect_shows_device_information_inside_wbxml() {
    let out = done(Path::new("/"), &["inspect", &from_tests("captures/syncevolution-wbxml/01.req")]);
    assert!(
        out.contains("<Data> <!-- WBXML 1.2, 4220 bytes -->\n          <DevInf>\n            <VerDTD>1.2"),
        "{out}"
    );
    assert!(out.contains("<Mod>SyncEvolution</Mod>"), "{out}");
}

fn vectors(file: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(from_tests(&format!("vectors/{file}.json"))).unwrap()).unwrap()
}

fn bytes(value: &Value) -> Option<Vec<u8>> {
    hex::decode(value.as_str()?).ok()
}

#[test]
fn inspect_shows_seals_by_their_names() {
    let mut kinds = [0; 3];
    for case in vectors("message-layer")["cases"].as_array().unwrap() {
        let session = &case["session"];
        for message in case["messages"].as_array().unwrap() {
            let out = inspect(&bytes(&message["sealed"]).unwrap());
            assert!(out.starts_with("seal of message layer, "), "{out}");
            assert!(out.contains(&format!("({})\n", session["alg"])), "{out}");
            let sealed = bytes(&message["ciphertext"]).unwrap().len();
            assert!(out.contains(&format!("  sealed: {sealed} bytes, tag included\n")), "{out}");
            let number = &message["number"];
            let (kind, line) = match (number.as_u64().unwrap(), message["direction"].as_u64().unwrap()) {
                (0, 0) => (0, "  init request, ".to_owned()),
                (0, _) => (1, "  init response\n".to_owned()),
                _ => (2, format!(", number {number}\n")),
            };
            assert!(out.contains(&line), "{line} {out}");
            let id = session["sid"].as_str().unwrap();
            assert_eq!(out.contains(&format!("session (sid): {id}")), kind != 0, "{out}");
            kinds[kind] += 1;
        }
    }
    assert!(kinds.iter().all(|count| *count > 3), "{kinds:?}");
}

#[test]
fn inspect_shows_the_seal_inside_a_document() {
    let mut shown = 0;
    for case in vectors("data-layer")["cases"].as_array().unwrap() {
        let Some(document) = bytes(&case["sealed_document"]) else { continue };
        let out = inspect(&document);
        let lengths: Vec<_> = case["lengths"].as_array().unwrap().iter().map(|len| len.as_u64().unwrap()).collect();
        let (pieces, total) = (lengths.len(), lengths.iter().sum::<u64>());
        let said = format!("\n  sealed in the data layer: {pieces} pieces, {total} bytes\n");
        assert!(out.contains(&said), "{} {out}", case["name"]);
        // Each piece is named in its place, and nothing of it shown.
        let mut rest = &*out;
        for len in lengths {
            let piece = format!("<!-- sealed, {len} bytes --></");
            let at = rest.find(&piece).unwrap_or_else(|| panic!("{} {piece} {out}", case["name"]));
            rest = &rest[at + piece.len()..];
        }
        assert!(out.contains("algorithm (alg): ") && out.contains("  sealed: 16 bytes, tag included"), "{out}");
        shown += 1;
    }
    assert!(shown > 20, "{shown}");
}

#[test]
fn inspect_shows_refusals_of_every_kind_by_their_reason() {
    let (mut documents, mut problems, mut maps) = (0, 0, 0);
    for case in vectors("refusals")["cases"].as_array().unwrap() {
        let expect = &case["expect"];
        let Some(reason) = expect["reason"].as_str() else { continue };
        let reason = format!("urn:syncseal:refusal:{reason}");
        if let Some(map) = bytes(&expect["refusal_map_cbor"]) {
            let out = inspect(&map);
            assert!(out.starts_with("refusal map, ") && out.contains(&reason), "{out}");
            maps += 1;
        }
        if let Some(document) = bytes(&expect["document"]) {
            let out = inspect(&document);
            assert!(out.contains("\n  a refusal\n") && out.contains(&reason), "{out}");
            documents += 1;
        }
        if expect["problem"].is_object() {
            let out = inspect(expect["problem"].to_string().as_bytes());
            assert!(out.starts_with("refusal in problem details, ") && out.contains(&reason), "{out}");
            problems += 1;
        }
    }
    assert!(documents > 3 && problems > 3 && maps > 3, "{documents} {problems} {maps}");
}

#[test]
fn inspect_refuses_what_it_does_not_know_and_shows_what_comes_before_a_fault() {
    let dir = Path::new("/");
    let cases: &[(&[u8], &str, &str)] = &[
        (b"", "not a SyncML message, a seal or a refusal", ""),
        (b"hello", "not a SyncML message, a seal or a refusal", ""),
        (b"{\"type\":\"about:blank\"}", "malformed: not a refusal", ""),
        (b"\xd0\x83\x40\xa0\x40", "malformed: ", ""),
        (b"<SyncML><SyncHdr><MsgID>1</MsgID><Source>", "unexpected end", "<MsgID>1</MsgID>\n    <Source>\n"),
        (b"\x03\x01\x6a\x00\x6d\x6c", "unexpected end", "<SyncML>\n  <SyncHdr>\n"),
    ];
    for (input, word, shown) in cases {
        let said = run_with(dir, &["inspect", "-"], &[], input);
        assert_eq!(said.status, USAGE, "{said:?}");
        assert!(said.err.contains(word) && said.out.ends_with(shown), "{said:?}");
    }
}

#[test]
fn inspect_writes_nothing_that_a_terminal_would_obey() {
    let documents: &[&[u8]] = &[
        b"<SyncML><SyncHdr><LocURI>\x1b[2J\x07</LocURI><a b='\x1b]0;x'/></SyncHdr></SyncML>",
        b"<SyncML><SyncHdr><LocURI>a&#27;b\xc2\x9b</LocURI></SyncHdr></SyncML>",
        b"{\"type\":\"urn:syncseal:refusal:\\u001b[2J\"}",
    ];
    for document in documents {
        let said = run_with(Path::new("/"), &["inspect", "-"], &[], document);
        let all = format!("{}{}", said.out, said.err);
        assert!(!all.chars().any(|c| c.is_control() && c != '\n'), "{all:?}");
    }
}
