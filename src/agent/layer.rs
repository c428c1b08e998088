//! What differs between the layers: how a client's message is sealed, what goes to the gateway, and how its answer opens.

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, ACCEPT_CHARSET, CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use http::uri::PathAndQuery;

use super::message::Message;
use super::refuse::Trouble;
use crate::crypto::CryptoProvider;
use crate::seal::data::{Sealable, SealedDocument};
use crate::seal::{
    self, Encrypt0, Established, Extras, HandshakePlaintext, InitRequest, InitResponseError, Layer, Malformed, Number,
    NumberedHeader, PendingInit, SessionKeys, Sid,
};
use crate::syncml::{Document, Form, Heading, Limits};

/// Header fields that a gateway forwards in the data layer; others need not go there.
const DATA_FIELDS: [http::HeaderName; 3] = [ACCEPT, ACCEPT_CHARSET, USER_AGENT];
/// Header fields that need the message layer: they say who the client is, or what exactly its message is.
const MESSAGE_FIELDS: [&str; 3] = ["authorization", "cookie", "x-syncml-hmac"];

/// How a message is sealed.
#[derive(Debug)]
pub(super) enum Sealing {
    /// With all that HTTP says of it, in the message layer.
    Message,
    /// As a document, in the data layer.
    Data { sealable: Box<Sealable>, form: Form, heading: Heading },
}

impl Sealing {
    /// In the data layer, of a document that can be sealed for certain.
    pub(super) fn data(
        document: &Document<'_>,
        content_type: &str,
        body: &Bytes,
        headers: &HeaderMap,
    ) -> Result<Self, Trouble> {
        if let Some(name) = MESSAGE_FIELDS.into_iter().find(|name| headers.contains_key(*name)) {
            return Err(Trouble::NeedsMessageLayer(name));
        }
        let sealable = Sealable::new(document.form, content_type.as_bytes(), body.clone())?;
        Ok(Self::Data { sealable: sealable.into(), form: document.form, heading: document.heading() })
    }
}

/// What goes to the gateway besides the sealed bytes.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// Path and query; in the message layer, those of the gateway's URL.
    pub(super) target: Option<PathAndQuery>,
    pub(super) headers: HeaderMap,
}

impl Message {
    /// What goes to the gateway with each seal of this message.
    pub(super) fn outgoing(&self) -> Result<Outgoing, Trouble> {
        match self.sealing {
            Sealing::Message => {
                let content_type = (CONTENT_TYPE, HeaderValue::from_static(seal::CONTENT_TYPE));
                Ok(Outgoing { target: None, headers: HeaderMap::from_iter([content_type]) })
            }
            Sealing::Data { .. } => {
                let fields = self.headers.iter().filter(|(name, _)| DATA_FIELDS.contains(name));
                let mut headers: HeaderMap = fields.map(|(name, value)| (name.clone(), value.clone())).collect();
                let content_type = HeaderValue::from_str(&self.content_type).map_err(|_| Trouble::MediaType)?;
                headers.insert(CONTENT_TYPE, content_type);
                Ok(Outgoing { target: Some(self.target.parse().map_err(|_| Trouble::Target)?), headers })
            }
        }
    }

    /// Seals a handshake that goes before the message.
    pub(super) fn seal_handshake(&self, request: InitRequest) -> Result<(Bytes, PendingInit), Trouble> {
        match &self.sealing {
            Sealing::Message => Ok(request.seal(&HandshakePlaintext.plaintext())),
            Sealing::Data { form, heading, .. } => {
                let announcement = heading.announcement();
                let sealable = Sealable::new(*form, self.content_type.as_bytes(), announcement.into())?;
                Ok(request.seal_document(&self.target, &sealable)?)
            }
        }
    }

    /// Seals the message in an init request.
    pub(super) fn seal_early(&self, request: InitRequest, extras: &Extras) -> Result<(Bytes, PendingInit), Trouble> {
        match &self.sealing {
            Sealing::Message => Ok(request.seal(&self.plaintext(extras))),
            Sealing::Data { sealable, .. } => Ok(request.seal_document(&self.target, sealable)?),
        }
    }

