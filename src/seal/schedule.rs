//! Keys and nonces (PROTOCOL section 3.2), and sealing and opening under them (section 4).
//!
//! Nonces are made here and nowhere else, from a number. That a number is used once is left to [`crate::session`].

use std::fmt;

use bytes::{Bytes, BytesMut};
use ciborium_ll::Header as Head;
use coset::cbor::Value;
use zeroize::Zeroizing;

use super::cbor::{push_bytes, push_head, push_text};
use super::header::{Encrypt0, NumberedHeader, encode_numbered};
use super::message::Plaintext;
use super::{Direction, Layer, Malformed, Number, Reason, Sid};
use crate::crypto::{
    AeadKey, Algorithm, CryptoProvider, Kek, Key, KeyName, NONCE_LEN, OpenFailed, Prk, SharedSecret, TAG_LEN,
    TerminalSecret,
};

/// The last four items of the authenticated data in the message layer, where no document stays outside the seal.
pub const NO_DOCUMENT: [Value; 4] = [Value::Null, Value::Null, Value::Null, Value::Null];

/// `iv` XOR `number`, as a 12-byte big-endian integer.
pub fn nonce(iv: &[u8; NONCE_LEN], number: Number) -> [u8; NONCE_LEN] {
    let mut nonce = *iv;
    for (byte, number) in nonce.iter_mut().rev().zip(number.value().to_le_bytes()) {
        *byte ^= number;
    }
    nonce
}

/// The CBOR of `["syncseal v1", layer, direction, target, content-type, skeleton, lengths]`, the last four being
/// `document`: [`NO_DOCUMENT`] in the message layer.
pub fn external_aad(layer: Layer, direction: Direction, document: [Value; 4]) -> Vec<u8> {
    let mut items = vec![Value::from("syncseal v1"), layer.number().into(), direction.number().into()];
    items.extend(document);
    let mut aad = Vec::new();
    #[expect(clippy::expect_used, reason = "a Vec takes all that is written to it")]
    coset::cbor::into_writer(&Value::Array(items), &mut aad).expect("a Vec grows");
    aad
}

/// The COSE Enc_structure (RFC 9052, 5.3) over the exact bytes of a protected header: what an AEAD authenticates.
///
/// Written in place, for it is made twice in every exchange; a test holds it to coset's.
pub fn enc_structure(protected: &[u8], external_aad: &[u8]) -> Vec<u8> {
    const CONTEXT: &str = "Encrypt0";
    let mut out = Vec::with_capacity(1 + 1 + CONTEXT.len() + 2 * 9 + protected.len() + external_aad.len());
    push_head(&mut out, Head::Array(Some(3)));
    push_text(&mut out, CONTEXT);
    push_bytes(&mut out, protected);
    push_bytes(&mut out, external_aad);
    out
}

/// [`external_aad`] of the message layer, which is always the same; a test holds it to that.
const fn message_aad(direction: Direction) -> &'static [u8] {
    match direction {
        Direction::C2s => b"\x87\x6bsyncseal v1\x01\x00\xf6\xf6\xf6\xf6",
        Direction::S2c => b"\x87\x6bsyncseal v1\x01\x01\xf6\xf6\xf6\xf6",
    }
}

/// The key that wraps session keys under a shared secret (PROTOCOL section 3.3).
pub(super) fn derive_kek(provider: &dyn CryptoProvider, name: &KeyName, secret: &TerminalSecret) -> Kek {
    let prk = provider.hkdf_extract(b"syncseal v1 shared secret", secret.expose());
    let mut kek = Zeroizing::new([0; 32]);
    provider.hkdf_expand(&prk, name.as_str().as_bytes(), kek.as_mut_slice());
    Kek::new(&kek)
}

/// By what a shared secret is known. It comes from another key than the one that wraps, under whatever name that is.
pub(super) fn derive_fingerprint(provider: &dyn CryptoProvider, secret: &TerminalSecret) -> [u8; 16] {
    let prk = provider.hkdf_extract(b"syncseal secret fingerprint", secret.expose());
    let mut fingerprint = [0; 16];
    provider.hkdf_expand(&prk, b"", &mut fingerprint);
    fingerprint
}

/// A key and its iv, for one direction. Zeroed on drop, never printed.
pub(super) struct DirectionKey {
    aead: Box<dyn AeadKey>,
    /// As it was expanded, for a fleet's sealed record and nothing else.
    pub(super) key: Key,
    pub(super) iv: Zeroizing<[u8; NONCE_LEN]>,
}

