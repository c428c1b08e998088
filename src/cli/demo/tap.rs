//! A TCP relay that keeps what passes: the wire, as someone who sits on it has it.
//!
//! Reads messages of HTTP/1.1 with a Content-Length, which is what agents, gateways and the sample send.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// More header fields than any message here has.
const MAX_FIELDS: usize = 64;

/// A recording relay on loopback. Dropped, it accepts nothing more.
#[derive(Debug)]
pub(super) struct Tap {
    addr: SocketAddr,
    wire: Arc<Wire>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Wire {
    since: Instant,
    is_recording: AtomicBool,
    /// What is done to a request that is still to come.
    tampering: Mutex<Option<Tampering>>,
    connections: Mutex<Vec<Arc<Connection>>>,
}

/// A change to the request before which so many others go.
#[derive(Debug)]
struct Tampering {
    before: usize,
    change: Change,
}

/// What an attacker does to a request on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Flips the last bit.
    LastBit,
    /// Writes other bytes, as many, over the first ones like these.
    Overwrite { from: &'static str, to: &'static str },
}

impl Change {
    fn apply(self, request: &mut [u8]) {
        match self {
            Self::LastBit => request.last_mut().into_iter().for_each(|byte| *byte ^= 1),
            Self::Overwrite { from, to } => {
                let at = memmem::find(request, from.as_bytes());
                let place = at.and_then(|at| request.get_mut(at..at + to.len()));
                place.into_iter().for_each(|place| place.copy_from_slice(to.as_bytes()));
            }
        }
    }
}

#[derive(Debug, Default)]
struct Connection {
    requests: Mutex<Stream>,
    responses: Mutex<Stream>,
}

/// One direction of a connection.
#[derive(Debug, Default)]
struct Stream {
    bytes: Vec<u8>,
    messages: Vec<HttpMessage>,
    /// Where the message begins that is not complete, and when its first byte came.
    incomplete: usize,
    begun: Option<Duration>,
}

/// A message of HTTP/1.1.
#[derive(Clone, Debug)]
pub(super) struct HttpMessage {
    /// When its first byte came, since the recording began.
    pub(super) at: Duration,
    /// The request line, or the status line.
    pub(super) start_line: String,
    /// Its Content-Type, empty if there is none.
    pub(super) content_type: String,
    /// The whole message.
    pub(super) bytes: Vec<u8>,
    head_len: usize,
}

/// A request and its response.
#[derive(Clone, Debug)]
pub(super) struct HttpExchange {
    pub(super) request: HttpMessage,
    pub(super) response: HttpMessage,
}

impl Tap {
    /// A relay to `to`, on a port that the system chooses.
    pub(super) async fn before(to: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let wire = Arc::new(Wire {
            since: Instant::now(),
            is_recording: true.into(),
            tampering: Mutex::default(),
            connections: Mutex::default(),
        });
        let accepting = tokio::spawn(accept(listener, to, Arc::clone(&wire)));
        Ok(Self { addr, wire, accepting })
    }

    /// Where it listens.
    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The exchanges so far, in the order in which they began.
    pub(super) fn exchanges(&self) -> Vec<HttpExchange> {
        let mut exchanges = Vec::new();
        for connection in lock(&self.wire.connections).iter() {
            let (requests, responses) = (lock(&connection.requests), lock(&connection.responses));
            let pairs = requests.messages.iter().cloned().zip(responses.messages.iter().cloned());
            exchanges.extend(pairs.map(|(request, response)| HttpExchange { request, response }));
        }
        exchanges.sort_by_key(|exchange| exchange.request.at);
        exchanges
    }

    /// How many bytes passed so far, both ways.
    pub(super) fn len(&self) -> usize {
        self.fold(0, |len, stream| len + stream.bytes.len())
    }

    /// Whether these bytes passed, either way.
    pub(super) fn has(&self, wanted: &[u8]) -> bool {
        let finder = memmem::Finder::new(wanted);
        self.fold(false, |found, stream| found || finder.find(&stream.bytes).is_some())
    }

    /// Changes the request that comes after so many others from now. The recording keeps what was sent.
    pub(super) fn tamper(&self, before: usize, change: Change) {
        *lock(&self.wire.tampering) = Some(Tampering { before, change });
    }

