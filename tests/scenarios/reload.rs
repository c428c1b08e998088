//! Another policy while the gateway serves: asked for by SIGHUP or by a change to its files; and all the ways in which
//! what it is made from can be wrong.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use syncseal::crypto::{KeyName, RsaPublicKey, TerminalSecret};
use syncseal::seal::{InitParameters, Reason, Recipient};
use tokio::task::JoinSet;

use crate::common::Program;
use crate::http::{post, post_seal};
use crate::listeners::{agent_policy, spawn_agent};
use crate::site::{Running, Site};
use crate::syncml::{Client, FIRST, SECOND, XML, accepted};
use crate::terminal::{Terminal, handshake_bytes, parameters};
use crate::world::public_key;

/// Nothing happens but on SIGHUP.
const UNWATCHED: &str = "[reload]\nwatch = false";

/// Under this policy, no message goes where terminals want it to go.
const ELSEWHERE: &str = "targets = ['/elsewhere']";

/// A gateway that says what it is.
async fn unwatched() -> Running {
    Site::new(UNWATCHED, "").await.start().await
}

/// Makes a key by `syncseal keygen` and gives its public half.
fn keygen(dir: &Path, name: &str) -> RsaPublicKey {
    let mut command = Command::new(env!("CARGO_BIN_EXE_syncseal"));
    let made = command.args(["keygen", "--bits", "2048", name]).current_dir(dir).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    RsaPublicKey::from_pem(&fs::read_to_string(dir.join(name).with_extension("pub.pem")).unwrap()).unwrap()
}

/// Writes a secret as its owner alone may read it, under another name and then under its own.
fn write_secret(file: &Path, byte: u8) -> TerminalSecret {
    let text = base64_turbo::STANDARD.encode([byte; 32]);
    let new = file.with_extension("new");
    fs::write(&new, &text).unwrap();
    fs::set_permissions(&new, Permissions::from_mode(0o600)).unwrap();
    fs::rename(new, file).unwrap();
    TerminalSecret::from_text(&text).unwrap()
}

const FILES: [&str; 2] = ["gateway.toml", "gateway.pem"];

/// Puts a policy and its key into a directory of this name, and lets the link `..data` lead there.
fn put_version(site: &Site, version: &str, route: &str) {
    site.write_policy("", route);
    fs::create_dir(site.path(version)).unwrap();
    for name in FILES {
        fs::copy(site.path(name), site.path(version).join(name)).unwrap();
    }
    symlink(version, site.path("..new")).unwrap();
    fs::rename(site.path("..new"), site.path("..data")).unwrap();
}

/// Begins a sealed session under a secret.
async fn shared(gateway: &Running, name: &KeyName, secret: &TerminalSecret) -> Terminal {
    let key = public_key();
    let asked = InitParameters { recipient: Recipient::Secret(name, secret), ..parameters(&key) };
    Terminal::asking(gateway.addr, &asked).await
}

/// Says the next message of a client's session and hears what the server says.
async fn says(terminal: &mut Terminal, client: &Client) {
    terminal.send(client).await.assert_says(200, &accepted());
}

#[tokio::test]
async fn sighup_brings_a_new_policy_into_force_and_sessions_go_on() {
    let mut gateway = unwatched().await;
    let mut terminal = gateway.terminal().await;
    says(&mut terminal, &FIRST).await;
    gateway.site.write_policy(UNWATCHED, ELSEWHERE);
    gateway.reload(2).await;
    terminal.send(&SECOND).await.assert_refused(Reason::Malformed);
    gateway.site.write_policy(UNWATCHED, "");
    gateway.reload(3).await;
    says(&mut terminal, &SECOND).await;
}

#[tokio::test]
async fn a_policy_that_is_renamed_into_place_is_in_force_by_itself() {
    let mut gateway = Site::new("", "").await.start().await;
    let mut terminal = gateway.terminal().await;
    gateway.site.write_policy("", ELSEWHERE);
    gateway.reloaded(2).await;
    terminal.send(&FIRST).await.assert_refused(Reason::Malformed);
}

