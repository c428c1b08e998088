//! Toward the legacy server: the original message at the request's target, and what may come back.
//!
//! No redirect is followed, no POST is repeated. An answer becomes an [`Inbound`] only if it can be passed on; the
//! judgement of a RespURI in it is made here too (PROTOCOL sections 8.1 step 5 and 8.3).

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, FORWARDED, HOST};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use tokio::time::Instant;

use super::record::Record;
use crate::net::fields;
use crate::net::tls::{Identity, Trust, TrustError};
use crate::net::upstream::{self, AddressError, Settings, UpstreamError};
use crate::policy::{Forwarded, GatewayPolicy, HostField, Route, UpstreamAddr};
use crate::seal::resp_uri::{self, Origin, RespUri, Scheme};
use crate::seal::{Reason, Target};
use crate::syncml::Document;

/// A route's server, with the connections to it.
pub(super) struct Upstream {
    client: upstream::Upstream,
    host: HostField,
    forwarded: Forwarded,
    timeout: Duration,
    /// The longest answer, in bytes.
    limit: usize,
    /// The addresses that the server goes by: those of the policy, and the one that it is reached at.
    names: Vec<Origin>,
    /// What takes their place on our side.
    public_url: Option<Origin>,
    /// What the connections were set up by.
    setup: Setup,
}

/// What decides over the connections to a server.
#[derive(Clone, Debug, PartialEq)]
struct Setup {
    address: String,
    connect_timeout: Duration,
    max_connections: usize,
    queue_timeout: Duration,
    trust: Trust,
    identity: Option<Identity>,
}

/// A message for the server.
pub(super) struct Outbound<'a> {
    pub(super) method: Method,
    pub(super) target: Target<'a>,
    /// Only what is observed may have none.
    pub(super) content_type: Option<HeaderValue>,
    /// Further fields, none of them about the connection.
    pub(super) fields: HeaderMap,
    pub(super) message: Bytes,
    /// The decoded Target LocURI of its SyncHdr: the address that the client itself used.
    pub(super) asked: Option<&'a [u8]>,
}

/// A server's answer that is whole, not coded and no redirect.
#[derive(Clone, Debug)]
pub(super) struct Inbound {
    /// 200 to 599, but no 3xx.
    pub(super) status: u16,
    pub(super) content_type: HeaderValue,
    pub(super) fields: HeaderMap,
    pub(super) message: Bytes,
}

/// Why there can be no connections to a server.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamSetupError {
    /// Its address is none that HTTP can use.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// Something is missing for TLS.
    #[error(transparent)]
    Trust(#[from] TrustError),
}

impl Setup {
    fn settings(&self) -> Settings {
        Settings {
            connect_timeout: self.connect_timeout,
            in_flight: self.max_connections,
            queue_timeout: self.queue_timeout,
            trust: self.trust.clone(),
            identity: self.identity.clone(),
            ..Settings::default()
        }
    }
}

impl Upstream {
    /// The server of a route. Connects to nothing yet. If the connections of `before` are set up alike, they are shared,
    /// so that their number stays bounded; but not where the system's roots count, which may have been replaced.
    ///
    /// # Errors
    /// An address that HTTP cannot use, or what is missing for TLS.
    pub(super) fn new(
        route: &Route,
        policy: &GatewayPolicy,
        before: Option<&Self>,
    ) -> Result<Self, UpstreamSetupError> {
        let mut names = route.server_names.clone();
        names.extend(match &route.upstream {
            UpstreamAddr::Http { host, port } => Origin::new(Scheme::Http, host, Some(*port)).ok(),
            UpstreamAddr::Https { host, port } => Origin::new(Scheme::Https, host, Some(*port)).ok(),
            UpstreamAddr::Unix(_) => None,
        });
        let setup = Setup {
            address: route.upstream.to_string(),
            connect_timeout: route.connect_timeout,
            max_connections: route.max_connections,
            queue_timeout: route.queue_timeout,
            trust: route.upstream_tls.trust.clone(),
            identity: route.upstream_tls.identity.clone(),
        };
        let is_by_system = matches!(route.upstream, UpstreamAddr::Https { .. }) && setup.trust == Trust::System;
        let client = match before {
            Some(before) if before.setup == setup && !is_by_system => before.client.clone(),
            _ => upstream::Upstream::new(&setup.address.parse()?, setup.settings())?,
        };
        Ok(Self {
            client,
            setup,
            host: route.host,
            forwarded: route.forwarded,
            timeout: route.timeout,
            limit: policy.message_limit,
            names,
            public_url: policy.public_url.clone(),
        })
    }

    /// Sends a message and waits for the answer, which can be passed on.
    pub(super) async fn send(&self, outbound: Outbound<'_>, record: &mut Record) -> Result<Inbound, Reason> {
        judge(self.ask(outbound, record).await?, record)
    }

