//! The seal as it travels (PROTOCOL section 4): a COSE_Encrypt0 that was received, well-formed but not opened, and the
//! protected headers of those that are made.
//!
//! Which keys open it is left to [`super::schedule`], whether its offer is acceptable to [`super::init`].

use std::fmt;
use std::ops::Range;

use bytes::BytesMut;
use ciborium_ll::Header as Head;
use coset::cbor::Value;
use coset::{CborSerializable, HeaderBuilder, iana};

use super::cbor::{Key, Reader, push_bytes, push_head, push_text};
use super::{Direction, Layer, Malformed, Number, Sid};
use crate::crypto::{Algorithm, CryptoProvider, TAG_LEN};

/// The longest protected header that is looked at; the longest that the protocol needs is under 2 KiB.
const MAX_PROTECTED: usize = 8192;
/// The CBOR tag of a COSE_Encrypt0 (RFC 9052, 2).
pub(super) const TAG_ENCRYPT0: u64 = 16;
/// The only version of the `init` and `reply` maps.
const VERSION: u64 = 1;

/// A COSE_Encrypt0 with the header that belongs where it was received; it owns its bytes, to be opened in place.
pub struct Encrypt0<H> {
    pub(super) header: H,
    pub(super) layer: Layer,
    pub(super) direction: Direction,
    pub(super) frame: Frame,
    pub(super) bytes: BytesMut,
}

/// Where the parts of a COSE_Encrypt0 stand.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// The array, without its tag.
    untagged: usize,
    /// The content of the first byte string.
    protected: Range<usize>,
    /// The content of the second: ciphertext and tag.
    pub(super) ciphertext: Range<usize>,
}

impl<H> Encrypt0<H> {
    /// What its protected header says. Not authentic before it is opened.
    pub fn header(&self) -> &H {
        &self.header
    }

    /// The layer in which it was received.
    pub fn layer(&self) -> Layer {
        self.layer
    }

    /// The exact bytes of its protected header: H of an init request, R of an init response.
    pub fn protected(&self) -> &[u8] {
        self.bytes.get(self.frame.protected.clone()).unwrap_or_default()
    }

    /// Its ciphertext and tag; in the data layer, where the ciphertext stands in the document, its tag.
    pub fn ciphertext(&self) -> &[u8] {
        self.bytes.get(self.frame.ciphertext.clone()).unwrap_or_default()
    }

    /// SHA-256 of its bytes, untagged: what tells a retransmission from another message (PROTOCOL section 3.4).
    pub fn digest(&self, provider: &dyn CryptoProvider) -> [u8; 32] {
        provider.sha256(&[self.bytes.get(self.frame.untagged..).unwrap_or_default()])
    }
}

impl<H: fmt::Debug> fmt::Debug for Encrypt0<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encrypt0")
            .field("header", &self.header)
            .field("layer", &self.layer)
            .field("direction", &self.direction)
            .field("bytes", &self.bytes.len())
            .finish()
    }
}

/// A request's seal.
#[derive(Debug)]
pub enum SealedRequest {
    /// It asks for a sealed session.
    Init(Encrypt0<InitHeader>),
    /// It belongs to one.
    Numbered(Encrypt0<NumberedHeader>),
}

/// The header of an init request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitHeader {
    /// COSE number of the content-encryption algorithm, perhaps not one of ours.
    pub alg: i128,
    /// The `init` map.
    pub init: VersionedInit,
}

/// The `init` map; of other versions nothing but the version is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionedInit {
    /// Version 1.
    Version1(Init),
    /// Another.
    Unsupported(u64),
}

/// The `init` map of version 1, with the types that belong in it and any values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Init {
    /// Number of the layer.
    pub layer: u64,
    /// COSE number of the key transport.
    pub kt: i128,
    /// The recipient's key id.
    pub kid: Vec<u8>,
    /// The wrapped session key.
    pub wrapped: Vec<u8>,
    /// Time of issue, in seconds since 1970; there exactly in the early form.
    pub issued: Option<u64>,
    /// The offered key share.
    pub share: Option<KeyShare>,
}

/// A key share of some group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyShare {
    /// TLS NamedGroup number, perhaps not one of ours.
    pub group: u64,
    /// The share.
    pub share: Vec<u8>,
}

