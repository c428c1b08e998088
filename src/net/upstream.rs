//! The side that connects: requests to one server over pooled connections, and its whole answers.
//!
//! The gateway speaks so to a legacy server, the agent to a gateway. HTTP/1.1 with `Content-Length`, never chunked,
//! without `Expect`, for servers that know no more. No redirect is followed.
//!
//! **No request is sent twice.** Most requests here are POSTs, which a server must not see again. hyper-util tries
//! another connection only for a request that its pool hands back because the connection was closed before a byte of
//! the request was encoded for it; that one the server has never seen. Once encoding has begun, whatever happens
//! is [`UpstreamError::Incomplete`], also when a server closes an idle connection in the very moment of its reuse.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, EXPECT, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri, Version, uri};
use http_body::Body;
use http_body_util::Full;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::body::{self, BodyError};
use super::connector::{Connector, Route};
use super::fields;
use super::tls::{self, Identity, Trust, TrustError};

/// Bytes of an answer's head, above which it counts as no HTTP.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// Where a server listens: `http://host[:port]`, `https://host[:port]` or `unix:/path`, nothing after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// HTTP over TCP.
    Http(Authority),
    /// HTTP over TLS.
    Https(Authority),
    /// HTTP over a UNIX socket, by its absolute path.
    Unix(PathBuf),
}

