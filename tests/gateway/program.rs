//! The built program, `syncseal gateway FILE`, and its log. How it lives and ends is told in `tests/scenarios`.

use std::net::SocketAddr;

use tempfile::TempDir;

use crate::common::Program;
use crate::logs::{assert_tells_nothing, traffic};
use crate::server::Server;
use crate::world::{PERMIT, policy_text, public_key, write_key};

/// The program in front of a server.
struct Running {
    program: Program,
    addr: SocketAddr,
    server: Server,
    _dir: TempDir,
}

async fn start(tables: &str, route: &str) -> Running {
    let dir = tempfile::tempdir().unwrap();
    write_key(&dir);
    let server = Server::tcp().await;
    let text = policy_text("127.0.0.1:0", &server.address, tables, route);
    std::fs::write(dir.path().join("gateway.toml"), text).unwrap();
    let mut program = Program::syncseal(["gateway", "gateway.toml"], dir.path(), "gateway");
    let addr = program.listening().await;
    Running { program, addr, server, _dir: dir }
}

#[tokio::test]
async fn the_programs_log_holds_no_contents_credentials_or_keys() {
    let log = "[log]\nfilter = \"info,syncseal=trace\"";
    let mut running = start(log, &format!("host = \"target\"\n{PERMIT}")).await;
    traffic(running.addr, &public_key(), &running.server).await;
    running.program.terminate();
    assert!(running.program.ended().await.success());
    assert_tells_nothing(&running.program.log());
}
