//! Algorithms by their COSE and TLS numbers, behind one trait with two providers.
//!
//! Pure: bytes in, values out. No clock, no file; randomness comes through [`SecureRandom`] (only a key exchange and the
//! blinding of an RSA operation draw their own inside their provider). Knows nothing of SyncML, COSE structures or
//! sessions. Uses no module of ours.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Length of every nonce, in bytes.
pub const NONCE_LEN: usize = 12;
/// Length of every authentication tag, in bytes.
pub const TAG_LEN: usize = 16;
/// How much longer an AES Key Wrap is than the key in it, in bytes (RFC 3394, 2.2.1).
pub const KEY_WRAP_LEN: usize = 8;

/// A content-encryption algorithm (PROTOCOL section 2); the COSE number names cipher and key length together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// AES-GCM with a key of 16 bytes, COSE 1.
    A128Gcm,
    /// AES-GCM with a key of 24 bytes, COSE 2.
    A192Gcm,
    /// AES-GCM with a key of 32 bytes, COSE 3.
    A256Gcm,
    /// ChaCha20/Poly1305 with a key of 32 bytes, COSE 24.
    ChaCha20Poly1305,
}

impl Algorithm {
    /// Every algorithm, in the order of the COSE numbers.
    pub const ALL: [Self; 4] = [Self::A128Gcm, Self::A192Gcm, Self::A256Gcm, Self::ChaCha20Poly1305];

    /// The COSE algorithm number.
    pub const fn cose_id(self) -> i64 {
        match self {
            Self::A128Gcm => 1,
            Self::A192Gcm => 2,
            Self::A256Gcm => 3,
            Self::ChaCha20Poly1305 => 24,
        }
    }

    /// The algorithm with this COSE number, if it is one of ours.
    pub fn from_cose_id(id: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|alg| alg.cose_id() == id)
    }

    /// Length of its key, in bytes.
    pub const fn key_len(self) -> usize {
        match self {
            Self::A128Gcm => 16,
            Self::A192Gcm => 24,
            Self::A256Gcm | Self::ChaCha20Poly1305 => 32,
        }
    }

    /// Its name in the COSE registry: what policies, logs and refusals say.
    pub const fn name(self) -> &'static str {
        match self {
            Self::A128Gcm => "A128GCM",
            Self::A192Gcm => "A192GCM",
            Self::A256Gcm => "A256GCM",
            Self::ChaCha20Poly1305 => "ChaCha20/Poly1305",
        }
    }

    /// Whether both are the same cipher, perhaps at another key length.
    pub const fn same_cipher(self, other: Self) -> bool {
        matches!(self, Self::ChaCha20Poly1305) == matches!(other, Self::ChaCha20Poly1305)
    }
}

/// How the session key travels (PROTOCOL section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyTransport {
    /// RSA-OAEP with SHA-256, COSE -41.
    RsaOaep256,
    /// AES Key Wrap (RFC 3394) under a key of 32 bytes from a shared secret, COSE -5.
    A256Kw,
}

impl KeyTransport {
    /// Every key transport.
    pub const ALL: [Self; 2] = [Self::RsaOaep256, Self::A256Kw];

    /// The COSE algorithm number.
    pub const fn cose_id(self) -> i64 {
        match self {
            Self::RsaOaep256 => -41,
            Self::A256Kw => -5,
        }
    }

    /// The key transport with this COSE number, if it is one of ours.
    pub fn from_cose_id(id: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|kt| kt.cose_id() == id)
    }

    /// Its name in the COSE registry.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RsaOaep256 => "RSA-OAEP-256",
            Self::A256Kw => "A256KW",
        }
    }
}

/// An ephemeral key exchange, by TLS NamedGroup number (PROTOCOL section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NamedGroup {
    /// X25519, number 29.
    X25519,
    /// X25519MLKEM768, number 4588.
    X25519MlKem768,
}

impl NamedGroup {
    /// Every group, in the order of the numbers.
    pub const ALL: [Self; 2] = [Self::X25519, Self::X25519MlKem768];

    /// The TLS NamedGroup number.
    pub const fn number(self) -> u16 {
        match self {
            Self::X25519 => 29,
            Self::X25519MlKem768 => 4588,
        }
    }

