//! RSA recipient keys: generation, PKCS#8 and SPKI, key ids, and the terminal's wrapping.

use std::fmt;

use super::{Key, RandomFailed, SecureRandom};

/// A key that cannot be used, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// Not a PKCS#8 or SPKI RSA key.
    #[error("not an RSA key in PKCS#8 (PRIVATE KEY) or SubjectPublicKeyInfo (PUBLIC KEY) form")]
    Encoding,
    /// A modulus outside 2048 to 4096 bits.
    #[error("RSA key of {bits} bits; 2048 to 4096 are allowed")]
    Length {
        /// Its length in bits.
        bits: usize,
    },
    /// A provider refused it.
    #[error("the key is inconsistent")]
    Inconsistent,
}

/// SHA-256 of the DER SubjectPublicKeyInfo; its text form is `sha256//` and standard base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub [u8; 32]);

impl fmt::Display for KeyId {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        unimplemented!()
    }
}

impl std::str::FromStr for KeyId {
    type Err = InvalidKey;

    fn from_str(_text: &str) -> Result<Self, InvalidKey> {
        unimplemented!()
    }
}

/// The public half of a gateway's key, as a terminal pins it.
#[derive(Clone, Debug)]
pub struct RsaPublicKey {}

impl RsaPublicKey {
    /// From `PUBLIC KEY` PEM.
    pub fn from_pem(_pem: &str) -> Result<Self, InvalidKey> {
        unimplemented!()
    }
    /// From DER SubjectPublicKeyInfo.
    pub fn from_der(_der: &[u8]) -> Result<Self, InvalidKey> {
        unimplemented!()
    }
    /// As `PUBLIC KEY` PEM.
    pub fn to_pem(&self) -> String {
        unimplemented!()
    }
    /// As DER SubjectPublicKeyInfo (rsaEncryption, NULL parameters).
    pub fn to_der(&self) -> &[u8] {
        unimplemented!()
    }
    /// Its key id.
    pub fn key_id(&self) -> KeyId {
        unimplemented!()
    }
    /// Length of the modulus, in bytes.
    pub fn modulus_len(&self) -> usize {
        unimplemented!()
    }
    /// RSA-OAEP-256 encryption of `key`; as long as the modulus.
    pub fn wrap_key(&self, _key: &Key, _random: &dyn SecureRandom) -> Result<Vec<u8>, RandomFailed> {
        unimplemented!()
    }
}

/// A gateway's private key. Zeroed on drop, never printed.
pub struct RsaPrivateKey {}

impl RsaPrivateKey {
    /// A fresh key of 2048, 3072 or 4096 bits.
    pub fn generate(_bits: usize, _random: &dyn SecureRandom) -> Result<Self, InvalidKey> {
        unimplemented!()
    }
    /// From `PRIVATE KEY` PEM (PKCS#8).
    pub fn from_pem(_pem: &str) -> Result<Self, InvalidKey> {
        unimplemented!()
    }
    /// As `PRIVATE KEY` PEM (PKCS#8).
    pub fn to_pem(&self) -> zeroize::Zeroizing<String> {
        unimplemented!()
    }
    /// Its public half.
    pub fn public(&self) -> &RsaPublicKey {
        unimplemented!()
    }
}
