//! The one form in which a session's keys leave this process: a record sealed for the other replicas of a gateway.
//!
//! A record is A256GCM under a key derived for one session from the fleet's store key, with the session's id as
//! authenticated data: whoever keeps records can neither read them nor give one for another. Where records are kept is
//! left to [`crate::session`]. A record must be used by that session only as long as what proves which numbers were
//! accepted is shared with it (PROTOCOL section 3.2: no state from a snapshot or copy).

use std::fmt;

use zeroize::Zeroizing;

use super::schedule::{DirectionKey, SessionKeys};
use super::{Layer, Sid};
use crate::crypto::{Algorithm, CryptoProvider, Key, NONCE_LEN, OpenFailed, Prk, TAG_LEN};

/// The secret that the replicas of a gateway share, and nobody else has. Zeroed on drop, never printed.
#[derive(PartialEq)]
pub struct StoreKey(Prk);

/// Text that is not a store key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a store key: it is 32 random bytes in base64, as `openssl rand -base64 32` prints them")]
pub struct InvalidStoreKey;

/// Its length, in bytes.
const STORE_KEY_LEN: usize = 32;
/// The form of a record's plaintext, which is its first byte.
const FORM: u8 = 1;
/// Each record has a key of its own, and is sealed once.
const NONCE: [u8; NONCE_LEN] = [0; NONCE_LEN];

impl StoreKey {
    /// From 32 bytes in base64; white space around them does not count.
    pub fn from_base64(provider: &dyn CryptoProvider, text: &str) -> Result<Self, InvalidStoreKey> {
        let bytes = super::decode_base64(text.trim().as_bytes()).map(Zeroizing::new).map_err(|_| InvalidStoreKey)?;
        if bytes.len() != STORE_KEY_LEN {
            return Err(InvalidStoreKey);
        }
        Ok(Self(provider.hkdf_extract(b"syncseal v1 store", &bytes)))
    }

    /// The name under which those who have this key find each other's records: says nothing of the key.
    pub fn namespace(&self, provider: &dyn CryptoProvider) -> [u8; 8] {
        let mut namespace = [0; 8];
        provider.hkdf_expand(&self.0, b"syncseal v1 store namespace", &mut namespace);
        namespace
    }

    /// What stands for a name where it is only compared: the same for the same name, and nobody without the key can tell
    /// from it what the name is, not even by trying all that there could be.
    pub fn pseudonym(&self, provider: &dyn CryptoProvider, name: &[u8]) -> [u8; 32] {
        let mut pseudonym = [0; 32];
        provider.hkdf_expand(&self.0, &[b"syncseal v1 store name".as_slice(), name].concat(), &mut pseudonym);
        pseudonym
    }

    /// The record of a session, sealed. `context` is what else belongs to it. To be made once for each session.
    pub fn seal_record(&self, provider: &dyn CryptoProvider, keys: &SessionKeys, context: &[u8]) -> Vec<u8> {
        let SessionKeys { alg, layer, sid, c2s, s2c } = keys;
        let parts = [c2s.key.expose(), c2s.iv.as_slice(), s2c.key.expose(), s2c.iv.as_slice(), context];
        let len = 3 + parts.iter().map(|part| part.len()).sum::<usize>();
        // One allocation, which no key outgrows and leaves behind: encrypted in place, the plaintext is gone.
        let mut record = Vec::with_capacity(len + TAG_LEN);
        // COSE numbers of our algorithms are small.
        record.extend_from_slice(&[FORM, u8::try_from(alg.cose_id()).unwrap_or_default(), layer.number()]);
        parts.iter().for_each(|part| record.extend_from_slice(part));
        let tag = self.aead(provider, *sid).seal_in_place(NONCE, &sid.0, &mut record);
        record.extend_from_slice(&tag);
        record
    }

    /// The keys and the context in a session's record.
    pub fn open_record(
        &self,
        provider: &dyn CryptoProvider,
        sid: Sid,
        record: &[u8],
    ) -> Result<(SessionKeys, Vec<u8>), OpenFailed> {
        let mut plaintext = Zeroizing::new(record.to_vec());
        self.aead(provider, sid).open_in_place(NONCE, &sid.0, &mut plaintext)?;
        let plaintext = plaintext.get(..record.len().saturating_sub(TAG_LEN)).ok_or(OpenFailed)?;
        // What opens was sealed here, so this fails only for another version's record.
        parse(provider, sid, plaintext).ok_or(OpenFailed)
    }

    fn aead(&self, provider: &dyn CryptoProvider, sid: Sid) -> Box<dyn crate::crypto::AeadKey> {
        let mut key = Zeroizing::new([0; 32]);
        provider.hkdf_expand(&self.0, &[b"syncseal v1 store record".as_slice(), &sid.0].concat(), key.as_mut_slice());
        #[expect(clippy::expect_used, reason = "an array of 32 bytes")]
        let key = Key::from_slice(key.as_slice()).expect("at most 32 bytes");
        provider.aead(Algorithm::A256Gcm, &key)
    }
}

impl fmt::Debug for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreKey")
    }
}

fn parse(provider: &dyn CryptoProvider, sid: Sid, plaintext: &[u8]) -> Option<(SessionKeys, Vec<u8>)> {
    let (&[form, alg, layer], rest) = plaintext.split_first_chunk()?;
    if form != FORM {
        return None;
    }
    let alg = Algorithm::from_cose_id(alg.into())?;
    let layer = Layer::from_number(layer.into())?;
    let direction = |rest| direction(provider, alg, rest);
    let (c2s, rest) = direction(rest)?;
    let (s2c, context) = direction(rest)?;
    Some((SessionKeys { alg, layer, sid, c2s, s2c }, context.to_vec()))
}

fn direction<'a>(provider: &dyn CryptoProvider, alg: Algorithm, rest: &'a [u8]) -> Option<(DirectionKey, &'a [u8])> {
    let (key, rest) = rest.split_at_checked(alg.key_len())?;
    let (iv, rest) = rest.split_first_chunk()?;
    Some((DirectionKey::new(provider, alg, Key::from_slice(key)?, Zeroizing::new(*iv)), rest))
}

#[cfg(test)]
impl SessionKeys {
    /// Keys that mean nothing, for tests of what keeps them.
    pub(crate) fn meaningless(sid: Sid) -> Self {
        let provider = crate::crypto::default_provider();
        let direction = |byte| {
            let key = Key::from_slice(&[byte; 32]).unwrap();
            DirectionKey::new(provider, Algorithm::A256Gcm, key, Zeroizing::new([byte; NONCE_LEN]))
        };
        Self { alg: Algorithm::A256Gcm, layer: Layer::Message, sid, c2s: direction(1), s2c: direction(2) }
    }
}
