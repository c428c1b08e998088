//! Whom session keys may be wrapped for, by the policy: RSA keys and the terminals' secrets, each for its time, and the
//! devices that a secret is limited to.

use std::collections::HashMap;
use std::sync::Arc;

use crate::crypto::{KeyName, KeyTransport};
use crate::policy::{Devices, GatewayPolicy, Recipient};
use crate::seal::{CurrentRecipients, Kid, Recipients};
use crate::session::UnixTime;

/// What a policy says of keys and secrets.
pub(super) struct Keyring {
    recipients: Recipients,
    /// The RSA keys, for those who ask what is supported.
    rsa_keys: Vec<Recipient>,
    devices: HashMap<KeyName, Devices>,
}

impl Keyring {
    pub(super) fn new(policy: &GatewayPolicy) -> Self {
        let has = |kt| policy.key_transports.contains(&kt);
        let mut ring = Self { recipients: Recipients::default(), rsa_keys: Vec::new(), devices: HashMap::new() };
        if has(KeyTransport::RsaOaep256) {
            ring.rsa_keys.clone_from(&policy.recipients);
        }
        for Recipient { public, unwrap, accept_until, .. } in &ring.rsa_keys {
            ring.recipients.add_rsa_key(public, Arc::clone(unwrap), accept_until.map(|until| until.0));
        }
        for secret in policy.secrets.iter().filter(|_| has(KeyTransport::A256Kw)) {
            let (name, until) = (secret.name.clone(), secret.expires.map(|until| until.0));
            ring.recipients.add_secret(policy.provider, name.clone(), &secret.secret, until);
            ring.devices.extend(secret.devices.clone().map(|devices| (name, devices)));
        }
        ring
    }

    /// The keys and secrets of `now`.
    pub(super) fn at(&self, now: UnixTime) -> CurrentRecipients<'_> {
        self.recipients.at(now.0)
    }

    /// The RSA keys of `now`, the active one first.
    pub(super) fn rsa_keys(&self, now: UnixTime) -> impl Iterator<Item = &Recipient> {
        self.rsa_keys.iter().filter(move |key| key.accept_until.is_none_or(|until| now < until))
    }

    /// Whether a terminal that has shown `kid` may speak for the device with this Source LocURI.
    pub(super) fn admits(&self, kid: &Kid, source: &[u8]) -> bool {
        match kid {
            Kid::Rsa(_) => true,
            Kid::Secret(name) => self.devices.get(name).is_none_or(|devices| devices.contain(source)),
        }
    }
}
