//! What can be wrong with a request that came without a seal, and would stay wrong, or be mended by one.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::seal::Reason;

/// What no SyncML client and no terminal sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Declined {
    /// It is no POST.
    Method,
    /// Its body is neither SyncML nor a seal, or in a content coding.
    MediaType,
}

impl Declined {
    /// The HTTP status that says so.
    pub const fn status(self) -> u16 {
        match self {
            Self::Method => 405,
            Self::MediaType => 415,
        }
    }

    /// A sentence for a person.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Method => "Here only POST is answered.",
            Self::MediaType => {
                "This takes SyncML, or a seal (application/cose; cose-type=\"cose-encrypt0\"), without a content coding."
            }
        }
    }
}

/// What is wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Objection {
    /// A reason of the protocol.
    Refused(Reason),
    /// It does not speak the protocol.
    Declined(Declined),
}

impl Objection {
    /// Every objection.
    pub const ALL: [Self; Reason::ALL.len() + 2] = {
        let mut all = [Self::Declined(Declined::Method); Reason::ALL.len() + 2];
        let mut n = 0;
        while n < Reason::ALL.len() {
            all[n] = Self::Refused(Reason::ALL[n]);
            n += 1;
        }
        all[n] = Self::Declined(Declined::MediaType);
        all
    };

    /// Its name in logs, metrics and policies.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused(reason) => reason.name(),
            Self::Declined(Declined::Method) => "method-not-allowed",
            Self::Declined(Declined::MediaType) => "unsupported-media-type",
        }
    }

    /// The objection with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|objection| objection.name() == name)
    }
}

impl fmt::Display for Objection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Objection {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'d> Deserialize<'d> for Objection {
    fn deserialize<D: Deserializer<'d>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Cow::<'_, str>::deserialize(deserializer)?;
        Self::from_name(&name).ok_or_else(|| de::Error::custom(format_args!("no reason is called {name:?}")))
    }
}
