//! A whole exchange over loopback: a terminal's sealed request through a gateway to a server and back, beside the same
//! request sent to the server directly.

#![allow(clippy::expect_used, reason = "a bench that cannot go on says so by panicking")]
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use syncseal::crypto::{Algorithm, RsaPrivateKey, SystemRandom, default_provider};
use syncseal::gateway::{Gateway, Surroundings};
use syncseal::net::drain::Trigger;
use syncseal::net::server::{Limits, Listener, Server};
use syncseal::net::upstream::{Settings, Upstream};
use syncseal::policy::{Environment, GatewayPolicy};
use syncseal::seal::{self, Fields, HandshakePlaintext, InitParameters, InitRequest, Layer, Number, SessionKeys};
use tokio::runtime::Runtime;
use tokio::time::Instant;

mod document;

const SIZES: [(&str, usize); 3] = [("4kB", 4 << 10), ("64kB", 64 << 10), ("1MB", 1 << 20)];

async fn echo(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.expect("a body").to_bytes();
    let mut response = Response::new(Full::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(document::MEDIA_TYPE));
    Ok(response)
}

async fn send(to: &Upstream, content_type: &'static str, body: Bytes) -> Bytes {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = "/sync".parse().expect("a target");
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    let answer = to.send(request, Instant::now() + Duration::from_secs(10), 4 << 20).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    answer.into_body()
}

/// A terminal with a sealed session.
struct Terminal {
    keys: SessionKeys,
    number: Number,
}

impl Terminal {
    async fn begin(gateway: &Upstream, key: &RsaPrivateKey) -> Self {
        let parameters = InitParameters {
            layer: Layer::Message,
            alg: Algorithm::A256Gcm,
            recipient: key.public().into(),
            group: default_provider().groups().first().copied(),
            require_exchange: true,
            issued: None,
        };
        let empty = HandshakePlaintext::decode(&[0xa0]).expect("the empty map").plaintext();
        let init = InitRequest::new(default_provider(), &SystemRandom, &parameters).expect("an init request");
        let (sealed, pending) = init.seal(&empty);
        let response = send(gateway, seal::CONTENT_TYPE, sealed).await;
        let response = BytesMut::from(&*response);
        let keys = pending.handle_response(default_provider(), response).expect("an init response").keys;
        Self { keys, number: Number::ZERO }
    }

    async fn exchange(&mut self, gateway: &Upstream, body: &[u8]) {
        self.number = self.number.next().expect("a number");
        let request =
            seal::Request { content_type: document::MEDIA_TYPE, target: "/sync", fields: Fields::default(), body };
        let sealed = self.keys.seal_request(self.number, &request.plaintext());
        let response = send(gateway, seal::CONTENT_TYPE, sealed).await;
        let response = BytesMut::from(response);
        let response = seal::decode_response(Layer::Message, response).expect("a response");
        let plaintext = self.keys.open(response).expect("it opens");
        assert!(plaintext.len() > body.len());
    }
}

/// A server that echoes, and a gateway in front of it.
async fn serve(trigger: &Trigger, policy_dir: &tempfile::TempDir) -> (Upstream, Upstream) {
    let bind = async || Listener::bind((Ipv4Addr::LOCALHOST, 0).into()).await.expect("a port");
    let server = bind().await;
    let server_url = format!("http://{}", server.local_addr().expect("an address"));
    tokio::spawn({
        let drain = trigger.subscribe();
        async move { Server::new(Limits::default()).serve(server, tower::service_fn(echo), drain).await }
    });
    let text = format!(
        "version = 1\n[gateway]\nkeys = [\"gateway.pem\"]\n[sessions]\nmessages = 10000000\n\
         [[route]]\npath = \"/sync\"\nupstream = \"{server_url}\"\ndangerous = {{ bind_sessions = false }}\n"
    );
    let policy = GatewayPolicy::parse(&policy_dir.path().join("gateway.toml"), &text, &Environment::default());
    let gateway = Gateway::in_memory(&policy.expect("a policy"), Surroundings::default()).expect("a gateway");
    let listener = bind().await;
    let gateway_url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(gateway.serve(listener, trigger.subscribe()));
    let connect =
        |url: String| Upstream::new(&url.parse().expect("an address"), Settings::default()).expect("a client");
    (connect(server_url), connect(gateway_url))
}

fn exchanges(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let key = RsaPrivateKey::generate(2048, &SystemRandom).expect("a key");
    let directory = tempfile::tempdir().expect("a directory");
    write_key(&directory.path().join("gateway.pem"), &key);
    let trigger = Trigger::new();
    let (server, gateway) = runtime.block_on(serve(&trigger, &directory));
    let mut terminal = runtime.block_on(Terminal::begin(&gateway, &key));
    for (label, size) in SIZES {
        let body = document::document("1", 1, "/sync", "bench", size);
        let mut group = criterion.benchmark_group(format!("exchange/{label} each way"));
        group.throughput(Throughput::Elements(1));
        group.bench_function("server alone", |bencher| {
            let body = Bytes::from(body.clone());
            bencher.iter(|| runtime.block_on(send(&server, document::MEDIA_TYPE, body.clone())));
        });
        group.bench_function("terminal, gateway, server", |bencher| {
            bencher.iter(|| runtime.block_on(terminal.exchange(&gateway, &body)));
        });
        group.finish();
    }
    trigger.end();
}

fn write_key(path: &std::path::Path, key: &RsaPrivateKey) {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(key.to_pem().as_bytes())).expect("a key file");
}

criterion_group!(benches, exchanges);
criterion_main!(benches);
