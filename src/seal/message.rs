//! The plaintext of the message layer (PROTOCOL section 5): a SyncML message with its HTTP target or status and the
//! header fields that may travel with it. Read in place; the message is never copied here.
//!
//! Whether a target is allowed is left to [`super::Target`], what the message says to [`crate::syncml`].

use ciborium_ll::Header as Head;

use super::cbor::{Key, Reader, push_bytes, push_head, push_text};
use super::{Direction, Malformed};
use crate::syncml::MediaType;

/// Header fields that may travel with a request.
const REQUEST_FIELDS: [&str; 9] = [
    "accept",
    "accept-charset",
    "accept-language",
    "authorization",
    "cache-control",
    "cookie",
    "user-agent",
    "x-syncml-hmac",
    "x-syncml-client",
];

/// Header fields that may travel with a response.
const RESPONSE_FIELDS: [&str; 5] = ["cache-control", "retry-after", "set-cookie", "www-authenticate", "x-syncml-hmac"];

/// The status of a response that says none.
const OK: u16 = 200;

/// Room for what stands before a message with the usual header fields.
const HEAD_CAPACITY: usize = 512;

/// What the policy of both sides adds to the protocol's lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// Media types that count as SyncML: type and subtype, compared without regard to case.
    pub media_types: Vec<String>,
    /// Names of header fields that may travel with a request: lower-case tokens.
    pub request_fields: Vec<String>,
    /// The same of a response.
    pub response_fields: Vec<String>,
}

impl Extras {
    /// Whether a Content-Type field value is one of SyncML's types, or of those that policy adds.
    pub fn is_syncml(&self, content_type: &str) -> bool {
        let essence = content_type.split(';').next().unwrap_or_default().trim_ascii();
        MediaType::parse(content_type.as_bytes()).is_some()
            || self.media_types.iter().any(|media_type| media_type.eq_ignore_ascii_case(essence))
    }

    fn lets_travel(&self, direction: Direction, name: &str) -> bool {
        let (known, added): (&[&str], _) = match direction {
            Direction::C2s => (&REQUEST_FIELDS, &self.request_fields),
            Direction::S2c => (&RESPONSE_FIELDS, &self.response_fields),
        };
        known.contains(&name) || added.iter().any(|added| added == name)
    }
}

/// Header fields that may travel in their direction, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields<'a>(Vec<(&'a str, &'a [u8])>);

impl<'a> Fields<'a> {
    /// Those of `fields` that may travel; a sealer drops the others. Names are in lower case.
    pub fn filter(
        direction: Direction,
        extras: &Extras,
        fields: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Self {
        let travels = |(name, value): &(&str, &[u8])| extras.lets_travel(direction, name) && is_field_value(value);
        Self(fields.into_iter().filter(travels).collect())
    }

    /// Names and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + '_ {
        self.0.iter().copied()
    }

    /// The first value of the field with this name.
    pub fn first(&self, name: &str) -> Option<&'a [u8]> {
        self.iter().find_map(|(field, value)| (field == name).then_some(value))
    }

    fn decode(reader: &mut Reader<'a>, direction: Direction, extras: &Extras) -> Result<Self, Malformed> {
        let count = reader.array()?;
        if count == 0 {
            return Err(Malformed::Plaintext);
        }
        let mut fields = Vec::new();
        for _ in 0..count {
            if reader.array()? != 2 {
                return Err(Malformed::Plaintext);
            }
            let (name, value) = (reader.text()?, reader.bytes()?);
            if !extras.lets_travel(direction, name) || !is_field_value(value) {
                return Err(Malformed::Field);
            }
            fields.push((name, value));
        }
        Ok(Self(fields))
    }
}

fn is_field_value(value: &[u8]) -> bool {
    memchr::memchr3(b'\r', b'\n', 0, value).is_none()
}

/// A request's message, as the client sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The Content-Type field value; one of the SyncML types.
    pub content_type: &'a str,
    /// The request target, path and query, not yet checked.
    pub target: &'a str,
    /// Further header fields.
    pub fields: Fields<'a>,
    /// The message.
    pub body: &'a [u8],
}

impl<'a> Request<'a> {
    /// Reads the plaintext of a request.
    pub fn decode(plaintext: &'a [u8], extras: &Extras) -> Result<Self, Malformed> {
        match Map::decode(plaintext, Direction::C2s, extras)? {
            Map { content_type: Some(content_type), target: Some(target), status: None, fields, body: Some(body) } => {
                if !extras.is_syncml(content_type) || !is_field_value(content_type.as_bytes()) {
                    return Err(Malformed::ContentType);
                }
                Ok(Self { content_type, target, fields, body })
            }
            _ => Err(Malformed::Plaintext),
        }
    }

    /// Its plaintext.
    pub fn plaintext(&self) -> Plaintext<'a> {
        let target = Some(self.target);
        let content_type = Some(self.content_type);
        Map { content_type, target, fields: self.fields.clone(), body: Some(self.body), ..Map::default() }.encode()
    }
}

