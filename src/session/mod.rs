//! Sealed sessions as state: who may go on with what, and what is answered a second time.
//!
//! On the gateway's side [`SessionStore`] is the port behind which everything lies that the replicas of a gateway must
//! agree on: lifetimes and caps (PROTOCOL sections 3.6, 8.1), numbers and retransmission (3.4), the memory of early
//! messages (3.5), and whose each SyncML session is (8.2). [`MemoryStore`] keeps it in this process, [`redis`] where all
//! replicas reach it. On the terminal's
//! side [`terminal`] keeps a sealed session for each SyncML session (9).
//!
//! Nothing here opens or seals, reads documents, knows HTTP or looks at a clock: time is always an argument. Only
//! [`WallClock`] tells it, to whoever hands it in.

use std::fmt;
use std::time::Duration;

use crate::seal::Reason;

#[cfg(test)]
mod conformance;
mod device;
mod memory;
mod names;
mod numbers;
pub mod redis;
mod store;
pub mod terminal;
mod time;

pub use device::{Device, DeviceKey};
pub use memory::{Accepted, MemoryStore, Passed, Reserved};
pub use store::{
    Answer, CheckedMessage, Counts, Digest, Kid, Listed, ListedStage, Outcome, Probe, Response, Sender, Session,
    SessionFacts, SessionList, SessionStore, SyncMessage, Waiter,
};
pub use time::{TimeSource, WallClock};

/// A time in seconds since 1970-01-01T00:00:00Z.
///
/// For early messages it must be the wall clock, for lifetimes any clock that does not go back will do; a step back
/// makes nothing end early and nothing be taken twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnixTime(pub u64);

impl UnixTime {
    /// The time that lies `duration` after this one; parts of a second do not count.
    #[must_use]
    pub const fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration.as_secs()))
    }

    /// How much later this is than `earlier`; zero if it is not.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for UnixTime {
    /// As in RFC 3339, in UTC; a time that has no calendar date in seconds since 1970.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match i64::try_from(self.0).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok()) {
            Some(time) => write!(f, "{time}"),
            None => write!(f, "{} s after 1970", self.0),
        }
    }
}

/// What a gateway's store is bounded by. Every bound is inclusive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A sealed session ends after this long without an accepted request or its answer. 10 min.
    pub idle: Duration,
    /// The same once it was told `end`. 60 s.
    pub idle_after_end: Duration,
    /// The same until its second request comes. 60 s.
    pub second_request: Duration,
    /// A sealed session ends at this age, in use or not. 24 h.
    pub age: Duration,
    /// A sealed session takes so many numbered requests. 2^20.
    pub requests: u64,
    /// Sealed sessions in all. 65,536.
    pub sessions: usize,
    /// Sealed sessions from one source address (IPv6: from one /64). 1,024.
    pub sessions_per_source: usize,
    /// Sealed sessions under one shared secret's key name. 256.
    pub sessions_per_secret: usize,
    /// Sealed sessions under one RSA key, which all terminals share. 65,536.
    pub sessions_per_rsa_key: usize,
    /// Bytes of stored responses, over all sealed sessions. 64 MiB.
    pub stored_responses: usize,
    /// How far an early message's time of issue may lie from the clock. 300 s.
    pub early_window: Duration,
    /// Early messages that are remembered; when there are so many, no further one is taken. 65,536.
    pub early_messages: usize,
    /// A SyncML session can pass to another owner when its owner has been idle for this long. 60 s.
    pub owner_idle: Duration,
    /// SyncML sessions that one sealed session may carry at a time. 8.
    pub sync_sessions: usize,
    /// Targets that one SyncML session may be given; of more, the latest count. 16.
    pub targets: usize,
    /// Targets that are known to be nobody's; of more, the latest count. 4,096.
    pub shared_targets: usize,
    /// SyncML sessions in plaintext, where policy permits it. 16,384.
    pub plaintext_sync_sessions: usize,
    /// SyncML sessions in plaintext from one source address (IPv6: from one /64). 1,024.
    pub plaintext_sync_sessions_per_source: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(600),
            idle_after_end: Duration::from_secs(60),
            second_request: Duration::from_secs(60),
            age: Duration::from_secs(24 * 60 * 60),
            requests: 1 << 20,
            sessions: 65_536,
            sessions_per_source: 1_024,
            sessions_per_secret: 256,
            sessions_per_rsa_key: 65_536,
            stored_responses: 64 << 20,
            early_window: Duration::from_secs(300),
            early_messages: 65_536,
            owner_idle: Duration::from_secs(60),
            sync_sessions: 8,
            targets: 16,
            shared_targets: 4_096,
            plaintext_sync_sessions: 16_384,
            plaintext_sync_sessions_per_source: 1_024,
        }
    }
}

/// Why a request is not taken. [`Refused::reason`] is what the terminal is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refused {
    /// No sealed session has this id, or no longer.
    #[error("there is no such sealed session")]
    SessionUnknown,
    /// The number was used, and it is not a retransmission that can still be answered.
    #[error("the number was used before")]
    Replayed,
    /// It waited for the answer to the request that it repeats, and a newer repetition took its place.
    #[error("a newer retransmission waits in its place")]
    Overtaken,
    /// The SyncML session, or the target, is someone else's.
    #[error("the SyncML session belongs to another sealed session")]
    SessionBound,
    /// The time of issue is too far from the clock.
    #[error("the early message was not issued just now")]
    EarlyOutOfWindow,
    /// It was issued before the memory of early messages began: nobody knows whether it came before.
    #[error("the early message is older than the memory of early messages")]
    EarlyBeforeMemory,
    /// The early message came before.
    #[error("the early message came before")]
    EarlySeen,
    /// The memory of early messages is full.
    #[error("the memory of early messages is full")]
    EarlyMemoryFull,
    /// The cap on sealed sessions is reached, and all are established.
    #[error("too many sealed sessions")]
    SessionsFull,
    /// The cap on sealed sessions from this source address is reached.
    #[error("too many sealed sessions from this address")]
    SourceFull,
    /// The cap on sealed sessions under this key id is reached.
    #[error("too many sealed sessions under this key")]
    KidFull,
    /// The id was drawn before: the source of randomness is broken.
    #[error("the session id is in use")]
    SidTaken,
    /// The cap on SyncML sessions, of the sealed session or in plaintext, is reached.
    #[error("too many SyncML sessions")]
    SyncSessionsFull,
    /// The store is out of reach: nothing is known, and nothing was changed that matters.
    #[error("the session store is out of reach")]
    StoreUnavailable,
}

impl Refused {
    /// What the terminal is told (PROTOCOL section 7).
    pub const fn reason(self) -> Reason {
        match self {
            Self::SessionUnknown => Reason::SessionUnknown,
            Self::Replayed => Reason::Replayed,
            Self::SessionBound => Reason::SessionBound,
            Self::EarlyOutOfWindow | Self::EarlyBeforeMemory | Self::EarlySeen | Self::EarlyMemoryFull => {
                Reason::EarlyRefused
            }
            Self::Overtaken
            | Self::SessionsFull
            | Self::SourceFull
            | Self::KidFull
            | Self::SidTaken
            | Self::SyncSessionsFull
            | Self::StoreUnavailable => Reason::Overloaded,
        }
    }
}