impl DirectionKey {
    fn expand(provider: &dyn CryptoProvider, alg: Algorithm, prk: &Prk, key_info: &[u8], iv_info: &[u8]) -> Self {
        let mut key = Zeroizing::new([0; 32]);
        let (key, _) = key.split_at_mut(alg.key_len());
        provider.hkdf_expand(prk, key_info, key);
        let mut iv = Zeroizing::new([0; NONCE_LEN]);
        provider.hkdf_expand(prk, iv_info, iv.as_mut_slice());
        #[expect(clippy::expect_used, reason = "no algorithm's key is longer than 32 bytes")]
        let key = Key::from_slice(key).expect("at most 32 bytes");
        Self::new(provider, alg, key, iv)
    }

    /// # Panics
    /// If `key` has not the key length of `alg`.
    pub(super) fn new(provider: &dyn CryptoProvider, alg: Algorithm, key: Key, iv: Zeroizing<[u8; NONCE_LEN]>) -> Self {
        Self { aead: provider.aead(alg, &key), key, iv }
    }

    /// The seal of a message-layer plaintext under a protected header, in one buffer of its exact size.
    pub(super) fn seal(&self, direction: Direction, number: Number, protected: &[u8], plain: &Plaintext<'_>) -> Bytes {
        let aad = enc_structure(protected, message_aad(direction));
        let mut out = Vec::with_capacity(protected.len() + plain.len() + TAG_LEN + FRAME_OVERHEAD);
        push_head(&mut out, Head::Tag(super::header::TAG_ENCRYPT0));
        push_head(&mut out, Head::Array(Some(3)));
        push_bytes(&mut out, protected);
        push_head(&mut out, Head::Map(Some(0)));
        push_head(&mut out, Head::Bytes(Some(plain.len() + TAG_LEN)));
        let start = out.len();
        plain.write(&mut out);
        let (_, data) = out.split_at_mut(start);
        let tag = self.aead.seal_in_place(nonce(&self.iv, number), &aad, data);
        out.extend_from_slice(&tag);
        out.into()
    }

    /// Opens a message-layer seal in place.
    pub(super) fn open<H>(&self, number: Number, sealed: Encrypt0<H>) -> Result<BytesMut, OpenFailed> {
        let aad = enc_structure(sealed.protected(), message_aad(sealed.direction));
        let Encrypt0 { frame, mut bytes, .. } = sealed;
        let mut data = bytes.split_off(frame.ciphertext.start);
        self.aead.open_in_place(nonce(&self.iv, number), &aad, &mut data)?;
        data.truncate(data.len() - TAG_LEN);
        Ok(data)
    }

    /// Encrypts `data` in place under an Enc_structure, and gives the tag.
    pub(super) fn seal_detached(&self, number: Number, aad: &[u8], data: &mut [u8]) -> [u8; TAG_LEN] {
        self.aead.seal_in_place(nonce(&self.iv, number), aad, data)
    }

    /// Opens `data`, a ciphertext, in place under an Enc_structure.
    pub(super) fn open_detached(
        &self,
        number: Number,
        aad: &[u8],
        data: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), OpenFailed> {
        self.aead.open_detached(nonce(&self.iv, number), aad, data, tag)
    }
}

/// Bytes of a frame beside the protected header, the plaintext and the tag, at the most: five heads.
const FRAME_OVERHEAD: usize = 1 + 1 + 9 + 1 + 9;

/// What H and the session key K give: the keys of the init request, and what the session's keys are extracted with.
pub(super) struct InitKeys {
    pub(super) alg: Algorithm,
    pub(super) init: DirectionKey,
    salt1: Zeroizing<[u8; 32]>,
}

impl InitKeys {
    /// From the exact bytes of the init request's protected header, and K.
    pub(super) fn derive(provider: &dyn CryptoProvider, alg: Algorithm, h: &[u8], k: &Key) -> Self {
        let prk0 = provider.hkdf_extract(&provider.sha256(&[h]), k.expose());
        let init = DirectionKey::expand(provider, alg, &prk0, b"syncseal v1 init key", b"syncseal v1 init iv");
        let mut salt1 = Zeroizing::new([0; 32]);
        provider.hkdf_expand(&prk0, b"syncseal v1 exchange", salt1.as_mut_slice());
        Self { alg, init, salt1 }
    }

