//! The gateway's side.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use subtle::{Choice, ConditionallySelectable};
use zeroize::Zeroizing;

use super::recipients::{CurrentRecipients, Kid, SecretFingerprint, SecretRecipient};
use crate::crypto::{
    Algorithm, CompletedKeyExchange, CryptoProvider, InvalidShare, KEY_WRAP_LEN, Kek, Key, KeyId, KeyName,
    KeyTransport, NamedGroup, OpenFailed, RandomFailed, RsaUnwrap, SecureRandom,
};
use crate::seal::header::{Encrypt0, Init, InitHeader, KeyShare, VersionedInit, encode_init_response};
use crate::seal::schedule::{InitKeys, SessionKeys};
use crate::seal::{Direction, Layer, Malformed, Number, Plaintext, Reason, Sid};

/// What a gateway accepts in an init request, each in the order in which refusals name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepts {
    /// Layers.
    pub layers: Vec<Layer>,
    /// Content-encryption algorithms.
    pub algorithms: Vec<Algorithm>,
    /// Key transports.
    pub key_transports: Vec<KeyTransport>,
    /// Groups of the key exchange.
    pub groups: Vec<NamedGroup>,
    /// Whether a key exchange is required.
    pub require_exchange: bool,
}

impl Encrypt0<InitHeader> {
    /// Checks an init request in the order of PROTOCOL section 8.1, step 3, up to its group, and answers the key exchange.
    /// The first check that fails gives the reason. Form, time and memory are the caller's to check next.
    pub fn check(
        self,
        provider: &dyn CryptoProvider,
        accepts: &Accepts,
        recipients: CurrentRecipients<'_>,
    ) -> Result<CheckedInit, Reason> {
        let VersionedInit::Version1(init) = &self.header.init else { return Err(Reason::VersionUnsupported) };
        check_layer(self.layer, init, accepts)?;
        let alg = check_algorithm(self.header.alg, accepts)?;
        let mut key_transports = accepts.key_transports.iter();
        let kt = key_transports.find(|kt| i128::from(kt.cose_id()) == init.kt);
        let (kid, unwrap) = match kt.ok_or(Reason::KeyTransportUnsupported)? {
            KeyTransport::RsaOaep256 => check_rsa(init, recipients)?,
            KeyTransport::A256Kw => check_secret(init, alg, recipients)?,
        };
        let exchange = answer_exchange(provider, init.share.as_ref(), accepts)?;
        Ok(CheckedInit { wrapped: init.wrapped.clone(), issued: init.issued, alg, kid, unwrap, exchange, sealed: self })
    }
}

fn check_rsa(init: &Init, recipients: CurrentRecipients<'_>) -> Result<(Kid, Unwrap), Reason> {
    let id = KeyId(init.kid.as_slice().try_into().map_err(|_| Malformed::Header)?);
    let recipient = recipients.rsa_key(id).ok_or(Reason::KeyUnknown)?;
    if init.wrapped.len() != recipient.modulus_len {
        return Err(Malformed::Header.into());
    }
    Ok((Kid::Rsa(id), Unwrap::Rsa(Arc::clone(&recipient.key))))
}

/// Whether there is such a secret is no reason for anything: the answer depends on who asks, and must not say it.
fn check_secret(init: &Init, alg: Algorithm, recipients: CurrentRecipients<'_>) -> Result<(Kid, Unwrap), Reason> {
    let name = KeyName::try_from(init.kid.as_slice()).map_err(|_| Malformed::Header)?;
    if init.wrapped.len() != alg.key_len() + KEY_WRAP_LEN {
        return Err(Reason::CannotOpen);
    }
    let secret = recipients.secret(&name).cloned();
    Ok((Kid::Secret(name), Unwrap::Secret(secret)))
}

fn check_layer(container: Layer, init: &Init, accepts: &Accepts) -> Result<(), Reason> {
    if init.layer != u64::from(container.number()) {
        return Err(Malformed::Header.into());
    }
    if accepts.layers.contains(&container) { Ok(()) } else { Err(Reason::LayerUnsupported) }
}

