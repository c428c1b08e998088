//! SyncEvolution, a real SyncML client and HTTP server, each with an address book, through its driver
//! `tests/peers/peer`.
//!
//! `tests/peers/install` installs it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use syncseal::syncml::Form;

use super::Program;

/// What the client gives as its credentials.
pub const USER: &str = "astrid.lindqvist";
pub const PASSWORD: &str = "wit-Kramer-79";
/// Where a session begins.
pub const PATH: &str = "/syncevolution";

/// The client's credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    Basic,
    Md5,
}

impl Auth {
    /// As Cred says it.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Basic => "syncml:auth-basic",
            Self::Md5 => "syncml:auth-md5",
        }
    }
}

/// How it is set up.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// What the client writes.
    pub form: Form,
    pub auth: Auth,
    /// Bytes of a message, on both sides.
    pub max_msg_size: usize,
}

/// Whose address book.
#[derive(Clone, Copy, Debug)]
pub enum Side {
    Client,
    Server,
}

impl Side {
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// SyncEvolution, client and server, through its driver.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Where the driver keeps everything.
    dir: PathBuf,
}

impl Peer {
    /// Writes both configurations, below `dir`: the server listens at `server`, the client posts to `client`.
    pub async fn setup(dir: &Path, setup: Setup, server: SocketAddr, client: SocketAddr) -> Self {
        let Setup { form, auth, max_msg_size } = setup;
        let form = match form {
            Form::Xml => "xml",
            Form::Wbxml => "wbxml",
        };
        let auth = match auth {
            Auth::Basic => "basic",
            Auth::Md5 => "md5",
        };
        let peer = Self { dir: dir.join("peer") };
        let server = format!("--server=http://{server}{PATH}");
        let client = format!("--client=http://{client}{PATH}");
        let size = format!("--max-msg-size={max_msg_size}");
        let (form, auth) = (format!("--form={form}"), format!("--auth={auth}"));
        let (user, password) = (format!("--user={USER}"), format!("--password={PASSWORD}"));
        peer.run(["setup", &server, &client, &size, &form, &auth, &user, &password]).await;
        peer
    }

    /// The command of a verb: verb, directory, what else it takes.
    fn command<const N: usize>(&self, args: [&str; N]) -> Command {
        let driver = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/peer");
        let mut command = Command::new(driver);
        command.arg(args[0]).arg(&self.dir).args(&args[1..]);
        command
    }

    /// Runs a verb that ends soon, and returns what it wrote.
    pub async fn run<const N: usize>(&self, args: [&str; N]) -> String {
        let mut command = self.command(args);
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "peer {args:?} ended with {}: {out}{err}", output.status);
        out
    }

    /// Runs the server.
    pub fn serve(&self) -> Program {
        Program::spawn(self.command(["serve"]), &self.dir, "serve")
    }

    /// Runs one session of the client.
    pub fn sync(&self, mode: &str) -> Program {
        Program::spawn(self.command(["sync", mode]), &self.dir, "sync")
    }

    /// Adds contacts with notes of about `note` bytes, and returns their names.
    pub async fn add(&self, side: Side, count: usize, note: usize) -> Vec<String> {
        let added = self.run(["add", side.name(), &count.to_string(), "--note", &note.to_string()]).await;
        added.lines().map(str::to_owned).collect()
    }

    /// The contacts of a side, as the values that stand in a message as they are: names, numbers, addresses, titles. Notes
    /// have escapes and folds.
    pub async fn book(&self, side: Side) -> Vec<Vec<String>> {
        let exported = self.run(["export", side.name()]).await;
        exported
            .lines()
            .map(|card| {
                let properties: Vec<String> = serde_json::from_str(card).unwrap();
                let plain = properties.iter().filter_map(|property| property.split_once(':'));
                plain.filter(|(name, _)| *name != "NOTE").map(|(_, value)| value.to_owned()).collect()
            })
            .collect()
    }
}
