//! The client before both proxies of a comparison: sends messages one after the other on kept-alive connections, and
//! takes answers of the same size.
//!
//!     bench-load tls    --url https://127.0.0.1:PORT/ --trust CERTIFICATE --size BYTES --exchanges N
//!     bench-load sealed --url http://127.0.0.1:PORT/  --key PUBLIC_KEY    --size BYTES --exchanges N
//!     bench-load open   --url http://127.0.0.1:PORT/  --key PUBLIC_KEY    --sessions N
//!
//! The last only opens sealed sessions, for measuring what they take up.
//!
//! Either protects with AES-256-GCM, under keys from an X25519 exchange.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use clap::{Args, Parser};
use http::{Method, Request, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};
use syncseal::crypto::{Algorithm, NamedGroup, RsaPublicKey, SystemRandom, default_provider};
use syncseal::seal::{
    self, Extras, Fields, HandshakePlaintext, InitParameters, InitRequest, Layer, Number, SessionKeys,
};

mod document;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;
type HttpClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

const SEAL: &str = "application/cose; cose-type=\"cose-encrypt0\"";
const TARGET: &str = "/sync";

#[derive(Clone, Debug, Parser)]
enum Mode {
    /// Through a proxy that terminates TLS 1.3.
    Tls {
        /// The proxy's certificate.
        #[arg(long)]
        trust: PathBuf,
        #[command(flatten)]
        load: Load,
    },
    /// Through a gateway, in the message layer.
    Sealed {
        /// The gateway's public key.
        #[arg(long)]
        key: PathBuf,
        #[command(flatten)]
        load: Load,
    },
    /// Opens sealed sessions, and sends nothing in them.
    Open {
        /// The gateway's public key.
        #[arg(long)]
        key: PathBuf,
        /// Where the gateway listens.
        #[arg(long)]
        url: String,
        /// How many sessions.
        #[arg(long)]
        sessions: u64,
    },
}

#[derive(Clone, Debug, Args)]
struct Load {
    /// Where the proxy listens.
    #[arg(long)]
    url: String,
    /// How long each message is, and each answer, in bytes.
    #[arg(long)]
    size: usize,
    /// How many exchanges there are in all.
    #[arg(long)]
    exchanges: u64,
    /// On how many connections.
    #[arg(long, default_value_t = 2)]
    connections: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let mode = Mode::parse();
    let load = match &mode {
        Mode::Tls { load, .. } | Mode::Sealed { load, .. } => load,
        Mode::Open { key, url, sessions } => return open(key, url, *sessions).await,
    };
    let began = Instant::now();
    let tasks: Vec<_> = (0..load.connections).map(|nth| tokio::spawn(connection(mode.clone(), nth))).collect();
    for task in tasks {
        task.await??;
    }
    let seconds = began.elapsed().as_secs_f64();
    println!("{} exchanges in {seconds:.2} s, {:.0} a second", load.exchanges, load.exchanges as f64 / seconds);
    Ok(())
}

async fn open(key: &Path, url: &str, sessions: u64) -> Result<()> {
    let client = client(RootCertStore::empty())?;
    let recipient = RsaPublicKey::from_pem(&std::fs::read_to_string(key)?)?;
    for _ in 0..sessions {
        handshake(&client, url, &recipient).await?;
    }
    Ok(())
}

/// The share of the `nth` connection.
async fn connection(mode: Mode, nth: u64) -> Result<()> {
    let session_id = format!("{}{nth}", std::process::id());
    match mode {
        Mode::Tls { trust, load } => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(trust)?)?;
            let client = client(roots)?;
            for message in messages(&load, nth, &session_id) {
                let answer = post(&client, &load.url, document::MEDIA_TYPE, message.into()).await?;
                check(&load, answer.len())?;
            }
        }
        Mode::Sealed { key, load } => {
            let client = client(RootCertStore::empty())?;
            let recipient = RsaPublicKey::from_pem(&std::fs::read_to_string(key)?)?;
            let keys = handshake(&client, &load.url, &recipient).await?;
            let extras = Extras::default();
            let mut number = Number::ZERO;
            for message in messages(&load, nth, &session_id) {
                number = number.next().ok_or("no number left")?;
                let request = seal::Request {
                    content_type: document::MEDIA_TYPE,
                    target: TARGET,
                    fields: Fields::default(),
                    body: &message,
                };
                let sealed = keys.seal_request(number, &request.plaintext());
                let answer = post(&client, &load.url, SEAL, sealed).await?;
                let opened = keys.open(seal::decode_response(Layer::Message, answer)?).map_err(|_| "does not open")?;
                let response = seal::Response::decode(&opened, &extras)?;
                check(&load, response.body.len())?;
            }
        }
        // It has no connections of its own.
        Mode::Open { .. } => {}
    }
    Ok(())
}

fn messages(load: &Load, nth: u64, session_id: &str) -> impl Iterator<Item = Vec<u8>> {
    let exchanges = load.exchanges / load.connections + u64::from(nth < load.exchanges % load.connections);
    (1..=exchanges).map(|msg_id| document::document(session_id, msg_id, TARGET, session_id, load.size))
}

fn check(load: &Load, length: usize) -> Result<()> {
    if length.abs_diff(load.size) > 100 { Err(format!("an answer of {length} bytes").into()) } else { Ok(()) }
}

async fn handshake(client: &HttpClient, url: &str, recipient: &RsaPublicKey) -> Result<SessionKeys> {
    let provider = default_provider();
    let parameters = InitParameters {
        layer: Layer::Message,
        alg: Algorithm::A256Gcm,
        recipient: recipient.into(),
        group: Some(NamedGroup::X25519),
        require_exchange: true,
        issued: None,
    };
    let (sealed, pending) =
        InitRequest::new(provider, &SystemRandom, &parameters)?.seal(&HandshakePlaintext.plaintext());
    let answer = post(client, url, SEAL, sealed).await?;
    Ok(pending.handle_response(provider, answer)?.keys)
}

async fn post(client: &HttpClient, url: &str, content_type: &str, body: Bytes) -> Result<BytesMut> {
    let request =
        Request::builder().method(Method::POST).uri(url).header(CONTENT_TYPE, content_type).body(Full::new(body))?;
    let (head, body) = client.request(request).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    if head.status != StatusCode::OK {
        return Err(format!("{}: {}", head.status, String::from_utf8_lossy(&body)).into());
    }
    Ok(body.into())
}

/// A client with one connection, which it keeps.
fn client(roots: RootCertStore) -> Result<HttpClient> {
    let mut provider = ring::default_provider();
    provider.cipher_suites = vec![ring::cipher_suite::TLS13_AES_256_GCM_SHA384];
    provider.kx_groups = vec![ring::kx_group::X25519];
    let tls = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(connector);
    Ok(Client::builder(TokioExecutor::new()).pool_max_idle_per_host(1).build(connector))
}