fn check_algorithm(alg: i128, accepts: &Accepts) -> Result<Algorithm, Reason> {
    let alg = i64::try_from(alg).ok().and_then(Algorithm::from_cose_id).ok_or(Reason::AlgorithmUnsupported)?;
    if accepts.algorithms.contains(&alg) {
        Ok(alg)
    } else if accepts.algorithms.iter().any(|accepted| accepted.same_cipher(alg)) {
        Err(Reason::KeyLengthUnsupported)
    } else {
        Err(Reason::AlgorithmUnsupported)
    }
}

/// A share of a group that is not accepted counts as none.
fn answer_exchange(
    provider: &dyn CryptoProvider,
    offered: Option<&KeyShare>,
    accepts: &Accepts,
) -> Result<Option<CompletedKeyExchange>, Reason> {
    let accepted = offered.and_then(|offered| {
        let group = NamedGroup::from_number(offered.group)?;
        (accepts.groups.contains(&group) && provider.groups().contains(&group)).then_some((group, &offered.share))
    });
    match accepted {
        Some((group, share)) => match provider.answer_exchange(group, share) {
            Ok(exchange) => Ok(Some(exchange)),
            Err(InvalidShare) => Err(Malformed::Share.into()),
        },
        None if accepts.require_exchange => Err(Reason::KeyExchangeRequired),
        None => Ok(None),
    }
}

/// What a session key is unwrapped with.
enum Unwrap {
    Rsa(Arc<dyn RsaUnwrap>),
    /// None for a name that nobody has.
    Secret(Option<SecretRecipient>),
}

/// An init request that is acceptable as far as its public header says.
pub struct CheckedInit {
    sealed: Encrypt0<InitHeader>,
    alg: Algorithm,
    kid: Kid,
    wrapped: Vec<u8>,
    issued: Option<u64>,
    unwrap: Unwrap,
    exchange: Option<CompletedKeyExchange>,
}

impl CheckedInit {
    /// The content-encryption algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.alg
    }

    /// The key id under which the session key travelled. That the sender knows the secret of that name shows when the
    /// request opens.
    pub fn kid(&self) -> &Kid {
        &self.kid
    }

    /// Which secret of the name in [`kid`](Self::kid) it is, if it is one and there is one.
    pub fn secret(&self) -> Option<SecretFingerprint> {
        match &self.unwrap {
            Unwrap::Rsa(_) => None,
            Unwrap::Secret(secret) => secret.as_ref().map(|secret| secret.fingerprint),
        }
    }

    /// The group of the key exchange, if there is one.
    pub fn group(&self) -> Option<NamedGroup> {
        self.exchange.as_ref().map(|exchange| exchange.group)
    }

    /// Time of issue of the early form, in seconds since 1970; none in a handshake.
    pub fn issued(&self) -> Option<u64> {
        self.issued
    }

    /// SHA-256(H): what the memory of early init requests keeps (PROTOCOL section 3.5).
    pub fn header_digest(&self, provider: &dyn CryptoProvider) -> [u8; 32] {
        provider.sha256(&[self.sealed.protected()])
    }

    /// Unwraps the session key and derives the init keys. A private-key operation: it belongs off the async threads.
    ///
    /// If the session key cannot be unwrapped or has not the key length, a random one that was drawn beforehand takes its
    /// place (PROTOCOL section 4, "Unwrapping"): the failure shows as a failed open, in the same time. So does that of a
    /// secret that nobody has, for a random key takes its place, too.
    pub fn unwrap_key(
        self,
        provider: &dyn CryptoProvider,
        random: &dyn SecureRandom,
    ) -> Result<UnwrappedInit, RandomFailed> {
        let mut k = Zeroizing::new([0; 32]);
        let (k, _) = k.split_at_mut(self.alg.key_len());
        random.fill(k)?;
        let unwrapped = match &self.unwrap {
            Unwrap::Rsa(key) => key.unwrap_key(&self.wrapped),
            Unwrap::Secret(secret) => {
                // Drawn whether it is needed or not.
                let mut drawn = Zeroizing::new([0; 32]);
                random.fill(drawn.as_mut_slice())?;
                let drawn = Kek::new(&drawn);
                let kek = secret.as_ref().map_or(&drawn, |secret| &*secret.kek);
                provider.aes_unwrap(kek, &self.wrapped)
            }
        };
        let unwrapped = unwrapped.as_ref().map_or(&[][..], Key::expose);
        let fits = Choice::from(u8::from(unwrapped.len() == k.len()));
        let padded = unwrapped.iter().chain(std::iter::repeat(&0));
        for (byte, unwrapped) in k.iter_mut().zip(padded) {
            byte.conditional_assign(unwrapped, fits);
        }
        #[expect(clippy::expect_used, reason = "no algorithm's key is longer than 32 bytes")]
        let k = Key::from_slice(k).expect("at most 32 bytes");
        let keys = InitKeys::derive(provider, self.alg, self.sealed.protected(), &k);
        Ok(UnwrappedInit { sealed: self.sealed, keys, exchange: self.exchange })
    }
}