    /// The group with this number, if it is one of ours.
    pub fn from_number(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|group| u64::from(group.number()) == number)
    }

    /// Its name in the TLS registry.
    pub const fn name(self) -> &'static str {
        match self {
            Self::X25519 => "X25519",
            Self::X25519MlKem768 => "X25519MLKEM768",
        }
    }

    /// Length of the terminal's share, in bytes.
    pub const fn terminal_share_len(self) -> usize {
        match self {
            Self::X25519 => 32,
            Self::X25519MlKem768 => 1216,
        }
    }

    /// Length of the gateway's share, in bytes.
    pub const fn gateway_share_len(self) -> usize {
        match self {
            Self::X25519 => 32,
            Self::X25519MlKem768 => 1120,
        }
    }
}

/// A symmetric key of up to 32 bytes: zeroed on drop, never printed.
#[derive(Clone)]
pub struct Key {
    bytes: Zeroizing<[u8; 32]>,
    len: usize,
}

impl Key {
    /// The key with these bytes; `None` if there are more than 32.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        let mut key = Self { bytes: Zeroizing::new([0; 32]), len: bytes.len() };
        key.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(key)
    }

    /// Its bytes.
    pub fn expose(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({} bytes)", self.len)
    }
}

/// A pseudorandom key of HKDF-SHA-256: zeroed on drop, never printed.
pub struct Prk(pub(crate) Zeroizing<[u8; 32]>);

impl fmt::Debug for Prk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Prk")
    }
}

impl PartialEq for Prk {
    /// In constant time.
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&*other.0).into()
    }
}

/// A key of 32 bytes that wraps session keys: zeroed on drop, never printed.
#[derive(Clone)]
pub struct Kek(Zeroizing<[u8; 32]>);

impl Kek {
    /// The key with these bytes.
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(Zeroizing::new(*bytes))
    }

    /// Its bytes.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Kek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kek")
    }
}

/// The result of a key exchange (32 or 64 bytes): zeroed on drop, never printed.
pub struct SharedSecret(pub(crate) Zeroizing<Vec<u8>>);

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedSecret({} bytes)", self.0.len())
    }
}

impl SharedSecret {
    /// The secret with these bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Its bytes.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

/// The tag did not fit: wrong key, nonce, authenticated data or bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the seal does not open")]
pub struct OpenFailed;

/// A key share that is not one: wrong length, low order, or a failed encapsulation-key check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid key share")]
pub struct InvalidShare;

/// The system gave no randomness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system's random generator failed")]
pub struct RandomFailed;

/// A cryptographic random generator, handed to whatever needs one.
pub trait SecureRandom: Send + Sync {
    /// Fills `out` with random bytes.
    fn fill(&self, out: &mut [u8]) -> Result<(), RandomFailed>;
}

/// An AEAD with its key, scheduled once and used for every message under it.
pub trait AeadKey: Send + Sync {
    /// Encrypts `data` in place and gives the tag.
    fn seal_in_place(&self, nonce: [u8; NONCE_LEN], aad: &[u8], data: &mut [u8]) -> [u8; TAG_LEN];

    /// Authenticates and decrypts `data`, a ciphertext, in place. On failure nothing of `data` may be used.
    fn open_detached(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        data: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), OpenFailed>;

