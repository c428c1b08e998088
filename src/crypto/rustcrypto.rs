//! The provider on RustCrypto.

use aes_gcm::{
    Aes128Gcm, Aes256Gcm, AesGcm, KeyInit,
    aead::{
        AeadInOut,
        consts::{U12, U16},
    },
    aes::Aes192,
};
use aes_kw::KwAes256;
use chacha20poly1305::ChaCha20Poly1305;
use hkdf::Hkdf;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use super::{
    ActiveKeyExchange, AeadKey, Algorithm, CompletedKeyExchange, CryptoProvider, InvalidKey, InvalidShare,
    KEY_WRAP_LEN, Kek, Key, NONCE_LEN, NamedGroup, OpenFailed, Prk, RsaPrivateKey, RsaUnwrap, TAG_LEN, exchange,
};

/// The provider on RustCrypto.
#[derive(Clone, Copy, Debug)]
pub struct RustCrypto;

impl CryptoProvider for RustCrypto {
    fn name(&self) -> &'static str {
        "rustcrypto"
    }

    fn aead(&self, alg: Algorithm, key: &Key) -> Box<dyn AeadKey> {
        match alg {
            Algorithm::A128Gcm => Box::new(Cipher::<Aes128Gcm>::new(key)),
            Algorithm::A192Gcm => Box::new(Cipher::<AesGcm<Aes192, U12>>::new(key)),
            Algorithm::A256Gcm => Box::new(Cipher::<Aes256Gcm>::new(key)),
            Algorithm::ChaCha20Poly1305 => Box::new(Cipher::<ChaCha20Poly1305>::new(key)),
        }
    }

    fn hkdf_extract(&self, salt: &[u8], ikm: &[u8]) -> Prk {
        let (mut extracted, _) = Hkdf::<Sha256>::extract(Some(salt), ikm);
        let mut prk = Zeroizing::new([0; 32]);
        prk.copy_from_slice(&extracted);
        extracted.as_mut_slice().zeroize();
        Prk(prk)
    }

    #[expect(clippy::expect_used, reason = "a longer output is a fault in our own code")]
    fn hkdf_expand(&self, prk: &Prk, info: &[u8], out: &mut [u8]) {
        Hkdf::<Sha256>::from_prk(prk.0.as_slice())
            .expect("a PRK of 32 bytes")
            .expand(info, out)
            .expect("at most 255 * 32 bytes");
    }

    fn sha256(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update(part);
        }
        hash.finalize().into()
    }

    #[expect(clippy::expect_used, reason = "a key of another length is a fault in our own code")]
    fn aes_wrap(&self, kek: &Kek, key: &Key) -> Vec<u8> {
        let mut wrapped = vec![0; key.expose().len() + KEY_WRAP_LEN];
        KwAes256::new(kek.expose().into())
            .wrap_key(key.expose(), &mut wrapped)
            .expect("a key of an algorithm's length");
        wrapped
    }

    fn aes_unwrap(&self, kek: &Kek, wrapped: &[u8]) -> Option<Key> {
        let mut key = Zeroizing::new([0; 32]);
        let key = key.get_mut(..wrapped.len().checked_sub(KEY_WRAP_LEN)?)?;
        // One block would be a cipher block, not a key wrap (RFC 3394, 2).
        let key = (key.len() >= 16).then_some(key)?;
        Key::from_slice(KwAes256::new(kek.expose().into()).unwrap_key(wrapped, key).ok()?)
    }

    /// With AWS-LC built in, AWS-LC does the private operation here too: the rsa crate's has an open timing advisory
    /// (RUSTSEC-2023-0071) and takes no bytes from the network while there is another.
    #[cfg(feature = "aws-lc")]
    fn rsa_unwrap(&self, key: &RsaPrivateKey) -> Result<Box<dyn RsaUnwrap>, InvalidKey> {
        super::AwsLc.rsa_unwrap(key)
    }

    #[cfg(not(feature = "aws-lc"))]
    fn rsa_unwrap(&self, key: &RsaPrivateKey) -> Result<Box<dyn RsaUnwrap>, InvalidKey> {
        Ok(Box::new(rsa_crate::Unwrap::new(key)))
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

/// One of the ciphers with its key schedule.
struct Cipher<C>(C);

impl<C: KeyInit> Cipher<C> {
    #[expect(clippy::expect_used, reason = "a key of another length is a fault in our own code")]
    fn new(key: &Key) -> Self {
        Self(C::new_from_slice(key.expose()).expect("a key of the algorithm's length"))
    }
}

impl<C: AeadInOut<NonceSize = U12, TagSize = U16> + Send + Sync> AeadKey for Cipher<C> {
    #[expect(clippy::expect_used, reason = "AES-GCM takes 64 GiB under one nonce, and a message fits into memory")]
    fn seal_in_place(&self, nonce: [u8; NONCE_LEN], aad: &[u8], data: &mut [u8]) -> [u8; TAG_LEN] {
        self.0.encrypt_inout_detached(&nonce.into(), aad, data.into()).expect("a message's length").into()
    }

    fn open_detached(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        data: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), OpenFailed> {
        let tag = (*tag).into();
        self.0.decrypt_inout_detached(&nonce.into(), aad, data.into(), &tag).map_err(|_| OpenFailed)
    }
}

/// Unwrapping with the rsa crate: only where there is no AWS-LC, and in tests, against AWS-LC.
#[cfg(any(test, not(feature = "aws-lc")))]
pub(super) mod rsa_crate {
    use rsa::{Oaep, sha2::Sha256};
    use zeroize::Zeroizing;

    use super::super::{Key, RsaPrivateKey, RsaUnwrap, SystemRandom, random::RsaRandom};

    /// A private key in the rsa crate.
    pub(in super::super) struct Unwrap(rsa::RsaPrivateKey);

    impl Unwrap {
        pub(in super::super) fn new(key: &RsaPrivateKey) -> Self {
            Self(key.as_rsa().clone())
        }
    }

    impl RsaUnwrap for Unwrap {
        fn unwrap_key(&self, wrapped: &[u8]) -> Option<Key> {
            // Blinded, which is the best that the crate has against its timing.
            let mut random = RsaRandom::new(&SystemRandom);
            let key = self.0.decrypt_blinded(&mut random, Oaep::new::<Sha256>(), wrapped).map(Zeroizing::new);
            let key = random.finish(key).ok()?.ok()?;
            Key::from_slice(&key)
        }
    }
}
