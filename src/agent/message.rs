//! A client's request: what is SyncML is read, everything else ends here.

use std::error::Error;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue};
use http::{Method, Request};
use http_body::Body;

use super::layer::Sealing;
use super::refuse::Trouble;
use crate::net::{body, fields};
use crate::policy::AgentPolicy;
use crate::seal::{self, Direction, Extras, Fields, Layer, Plaintext, Target};
use crate::session::terminal::Fingerprint;
use crate::syncml::{Command, Document, Field, Form, Limits, MediaType};

/// Commands that an early message may hold (PROTOCOL section 3.5).
const EARLY_COMMANDS: [Command; 5] = [Command::Alert, Command::Get, Command::Put, Command::Results, Command::Status];

/// A SyncML message with what its client said about it in HTTP, ready to be sealed.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) target: String,
    pub(super) content_type: String,
    pub(super) headers: HeaderMap,
    pub(super) sealing: Sealing,
    body: Bytes,
    /// Source LocURI, decoded.
    pub(super) source: Vec<u8>,
    /// SessionID, decoded.
    pub(super) session_id: Vec<u8>,
    /// Target LocURI, decoded: the address that the client uses.
    pub(super) asked: Option<Vec<u8>>,
    /// Whether it has MsgID 1, with which a SyncML session begins.
    pub(super) is_first: bool,
    /// Whether it holds nothing that an early message may not hold.
    pub(super) may_go_early: bool,
}

impl Message {
    /// Reads a client's request.
    pub(super) async fn receive<B>(request: Request<B>, policy: &AgentPolicy) -> Result<Self, Trouble>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        if request.method() != Method::POST {
            return Err(Trouble::Method);
        }
        let content_type = fields::content_type(request.headers()).and_then(|value| value.to_str().ok());
        let (content_type, form) = content_type
            .and_then(|content_type| Some((content_type.to_owned(), form(content_type, policy)?)))
            .ok_or(Trouble::MediaType)?;
        if fields::is_content_coded(request.headers()) {
            return Err(Trouble::Coded);
        }
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str()).to_owned();
        Target::parse(target.as_bytes(), &["/"]).map_err(|_| Trouble::Target)?;
        let (mut parts, body) = body::receive(request, policy.message_limit, policy.limits.body_timeout).await;
        let body = body?.freeze();
        fields::strip_hop_by_hop(&mut parts.headers);

        let document = Document::scan(form, &body, &Limits::default())?;
        let text = |field: &Option<Field>| field.as_ref().map(|field| document.text(field).into_owned());
        let header = &document.header;
        let is_first = header.msg_id.as_ref().is_some_and(|msg_id| document.text(msg_id).trim_ascii() == b"1");
        let sealing = match policy.layer {
            Layer::Message => Sealing::Message,
            Layer::Data => Sealing::data(&document, &content_type, &body, &parts.headers)?,
        };
        Ok(Self {
            sealing,
            source: text(&header.source).unwrap_or_default(),
            session_id: text(&header.session_id).unwrap_or_default(),
            asked: text(&header.target),
            is_first,
            may_go_early: is_first && document.body.commands.iter().all(|command| EARLY_COMMANDS.contains(&command)),
            target,
            content_type,
            headers: parts.headers,
            body,
        })
    }

    /// Its plaintext in a seal (PROTOCOL section 5): content type, target and message as the client sent them, and of
    /// the header fields those that may travel.
    pub(super) fn plaintext(&self, extras: &Extras) -> Plaintext<'_> {
        let fields = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
        let fields = Fields::filter(Direction::C2s, extras, fields);
        seal::Request { content_type: &self.content_type, target: &self.target, fields, body: &self.body }.plaintext()
    }

    /// What tells a resend from another message.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self.target.as_bytes(), &self.body)
    }

    /// Bytes of the message.
    pub(super) fn len(&self) -> usize {
        self.body.len()
    }
}

/// The form of SyncML documents of this content type; `None` if it is not SyncML.
pub(super) fn form(content_type: &str, policy: &AgentPolicy) -> Option<Form> {
    MediaType::parse(content_type.as_bytes()).map(|media_type| media_type.form).or_else(|| {
        let essence = fields::essence(&HeaderValue::from_str(content_type).ok()?)?;
        policy.extra_types.iter().find(|(name, _)| *name == essence).map(|(_, form)| *form)
    })
}
