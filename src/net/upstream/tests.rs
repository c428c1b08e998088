//! Upstreams over real sockets, played byte by byte.

use std::net::SocketAddr;
use std::sync::Mutex;

use http::StatusCode;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;

use super::*;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// What a server does with the request that it has read.
#[derive(Clone, Copy, Debug)]
enum Reply {
    /// Writes, and reads the next request.
    Write(&'static [u8]),
    /// Writes, and closes.
    WriteAndClose(&'static [u8]),
    /// Writes, and then nothing more for ever.
    WriteAndHang(&'static [u8]),
}

/// What a server has seen: every request, with the number of its connection.
type Seen = Arc<Mutex<Vec<(usize, String)>>>;

/// A server that gives these replies in turn, and then closes.
async fn server(replies: &'static [Reply]) -> (Address, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let seen = Seen::default();
    let log = Arc::clone(&seen);
    tokio::spawn(async move {
        let mut replies = replies.iter();
        for n in 0.. {
            let (io, _) = listener.accept().await.unwrap();
            play(io, n, &mut replies, &log).await;
        }
    });
    (address, seen)
}

async fn play<I>(mut io: I, n: usize, replies: &mut std::slice::Iter<'static, Reply>, seen: &Seen)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    while let Some(request) = request(&mut io).await {
        seen.lock().unwrap().push((n, request));
        match replies.next() {
            Some(Reply::Write(bytes)) => io.write_all(bytes).await.unwrap(),
            Some(Reply::WriteAndClose(bytes)) => {
                io.write_all(bytes).await.unwrap();
                return;
            }
            Some(Reply::WriteAndHang(bytes)) => {
                io.write_all(bytes).await.unwrap();
                tokio::spawn(async move { io.read_u8().await });
                return;
            }
            None => return,
        }
    }
}

/// One request as it came, by Content-Length; none at the end.
async fn request<I: AsyncRead + Unpin>(io: &mut I) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(io.read_u8().await.ok()?);
    }
    let head = String::from_utf8(bytes).unwrap();
    let length = head.split("Content-Length: ").nth(1).expect(&head).split("\r\n").next().unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    io.read_exact(&mut body).await.ok()?;
    Some(head + &String::from_utf8(body).unwrap())
}

fn upstream(address: &Address) -> Upstream {
    Upstream::new(address, Settings::default()).unwrap()
}

fn post(body: &'static str) -> Request<Full<Bytes>> {
    Request::post("/sync").body(Full::from(body)).unwrap()
}

/// Sends with time enough.
async fn send(upstream: &Upstream, body: &'static str) -> Result<Response<Bytes>, UpstreamError> {
    upstream.send(post(body), Instant::now() + Duration::from_secs(60), 1000).await
}

fn requests(seen: &Seen) -> Vec<(usize, String)> {
    let body = |request: &String| request.split("\r\n\r\n").nth(1).unwrap().to_owned();
    seen.lock().unwrap().iter().map(|(n, request)| (*n, body(request))).collect()
}

#[tokio::test]
async fn a_request_goes_out_plain_and_whole() {
    let (address, seen) = server(&[Reply::Write(OK), Reply::Write(OK)]).await;
    let upstream = upstream(&address);
    let request = Request::post("/a;b/%7Ec?d=%2e&e={f}")
        .version(Version::HTTP_2)
        .header("expect", "100-continue")
        .header("connection", "x-hop")
        .header("x-hop", "1")
        .header("te", "trailers")
        .header("transfer-encoding", "chunked")
        .header("content-length", "99")
        .header("x-syncml-hmac", "keep")
        .body(Full::from("hello"))
        .unwrap();
    let answer = upstream.send(request, Instant::now() + Duration::from_secs(60), 2).await.unwrap();
    assert_eq!((answer.status(), answer.body().as_ref()), (StatusCode::OK, &b"ok"[..]));
    let Address::Http(authority) = &address else { panic!("{address}") };
    let sent = seen.lock().unwrap()[0].1.clone();
    assert!(sent.starts_with("POST /a;b/%7Ec?d=%2e&e={f} HTTP/1.1\r\n"), "{sent}");
    let (head, body) = sent.split_once("\r\n\r\n").unwrap();
    let mut fields: Vec<&str> = head.split("\r\n").skip(1).collect();
    fields.sort_unstable();
    assert_eq!(fields, ["Content-Length: 5", &format!("Host: {authority}"), "X-Syncml-Hmac: keep"]);
    assert_eq!(body, "hello");

    let request = Request::post("/").header("host", "sync.example").body(Full::default()).unwrap();
    upstream.send(request, Instant::now() + Duration::from_secs(60), 2).await.unwrap();
    let sent = seen.lock().unwrap()[1].1.clone();
    assert!(sent.contains("\r\nHost: sync.example\r\n") && sent.contains("\r\nContent-Length: 0\r\n"), "{sent}");
}

