//! Replicas of one gateway: the built program.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::common::Program;
use crate::terminal::KEY;

/// The secret that the replicas of a test share.
const STORE_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n";

/// What a gateway is told of its store.
pub(crate) fn store(url: &str) -> String {
    format!("store = \"{url}\"\nstore_key = \"store.key\"\n")
}

/// Writes the policy of a gateway in front of `upstream`, with these lines in `[sessions]` and these tables, and what
/// it needs beside it.
pub(crate) fn write_policy(dir: &Path, public: &str, upstream: SocketAddr, path: &str, sessions: &str, tables: &str) {
    for (name, text) in [("gateway.pem", KEY), ("store.key", STORE_KEY)] {
        std::fs::write(dir.join(name), text).unwrap();
        std::fs::set_permissions(dir.join(name), std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let policy = format!(
        "version = 1\n[gateway]\nlisten = \"127.0.0.1:0\"\npublic_url = \"http://{public}\"\nkeys = [\"gateway.pem\"]\n\
         [sessions]\n{sessions}\n{tables}\n[[route]]\npath = \"{path}\"\nupstream = \"http://{upstream}\"\n"
    );
    std::fs::write(dir.join("gateway.toml"), policy).unwrap();
}

/// Starts a replica under this policy.
pub(crate) fn start(dir: &Path, name: &str) -> Program {
    Program::syncseal(["gateway", "gateway.toml", "--log-format", "json"], dir, name)
}

/// Starts a replica under this policy, and waits until it listens.
pub(crate) async fn replica(dir: &Path, name: &str) -> (Program, SocketAddr) {
    let mut program = start(dir, name);
    let addr = program.listening().await;
    (program, addr)
}