impl fmt::Debug for CheckedInit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckedInit")
            .field("alg", &self.alg)
            .field("kid", &self.kid)
            .field("group", &self.group())
            .field("issued", &self.issued)
            .finish_non_exhaustive()
    }
}

/// An init request whose keys are there, right or not.
pub struct UnwrappedInit {
    pub(in crate::seal) sealed: Encrypt0<InitHeader>,
    pub(in crate::seal) keys: InitKeys,
    exchange: Option<CompletedKeyExchange>,
}

impl UnwrappedInit {
    /// Opens it in the message layer, in place. Its plaintext is the empty map, if there was no time of issue.
    pub fn open(self) -> Result<(OpenedInit, Bytes), OpenFailed> {
        let Self { sealed, keys, exchange } = self;
        let (h, layer) = (sealed.protected().to_vec(), sealed.layer);
        let plaintext = keys.init.open(Number::ZERO, sealed)?.freeze();
        Ok((OpenedInit { h, layer, keys, exchange }, plaintext))
    }

    /// It opened.
    pub(in crate::seal) fn into_opened(self) -> OpenedInit {
        let Self { sealed, keys, exchange } = self;
        OpenedInit { h: sealed.protected().to_vec(), layer: sealed.layer, keys, exchange }
    }
}

impl fmt::Debug for UnwrappedInit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnwrappedInit").field("sealed", &self.sealed).finish_non_exhaustive()
    }
}

/// An init request that opened: its sender has the session key. It is answered once.
pub struct OpenedInit {
    h: Vec<u8>,
    layer: Layer,
    keys: InitKeys,
    exchange: Option<CompletedKeyExchange>,
}

impl OpenedInit {
    /// Composes the init response and derives the session's keys, which belong to this `sid`: drawn at random for this
    /// response. `end` says that the session ends already.
    pub fn reply(self, provider: &dyn CryptoProvider, sid: Sid, end: bool) -> InitResponse {
        let Self { h, layer, keys, exchange } = self;
        let (share, secret) = match exchange {
            Some(CompletedKeyExchange { group, share, secret }) => {
                (Some(KeyShare { group: group.number().into(), share }), Some(secret))
            }
            None => (None, None),
        };
        let r = encode_init_response(keys.alg, sid, share.as_ref(), end);
        let keys = keys.session(provider, layer, sid, secret.as_ref(), &h, &r);
        InitResponse { r, keys }
    }
}

impl fmt::Debug for OpenedInit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenedInit").field("layer", &self.layer).finish_non_exhaustive()
    }
}

/// An init response that is not sealed yet.
#[derive(Debug)]
pub struct InitResponse {
    pub(in crate::seal) r: Vec<u8>,
    pub(in crate::seal) keys: SessionKeys,
}

impl InitResponse {
    /// The bytes of its protected header, R.
    pub fn protected(&self) -> &[u8] {
        &self.r
    }

    /// Seals it in the message layer, and gives the keys for what follows.
    pub fn seal(self, plaintext: &Plaintext<'_>) -> (Bytes, SessionKeys) {
        (self.keys.s2c.seal(Direction::S2c, Number::ZERO, &self.r, plaintext), self.keys)
    }
}
