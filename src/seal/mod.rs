//! The protocol, pure: what a seal looks like, the keys it is made under, what it may contain, and what a refusal says.
//!
//! Bytes in, values out. No clock, no socket; randomness only through an argument. Knows documents through
//! [`crate::syncml`] and algorithms through [`crate::crypto`]; numbers, replay and lifetimes are left to
//! [`crate::session`].

pub mod data;
pub mod resp_uri;

use std::fmt;

pub use base64::{decode_base64, encode_base64};
pub use cbor::check_item;
pub use header::{Encrypt0, Init, InitHeader, KeyShare, NumberedHeader, ReplyHeader, SealedRequest, VersionedInit};
pub use header::{decode_init_response, decode_request, decode_response};
pub use init::{Accepts, CheckedInit, CurrentRecipients, Established, InitParameters, InitRequest, InitResponse};
pub use init::{InitResponseError, Kid, OpenedInit, PendingInit, Recipient, Recipients, SecretFingerprint};
pub use init::{StartInitError, UnwrappedInit};
pub use message::{Extras, Fields, HandshakePlaintext, Plaintext, Request, Response};
pub use record::{InvalidStoreKey, StoreKey};
pub use refusal::{Refusal, RefusalReason};
pub use schedule::{NO_DOCUMENT, SessionKeys, enc_structure, external_aad, nonce};
pub use target::Target;

mod base64;
mod cbor;
mod header;
mod init;
mod message;
mod record;
mod refusal;
mod schedule;
mod target;
#[cfg(test)]
mod tests;

/// The content type of a seal in the message layer (PROTOCOL section 5).
pub const CONTENT_TYPE: &str = "application/cose; cose-type=\"cose-encrypt0\"";

/// What was received is not what the protocol allows there, and why. The peer hears `malformed`; the cause is for logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not one item of deterministic CBOR, or not of the type that belongs there.
    #[error("not the deterministic CBOR that belongs there")]
    Cbor,
    /// Not a COSE_Encrypt0 as section 4 has it.
    #[error("not a COSE_Encrypt0 as it belongs there")]
    Frame,
    /// A protected header with a missing, unknown or misplaced parameter.
    #[error("a protected header with a missing, unknown or misplaced parameter")]
    Header,
    /// A seal under another algorithm than its session's, or in the other layer.
    #[error("a seal that is not of its session")]
    Session,
    /// A plaintext with a missing, unknown or misplaced key.
    #[error("a plaintext with a missing, unknown or misplaced key")]
    Plaintext,
    /// A content type that does not belong there.
    #[error("a content type that does not belong there")]
    ContentType,
    /// A header field that may not travel.
    #[error("a header field that may not travel")]
    Field,
    /// A request target that the route does not allow.
    #[error("a request target that is not allowed")]
    Target,
    /// A key share that is not one.
    #[error("an invalid key share")]
    Share,
    /// A document that is not one of the data layer (section 6).
    #[error("a document that is not one of the data layer")]
    Document,
    /// Not canonical base64.
    #[error("not canonical base64")]
    Base64,
    /// Not a refusal.
    #[error("not a refusal")]
    Refusal,
}

impl From<Malformed> for Reason {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// Where protection is applied (PROTOCOL section 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Layer {
    /// The user data inside the SyncML document.
    Data,
    /// The whole message with its HTTP target and headers.
    Message,
}

impl Layer {
    /// Both layers, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::Data, Self::Message];

    /// The layer with this number on the wire.
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|layer| u64::from(layer.number()) == number)
    }

    /// Its number on the wire.
    pub const fn number(self) -> u8 {
        match self {
            Self::Data => 0,
            Self::Message => 1,
        }
    }

    /// Its name in policies and refusals.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Message => "message",
        }
    }
}

/// The direction of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Terminal to gateway.
    C2s,
    /// Gateway to terminal.
    S2c,
}

impl Direction {
    /// Its number in the authenticated data.
    pub const fn number(self) -> u8 {
        match self {
            Self::C2s => 0,
            Self::S2c => 1,
        }
    }
}

/// A sealed session's id: 16 bytes that the gateway draws (PROTOCOL section 3.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sid(pub [u8; 16]);

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sid({self})")
    }
}

/// The number of a request and of its response: at most 2^40 - 1 (PROTOCOL section 3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Number(u64);

impl Number {
    /// The number of the init request and response.
    pub const ZERO: Self = Self(0);
    /// The highest.
    pub const MAX: Self = Self((1 << 40) - 1);

    /// The number with this value; `None` over [`Number::MAX`].
    pub const fn new(value: u64) -> Option<Self> {
        if value <= Self::MAX.0 { Some(Self(value)) } else { None }
    }