#[tokio::test]
async fn a_swapped_link_as_kubernetes_makes_it_is_seen() {
    let site = Site::new("", "").await;
    put_version(&site, "..v1", "");
    fs::create_dir(site.path("config")).unwrap();
    for name in FILES {
        symlink(Path::new("../..data").join(name), site.path("config").join(name)).unwrap();
    }
    let mut program = site.spawn_with(|command| {
        command.current_dir(site.path("config"));
    });
    let addr = program.listening().await;
    let admin = program.admin_listening().await;
    let mut gateway = Running { program, addr, admin, site };
    let mut terminal = gateway.terminal().await;
    says(&mut terminal, &FIRST).await;
    put_version(&gateway.site, "..v2", ELSEWHERE);
    gateway.reloaded(2).await;
    terminal.send(&SECOND).await.assert_refused(Reason::Malformed);
}

#[tokio::test]
async fn a_broken_policy_changes_nothing_and_every_fault_is_logged_as_check_says_it() {
    let mut gateway = unwatched().await;
    let mut terminal = gateway.terminal().await;
    gateway.site.write_policy("[limits]\nmessage = 7\n[log]\nfitler = 'info'", "plaintxt = 'permit'");
    let checked = Command::new(env!("CARGO_BIN_EXE_syncseal"))
        .args(["check", "gateway.toml"])
        .current_dir(gateway.site.dir())
        .output()
        .unwrap();
    let said = String::from_utf8([checked.stdout, checked.stderr].concat()).unwrap();
    gateway.program.hang_up();
    for part in ["limits.message", "log.fitler", "plaintxt"] {
        let fault = gateway.not_reloaded(part).await;
        assert!(fault.starts_with("gateway.toml:"), "{fault}");
        assert!(said.lines().any(|line| line.contains(&fault)), "{fault}\n{said}");
    }
    says(&mut terminal, &FIRST).await;
    says(&mut gateway.terminal().await, &Client { source: "IMEI:other", ..FIRST }).await;
    // And it can be mended.
    gateway.site.write_policy(UNWATCHED, "");
    gateway.reload(2).await;
}

#[tokio::test]
async fn a_half_written_policy_changes_nothing_and_the_rest_brings_it_into_force() {
    let mut gateway = Site::new("", "").await.start().await;
    let mut terminal = gateway.terminal().await;
    gateway.site.write_policy("", ELSEWHERE);
    gateway.reloaded(2).await;
    gateway.site.write_policy("", "");
    gateway.reloaded(3).await;
    let whole = fs::read_to_string(gateway.site.path("gateway.toml")).unwrap();
    // In place, not by a rename.
    fs::write(gateway.site.path("gateway.toml"), &whole[..whole.len() / 2]).unwrap();
    gateway.not_reloaded("gateway.toml:").await;
    says(&mut terminal, &FIRST).await;
    fs::write(gateway.site.path("gateway.toml"), whole).unwrap();
    gateway.reloaded(4).await;
    says(&mut terminal, &SECOND).await;
}

#[tokio::test]
async fn a_policy_file_that_is_gone_changes_nothing_until_it_is_back() {
    let mut gateway = Site::new("", "").await.start().await;
    fs::rename(gateway.site.path("gateway.toml"), gateway.site.path("away")).unwrap();
    gateway.not_reloaded("cannot read gateway.toml").await;
    says(&mut gateway.terminal().await, &FIRST).await;
    fs::rename(gateway.site.path("away"), gateway.site.path("gateway.toml")).unwrap();
    gateway.reloaded(2).await;
}

#[tokio::test]
async fn another_key_that_is_renamed_over_the_gateways_takes_its_place_and_sessions_go_on() {
    let mut gateway = Site::new("", "").await.start().await;
    let mut terminal = gateway.terminal().await;
    let other = keygen(gateway.site.dir(), "other.pem");
    fs::rename(gateway.site.path("other.pem"), gateway.site.path("gateway.pem")).unwrap();
    gateway.reloaded(2).await;
    let answer = post_seal(gateway.addr, &handshake_bytes(&parameters(&public_key()))).await;
    answer.assert_problem(Reason::KeyUnknown);
    says(&mut Terminal::at(gateway.addr, &other).await, &Client { source: "IMEI:other", ..FIRST }).await;
    says(&mut terminal, &FIRST).await;
}

