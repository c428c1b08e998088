//! What a refusal says (PROTOCOL section 7): as CBOR map in a SyncML document, as problem details (RFC 9457) in an HTTP
//! response, and as a sentence for a person.
//!
//! The SyncML document around it is left to [`crate::syncml`]. A refusal that was read is not authentic.

use std::fmt;

use coset::cbor::Value;
use serde::{Deserialize, Serialize};

use super::cbor::{Key, Reader};
use super::{Accepts, CurrentRecipients, Layer, Malformed, Reason};
use crate::crypto::{Algorithm, KeyId, KeyTransport, NamedGroup};

/// What the `type` of problem details begins with.
const TYPE_PREFIX: &str = "urn:syncseal:refusal:";

/// A reason as it came, perhaps of a later version of the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefusalReason {
    /// One of ours.
    Known(Reason),
    /// Another.
    Unknown(String),
}

impl From<&str> for RefusalReason {
    fn from(name: &str) -> Self {
        Reason::from_name(name).map_or_else(|| Self::Unknown(name.to_owned()), Self::Known)
    }
}

impl fmt::Display for RefusalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Known(reason) => reason.name(),
            Self::Unknown(name) => name,
        })
    }
}

/// A refusal, and what would be accepted instead. Numbers are those of section 2, perhaps not ours: the peer that wrote
/// it may know more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: RefusalReason,
    /// Content-encryption algorithms, by COSE number.
    pub algorithms: Vec<i128>,
    /// Key transports, by COSE number.
    pub key_transports: Vec<i128>,
    /// Groups, by TLS NamedGroup number.
    pub groups: Vec<u64>,
    /// RSA key ids.
    pub keys: Vec<KeyId>,
    /// Layers, by number.
    pub layers: Vec<u64>,
    /// When to come again, in seconds.
    pub retry_after: Option<u64>,
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        Self::bare(RefusalReason::Known(reason))
    }
}

impl Refusal {
    fn bare(reason: RefusalReason) -> Self {
        Self {
            reason,
            algorithms: Vec::new(),
            key_transports: Vec::new(),
            groups: Vec::new(),
            keys: Vec::new(),
            layers: Vec::new(),
            retry_after: None,
        }
    }

    /// The refusal for this reason, with what a gateway accepts as far as the reason is about it.
    pub fn with_offers(reason: Reason, accepts: &Accepts, recipients: CurrentRecipients<'_>) -> Self {
        let all = reason == Reason::EncryptionRequired;
        let mut refusal = Self::from(reason);
        if all || matches!(reason, Reason::AlgorithmUnsupported | Reason::KeyLengthUnsupported) {
            refusal.algorithms = accepts.algorithms.iter().map(|alg| alg.cose_id().into()).collect();
        }
        if all || reason == Reason::KeyTransportUnsupported {
            refusal.key_transports = accepts.key_transports.iter().map(|kt| kt.cose_id().into()).collect();
        }
        if all || reason == Reason::KeyExchangeRequired {
            refusal.groups = accepts.groups.iter().map(|group| group.number().into()).collect();
        }
        if all || reason == Reason::KeyUnknown {
            refusal.keys = recipients.key_ids().collect();
        }
        if all || reason == Reason::LayerUnsupported {
            refusal.layers = accepts.layers.iter().map(|layer| layer.number().into()).collect();
        }
        refusal
    }

    /// The sentence in ASCII for a person: the reason, and what it means.
    pub fn sentence(&self) -> String {
        match &self.reason {
            RefusalReason::Known(reason) => format!("{}: {}", reason.name(), reason.title()),
            RefusalReason::Unknown(name) => name.clone(),
        }
    }

