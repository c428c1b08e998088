//! What the service manager is told, over a socket like its own.

use std::path::PathBuf;
use std::process::Command;

use tokio::net::UnixDatagram;

use crate::common::Program;
use crate::listeners::agent_policy;
use crate::site::Site;

/// A service manager's ear.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn of(site: &Site) -> Self {
        let path = site.path("notify");
        Self { socket: UnixDatagram::bind(&path).unwrap(), path }
    }

    fn introduce(&self, command: &mut Command) {
        command.env("NOTIFY_SOCKET", &self.path);
    }

    /// What it hears next.
    async fn hears(&self) -> String {
        let mut heard = vec![0; 4096];
        let length = self.socket.recv(&mut heard).await.unwrap();
        heard.truncate(length);
        String::from_utf8(heard).unwrap()
    }

    /// Hears of the start of a program, of a reload and of the end.
    async fn hears_of_a_life(&self, mut program: Program) {
        assert_eq!(self.hears().await, "READY=1\n");
        program.hang_up();
        let reloading = self.hears().await;
        let (state, time) = reloading.split_once('\n').unwrap();
        assert_eq!(state, "RELOADING=1");
        let time = time.strip_prefix("MONOTONIC_USEC=").unwrap().trim_end();
        assert!(time.parse::<u64>().unwrap() > 0, "{reloading}");
        assert_eq!(self.hears().await, "READY=1\n");
        program.terminate();
        assert_eq!(self.hears().await, "STOPPING=1\n");
        assert_eq!(program.ended().await.code(), Some(0));
    }
}

#[tokio::test]
async fn a_gateway_tells_that_it_is_ready_reloads_and_stops() {
    let site = Site::new("[reload]\nwatch = false", "").await;
    let manager = Manager::of(&site);
    manager.hears_of_a_life(site.spawn_with(|command| manager.introduce(command))).await;
}

#[tokio::test]
async fn an_agent_tells_that_it_is_ready_reloads_and_stops() {
    let site = Site::new("", "").await;
    agent_policy(&site, "127.0.0.1:9".parse().unwrap(), "listen = \"127.0.0.1:0\"", "[reload]\nwatch = false");
    let manager = Manager::of(&site);
    let mut command = Program::command(["agent", "agent.toml", "--log-format", "json"], site.dir());
    command.env("SYNCSEAL_ADMIN__LISTEN", "off");
    manager.introduce(&mut command);
    manager.hears_of_a_life(Program::spawn(command, site.dir(), "agent")).await;
}

#[tokio::test]
async fn a_reload_that_is_refused_ends_ready_too() {
    let site = Site::new("[reload]\nwatch = false", "").await;
    let manager = Manager::of(&site);
    let program = site.spawn_with(|command| manager.introduce(command));
    assert_eq!(manager.hears().await, "READY=1\n");
    site.write_policy("nonsense", "");
    program.hang_up();
    assert!(manager.hears().await.starts_with("RELOADING=1\n"));
    assert_eq!(manager.hears().await, "READY=1\n");
}

#[tokio::test]
async fn who_is_watched_over_says_that_it_is_alive_again_and_again() {
    let site = Site::new("", "").await;
    let manager = Manager::of(&site);
    let _program = site.spawn_with(|command| {
        manager.introduce(command);
        command.env("WATCHDOG_USEC", "100000");
    });
    let mut alive = 0;
    while alive < 3 {
        alive += usize::from(manager.hears().await == "WATCHDOG=1\n");
    }
}