#[tokio::test]
async fn answers_of_any_framing_are_read_whole() {
    let (address, _) = server(&[
        Reply::Write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\nX: y\r\n\r\n"),
        Reply::Write(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 500 No\r\nContent-Length: 3\r\nConnection: x\r\nX: y\r\n\r\nabc",
        ),
        Reply::WriteAndClose(b"HTTP/1.0 200 OK\r\n\r\nabc"),
    ])
    .await;
    let upstream = upstream(&address);
    for status in [200, 500, 200] {
        let answer = send(&upstream, "").await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.body().as_ref()), (status, &b"abc"[..]));
        for gone in ["connection", "transfer-encoding", "x"] {
            assert!(!answer.headers().contains_key(gone), "{gone}");
        }
        answer.into_body().try_into_mut().expect("an only owner");
    }
}

#[tokio::test]
async fn redirects_are_answers() {
    let (address, seen) =
        server(&[Reply::Write(b"HTTP/1.1 307 Away\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n")]).await;
    let answer = send(&upstream(&address), "one").await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["location"]), (307, &HeaderValue::from_static("/other")));
    assert_eq!(requests(&seen), [(0, "one".into())]);
}

#[tokio::test]
async fn connections_are_pooled() {
    let (address, seen) = server(&[Reply::Write(OK), Reply::Write(OK), Reply::Write(OK)]).await;
    let upstream = upstream(&address);
    for body in ["one", "two", "three"] {
        send(&upstream, body).await.unwrap();
    }
    assert_eq!(requests(&seen), [(0, "one".into()), (0, "two".into()), (0, "three".into())]);
}

#[tokio::test]
async fn a_connection_closed_while_idle_is_replaced() {
    let (address, seen) = server(&[Reply::WriteAndClose(OK), Reply::Write(OK)]).await;
    let upstream = upstream(&address);
    send(&upstream, "one").await.unwrap();
    // The server closes after it has written; let the end of the connection arrive.
    tokio::time::sleep(Duration::from_millis(100)).await;
    send(&upstream, "two").await.unwrap();
    assert_eq!(requests(&seen), [(0, "one".into()), (1, "two".into())]);
}

#[tokio::test]
async fn a_request_that_a_server_read_is_not_sent_again() {
    // On a connection from the pool, where hyper-util would retry if it could, and on a new one.
    let (address, seen) = server(&[Reply::Write(OK), Reply::WriteAndClose(b""), Reply::WriteAndClose(b"")]).await;
    let upstream = upstream(&address);
    send(&upstream, "pooled").await.unwrap();
    for body in ["reused", "fresh"] {
        let error = send(&upstream, body).await.unwrap_err();
        assert!(matches!(error, UpstreamError::Incomplete(_)), "{error}");
    }
    assert_eq!(requests(&seen), [(0, "pooled".into()), (0, "reused".into()), (1, "fresh".into())]);
}

