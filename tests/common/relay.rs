//! A plain TCP balancer.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// Spreads connections over several addresses in turn, past those that refuse them. It knows nothing of what they carry.
#[derive(Debug)]
pub struct Balancer {
    pub addr: SocketAddr,
    targets: Arc<Mutex<Vec<SocketAddr>>>,
    accepting: JoinHandle<()>,
}

impl Balancer {
    /// One with nothing behind it yet.
    pub async fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let targets = Arc::<Mutex<Vec<SocketAddr>>>::default();
        let behind = Arc::clone(&targets);
        let turn = Arc::new(AtomicUsize::new(0));
        let accepting = tokio::spawn(async move {
            let mut relays = JoinSet::new();
            while let Ok((mut downstream, _)) = listener.accept().await {
                let (behind, turn) = (Arc::clone(&behind), Arc::clone(&turn));
                relays.spawn(async move {
                    let targets = behind.lock().unwrap().clone();
                    let turn = turn.fetch_add(1, Ordering::Relaxed);
                    for n in 0..targets.len() {
                        if let Ok(mut upstream) = TcpStream::connect(targets[(turn + n) % targets.len()]).await {
                            let _ = copy_bidirectional(&mut downstream, &mut upstream).await;
                            return;
                        }
                    }
                });
                while relays.try_join_next().is_some() {}
            }
        });
        Self { addr, targets, accepting }
    }

    /// Spreads new connections over these.
    pub fn spread_over(&self, targets: &[SocketAddr]) {
        *self.targets.lock().unwrap() = targets.to_vec();
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // With it go its connections.
        self.accepting.abort();
    }
}
