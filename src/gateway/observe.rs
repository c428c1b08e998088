//! What a rule observes: forwarded as it came, whatever it is, and its answer given as it came. What would have been refused,
//! of either, is recorded.
//!
//! A SyncML session that is another's, a store that is full or out of reach, an answer that nobody could seal: nothing of
//! that keeps an observed message from its server. It never takes a SyncML session over, and a RespURI in the server's name
//! still gets the public URL, where that can be done.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Method, Response, StatusCode, Version, request};
use http_body_util::Full;

use super::exchange::{Exchange, Message, Sent};
use super::forward::{self, Outbound};
use super::record::{Decision, Record};
use super::refuse;
use super::service::Lane;
use crate::net::fields;
use crate::policy::{Objection, PlaintextPermit};
use crate::seal::{Layer, SessionKeys, Target};
use crate::session::{Sender, SessionStore};
use crate::syncml::Document;

/// A request that is forwarded as it came.
pub(super) struct Observed<'a> {
    pub(super) source: IpAddr,
    pub(super) target: Target<'a>,
    pub(super) parts: &'a request::Parts,
    pub(super) body: &'a Bytes,
    /// Its content type and what was read of it, if it is SyncML that can be read.
    pub(super) document: Option<(&'a HeaderValue, &'a Document<'a>)>,
}

impl<S: SessionStore<Keys = SessionKeys>> Exchange<S> {
    /// Forwards a message that would have been refused, which takes the policy's permit.
    pub(super) async fn observe(
        &self,
        lane: &Lane,
        observed: Observed<'_>,
        objection: Objection,
        _permit: PlaintextPermit,
        record: &mut Record,
    ) -> Response<Full<Bytes>> {
        record.would_refuse(objection);
        let Observed { source, target, parts, body, document } = observed;
        let fields = forward::end_to_end(parts.headers.clone());
        let mut pass = None;
        if let Some((content_type, document)) = document {
            let (content_type, fields, bytes) = (content_type.clone(), fields.clone(), body.clone());
            let message = Message { content_type, target, fields, bytes, document };
            match self.pass(lane, Sender::Plaintext { source }, &message, record).await {
                Ok(allowed) => pass = allowed,
                Err(reason) => record.would_refuse(Objection::Refused(reason)),
            }
        }
        let asked = document.and_then(|(_, document)| Some(document.text(document.header.target.as_ref()?)));
        let (method, content_type) = (parts.method.clone(), fields::content_type(&parts.headers).cloned());
        let outbound =
            Outbound { method, target, content_type, fields, message: body.clone(), asked: asked.as_deref() };
        let answer = match lane.upstream.ask(outbound, record).await {
            Ok(answer) => answer,
            Err(reason) => {
                let Some((content_type, document)) = document else { return self.refuse(lane, reason, record) };
                let to = Some((&document.heading(), content_type.clone()));
                return refuse::syncml_response(self.refusal_answer(lane, reason, to, record));
            }
        };
        record.decision = Decision::Observed;
        let mut noted = None;
        let judged = forward::judge(answer.clone(), record).and_then(|inbound| {
            let sent = Sent { asked: asked.as_deref(), is_final: false, pass };
            self.read_answer(lane, Layer::Message, inbound, sent, &mut noted, record)
        });
        self.answered(noted).await;
        match judged {
            // Perhaps with another RespURI.
            Ok((inbound, _)) if parts.method == Method::POST => inbound.into_response(),
            Ok(_) => as_it_came(answer, &parts.method),
            Err(reason) => {
                record.would_refuse(Objection::Refused(reason));
                as_it_came(answer, &parts.method)
            }
        }
    }
}

/// A server's answer as it came. How long a body would have been is kept only where there is none by the rules of HTTP.
fn as_it_came(answer: Response<Bytes>, method: &Method) -> Response<Full<Bytes>> {
    let mut response = answer.map(Full::new);
    if method != Method::HEAD && response.status() != StatusCode::NOT_MODIFIED {
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    *response.version_mut() = Version::default();
    response
}
