//! How often init requests are taken: token buckets, one for all and one for each source address.
//!
//! An init request costs a private-key operation and a place for a session, and comes from strangers; the requests of
//! sealed sessions never pass here.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use governor::clock::DefaultClock;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed, StateStore};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use super::metrics::Limit;
use crate::net::source::Source;
use crate::policy::{GatewayPolicy, Rate};

/// Buckets for source addresses. Addresses share one by chance, and which share is known to nobody outside, so that
/// memory is bounded whatever many addresses an attacker has: 512 KiB.
const BUCKETS: usize = 1 << 16;

/// The buckets of init requests.
pub(super) struct InitRates {
    rates: (Rate, Rate),
    total: DefaultDirectRateLimiter,
    sources: RateLimiter<usize, Buckets, DefaultClock>,
    hasher: RandomState,
}

impl InitRates {
    /// Full buckets, as the policy has them.
    pub(super) fn new(policy: &GatewayPolicy) -> Self {
        let rates = (policy.init_rate, policy.init_rate_per_source);
        Self {
            rates,
            total: RateLimiter::direct(quota(rates.0)),
            sources: RateLimiter::new(quota(rates.1), Buckets::default(), DefaultClock::default()),
            hasher: RandomState::new(),
        }
    }

    /// Whether the policy says what these are made of.
    pub(super) fn are_of(&self, policy: &GatewayPolicy) -> bool {
        self.rates == (policy.init_rate, policy.init_rate_per_source)
    }

    /// Takes an init request of this client, or tells which rate it is over.
    pub(super) fn take(&self, client: IpAddr) -> Result<(), Limit> {
        let bucket = self.hasher.hash_one(Source::from(client)) as usize % BUCKETS;
        // Its source's first: who is over that takes nothing from the others.
        self.sources.check_key(&bucket).map_err(|_| Limit::InitRatePerSource)?;
        self.total.check().map_err(|_| Limit::InitRate)
    }
}

fn quota(rate: Rate) -> Quota {
    // No interval that a policy can have is zero.
    Quota::with_period(rate.interval).unwrap_or_else(|| Quota::per_second(rate.burst)).allow_burst(rate.burst)
}

/// A bucket for each of so many keys.
struct Buckets(Box<[InMemoryState]>);

impl Default for Buckets {
    fn default() -> Self {
        Self((0..BUCKETS).map(|_| InMemoryState::default()).collect())
    }
}

impl StateStore for Buckets {
    type Key = usize;

    fn measure_and_replace<T, F, E>(&self, key: &usize, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        self.0[key % BUCKETS].measure_and_replace(&NotKeyed::NonKey, f)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use super::*;

    /// Rates at which nothing comes back while a test runs.
    fn rates(total: u32, each: u32) -> InitRates {
        let rate = |burst| Rate { interval: Duration::from_secs(3600), burst: NonZeroU32::new(burst).unwrap() };
        InitRates {
            rates: (rate(total), rate(each)),
            total: RateLimiter::direct(quota(rate(total))),
            sources: RateLimiter::new(quota(rate(each)), Buckets::default(), DefaultClock::default()),
            hasher: RandomState::new(),
        }
    }

    fn at(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    #[test]
    fn a_source_over_its_rate_takes_nothing_from_others() {
        let rates = rates(3, 2);
        assert_eq!(rates.take(at("2001:db8::1")), Ok(()));
        assert_eq!(rates.take(at("2001:db8::2")), Ok(()));
        for _ in 0..10 {
            assert_eq!(rates.take(at("2001:db8::3")), Err(Limit::InitRatePerSource));
        }
        // By chance it shares a bucket once in 65536 times; another then does not.
        let others = ["192.0.2.1", "192.0.2.2", "192.0.2.3"];
        assert!(others.iter().any(|other| rates.take(at(other)) == Ok(())));
        assert!(others.iter().any(|other| rates.take(at(other)) == Err(Limit::InitRate)));
    }

    #[test]
    fn many_addresses_find_buckets_of_their_own() {
        let rates = rates(100_000, 1);
        let taken = (0..1000_u32).filter(|n| rates.take(IpAddr::V4((0xc000_0000 | n).into())).is_ok()).count();
        // Some eight pairs share one, on average.
        assert!((900..=1000).contains(&taken), "{taken}");
    }

    #[test]
    fn a_bucket_fills_again() {
        let rate = Rate { interval: Duration::from_nanos(1), burst: NonZeroU32::MIN };
        let limiter = RateLimiter::direct(quota(rate));
        limiter.check().unwrap();
        while limiter.check().is_err() {}
    }
}