    /// Its value.
    pub const fn value(self) -> u64 {
        self.0
    }

    /// The one that follows; `None` after [`Number::MAX`].
    pub const fn next(self) -> Option<Self> {
        Self::new(self.0 + 1)
    }
}

/// Why a request is refused (PROTOCOL section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// A SyncML request without an encryption indicator, where policy requires one.
    EncryptionRequired,
    /// Policy wants the other layer here.
    LayerUnsupported,
    /// `alg` is unknown or not allowed, at any key length.
    AlgorithmUnsupported,
    /// The algorithm is supported, but not at this key length.
    KeyLengthUnsupported,
    /// `kt` is unknown or not allowed.
    KeyTransportUnsupported,
    /// Policy requires a key exchange; none, or only of an unsupported group, was offered.
    KeyExchangeRequired,
    /// The `init` version is not 1.
    VersionUnsupported,
    /// No RSA key with that `kid`.
    KeyUnknown,
    /// An early message that section 3.5 does not let in.
    EarlyRefused,
    /// No session with that `sid`.
    SessionUnknown,
    /// The SyncML session belongs to someone else (section 8.2).
    SessionBound,
    /// The number was used (section 3.4).
    Replayed,
    /// The seal did not open, for whatever cause.
    CannotOpen,
    /// Not a well-formed seal, document, plaintext or target.
    Malformed,
    /// Over the message limit.
    TooLarge,
    /// Load is shed.
    Overloaded,
    /// The legacy server could not be reached.
    UpstreamUnreachable,
    /// The legacy server did not answer in time.
    UpstreamTimeout,
    /// The legacy server's answer cannot be passed on.
    UpstreamInvalid,
}

impl Reason {
    /// Every reason, in the order of the table.
    pub const ALL: [Self; 19] = [
        Self::EncryptionRequired,
        Self::LayerUnsupported,
        Self::AlgorithmUnsupported,
        Self::KeyLengthUnsupported,
        Self::KeyTransportUnsupported,
        Self::KeyExchangeRequired,
        Self::VersionUnsupported,
        Self::KeyUnknown,
        Self::EarlyRefused,
        Self::SessionUnknown,
        Self::SessionBound,
        Self::Replayed,
        Self::CannotOpen,
        Self::Malformed,
        Self::TooLarge,
        Self::Overloaded,
        Self::UpstreamUnreachable,
        Self::UpstreamTimeout,
        Self::UpstreamInvalid,
    ];

    /// The reason with this name, if it is one of ours.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }

    /// Its name on the wire, in logs and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EncryptionRequired => "encryption-required",
            Self::LayerUnsupported => "layer-unsupported",
            Self::AlgorithmUnsupported => "algorithm-unsupported",
            Self::KeyLengthUnsupported => "key-length-unsupported",
            Self::KeyTransportUnsupported => "key-transport-unsupported",
            Self::KeyExchangeRequired => "key-exchange-required",
            Self::VersionUnsupported => "version-unsupported",
            Self::KeyUnknown => "key-unknown",
            Self::EarlyRefused => "early-refused",
            Self::SessionUnknown => "session-unknown",
            Self::SessionBound => "session-bound",
            Self::Replayed => "replayed",
            Self::CannotOpen => "cannot-open",
            Self::Malformed => "malformed",
            Self::TooLarge => "too-large",
            Self::Overloaded => "overloaded",
            Self::UpstreamUnreachable => "upstream-unreachable",
            Self::UpstreamTimeout => "upstream-timeout",
            Self::UpstreamInvalid => "upstream-invalid",
        }
    }

    /// Its HTTP status.
    pub const fn status(self) -> u16 {
        match self {
            Self::EncryptionRequired | Self::LayerUnsupported => 403,
            Self::AlgorithmUnsupported
            | Self::KeyLengthUnsupported
            | Self::KeyTransportUnsupported
            | Self::KeyExchangeRequired
            | Self::VersionUnsupported
            | Self::KeyUnknown => 406,
            Self::EarlyRefused => 417,
            Self::SessionUnknown => 410,
            Self::SessionBound | Self::Replayed => 409,
            Self::CannotOpen | Self::Malformed => 400,
            Self::TooLarge => 413,
            Self::Overloaded => 503,
            Self::UpstreamUnreachable | Self::UpstreamInvalid => 502,
            Self::UpstreamTimeout => 504,
        }
    }

    /// The status that says it in a SyncML document, where 412 stands for 400 (section 7).
    pub const fn syncml_status(self) -> u16 {
        match self.status() {
            400 => 412,
            status => status,
        }
    }
}
