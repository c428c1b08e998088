//! Keys that live, over the built program: from one RSA key to the next under load, and a secret of one terminal.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use common::tap::http_messages;
use common::{Program, Tap};
use serde_json::Value;
use syncseal::crypto::KeyId;
use syncseal::sample::{Client, ClientConfig, Config, Mode, Server};
use syncseal::seal::{self, Layer, Reason, Refusal, RefusalReason, SealedRequest, VersionedInit};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const DONE: i32 = 0;
const USAGE: i32 = 64;
const CONFIGURATION: i32 = 78;

/// Runs the program to its end: its exit status, and what it printed.
fn run(dir: &Path, args: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_syncseal")).args(args).current_dir(dir).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().expect("an exit, not a signal"), text(output.stdout), text(output.stderr))
}

#[track_caller]
fn done(dir: &Path, args: &[&str]) -> String {
    let (status, out, err) = run(dir, args);
    assert_eq!(status, DONE, "{args:?} {err}");
    out
}

fn json(dir: &Path, args: &[&str]) -> Value {
    serde_json::from_str(&done(dir, args)).unwrap()
}

fn write(dir: &TempDir, name: &str, text: &str) {
    fs::write(dir.path().join(name), text).unwrap();
}

fn read(dir: &TempDir, name: &str) -> String {
    fs::read_to_string(dir.path().join(name)).unwrap()
}

/// The names of the files there.
fn names(dir: &TempDir) -> BTreeSet<String> {
    fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn kid(value: &Value) -> KeyId {
    value["kid"].as_str().unwrap().parse().unwrap()
}

// --- The command line

/// A directory with a key and a policy that has comments.
fn set_up() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    done(dir.path(), &["keygen", "--bits", "2048", "gateway.pem"]);
    write(
        &dir,
        "gateway.toml",
        "version = 1\n[gateway]\n# Ours since May.\nkeys = 'gateway.pem' # one\n\n# The server.\n\
         [[route]]\npath = '/sync'\nupstream = 'http://127.0.0.1:9'\n",
    );
    dir
}

#[test]
fn rotating_makes_a_key_active_and_retiring_takes_the_old_one_out() {
    let dir = set_up();
    let (at, before) = (dir.path(), (read(&dir, "gateway.toml"), names(&dir)));
    let dry = json(at, &["keys", "rotate", "gateway.toml", "--dry-run", "--json"]);
    assert_eq!((dry["dry_run"].as_bool(), &dry["active"]["kid"]), (Some(true), &Value::Null));
    assert_eq!((read(&dir, "gateway.toml"), names(&dir)), before);

    let old = kid(&json(at, &["keys", "list", "gateway.toml", "--json"])[0]);
    fs::set_permissions(at.join("gateway.toml"), fs::Permissions::from_mode(0o640)).unwrap();
    let rotated = json(at, &["keys", "rotate", "gateway.toml", "--overlap", "60 d", "--json"]);
    let file = rotated["active"]["file"].as_str().unwrap();
    let new = kid(&rotated["active"]);
    assert_eq!((kid(&rotated["former"]), rotated["former"]["file"].as_str()), (old, Some("gateway.pem")));
    assert_eq!(done(at, &["keyid", rotated["active"]["public_file"].as_str().unwrap()]), format!("{new}\n"));
    let mode = |name: &str| fs::metadata(at.join(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(file), mode("gateway.toml")), (0o600, 0o640));
    let end = rotated["former"]["accept_until"].as_str().unwrap();
    assert_eq!(
        read(&dir, "gateway.toml"),
        before.0.replace("'gateway.pem'", &format!("[{file:?}, {{ file = \"gateway.pem\", accept_until = {end} }}]"))
    );
    let listed = json(at, &["keys", "list", "gateway.toml", "--json"]);
    let states: Vec<_> = listed.as_array().unwrap().iter().map(|key| (kid(key), key["state"].as_str())).collect();
    assert_eq!(states, [(new, Some("active")), (old, Some("accepted"))]);

    // A second rotation on the same day, with a longer key.
    let again = json(at, &["keys", "rotate", "gateway.toml", "--bits", "3072", "--json"]);
    assert_eq!(again["active"]["bits"], 3072);
    assert_eq!(kid(&again["former"]), new);
    assert_eq!(json(at, &["keys", "list", "gateway.toml", "--json"]).as_array().unwrap().len(), 3);

    // None has expired.
    let none = json(at, &["keys", "retire", "gateway.toml", "--json"]);
    assert_eq!(none["retired"].as_array().unwrap().len(), 0);
    let before = read(&dir, "gateway.toml");
    let dry = json(at, &["keys", "retire", "gateway.toml", "gateway.pem", "--dry-run", "--json"]);
    assert_eq!(kid(&dry["retired"][0]), old);
    assert_eq!(read(&dir, "gateway.toml"), before);
    done(at, &["keys", "retire", "gateway.toml", "gateway.pem", &new.to_string()]);
    let left = json(at, &["keys", "list", "gateway.toml", "--json"]);
    assert_eq!(left.as_array().unwrap().len(), 1);
    assert_eq!(kid(&left[0]), kid(&again["active"]));
    assert!(names(&dir).contains("gateway.pem"), "files stay");
    done(at, &["check", "gateway.toml"]);
}

