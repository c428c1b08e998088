//! Randomness: the system's generator, and the adapter through which the rsa crate draws from ours.

use super::{RandomFailed, SecureRandom};

/// The operating system's generator.
#[derive(Clone, Copy, Debug)]
pub struct SystemRandom;

impl SecureRandom for SystemRandom {
    fn fill(&self, out: &mut [u8]) -> Result<(), RandomFailed> {
        getrandom::fill(out).map_err(|_| RandomFailed)
    }
}

/// A [`SecureRandom`] as the rsa crate wants one.
///
/// The rsa crate has no way to hear that a generator failed: it draws through methods that cannot return an error, or
/// panics on one. So a failure is remembered here, what the crate asked for is filled with something, and
/// [`RsaRandom::finish`] throws away whatever was made of it.
pub(super) struct RsaRandom<'a> {
    random: &'a dyn SecureRandom,
    failed: bool,
    filler: u64,
}

impl<'a> RsaRandom<'a> {
    pub(super) fn new(random: &'a dyn SecureRandom) -> Self {
        Self { random, failed: false, filler: 0 }
    }

    /// What was made with this generator, unless the generator failed on the way.
    pub(super) fn finish<T>(self, made: T) -> Result<T, RandomFailed> {
        if self.failed { Err(RandomFailed) } else { Ok(made) }
    }
}

impl rand_core::RngCore for RsaRandom<'_> {
    fn next_u32(&mut self) -> u32 {
        rand_core::impls::next_u32_via_fill(self)
    }

    fn next_u64(&mut self) -> u64 {
        rand_core::impls::next_u64_via_fill(self)
    }

    fn fill_bytes(&mut self, out: &mut [u8]) {
        if !self.failed && self.random.fill(out).is_ok() {
            return;
        }
        self.failed = true;
        // No secret comes of these bytes. They only have to vary, because the search for primes goes on until it has
        // found two that differ (Knuth's MMIX generator).
        for byte in out {
            self.filler = self.filler.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = self.filler.to_be_bytes()[0];
        }
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill_bytes(out);
        Ok(())
    }
}

impl rand_core::CryptoRng for RsaRandom<'_> {}