/// The header of a numbered request or of its response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberedHeader {
    /// COSE number of the content-encryption algorithm: the session's, if it opens.
    pub alg: i128,
    /// The session.
    pub sid: Sid,
    /// At least 1.
    pub number: Number,
    /// In a response: whether the session ends (PROTOCOL section 3.6).
    pub end: bool,
}

/// The header of an init response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyHeader {
    /// COSE number of the content-encryption algorithm: the offered, if it opens.
    pub alg: i128,
    /// The session.
    pub sid: Sid,
    /// The gateway's key share, if it took the offered one.
    pub share: Option<KeyShare>,
    /// Whether the session ends already (PROTOCOL section 3.6).
    pub end: bool,
}

/// Reads the seal of a request, as the container of `layer` holds it: tagged in the message layer, untagged in the data
/// layer.
pub fn decode_request(layer: Layer, bytes: BytesMut) -> Result<SealedRequest, Malformed> {
    let (frame, parameters) = decode(layer, &bytes)?;
    let direction = Direction::C2s;
    match parameters {
        Parameters { alg: Some(alg), sid: None, number: None, init: Some(init), reply: None } => {
            Ok(SealedRequest::Init(Encrypt0 { header: InitHeader { alg, init }, layer, direction, frame, bytes }))
        }
        Parameters { alg: Some(alg), sid: Some(sid), number: Some(number), init: None, reply: None }
            if number > Number::ZERO =>
        {
            let header = NumberedHeader { alg, sid, number, end: false };
            Ok(SealedRequest::Numbered(Encrypt0 { header, layer, direction, frame, bytes }))
        }
        _ => Err(Malformed::Header),
    }
}

/// Reads the seal of what should be an init response.
pub fn decode_init_response(layer: Layer, bytes: BytesMut) -> Result<Encrypt0<ReplyHeader>, Malformed> {
    let (frame, parameters) = decode(layer, &bytes)?;
    match parameters {
        Parameters { alg: Some(alg), sid: Some(sid), number: Some(Number::ZERO), init: None, reply: Some(reply) } => {
            let header = ReplyHeader { alg, sid, share: reply.share, end: reply.end };
            Ok(Encrypt0 { header, layer, direction: Direction::S2c, frame, bytes })
        }
        _ => Err(Malformed::Header),
    }
}

/// Reads the seal of what should be a response to a numbered request.
pub fn decode_response(layer: Layer, bytes: BytesMut) -> Result<Encrypt0<NumberedHeader>, Malformed> {
    let (frame, parameters) = decode(layer, &bytes)?;
    match parameters {
        Parameters { alg: Some(alg), sid: Some(sid), number: Some(number), init: None, reply }
            if number > Number::ZERO && reply.as_ref().is_none_or(|reply| reply.end && reply.share.is_none()) =>
        {
            let header = NumberedHeader { alg, sid, number, end: reply.is_some() };
            Ok(Encrypt0 { header, layer, direction: Direction::S2c, frame, bytes })
        }
        _ => Err(Malformed::Header),
    }
}

/// The parameters of a protected header, each of the type that belongs to it.
#[derive(Debug, Default)]
struct Parameters {
    alg: Option<i128>,
    sid: Option<Sid>,
    number: Option<Number>,
    init: Option<VersionedInit>,
    reply: Option<Reply>,
}

/// The `reply` map.
#[derive(Debug, Default)]
struct Reply {
    share: Option<KeyShare>,
    end: bool,
}

const ALG: i128 = iana::HeaderParameter::Alg as i128;
const KID: i128 = iana::HeaderParameter::Kid as i128;
const PARTIAL_IV: i128 = iana::HeaderParameter::PartialIv as i128;
const INIT: &str = "init";
const REPLY: &str = "reply";

fn decode(layer: Layer, bytes: &[u8]) -> Result<(Frame, Parameters), Malformed> {
    let mut reader = Reader::new(bytes);
    if layer == Layer::Message && reader.tag()? != TAG_ENCRYPT0 {
        return Err(Malformed::Frame);
    }
    let untagged = reader.offset();
    if reader.array()? != 3 {
        return Err(Malformed::Frame);
    }
    let protected = reader.bytes_range()?;
    let mut unprotected = reader.map()?;
    if reader.next_key(&mut unprotected)?.is_some() {
        return Err(Malformed::Frame);
    }
    let ciphertext = reader.bytes_range()?;
    reader.finish()?;
    // In the data layer, the ciphertext proper stands in the document.
    let fits = match layer {
        Layer::Data => ciphertext.len() == TAG_LEN,
        Layer::Message => ciphertext.len() >= TAG_LEN,
    };
    if !fits || protected.len() > MAX_PROTECTED {
        return Err(Malformed::Frame);
    }
    let parameters = decode_parameters(bytes.get(protected.clone()).ok_or(Malformed::Frame)?)?;
    Ok((Frame { untagged, protected, ciphertext }, parameters))
}

