//! The way to the gateway: sealed bytes there, a seal back, and the same bytes again when nothing usable came.
//!
//! Nothing that arrives here is authentic. What looks like a seal is given to the caller to open; a refusal that is not
//! sealed can be reported, and no more.

use bytes::Bytes;
use http::header::CACHE_CONTROL;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::Full;
use tokio::time::{Instant, sleep};
use tracing::debug;

use super::layer::{Outgoing, Reply};
use super::message;
use crate::net::fields;
use crate::net::tls::TrustError;
use crate::net::upstream::{self, Address, AddressError, Upstream, UpstreamError};
use crate::policy::{AgentPolicy, Retransmit};
use crate::seal::{Layer, Reason, Refusal, RefusalReason};
use crate::syncml::{Document, Form, Limits};

/// The media type of problem details (RFC 9457).
const PROBLEM_JSON: &str = "application/problem+json";

/// The gateway, at the URL whose path chooses its route.
#[derive(Debug)]
pub(super) struct Link {
    upstream: Upstream,
    uri: Uri,
    retransmit: Retransmit,
    /// Bytes of a sealed answer, above which it is not read.
    limit: usize,
}

/// Why no seal came back.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoSeal {
    /// A refusal that is not sealed.
    #[error("it was refused: {}", .0.reason)]
    Refused(Box<Refusal>),
    /// No whole answer.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// An answer of another kind.
    #[error("the answer is neither a seal nor a refusal, HTTP status {}", .status.as_u16())]
    Foreign {
        /// Its HTTP status.
        status: StatusCode,
    },
}

impl NoSeal {
    /// Whether the same bytes may fare better a moment later.
    fn is_passing(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.reason == RefusalReason::Known(Reason::Overloaded),
            Self::Upstream(UpstreamError::Incomplete(_) | UpstreamError::Timeout | UpstreamError::Unreachable(_)) => {
                true
            }
            // All places have been taken for as long as an answer may take.
            Self::Upstream(UpstreamError::Busy) => false,
            // It will be as long again.
            Self::Upstream(UpstreamError::TooLarge { .. }) => false,
            // A proxy on the way that has lost sight of the gateway says so; one that does not know it never will.
            Self::Foreign { status } => status.is_server_error(),
        }
    }
}

/// Why there can be no connections to the gateway.
#[derive(Debug, thiserror::Error)]
pub enum GatewaySetupError {
    /// Its address is none that HTTP can use.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// Its path is none that HTTP can use.
    #[error(transparent)]
    Path(#[from] http::uri::InvalidUri),
    /// Something is missing for TLS.
    #[error(transparent)]
    Trust(#[from] TrustError),
}

impl Link {
    /// The way that the policy describes. Connects to nothing yet.
    pub(super) fn new(policy: &AgentPolicy) -> Result<Self, GatewaySetupError> {
        let settings = upstream::Settings {
            connect_timeout: policy.connect_timeout,
            in_flight: policy.max_connections,
            queue_timeout: policy.retransmit.timeout,
            ..upstream::Settings::default()
        };
        let address: Address = policy.gateway.origin.to_string().parse()?;
        Ok(Self {
            upstream: Upstream::new(&address, settings)?,
            uri: policy.gateway.path.parse::<PathAndQuery>()?.into(),
            retransmit: policy.retransmit.clone(),
            // As a gateway reads requests (PROTOCOL section 8.1, step 1).
            limit: policy.message_limit.saturating_add(policy.message_limit / 2).saturating_add(8192),
        })
    }

    /// Sends `sealed` until there is an answer or the policy's attempts are used up, and gives the answer if it looks
    /// like a seal. Its buffer has no other owner.
    pub(super) async fn ask(&self, outgoing: &Outgoing, sealed: &Bytes, policy: &AgentPolicy) -> Result<Reply, NoSeal> {
        let mut left = self.retransmit.attempts;
        loop {
            let answer = self.ask_once(outgoing, sealed.clone(), policy).await;
            match answer {
                Err(error) if left > 0 && error.is_passing() => {
                    debug!(%error, left, "sending the same bytes again");
                    left -= 1;
                    sleep(self.retransmit.pause).await;
                }
                answer => return answer,
            }
        }
    }

    async fn ask_once(&self, outgoing: &Outgoing, sealed: Bytes, policy: &AgentPolicy) -> Result<Reply, NoSeal> {
        let mut request = Request::new(Full::new(sealed));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = outgoing.target.clone().map_or_else(|| self.uri.clone(), Uri::from);
        *request.headers_mut() = outgoing.headers.clone();
        let headers = request.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let deadline = Instant::now() + self.retransmit.timeout;
        let answer = self.upstream.send(request, deadline, self.limit).await?;
        read(answer, policy)
    }
}

/// Tells a seal, a refusal and anything else apart by status and content type.
fn read(answer: Response<Bytes>, policy: &AgentPolicy) -> Result<Reply, NoSeal> {
    let status = answer.status();
    let foreign = NoSeal::Foreign { status };
    let Some(content_type) = fields::content_type(answer.headers()) else { return Err(foreign) };
    if fields::is_content_coded(answer.headers()) {
        return Err(foreign);
    }
    if status == StatusCode::OK && policy.layer == Layer::Message && fields::is_cose_encrypt0(content_type) {
        return Ok(Reply::Seal(answer.into_body().into()));
    }
    let form = content_type.to_str().ok().and_then(|content_type| message::form(content_type, policy));
    if let (StatusCode::OK, Layer::Data, Some(form)) = (status, policy.layer, form) {
        let content_type = content_type.clone();
        return read_document(form, content_type, answer.into_body()).ok_or(foreign)?;
    }
    let is_error = status.is_client_error() || status.is_server_error();
    if is_error && fields::essence(content_type).as_deref() == Some(PROBLEM_JSON) {
        return Err(Refusal::from_problem(answer.body()).map_or(foreign, |refusal| NoSeal::Refused(refusal.into())));
    }
    Err(foreign)
}

/// Tells a sealed document and a refusal apart; `None` if it is neither.
fn read_document(form: Form, content_type: HeaderValue, body: Bytes) -> Option<Result<Reply, NoSeal>> {
    memchr::memmem::find(&body, b"syncseal")?;
    if memchr::memmem::find(&body, b"syncseal?:").is_some() {
        let document = Document::scan(form, &body, &Limits::default()).ok()?;
        if document.header.seal_marks == 0 {
            let refusal = Refusal::from_map(&document.refusal_map()?).ok()?;
            return Some(Err(NoSeal::Refused(refusal.into())));
        }
    }
    Some(Ok(Reply::Document { form, content_type, body: body.into() }))
}
