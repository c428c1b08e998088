//! The provider on aws-lc-rs.

use aws_lc_rs::{
    aead::{self, LessSafeKey, UnboundKey},
    digest, hkdf, hmac,
    key_wrap::{AES_256, AesKek, KeyWrap},
    rsa::{OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey},
};
use zeroize::Zeroizing;

use super::{
    ActiveKeyExchange, AeadKey, Algorithm, CompletedKeyExchange, CryptoProvider, InvalidKey, InvalidShare,
    KEY_WRAP_LEN, Kek, Key, NONCE_LEN, NamedGroup, OpenFailed, Prk, RsaPrivateKey, RsaUnwrap, TAG_LEN, exchange,
};

/// The provider on aws-lc-rs.
#[derive(Clone, Copy, Debug)]
pub struct AwsLc;

impl CryptoProvider for AwsLc {
    fn name(&self) -> &'static str {
        "aws-lc"
    }

    #[expect(clippy::expect_used, reason = "a key of another length is a fault in our own code")]
    fn aead(&self, alg: Algorithm, key: &Key) -> Box<dyn AeadKey> {
        let cipher = match alg {
            Algorithm::A128Gcm => &aead::AES_128_GCM,
            Algorithm::A192Gcm => &aead::AES_192_GCM,
            Algorithm::A256Gcm => &aead::AES_256_GCM,
            Algorithm::ChaCha20Poly1305 => &aead::CHACHA20_POLY1305,
        };
        let key = UnboundKey::new(cipher, key.expose()).expect("a key of the algorithm's length");
        Box::new(LessSafeKey::new(key))
    }

    #[expect(clippy::expect_used, reason = "the buffer has the length of SHA-256")]
    fn hkdf_extract(&self, salt: &[u8], ikm: &[u8]) -> Prk {
        // HKDF-Extract is HMAC (RFC 5869, 2.2); aws-lc-rs's own does not give its result away.
        let mut prk = Zeroizing::new([0; 32]);
        hmac::sign_to_buffer(&hmac::Key::new(hmac::HMAC_SHA256, salt), ikm, prk.as_mut_slice())
            .expect("room for HMAC-SHA-256");
        Prk(prk)
    }

    #[expect(clippy::expect_used, reason = "a longer output is a fault in our own code")]
    fn hkdf_expand(&self, prk: &Prk, info: &[u8], out: &mut [u8]) {
        let prk = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, prk.0.as_slice());
        prk.expand(&[info], OutputLen(out.len())).and_then(|okm| okm.fill(out)).expect("at most 255 * 32 bytes");
    }

    fn sha256(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut hash = digest::Context::new(&digest::SHA256);
        for part in parts {
            hash.update(part);
        }
        let mut out = [0; 32];
        out.copy_from_slice(hash.finish().as_ref());
        out
    }

    #[expect(clippy::expect_used, reason = "a key of another length is a fault in our own code")]
    fn aes_wrap(&self, kek: &Kek, key: &Key) -> Vec<u8> {
        let mut wrapped = vec![0; key.expose().len() + KEY_WRAP_LEN];
        let kek = AesKek::new(&AES_256, kek.expose()).expect("a key of 32 bytes");
        kek.wrap(key.expose(), &mut wrapped).expect("a key of an algorithm's length");
        wrapped
    }

    fn aes_unwrap(&self, kek: &Kek, wrapped: &[u8]) -> Option<Key> {
        let mut key = Zeroizing::new([0; 32 + KEY_WRAP_LEN]);
        let kek = AesKek::new(&AES_256, kek.expose()).ok()?;
        Key::from_slice(kek.unwrap(wrapped, key.get_mut(..wrapped.len())?).ok()?)
    }

    fn rsa_unwrap(&self, key: &RsaPrivateKey) -> Result<Box<dyn RsaUnwrap>, InvalidKey> {
        // AWS-LC checks the key again, and does so more thoroughly than the rsa crate.
        let decrypting = PrivateDecryptingKey::from_pkcs8(&key.to_pkcs8_der()).map_err(|_| InvalidKey::Inconsistent)?;
        let decrypting = OaepPrivateDecryptingKey::new(decrypting).map_err(|_| InvalidKey::Inconsistent)?;
        Ok(Box::new(decrypting))
    }

    fn groups(&self) -> &'static [NamedGroup] {
        exchange::GROUPS
    }

    fn start_exchange(&self, group: NamedGroup) -> Option<Box<dyn ActiveKeyExchange>> {
        exchange::start(group)
    }

    fn answer_exchange(&self, group: NamedGroup, terminal_share: &[u8]) -> Result<CompletedKeyExchange, InvalidShare> {
        exchange::answer(group, terminal_share)
    }
}

impl AeadKey for LessSafeKey {
    #[expect(clippy::expect_used, reason = "AES-GCM takes 64 GiB under one nonce, and a message fits into memory")]
    fn seal_in_place(&self, nonce: [u8; NONCE_LEN], aad: &[u8], data: &mut [u8]) -> [u8; TAG_LEN] {
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        let sealed = self.seal_in_place_separate_tag(nonce, aead::Aad::from(aad), data).expect("a message's length");
        let mut tag = [0; TAG_LEN];
        tag.copy_from_slice(sealed.as_ref());
        tag
    }

    fn open_detached(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        data: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), OpenFailed> {
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        let opened = self.open_in_place_separate_tag(nonce, aead::Aad::from(aad), tag, data);
        opened.map(|_| ()).map_err(|_| OpenFailed)
    }
}

impl RsaUnwrap for OaepPrivateDecryptingKey {
    fn unwrap_key(&self, wrapped: &[u8]) -> Option<Key> {
        // AWS-LC blinds the operation and decodes OAEP in constant time.
        let mut out = Zeroizing::new(vec![0; self.min_output_size()]);
        let key = self.decrypt(&OAEP_SHA256_MGF1SHA256, wrapped, &mut out, None).ok()?;
        Key::from_slice(key)
    }
}

/// Length of an HKDF output.
struct OutputLen(usize);

impl hkdf::KeyType for OutputLen {
    fn len(&self) -> usize {
        self.0
    }
}