fn decode_parameters(protected: &[u8]) -> Result<Parameters, Malformed> {
    let mut reader = Reader::new(protected);
    let mut entries = reader.map()?;
    let mut parameters = Parameters::default();
    while let Some(key) = reader.next_key(&mut entries)? {
        match key {
            Key::Int(ALG) => parameters.alg = Some(reader.int()?),
            Key::Int(KID) => {
                parameters.sid = Some(Sid(reader.bytes()?.try_into().map_err(|_| Malformed::Header)?));
            }
            Key::Int(PARTIAL_IV) => parameters.number = Some(decode_number(reader.bytes()?)?),
            Key::Text(INIT) => parameters.init = Some(decode_init(&mut reader)?),
            Key::Text(REPLY) => parameters.reply = Some(decode_reply(&mut reader)?),
            _ => return Err(Malformed::Header),
        }
    }
    reader.finish()?;
    Ok(parameters)
}

/// A Partial IV: big-endian, as short as can be, but never empty.
fn decode_number(bytes: &[u8]) -> Result<Number, Malformed> {
    if bytes.is_empty() || bytes.len() > 5 || (bytes.len() > 1 && bytes.starts_with(&[0])) {
        return Err(Malformed::Header);
    }
    let value = bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
    Number::new(value).ok_or(Malformed::Header)
}

fn decode_init(reader: &mut Reader<'_>) -> Result<VersionedInit, Malformed> {
    let mut entries = reader.map()?;
    // The version's key sorts before all others that the map may have.
    if reader.next_key(&mut entries)? != Some(Key::Int(0)) {
        return Err(Malformed::Header);
    }
    let version = reader.uint()?;
    if version != VERSION {
        while reader.next_key(&mut entries)?.is_some() {
            reader.skip()?;
        }
        return Ok(VersionedInit::Unsupported(version));
    }
    let (mut layer, mut kt, mut kid, mut wrapped, mut issued, mut share) = (None, None, None, None, None, None);
    while let Some(key) = reader.next_key(&mut entries)? {
        match key {
            Key::Int(1) => layer = Some(reader.uint()?),
            Key::Int(2) => kt = Some(reader.int()?),
            Key::Int(3) => kid = Some(reader.bytes()?.to_vec()),
            Key::Int(4) => wrapped = Some(reader.bytes()?.to_vec()),
            Key::Int(5) => issued = Some(reader.uint()?),
            Key::Int(6) => share = Some(decode_share(reader)?),
            _ => return Err(Malformed::Header),
        }
    }
    match (layer, kt, kid, wrapped) {
        (Some(layer), Some(kt), Some(kid), Some(wrapped)) => {
            Ok(VersionedInit::Version1(Init { layer, kt, kid, wrapped, issued, share }))
        }
        _ => Err(Malformed::Header),
    }
}

fn decode_reply(reader: &mut Reader<'_>) -> Result<Reply, Malformed> {
    let mut entries = reader.map()?;
    if reader.next_key(&mut entries)? != Some(Key::Int(0)) || reader.uint()? != VERSION {
        return Err(Malformed::Header);
    }
    let mut reply = Reply::default();
    while let Some(key) = reader.next_key(&mut entries)? {
        match key {
            Key::Int(6) => reply.share = Some(decode_share(reader)?),
            Key::Int(9) => {
                reader.literal_true()?;
                reply.end = true;
            }
            _ => return Err(Malformed::Header),
        }
    }
    Ok(reply)
}

fn decode_share(reader: &mut Reader<'_>) -> Result<KeyShare, Malformed> {
    if reader.array()? != 2 {
        return Err(Malformed::Header);
    }
    Ok(KeyShare { group: reader.uint()?, share: reader.bytes()?.to_vec() })
}