    /// The refusal map.
    pub fn to_map(&self) -> Vec<u8> {
        let array = |values: Vec<Value>| (!values.is_empty()).then_some(Value::Array(values));
        let int = |value: &i128| coset::cbor::value::Integer::try_from(*value).ok().map(Value::Integer);
        let entries = [
            (0, Some(Value::Text(self.reason.to_string()))),
            (1, array(self.algorithms.iter().filter_map(int).collect())),
            (2, array(self.key_transports.iter().filter_map(int).collect())),
            (3, array(self.groups.iter().map(|group| Value::from(*group)).collect())),
            (4, array(self.keys.iter().map(|key| Value::Bytes(key.0.to_vec())).collect())),
            (5, array(self.layers.iter().map(|layer| Value::from(*layer)).collect())),
            (7, self.retry_after.map(Value::from)),
        ];
        let present = entries.into_iter().filter_map(|(key, value)| Some((Value::from(key), value?)));
        let mut map = Vec::new();
        #[expect(clippy::expect_used, reason = "a Vec takes all that is written to it")]
        coset::cbor::into_writer(&Value::Map(present.collect()), &mut map).expect("a Vec grows");
        map
    }

    /// Reads a refusal map.
    pub fn from_map(map: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(map);
        let mut entries = reader.map()?;
        if reader.next_key(&mut entries)? != Some(Key::Int(0)) {
            return Err(Malformed::Refusal);
        }
        let mut refusal = Self::bare(reader.text()?.into());
        while let Some(key) = reader.next_key(&mut entries)? {
            match key {
                Key::Int(1) => refusal.algorithms = array(&mut reader, Reader::int)?,
                Key::Int(2) => refusal.key_transports = array(&mut reader, Reader::int)?,
                Key::Int(3) => refusal.groups = array(&mut reader, Reader::uint)?,
                Key::Int(4) => {
                    refusal.keys = array(&mut reader, |reader| {
                        reader.bytes()?.try_into().map(KeyId).map_err(|_| Malformed::Refusal)
                    })?;
                }
                Key::Int(5) => refusal.layers = array(&mut reader, Reader::uint)?,
                Key::Int(7) => refusal.retry_after = Some(reader.uint()?),
                _ => return Err(Malformed::Refusal),
            }
        }
        reader.finish()?;
        Ok(refusal)
    }

    /// Problem details, of the media type `application/problem+json`.
    pub fn to_problem(&self) -> Vec<u8> {
        let (title, status) = match &self.reason {
            RefusalReason::Known(reason) => (reason.title().to_owned(), Some(reason.status())),
            RefusalReason::Unknown(name) => (name.clone(), None),
        };
        let problem = Problem {
            kind: format!("{TYPE_PREFIX}{}", self.reason),
            title,
            status,
            detail: self.sentence(),
            algorithms: self.algorithms.iter().map(|alg| name_of(&ALGORITHMS, *alg)).collect(),
            key_transports: self.key_transports.iter().map(|kt| name_of(&KEY_TRANSPORTS, *kt)).collect(),
            groups: self.groups.iter().map(|group| name_of(&GROUPS, (*group).into())).collect(),
            keys: self.keys.iter().map(KeyId::to_string).collect(),
            layers: self.layers.iter().map(|layer| name_of(&LAYERS, (*layer).into())).collect(),
            retry_after: self.retry_after,
        };
        #[expect(clippy::expect_used, reason = "strings and numbers are always JSON")]
        serde_json::to_vec(&problem).expect("no value that JSON has not")
    }

    /// Reads problem details. Members and names that are not ours are passed over (RFC 9457, 3.2).
    pub fn from_problem(json: &[u8]) -> Result<Self, Malformed> {
        let problem: Problem = serde_json::from_slice(json).map_err(|_| Malformed::Refusal)?;
        let name = problem.kind.strip_prefix(TYPE_PREFIX).ok_or(Malformed::Refusal)?;
        let known_keys = problem.keys.iter().filter_map(|key| key.parse().ok());
        Ok(Self {
            reason: name.into(),
            algorithms: numbers_of(&ALGORITHMS, &problem.algorithms).collect(),
            key_transports: numbers_of(&KEY_TRANSPORTS, &problem.key_transports).collect(),
            groups: numbers_of(&GROUPS, &problem.groups).filter_map(|group| group.try_into().ok()).collect(),
            keys: known_keys.collect(),
            layers: numbers_of(&LAYERS, &problem.layers).filter_map(|layer| layer.try_into().ok()).collect(),
            retry_after: problem.retry_after,
        })
    }
}

