//! Whom a gateway's session keys may be wrapped for: its RSA keys, and the secrets that it shares with one terminal each;
//! each until its time.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::crypto::{
    CryptoProvider, InvalidKey, Kek, KeyId, KeyName, RsaPrivateKey, RsaPublicKey, RsaUnwrap, TerminalSecret,
};
use crate::seal::schedule::{derive_fingerprint, derive_kek};

/// The key id under which a session key travelled (PROTOCOL section 2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Kid {
    /// An RSA key of the gateway: says nothing of who the terminal is.
    Rsa(KeyId),
    /// The name of a secret that is shared with one terminal, which it authenticates.
    Secret(KeyName),
}

/// Tells a secret from another that goes by the same name, and nothing else of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecretFingerprint(pub [u8; 16]);

impl SecretFingerprint {
    /// That of `secret`.
    pub fn of(provider: &dyn CryptoProvider, secret: &TerminalSecret) -> Self {
        Self(derive_fingerprint(provider, secret))
    }
}

/// A gateway's RSA keys, ready to unwrap, and the keys of its terminals' secrets. Each may have an end, in seconds since
/// 1970-01-01T00:00:00Z: from that second on it is unknown.
#[derive(Clone, Default)]
pub struct Recipients {
    rsa_keys: Vec<RsaRecipient>,
    secrets: Arc<HashMap<KeyName, SecretRecipient>>,
}

#[derive(Clone)]
pub(super) struct RsaRecipient {
    id: KeyId,
    pub(super) modulus_len: usize,
    pub(super) key: Arc<dyn RsaUnwrap>,
    until: Option<u64>,
}

#[derive(Clone)]
pub(super) struct SecretRecipient {
    pub(super) kek: Arc<Kek>,
    pub(super) fingerprint: SecretFingerprint,
    until: Option<u64>,
}

impl Recipients {
    /// Prepares these RSA keys, without an end.
    pub fn new<'k>(
        provider: &dyn CryptoProvider,
        keys: impl IntoIterator<Item = &'k RsaPrivateKey>,
    ) -> Result<Self, InvalidKey> {
        let mut recipients = Self::default();
        for key in keys {
            recipients.add_rsa_key(key.public(), provider.rsa_unwrap(key)?.into(), None);
        }
        Ok(recipients)
    }

    /// Adds an RSA key that is prepared already, with its public half. Refusals name the keys in the order in which they
    /// were added.
    pub fn add_rsa_key(&mut self, public: &RsaPublicKey, key: Arc<dyn RsaUnwrap>, until: Option<u64>) {
        self.rsa_keys.push(RsaRecipient { id: public.key_id(), modulus_len: public.modulus_len(), key, until });
    }

    /// Adds a secret. One that was added before under this name is forgotten.
    pub fn add_secret(
        &mut self,
        provider: &dyn CryptoProvider,
        name: KeyName,
        secret: &TerminalSecret,
        until: Option<u64>,
    ) {
        let kek = Arc::new(derive_kek(provider, &name, secret));
        let fingerprint = SecretFingerprint::of(provider, secret);
        Arc::make_mut(&mut self.secrets).insert(name, SecretRecipient { kek, fingerprint, until });
    }

    /// Those of `now`.
    pub fn at(&self, now: u64) -> CurrentRecipients<'_> {
        CurrentRecipients { recipients: self, now }
    }
}

impl fmt::Debug for Recipients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<KeyId> = self.rsa_keys.iter().map(|key| key.id).collect();
        f.debug_struct("Recipients").field("rsa_keys", &ids).field("secrets", &self.secrets.len()).finish()
    }
}

/// The keys and secrets whose end has not come.
#[derive(Clone, Copy, Debug)]
pub struct CurrentRecipients<'r> {
    recipients: &'r Recipients,
    now: u64,
}

impl<'r> CurrentRecipients<'r> {
    /// The ids of the RSA keys, in the order in which they were added.
    pub fn key_ids(self) -> impl Iterator<Item = KeyId> + 'r {
        self.rsa_keys().map(|recipient| recipient.id)
    }

    /// Whether a sealed session that began under `kid` may go on: it ends with the secret that authenticates its terminal,
    /// `secret`, which another of the same name does not replace, but outlives an RSA key, which has done all it was for.
    pub fn upholds(self, kid: &Kid, secret: Option<SecretFingerprint>) -> bool {
        match kid {
            Kid::Rsa(_) => true,
            Kid::Secret(name) => self.secret(name).is_some_and(|known| Some(known.fingerprint) == secret),
        }
    }

    pub(super) fn rsa_key(self, id: KeyId) -> Option<&'r RsaRecipient> {
        self.rsa_keys().find(|recipient| recipient.id == id)
    }

    pub(super) fn secret(self, name: &KeyName) -> Option<&'r SecretRecipient> {
        self.recipients.secrets.get(name).filter(|secret| self.is_current(secret.until))
    }

    fn rsa_keys(self) -> impl Iterator<Item = &'r RsaRecipient> {
        self.recipients.rsa_keys.iter().filter(move |recipient| self.is_current(recipient.until))
    }

    fn is_current(self, until: Option<u64>) -> bool {
        until.is_none_or(|until| self.now < until)
    }
}