/// The bytes of the protected header of an init request, H.
pub(super) fn encode_init(alg: Algorithm, init: &Init) -> Vec<u8> {
    let mut map = vec![
        (0, VERSION.into()),
        (1, init.layer.into()),
        (2, init.kt.into()),
        (3, Value::Bytes(init.kid.clone())),
        (4, Value::Bytes(init.wrapped.clone())),
    ];
    map.extend(init.issued.map(|issued| (5, issued.into())));
    map.extend(init.share.as_ref().map(|share| (6, encode_share(share))));
    encode(HeaderBuilder::new().algorithm(cose_algorithm(alg)).text_value(INIT.into(), int_map(map)))
}

/// The bytes of the protected header of an init response, R.
pub(super) fn encode_init_response(alg: Algorithm, sid: Sid, share: Option<&KeyShare>, end: bool) -> Vec<u8> {
    encode(numbered(alg, sid, Number::ZERO).text_value(REPLY.into(), reply_map(share, end)))
}

/// The bytes of any other protected header. Written in place, for every message has one; a test holds it to coset's.
pub(super) fn encode_numbered(alg: Algorithm, sid: Sid, number: Number, end: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(40);
    push_head(&mut out, Head::Map(Some(3 + usize::from(end))));
    push_head(&mut out, Head::Positive(iana::HeaderParameter::Alg as u64));
    push_head(&mut out, Head::Positive(alg.cose_id().unsigned_abs()));
    push_head(&mut out, Head::Positive(iana::HeaderParameter::Kid as u64));
    push_bytes(&mut out, &sid.0);
    push_head(&mut out, Head::Positive(iana::HeaderParameter::PartialIv as u64));
    let bytes = number.value().to_be_bytes();
    push_bytes(&mut out, bytes.get(leading_zeros(bytes)..).unwrap_or_default());
    if end {
        push_text(&mut out, REPLY);
        push_head(&mut out, Head::Map(Some(2)));
        push_head(&mut out, Head::Positive(0));
        push_head(&mut out, Head::Positive(VERSION));
        push_head(&mut out, Head::Positive(9));
        push_head(&mut out, Head::Simple(ciborium_ll::simple::TRUE));
    }
    out
}

/// How many bytes of a number are left out at its beginning: all that are zero, but not the last.
fn leading_zeros(bytes: [u8; 8]) -> usize {
    bytes.iter().take(bytes.len() - 1).take_while(|byte| **byte == 0).count()
}

fn numbered(alg: Algorithm, sid: Sid, number: Number) -> HeaderBuilder {
    let bytes = number.value().to_be_bytes();
    HeaderBuilder::new()
        .algorithm(cose_algorithm(alg))
        .key_id(sid.0.to_vec())
        .partial_iv(bytes.into_iter().skip(leading_zeros(bytes)).collect())
}

fn reply_map(share: Option<&KeyShare>, end: bool) -> Value {
    let mut map = vec![(0, VERSION.into())];
    map.extend(share.map(|share| (6, encode_share(share))));
    map.extend(end.then_some((9, Value::Bool(true))));
    int_map(map)
}

fn encode_share(share: &KeyShare) -> Value {
    Value::Array(vec![share.group.into(), Value::Bytes(share.share.clone())])
}

fn int_map(entries: Vec<(u8, Value)>) -> Value {
    Value::Map(entries.into_iter().map(|(key, value)| (key.into(), value)).collect())
}

#[expect(clippy::expect_used, reason = "coset refuses to write a header only if a label comes twice")]
fn encode(header: HeaderBuilder) -> Vec<u8> {
    header.build().to_vec().expect("labels are distinct")
}

fn cose_algorithm(alg: Algorithm) -> iana::Algorithm {
    match alg {
        Algorithm::A128Gcm => iana::Algorithm::A128GCM,
        Algorithm::A192Gcm => iana::Algorithm::A192GCM,
        Algorithm::A256Gcm => iana::Algorithm::A256GCM,
        Algorithm::ChaCha20Poly1305 => iana::Algorithm::ChaCha20Poly1305,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_numbered_header_is_the_one_of_coset() {
        let sid = Sid([9; 16]);
        for alg in Algorithm::ALL {
            for number in [0, 1, 23, 24, 255, 256, 65_536, 1 << 24, (1 << 40) - 1] {
                let number = Number::new(number).unwrap();
                let plain = numbered(alg, sid, number);
                assert_eq!(encode_numbered(alg, sid, number, false), encode(plain), "{number:?}");
                let ending = numbered(alg, sid, number).text_value(REPLY.into(), reply_map(None, true));
                assert_eq!(encode_numbered(alg, sid, number, true), encode(ending), "{number:?}");
            }
        }
    }
}
