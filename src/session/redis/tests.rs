//! A server of the tests' own, and what a replica does beside what every store must do.

use std::{
    net::TcpListener,
    process::{Child, ChildStdin, Command, Stdio},
    sync::LazyLock,
};

use super::*;
use crate::{
    crypto::{SystemRandom, default_provider},
    seal::{StoreKey, encode_base64},
};

/// A private server on a free port of loopback, without a file, which ends with this process however that ends.
pub(in crate::session) struct Server {
    pub(in crate::session) port: u16,
    shell: Child,
    /// When it is closed, the shell ends the server.
    leash: Option<ChildStdin>,
}

impl Server {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let script = format!(
            "redis-server --port {port} --bind 127.0.0.1 --save '' --appendonly no --daemonize no >/dev/null & \
             read -r _; kill $!; wait"
        );
        let mut command = Command::new("sh");
        let mut shell = command.arg("-c").arg(script).stdin(Stdio::piped()).spawn().unwrap();
        let leash = shell.stdin.take();
        Self { port, shell, leash }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.leash.take());
        let _ = self.shell.wait();
    }
}

/// The server of all tests of this kind; each has a key of its own, and with it a namespace.
static SERVER: LazyLock<Server> = LazyLock::new(Server::start);

fn settings(port: u16, key: &[u8; 32]) -> Settings {
    let key = StoreKey::from_base64(default_provider(), &encode_base64(key)).unwrap();
    Settings {
        servers: vec![format!("redis://127.0.0.1:{port}").parse().unwrap()],
        sentinel: None,
        ca: None,
        key: Arc::new(key),
        // Other tests keep the machine busy.
        timeout: Duration::from_secs(30),
        start_timeout: Duration::from_secs(60),
    }
}

fn random_key() -> [u8; 32] {
    let mut key = [0; 32];
    SystemRandom.fill(&mut key).unwrap();
    key
}

struct Fixed(UnixTime);

impl TimeSource for Fixed {
    fn now(&self) -> UnixTime {
        self.0
    }
}

async fn replica(key: &[u8; 32], limits: Limits, began: UnixTime) -> RedisStore {
    let settings = settings(SERVER.port, key);
    RedisStore::connect(settings, limits, default_provider(), &SystemRandom, Arc::new(Fixed(began))).await.unwrap()
}

/// An empty store that began then.
pub(in crate::session) async fn fresh(limits: Limits, began: UnixTime) -> RedisStore {
    replica(&random_key(), limits, began).await
}
