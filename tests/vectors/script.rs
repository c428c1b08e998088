//! Our providers with the randomness of the vectors, so that what they make can be compared byte for byte; the key
//! exchange comes from other implementations.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Mutex;

use ml_kem::kem::{Decapsulate, KeyExport};
use ml_kem::{B32, DecapsulationKey, EncapsulationKey, MlKem768, Seed};
use serde_json::Value;
use syncseal::crypto::{
    ActiveKeyExchange, AeadKey, Algorithm, CompletedKeyExchange, CryptoProvider, InvalidKey, InvalidShare, Kek, Key,
    NamedGroup, Prk, RandomFailed, RsaPrivateKey, RsaUnwrap, SecureRandom, SharedSecret,
};
use x25519_dalek::{PublicKey, StaticSecret};

use crate::file::{array, bytes};

/// Gives the bytes of the vectors, and fails when they are used up.
pub(crate) struct Script(Mutex<VecDeque<u8>>);

impl Script {
    pub(crate) fn new(parts: &[&[u8]]) -> Self {
        Self(Mutex::new(parts.concat().into()))
    }

    pub(crate) fn is_used_up(&self) -> bool {
        self.0.lock().unwrap().is_empty()
    }
}

impl SecureRandom for Script {
    fn fill(&self, out: &mut [u8]) -> Result<(), RandomFailed> {
        let mut left = self.0.lock().unwrap();
        out.iter_mut().try_for_each(|byte| left.pop_front().map(|next| *byte = next)).ok_or(RandomFailed)
    }
}

/// One party's half of a key exchange, by x25519-dalek and ml-kem.
pub(crate) struct Private {
    x25519: StaticSecret,
    mlkem_seed: Option<[u8; 64]>,
    mlkem_m: Option<[u8; 32]>,
}

impl Private {
    pub(crate) fn read(private: &Value) -> Self {
        Self {
            x25519: StaticSecret::from(array::<32>(&private["x25519"])),
            mlkem_seed: private.get("mlkem_seed_d_z").map(array),
            mlkem_m: private.get("mlkem_m").map(array),
        }
    }

    fn decapsulation_key(&self) -> Option<DecapsulationKey<MlKem768>> {
        self.mlkem_seed.map(|seed| DecapsulationKey::from_seed(Seed::from(seed)))
    }

    /// The terminal's share.
    pub(crate) fn terminal_share(&self) -> Vec<u8> {
        let mut share =
            self.decapsulation_key().map_or_else(Vec::new, |key| key.encapsulation_key().to_bytes().to_vec());
        share.extend_from_slice(PublicKey::from(&self.x25519).as_bytes());
        share
    }

    /// The shared secret, as the terminal computes it.
    pub(crate) fn complete(&self, gateway_share: &[u8]) -> Vec<u8> {
        let (ciphertext, point) = gateway_share.split_at(gateway_share.len() - 32);
        let mut secret =
            self.decapsulation_key().map_or_else(Vec::new, |key| key.decapsulate_slice(ciphertext).unwrap().to_vec());
        secret.extend_from_slice(&self.diffie_hellman(point));
        secret
    }

    /// The gateway's share and the shared secret, as the gateway computes them.
    pub(crate) fn answer(&self, terminal_share: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let (encapsulation_key, point) = terminal_share.split_at(terminal_share.len() - 32);
        let (mut share, mut secret) = (Vec::new(), Vec::new());
        if let Some(m) = self.mlkem_m {
            let key = EncapsulationKey::<MlKem768>::new(&encapsulation_key.try_into().unwrap()).unwrap();
            let (ciphertext, shared) = key.encapsulate_deterministic(&B32::from(m));
            share.extend_from_slice(&ciphertext);
            secret.extend_from_slice(&shared);
        }
        share.extend_from_slice(PublicKey::from(&self.x25519).as_bytes());
        secret.extend_from_slice(&self.diffie_hellman(point));
        (share, secret)
    }

