//! A SyncML document that came as such: sealed in its data, observed, permitted as plaintext, or refused, as the policy has
//! it.

use std::net::IpAddr;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderValue, Response, request};
use http_body_util::Full;

use super::current::Current;
use super::devices::Speech;
use super::document::Envelope;
use super::exchange::{Exchange, Message, sealed_response};
use super::forward::{self, Inbound};
use super::ladder::{self, Asked, Judgement, Verdict};
use super::observe::Observed;
use super::record::{Decision, Record};
use super::refuse;
use super::service::Lane;
use crate::policy::{Objection, PlaintextPermit};
use crate::seal::{Layer, Reason, SessionKeys};
use crate::session::{Sender, SessionStore};
use crate::syncml::{self, Document, Form};

impl<S: SessionStore<Keys = SessionKeys>> Exchange<S> {
    /// Answers a SyncML document that came as such: one that is sealed, or plaintext.
    #[expect(clippy::too_many_arguments, reason = "each is another part of the one request")]
    pub(super) async fn syncml(
        &self,
        lane: &Lane,
        source: IpAddr,
        form: Form,
        content_type: HeaderValue,
        parts: request::Parts,
        body: Bytes,
        record: &mut Record,
    ) -> Response<Full<Bytes>> {
        let scanned = Document::scan(form, &body, &syncml::Limits::default());
        if let Err(error) = &scanned {
            record.cause = Some(error.to_string());
        }
        let target = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let asked = Asked { target, address: source, now: self.now(), as_device: None };
        let Current { rules, message_limit, .. } = &*self.current;
        let Judgement { decision, verdict } =
            ladder::document(&asked, &lane.route, rules, *message_limit, &body, scanned.as_ref());
        record.decided(decision);
        let document = match (&scanned, &verdict) {
            (Ok(_), Verdict::Refuse(Objection::Refused(Reason::TooLarge))) | (Err(_), _) => None,
            (Ok(document), _) => Some(document),
        };
        if let Some(document) = document {
            self.identify(document, record);
            if document.header.seal_marks == 0 {
                Self::sight(document, Speech::Plaintext, record);
                record.plaintext();
            }
        }
        match (verdict, document) {
            (Verdict::Open(_), Some(document)) => {
                let (target, heading) = (target.to_owned(), document.heading());
                let envelope = Envelope { source, form, content_type, target, headers: parts.headers, heading };
                match self.document(lane, &envelope, body.into(), record).await {
                    Ok(response) => sealed_response(response),
                    Err(reason) => {
                        let to = Some((&envelope.heading, envelope.content_type.clone()));
                        refuse::syncml_response(self.refusal_answer(lane, reason, to, record))
                    }
                }
            }
            (Verdict::Forward { permit, target, would_refuse: Some(objection) }, document) => {
                record.message = Some(body.len());
                let document = document.map(|document| (&content_type, document));
                let observed = Observed { source, target, parts: &parts, body: &body, document };
                self.observe(lane, observed, objection, permit, record).await
            }
            (Verdict::Forward { permit, target, would_refuse: None }, Some(document)) => {
                record.message = Some(body.len());
                let (content_type, fields) = (content_type, forward::end_to_end(parts.headers));
                let (to, bytes) = (content_type.clone(), body.clone());
                let message = Message { content_type, target, fields, bytes, document };
                match self.plaintext(lane, source, message, permit, record).await {
                    Ok(inbound) => {
                        record.decision = Decision::Plaintext;
                        inbound.into_response()
                    }
                    Err(reason) => self.refuse_document(lane, reason, document, to, record),
                }
            }
            (Verdict::Refuse(Objection::Refused(reason)), Some(document)) => {
                record.message = Some(body.len());
                self.refuse_document(lane, reason, document, content_type, record)
            }
            (Verdict::Refuse(objection), _) => self.decline(lane, objection, record),
            // What cannot be read is neither opened nor permitted.
            (Verdict::Open(_) | Verdict::Forward { .. }, None) => self.refuse(lane, Reason::Malformed, record),
        }
    }

    /// Refuses a document that came as such, in a document like it.
    fn refuse_document(
        &self,
        lane: &Lane,
        reason: Reason,
        document: &Document<'_>,
        content_type: HeaderValue,
        record: &mut Record,
    ) -> Response<Full<Bytes>> {
        let to = Some((&document.heading(), content_type));
        refuse::syncml_response(self.refusal_answer(lane, reason, to, record))
    }

    /// Forwards plaintext, which takes the policy's permit.
    async fn plaintext(
        &self,
        lane: &Lane,
        source: IpAddr,
        message: Message<'_>,
        _permit: PlaintextPermit,
        record: &mut Record,
    ) -> Result<Inbound, Reason> {
        let admitted = self.admit(lane, Sender::Plaintext { source }, message, record).await?;
        let mut noted = None;
        let delivered = self.deliver(lane, Layer::Message, admitted, &mut noted, record).await;
        self.answered(noted).await;
        delivered.map(|(inbound, _)| inbound)
    }
}