#[tokio::test]
async fn half_answers_and_what_is_no_answer_are_incomplete() {
    let half: &[Reply] = &[
        Reply::WriteAndClose(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab"),
        Reply::WriteAndClose(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"),
        Reply::WriteAndClose(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        Reply::WriteAndClose(b"HTTP/1.1 200 OK\r\nContent-Le"),
        Reply::WriteAndClose(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc"),
        Reply::WriteAndClose(b"SSH-2.0-OpenSSH_9.2\r\n"),
        Reply::WriteAndClose(b"<html>"),
    ];
    let (address, seen) = server(half).await;
    let upstream = upstream(&address);
    for reply in half {
        let error = send(&upstream, "").await.unwrap_err();
        assert!(matches!(error, UpstreamError::Incomplete(_)), "{reply:?}: {error}");
    }
    assert_eq!(requests(&seen).len(), half.len());
}

#[tokio::test]
async fn a_late_answer_is_none_and_its_connection_not_used_again() {
    let (address, seen) = server(&[
        Reply::WriteAndHang(b""),
        Reply::WriteAndHang(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab"),
        Reply::Write(OK),
    ])
    .await;
    let upstream = upstream(&address);
    for body in ["silent", "stuck"] {
        let error = upstream.send(post(body), Instant::now() + Duration::from_millis(200), 1000).await.unwrap_err();
        assert!(matches!(error, UpstreamError::Timeout), "{error}");
    }
    send(&upstream, "next").await.unwrap();
    assert_eq!(requests(&seen), [(0, "silent".into()), (1, "stuck".into()), (2, "next".into())]);
}

#[tokio::test]
async fn an_answer_over_the_limit_is_too_large() {
    let (address, _) = server(&[
        Reply::Write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"),
        // The claim is enough.
        Reply::WriteAndHang(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"),
        Reply::WriteAndHang(b"HTTP/1.0 200 OK\r\n\r\nabcd"),
    ])
    .await;
    let upstream = upstream(&address);
    let send = || upstream.send(post(""), Instant::now() + Duration::from_secs(60), 3);
    assert_eq!(send().await.unwrap().body().as_ref(), b"abc");
    for _ in 0..2 {
        let error = send().await.unwrap_err();
        assert!(matches!(error, UpstreamError::TooLarge { limit: 3 }), "{error}");
    }
}

#[tokio::test]
async fn requests_over_the_cap_wait_and_are_told_so() {
    let (address, seen) = server(&[Reply::WriteAndHang(b"")]).await;
    let upstream = Upstream::new(&address, Settings { in_flight: 1, ..Settings::default() }).unwrap();
    let first = tokio::spawn({
        let upstream = upstream.clone();
        async move { send(&upstream, "first").await }
    });
    while requests(&seen).is_empty() {
        tokio::task::yield_now().await;
    }
    let error = upstream.send(post("second"), Instant::now() + Duration::from_millis(50), 0).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Busy), "{error}");
    assert_eq!(requests(&seen).len(), 1);
    first.abort();
}

#[tokio::test]
async fn where_nobody_listens_is_unreachable() {
    let closed: SocketAddr = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let error = send(&upstream(&Address::Http(closed.to_string().parse().unwrap())), "").await.unwrap_err();
    assert!(matches!(error, UpstreamError::Unreachable(_)), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");

    let nowhere = tempfile::tempdir().unwrap().path().join("socket");
    let error = send(&upstream(&Address::Unix(nowhere)), "").await.unwrap_err();
    assert!(matches!(error, UpstreamError::Unreachable(_)), "{error}");
}

#[tokio::test]
async fn unix_sockets_are_upstreams_like_others() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let seen = Seen::default();
    let log = Arc::clone(&seen);
    tokio::spawn(async move {
        let (io, _) = listener.accept().await.unwrap();
        play(io, 0, &mut [Reply::Write(OK), Reply::Write(OK)].iter(), &log).await;
    });
    let upstream = upstream(&format!("unix:{}", path.display()).parse().unwrap());
    for body in ["one", "two"] {
        assert_eq!(send(&upstream, body).await.unwrap().body().as_ref(), b"ok");
    }
    assert_eq!(requests(&seen), [(0, "one".into()), (0, "two".into())]);
    assert!(seen.lock().unwrap()[0].1.contains("\r\nHost: localhost\r\n"));
}

/// A TLS server for `localhost`, and its certificate in PEM.
async fn tls_server() -> (Address, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("https://localhost:{}", listener.local_addr().unwrap().port()).parse().unwrap();
    tokio::spawn(async move {
        loop {
            let (io, _) = listener.accept().await.unwrap();
            if let Ok(io) = acceptor.accept(io).await {
                play(io, 0, &mut [Reply::Write(OK), Reply::Write(OK)].iter(), &Seen::default()).await;
            }
        }
    });
    (address, made.cert.pem())
}

fn trusting(address: &Address, pem: &str) -> Upstream {
    let settings = Settings { trust: Trust::from_pem(pem.as_bytes()).unwrap(), ..Settings::default() };
    Upstream::new(address, settings).unwrap()
}

#[tokio::test]
async fn https_needs_a_certificate_of_a_trusted_root() {
    let (address, pem) = tls_server().await;
    let upstream = trusting(&address, &pem);
    for _ in 0..2 {
        assert_eq!(send(&upstream, "").await.unwrap().body().as_ref(), b"ok");
    }
    drop(upstream);

    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
    let error = send(&trusting(&address, &other), "").await.unwrap_err();
    assert!(matches!(error, UpstreamError::Unreachable(_)), "{error}");
    assert!(error.to_string().contains("certificate"), "{error}");

    // Right root, wrong name.
    let Address::Https(authority) = &address else { panic!("{address}") };
    let by_number = format!("https://127.0.0.1:{}", authority.port_u16().unwrap()).parse().unwrap();
    let error = send(&trusting(&by_number, &pem), "").await.unwrap_err();
    assert!(matches!(error, UpstreamError::Unreachable(_)), "{error}");
}

#[tokio::test]
async fn a_server_that_does_not_finish_tls_is_unreachable() {
    // One says nothing, the other speaks plain HTTP.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_at = silent.local_addr().unwrap();
    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let plain_at = plain.local_addr().unwrap();
    tokio::spawn(async move { plain.accept().await.unwrap().0.write_all(OK).await });
    let pem = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
    for address in [silent_at, plain_at] {
        let settings = Settings {
            connect_timeout: Duration::from_millis(300),
            trust: Trust::from_pem(pem.as_bytes()).unwrap(),
            ..Settings::default()
        };
        let upstream = Upstream::new(&format!("https://{address}").parse().unwrap(), settings).unwrap();
        let error = send(&upstream, "").await.unwrap_err();
        assert!(matches!(error, UpstreamError::Unreachable(_)), "{error}");
    }
    drop(silent);
}

#[test]
fn trust_is_not_made_of_nothing() {
    assert!(matches!(Trust::from_pem(b""), Err(TrustError::Empty)));
    assert!(matches!(Trust::from_pem(b"-----BEGIN CERTIFICATE-----\nAAAA\n"), Err(TrustError::Pem(_))));
    let no_certificate = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(Trust::from_pem(no_certificate), Err(TrustError::Certificate(_))));
}

#[test]
fn an_address_is_scheme_host_and_port() {
    for text in ["http://a", "http://a:8080", "https://[::1]:1", "unix:/run/a b"] {
        assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
    }
    assert_eq!("http://a/".parse::<Address>().unwrap().to_string(), "http://a");
    for (text, error) in [
        ("", AddressError::Malformed),
        ("/a", AddressError::Scheme),
        ("a:80", AddressError::Scheme),
        ("ftp://a", AddressError::Scheme),
        ("http://", AddressError::Malformed),
        ("http://:80", AddressError::Malformed),
        ("http://a b", AddressError::Malformed),
        ("http://a/b", AddressError::NotAnOrigin),
        ("http://a?b", AddressError::NotAnOrigin),
        ("http://a/#b", AddressError::NotAnOrigin),
        ("http://u:p@a", AddressError::NotAnOrigin),
        ("unix:a", AddressError::RelativePath),
        ("unix:", AddressError::RelativePath),
    ] {
        assert_eq!(text.parse::<Address>(), Err(error), "{text:?}");
    }
}