#[tokio::test]
async fn a_key_that_is_cut_off_or_open_to_others_changes_nothing_until_it_is_mended() {
    let mut gateway = Site::new("", "").await.start().await;
    let file = gateway.site.path("gateway.pem");
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    gateway.not_reloaded("gateway.pem: ").await;
    says(&mut gateway.terminal().await, &FIRST).await;
    fs::write(&file, whole).unwrap();
    gateway.reloaded(2).await;
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    gateway.not_reloaded("with mode 0644").await;
    says(&mut gateway.terminal().await, &Client { source: "IMEI:other", ..FIRST }).await;
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    gateway.reloaded(3).await;
}

#[tokio::test]
async fn a_key_that_a_refused_policy_misses_is_waited_for() {
    let mut gateway = Site::new("", "").await.start().await;
    let policy = fs::read_to_string(gateway.site.path("gateway.toml")).unwrap();
    let policy = policy.replace("keys = [\"gateway.pem\"]", "keys = [\"gateway.pem\", \"later/second.pem\"]");
    fs::create_dir(gateway.site.path("later")).unwrap();
    gateway.site.write_file("gateway.toml", &policy);
    gateway.not_reloaded("later/second.pem").await;
    let second = keygen(gateway.site.dir(), "later/second.pem");
    gateway.reloaded(2).await;
    says(&mut Terminal::at(gateway.addr, &second).await, &FIRST).await;
}

#[tokio::test]
async fn a_session_ends_with_the_file_of_its_secret_and_others_go_on() {
    let site = Site::new("", "").await;
    let secrets = site.path("secrets");
    fs::create_dir(&secrets).unwrap();
    let (phone, tablet): (KeyName, KeyName) = ("phone".parse().unwrap(), "tablet".parse().unwrap());
    let phones = write_secret(&secrets.join("phone.secret"), 1);
    let tablets = write_secret(&secrets.join("tablet.secret"), 2);
    site.write_policy("secrets = 'secrets'", "");
    let mut gateway = site.start().await;
    let mut lost = shared(&gateway, &phone, &phones).await;
    let mut kept = shared(&gateway, &tablet, &tablets).await;
    let other = Client { source: "IMEI:other", ..FIRST };
    says(&mut lost, &FIRST).await;
    says(&mut kept, &other).await;
    fs::remove_file(secrets.join("phone.secret")).unwrap();
    gateway.reloaded(2).await;
    let sealed = lost.seal_message(&SECOND);
    post_seal(gateway.addr, &sealed).await.assert_problem(Reason::SessionUnknown);
    says(&mut kept, &Client { msg_id: 2, ..other }).await;
    assert_eq!(gateway.site.server.seen().len(), 3);
}

#[tokio::test]
async fn an_expired_secret_is_taken_and_opens_nothing() {
    let site = Site::new(UNWATCHED, "").await;
    let name: KeyName = "phone".parse().unwrap();
    let secret = write_secret(&site.path("phone.secret"), 1);
    let expiring =
        |time: &str| format!("secrets = {{ phone = {{ file = 'phone.secret', expires = {time} }} }}\n{UNWATCHED}");
    site.write_policy(&expiring("2099-01-01T00:00:00Z"), "");
    let mut gateway = site.start().await;
    let mut terminal = shared(&gateway, &name, &secret).await;
    says(&mut terminal, &FIRST).await;
    gateway.site.write_policy(&expiring("2020-01-01T00:00:00Z"), "");
    gateway.reload(2).await;
    let sealed = terminal.seal_message(&SECOND);
    post_seal(gateway.addr, &sealed).await.assert_problem(Reason::SessionUnknown);
    let key = public_key();
    let asked = InitParameters { recipient: Recipient::Secret(&name, &secret), ..parameters(&key) };
    post_seal(gateway.addr, &handshake_bytes(&asked)).await.assert_problem(Reason::CannotOpen);
}

