//! A legacy server that answers as it is told and keeps what it gets, byte for byte.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, UnixListener};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::syncml;

/// What a server does with a request.
pub(crate) enum Reply {
    /// It writes these bytes and closes the connection.
    Bytes(Vec<u8>),
    /// It does so once it is told.
    Held(oneshot::Receiver<()>, Vec<u8>),
    /// It never answers, and keeps the connection.
    Silence,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Request line and fields.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    /// The request line.
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap()
    }

    /// Names, in lower case, and values of its fields, sorted.
    pub(crate) fn fields(&self) -> Vec<(String, String)> {
        let fields = self.head.lines().skip(1).map(|line| line.split_once(": ").unwrap());
        let mut fields: Vec<_> = fields.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        fields.sort();
        fields
    }

    pub(crate) fn field(&self, name: &str) -> Option<String> {
        self.fields().into_iter().find_map(|(found, value)| (found == name).then_some(value))
    }
}

#[derive(Default)]
struct Told {
    script: Mutex<VecDeque<Reply>>,
    seen: watch::Sender<Vec<Seen>>,
    connections: watch::Sender<usize>,
}

/// A listening server.
pub(crate) struct Server {
    /// As a policy names it.
    pub(crate) address: String,
    told: Arc<Told>,
    accepting: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn tcp() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let told = Arc::new(Told::default());
        let accepting = tokio::spawn({
            let told = Arc::clone(&told);
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    told.begin(stream);
                }
            }
        });
        Self { address, told, accepting }
    }

    /// With TLS, at `localhost`.
    #[allow(dead_code, reason = "used by what the built program is asked")]
    pub(crate) async fn tls(config: rustls::ServerConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let told = Arc::new(Told::default());
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let accepting = tokio::spawn({
            let told = Arc::clone(&told);
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let (told, accepting) = (Arc::clone(&told), acceptor.accept(stream));
                    tokio::spawn(async move {
                        if let Ok(stream) = accepting.await {
                            told.begin(stream);
                        }
                    });
                }
            }
        });
        Self { address, told, accepting }
    }

    pub(crate) fn unix(path: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let told = Arc::new(Told::default());
        let accepting = tokio::spawn({
            let told = Arc::clone(&told);
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    told.begin(stream);
                }
            }
        });
        Self { address: format!("unix:{}", path.display()), told, accepting }
    }

    /// A server that is down. Its port stays taken, lest another test's server listens on it.
    pub(crate) fn down() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = format!("http://{}", socket.local_addr().unwrap());
        let holding = async move {
            std::future::pending::<()>().await;
            drop(socket);
        };
        Self { address, told: Arc::default(), accepting: tokio::spawn(holding) }
    }

    /// Its host and port.
    pub(crate) fn authority(&self) -> &str {
        self.address.strip_prefix("http://").unwrap()
    }

    /// What it does with the next request that has no reply yet. Without one it says that all is well.
    pub(crate) fn will(&self, reply: Reply) {
        self.told.script.lock().unwrap().push_back(reply);
    }

    /// The next request is answered with this document.
    pub(crate) fn will_say(&self, document: &[u8]) {
        self.will(Reply::Bytes(syncml::http_ok(document)));
    }

    /// The next request is answered when what is returned is dropped or told.
    pub(crate) fn will_hold(&self) -> oneshot::Sender<()> {
        let (release, held) = oneshot::channel();
        self.will(Reply::Held(held, syncml::http_ok(&syncml::accepted())));
        release
    }

    /// What it has got so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.told.seen.borrow().clone()
    }

    /// The bodies that it has got so far.
    pub(crate) fn bodies(&self) -> Vec<Vec<u8>> {
        self.seen().into_iter().map(|seen| seen.body).collect()
    }

    /// Waits until it has got so many requests.
    pub(crate) async fn has_seen(&self, n: usize) {
        self.told.seen.subscribe().wait_for(|seen| seen.len() >= n).await.unwrap();
    }

    /// Fails if anybody as much as connected to it.
    #[track_caller]
    pub(crate) fn assert_untouched(&self) {
        assert_eq!(*self.told.connections.borrow(), 0, "the server heard of it: {:?}", self.seen());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Told {
    fn begin(self: &Arc<Self>, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        self.connections.send_modify(|connections| *connections += 1);
        tokio::spawn(Arc::clone(self).serve(stream));
    }

    /// One request, one reply, and the end of the connection.
    async fn serve(self: Arc<Self>, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        let Some(seen) = read_request(&mut stream).await else { return };
        let reply = self.script.lock().unwrap().pop_front();
        self.seen.send_modify(|all| all.push(seen));
        let bytes = match reply {
            None => syncml::http_ok(&syncml::accepted()),
            Some(Reply::Bytes(bytes)) => bytes,
            Some(Reply::Held(held, bytes)) => {
                let _ = held.await;
                bytes
            }
            Some(Reply::Silence) => std::future::pending().await,
        };
        // The gateway may have gone away; what matters is what it says to the terminal.
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
    }
}

/// A request with a Content-Length, which every request that the gateway makes has.
async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<Seen> {
    let mut received = Vec::new();
    loop {
        if let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(received[..end].to_vec()).unwrap();
            let seen = Seen { head, body: received[end + 4..].to_vec() };
            let length: usize = seen.field("content-length").expect("a Content-Length").parse().unwrap();
            if seen.body.len() == length {
                return Some(seen);
            }
        }
        if stream.read_buf(&mut received).await.ok()? == 0 {
            return None;
        }
    }
}
