//! Captured requests, and what a policy says of them: what `explain` tells and `check` compares.

use std::net::IpAddr;
use std::path::Path;
use std::{fs, io};

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use super::inspect::{self, Content};
use crate::gateway::ladder::{self, Asked, Told, Verdict};
use crate::policy::{Case, Expect, GatewayPolicy};
use crate::seal::{self, Layer};
use crate::session::UnixTime;
use crate::syncml::Form;

/// More header fields than any request has that is worth explaining.
const MAX_FIELDS: usize = 128;

/// Why a file holds no request.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoRequest {
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It begins like HTTP.
    #[error("it begins as HTTP, but cannot be read as a request: {0}")]
    Http(String),
    /// A body that says nothing of its type.
    #[error("its content does not tell what it is; say which content type it came with")]
    Unknown,
    /// A content type, or a method, that HTTP cannot carry.
    #[error("{0:?} cannot be written in HTTP")]
    Unwritable(String),
}

/// A request as it was captured.
#[derive(Clone, Debug)]
pub(super) struct Captured {
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// What is said of a request beside its capture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances<'a> {
    pub(super) path: Option<&'a str>,
    pub(super) from: IpAddr,
    pub(super) device: Option<&'a str>,
    pub(super) content_type: Option<&'a str>,
}

impl<'a> From<&'a Case> for Circumstances<'a> {
    fn from(case: &'a Case) -> Self {
        Self {
            path: case.path.as_deref(),
            from: case.from,
            device: case.device.as_deref(),
            content_type: case.content_type.as_deref(),
        }
    }
}

impl Captured {
    /// Reads a request as it was on the wire, or its body alone. What `circumstances` say comes before what the capture
    /// says; a body alone goes to the policy's first route, unless they say where.
    pub(super) fn read(
        file: &Path,
        circumstances: &Circumstances<'_>,
        policy: &GatewayPolicy,
    ) -> Result<Self, NoRequest> {
        let bytes = if file == Path::new("-") { inspect::read(file)? } else { fs::read(file)? };
        let mut captured = match Self::parse(&bytes)? {
            Some(captured) => captured,
            None => {
                let path = policy.routes.first().map_or("/", |route| route.path.as_str()).to_owned();
                let mut headers = HeaderMap::new();
                let told = inspect::content(&bytes).and_then(content_type);
                headers.extend(told.map(|told| (header::CONTENT_TYPE, HeaderValue::from_static(told))));
                if headers.is_empty() && circumstances.content_type.is_none() {
                    return Err(NoRequest::Unknown);
                }
                Self { method: Method::POST, target: path, headers, body: bytes }
            }
        };
        if let Some(path) = circumstances.path {
            path.clone_into(&mut captured.target);
        }
        if let Some(content_type) = circumstances.content_type {
            let value = HeaderValue::from_str(content_type);
            let value = value.map_err(|_| NoRequest::Unwritable(content_type.to_owned()))?;
            captured.headers.insert(header::CONTENT_TYPE, value);
        }
        Ok(captured)
    }

    /// The request that `bytes` are, if they begin as one.
    fn parse(bytes: &[u8]) -> Result<Option<Self>, NoRequest> {
        let first_line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
        if !first_line.trim_ascii_end().ends_with(b" HTTP/1.1") && !first_line.trim_ascii_end().ends_with(b" HTTP/1.0")
        {
            return Ok(None);
        }
        let fault = |fault: &str| NoRequest::Http(fault.to_owned());
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        let head = request.parse(bytes).map_err(|error| NoRequest::Http(error.to_string()))?;
        let httparse::Status::Complete(head_len) = head else { return Err(fault("its header has no end")) };
        let mut headers = HeaderMap::new();
        for field in request.headers.iter() {
            let name = HeaderName::from_bytes(field.name.as_bytes());
            let value = HeaderValue::from_bytes(field.value);
            if let (Ok(name), Ok(value)) = (name, value) {
                headers.append(name, value);
            }
        }
        if headers.contains_key(header::TRANSFER_ENCODING) {
            return Err(fault("its body is in a transfer coding; give the body alone"));
        }
        let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        let rest = bytes.get(head_len..).unwrap_or_default();
        let body = rest.get(..length.unwrap_or_default()).ok_or_else(|| fault("its body is cut"))?;
        let method = request.method.and_then(|method| method.parse().ok());
        let target = request.path.unwrap_or_default();
        // The absolute form is what proxies get.
        let target = target.parse::<http::Uri>().ok().and_then(|uri| uri.path_and_query().map(ToString::to_string));
        Ok(Some(Self {
            method: method.ok_or_else(|| fault("its method"))?,
            target: target.ok_or_else(|| fault("its target"))?,
            headers,
            body: body.to_vec(),
        }))
    }

    /// What `policy` says of it.
    pub(super) fn judged<'p, 'a>(
        &'a self,
        circumstances: &'a Circumstances<'a>,
        policy: &'p GatewayPolicy,
        now: UnixTime,
    ) -> Told<'p, 'a> {
        let asked = Asked {
            target: &self.target,
            address: circumstances.from,
            now,
            as_device: circumstances.device.map(str::as_bytes),
        };
        ladder::judge(policy, &asked, &self.method, &self.headers, &self.body)
    }
}

/// What a request that was judged comes to, in the words of a case. What asks for what is supported is no case.
pub(super) fn outcome(told: &Told<'_, '_>) -> Option<Expect> {
    Some(match told {
        Told::Discovery => return None,
        Told::NoRoute => Expect::NoRoute,
        Told::Routed { judgement, .. } => match &judgement.verdict {
            Verdict::Open(_) => Expect::Opened,
            Verdict::Forward { would_refuse: None, .. } => Expect::Forwarded,
            Verdict::Forward { would_refuse: Some(objection), .. } => Expect::Observed(*objection),
            Verdict::Refuse(objection) => Expect::Refused(*objection),
        },
    })
}

/// The content type that a body of this content usually has.
fn content_type(content: Content) -> Option<&'static str> {
    match content {
        Content::Document(Form::Xml) => Some("application/vnd.syncml+xml"),
        Content::Document(Form::Wbxml) => Some("application/vnd.syncml+wbxml"),
        Content::Seal(Layer::Message) => Some(seal::CONTENT_TYPE),
        Content::Seal(Layer::Data) | Content::Problem | Content::RefusalMap => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_as_it_was_on_the_wire() {
        let bytes = b"POST http://server/sync?a=b HTTP/1.1\r\nHost: x\r\nContent-Type: text/x\r\nContent-Length: 4\r\n\r\npingrest";
        let request = Captured::parse(bytes).unwrap().unwrap();
        assert_eq!(
            (request.method.as_str(), request.target.as_str(), &request.body[..]),
            ("POST", "/sync?a=b", &b"ping"[..])
        );
        assert_eq!(request.headers["content-type"], "text/x");
        assert!(Captured::parse(b"GET /a HTTP/1.0\r\n\r\n").unwrap().unwrap().body.is_empty());
    }

    #[test]
    fn a_body_is_no_request_and_half_a_request_is_a_fault() {
        for body in [&b"<SyncML/>"[..], b"", b"\x02\x9f\x53"] {
            assert!(Captured::parse(body).unwrap().is_none());
        }
        for (bytes, word) in [
            (&b"POST /a HTTP/1.1\r\nContent-Length: 4\r\n\r\nabc"[..], "cut"),
            (b"POST /a HTTP/1.1\r\nHost: x\r\n", "no end"),
            (b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "transfer coding"),
            (b"POST /a HTTP/1.1\r\nno field\r\n\r\n", "header name"),
        ] {
            let error = Captured::parse(bytes).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