#[tokio::test]
async fn what_only_a_start_can_change_is_named_and_the_rest_is_in_force() {
    let mut gateway = unwatched().await;
    let mut terminal = gateway.terminal().await;
    let policy = format!("{UNWATCHED}\n[limits]\nin_flight = 1\n[sessions]\ntotal = 1");
    gateway.site.write_policy(&policy, ELSEWHERE);
    gateway.reload(2).await;
    for key in ["limits.in_flight", "sessions.total"] {
        let message = "this change waits for the next start";
        gateway.program.event(message, |fields| (fields["key"] == key).then_some(())).await;
    }
    terminal.send(&FIRST).await.assert_refused(Reason::Malformed);
    // More sessions than the new policy would have.
    gateway.terminal().await;
}

#[tokio::test]
async fn what_is_logged_changes_with_the_policy() {
    let mut gateway = Site::new(UNWATCHED, "").await.start().await;
    gateway.site.write_policy(&format!("{UNWATCHED}\n[log]\nfilter = 'info,syncseal::exchange=off'"), "");
    gateway.reload(2).await;
    let quiet = Client { source: "IMEI:quiet", msg_id: 1, ..FIRST };
    says(&mut gateway.terminal().await, &quiet).await;
    let before = gateway.program.log();
    assert!(!before.contains("syncseal::exchange"), "{before}");
    gateway.site.write_policy(UNWATCHED, "");
    gateway.reload(3).await;
    says(&mut gateway.terminal().await, &FIRST).await;
    gateway.program.logged(|line| line.contains("syncseal::exchange").then_some(())).await;
}

#[tokio::test]
async fn the_watch_can_be_turned_off_and_on_by_a_reload() {
    let mut gateway = unwatched().await;
    gateway.site.write_policy("", "");
    gateway.reload(2).await;
    gateway.site.write_policy(UNWATCHED, ELSEWHERE);
    gateway.reloaded(3).await;
    gateway.site.write_policy("", "");
    gateway.reload(4).await;
    says(&mut gateway.terminal().await, &FIRST).await;
    let by = |by: &str| gateway.program.log().matches(&format!("\"by\":\"{by}\",\"generation\"")).count();
    assert_eq!((by("SIGHUP"), by("watch")), (2, 1), "{}", gateway.program.log());
}

#[tokio::test]
async fn reloads_under_load_lose_no_exchange() {
    const RELOADS: u64 = 25;
    const SOURCES: [&str; 4] = ["IMEI:1", "IMEI:2", "IMEI:3", "IMEI:4"];
    let mut gateway = unwatched().await;
    let addr = gateway.addr;
    let (end, ended) = tokio::sync::watch::channel(false);
    let mut clients = JoinSet::new();
    for source in SOURCES {
        let ended = ended.clone();
        clients.spawn(async move {
            let client = Client { source, ..FIRST };
            let mut terminal = Terminal::at(addr, &public_key()).await;
            let mut said = 0;
            loop {
                // One more round after the last reload.
                let last = *ended.borrow();
                for _ in 0..5 {
                    said += 1;
                    says(&mut terminal, &Client { msg_id: said, ..client }).await;
                }
                // And another sealed session.
                Terminal::at(addr, &public_key()).await;
                if last {
                    return said;
                }
            }
        });
    }
    for generation in 2..2 + RELOADS {
        let route = if generation % 2 == 0 { "timeout = '60 s'" } else { "timeout = '61 s'" };
        gateway.site.write_policy(UNWATCHED, route);
        gateway.reload(generation).await;
    }
    end.send_replace(true);
    let mut said = 0;
    while let Some(client) = clients.join_next().await {
        said += client.unwrap();
    }
    assert_eq!(gateway.site.server.seen().len(), said as usize);
    assert_eq!(gateway.terminate().await.code(), Some(0));
}