    /// The session's keys, from the shared secret of the exchange, if there is one, and the exact bytes of both headers.
    pub(super) fn session(
        self,
        provider: &dyn CryptoProvider,
        layer: Layer,
        sid: Sid,
        secret: Option<&SharedSecret>,
        h: &[u8],
        r: &[u8],
    ) -> SessionKeys {
        let transcript = provider.sha256(&[h, r]);
        let mut ikm = Zeroizing::new(Vec::with_capacity(secret.map_or(0, |ss| ss.expose().len()) + transcript.len()));
        ikm.extend_from_slice(secret.map_or(&[], SharedSecret::expose));
        ikm.extend_from_slice(&transcript);
        let prk1 = provider.hkdf_extract(self.salt1.as_slice(), &ikm);
        let direction = |key: &[u8], iv: &[u8]| DirectionKey::expand(provider, self.alg, &prk1, key, iv);
        SessionKeys {
            alg: self.alg,
            layer,
            sid,
            c2s: direction(b"syncseal v1 key c2s", b"syncseal v1 iv c2s"),
            s2c: direction(b"syncseal v1 key s2c", b"syncseal v1 iv s2c"),
        }
    }
}

/// The keys of a sealed session, ready for use by either party. Zeroed on drop, never printed.
pub struct SessionKeys {
    pub(super) alg: Algorithm,
    pub(super) layer: Layer,
    pub(super) sid: Sid,
    pub(super) c2s: DirectionKey,
    pub(super) s2c: DirectionKey,
}

impl SessionKeys {
    /// The session's content-encryption algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.alg
    }

    /// The session's layer.
    pub fn layer(&self) -> Layer {
        self.layer
    }

    /// The session's id.
    pub fn sid(&self) -> Sid {
        self.sid
    }

    /// Seals a request. The caller never gives one number to two messages (PROTOCOL section 3.4).
    ///
    /// # Panics
    /// If `number` is zero, which belongs to the init request.
    pub fn seal_request(&self, number: Number, plaintext: &Plaintext<'_>) -> Bytes {
        assert_ne!(number, Number::ZERO, "requests are numbered from 1");
        let protected = encode_numbered(self.alg, self.sid, number, false);
        self.c2s.seal(Direction::C2s, number, &protected, plaintext)
    }

    /// Seals the one response to the request of that number; `end` says that the session ends (PROTOCOL section 3.6).
    ///
    /// # Panics
    /// If `number` is zero, which belongs to the init response.
    pub fn seal_response(&self, number: Number, end: bool, plaintext: &Plaintext<'_>) -> Bytes {
        assert_ne!(number, Number::ZERO, "requests are numbered from 1");
        let protected = encode_numbered(self.alg, self.sid, number, end);
        self.s2c.seal(Direction::S2c, number, &protected, plaintext)
    }

    /// Whether a seal is of the session's algorithm and layer, which can be told before its number is looked at.
    pub fn belongs(&self, sealed: &Encrypt0<NumberedHeader>) -> Result<(), Malformed> {
        if sealed.header.alg == i128::from(self.alg.cose_id()) && sealed.layer == self.layer {
            Ok(())
        } else {
            Err(Malformed::Session)
        }
    }

    /// Opens a request or a response of this session, in place. A failure says [`Reason::Malformed`] for a seal of another
    /// algorithm or layer, otherwise [`Reason::CannotOpen`].
    pub fn open(&self, sealed: Encrypt0<NumberedHeader>) -> Result<Bytes, Reason> {
        let number = sealed.header.number;
        let plaintext = self.key_for(&sealed)?.open(number, sealed).map_err(|OpenFailed| Reason::CannotOpen)?;
        Ok(plaintext.freeze())
    }

    /// The key of a seal of this session.
    pub(super) fn key_for(&self, sealed: &Encrypt0<NumberedHeader>) -> Result<&DirectionKey, Reason> {
        self.belongs(sealed)?;
        if sealed.header.sid != self.sid {
            return Err(Reason::CannotOpen);
        }
        Ok(match sealed.direction {
            Direction::C2s => &self.c2s,
            Direction::S2c => &self.s2c,
        })
    }
}

impl fmt::Debug for SessionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionKeys")
            .field("alg", &self.alg)
            .field("layer", &self.layer)
            .field("sid", &self.sid)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use coset::{EncryptionContext, ProtectedHeader};

    use super::*;

    #[test]
    fn the_enc_structure_is_the_one_of_coset() {
        for (protected, aad) in [(0, 0), (24, 19), (300, 255), (255, 256), (7, 70_000)] {
            let (protected, aad) = (vec![1; protected], vec![2; aad]);
            let header = ProtectedHeader { original_data: Some(protected.clone()), ..ProtectedHeader::default() };
            let expected = coset::enc_structure_data(EncryptionContext::CoseEncrypt0, header, &aad);
            assert!(enc_structure(&protected, &aad) == expected, "{} {}", protected.len(), aad.len());
        }
    }

    #[test]
    fn the_message_layer_authenticates_no_document() {
        for direction in [Direction::C2s, Direction::S2c] {
            assert_eq!(message_aad(direction), external_aad(Layer::Message, direction, NO_DOCUMENT));
        }
    }
}
