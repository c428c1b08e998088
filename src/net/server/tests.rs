//! The server over real sockets, spoken to byte by byte.

use std::net::SocketAddr;

use http::StatusCode;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::*;
use crate::net::{body, fields};

const BODY_LIMIT: usize = 1000;

/// A server with its trigger, and what its service saw.
struct Running {
    address: SocketAddr,
    trigger: Trigger,
    served: JoinHandle<Drained>,
    /// One entry for each request whose service was called.
    called: mpsc::UnboundedReceiver<()>,
    /// What became of each body.
    bodies: mpsc::UnboundedReceiver<Result<usize, String>>,
    /// Lets a request for `/wait` go on.
    gate: Arc<Notify>,
}

impl Running {
    /// Echoes bodies of up to [`BODY_LIMIT`] bytes, and tells the peer's port in `x-port`.
    async fn new(limits: Limits) -> Self {
        let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (calls, called) = mpsc::unbounded_channel();
        let (reports, bodies) = mpsc::unbounded_channel();
        let gate = Arc::new(Notify::new());
        let waiting = Arc::clone(&gate);
        let service = tower::service_fn(move |request: Request<Incoming>| {
            let (calls, reports, waiting) = (calls.clone(), reports.clone(), Arc::clone(&waiting));
            async move {
                calls.send(()).unwrap();
                let port = request.extensions().get::<Peer>().unwrap().0.port();
                let (parts, body) = body::receive(request, BODY_LIMIT, Duration::from_secs(60)).await;
                reports.send(body.as_ref().map(|body| body.len()).map_err(ToString::to_string)).unwrap();
                if parts.uri.path() == "/wait" {
                    waiting.notified().await;
                }
                let mut answer = match body {
                    Ok(body) => Response::new(Full::new(body.freeze())),
                    Err(error) => fields::sentence(StatusCode::PAYLOAD_TOO_LARGE, error.to_string()),
                };
                answer.headers_mut().insert("x-port", port.into());
                Ok(answer)
            }
        });
        let trigger = Trigger::new();
        let drain = trigger.subscribe();
        let server = Server::new(limits);
        let served = tokio::spawn(async move { server.serve(listener, service, drain).await });
        Self { address, trigger, served, called, bodies, gate }
    }

    async fn connect(&self) -> Client {
        Client(TcpStream::connect(self.address).await.unwrap())
    }

    async fn drained(self) -> Drained {
        within(self.served).await.unwrap()
    }
}

/// Fails the test instead of hanging it.
async fn within<F: Future>(future: F) -> F::Output {
    timeout(Duration::from_secs(60), future).await.expect("it should have happened by now")
}

struct Client(TcpStream);

impl Client {
    async fn send(&mut self, text: impl AsRef<[u8]>) {
        self.0.write_all(text.as_ref()).await.unwrap();
    }

    /// One answer: its head, in lower case, and its body by Content-Length.
    async fn answer(&mut self) -> (String, Vec<u8>) {
        let head = self.head().await;
        let length = head.split("content-length: ").nth(1).expect(&head).split("\r\n").next().unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        within(self.0.read_exact(&mut body)).await.unwrap();
        (head, body)
    }

    async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(within(self.0.read_u8()).await.unwrap());
        }
        String::from_utf8(head).unwrap().to_ascii_lowercase()
    }

    /// Everything up to the end of the connection, however it ends.
    async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let _ = within(self.0.read_to_end(&mut rest)).await;
        rest
    }
}

