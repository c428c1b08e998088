//! A server that echoes, a gateway in front of it, and a terminal: for benches of whole exchanges.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use syncseal::crypto::{Algorithm, RsaPrivateKey, SystemRandom, default_provider};
use syncseal::gateway::Gateway;
use syncseal::net::drain::Trigger;
use syncseal::net::server::{Limits, Listener, Server};
use syncseal::net::upstream::{Settings, Upstream};
use syncseal::policy::{Environment, GatewayPolicy};
use syncseal::seal::{self, Fields, HandshakePlaintext, InitParameters, InitRequest, Layer, Number, SessionKeys};
use syncseal::session::SessionStore;
use tokio::time::Instant;

use crate::document;

async fn echo(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.expect("a body").to_bytes();
    let mut response = Response::new(Full::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(document::MEDIA_TYPE));
    Ok(response)
}

/// POSTs to `/sync`.
pub(crate) async fn send(to: &Upstream, content_type: &'static str, body: Bytes) -> Bytes {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = "/sync".parse().expect("a target");
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    let answer = to.send(request, Instant::now() + Duration::from_secs(10), 4 << 20).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    answer.into_body()
}

/// A terminal with a sealed session.
pub(crate) struct Terminal {
    keys: SessionKeys,
    number: Number,
}

impl Terminal {
    /// Makes a handshake.
    pub(crate) async fn begin(gateway: &Upstream, key: &RsaPrivateKey) -> Self {
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

    /// Sends a message under the next number, and opens the answer.
    pub(crate) async fn exchange(&mut self, gateway: &Upstream, body: &[u8]) {
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

/// A port of loopback.
async fn bind() -> Listener {
    Listener::bind((Ipv4Addr::LOCALHOST, 0).into()).await.expect("a port")
}

fn client(of: &Listener) -> Upstream {
    let url = format!("http://{}", of.local_addr().expect("an address"));
    Upstream::new(&url.parse().expect("an address"), Settings::default()).expect("a client")
}

/// Starts the server; gives its URL, and a client of it.
pub(crate) async fn server(trigger: &Trigger) -> (String, Upstream) {
    let listener = bind().await;
    let (url, client) = (format!("http://{}", listener.local_addr().expect("an address")), client(&listener));
    let drain = trigger.subscribe();
    tokio::spawn(async move { Server::new(Limits::default()).serve(listener, tower::service_fn(echo), drain).await });
    (url, client)
}

/// The policy of a gateway in front of `server`, with these lines in `[sessions]` and the route.
pub(crate) fn policy(dir: &Path, server: &str, sessions: &str, route: &str) -> GatewayPolicy {
    let text = format!(
        "version = 1\n[gateway]\nkeys = [\"gateway.pem\"]\n[sessions]\nrequests = 10000000\n{sessions}\n\
         [[route]]\npath = \"/sync\"\nupstream = \"{server}\"\n{route}\n"
    );
    GatewayPolicy::parse(&dir.join("gateway.toml"), &text, &Environment::default()).expect("a policy")
}

/// Serves a gateway, and gives a client of it.
pub(crate) async fn serve<S>(gateway: Gateway<S>, trigger: &Trigger) -> Upstream
where
    S: SessionStore<Keys = SessionKeys>,
{
    let listener = bind().await;
    let client = client(&listener);
    tokio::spawn(gateway.serve(listener, trigger.subscribe()));
    client
}

/// Makes a gateway's key, `gateway.pem`.
pub(crate) fn write_key(dir: &Path) -> RsaPrivateKey {
    let key = RsaPrivateKey::generate(2048, &SystemRandom).expect("a key");
    write_secret(&dir.join("gateway.pem"), &key.to_pem());
    key
}

/// Writes what only its owner may read.
pub(crate) fn write_secret(path: &Path, text: &str) {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).expect("a file");
}
