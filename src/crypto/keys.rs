//! RSA recipient keys: generation, PKCS#8 and SPKI, key ids, and the terminal's wrapping.
//!
//! All of it is the rsa crate's; the private operation is not here but in the providers.

use std::{fmt, str::FromStr};

use rsa::{
    BigUint, Oaep, pkcs1,
    pkcs8::{
        EncodePrivateKey, EncodePublicKey, LineEnding, PrivateKeyInfo, SecretDocument, SubjectPublicKeyInfoRef,
        der::{Decode, Document, pem},
    },
    sha2::{Digest, Sha256},
    traits::PublicKeyParts,
};
use zeroize::Zeroizing;

use super::{Key, RandomFailed, SecureRandom, random::RsaRandom};

/// The lengths of a modulus that PROTOCOL section 2 allows, in bits.
const MODULUS_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;

/// A key that cannot be used, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// Not a PKCS#8 or SPKI RSA key.
    #[error("not an RSA key in PKCS#8 (PRIVATE KEY) or SubjectPublicKeyInfo (PUBLIC KEY) form")]
    Encoding,
    /// A private key in PKCS#1.
    #[error("a private key in PKCS#1 (RSA PRIVATE KEY); convert it with `openssl pkey -in OLD -out NEW`")]
    Pkcs1Private,
    /// A public key in PKCS#1.
    #[error(
        "a public key in PKCS#1 (RSA PUBLIC KEY); convert it with `openssl rsa -RSAPublicKey_in -in OLD -pubout -out NEW`"
    )]
    Pkcs1Public,
    /// A private key under a passphrase.
    #[error("the private key is encrypted; decrypt it with `openssl pkey -in OLD -out NEW`")]
    Encrypted,
    /// A private key where a public one is needed.
    #[error("a private key where the public key is needed; make that with `openssl pkey -in KEY -pubout -out NEW`")]
    NotPublic,
    /// A public key where a private one is needed.
    #[error("a public key where the private key is needed")]
    NotPrivate,
    /// A certificate where a public key is needed.
    #[error("a certificate where a public key is needed; take that with `openssl x509 -in CERT -pubkey -noout`")]
    Certificate,
    /// A SubjectPublicKeyInfo that is not the canonical DER of its key.
    #[error("the public key is not in canonical DER (rsaEncryption with NULL parameters)")]
    NotCanonical,
    /// A modulus outside 2048 to 4096 bits.
    #[error("RSA key of {bits} bits; 2048 to 4096 are allowed")]
    Length {
        /// Its length in bits.
        bits: usize,
    },
    /// A public exponent that is even, 1, or over 33 bits long.
    #[error("the public exponent of the RSA key is even, 1 or too large; 65537 is usual")]
    Exponent,
    /// More than two primes.
    #[error("an RSA key of more than two primes")]
    MultiPrime,
    /// Parts that do not belong together.
    #[error("the parts of the RSA key do not belong together")]
    Inconsistent,
    /// Not a key id.
    #[error("not a key id: it is `sha256//` and the 44 characters of a SHA-256 in base64")]
    KeyId,
    /// No randomness to make a key of.
    #[error(transparent)]
    Random(#[from] RandomFailed),
}

/// SHA-256 of the DER SubjectPublicKeyInfo; its text form is `sha256//` and standard base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub [u8; 32]);

/// What the text form of a key id begins with, as in `curl --pinnedpubkey`.
const KEY_ID_PREFIX: &str = "sha256//";

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{KEY_ID_PREFIX}{}", base64_turbo::STANDARD.encode(self.0))
    }
}

impl FromStr for KeyId {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let base64 = text.strip_prefix(KEY_ID_PREFIX).ok_or(InvalidKey::KeyId)?;
        let id = base64_turbo::STANDARD.decode(base64).map_err(|_| InvalidKey::KeyId)?;
        Ok(Self(id.try_into().map_err(|_| InvalidKey::KeyId)?))
    }
}

/// The public half of a gateway's key, as a terminal pins it.
#[derive(Clone)]
pub struct RsaPublicKey {
    key: rsa::RsaPublicKey,
    der: Document,
    id: KeyId,
}

