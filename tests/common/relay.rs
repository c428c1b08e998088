//! A plain TCP balancer that records what it relays.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedRwLockWriteGuard, RwLock};
use tokio::task::{JoinHandle, JoinSet};

use super::tap::{Recording, relay};

/// Spreads connections over several addresses in turn, past those that refuse them. It knows nothing of what they carry.
#[derive(Debug)]
pub struct Balancer {
    pub addr: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

/// What went over one connection, and where it went.
#[derive(Clone, Debug)]
pub struct Relayed {
    pub to: SocketAddr,
    pub recording: Recording,
}

/// While it is there, nothing passes in its direction.
pub type Held = OwnedRwLockWriteGuard<()>;

#[derive(Debug, Default)]
struct Shared {
    targets: Mutex<Vec<SocketAddr>>,
    turn: AtomicUsize,
    relayed: Mutex<Vec<(SocketAddr, Arc<Mutex<Recording>>)>>,
    requests: Arc<RwLock<()>>,
    responses: Arc<RwLock<()>>,
}

impl Balancer {
    /// One with nothing behind it yet.
    pub async fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        let relaying = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            let mut relays = JoinSet::new();
            while let Ok((downstream, _)) = listener.accept().await {
                relays.spawn(Arc::clone(&relaying).relay(downstream));
                while relays.try_join_next().is_some() {}
            }
        });
        Self { addr, shared, accepting }
    }

    /// Spreads new connections over these.
    pub fn spread_over(&self, targets: &[SocketAddr]) {
        *self.shared.targets.lock().unwrap() = targets.to_vec();
    }

    /// What went over each connection so far, in the order in which they were made.
    pub fn relayed(&self) -> Vec<Relayed> {
        let relayed = self.shared.relayed.lock().unwrap();
        relayed.iter().map(|(to, kept)| Relayed { to: *to, recording: kept.lock().unwrap().clone() }).collect()
    }

    /// Holds back what comes from those that connect, from the next byte on.
    pub async fn hold_requests(&self) -> Held {
        Arc::clone(&self.shared.requests).write_owned().await
    }

    /// Holds back what goes to those that connect, from the next byte on.
    pub async fn hold_responses(&self) -> Held {
        Arc::clone(&self.shared.responses).write_owned().await
    }
}

impl Shared {
    async fn relay(self: Arc<Self>, downstream: TcpStream) {
        let targets = self.targets.lock().unwrap().clone();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        for n in 0..targets.len() {
            let to = targets[(turn + n) % targets.len()];
            let Ok(upstream) = TcpStream::connect(to).await else { continue };
            let recording = Arc::new(Mutex::new(Recording::default()));
            self.relayed.lock().unwrap().push((to, Arc::clone(&recording)));
            let (from_downstream, to_downstream) = downstream.into_split();
            let (from_upstream, to_upstream) = upstream.into_split();
            let requests = relay(from_downstream, to_upstream, &recording, |kept| &mut kept.requests, &self.requests);
            let responses =
                relay(from_upstream, to_downstream, &recording, |kept| &mut kept.responses, &self.responses);
            // A connection that has lost one end has lost both.
            tokio::select! {
                () = requests => {}
                () = responses => {}
            }
            return;
        }
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // With it go its connections.
        self.accepting.abort();
    }
}