    /// The same of `data` that is ciphertext and tag: the plaintext is what stands before the last [`TAG_LEN`] bytes.
    fn open_in_place(&self, nonce: [u8; NONCE_LEN], aad: &[u8], data: &mut [u8]) -> Result<(), OpenFailed> {
        let (data, tag) = data.split_last_chunk_mut().ok_or(OpenFailed)?;
        self.open_detached(nonce, aad, data, tag)
    }
}

/// The terminal's half of a key exchange that has begun.
pub trait ActiveKeyExchange: Send {
    /// The group.
    fn group(&self) -> NamedGroup;
    /// The share to send.
    fn share(&self) -> &[u8];
    /// Completes it with the gateway's share.
    fn complete(self: Box<Self>, gateway_share: &[u8]) -> Result<SharedSecret, InvalidShare>;
}

/// The gateway's half of a key exchange.
#[derive(Debug)]
pub struct CompletedKeyExchange {
    /// The group.
    pub group: NamedGroup,
    /// The share to send.
    pub share: Vec<u8>,
    /// The secret, the same on both sides.
    pub secret: SharedSecret,
}

/// The private half of an RSA key, ready to unwrap.
pub trait RsaUnwrap: Send + Sync {
    /// RSA-OAEP-256 decryption of `wrapped`, which is as long as the modulus. `None` for whatever cause, and if it
    /// holds more than 32 bytes.
    fn unwrap_key(&self, wrapped: &[u8]) -> Option<Key>;
}

/// Where algorithms come from. Both implementations give the same bytes.
pub trait CryptoProvider: Send + Sync + fmt::Debug {
    /// `aws-lc` or `rustcrypto`.
    fn name(&self) -> &'static str;
    /// The AEAD `alg` under `key`.
    ///
    /// # Panics
    /// If `key` has not the key length of `alg`.
    fn aead(&self, alg: Algorithm, key: &Key) -> Box<dyn AeadKey>;
    /// HKDF-Extract with SHA-256.
    fn hkdf_extract(&self, salt: &[u8], ikm: &[u8]) -> Prk;
    /// HKDF-Expand with SHA-256.
    ///
    /// # Panics
    /// If `out` has more than 255 * 32 bytes (RFC 5869, 2.3).
    fn hkdf_expand(&self, prk: &Prk, info: &[u8], out: &mut [u8]);
    /// SHA-256 of the parts, one after the other.
    fn sha256(&self, parts: &[&[u8]]) -> [u8; 32];
    /// AES Key Wrap (RFC 3394) of `key` under `kek`: 8 bytes longer than `key`.
    ///
    /// # Panics
    /// If `key` has not the key length of an [`Algorithm`].
    fn aes_wrap(&self, kek: &Kek, key: &Key) -> Vec<u8>;
    /// The key in `wrapped`. `None` if it was not wrapped under `kek`, and if it is not one of 16 to 32 bytes.
    fn aes_unwrap(&self, kek: &Kek, wrapped: &[u8]) -> Option<Key>;
    /// Prepares a private key for unwrapping.
    fn rsa_unwrap(&self, key: &RsaPrivateKey) -> Result<Box<dyn RsaUnwrap>, InvalidKey>;
    /// The groups it has.
    fn groups(&self) -> &'static [NamedGroup];
    /// Begins an exchange as terminal; `None` if it has not the group, or the system gave no randomness.
    fn start_exchange(&self, group: NamedGroup) -> Option<Box<dyn ActiveKeyExchange>>;
    /// Answers an exchange as gateway. An unknown group has no valid shares.
    fn answer_exchange(&self, group: NamedGroup, terminal_share: &[u8]) -> Result<CompletedKeyExchange, InvalidShare>;
}

#[cfg(feature = "aws-lc")]
pub use aws_lc::AwsLc;
pub use keys::{InvalidKey, KeyId, RsaPrivateKey, RsaPublicKey};
pub use random::SystemRandom;
pub use rustcrypto::RustCrypto;
pub use secret::{InvalidKeyName, InvalidSecret, KeyName, TerminalSecret};

#[cfg(feature = "aws-lc")]
mod aws_lc;
mod exchange;
mod keys;
mod random;
mod rustcrypto;
mod secret;
#[cfg(test)]
mod tests;

/// Every provider built in, by preference.
static PROVIDERS: &[&dyn CryptoProvider] = &[
    #[cfg(feature = "aws-lc")]
    &AwsLc,
    &RustCrypto,
];

/// The provider to use unless told otherwise: AWS-LC where it is built in.
pub fn default_provider() -> &'static dyn CryptoProvider {
    PROVIDERS[0]
}

/// Every provider built in, by preference.
pub fn providers() -> &'static [&'static dyn CryptoProvider] {
    PROVIDERS
}

/// What a gateway says at its start if this build unwraps with the rsa crate, for lack of AWS-LC.
pub const RSA_TIMING_WARNING: Option<&str> = if cfg!(feature = "aws-lc") {
    None
} else {
    Some(
        "built without AWS-LC: RSA private-key operations are those of the rsa crate, whose timing may give the key \
         away (RUSTSEC-2023-0071)",
    )
};
