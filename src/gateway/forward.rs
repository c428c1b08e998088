//! Toward the legacy server: the original message at the request's target, and what may come back.
//!
//! No redirect is followed, no POST is repeated. What the server says is taken only if it can be passed on; the judgement of
//! a RespURI in it is made here too (PROTOCOL sections 8.1 step 5 and 8.3).

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};
use http_body_util::Full;

use crate::net::{self, UpstreamError};
use crate::policy::{HostField, Route, UpstreamAddr};
use crate::seal::Reason;
use crate::seal::resp_uri::{self, Origin, RespUri};
use crate::syncml::{Document, Form, Limits, MediaType};

/// A route with the connections to its server.
pub(super) struct Upstream {
    client: net::Upstream,
    /// What a Host field says unless it is taken from the message.
    authority: HeaderValue,
    /// The addresses that the server goes by: those of the policy, and the one that it is reached at.
    names: Vec<Origin>,
    timeout: Duration,
}

/// What a request to the server says, beside its message.
pub(super) struct Outbound<'a> {
    pub(super) target: &'a str,
    pub(super) content_type: HeaderValue,
    pub(super) fields: HeaderMap,
    /// The decoded Target LocURI of its SyncHdr.
    pub(super) asked: Option<&'a [u8]>,
    pub(super) message: Bytes,
}

/// A server's answer that is whole and no redirect.
#[derive(Debug)]
pub(super) struct Inbound {
    pub(super) status: u16,
    pub(super) content_type: HeaderValue,
    pub(super) fields: HeaderMap,
    pub(super) message: Bytes,
}