fn array<'a, T>(
    reader: &mut Reader<'a>,
    mut item: impl FnMut(&mut Reader<'a>) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let count = reader.array()?;
    (0..count).map(|_| item(reader)).collect()
}

/// Problem details as they travel.
#[derive(Debug, Serialize, Deserialize)]
struct Problem {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    title: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(default)]
    detail: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    algorithms: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    key_transports: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    groups: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    keys: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    layers: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
}

type Names<const N: usize> = [(i128, &'static str); N];

const ALGORITHMS: Names<4> = [
    named_algorithm(Algorithm::A128Gcm),
    named_algorithm(Algorithm::A192Gcm),
    named_algorithm(Algorithm::A256Gcm),
    named_algorithm(Algorithm::ChaCha20Poly1305),
];
const KEY_TRANSPORTS: Names<2> =
    [named_key_transport(KeyTransport::RsaOaep256), named_key_transport(KeyTransport::A256Kw)];
const GROUPS: Names<2> = [named_group(NamedGroup::X25519), named_group(NamedGroup::X25519MlKem768)];
const LAYERS: Names<2> = [named_layer(Layer::Data), named_layer(Layer::Message)];

const fn named_algorithm(alg: Algorithm) -> (i128, &'static str) {
    (alg.cose_id() as i128, alg.name())
}

const fn named_key_transport(kt: KeyTransport) -> (i128, &'static str) {
    (kt.cose_id() as i128, kt.name())
}

const fn named_group(group: NamedGroup) -> (i128, &'static str) {
    (group.number() as i128, group.name())
}

const fn named_layer(layer: Layer) -> (i128, &'static str) {
    (layer.number() as i128, layer.name())
}

/// The name of a number; of one that has none, its digits.
fn name_of(names: &[(i128, &'static str)], number: i128) -> String {
    names.iter().find(|(known, _)| *known == number).map_or_else(|| number.to_string(), |(_, name)| (*name).to_owned())
}

fn numbers_of<'a>(names: &'a [(i128, &'static str)], texts: &'a [String]) -> impl Iterator<Item = i128> + 'a {
    texts.iter().filter_map(|text| names.iter().find(|(_, name)| name == text).map(|(number, _)| *number))
}

impl Reason {
    /// What it means, in words for a person, in ASCII.
    pub const fn title(self) -> &'static str {
        match self {
            Self::EncryptionRequired => "this server only takes sealed messages",
            Self::LayerUnsupported => "another layer is required here",
            Self::AlgorithmUnsupported => "the content encryption algorithm is not accepted",
            Self::KeyLengthUnsupported => "the algorithm is accepted, but not at this key length",
            Self::KeyTransportUnsupported => "the session key transport is not accepted",
            Self::KeyExchangeRequired => "an ephemeral key exchange is required",
            Self::VersionUnsupported => "only version 1 of the protocol is spoken here",
            Self::KeyUnknown => "there is no key with that identifier",
            Self::EarlyRefused => "make a handshake first",
            Self::SessionUnknown => "there is no such sealed session",
            Self::SessionBound => "the SyncML session belongs to another sealed session",
            Self::Replayed => "this message was already received",
            Self::CannotOpen => "the seal did not open",
            Self::Malformed => "the message is not well-formed",
            Self::TooLarge => "the message is too large",
            Self::Overloaded => "the gateway is overloaded, try again later",
            Self::UpstreamUnreachable => "the server could not be reached",
            Self::UpstreamTimeout => "the server did not answer in time",
            Self::UpstreamInvalid => "the server's answer cannot be passed on",
        }
    }
}
