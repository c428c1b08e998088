//! The terminal's side.

use std::fmt;

use bytes::{Bytes, BytesMut};
use zeroize::Zeroizing;

use crate::crypto::{
    ActiveKeyExchange, Algorithm, CryptoProvider, InvalidShare, Key, KeyName, KeyTransport, NamedGroup, OpenFailed,
    RandomFailed, RsaPublicKey, SecureRandom, SharedSecret, TerminalSecret,
};
use crate::seal::data::SealedDocument;
use crate::seal::header::{Encrypt0, Init, KeyShare, ReplyHeader, decode_init_response, encode_init};
use crate::seal::schedule::{InitKeys, SessionKeys, derive_kek};
use crate::seal::{Direction, Layer, Malformed, Number, Plaintext};
use crate::syncml::Form;

/// Whom a terminal wraps its session key for; says the key transport, too.
#[derive(Clone, Copy, Debug)]
pub enum Recipient<'a> {
    /// The gateway, by its pinned key: RSA-OAEP-256.
    Rsa(&'a RsaPublicKey),
    /// The gateway with which the terminal shares a secret: A256KW.
    Secret(&'a KeyName, &'a TerminalSecret),
}

impl<'a> From<&'a RsaPublicKey> for Recipient<'a> {
    fn from(key: &'a RsaPublicKey) -> Self {
        Self::Rsa(key)
    }
}

impl Recipient<'_> {
    /// The key transport.
    pub const fn key_transport(self) -> KeyTransport {
        match self {
            Self::Rsa(_) => KeyTransport::RsaOaep256,
            Self::Secret(..) => KeyTransport::A256Kw,
        }
    }

    /// The key id on the wire, and the wrapped session key.
    fn wrap(
        self,
        provider: &dyn CryptoProvider,
        random: &dyn SecureRandom,
        k: &Key,
    ) -> Result<(Vec<u8>, Vec<u8>), RandomFailed> {
        Ok(match self {
            Self::Rsa(key) => (key.key_id().0.to_vec(), key.wrap_key(k, random)?),
            Self::Secret(name, secret) => {
                (name.as_str().into(), provider.aes_wrap(&derive_kek(provider, name, secret), k))
            }
        })
    }
}

/// What a terminal asks for.
#[derive(Clone, Copy, Debug)]
pub struct InitParameters<'a> {
    /// Where protection is applied.
    pub layer: Layer,
    /// The content-encryption algorithm.
    pub alg: Algorithm,
    /// Whom the session key is wrapped for.
    pub recipient: Recipient<'a>,
    /// The group of the key exchange to offer.
    pub group: Option<NamedGroup>,
    /// Whether a response without a key exchange is refused.
    pub require_exchange: bool,
    /// Time of issue, in seconds since 1970, exactly for the early form.
    pub issued: Option<u64>,
}

/// Why no init request can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartInitError {
    /// No randomness.
    #[error(transparent)]
    Random(#[from] RandomFailed),
    /// The provider could not begin an exchange of this group.
    #[error("no key exchange of group {} can be begun", .0.name())]
    Group(NamedGroup),
}

/// An init request that is not sealed yet.
pub struct InitRequest {
    h: Vec<u8>,
    pub(in crate::seal) keys: InitKeys,
    layer: Layer,
    exchange: Option<Box<dyn ActiveKeyExchange>>,
    require_exchange: bool,
}

impl InitRequest {
    /// Draws the session key, wraps it and begins the key exchange.
    pub fn new(
        provider: &dyn CryptoProvider,
        random: &dyn SecureRandom,
        parameters: &InitParameters<'_>,
    ) -> Result<Self, StartInitError> {
        let InitParameters { layer, alg, recipient, group, require_exchange, issued } = *parameters;
        let mut k = Zeroizing::new([0; 32]);
        let (k, _) = k.split_at_mut(alg.key_len());
        random.fill(k)?;
        #[expect(clippy::expect_used, reason = "no algorithm's key is longer than 32 bytes")]
        let k = Key::from_slice(k).expect("at most 32 bytes");
        let (kid, wrapped) = recipient.wrap(provider, random, &k)?;
        let exchange = match group {
            Some(group) => Some(provider.start_exchange(group).ok_or(StartInitError::Group(group))?),
            None => None,
        };
        let share = exchange
            .as_ref()
            .map(|exchange| KeyShare { group: exchange.group().number().into(), share: exchange.share().to_vec() });
        let init = Init {
            layer: layer.number().into(),
            kt: recipient.key_transport().cose_id().into(),
            kid,
            wrapped,
            issued,
            share,
        };
        let h = encode_init(alg, &init);
        let keys = InitKeys::derive(provider, alg, &h, &k);
        Ok(Self { h, keys, layer, exchange, require_exchange })
    }