/// Runs `syncseal reload` against the gateway.
async fn asked(gateway: &Running) -> (Option<i32>, String) {
    gateway.site.run(&["reload", "--admin", &format!("http://{}", gateway.admin)]).await
}

#[tokio::test]
async fn an_operator_who_asks_for_a_reload_hears_what_came_of_it() {
    let gateway = unwatched().await;
    gateway.site.write_policy(&format!("{UNWATCHED}\n[limits]\nin_flight = 9"), ELSEWHERE);
    let (status, said) = asked(&gateway).await;
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains("reloaded: policy 2") && said.contains("limits.in_flight: this change waits"), "{said}");
    gateway.terminal().await.send(&FIRST).await.assert_refused(Reason::Malformed);

    gateway.site.write_policy("[limits]\nmessage = 7", "plaintxt = 1");
    let (status, said) = asked(&gateway).await;
    assert_eq!(status, Some(78), "{said}");
    for part in ["gateway.toml:", "limits.message", "plaintxt", "the policy in force stays"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[tokio::test]
async fn a_reload_of_what_does_not_run_says_so() {
    let gateway = unwatched().await;
    let Running { program, site, admin, .. } = gateway;
    drop(program);
    let (status, said) = site.run(&["reload", "--admin", &format!("http://{admin}")]).await;
    assert_eq!(status, Some(69), "{said}");
    assert!(said.contains("cannot be reached"), "{said}");
}

/// Waits until an agent's `generation`th policy is in force.
async fn reloaded(agent: &mut Program, generation: u64) {
    agent.event("reloaded", |fields| (fields["generation"] == generation).then_some(())).await;
}

#[tokio::test]
async fn an_agent_reads_its_policy_again_and_its_clients_sessions_go_on() {
    let gateway = Site::new("", "").await.start().await;
    let site = &gateway.site;
    let policy = |tables: &str| agent_policy(site, gateway.addr, "listen = \"127.0.0.1:0\"", tables);
    policy("");
    let mut agent = spawn_agent(site);
    let addr = agent.listening().await;
    assert_eq!(post(addr, XML, &FIRST.xml()).await.body, accepted());
    policy("[limits]\nmessage = '4 KiB'\nin_flight = 9");
    reloaded(&mut agent, 2).await;
    let waits = "this change waits for the next start";
    agent.event(waits, |fields| (fields["key"] == "limits.in_flight").then_some(())).await;
    assert_eq!(post(addr, XML, &FIRST.xml_of(4097)).await.status, 413);
    assert_eq!(post(addr, XML, &SECOND.xml()).await.body, accepted());
    // One handshake was enough.
    gateway.counted("syncseal_exchanges_total{outcome=\"handshake\"} 1").await;
}

#[tokio::test]
async fn an_agent_takes_the_key_that_takes_the_place_of_its_gateways() {
    let mut gateway = Site::new("", "").await.start().await;
    let site = &gateway.site;
    agent_policy(site, gateway.addr, "listen = \"127.0.0.1:0\"", "");
    let mut agent = spawn_agent(site);
    let addr = agent.listening().await;
    keygen(site.dir(), "other.pem");
    let pinned = fs::read(site.path("gateway.pub.pem")).unwrap();
    // Half of the new one changes nothing.
    let new = fs::read(site.path("other.pub.pem")).unwrap();
    fs::write(site.path("gateway.pub.pem"), &new[..new.len() / 2]).unwrap();
    let stays = "not reloaded; the policy in force stays";
    agent.event(stays, |fields| fields["fault"].as_str()?.contains("gateway.pub.pem").then_some(())).await;
    assert_eq!(post(addr, XML, &FIRST.xml()).await.body, accepted());
    assert_ne!(pinned, new);
    fs::write(site.path("gateway.pub.pem"), &new).unwrap();
    reloaded(&mut agent, 2).await;
    fs::rename(site.path("other.pem"), site.path("gateway.pem")).unwrap();
    gateway.reloaded(2).await;
    let other = Client { source: "IMEI:other", ..FIRST };
    assert_eq!(post(addr, XML, &other.xml()).await.body, accepted());
}
