//! The way to the server: one multiplexed connection, made anew when it broke, and steps that end in bounded time.

use std::{
    fmt,
    sync::{
        Arc, Mutex as StdMutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
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

/// How long the search for the master may take, whoever still waits for it. A sentinel that does not answer holds it up,
/// perhaps longer than a step may take.
const SEARCH: Duration = Duration::from_secs(10);

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

#[derive(Clone)]
struct Current {
    connection: MultiplexedConnection,
    /// By which name the server knows the script.
    script: Arc<str>,
    generation: u64,
}

pub(super) struct Link {
    source: Source,
    timeout: Duration,
    namespace: String,
    /// The steps, as one script.
    script: String,
    current: StdMutex<Option<Current>>,
    generations: AtomicU64,
    /// Held by who looks for the master.
    searching: Arc<Mutex<()>>,
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
            current: StdMutex::default(),
            generations: AtomicU64::new(0),
            searching: Arc::default(),
            silences: AtomicU32::new(0),
            down: AtomicBool::new(false),
        })
    }

    /// Takes one step, and gives the items of its answer.
    pub(super) async fn step(
        self: &Arc<Self>,
        step: &'static str,
        now: UnixTime,
        replica: &str,
        args: &[&[u8]],
    ) -> Result<Vec<Value>, Failed> {
        let until = Instant::now() + self.timeout;
        loop {
            let connected = timeout_at(until, self.connected()).await;
            let Current { mut connection, script, generation } = match connected {
                Ok(Ok(connected)) => connected,
                Ok(Err(error)) => return Err(self.failed(step, &error.to_string(), Failed::NotSent)),
                Err(_) => return Err(self.failed(step, "no connection in time", Failed::NotSent)),
            };
            let mut command = redis::cmd("EVALSHA");
            command.arg(&*script).arg(1).arg(&self.namespace).arg(step).arg(now.0).arg(replica);
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
                Ok(Err(error)) if error.code() == Some("NOSCRIPT") => self.forget(generation),
                Ok(Err(error)) => {
                    // One that was demoted takes no steps: as when it is gone, the next step looks for the master again.
                    self.forget(generation);
                    let failed = if error.code().is_some() { Failed::Refused } else { Failed::Unknown };
                    return Err(self.failed(step, &error.to_string(), failed));
                }
                Err(_) => {
                    if self.silences.fetch_add(1, Ordering::Relaxed) + 1 >= SILENCES {
                        self.forget(generation);
                    }
                    return Err(self.failed(step, "no answer in time", Failed::Unknown));
                }
            }
        }
    }

    /// What the server says about its memory.
    pub(super) async fn memory(self: &Arc<Self>) -> RedisResult<String> {
        let ask = async {
            let Current { mut connection, .. } = self.connected().await?;
            redis::cmd("INFO").arg("memory").query_async(&mut connection).await
        };
        tokio::time::timeout(self.timeout, ask).await.unwrap_or_else(|_| Err(late()))
    }

    /// The connection that there is, or a new one.
    async fn connected(self: &Arc<Self>) -> RedisResult<Current> {
        if let Some(current) = self.current().clone() {
            return Ok(current);
        }
        let searching = Arc::clone(&self.searching).lock_owned().await;
        if let Some(current) = self.current().clone() {
            return Ok(current);
        }
        let link = Arc::clone(self);
        // On a task of its own: what a step that has waited long enough began is there for the next.
        let search = tokio::spawn(async move {
            let found = tokio::time::timeout(SEARCH, link.connect()).await.unwrap_or_else(|_| Err(late()));
            if let Ok(current) = &found {
                link.silences.store(0, Ordering::Relaxed);
                *link.current() = Some(current.clone());
            }
            drop(searching);
            found
        });
        search.await.unwrap_or_else(|_| Err(late()))
    }

    async fn connect(&self) -> RedisResult<Current> {
        // Steps have a time limit of their own, which counts from before they wait for the connection.
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(self.timeout)).set_response_timeout(None);
        let mut connection = match &self.source {
            Source::Server(client) => client.get_multiplexed_async_connection_with_config(&config).await?,
            Source::Sentinels(client) => client.lock().await.get_async_connection_with_config(&config).await?,
        };
        let script: String = load(&self.script).query_async(&mut connection).await?;
        let generation = self.generations.fetch_add(1, Ordering::Relaxed);
        Ok(Current { connection, script: script.into(), generation })
    }

    fn current(&self) -> MutexGuard<'_, Option<Current>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the connection, unless that has been done already.
    fn forget(&self, generation: u64) {
        self.current().take_if(|current| current.generation == generation);
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
