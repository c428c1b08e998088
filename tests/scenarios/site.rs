//! The built gateway in front of a server, with its files in a directory of their own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::common::Program;
use crate::common::program::PATIENCE;
use crate::http::exchange;
use crate::server::Server;
use crate::terminal::Terminal;
use crate::world::{policy_text, public_key, write_key};

/// A rule with these conditions, to be written after the lines of the route.
pub(crate) fn rule(name: &str, conditions: &str, plaintext: &str) -> String {
    format!("[[rule]]\nname = \"{name}\"\n{conditions}\nplaintext = \"{plaintext}\"\n")
}

/// The files of a gateway, and the server that it stands in front of. It is not yet running.
pub(crate) struct Site {
    pub(crate) server: Server,
    dir: TempDir,
}

impl Site {
    /// Writes the policy of a gateway that listens where the system chooses, with these further tables, and these lines
    /// in its one route, `/sync`.
    pub(crate) async fn new(tables: &str, route: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        write_key(&dir);
        let site = Self { server: Server::tcp().await, dir };
        site.write_policy(tables, route);
        site
    }

    /// In front of another server; the policy is yet to be written.
    pub(crate) fn before(self, server: Server) -> Self {
        Self { server, ..self }
    }

    /// Writes the policy anew, whole or not at all, as an editor does.
    pub(crate) fn write_policy(&self, tables: &str, route: &str) {
        self.write_file("gateway.toml", &policy_text("127.0.0.1:0", &self.server.address, tables, route));
    }

    /// Puts a file of this text in the place of whatever had its name.
    pub(crate) fn write_file(&self, name: &str, text: &str) {
        let new = self.path("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.path(name)).unwrap();
    }

    /// The path of a file.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Where the files are.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts the gateway, and waits until it listens.
    pub(crate) async fn start(self) -> Running {
        let mut program = self.spawn();
        let (admin, addr) = (program.admin_listening().await, program.listening().await);
        Running { program, addr, admin, site: self }
    }

    /// Runs a verb of the program to its end: its exit status, and what it wrote.
    pub(crate) async fn run(&self, args: &[&str]) -> (Option<i32>, String) {
        let mut program = Program::syncseal(args.iter().copied(), self.dir(), "run");
        let status = program.ended().await;
        (status.code(), program.log())
    }

    /// Starts the gateway.
    pub(crate) fn spawn(&self) -> Program {
        self.spawn_with(|_| {})
    }

    /// Starts the gateway by a command that was changed.
    pub(crate) fn spawn_with(&self, change: impl FnOnce(&mut Command)) -> Program {
        let mut command = Program::command(["gateway", "gateway.toml", "--log-format", "json"], self.dir());
        change(&mut command);
        Program::spawn(command, self.dir(), "gateway")
    }
}

/// A gateway that listens.
pub(crate) struct Running {
    pub(crate) program: Program,
    pub(crate) addr: SocketAddr,
    /// Where its window for operators is.
    pub(crate) admin: SocketAddr,
    pub(crate) site: Site,
}

impl Running {
    /// A terminal that has begun a sealed session.
    pub(crate) async fn terminal(&self) -> Terminal {
        Terminal::at(self.addr, &public_key()).await
    }

    /// Asks it to read its policy again, and waits until that one is in force: the `generation`th.
    pub(crate) async fn reload(&mut self, generation: u64) {
        self.program.hang_up();
        self.reloaded(generation).await;
    }

    /// Waits until the `generation`th policy is in force.
    pub(crate) async fn reloaded(&mut self, generation: u64) {
        self.program.event("reloaded", |fields| (fields["generation"] == generation).then_some(())).await;
    }

    /// Waits until a reload was refused for a fault of which this is a part, and gives the whole.
    pub(crate) async fn not_reloaded(&mut self, part: &str) -> String {
        let message = "not reloaded; the policy in force stays";
        let fault = |fields: &serde_json::Value| {
            fields["fault"].as_str().filter(|fault| fault.contains(part)).map(str::to_owned)
        };
        self.program.event(message, fault).await
    }

    /// Waits until its window for operators shows this line of its metrics.
    pub(crate) async fn counted(&self, line: &str) {
        let since = Instant::now();
        loop {
            let request = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.admin);
            let metrics = exchange(self.admin, request.as_bytes()).await.body;
            let metrics = String::from_utf8(metrics).unwrap();
            if metrics.lines().any(|found| found == line) {
                return;
            }
            assert!(since.elapsed() < PATIENCE, "no {line:?} in {metrics}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        self.program.terminate();
        self.program.ended().await
    }
}