impl RsaPublicKey {
    /// From `PUBLIC KEY` PEM.
    pub fn from_pem(pem: &str) -> Result<Self, InvalidKey> {
        match pem::decode_label(pem.as_bytes()) {
            Ok("PUBLIC KEY") => {}
            Ok("RSA PUBLIC KEY") => return Err(InvalidKey::Pkcs1Public),
            Ok("CERTIFICATE") => return Err(InvalidKey::Certificate),
            Ok("PRIVATE KEY" | "RSA PRIVATE KEY" | "ENCRYPTED PRIVATE KEY") => return Err(InvalidKey::NotPublic),
            _ => return Err(InvalidKey::Encoding),
        }
        let (_, der) = Document::from_pem(pem).map_err(|_| InvalidKey::Encoding)?;
        Self::from_der(der.as_bytes())
    }

    /// From DER SubjectPublicKeyInfo.
    pub fn from_der(der: &[u8]) -> Result<Self, InvalidKey> {
        let spki = SubjectPublicKeyInfoRef::from_der(der).map_err(|_| InvalidKey::Encoding)?;
        spki.algorithm.assert_algorithm_oid(pkcs1::ALGORITHM_OID).map_err(|_| InvalidKey::Encoding)?;
        let parts = spki.subject_public_key.as_bytes().ok_or(InvalidKey::Encoding)?;
        let parts = pkcs1::RsaPublicKey::from_der(parts).map_err(|_| InvalidKey::Encoding)?;
        let key = Self::from_parts(parts.modulus, parts.public_exponent)?;
        // The key id is a hash of these bytes. Were another encoding of the same key taken, it would have a second id,
        // and who pins the one would not know the other.
        if key.to_der() == der { Ok(key) } else { Err(InvalidKey::NotCanonical) }
    }

    fn from_parts(modulus: pkcs1::UintRef<'_>, exponent: pkcs1::UintRef<'_>) -> Result<Self, InvalidKey> {
        let modulus = BigUint::from_bytes_be(modulus.as_bytes());
        if !MODULUS_BITS.contains(&modulus.bits()) {
            return Err(InvalidKey::Length { bits: modulus.bits() });
        }
        let key =
            rsa::RsaPublicKey::new(modulus, BigUint::from_bytes_be(exponent.as_bytes())).map_err(
                |error| match error {
                    rsa::Error::InvalidExponent
                    | rsa::Error::PublicExponentTooSmall
                    | rsa::Error::PublicExponentTooLarge => InvalidKey::Exponent,
                    _ => InvalidKey::Inconsistent,
                },
            )?;
        let der = key.to_public_key_der().map_err(|_| InvalidKey::Inconsistent)?;
        let id = KeyId(Sha256::digest(&der).into());
        Ok(Self { key, der, id })
    }

    /// As `PUBLIC KEY` PEM.
    #[expect(clippy::expect_used, reason = "4096 bits are far below the limits of DER and PEM")]
    pub fn to_pem(&self) -> String {
        self.der.to_pem("PUBLIC KEY", LineEnding::LF).expect("a key that fits into PEM")
    }

    /// As DER SubjectPublicKeyInfo (rsaEncryption, NULL parameters).
    pub fn to_der(&self) -> &[u8] {
        self.der.as_bytes()
    }

    /// Its key id.
    pub fn key_id(&self) -> KeyId {
        self.id
    }

    /// Length of the modulus, in bytes.
    pub fn modulus_len(&self) -> usize {
        self.key.size()
    }

    /// RSA-OAEP-256 encryption of `key`; as long as the modulus.
    ///
    /// Draws the OAEP seed, 32 bytes, and nothing else.
    #[expect(
        clippy::expect_used,
        reason = "OAEP takes 190 bytes at 2048 bits, and the key was checked when it was made"
    )]
    pub fn wrap_key(&self, key: &Key, random: &dyn SecureRandom) -> Result<Vec<u8>, RandomFailed> {
        let mut random = RsaRandom::new(random);
        let wrapped = self.key.encrypt(&mut random, Oaep::new::<Sha256>(), key.expose());
        Ok(random.finish(wrapped)?.expect("at most 32 bytes under a valid key"))
    }
}

impl PartialEq for RsaPublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.der.as_bytes() == other.der.as_bytes()
    }
}

impl Eq for RsaPublicKey {}

