//! By what a store knows SyncML sessions, targets and sources. Of ids and targets, which a terminal and a server may make
//! as long as they like, only digests are kept.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use sha2::{Digest as _, Sha256};

use super::{Digest, SyncMessage};

/// How much of a SyncML session's first target is kept, to see what lies above it.
const FIRST_TARGET: usize = 512;

/// A SyncML session, by route, Source and SessionID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct SyncKey(pub(super) Digest);

impl SyncKey {
    pub(super) fn of(message: &SyncMessage<'_>) -> Self {
        Self(hash(&[message.route.as_bytes(), message.source.trim_ascii(), message.session_id.trim_ascii()]))
    }
}

/// A route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RouteKey(Digest);

impl RouteKey {
    pub(super) fn of(message: &SyncMessage<'_>) -> Self {
        Self(hash(&[message.route.as_bytes()]))
    }
}

/// A target, by route, path and query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct TargetKey(pub(super) Digest);

impl TargetKey {
    pub(super) fn of(route: &RouteKey, target: &[u8]) -> Self {
        Self(hash(&[&route.0, target]))
    }
}

/// The beginning of a target.
pub(super) fn head(target: &[u8]) -> &[u8] {
    target.get(..FIRST_TARGET).unwrap_or(target)
}

/// SHA-256 of the parts, each after its length.
fn hash(parts: &[&[u8]]) -> Digest {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// The address by which sources are counted. An IPv6 host has a whole /64 to choose from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Source(IpAddr);

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(v4) => IpAddr::V4(v4),
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