    /// Sends a message and waits for the answer, whatever it is. Fields of the hop are gone from it.
    pub(super) async fn ask(&self, outbound: Outbound<'_>, record: &mut Record) -> Result<Response<Bytes>, Reason> {
        // What HTTP cannot carry, no server has asked for.
        let uri = PathAndQuery::try_from(outbound.target.as_str()).map_err(|error| {
            record.cause = Some(format!("the target cannot be sent: {error}"));
            Reason::Malformed
        })?;
        let mut request = Request::new(Full::new(outbound.message));
        *request.method_mut() = outbound.method;
        *request.uri_mut() = uri.into();
        *request.headers_mut() = outbound.fields;
        let headers = request.headers_mut();
        headers.remove(ACCEPT_ENCODING);
        headers.extend(outbound.content_type.map(|content_type| (CONTENT_TYPE, content_type)));
        if let (HostField::Target, Some(host)) = (self.host, outbound.asked.and_then(host_of)) {
            headers.insert(HOST, host);
        }
        fields::strip_client(headers);
        if let Some(client) = record.client() {
            if self.forwarded.x_forwarded_for {
                headers.insert("x-forwarded-for", fields::x_forwarded_for(client));
            }
            if self.forwarded.forwarded {
                headers.insert(FORWARDED, fields::forwarded_for(client));
            }
        }
        let started = Instant::now();
        let answer = self.client.send(request, started + self.timeout, self.limit).await;
        record.upstream = Some(started.elapsed());
        let answer = answer.map_err(|error| {
            record.cause = Some(error.to_string());
            match error {
                UpstreamError::Busy => Reason::Overloaded,
                UpstreamError::Incomplete(_) | UpstreamError::TooLarge { .. } => Reason::UpstreamInvalid,
                UpstreamError::Timeout => Reason::UpstreamTimeout,
                UpstreamError::Unreachable(_) => Reason::UpstreamUnreachable,
            }
        })?;
        record.upstream_status = Some(answer.status().as_u16());
        Ok(answer)
    }

    /// Puts the public URL where the server named itself.
    pub(super) fn rewrite(
        &self,
        mut inbound: Inbound,
        document: &Document<'_>,
        asked: Option<&[u8]>,
        record: &mut Record,
    ) -> Result<Inbound, Reason> {
        let Some(field) = &document.header.resp_uri else { return Ok(inbound) };
        let uri = document.text(field);
        match resp_uri::judge(&uri, &self.names, self.public_url.as_ref(), asked) {
            RespUri::Keep => Ok(inbound),
            RespUri::Replace(uri) if !inbound.fields.contains_key("x-syncml-hmac") => {
                let document = document.with_resp_uri(&uri).ok_or(Reason::UpstreamInvalid)?;
                inbound.message = document.into();
                Ok(inbound)
            }
            RespUri::Replace(_) => {
                record.cause = Some("a RespURI would have to be changed under x-syncml-hmac".into());
                Err(Reason::UpstreamInvalid)
            }
            RespUri::Foreign => {
                record.cause = Some("a RespURI leads to an address that is none of the server's names".into());
                Err(Reason::UpstreamInvalid)
            }
        }
    }
}

/// Takes an answer that can be passed on, sealed or not.
pub(super) fn judge(answer: Response<Bytes>, record: &mut Record) -> Result<Inbound, Reason> {
    let (mut parts, message) = answer.into_parts();
    let status = parts.status.as_u16();
    let content_type = fields::content_type(&parts.headers).cloned();
    let fault = match (status, &content_type) {
        (300..=399, _) => Some("it is a redirect"),
        (200..=599, None) => Some("it has no content type"),
        (200..=599, Some(_)) if fields::is_content_coded(&parts.headers) => Some("it is in a content coding"),
        (200..=599, Some(_)) => None,
        _ => Some("its status is none of 200 to 599"),
    };
    match (fault, content_type) {
        (None, Some(content_type)) => {
            parts.headers.remove(CONTENT_TYPE);
            Ok(Inbound { status, content_type, fields: parts.headers, message })
        }
        (fault, _) => {
            record.cause = fault.map(|fault| format!("the server's answer cannot be passed on: {fault}"));
            Err(Reason::UpstreamInvalid)
        }
    }
}

/// The fields of a request that are about more than this hop and its body.
pub(super) fn end_to_end(mut fields: HeaderMap) -> HeaderMap {
    fields::strip_hop_by_hop(&mut fields);
    for name in [CONTENT_TYPE, CONTENT_LENGTH, EXPECT, HOST] {
        fields.remove(name);
    }
    fields
}

impl Inbound {
    /// The answer as an HTTP response.
    pub(super) fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.message));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_GATEWAY);
        *response.headers_mut() = self.fields;
        response.headers_mut().remove(CONTENT_LENGTH);
        response.headers_mut().insert(CONTENT_TYPE, self.content_type);
        response
    }
}

/// The authority of an address, as a Host field says it.
fn host_of(address: &[u8]) -> Option<HeaderValue> {
    let (origin, _) = Origin::split(std::str::from_utf8(address).ok()?.trim()).ok()?;
    HeaderValue::from_str(&origin.authority()).ok()
}
