//! What comes with the program: policies for its packages, manual pages, completions, and a server to try it on.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::common::Program;
use crate::http::{exchange, post_bytes};
use crate::site::Site;

fn syncseal(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_syncseal")).args(args).current_dir(dir).output().unwrap()
}

/// What a run prints, which must succeed.
fn done(dir: &Path, args: &[&str]) -> String {
    let output = syncseal(dir, args);
    assert!(output.status.success(), "{args:?} {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Checks a policy of `deploy/` as `AT/NAME` in a directory that has these files besides, made as its comments say.
fn check_deployed(policy: &str, at: &str, keys: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    for directory in [at, keys] {
        fs::create_dir_all(dir.path().join(directory)).unwrap();
    }
    done(&dir.path().join(keys), &["keygen", "gateway.pem"]);
    fs::copy(dir.path().join(keys).join("gateway.pub.pem"), dir.path().join(at).join("gateway.pub.pem")).unwrap();
    let store_key = dir.path().join(keys).join("store.key");
    fs::write(&store_key, "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n").unwrap();
    fs::set_permissions(&store_key, fs::Permissions::from_mode(0o400)).unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(policy);
    let policy = dir.path().join(at).join("policy.toml");
    fs::copy(file, &policy).unwrap();
    done(dir.path(), &["check", policy.to_str().unwrap()])
}

#[tokio::test]
async fn the_policies_of_the_packages_are_right() {
    for (policy, at, keys, says) in [
        ("debian/gateway.toml", ".", "gateway", "listens on 127.0.0.1:8080"),
        ("debian/agent.toml", ".", "agent", "127.0.0.1:8070"),
        ("compose/gateway.toml", ".", "gateway", "route /sync to http://server:9080"),
        ("kubernetes/sidecar/gateway.toml", "policy", "keys", "route /sync to http://127.0.0.1:9080"),
        ("kubernetes/fleet/gateway.toml", "policy", "keys", "sessions on redis"),
    ] {
        let said = check_deployed(policy, at, keys);
        assert!(said.contains(says), "{policy}: {said}");
    }
}

#[tokio::test]
async fn every_verb_has_a_manual_page() {
    let dir = tempfile::tempdir().unwrap();
    done(dir.path(), &["man", "pages"]);
    let help = done(dir.path(), &["--help"]);
    let verbs = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let verbs: Vec<&str> = verbs.filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).collect();
    assert!(verbs.contains(&"gateway") && verbs.contains(&"completions"), "{help}");
    for verb in verbs.into_iter().filter(|verb| !verb.is_empty()) {
        let page = fs::read_to_string(dir.path().join(format!("pages/syncseal-{verb}.1"))).expect(verb);
        assert!(page.contains(".SH SYNOPSIS") && page.contains(&format!("syncseal\\-{verb}")), "{page}");
    }
    let page = fs::read_to_string(dir.path().join("pages/syncseal.1")).unwrap();
    assert!(page.contains("configuration: the policy"), "exit statuses: {page}");
}

#[tokio::test]
async fn manual_pages_are_not_written_over_what_is_no_directory() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    assert_eq!(syncseal(dir.path(), &["man", "file"]).status.code(), Some(64));
}

#[tokio::test]
async fn a_shell_completes_verbs_and_options() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("syncseal.bash"), done(dir.path(), &["completions", "bash"])).unwrap();
    // The shell itself, as if someone had typed so far and pressed the tabulator.
    let complete = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        let script = format!(
            ". ./syncseal.bash; COMP_WORDS=({line}); [[ '{line}' != *' ' ]] || COMP_WORDS+=(''); COMP_CWORD={}; \
             _syncseal syncseal \"${{COMP_WORDS[-1]}}\" x; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            words.len() - 1
        );
        let output = Command::new("bash").args(["-c", &script]).current_dir(dir.path()).output().unwrap();
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(complete("syncseal gat"), ["gateway"]);
    assert!(complete("syncseal ").contains(&"check".to_owned()));
    assert!(complete("syncseal gateway --log-").contains(&"--log-format".to_owned()));
    for shell in ["zsh", "fish"] {
        assert!(done(dir.path(), &["completions", shell]).contains("gateway"), "{shell}");
    }
}

/// Runs `syncseal health` with these arguments against an operators' window: what it says, and its exit status.
async fn health(admin: SocketAddr, args: &[&str]) -> (String, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_syncseal"));
    command.args(["health", "--admin", &format!("http://{admin}")]).args(args);
    // The server behind the gateway is in this thread.
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.code())
}

#[tokio::test]
async fn health_tells_by_its_status_whether_a_gateway_is_alive_and_ready() {
    let mut gateway = Site::new("", "").await.start().await;
    let (said, status) = health(gateway.admin, &[]).await;
    assert!(status == Some(0) && said.contains("\"live\": true"), "{status:?} {said}");
    let (said, status) = health(gateway.admin, &["--ready"]).await;
    assert!(status == Some(0) && said.contains("\"ready\": true"), "{status:?} {said}");
    gateway.terminate().await;
    assert_eq!(health(gateway.admin, &[]).await, (String::new(), Some(69)));
}

/// A sample server over a new directory.
async fn sample_server() -> (Program, SocketAddr, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let args = ["sample-server", "contacts", "--listen", "127.0.0.1:0", "--log-format", "json"];
    let mut server = Program::syncseal(args, dir.path(), "server");
    let addr = server.listening().await;
    (server, addr, dir)
}

#[tokio::test]
async fn the_sample_server_asks_for_credentials_and_ends_with_0() {
    let (mut server, addr, _dir) = sample_server().await;
    let message = "<SyncML><SyncHdr><VerDTD>1.2</VerDTD><VerProto>SyncML/1.2</VerProto><SessionID>1</SessionID>\
                   <MsgID>1</MsgID><Target><LocURI>http://server/sync</LocURI></Target><Source><LocURI>IMEI:1</LocURI>\
                   </Source></SyncHdr><SyncBody><Final/></SyncBody></SyncML>";
    let request = post_bytes("Content-Type: application/vnd.syncml+xml\r\nConnection: close\r\n", message.as_bytes());
    let answer = exchange(addr, &request).await;
    assert_eq!(answer.status, 200);
    assert!(String::from_utf8_lossy(&answer.body).contains("<Data>407</Data>"));
    server.terminate();
    assert_eq!(server.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_sample_server_that_cannot_listen_or_use_its_directory_says_so() {
    let (_server, addr, dir) = sample_server().await;
    let taken = syncseal(dir.path(), &["sample-server", "other", "--listen", &addr.to_string()]);
    assert_eq!(taken.status.code(), Some(71), "{}", String::from_utf8_lossy(&taken.stderr));
    fs::write(dir.path().join("file"), "").unwrap();
    let no_directory = syncseal(dir.path(), &["sample-server", "file", "--listen", "127.0.0.1:0"]);
    assert_eq!(no_directory.status.code(), Some(64), "{}", String::from_utf8_lossy(&no_directory.stderr));
}
