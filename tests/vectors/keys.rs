//! Sealed sessions with given keys.

use std::fmt;

use bytes::{Bytes, BytesMut};
use serde_json::Value;
use syncseal::crypto::{
    ActiveKeyExchange, AeadKey, Algorithm, CompletedKeyExchange, CryptoProvider, InvalidKey, InvalidShare, Kek, Key,
    KeyTransport, NamedGroup, Prk, RsaPrivateKey, RsaUnwrap, SystemRandom,
};
use syncseal::seal::data::{Sealable, SealedDocument};
use syncseal::seal::{
    self, Accepts, HandshakePlaintext, InitParameters, InitRequest, Layer, Recipients, SealedRequest, SessionKeys, Sid,
};
use syncseal::syncml::Form;

use crate::file::{array, bytes, number};

/// What a sealed session is to consist of.
pub(crate) struct Given {
    pub(crate) layer: Layer,
    pub(crate) alg: Algorithm,
    pub(crate) sid: Sid,
    pub(crate) key_c2s: Vec<u8>,
    pub(crate) key_s2c: Vec<u8>,
    pub(crate) iv_c2s: Vec<u8>,
    pub(crate) iv_s2c: Vec<u8>,
}

impl Given {
    /// A session of the vectors.
    pub(crate) fn read(session: &Value) -> Self {
        Self {
            layer: Layer::from_number(number(&session["layer"])).unwrap(),
            alg: Algorithm::from_cose_id(session["alg"].as_i64().unwrap()).unwrap(),
            sid: Sid(array(&session["sid"])),
            key_c2s: bytes(&session["key_c2s"]),
            key_s2c: bytes(&session["key_s2c"]),
            iv_c2s: bytes(&session["iv_c2s"]),
            iv_s2c: bytes(&session["iv_s2c"]),
        }
    }
}

/// Any target and content type.
const TARGET: &str = "/";
const CONTENT_TYPE: &str = "application/vnd.syncml+xml";
/// Any document.
pub(crate) const DOCUMENT: &[u8] = b"<SyncML><SyncHdr><MsgID>0</MsgID></SyncHdr><SyncBody><Final/></SyncBody></SyncML>";

/// A document of the tests as one to be sealed.
pub(crate) fn any_document() -> Sealable {
    Sealable::new(Form::Xml, CONTENT_TYPE.as_bytes(), Bytes::from_static(DOCUMENT)).unwrap()
}

/// The keys of a session: those of a handshake whose key derivation gives them.
pub(crate) fn session_keys(inner: &'static dyn CryptoProvider, given: &Given) -> SessionKeys {
    let provider = Derived { inner, given };
    let private = RsaPrivateKey::from_pem(include_str!("../keys/pkcs8.pem")).unwrap();
    let Given { layer, alg, sid, .. } = *given;
    let recipient = private.public().into();
    let parameters = InitParameters { layer, alg, recipient, group: None, require_exchange: false, issued: None };
    let request = InitRequest::new(&provider, &SystemRandom, &parameters).unwrap();
    let (seal, document) = match layer {
        Layer::Message => (BytesMut::from(&*request.seal(&HandshakePlaintext.plaintext()).0), None),
        Layer::Data => {
            let (sealed, _) = request.seal_document(TARGET, &any_document()).unwrap();
            let (seal, document) =
                SealedDocument::split(Form::Xml, CONTENT_TYPE.as_bytes(), BytesMut::from(&*sealed)).unwrap();
            (seal, Some(document))
        }
    };
    let Ok(SealedRequest::Init(init)) = seal::decode_request(layer, seal) else { panic!("an init request") };
    let accepts = Accepts {
        layers: vec![layer],
        algorithms: vec![alg],
        key_transports: KeyTransport::ALL.to_vec(),
        groups: Vec::new(),
        require_exchange: false,
    };
    let recipients = Recipients::new(&provider, [&private]).unwrap();
    let unwrapped =
        init.check(&provider, &accepts, recipients.at(0)).unwrap().unwrap_key(&provider, &SystemRandom).unwrap();
    match document {
        None => {
            let (opened, _) = unwrapped.open().unwrap();
            opened.reply(&provider, sid, false).seal(&HandshakePlaintext.plaintext()).1
        }
        Some(document) => {
            let (opened, document) = unwrapped.open_document(document, TARGET).unwrap();
            assert_eq!(document.check().unwrap(), DOCUMENT);
            opened.reply(&provider, sid, false).seal_document(&any_document()).unwrap().1
        }
    }
}

/// A provider whose session keys are the given ones.
struct Derived<'a> {
    inner: &'static dyn CryptoProvider,
    given: &'a Given,
}

impl fmt::Debug for Derived<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Derived({})", self.inner.name())
    }
}

impl CryptoProvider for Derived<'_> {
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
        out.copy_from_slice(match info {
            b"syncseal v1 key c2s" => &self.given.key_c2s,
            b"syncseal v1 key s2c" => &self.given.key_s2c,
            b"syncseal v1 iv c2s" => &self.given.iv_c2s,
            b"syncseal v1 iv s2c" => &self.given.iv_s2c,
            _ => return self.inner.hkdf_expand(prk, info, out),
        });
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
        self.inner.groups()
    }

    fn start_exchange(&self, group: NamedGroup) -> Option<Box<dyn ActiveKeyExchange>> {
        self.inner.start_exchange(group)
    }

    fn answer_exchange(&self, group: NamedGroup, share: &[u8]) -> Result<CompletedKeyExchange, InvalidShare> {
        self.inner.answer_exchange(group, share)
    }
}
