//! An opened response becomes the client's: the server's status, header fields and body, with nothing changed but a
//! RespURI that names the gateway (PROTOCOL section 8.3).

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;

use super::layer::Plain;
use super::message::{self, Message};
use super::refuse::Trouble;
use crate::policy::AgentPolicy;
use crate::seal::resp_uri::{self, Origin, RespUri};
use crate::seal::{self, Extras, Fields, Malformed, Reason, Refusal, RefusalReason};
use crate::syncml::{Document, Limits};

/// What an opened plaintext says.
pub(super) struct Opened {
    /// What the client gets for it.
    pub(super) response: Result<Response<Full<Bytes>>, Trouble>,
    /// Whether its HTTP status is 2xx.
    pub(super) success: bool,
    /// Why the gateway refused the request, if it did.
    pub(super) refusal: Option<Reason>,
}

impl Opened {
    /// Reads an opened plaintext; `public` is the agent's own address, to which the gateway's names in it are changed.
    pub(super) fn read(
        plain: &Plain,
        message: &Message,
        policy: &AgentPolicy,
        extras: &Extras,
        public: &Origin,
    ) -> Self {
        let (opened, plaintext) = match plain {
            Plain::Message(plaintext) => (seal::Response::decode(plaintext, extras), plaintext),
            Plain::Document(content_type, document) => (as_response(content_type, document), document),
        };
        match opened {
            Ok(opened) => {
                let success = (200..300).contains(&opened.status);
                let may_refuse = !success || memchr::memmem::find(opened.body, b"syncseal?:").is_some();
                let refusal = if may_refuse { refusal(&opened, policy) } else { None };
                Self { response: pass_on(&opened, plaintext, message, policy, public), success, refusal }
            }
            Err(malformed) => Self { response: Err(Trouble::Plaintext(malformed)), success: false, refusal: None },
        }
    }
}

/// A document of the data layer as a response: nothing else that HTTP says of it is authentic, and its status counts as
/// success (PROTOCOL section 6).
fn as_response<'a>(content_type: &'a HeaderValue, document: &'a [u8]) -> Result<seal::Response<'a>, Malformed> {
    let content_type = content_type.to_str().map_err(|_| Malformed::ContentType)?;
    Ok(seal::Response { content_type, status: 200, fields: Fields::default(), body: document })
}

/// The reason of a sealed refusal, in a SyncML document or in problem details (PROTOCOL section 7).
fn refusal(opened: &seal::Response<'_>, policy: &AgentPolicy) -> Option<Reason> {
    let refusal = match message::form(opened.content_type, policy) {
        Some(form) => {
            let document = Document::scan(form, opened.body, &Limits::default()).ok()?;
            Refusal::from_map(&document.refusal_map()?)
        }
        None => Refusal::from_problem(opened.body),
    };
    match refusal.ok()?.reason {
        RefusalReason::Known(reason) => Some(reason),
        RefusalReason::Unknown(_) => None,
    }
}

fn pass_on(
    opened: &seal::Response<'_>,
    plaintext: &Bytes,
    message: &Message,
    policy: &AgentPolicy,
    public: &Origin,
) -> Result<Response<Full<Bytes>>, Trouble> {
    if opened.body.len() > policy.message_limit {
        return Err(Trouble::TooLarge);
    }
    let body = match message::form(opened.content_type, policy) {
        // What cannot be read by us may be read by a client: it could be sent anywhere.
        Some(form) if !opened.body.is_empty() => {
            let document = Document::scan(form, opened.body, &Limits::default()).map_err(Trouble::Answer)?;
            with_own_address(&document, opened, message, policy, public)?
        }
        _ => None,
    };
    let body = body.map_or_else(|| plaintext.slice_ref(opened.body), Bytes::from);

    let malformed = |_| Trouble::Plaintext(Malformed::Field);
    let mut response = Response::new(Full::new(body));
    *response.status_mut() =
        StatusCode::from_u16(opened.status).map_err(|_| Trouble::Plaintext(Malformed::Plaintext))?;
    let content_type = HeaderValue::from_bytes(opened.content_type.as_bytes())
        .map_err(|_| Trouble::Plaintext(Malformed::ContentType))?;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    for (name, value) in opened.fields.iter() {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Trouble::Plaintext(Malformed::Field))?;
        headers.append(name, HeaderValue::from_bytes(value).map_err(malformed)?);
    }
    Ok(response)
}

/// The document with the agent's address in its RespURI, if it is to be changed.
fn with_own_address(
    document: &Document<'_>,
    opened: &seal::Response<'_>,
    message: &Message,
    policy: &AgentPolicy,
    public: &Origin,
) -> Result<Option<Vec<u8>>, Trouble> {
    let Some(field) = &document.header.resp_uri else { return Ok(None) };
    let asked = message.asked.as_deref();
    match resp_uri::judge(&document.text(field), &policy.gateway_names, Some(public), asked) {
        RespUri::Keep => Ok(None),
        RespUri::Replace(_) if opened.fields.first("x-syncml-hmac").is_some() => Err(Trouble::SignedRespUri),
        RespUri::Replace(uri) => document.with_resp_uri(&uri).map(Some).ok_or(Trouble::ForeignRespUri),
        RespUri::Foreign => Err(Trouble::ForeignRespUri),
    }
}
