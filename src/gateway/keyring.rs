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
    /// When each secret expires, if it does.
    secret_ends: Vec<Option<UnixTime>>,
}

impl Keyring {
    pub(super) fn new(policy: &GatewayPolicy) -> Self {
        let has = |kt| policy.key_transports.contains(&kt);
        let (recipients, rsa_keys, devices, secret_ends) = Default::default();
        let mut ring = Self { recipients, rsa_keys, devices, secret_ends };
        if has(KeyTransport::RsaOaep256) {
            ring.rsa_keys.clone_from(&policy.recipients);
        }
        for Recipient { public, unwrap, accept_until, .. } in &ring.rsa_keys {
            ring.recipients.add_rsa_key(public, Arc::clone(unwrap), accept_until.map(|until| until.0));
        }
        for secret in policy.secrets.iter().filter(|_| has(KeyTransport::A256Kw)) {
            let (name, until) = (secret.name.clone(), secret.expires.map(|until| until.0));
            ring.recipients.add_secret(policy.provider, name.clone(), &secret.secret, until);
            ring.secret_ends.push(secret.expires);
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

    /// The RSA keys that have an end, past or to come.
    pub(super) fn key_ends(&self) -> impl Iterator<Item = (String, UnixTime)> {
        self.rsa_keys.iter().filter_map(|key| Some((key.key_id().to_string(), key.accept_until?)))
    }

    /// When the secrets expire that are valid at `now`, if they do.
    pub(super) fn secret_ends(&self, now: UnixTime) -> impl Iterator<Item = Option<UnixTime>> {
        self.secret_ends.iter().copied().filter(move |end| end.is_none_or(|end| now < end))
    }

    /// How many secrets there are, expired or not.
    pub(super) fn n_secrets(&self) -> usize {
        self.secret_ends.len()
    }

    /// Whether anybody can begin a sealed session at `now`.
    pub(super) fn is_usable(&self, now: UnixTime) -> bool {
        self.rsa_keys(now).next().is_some() || self.secret_ends(now).next().is_some()
    }

    /// Whether a terminal that has shown `kid` may speak for the device with this Source LocURI.
    pub(super) fn admits(&self, kid: &Kid, source: &[u8]) -> bool {
        match kid {
            Kid::Rsa(_) => true,
            Kid::Secret(name) => self.devices.get(name).is_none_or(|devices| devices.contain(source)),
        }
    }
}