    fn diffie_hellman(&self, point: &[u8]) -> [u8; 32] {
        self.x25519.diffie_hellman(&PublicKey::from(<[u8; 32]>::try_from(point).unwrap())).to_bytes()
    }
}

/// A provider whose key exchange is that of a session of the vectors, and which remembers what it expanded.
pub(crate) struct Scripted<'a> {
    inner: &'static dyn CryptoProvider,
    session: &'a Value,
    expanded: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl<'a> Scripted<'a> {
    pub(crate) fn new(inner: &'static dyn CryptoProvider, session: &'a Value) -> Self {
        Self { inner, session, expanded: Mutex::default() }
    }

    /// The output of HKDF-Expand under this label.
    pub(crate) fn expanded(&self, label: impl AsRef<[u8]>) -> Vec<u8> {
        let label = label.as_ref();
        let derived = self.expanded.lock().unwrap().get(label).cloned();
        derived.unwrap_or_else(|| panic!("{} was not derived", String::from_utf8_lossy(label)))
    }
}

impl fmt::Debug for Scripted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scripted({})", self.inner.name())
    }
}

impl CryptoProvider for Scripted<'_> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn aead(&self, alg: Algorithm, key: &Key) -> Box<dyn AeadKey> {
        self.inner.aead(alg, key)
    }

    fn hkdf_extract(&self, salt: &[u8], ikm: &[u8]) -> Prk {
        self.inner.hkdf_extract(salt, ikm)
    }

    fn hkdf_expand(&self, prk: &Prk, info: &[u8], out: &mut [u8]) {
        self.inner.hkdf_expand(prk, info, out);
        self.expanded.lock().unwrap().insert(info.to_vec(), out.to_vec());
    }

    fn sha256(&self, parts: &[&[u8]]) -> [u8; 32] {
        self.inner.sha256(parts)
    }

    fn aes_wrap(&self, kek: &Kek, key: &Key) -> Vec<u8> {
        self.inner.aes_wrap(kek, key)
    }

    fn aes_unwrap(&self, kek: &Kek, wrapped: &[u8]) -> Option<Key> {
        self.inner.aes_unwrap(kek, wrapped)
    }

    fn rsa_unwrap(&self, key: &RsaPrivateKey) -> Result<Box<dyn RsaUnwrap>, InvalidKey> {
        self.inner.rsa_unwrap(key)
    }

    fn groups(&self) -> &'static [NamedGroup] {
        &NamedGroup::ALL
    }

    fn start_exchange(&self, group: NamedGroup) -> Option<Box<dyn ActiveKeyExchange>> {
        let private = Private::read(&self.session["terminal_private"]);
        Some(Box::new(Started { group, share: private.terminal_share(), private }))
    }

    fn answer_exchange(&self, group: NamedGroup, terminal_share: &[u8]) -> Result<CompletedKeyExchange, InvalidShare> {
        let (share, secret) = Private::read(&self.session["gateway_private"]).answer(terminal_share);
        Ok(CompletedKeyExchange { group, share, secret: SharedSecret::new(secret) })
    }
}

struct Started {
    group: NamedGroup,
    share: Vec<u8>,
    private: Private,
}

impl ActiveKeyExchange for Started {
    fn group(&self) -> NamedGroup {
        self.group
    }

    fn share(&self) -> &[u8] {
        &self.share
    }

    fn complete(self: Box<Self>, gateway_share: &[u8]) -> Result<SharedSecret, InvalidShare> {
        Ok(SharedSecret::new(self.private.complete(gateway_share)))
    }
}

/// K and, for an RSA key, the OAEP seed, in the order in which a terminal draws them.
pub(crate) fn terminal_random(session: &Value) -> Script {
    Script::new(&[&bytes(&session["k"]), &session.get("oaep_seed").map_or_else(Vec::new, bytes)])
}
