//! The protocol, pure: what a seal looks like, the keys it is made under, what it may contain, and what a refusal says.
//!
//! Bytes in, values out. No clock, no socket; randomness only through an argument. Knows documents through
//! [`crate::syncml`] and algorithms through [`crate::crypto`]; numbers, replay and lifetimes are left to
//! [`crate::session`].

pub mod resp_uri;

use std::fmt;

/// Where protection is applied (PROTOCOL section 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Layer {
    /// The user data inside the SyncML document.
    Data,
    /// The whole message with its HTTP target and headers.
    Message,
}

impl Layer {
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
