//! How a refusal is said (PROTOCOL section 7): in SyncML to whoever sent SyncML whose SyncHdr could be read, as problem
//! details to everybody else.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::Full;

use crate::net::fields;
use crate::seal::{Accepts, CurrentRecipients, Reason, Refusal};
use crate::syncml::Heading;

/// The media type of problem details (RFC 9457).
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Seconds after which a terminal that was turned away for load may try again.
const RETRY_SECONDS: u64 = 5;

/// An answer to a request: the server's, or a refusal in its place.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// HTTP status, 200 to 599.
    pub(super) status: u16,
    pub(super) content_type: HeaderValue,
    pub(super) fields: HeaderMap,
    pub(super) message: Bytes,
    /// Whether the SyncML session is complete with it, as far as one can see (PROTOCOL section 3.6).
    pub(super) end: bool,
}

impl Answer {
    pub(super) fn new(status: u16, content_type: HeaderValue, message: Vec<u8>) -> Self {
        Self { status, content_type, fields: HeaderMap::new(), message: message.into(), end: false }
    }
}

/// The refusal with what would be accepted instead, where that helps.
pub(super) fn refusal(reason: Reason, accepts: &Accepts, recipients: CurrentRecipients<'_>) -> Refusal {
    let mut refusal = Refusal::with_offers(reason, accepts, recipients);
    if reason == Reason::Overloaded {
        refusal.retry_after = Some(RETRY_SECONDS);
    }
    refusal
}

/// What stands for the server's answer when a message whose SyncHdr could be read is refused.
pub(super) fn in_syncml(reason: Reason, refusal: &Refusal, to: &Heading, content_type: HeaderValue) -> Answer {
    let document = to.refusal(reason.syncml_status(), &refusal.to_map(), &refusal.sentence());
    Answer::new(reason.status(), content_type, document)
}

/// What stands for the server's answer when nothing better than problem details can be said.
pub(super) fn in_problem_details(reason: Reason, refusal: &Refusal) -> Answer {
    Answer::new(reason.status(), PROBLEM_JSON, refusal.to_problem())
}

/// An HTTP response that says a refusal in SyncML: status 200, never cached.
pub(super) fn syncml_response(answer: Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(answer.message));
    response.headers_mut().insert(CONTENT_TYPE, answer.content_type);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// An HTTP response that says a refusal in problem details, with the reason's status.
pub(super) fn problem_response(reason: Reason, refusal: &Refusal) -> Response<Full<Bytes>> {
    let status = StatusCode::from_u16(reason.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = fields::problem(status, refusal.to_problem());
    if let Some(seconds) = refusal.retry_after {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

/// The refusal of a request that nobody looked at, because all places are taken.
pub(super) fn overloaded() -> Response<Full<Bytes>> {
    let refusal = Refusal { retry_after: Some(RETRY_SECONDS), ..Refusal::from(Reason::Overloaded) };
    problem_response(Reason::Overloaded, &refusal)
}