    /// Goes on relaying without keeping anything.
    pub(super) fn stop_recording(&self) {
        self.wire.is_recording.store(false, Ordering::Relaxed);
    }

    fn fold<T>(&self, first: T, mut step: impl FnMut(T, &Stream) -> T) -> T {
        lock(&self.wire.connections).iter().fold(first, |value, connection| {
            let value = step(value, &lock(&connection.requests));
            step(value, &lock(&connection.responses))
        })
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Sends recorded bytes once more, as they are, and gives the answer.
pub(super) async fn replay(to: SocketAddr, bytes: &[u8]) -> io::Result<HttpMessage> {
    let mut socket = TcpStream::connect(to).await?;
    socket.write_all(bytes).await?;
    let mut stream = Stream::default();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let len = socket.read(&mut buffer).await?;
        stream.hear(buffer.get(..len).unwrap_or_default(), Duration::ZERO);
        match stream.messages.pop() {
            Some(answer) => return Ok(answer),
            None if len == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            None => {}
        }
    }
}

async fn accept(listener: TcpListener, to: SocketAddr, wire: Arc<Wire>) {
    while let Ok((near, _)) = listener.accept().await {
        // Whoever connected sees the connection closed, as it would without the relay.
        let Ok(far) = TcpStream::connect(to).await else { continue };
        let connection = Arc::new(Connection::default());
        if wire.is_recording.load(Ordering::Relaxed) {
            lock(&wire.connections).push(Arc::clone(&connection));
        }
        let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
        tokio::spawn(relay(from_near, to_far, Arc::clone(&wire), Arc::clone(&connection), |c| (&c.requests, true)));
        tokio::spawn(relay(from_far, to_near, Arc::clone(&wire), connection, |c| (&c.responses, false)));
    }
}

/// Relays one direction to its end. What has arrived at the other side is always in the recording.
async fn relay(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    wire: Arc<Wire>,
    connection: Arc<Connection>,
    direction: fn(&Connection) -> (&Mutex<Stream>, bool),
) {
    let mut buffer = vec![0; 64 << 10];
    // What goes on next: all that came, unless a request is waited for to be changed.
    let mut held = Vec::new();
    while let Ok(len @ 1..) = from.read(&mut buffer).await {
        let chunk = buffer.get(..len).unwrap_or_default();
        held.extend_from_slice(chunk);
        if wire.is_recording.load(Ordering::Relaxed) {
            let (stream, is_request) = direction(&connection);
            let complete = lock(stream).hear(chunk, wire.since.elapsed());
            if is_request && complete == 0 && lock(&wire.tampering).is_some() {
                continue;
            }
            if is_request && complete > 0 {
                // It ends with this chunk, for the next one waits for its response.
                wire.turn().into_iter().for_each(|change| change.apply(&mut held));
            }
        }
        if to.write_all(&held).await.is_err() {
            return;
        }
        held.clear();
    }
    // The other side may be gone already.
    let _ = to.shutdown().await;
}

impl Wire {
    /// Counts a request, and gives what is to be done to it.
    fn turn(&self) -> Option<Change> {
        let mut tampering = lock(&self.tampering);
        match tampering.as_mut()? {
            Tampering { before: 0, change } => {
                let change = *change;
                *tampering = None;
                Some(change)
            }
            Tampering { before, .. } => {
                *before -= 1;
                None
            }
        }
    }
}

impl Stream {
    /// Takes in what came; gives how many messages it completed.
    fn hear(&mut self, chunk: &[u8], now: Duration) -> usize {
        self.bytes.extend_from_slice(chunk);
        let known = self.messages.len();
        let begun = *self.begun.get_or_insert(now);
        while let Some(message) = HttpMessage::parse(self.bytes.get(self.incomplete..).unwrap_or_default(), begun) {
            self.incomplete += message.bytes.len();
            self.begun = None;
            self.messages.push(message);
        }
        self.messages.len() - known
    }
}

impl HttpMessage {
    /// The message at the beginning of `bytes`, once it is complete.
    fn parse(bytes: &[u8], at: Duration) -> Option<Self> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let (head, fields) = if bytes.starts_with(b"HTTP/") {
            let mut response = httparse::Response::new(&mut fields);
            (response.parse(bytes), response.headers)
        } else {
            let mut request = httparse::Request::new(&mut fields);
            (request.parse(bytes), request.headers)
        };
        let Ok(httparse::Status::Complete(head_len)) = head else { return None };
        let field = |name: &str| {
            let field = fields.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
            std::str::from_utf8(field.value).ok()
        };
        let body_len = field("content-length").map_or(Some(0), |len| len.parse::<usize>().ok())?;
        let whole = bytes.get(..head_len.checked_add(body_len)?)?;
        let start_line = whole.split(|byte| *byte == b'\r').next().unwrap_or_default();
        Some(Self {
            at,
            start_line: String::from_utf8_lossy(start_line).into_owned(),
            content_type: field("content-type").unwrap_or_default().to_owned(),
            bytes: whole.to_vec(),
            head_len,
        })
    }