fn post(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn an_answer_carries_its_length_and_a_request_its_peer() {
    let running = Running::new(Limits::default()).await;
    let mut client = running.connect().await;
    client.send(post("/", "hello")).await;
    let (head, body) = client.answer().await;
    assert!(head.starts_with("http/1.1 200 ok\r\n"), "{head}");
    assert!(head.contains("content-length: 5\r\n") && !head.contains("transfer-encoding"), "{head}");
    assert!(head.contains(&format!("x-port: {}\r\n", client.0.local_addr().unwrap().port())), "{head}");
    assert_eq!(body, b"hello");
}

#[tokio::test]
async fn field_names_are_written_as_old_clients_know_them() {
    let running = Running::new(Limits::default()).await;
    let mut client = running.connect().await;
    client.send("POST / HTTP/1.0\r\n\r\n").await;
    let answer = String::from_utf8(client.rest().await).unwrap();
    assert!(answer.contains("\r\nContent-Length: 0\r\n"), "{answer}");
}

#[tokio::test]
async fn a_client_may_write_a_byte_at_a_time() {
    let running = Running::new(Limits::default()).await;
    let mut client = running.connect().await;
    client.0.set_nodelay(true).unwrap();
    for byte in post("/", "slow").into_bytes() {
        client.send([byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(client.answer().await.1, b"slow");
}

#[tokio::test]
async fn http_1_0_gets_a_length_and_the_end() {
    let running = Running::new(Limits::default()).await;
    let mut client = running.connect().await;
    client.send("POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\nold").await;
    let answer = String::from_utf8(client.rest().await).unwrap().to_ascii_lowercase();
    assert!(answer.starts_with("http/1.0 200 ok\r\n"), "{answer}");
    assert!(answer.contains("content-length: 3\r\n") && !answer.contains("transfer-encoding"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nold"), "{answer}");
}

#[tokio::test]
async fn connections_are_kept_alive() {
    let running = Running::new(Limits::default()).await;
    for version in ["1.1", "1.0"] {
        let mut client = running.connect().await;
        for body in ["one", "two"] {
            client
                .send(format!("POST / HTTP/{version}\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\n{body}"))
                .await;
            assert_eq!(client.answer().await.1, body.as_bytes());
        }
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let running = Running::new(Limits::default()).await;
    let mut client = running.connect().await;
    client.send(post("/", "first") + &post("/", "second") + &post("/", "third")).await;
    for body in ["first", "second", "third"] {
        assert_eq!(client.answer().await.1, body.as_bytes());
    }
}

#[tokio::test]
async fn http_2_is_served_with_prior_knowledge() {
    let running = Running::new(Limits::default()).await;
    let io = TokioIo::new(TcpStream::connect(running.address).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::post("http://a/").body(Full::new(Bytes::from_static(b"frames"))).unwrap();
    let answer = within(sender.send_request(request)).await.unwrap();
    assert_eq!(answer.headers()["content-length"], "6");
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "frames");
    // The end is announced to it, and it goes.
    running.trigger.drain();
    within(connection).await.unwrap().unwrap();
    assert_eq!(running.drained().await, Drained::Clean);
}

#[tokio::test]
async fn a_head_over_the_limit_is_431() {
    let mut running = Running::new(Limits { head_bytes: 8192, ..Limits::default() }).await;
    let mut client = running.connect().await;
    client.send(format!("POST / HTTP/1.1\r\nX: {}", "x".repeat(9000))).await;
    let answer = String::from_utf8(client.rest().await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    assert!(running.called.try_recv().is_err());
}

#[tokio::test]
async fn connections_without_a_whole_head_are_closed() {
    let limits = Limits { head_timeout: Duration::from_millis(100), ..Limits::default() };
    let mut running = Running::new(limits).await;
    for start in ["", "P", "PRI * HTTP/2.0\r\n", "POST / HTTP/1.1\r\nHost: a\r\n"] {
        let mut client = running.connect().await;
        client.send(start).await;
        assert!(client.rest().await.is_empty(), "{start:?}");
    }
    // A kept-alive connection has the same time for its next head, and a drip does not lengthen it.
    let mut client = running.connect().await;
    client.send(post("/", "")).await;
    client.answer().await;
    running.called.recv().await.unwrap();
    let drip = async {
        while client.0.write_all(b"P").await.is_ok() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    within(drip).await;
    assert!(running.called.try_recv().is_err());
}

#[tokio::test]
async fn idle_connections_are_closed() {
    let limits = Limits { idle_timeout: Duration::from_millis(100), ..Limits::default() };
    let running = Running::new(limits).await;
    let mut client = running.connect().await;
    client.send(post("/", "one")).await;
    assert_eq!(client.answer().await.1, b"one");
    assert!(client.rest().await.is_empty());
}

#[tokio::test]
async fn an_exchange_is_never_idle() {
    let limits = Limits {
        idle_timeout: Duration::from_millis(20),
        head_timeout: Duration::from_millis(20),
        ..Limits::default()
    };
    let mut running = Running::new(limits).await;
    let mut client = running.connect().await;
    client.send(post("/wait", "one")).await;
    running.called.recv().await.unwrap();
    sleep(Duration::from_millis(200)).await;
    running.gate.notify_one();
    assert_eq!(client.answer().await.1, b"one");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_so_that_the_client_hears_it() {
    let running = Running::new(Limits::default()).await;
    for (size, status) in [(BODY_LIMIT, "200"), (BODY_LIMIT + 1, "413"), (3 << 20, "413")] {
        // With its length known beforehand, and not.
        let body = "x".repeat(size);
        let chunked = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{size:x}\r\n{body}\r\n0\r\n\r\n");
        for request in [post("/", &body), chunked] {
            let mut client = running.connect().await;
            // Everything is sent before anything is read, as simple clients do.
            client.send(request).await;
            let (head, _) = client.answer().await;
            assert_eq!(head.split(' ').nth(1), Some(status), "{size}: {head}");
        }
    }
}

#[tokio::test]
async fn expect_is_answered_when_the_body_is_wanted() {
    let running = Running::new(Limits::default()).await;
    let head = |length| format!("POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n");
    let mut client = running.connect().await;
    client.send(head(5)).await;
    assert_eq!(client.head().await, "http/1.1 100 continue\r\n\r\n");
    client.send("asked").await;
    assert_eq!(client.answer().await.1, b"asked");

    let mut client = running.connect().await;
    client.send(head(BODY_LIMIT + 1)).await;
    assert!(client.head().await.starts_with("http/1.1 413 "));
}

#[tokio::test]
async fn a_client_that_goes_in_the_middle_leaves_half_a_body() {
    let mut running = Running::new(Limits::default()).await;
    let mut client = running.connect().await;
    client.send("POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc").await;
    running.called.recv().await.unwrap();
    drop(client);
    let body = within(running.bodies.recv()).await.unwrap();
    assert!(body.as_ref().is_err_and(|error| error.starts_with("the body broke off")), "{body:?}");
    // Nobody else has noticed.
    let mut client = running.connect().await;
    client.send(post("/", "next")).await;
    assert_eq!(client.answer().await.1, b"next");
}

#[tokio::test]
async fn a_client_may_close_its_half_and_wait() {
    let mut running = Running::new(Limits::default()).await;
    let mut client = running.connect().await;
    client.send(post("/wait", "bye")).await;
    client.0.shutdown().await.unwrap();
    running.bodies.recv().await.unwrap().unwrap();
    running.gate.notify_one();
    assert_eq!(client.answer().await.1, b"bye");
    assert!(client.rest().await.is_empty());
}

#[tokio::test]
async fn connections_over_the_cap_wait_for_exchanges_to_end() {
    let mut running = Running::new(Limits { connections: 1, ..Limits::default() }).await;
    let mut first = running.connect().await;
    first.send(post("/wait", "first")).await;
    running.called.recv().await.unwrap();
    let mut second = running.connect().await;
    second.send(post("/", "second")).await;
    assert!(timeout(Duration::from_millis(200), second.0.readable()).await.is_err(), "it was served");
    running.gate.notify_one();
    assert_eq!(first.answer().await.1, b"first");
    assert_eq!(second.answer().await.1, b"second");
    assert!(first.rest().await.is_empty());
}

#[tokio::test]
async fn connections_without_a_request_make_room_for_others() {
    let running = Running::new(Limits { connections: 2, ..Limits::default() }).await;
    let mut idle = running.connect().await;
    idle.send(post("/", "idle")).await;
    idle.answer().await;
    let mut slow = running.connect().await;
    slow.send("POST / HT").await;
    let mut others = [running.connect().await, running.connect().await];
    for other in &mut others {
        other.send(post("/", "other")).await;
        assert_eq!(other.answer().await.1, b"other");
    }
    assert!(idle.rest().await.is_empty());
    assert!(slow.rest().await.is_empty());
}

#[tokio::test]
async fn connections_over_those_of_a_source_are_closed_at_once() {
    let running = Running::new(Limits { connections_per_source: 1, ..Limits::default() }).await;
    let mut first = running.connect().await;
    first.send(post("/", "first")).await;
    first.answer().await;
    assert!(running.connect().await.rest().await.is_empty());
    let other = tokio::net::TcpSocket::new_v4().unwrap();
    other.bind(SocketAddr::from(([127, 0, 0, 2], 0))).unwrap();
    let mut other = Client(other.connect(running.address).await.unwrap());
    other.send(post("/", "other")).await;
    assert_eq!(other.answer().await.1, b"other");
    first.send(post("/", "again")).await;
    assert_eq!(first.answer().await.1, b"again");
}

#[tokio::test]
async fn streams_of_a_connection_have_a_limit_and_are_told_of_it() {
    let running = Running::new(Limits { streams: 3, ..Limits::default() }).await;
    let io = TokioIo::new(TcpStream::connect(running.address).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let request = || Request::post("http://a/").body(Full::new(Bytes::new())).unwrap();
    let connection = tokio::spawn(async move {
        let mut connection = pin!(connection);
        let first = within(sender.send_request(request()));
        tokio::select! {
            _ = connection.as_mut() => panic!("it ended"),
            answer = first => assert_eq!(answer.unwrap().status(), StatusCode::OK),
        }
        connection.current_max_send_streams()
    });
    assert_eq!(connection.await.unwrap(), 3);
}

#[tokio::test]
async fn draining_finishes_what_is_in_flight_and_closes_the_rest() {
    let mut running = Running::new(Limits::default()).await;
    let mut fresh = running.connect().await;
    let mut idle = running.connect().await;
    idle.send(post("/", "idle")).await;
    idle.answer().await;
    running.called.recv().await.unwrap();
    let mut busy = running.connect().await;
    busy.send(post("/wait", "busy")).await;
    running.called.recv().await.unwrap();

    running.trigger.drain();
    assert!(idle.rest().await.is_empty());
    assert!(fresh.rest().await.is_empty());
    TcpStream::connect(running.address).await.unwrap_err();

    running.gate.notify_one();
    let (head, body) = busy.answer().await;
    assert!(head.contains("connection: close\r\n"), "{head}");
    assert_eq!(body, b"busy");
    assert_eq!(running.drained().await, Drained::Clean);
}

#[tokio::test]
async fn what_outlasts_the_drain_is_cut_off() {
    let mut running = Running::new(Limits { drain_timeout: Duration::from_millis(50), ..Limits::default() }).await;
    let mut client = running.connect().await;
    client.send(post("/wait", "")).await;
    running.called.recv().await.unwrap();
    running.trigger.drain();
    assert!(client.rest().await.is_empty());
    assert_eq!(running.drained().await, Drained::Forced);
}

#[tokio::test]
async fn the_end_can_be_asked_for_at_once() {
    let mut running = Running::new(Limits { drain_timeout: Duration::from_secs(100_000), ..Limits::default() }).await;
    let mut client = running.connect().await;
    client.send(post("/wait", "")).await;
    running.called.recv().await.unwrap();
    running.trigger.drain();
    running.trigger.end();
    assert!(client.rest().await.is_empty());
    assert_eq!(running.drained().await, Drained::Forced);
}

#[tokio::test]
async fn listeners_can_share_a_cap() {
    let server = Server::new(Limits { connections: 1, ..Limits::default() });
    let trigger = Trigger::new();
    let (calls, mut called) = mpsc::unbounded_channel();
    let gate = Arc::new(Notify::new());
    let mut clients = Vec::new();
    for n in 0..2 {
        let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        clients.push(Client(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap()));
        let (server, drain, calls, gate) = (server.clone(), trigger.subscribe(), calls.clone(), Arc::clone(&gate));
        let service = tower::service_fn(move |_: Request<Incoming>| {
            let (calls, gate) = (calls.clone(), Arc::clone(&gate));
            async move {
                calls.send(n).unwrap();
                gate.notified().await;
                Ok(Response::new(Full::default()))
            }
        });
        tokio::spawn(async move { server.serve(listener, service, drain).await });
    }
    for client in &mut clients {
        client.send(post("/", "")).await;
    }
    let served: usize = called.recv().await.unwrap();
    assert!(timeout(Duration::from_millis(200), called.recv()).await.is_err(), "both are served");
    gate.notify_one();
    clients[served].answer().await;
    assert_eq!(called.recv().await.unwrap(), 1 - served);
    gate.notify_one();
    clients[1 - served].answer().await;
}
