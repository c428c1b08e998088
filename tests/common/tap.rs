//! A recording TCP relay.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{RwLock, watch};
use tokio::task::JoinHandle;

/// A relay on loopback that keeps every byte of every connection. It accepts at once, and relays as soon as it has been
/// told where to, so that its address can stand in the configuration of what runs behind it.
#[derive(Debug)]
pub struct Tap {
    addr: SocketAddr,
    to: watch::Sender<Option<SocketAddr>>,
    recordings: Arc<Mutex<Vec<Arc<Mutex<Recording>>>>>,
    accepting: JoinHandle<()>,
}

/// What went over one connection.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// From the one that connected.
    pub requests: Vec<u8>,
    /// To it.
    pub responses: Vec<u8>,
}

/// One HTTP/1 message of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpMessage {
    /// The request target; empty for a response.
    pub target: String,
    /// The status; 0 for a request.
    pub status: u16,
    /// Header fields, with names as written.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Tap {
    /// A relay on a free port.
    pub async fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (to, told) = watch::channel(None);
        let recordings = Arc::new(Mutex::new(Vec::new()));
        let accepting = tokio::spawn(accept(listener, told, Arc::clone(&recordings)));
        Self { addr, to, recordings, accepting }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Relays to `to`.
    pub fn relay_to(&self, to: SocketAddr) {
        self.to.send_replace(Some(to));
    }

    /// What went over each connection so far, in the order in which they were made.
    pub fn recordings(&self) -> Vec<Recording> {
        self.recordings.lock().unwrap().iter().map(|recording| recording.lock().unwrap().clone()).collect()
    }

    /// The requests so far, of one connection after the other.
    pub fn requests(&self) -> Vec<HttpMessage> {
        self.recordings().iter().flat_map(|recording| http_messages(&recording.requests)).collect()
    }

    /// The responses so far, of one connection after the other.
    pub fn responses(&self) -> Vec<HttpMessage> {
        self.recordings().iter().flat_map(|recording| http_messages(&recording.responses)).collect()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(
    listener: TcpListener,
    mut to: watch::Receiver<Option<SocketAddr>>,
    recordings: Arc<Mutex<Vec<Arc<Mutex<Recording>>>>>,
) {
    while let Ok((downstream, _)) = listener.accept().await {
        let Ok(Some(to)) = to.wait_for(Option::is_some).await.map(|to| *to) else { return };
        let recording = Arc::new(Mutex::new(Recording::default()));
        recordings.lock().unwrap().push(Arc::clone(&recording));
        // A refused connection is passed on as a closed one.
        let Ok(upstream) = TcpStream::connect(to).await else { continue };
        let (from_downstream, to_downstream) = downstream.into_split();
        let (from_upstream, to_upstream) = upstream.into_split();
        let kept = Arc::clone(&recording);
        tokio::spawn(async move {
            relay(from_downstream, to_upstream, &kept, |kept| &mut kept.requests, &RwLock::default()).await;
        });
        tokio::spawn(async move {
            relay(from_upstream, to_downstream, &recording, |kept| &mut kept.responses, &RwLock::default()).await;
        });
    }
}

/// Copies until the end of one direction, recording first, so that what has arrived is always in the recording. Nothing
/// passes, nor is it recorded, while somebody holds `gate`.
pub(super) async fn relay(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    recording: &Mutex<Recording>,
    kept: fn(&mut Recording) -> &mut Vec<u8>,
    gate: &RwLock<()>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let _passing = gate.read().await;
        kept(&mut recording.lock().unwrap()).extend_from_slice(&buffer[..length]);
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

/// Reads one direction of a recording: messages with a Content-Length each.
pub fn http_messages(bytes: &[u8]) -> Vec<HttpMessage> {
    let (messages, rest) = whole_http_messages(bytes);
    assert!(rest.is_empty(), "a message that is not whole: {}", rest.escape_ascii());
    messages
}

/// Reads one direction of a recording that may end in the midst of a message, of which it gives what there is.
pub fn whole_http_messages(mut bytes: &[u8]) -> (Vec<HttpMessage>, &[u8]) {
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let (head, target, status, headers) = if bytes.starts_with(b"HTTP/") {
            let mut response = httparse::Response::new(&mut fields);
            let httparse::Status::Complete(head) = response.parse(bytes).unwrap() else { break };
            (head, "", response.code.unwrap(), response.headers)
        } else {
            let mut request = httparse::Request::new(&mut fields);
            let httparse::Status::Complete(head) = request.parse(bytes).unwrap() else { break };
            (head, request.path.unwrap(), 0, request.headers)
        };
        let length = headers
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case("content-length"))
            .map(|field| str::from_utf8(field.value).unwrap().parse::<usize>().unwrap())
            .expect("a Content-Length");
        let Some((body, rest)) = bytes[head..].split_at_checked(length) else { break };
        messages.push(HttpMessage {
            target: target.to_owned(),
            status,
            headers: headers.iter().map(|field| (field.name.to_owned(), field.value.to_owned())).collect(),
            body: body.to_owned(),
        });
        bytes = rest;
    }
    (messages, bytes)
}
