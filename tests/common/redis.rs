//! A Redis of a test's own, and sentinels that watch over several.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{Program, free_port};

/// A redis-server on a port of loopback, whose files are in a directory of the test.
#[derive(Debug)]
pub struct Redis {
    pub addr: SocketAddr,
    dir: PathBuf,
    options: Vec<String>,
    program: Option<Program>,
}

impl Redis {
    /// Starts one that keeps nothing in files.
    pub async fn start(dir: &Path) -> Self {
        Self::with(dir, "redis", &["--save", ""]).await
    }

    /// Starts one under this name with these options.
    pub async fn with(dir: &Path, name: &str, options: &[&str]) -> Self {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let dir = dir.join(name);
        std::fs::create_dir(&dir).unwrap();
        let options = options.iter().map(|&option| option.to_owned()).collect();
        let mut redis = Self { addr, dir, options, program: None };
        redis.restart().await;
        redis
    }

    /// Starts a sentinel under this name, which knows the master at this port of loopback as `fleet`, and needs another's
    /// word before it replaces it.
    pub async fn sentinel(dir: &Path, name: &str, master: u16, options: &[&str]) -> Self {
        let file = dir.join(name).with_extension("conf");
        let told = format!(
            "sentinel monitor fleet 127.0.0.1 {master} 2\nsentinel down-after-milliseconds fleet 500\n\
             sentinel failover-timeout fleet 3000\n"
        );
        // It writes into this file what it learns.
        std::fs::write(&file, told).unwrap();
        let options = [&[file.to_str().unwrap(), "--sentinel"], options].concat();
        Self::with(dir, name, &options).await
    }

    /// Where clients find it.
    pub fn url(&self) -> String {
        format!("redis://{}", self.addr)
    }

    /// Starts it again, with what it has in files.
    pub async fn restart(&mut self) {
        self.program = None;
        let mut command = Command::new("redis-server");
        // A file comes before all options.
        let (files, options) =
            self.options.split_at(usize::from(self.options.iter().any(|option| option == "--sentinel")));
        command.current_dir(&self.dir).args(files);
        command
            .args(["--bind", "127.0.0.1", "--port", &self.addr.port().to_string(), "--daemonize", "no"])
            .args(options);
        let mut program = Program::spawn(command, &self.dir, "redis");
        program.accepting(self.addr).await;
        self.program = Some(program);
        // While it loads its file it accepts connections, but no commands.
        while self.ask::<String>(&["PING"]).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends it at once, whatever it has in memory.
    pub async fn kill(&mut self) {
        if let Some(mut program) = self.program.take() {
            program.kill();
            program.ended().await;
        }
    }

    /// Stops it where it is, until it is told to continue: it keeps its connections, and answers nobody.
    pub fn suspend(&self) {
        self.program.as_ref().unwrap().suspend();
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.program.as_ref().unwrap().resume();
    }

    /// What it answers to a command.
    pub async fn ask<T: redis::FromRedisValue>(&self, command: &[impl redis::ToRedisArgs]) -> redis::RedisResult<T> {
        let client = redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await?;
        let mut asked = redis::Cmd::new();
        for arg in command {
            asked.arg(arg);
        }
        asked.query_async(&mut connection).await
    }

    /// How many keys it has whose names fit.
    pub async fn count(&self, pattern: &str) -> usize {
        self.ask::<Vec<Vec<u8>>>(&["KEYS", pattern]).await.unwrap_or_else(|error| panic!("{error}")).len()
    }
}