/// A text that is no [`Address`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not a URI at all, or without a host.
    #[error("it is not a URI with a host")]
    Malformed,
    /// A host is all that is taken: paths come with requests, credentials with nothing.
    #[error("it has more than scheme, host and port")]
    NotAnOrigin,
    /// A UNIX socket with a path that is not absolute.
    #[error("the path of a UNIX socket is not absolute")]
    RelativePath,
    /// Any other scheme, or none.
    #[error("the scheme is not http, https or unix")]
    Scheme,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = Path::new(path);
            return if path.is_absolute() { Ok(Self::Unix(path.to_owned())) } else { Err(AddressError::RelativePath) };
        }
        let uri::Parts { scheme, authority, path_and_query, .. } =
            text.parse::<Uri>().map_err(|_| AddressError::Malformed)?.into_parts();
        let scheme = scheme.ok_or(AddressError::Scheme)?;
        let authority = authority.filter(|authority| !authority.host().is_empty()).ok_or(AddressError::Malformed)?;
        if authority.as_str().contains('@') || path_and_query.is_some_and(|path| path != "/") || text.contains('#') {
            return Err(AddressError::NotAnOrigin);
        }
        match scheme.as_str() {
            "http" => Ok(Self::Http(authority)),
            "https" => Ok(Self::Https(authority)),
            _ => Err(AddressError::Scheme),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(authority) => write!(f, "http://{authority}"),
            Self::Https(authority) => write!(f, "https://{authority}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// How an [`Upstream`] treats its server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// For name look-up, connection and TLS handshake together.
    pub connect_timeout: Duration,
    /// After which an unused connection is closed. Below what servers usually grant (Apache: 5 s), so that the
    /// server is seldom the one that closes.
    pub idle_timeout: Duration,
    /// Requests at a time; further ones wait. At least one is granted.
    pub in_flight: usize,
    /// How long a request waits for one of those to end.
    pub queue_timeout: Duration,
    /// Whose certificates count, for `https`. The name in them must be that of the address.
    pub trust: Trust,
    /// What is shown to a server that asks for a certificate.
    pub identity: Option<Identity>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(4),
            in_flight: 256,
            queue_timeout: Duration::from_secs(5),
            trust: Trust::default(),
            identity: None,
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// All of [`Settings::in_flight`] were in use for [`Settings::queue_timeout`]. Nothing was sent.
    #[error("too many requests to the server are in flight")]
    Busy,
    /// What came is half an answer, none at all, or not HTTP. The server may have acted on the request.
    #[error("the server's answer is incomplete: {0}")]
    Incomplete(#[source] Box<dyn Error + Send + Sync>),
    /// No whole answer by the deadline. The server may have acted on the request.
    #[error("the server did not answer in time")]
    Timeout,
    /// The answer is over the limit. The server has acted on the request.
    #[error("the server's answer is over the limit of {limit} bytes")]
    TooLarge {
        /// The limit that it was read with.
        limit: usize,
    },
    /// No connection: its name, TCP, TLS, or the time for them. The server has seen nothing of the request.
    #[error("the server cannot be reached: {}", root(.0.as_ref()))]
    Unreachable(#[source] Box<dyn Error + Send + Sync>),
}

/// The cause at the bottom, where the system says what is wrong.
fn root<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error
}

/// Whether the server ended the TLS handshake because of who we are. With TLS 1.3 that comes only after our side of the
/// handshake is over and the request is under way; the server has seen none of it.
fn turns_us_away(error: &(dyn Error + 'static)) -> bool {
    use rustls::AlertDescription as Alert;
    let mut next = Some(error);
    while let Some(error) = next {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(rustls::Error::AlertReceived(alert)) = inner.and_then(|inner| inner.downcast_ref()) {
            return matches!(
                alert,
                Alert::AccessDenied
                    | Alert::BadCertificate
                    | Alert::CertificateExpired
                    | Alert::CertificateRequired
                    | Alert::CertificateRevoked
                    | Alert::CertificateUnknown
                    | Alert::DecryptError
                    | Alert::HandshakeFailure
                    | Alert::UnknownCA
                    | Alert::UnsupportedCertificate
            );
        }
        next = error.source();
    }
    false
}

/// A server, and the connections to it. Clones share them.
#[derive(Clone, Debug)]
pub struct Upstream {
    client: Client<Connector, Full<Bytes>>,
    scheme: Scheme,
    authority: Authority,
    slots: Arc<Semaphore>,
    queue_timeout: Duration,
}

impl Upstream {
    /// The server at `address`. Connects to nothing yet.
    ///
    /// # Errors
    /// [`TrustError`], for `https`.
    pub fn new(address: &Address, settings: Settings) -> Result<Self, TrustError> {
        let (scheme, authority, route) = match address {
            Address::Http(authority) => (Scheme::HTTP, authority.clone(), Route::Tcp(tcp())),
            Address::Https(authority) => {
                let tls = HttpsConnectorBuilder::new()
                    .with_tls_config(tls::client_config(settings.trust, settings.identity.as_ref())?)
                    .https_only()
                    .enable_http1()
                    .wrap_connector(tcp());
                (Scheme::HTTPS, authority.clone(), Route::Tls(tls))
            }
            // The pool wants an authority, and the server a Host.
            Address::Unix(path) => {
                (Scheme::HTTP, Authority::from_static("localhost"), Route::Unix(path.as_path().into()))
            }
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(settings.idle_timeout)
            .http1_max_buf_size(MAX_HEAD_BYTES)
            // Servers of the time compare field names byte by byte, as they are written in RFC 2616.
            .http1_title_case_headers(true)
            // Safe: see the head of this module.
            .retry_canceled_requests(true)
            .build(Connector { route, timeout: settings.connect_timeout });
        let slots = settings.in_flight.clamp(1, Semaphore::MAX_PERMITS);
        Ok(Self {
            client,
            scheme,
            authority,
            slots: Arc::new(Semaphore::new(slots)),
            queue_timeout: settings.queue_timeout,
        })
    }

    /// Sends `request`, whose URI is path and query, and reads the whole answer, of at most `limit` bytes.
    ///
    /// `Host` is the address's authority (of a UNIX socket `localhost`) unless the request has one. Fields of one hop
    /// are removed from both; the answer's body has no other owner, so that [`Bytes::try_into_mut`] does not copy.
    ///
    /// # Errors
    /// [`UpstreamError`]. After [`UpstreamError::Busy`] and [`UpstreamError::Unreachable`] the request was not sent.
    pub async fn send(
        &self,
        request: Request<Full<Bytes>>,
        deadline: Instant,
        limit: usize,
    ) -> Result<Response<Bytes>, UpstreamError> {
        // A queue time that no clock can hold never ends before the deadline.
        let patience = Instant::now().checked_add(self.queue_timeout).map_or(deadline, |end| end.min(deadline));
        let slot = timeout_at(patience, self.slots.acquire()).await.map_err(|_| UpstreamError::Busy)?;
        let answer = timeout_at(deadline, self.exchange(request, limit)).await;
        drop(slot);
        answer.unwrap_or(Err(UpstreamError::Timeout))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>, limit: usize) -> Result<Response<Bytes>, UpstreamError> {
        let answer = self.client.request(self.prepare(request)).await.map_err(|error| {
            if error.is_connect() || turns_us_away(&error) {
                UpstreamError::Unreachable(error.into())
            } else {
                UpstreamError::Incomplete(error.into())
            }
        })?;
        let (mut parts, body) = answer.into_parts();
        let body = body::collect(body, limit).await.map_err(|error| match error {
            BodyError::TooLarge { limit } => UpstreamError::TooLarge { limit },
            BodyError::Timeout => UpstreamError::Timeout,
            BodyError::Incomplete(error) => UpstreamError::Incomplete(error),
        })?;
        fields::strip_hop_by_hop(&mut parts.headers);
        Ok(Response::from_parts(parts, BytesMut::freeze(body)))
    }

    fn prepare(&self, mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
        let path_and_query = request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        let mut parts = uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path_and_query);
        #[expect(clippy::expect_used, reason = "all three parts are there, and each is valid by its type")]
        let uri = Uri::from_parts(parts).expect("a whole URI");
        *request.uri_mut() = uri;
        *request.version_mut() = Version::HTTP_11;
        let length = request.body().size_hint().exact().unwrap_or_default();
        let headers = request.headers_mut();
        fields::strip_hop_by_hop(headers);
        headers.remove(EXPECT);
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        request
    }
}

fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    // The connector above it has looked at the scheme.
    tcp.enforce_http(false);
    tcp
}

#[cfg(test)]
mod tests;