    /// The bytes of its protected header, H.
    pub fn protected(&self) -> &[u8] {
        &self.h
    }

    /// Seals it in the message layer: a handshake, or the message that was announced by a time of issue.
    pub fn seal(self, plaintext: &Plaintext<'_>) -> (Bytes, PendingInit) {
        let sealed = self.keys.init.seal(Direction::C2s, Number::ZERO, &self.h, plaintext);
        (sealed, PendingInit(self))
    }
}

impl fmt::Debug for InitRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InitRequest").field("alg", &self.keys.alg).field("layer", &self.layer).finish_non_exhaustive()
    }
}

/// An init request that was sealed and waits for its response.
#[derive(Debug)]
pub struct PendingInit(pub(in crate::seal) InitRequest);

/// Why an answer is no init response to this request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InitResponseError {
    /// It is not well-formed, or not of this request.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// It has no key share, and a key exchange is required.
    #[error("the gateway did not take part in the key exchange that is required")]
    NoExchange,
    /// It did not open.
    #[error("the init response did not open")]
    CannotOpen,
}

/// A sealed session, and what its init response said.
#[derive(Debug)]
pub struct Established {
    /// The session's keys.
    pub keys: SessionKeys,
    /// Whether forward secrecy was agreed on.
    pub exchanged: bool,
    /// Whether the session ends already (PROTOCOL section 3.6).
    pub end: bool,
    /// The opened plaintext: of a handshake in the message layer, the empty map; in the data layer, the document.
    pub plaintext: Bytes,
}

impl PendingInit {
    /// Takes the answer of the message layer, which opens only if it comes from the gateway that has the recipient's key.
    pub fn handle_response(
        self,
        provider: &dyn CryptoProvider,
        response: BytesMut,
    ) -> Result<Established, InitResponseError> {
        let (keys, sealed, exchanged) = self.derive(provider, response)?;
        let end = sealed.header.end;
        let plaintext =
            keys.s2c.open(Number::ZERO, sealed).map_err(|OpenFailed| InitResponseError::CannotOpen)?.freeze();
        Ok(Established { keys, exchanged, end, plaintext })
    }

    /// Takes the answer of the data layer, a document that came with the Content-Type field value `content_type`. Its
    /// plaintext is the original document.
    pub fn handle_document(
        self,
        provider: &dyn CryptoProvider,
        form: Form,
        content_type: &[u8],
        response: BytesMut,
    ) -> Result<Established, InitResponseError> {
        let (seal, document) = SealedDocument::split(form, content_type, response).map_err(Malformed::from)?;
        let (keys, sealed, exchanged) = self.derive(provider, seal)?;
        let opened = document.open(&keys.s2c, Number::ZERO, &sealed, None);
        let opened = opened.map_err(|OpenFailed| InitResponseError::CannotOpen)?;
        let plaintext = opened.check().map_err(Malformed::from)?;
        Ok(Established { end: sealed.header.end, keys, exchanged, plaintext })
    }

    /// The session's keys, if this is the init response, and whether a key exchange took part in them.
    fn derive(
        self,
        provider: &dyn CryptoProvider,
        response: BytesMut,
    ) -> Result<(SessionKeys, Encrypt0<ReplyHeader>, bool), InitResponseError> {
        let Self(InitRequest { h, keys, layer, exchange, require_exchange }) = self;
        let mut sealed = decode_init_response(layer, response)?;
        if sealed.header.alg != i128::from(keys.alg.cose_id()) {
            return Err(Malformed::Session.into());
        }
        let secret = match (sealed.header.share.take(), exchange) {
            (Some(share), Some(exchange)) => Some(complete(exchange, &share)?),
            (Some(_), None) => return Err(Malformed::Share.into()),
            (None, _) if require_exchange => return Err(InitResponseError::NoExchange),
            (None, _) => None,
        };
        let keys = keys.session(provider, layer, sealed.header.sid, secret.as_ref(), &h, sealed.protected());
        Ok((keys, sealed, secret.is_some()))
    }
}

fn complete(exchange: Box<dyn ActiveKeyExchange>, share: &KeyShare) -> Result<SharedSecret, Malformed> {
    if share.group != u64::from(exchange.group().number()) {
        return Err(Malformed::Share);
    }
    exchange.complete(&share.share).map_err(|InvalidShare| Malformed::Share)
}
