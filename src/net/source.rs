//! Who counts as one when what strangers take up is counted: an IPv4 address, or an IPv6 prefix.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// The address by which a client is counted. An IPv6 host has a whole /64 to choose from, so all of one is one source;
/// an IPv4 address that is written as IPv6 is the IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source(IpAddr);

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(v4) => IpAddr::V4(v4),
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
        })
    }
}

/// Places for each source, of which it has a fixed number. Clones share them. What is remembered is as much as is held.
#[derive(Clone, Debug)]
pub struct Shares {
    each: usize,
    held: Arc<Mutex<HashMap<Source, usize>>>,
}

impl Shares {
    /// So many for each source.
    pub fn new(each: usize) -> Self {
        Self { each, held: Arc::default() }
    }

    /// A place for this client, if its source has one left; given back when it is dropped.
    pub fn take(&self, client: IpAddr) -> Option<Share> {
        let source = Source::from(client);
        let mut all = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let held = all.get(&source).copied().unwrap_or_default();
        if held >= self.each {
            return None;
        }
        all.insert(source, held + 1);
        Some(Share { source, held: Arc::clone(&self.held) })
    }
}

/// A place that a source holds.
#[derive(Debug)]
pub struct Share {
    source: Source,
    held: Arc<Mutex<HashMap<Source, usize>>>,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut all = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut held) = all.entry(self.source) {
            if *held.get() > 1 {
                *held.get_mut() -= 1;
            } else {
                held.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_source_is_an_address_or_a_prefix() {
        let same = |one, other| Source::from(at(one)) == Source::from(at(other));
        assert!(same("2001:db8::1", "2001:db8::ffff:0:0:2"));
        assert!(!same("2001:db8::1", "2001:db8:0:1::1"));
        assert!(same("192.0.2.1", "::ffff:192.0.2.1"));
        assert!(!same("192.0.2.1", "192.0.2.2"));
    }

    #[test]
    fn a_source_has_its_places_and_no_more() {
        let shares = Shares::new(2);
        let held = [shares.take(at("2001:db8::1")).unwrap(), shares.take(at("2001:db8::2")).unwrap()];
        assert!(shares.take(at("2001:db8::3")).is_none());
        let others = shares.take(at("192.0.2.1")).unwrap();
        drop(held);
        let again = [shares.take(at("2001:db8::3")).unwrap(), shares.take(at("2001:db8::1")).unwrap()];
        assert!(shares.take(at("2001:db8::2")).is_none());
        drop((again, others));
        assert!(shares.held.lock().unwrap().is_empty());
    }
}