    /// Its body.
    pub(super) fn body(&self) -> &[u8] {
        self.bytes.get(self.head_len..).unwrap_or_default()
    }
}

impl HttpExchange {
    /// From the first byte of the request to the first of the response.
    pub(super) fn took(&self) -> Duration {
        self.response.at.saturating_sub(self.request.at)
    }

    /// The bytes of both bodies.
    pub(super) fn body_bytes(&self) -> usize {
        self.request.body().len() + self.response.body().len()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &[u8] = b"POST /a HTTP/1.1\r\ncontent-type: text/x\r\ncontent-length: 4\r\n\r\nping";
    const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\npong";

    #[test]
    fn messages_are_read_however_they_are_cut() {
        let two = [REQUEST, REQUEST].concat();
        for cut in 0..two.len() {
            let mut stream = Stream::default();
            let (first, second) = two.split_at(cut);
            let complete = stream.hear(first, Duration::ZERO) + stream.hear(second, Duration::from_secs(1));
            assert_eq!((complete, stream.messages.len()), (2, 2), "{cut}");
            for message in &stream.messages {
                assert_eq!((message.start_line.as_str(), message.body()), ("POST /a HTTP/1.1", &b"ping"[..]));
                assert_eq!(message.content_type, "text/x");
            }
        }
    }

    #[tokio::test]
    async fn what_passes_is_kept_and_the_request_that_is_meant_is_changed() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let tap = Tap::before(listener.local_addr().unwrap()).await.unwrap();
        tap.tamper(1, Change::LastBit);
        let server = tokio::spawn(async move {
            let mut arrived = Vec::new();
            for _ in 0..4 {
                let (mut socket, _) = listener.accept().await.unwrap();
                let mut request = vec![0; REQUEST.len()];
                socket.read_exact(&mut request).await.unwrap();
                socket.write_all(RESPONSE).await.unwrap();
                arrived.push(request);
            }
            arrived
        });
        for _ in 0..3 {
            assert_eq!(replay(tap.addr(), REQUEST).await.unwrap().body(), b"pong");
        }
        // Wherever in the request, and however it is cut on its way.
        tap.tamper(0, Change::Overwrite { from: "/a", to: "/b" });
        let mut socket = TcpStream::connect(tap.addr()).await.unwrap();
        let (head, body) = REQUEST.split_at(20);
        socket.write_all(head).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        socket.write_all(body).await.unwrap();
        let mut response = vec![0; RESPONSE.len()];
        socket.read_exact(&mut response).await.unwrap();
        let arrived = server.await.unwrap();
        assert!(arrived[0] == REQUEST && arrived[2] == REQUEST);
        assert!(arrived[1].ends_with(b"pinf"));
        assert!(arrived[3].starts_with(b"POST /b HTTP/1.1") && arrived[3][7..] == REQUEST[7..]);

        assert_eq!(tap.exchanges().len(), 4);
        assert_eq!(tap.len(), 4 * (REQUEST.len() + RESPONSE.len()));
        assert!(tap.has(b"ping") && tap.has(b"pong"));
        assert!(!tap.has(b"pinf") && !tap.has(b"/b") && !tap.has(b"pingping"));
    }
}