#[test]
fn what_has_expired_is_retired() {
    let dir = set_up();
    done(dir.path(), &["keygen", "--bits", "2048", "new.pem"]);
    let text = read(&dir, "gateway.toml").replace(
        "keys = 'gateway.pem'",
        "keys = [\n  'new.pem',\n  { file = 'gateway.pem', accept_until = 2020-01-01T00:00:00Z }, # until 2020\n]",
    );
    write(&dir, "gateway.toml", &text);
    assert!(done(dir.path(), &["keys", "list", "gateway.toml"]).contains("expired 2020-01-01T00:00:00Z"));
    done(dir.path(), &["keys", "retire", "gateway.toml"]);
    let text = read(&dir, "gateway.toml");
    assert!(text.contains("# Ours since May.\nkeys = [\n  'new.pem',\n] # one\n"), "{text}");
}

#[test]
fn a_leaked_key_is_gone_at_once() {
    let dir = set_up();
    let rotated = json(dir.path(), &["keys", "rotate", "gateway.toml", "--overlap", "0 s", "--json"]);
    assert_eq!(rotated.get("former"), None);
    let listed = json(dir.path(), &["keys", "list", "gateway.toml", "--json"]);
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!(kid(&listed[0]), kid(&rotated["active"]));
}

#[test]
fn a_policy_behind_a_link_stays_behind_it() {
    let dir = set_up();
    fs::create_dir(dir.path().join("real")).unwrap();
    fs::rename(dir.path().join("gateway.toml"), dir.path().join("real/policy.toml")).unwrap();
    symlink("real/policy.toml", dir.path().join("gateway.toml")).unwrap();
    done(dir.path(), &["keys", "rotate", "gateway.toml"]);
    assert!(dir.path().join("gateway.toml").is_symlink());
    assert!(read(&dir, "real/policy.toml").contains("accept_until"));
    assert_eq!(fs::read_dir(dir.path().join("real")).unwrap().count(), 1);
}

#[test]
fn what_cannot_be_done_changes_nothing() {
    let dir = set_up();
    let active = kid(&json(dir.path(), &["keys", "list", "gateway.toml", "--json"])[0]).to_string();
    write(&dir, "broken.toml", &read(&dir, "gateway.toml").replace("upstream", "upstraem"));
    write(&dir, "agent.toml", "version = 1\n[agent]\ngateway = 'http://127.0.0.1:9/sync'\nkey = 'gateway.pub.pem'\n");
    let before = (read(&dir, "gateway.toml"), read(&dir, "broken.toml"), names(&dir));
    for (args, status) in [
        (&["keys", "rotate", "broken.toml"][..], CONFIGURATION),
        (&["keys", "rotate", "agent.toml"], CONFIGURATION),
        (&["keys", "list", "nowhere.toml"], CONFIGURATION),
        (&["keys", "rotate", "gateway.toml", "--overlap", "60"], USAGE),
        (&["keys", "rotate", "gateway.toml", "--bits", "1024"], USAGE),
        (&["keys", "retire", "gateway.toml", "gateway.pem"], USAGE),
        (&["keys", "retire", "gateway.toml", &active], USAGE),
        (&["keys", "retire", "gateway.toml", "other.pem"], USAGE),
        (&["keys"], USAGE),
    ] {
        let (found, out, err) = run(dir.path(), args);
        assert_eq!((found, out.is_empty(), err.is_empty()), (status, true, false), "{args:?} {err}");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_syncseal"))
        .args(["keys", "rotate", "gateway.toml"])
        .env("SYNCSEAL_GATEWAY__KEYS", "gateway.pem")
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(USAGE));
    assert_eq!((read(&dir, "gateway.toml"), read(&dir, "broken.toml"), names(&dir)), before);
}