    /// Seals the message under a number.
    pub(super) fn seal(&self, keys: &SessionKeys, number: Number, extras: &Extras) -> Result<Bytes, Trouble> {
        match &self.sealing {
            Sealing::Message => Ok(keys.seal_request(number, &self.plaintext(extras))),
            Sealing::Data { sealable, .. } => Ok(keys.seal_request_document(number, &self.target, sealable)?),
        }
    }
}

/// What came back from the gateway and looks like a seal.
#[derive(Debug)]
pub(super) enum Reply {
    /// Of the message layer.
    Seal(BytesMut),
    /// Of the data layer.
    Document { form: Form, content_type: HeaderValue, body: BytesMut },
}

/// A plaintext that opened.
#[derive(Debug)]
pub(super) enum Plain {
    /// Of the message layer: content type, status and header fields are in it.
    Message(Bytes),
    /// Of the data layer, with the content type that was authenticated with it.
    Document(HeaderValue, Bytes),
}

impl Plain {
    /// Whether it is the answer to a handshake.
    pub(super) fn check_handshake(&self, form: impl FnOnce(&HeaderValue) -> Option<Form>) -> Result<(), Trouble> {
        match self {
            Self::Message(plaintext) => HandshakePlaintext::decode(plaintext).map(drop).map_err(Trouble::Plaintext),
            Self::Document(content_type, bytes) => {
                let document = form(content_type)
                    .and_then(|form| Document::scan(form, bytes, &Limits::default()).ok())
                    .filter(|document| document.body.hdr_status == Some(200));
                document.map(drop).ok_or(Trouble::Plaintext(Malformed::Plaintext))
            }
        }
    }
}

impl Reply {
    /// Takes it as the init response that was waited for.
    pub(super) fn establish(
        self,
        pending: PendingInit,
        provider: &dyn CryptoProvider,
    ) -> Result<(SessionKeys, bool, Plain), InitResponseError> {
        match self {
            Self::Seal(seal) => {
                let Established { keys, end, plaintext, .. } = pending.handle_response(provider, seal)?;
                Ok((keys, end, Plain::Message(plaintext)))
            }
            Self::Document { form, content_type, body } => {
                let established = pending.handle_document(provider, form, content_type.as_bytes(), body)?;
                let Established { keys, end, plaintext, .. } = established;
                Ok((keys, end, Plain::Document(content_type, plaintext)))
            }
        }
    }

    /// Opens it as the response to the request of that number; tells whether the session ends.
    pub(super) fn open(self, keys: &SessionKeys, sid: Sid, number: Number) -> Result<(bool, Plain), Trouble> {
        let malformed = |malformed: Malformed| Trouble::Response(malformed);
        let outstanding = |sealed: Encrypt0<NumberedHeader>| {
            let header = sealed.header();
            if (header.sid, header.number) == (sid, number) { Ok(sealed) } else { Err(Trouble::CannotOpen) }
        };
        match self {
            Self::Seal(seal) => {
                let sealed = outstanding(seal::decode_response(Layer::Message, seal).map_err(malformed)?)?;
                let end = sealed.header().end;
                let plaintext = keys.open(sealed).map_err(|_| Trouble::CannotOpen)?;
                Ok((end, Plain::Message(plaintext)))
            }
            Self::Document { form, content_type, body } => {
                let split = SealedDocument::split(form, content_type.as_bytes(), body);
                let (seal, document) = split.map_err(Trouble::Unopenable)?;
                let sealed = outstanding(seal::decode_response(Layer::Data, seal).map_err(malformed)?)?;
                let opened = keys.open_document(&sealed, document, None).map_err(|_| Trouble::CannotOpen)?;
                let plaintext = opened.check().map_err(Trouble::Unopenable)?;
                Ok((sealed.header().end, Plain::Document(content_type, plaintext)))
            }
        }
    }
}
