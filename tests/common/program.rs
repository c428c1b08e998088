//! Programs that run beside a test, each in a process group of its own that ends with the test.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::net::TcpStream;

/// How long anything may take that a test waits for: far more than it needs, so that it only ends a test that hangs.
pub const PATIENCE: Duration = Duration::from_secs(120);
const GRACE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);

/// A running program, whose standard output and error go to a file. Dropped, its whole process group is ended.
#[derive(Debug)]
pub struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts `command`, with its output in `DIR/NAME.log`.
    pub fn spawn(command: Command, dir: &Path, name: &str) -> Self {
        Self::spawn_with(command, Stdio::null(), dir, name)
    }

    /// As [`Program::spawn`], with this standard input.
    pub fn spawn_with(mut command: Command, stdin: Stdio, dir: &Path, name: &str) -> Self {
        let log = dir.join(name).with_extension("log");
        let out = File::create(&log).unwrap();
        command.stdin(stdin).stdout(out.try_clone().unwrap()).stderr(out).process_group(0);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, log }
    }

    /// Starts the crate's own program, without a window for operators: many run beside each other.
    pub fn syncseal<'a>(args: impl IntoIterator<Item = &'a str>, dir: &Path, name: &str) -> Self {
        let mut command = Self::command(args, dir);
        command.env("SYNCSEAL_ADMIN__LISTEN", "off");
        Self::spawn(command, dir, name)
    }

    /// The crate's own program.
    pub fn command<'a>(args: impl IntoIterator<Item = &'a str>, dir: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_syncseal"));
        command.args(args).current_dir(dir);
        command
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap()).into_owned()
    }

    /// The first complete line of its output for which `wanted` gives something, as soon as there is one.
    ///
    /// # Panics
    /// With the output, if the program ends, or goes on for long, without such a line.
    pub async fn logged<T>(&mut self, wanted: impl Fn(&str) -> Option<T>) -> T {
        let since = Instant::now();
        loop {
            let ended = self.child.try_wait().unwrap();
            let log = self.log();
            if let Some(found) = log.split_inclusive('\n').filter(|line| line.ends_with('\n')).find_map(&wanted) {
                return found;
            }
            assert!(ended.is_none() && since.elapsed() < PATIENCE, "did not write what was waited for: {log}");
            tokio::time::sleep(POLL).await;
        }
    }

    /// The first line of its JSON log with this message for whose fields `wanted` gives something.
    pub async fn event<T>(&mut self, message: &str, wanted: impl Fn(&serde_json::Value) -> Option<T>) -> T {
        self.logged(|line| {
            let line: serde_json::Value = serde_json::from_str(line).ok()?;
            let fields = line.get("fields").unwrap_or(&line);
            if fields["message"] == message { wanted(fields) } else { None }
        })
        .await
    }

    /// The address that it listens on, from its JSON log line `listening` with `addr`.
    pub async fn listening(&mut self) -> SocketAddr {
        self.told("listening").await
    }

    /// The address of its window for operators.
    pub async fn admin_listening(&mut self) -> SocketAddr {
        self.told("admin listening").await
    }

    async fn told(&mut self, message: &str) -> SocketAddr {
        self.event(message, |fields| Some(fields["addr"].as_str().unwrap().parse().unwrap())).await
    }

    /// Waits until something accepts connections at `addr`, for programs that do not say so.
    pub async fn accepting(&mut self, addr: SocketAddr) {
        let since = Instant::now();
        while TcpStream::connect(addr).await.is_err() {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && since.elapsed() < PATIENCE, "nothing listens on {addr}: {}", self.log());
            tokio::time::sleep(POLL).await;
        }
    }

    /// How it has ended, if it has.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits until it ends by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        let since = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(since.elapsed() < PATIENCE, "still running: {}", self.log());
            tokio::time::sleep(POLL).await;
        }
    }

    /// Ends it at once, with its group.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Stops it where it is.
    pub fn suspend(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Asks it to end, as a service manager would.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Asks it to read its policy again.
    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    fn signal(&self, signal: Signal) {
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).unwrap();
        // Fails once the whole group has ended, as it should.
        let _ = kill_process_group(group, signal);
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.signal(Signal::TERM);
        let since = Instant::now();
        while since.elapsed() < GRACE && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(POLL);
        }
        // Whatever of the group outlives the program or the grace.
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }
}
