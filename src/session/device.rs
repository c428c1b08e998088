//! Names for devices in logs.

use std::fmt;

use crate::crypto::{CryptoProvider, RandomFailed, SecureRandom};

/// Turns device identities into names for logs: the same one has the same name for as long as the process runs, and
/// nobody can tell whose it is, not even by trying all that there could be.
#[derive(Clone, Copy)]
pub struct DeviceKey([u8; 32]);

impl DeviceKey {
    /// A fresh key.
    ///
    /// # Errors
    /// The system gave no randomness.
    pub fn new(random: &dyn SecureRandom) -> Result<Self, RandomFailed> {
        let mut key = Self([0; 32]);
        random.fill(&mut key.0)?;
        Ok(key)
    }

    /// The name of the device with this Source LocURI; white space around it does not count.
    pub fn device(&self, provider: &dyn CryptoProvider, source: &[u8]) -> Device {
        let [a, b, c, d, e, f, ..] = provider.sha256(&[&self.0, source.trim_ascii()]);
        Device([a, b, c, d, e, f])
    }
}

/// A device's name in logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device([u8; 6]);

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
