//! The way to the server: one multiplexed connection, made anew when it broke, and steps that end in bounded time.

use std::{
    fmt, mem,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, RedisError, RedisResult, Value, aio::MultiplexedConnection,
    sentinel::SentinelClient,
};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout_at},
};
use tracing::{info, warn};

use super::{Settings, settings};
use crate::session::UnixTime;

/// So many steps without an answer, one after the other, and the connection counts as broken. Until then what follows
/// goes over the same connection, and thus comes after what may still be on its way.
const SILENCES: u32 = 2;

/// A step was not done, as far as one can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// It never reached the server.
    NotSent,
    /// The server said no, perhaps in its midst.
    Refused,
    /// It may have been done, now or later.
    Unknown,
}

/// Whom to ask for a connection to the master.
enum Source {
    Server(Client),
    Sentinels(Mutex<SentinelClient>),
}

struct Current {
    connection: MultiplexedConnection,
    /// By which name the server knows the script.
    script: String,
    generation: u64,
}

#[derive(Default)]
struct State {
    current: Option<Current>,
    generation: u64,
}

pub(super) struct Link {
    source: Source,
    timeout: Duration,
    namespace: String,
    /// The steps, as one script.
    script: String,
    state: Mutex<State>,
    silences: AtomicU32,
    down: AtomicBool,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

impl Link {
    pub(super) fn new(settings: &Settings, namespace: String, script: String) -> RedisResult<Self> {
        let source = match settings.source()? {
            settings::Source::Server(client) => Source::Server(client),
            settings::Source::Sentinels(client) => Source::Sentinels(Mutex::new(client)),
        };
        Ok(Self {
            source,
            timeout: settings.timeout,
            namespace,
            script,
            state: Mutex::default(),
            silences: AtomicU32::new(0),
            down: AtomicBool::new(false),
        })
    }

    /// Takes one step, and gives the items of its answer.
    pub(super) async fn step(
        &self,
        step: &'static str,
        now: UnixTime,
        replica: &str,
        args: &[&[u8]],
    ) -> Result<Vec<Value>, Failed> {
        let until = Instant::now() + self.timeout;
        loop {
            let connected = timeout_at(until, self.connected()).await;
            let (mut connection, script, generation) = match connected {
                Ok(Ok(connected)) => connected,
                Ok(Err(error)) => return Err(self.failed(step, &error.to_string(), Failed::NotSent)),
                Err(_) => return Err(self.failed(step, "no connection in time", Failed::NotSent)),
            };
            let mut command = redis::cmd("EVALSHA");
            command.arg(script).arg(1).arg(&self.namespace).arg(step).arg(now.0).arg(replica);
            for arg in args {
                command.arg(arg);
            }
            let answer = timeout_at(until, connection.send_packed_command(&command)).await;
            match answer.map(|answer| answer.and_then(Value::extract_error)) {
                Ok(Ok(Value::Array(items))) => {
                    self.silences.store(0, Ordering::Relaxed);
                    if self.down.swap(false, Ordering::Relaxed) {
                        info!("the session store can be reached again");
                    }
                    return Ok(items);
                }
                Ok(Ok(_)) => return Err(self.failed(step, "an answer that is none of ours", Failed::Refused)),
                // Somebody made it forget its scripts: a new connection begins with ours.
                Ok(Err(error)) if error.code() == Some("NOSCRIPT") => self.forget(generation).await,
                Ok(Err(error)) => {
                    // One that was demoted takes no steps: as when it is gone, the next step looks for the master again.
                    self.forget(generation).await;
                    let failed = if error.code().is_some() { Failed::Refused } else { Failed::Unknown };
                    return Err(self.failed(step, &error.to_string(), failed));
                }
                Err(_) => {
                    if self.silences.fetch_add(1, Ordering::Relaxed) + 1 >= SILENCES {
                        self.forget(generation).await;
                    }
                    return Err(self.failed(step, "no answer in time", Failed::Unknown));
                }
            }
        }
    }

    /// What the server says about its memory.
    pub(super) async fn memory(&self) -> RedisResult<String> {
        let ask = async {
            let (mut connection, ..) = self.connected().await?;
            redis::cmd("INFO").arg("memory").query_async(&mut connection).await
        };
        tokio::time::timeout(self.timeout, ask).await.unwrap_or_else(|_| Err(late()))
    }

    async fn connected(&self) -> RedisResult<(MultiplexedConnection, String, u64)> {
        let mut state = self.state.lock().await;
        if state.current.is_none() {
            // Steps have a time limit of their own, which counts from before they wait for the connection.
            let config =
                AsyncConnectionConfig::new().set_connection_timeout(Some(self.timeout)).set_response_timeout(None);
            let mut connection = match &self.source {
                Source::Server(client) => client.get_multiplexed_async_connection_with_config(&config).await?,
                Source::Sentinels(client) => client.lock().await.get_async_connection_with_config(&config).await?,
            };
            let script = load(&self.script).query_async(&mut connection).await?;
            state.generation += 1;
            self.silences.store(0, Ordering::Relaxed);
            state.current = Some(Current { connection, script, generation: state.generation });
        }
        match &state.current {
            Some(current) => Ok((current.connection.clone(), current.script.clone(), current.generation)),
            None => Err(late()),
        }
    }

    /// Forgets the connection, unless that has been done already.
    async fn forget(&self, generation: u64) {
        let mut state = self.state.lock().await;
        if state.current.as_ref().is_some_and(|current| current.generation == generation) {
            drop(mem::take(&mut state.current));
        }
    }

    fn failed(&self, step: &str, error: &str, failed: Failed) -> Failed {
        if !self.down.swap(true, Ordering::Relaxed) {
            warn!(step, error, "the session store is out of reach");
        }
        failed
    }
}

fn load(script: &str) -> Cmd {
    let mut load = redis::cmd("SCRIPT");
    load.arg("LOAD").arg(script);
    load
}

fn late() -> RedisError {
    (ErrorKind::Io, "no answer in time").into()
}