// --- Under load

/// The sample server in front of which everything happens.
async fn start_server(dir: &Path) -> SocketAddr {
    let server = Arc::new(Server::new(dir.join("server"), Config::default()).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(server.serve(listener, std::future::pending()));
    addr
}

async fn start_gateway(dir: &Path, name: &str) -> (Program, SocketAddr) {
    let mut gateway = Program::syncseal(["gateway", "gateway.toml", "--log-format", "json"], dir, name);
    let addr = gateway.listening().await;
    (gateway, addr)
}

/// An agent with a client that syncs again and again, and what went over the wire between it and the gateway.
struct Device {
    agent: Program,
    tap: Tap,
    stop: Arc<AtomicBool>,
    synced: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
    syncing: JoinHandle<()>,
}

impl Device {
    /// Starts an agent with these lines in its policy, behind which someone syncs.
    async fn start(dir: &Path, name: &str, lines: &str, gateway: SocketAddr) -> Self {
        let tap = Tap::bind().await;
        tap.relay_to(gateway);
        let policy = format!(
            "version = 1\n[agent]\nlisten = '127.0.0.1:0'\ngateway = 'http://{}/sync'\n{lines}\n\
             [retransmit]\nattempts = 0\n",
            tap.addr()
        );
        fs::write(dir.join(format!("{name}.toml")), policy).unwrap();
        let mut agent = Program::syncseal(
            ["agent", &format!("{name}.toml"), "--log-format", "json"],
            dir,
            &format!("agent-{name}"),
        );
        let url = format!("http://{}/sync", agent.listening().await);
        let client = Client::new(dir.join(name), ClientConfig { device: name.into(), ..ClientConfig::new(url) });
        let (stop, synced, refused) = <(Arc<AtomicBool>, Arc<AtomicUsize>, Arc<AtomicUsize>)>::default();
        let syncing = tokio::spawn({
            let (stop, synced, refused) = (Arc::clone(&stop), Arc::clone(&synced), Arc::clone(&refused));
            async move {
                while !stop.load(Ordering::SeqCst) {
                    let outcome = client.sync(Mode::TwoWay, &mut |_| ()).await;
                    let counter = if outcome.is_ok() { &synced } else { &refused };
                    counter.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        Self { agent, tap, stop, synced, refused, syncing }
    }

    /// Waits until it has synced three times more.
    async fn syncs(&self) {
        more(&self.synced, 3).await;
    }

    /// Waits until it was refused three times more.
    async fn is_refused(&self) {
        more(&self.refused, 3).await;
    }

    /// Stops it, and gives what it asked for and what it was told.
    async fn end(mut self) -> Vec<Asked> {
        self.stop.store(true, Ordering::SeqCst);
        self.syncing.await.unwrap();
        self.agent.terminate();
        assert!(self.agent.ended().await.success());
        let connections = self.tap.recordings();
        connections.iter().flat_map(|wire| asked(&wire.requests, &wire.responses)).collect()
    }
}

async fn more(counter: &AtomicUsize, n: usize) {
    let enough = counter.load(Ordering::SeqCst) + n;
    let waiting = async {
        while counter.load(Ordering::SeqCst) < enough {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), waiting).await.expect("something goes on");
}

/// An init request on the wire, by its key id, and its answer: what other keys a refusal names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Asked {
    Sealed(Vec<u8>),
    KeyUnknown(Vec<u8>, Vec<KeyId>),
}

/// The init requests of a connection that were answered.
fn asked(requests: &[u8], responses: &[u8]) -> Vec<Asked> {
    let exchanges = http_messages(requests).into_iter().zip(http_messages(responses));
    let asked = exchanges.filter_map(|(request, response)| {
        let Ok(SealedRequest::Init(init)) = seal::decode_request(Layer::Message, BytesMut::from(&*request.body)) else {
            return None;
        };
        let VersionedInit::Version1(init) = &init.header().init else { panic!("another version") };
        if response.status == 200 {
            return Some(Asked::Sealed(init.kid.clone()));
        }
        let refusal = Refusal::from_problem(&response.body).unwrap();
        // That a secret is a wrong one is said of no key.
        (refusal.reason == RefusalReason::Known(Reason::KeyUnknown))
            .then(|| Asked::KeyUnknown(init.kid.clone(), refusal.keys))
    });
    asked.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_terminal_gets_through_while_it_knows_a_key_that_the_gateway_accepts() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    done(at, &["keygen", "--bits", "2048", "gateway.pem"]);
    let server = start_server(at).await;
    let policy = format!(
        "version = 1\n[gateway]\nlisten = '127.0.0.1:0'\nkeys = 'gateway.pem'\n[reload]\nwatch = false\n\
         [[route]]\npath = '/sync'\nupstream = 'http://{server}'\n"
    );
    write(&dir, "gateway.toml", &policy);
    let old = kid(&json(at, &["keys", "list", "gateway.toml", "--json"])[0]);
    let (mut gateway, addr) = start_gateway(at, "gateway").await;

    // The new key is there and given out; the gateway goes on under the policy that it read.
    let rotated = json(at, &["keys", "rotate", "gateway.toml", "--json"]);
    let new = kid(&rotated["active"]);
    let new_file = rotated["active"]["public_file"].as_str().unwrap();
    let knows_old = Device::start(at, "old", "key = 'gateway.pub.pem'", addr).await;
    let knows_both = Device::start(at, "both", &format!("key = [{new_file:?}, 'gateway.pub.pem']"), addr).await;
    let knows_new = Device::start(at, "new", &format!("key = {new_file:?}"), addr).await;
    knows_old.syncs().await;
    knows_both.syncs().await;
    knows_new.is_refused().await;
    assert_eq!(knows_new.synced.load(Ordering::SeqCst), 0);

    // It is told, and takes both.
    reload(&mut gateway, 2).await;
    for device in [&knows_old, &knows_both, &knows_new] {
        device.syncs().await;
    }

    // The time of the old key is over.
    done(at, &["keys", "retire", "gateway.toml", "gateway.pem"]);
    reload(&mut gateway, 3).await;
    knows_both.syncs().await;
    knows_new.syncs().await;
    knows_old.is_refused().await;

    let (sealed, unknown) = (
        |id: KeyId| Asked::Sealed(id.0.to_vec()),
        |id: KeyId, named: KeyId| Asked::KeyUnknown(id.0.to_vec(), vec![named]),
    );
    let seen = |asked: Vec<Asked>| asked.into_iter().collect::<BTreeSet<_>>();
    assert_eq!(seen(knows_old.end().await), BTreeSet::from([sealed(old), unknown(old, new)]));
    assert_eq!(seen(knows_both.end().await), BTreeSet::from([sealed(old), sealed(new), unknown(new, old)]));
    assert_eq!(seen(knows_new.end().await), BTreeSet::from([sealed(new), unknown(new, old)]));
}

/// Lets a gateway read its policy again, and waits until it goes on under it, as the `generation`th.
async fn reload(gateway: &mut Program, generation: u64) {
    gateway.hang_up();
    let applied = |line: &str| {
        let line: Value = serde_json::from_str(line).ok()?;
        let fields = &line["fields"];
        (fields["message"] == "reloaded" && fields["generation"] == generation).then_some(())
    };
    gateway.logged(applied).await;
}

// --- A secret

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_with_its_own_secret_syncs_and_another_under_its_name_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    done(at, &["keygen", "--shared", "phone"]);
    done(at, &["keygen", "--shared", "phone", "stolen-name.secret"]);
    let server = start_server(at).await;
    let policy = format!(
        "version = 1\n[gateway]\nlisten = '127.0.0.1:0'\n[gateway.secrets]\n\
         phone = {{ file = 'phone.secret', devices = ['pho*'] }}\n\
         [[route]]\npath = '/sync'\nupstream = 'http://{server}'\n"
    );
    write(&dir, "gateway.toml", &policy);
    let (_gateway, addr) = start_gateway(at, "gateway").await;
    let phone = Device::start(at, "phone", "name = 'phone'\nsecret = 'phone.secret'", addr).await;
    let thief = Device::start(at, "thief", "name = 'phone'\nsecret = 'stolen-name.secret'", addr).await;
    // The secret, but another device.
    let other = Device::start(at, "tablet", "name = 'phone'\nsecret = 'phone.secret'", addr).await;
    phone.syncs().await;
    thief.is_refused().await;
    other.is_refused().await;
    assert_eq!((thief.synced.load(Ordering::SeqCst), other.synced.load(Ordering::SeqCst)), (0, 0));
    let asked = phone.end().await.into_iter().collect::<BTreeSet<_>>();
    assert_eq!(asked, BTreeSet::from([Asked::Sealed(b"phone".to_vec())]));
    assert_eq!(thief.end().await, []);
    other.end().await;
}