impl fmt::Debug for RsaPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RsaPublicKey({})", self.id)
    }
}

/// A gateway's private key. Zeroed on drop, never printed.
pub struct RsaPrivateKey {
    key: rsa::RsaPrivateKey,
    public: RsaPublicKey,
}

impl RsaPrivateKey {
    /// A fresh key of 2048 to 4096 bits with the exponent 65537.
    pub fn generate(bits: usize, random: &dyn SecureRandom) -> Result<Self, InvalidKey> {
        if !MODULUS_BITS.contains(&bits) {
            return Err(InvalidKey::Length { bits });
        }
        let mut random = RsaRandom::new(random);
        let key = rsa::RsaPrivateKey::new(&mut random, bits);
        let key = random.finish(key)?.map_err(|_| InvalidKey::Inconsistent)?;
        let der = key.to_pkcs8_der().map_err(|_| InvalidKey::Inconsistent)?;
        Self::from_pkcs8(der.as_bytes())
    }

    /// From `PRIVATE KEY` PEM (PKCS#8).
    pub fn from_pem(pem: &str) -> Result<Self, InvalidKey> {
        match pem::decode_label(pem.as_bytes()) {
            Ok("PRIVATE KEY") => {}
            Ok("RSA PRIVATE KEY") => return Err(InvalidKey::Pkcs1Private),
            Ok("ENCRYPTED PRIVATE KEY") => return Err(InvalidKey::Encrypted),
            Ok("PUBLIC KEY" | "RSA PUBLIC KEY" | "CERTIFICATE") => return Err(InvalidKey::NotPrivate),
            _ => return Err(InvalidKey::Encoding),
        }
        let (_, der) = SecretDocument::from_pem(pem).map_err(|_| InvalidKey::Encoding)?;
        Self::from_pkcs8(der.as_bytes())
    }

    fn from_pkcs8(der: &[u8]) -> Result<Self, InvalidKey> {
        let info = PrivateKeyInfo::from_der(der).map_err(|_| InvalidKey::Encoding)?;
        info.algorithm.assert_algorithm_oid(pkcs1::ALGORITHM_OID).map_err(|_| InvalidKey::Encoding)?;
        let parts = pkcs1::RsaPrivateKey::from_der(info.private_key).map_err(|_| InvalidKey::Encoding)?;
        if parts.version() != pkcs1::Version::TwoPrime {
            return Err(InvalidKey::MultiPrime);
        }
        let public = RsaPublicKey::from_parts(parts.modulus, parts.public_exponent)?;
        let encoded = info.private_key;
        let key = rsa::RsaPrivateKey::try_from(info).map_err(|_| InvalidKey::Inconsistent)?;
        // The rsa crate checks the modulus and the exponents against the primes, but takes no notice of the CRT values,
        // which it makes anew: so they are compared by encoding the key again.
        let again = key.to_pkcs8_der().map_err(|_| InvalidKey::Inconsistent)?;
        let again = PrivateKeyInfo::from_der(again.as_bytes()).map_err(|_| InvalidKey::Inconsistent)?;
        if again.private_key != encoded {
            return Err(InvalidKey::Inconsistent);
        }
        Ok(Self { key, public })
    }

    /// As `PRIVATE KEY` PEM (PKCS#8).
    #[expect(clippy::expect_used, reason = "this key was encoded once already, when it was made")]
    pub fn to_pem(&self) -> Zeroizing<String> {
        self.key.to_pkcs8_pem(LineEnding::LF).expect("a key of two primes")
    }

    /// As DER PKCS#8.
    #[cfg(feature = "aws-lc")]
    #[expect(clippy::expect_used, reason = "this key was encoded once already, when it was made")]
    pub(super) fn to_pkcs8_der(&self) -> Zeroizing<Vec<u8>> {
        self.key.to_pkcs8_der().expect("a key of two primes").to_bytes()
    }

    /// As the rsa crate has it.
    #[cfg(any(test, not(feature = "aws-lc")))]
    pub(super) fn as_rsa(&self) -> &rsa::RsaPrivateKey {
        &self.key
    }

    /// Its public half.
    pub fn public(&self) -> &RsaPublicKey {
        &self.public
    }
}

impl fmt::Debug for RsaPrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RsaPrivateKey({})", self.public.id)
    }
}