/// A response's message, as the server sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response<'a> {
    /// The Content-Type field value.
    pub content_type: &'a str,
    /// The HTTP status, 200 to 599.
    pub status: u16,
    /// Further header fields.
    pub fields: Fields<'a>,
    /// The message.
    pub body: &'a [u8],
}

impl<'a> Response<'a> {
    /// Reads the plaintext of a response.
    pub fn decode(plaintext: &'a [u8], extras: &Extras) -> Result<Self, Malformed> {
        match Map::decode(plaintext, Direction::S2c, extras)? {
            Map { content_type: Some(content_type), target: None, status, fields, body: Some(body) } => {
                let status = status.unwrap_or(OK);
                if content_type.is_empty() || !is_field_value(content_type.as_bytes()) {
                    return Err(Malformed::ContentType);
                }
                Ok(Self { content_type, status, fields, body })
            }
            _ => Err(Malformed::Plaintext),
        }
    }

    /// Its plaintext.
    pub fn plaintext(&self) -> Plaintext<'a> {
        let status = (self.status != OK).then_some(self.status);
        let content_type = Some(self.content_type);
        Map { content_type, status, fields: self.fields.clone(), body: Some(self.body), ..Map::default() }.encode()
    }
}

/// The plaintext of a handshake's request and response: the empty map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandshakePlaintext;

impl HandshakePlaintext {
    /// Takes the empty map and nothing else.
    pub fn decode(plaintext: &[u8]) -> Result<Self, Malformed> {
        let empty = Map::decode(plaintext, Direction::C2s, &Extras::default())? == Map::default();
        if empty { Ok(Self) } else { Err(Malformed::Plaintext) }
    }

    /// The empty map.
    pub fn plaintext(self) -> Plaintext<'static> {
        Map::default().encode()
    }
}

/// A plaintext to be sealed: what stands before the message, which comes last, and the message where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plaintext<'a> {
    head: Vec<u8>,
    body: &'a [u8],
}

impl Plaintext<'_> {
    /// Its length in bytes.
    pub(super) fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }

    /// Appends it.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        out.extend_from_slice(self.body);
    }
}

/// The map, with whatever entries it has.
#[derive(Debug, Default, PartialEq, Eq)]
struct Map<'a> {
    content_type: Option<&'a str>,
    target: Option<&'a str>,
    status: Option<u16>,
    fields: Fields<'a>,
    body: Option<&'a [u8]>,
}

impl<'a> Map<'a> {
    fn decode(plaintext: &'a [u8], direction: Direction, extras: &Extras) -> Result<Self, Malformed> {
        let mut reader = Reader::new(plaintext);
        let mut entries = reader.map()?;
        let mut map = Self::default();
        while let Some(key) = reader.next_key(&mut entries)? {
            match key {
                Key::Int(0) => map.content_type = Some(reader.text()?),
                Key::Int(1) => map.target = Some(reader.text()?),
                Key::Int(2) => {
                    let status = u16::try_from(reader.uint()?).ok().filter(|status| (200..=599).contains(status));
                    map.status = Some(status.ok_or(Malformed::Plaintext)?);
                }
                Key::Int(3) => map.fields = Fields::decode(&mut reader, direction, extras)?,
                Key::Int(4) => map.body = Some(reader.bytes()?),
                _ => return Err(Malformed::Plaintext),
            }
        }
        reader.finish()?;
        Ok(map)
    }

    fn encode(self) -> Plaintext<'a> {
        let Self { content_type, target, status, fields, body } = self;
        let entries =
            [content_type.is_some(), target.is_some(), status.is_some(), !fields.0.is_empty(), body.is_some()];
        let mut head = Vec::with_capacity(HEAD_CAPACITY);
        push_head(&mut head, Head::Map(Some(entries.into_iter().filter(|present| *present).count())));
        let key = |head: &mut Vec<u8>, key| push_head(head, Head::Positive(key));
        if let Some(content_type) = content_type {
            key(&mut head, 0);
            push_text(&mut head, content_type);
        }
        if let Some(target) = target {
            key(&mut head, 1);
            push_text(&mut head, target);
        }
        if let Some(status) = status {
            key(&mut head, 2);
            push_head(&mut head, Head::Positive(status.into()));
        }
        if !fields.0.is_empty() {
            key(&mut head, 3);
            push_head(&mut head, Head::Array(Some(fields.0.len())));
            for (name, value) in fields.iter() {
                push_head(&mut head, Head::Array(Some(2)));
                push_text(&mut head, name);
                push_bytes(&mut head, value);
            }
        }
        if let Some(body) = body {
            key(&mut head, 4);
            push_head(&mut head, Head::Bytes(Some(body.len())));
        }
        Plaintext { head, body: body.unwrap_or_default() }
    }
}
