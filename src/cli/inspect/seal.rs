//! A seal by the names of PROTOCOL section 4.

use bytes::BytesMut;

use super::hex;
use crate::crypto::{Algorithm, KeyId, KeyName, KeyTransport, NamedGroup};
use crate::seal::{
    Encrypt0, Init, InitHeader, KeyShare, Layer, Malformed, NumberedHeader, ReplyHeader, SealedRequest, VersionedInit,
    decode_init_response, decode_request, decode_response,
};

/// The lines that describe a seal as `layer` holds it.
pub(super) fn describe(layer: Layer, bytes: &[u8]) -> Result<Vec<String>, Malformed> {
    // A seal does not say which way it went: init requests and responses are told by their maps, numbered requests and
    // their responses not at all.
    match decode_request(layer, BytesMut::from(bytes)) {
        Ok(SealedRequest::Init(seal)) => Ok(init_request(&seal)),
        Ok(SealedRequest::Numbered(seal)) => Ok(numbered(&seal, "request, or the response to it")),
        Err(error) => decode_init_response(layer, BytesMut::from(bytes))
            .map(|seal| init_response(&seal))
            .or_else(|_| decode_response(layer, BytesMut::from(bytes)).map(|seal| numbered(&seal, "response")))
            .map_err(|_| error),
    }
}

fn init_request(seal: &Encrypt0<InitHeader>) -> Vec<String> {
    let InitHeader { alg, init } = seal.header();
    let mut lines = match init {
        VersionedInit::Version1(init) => {
            let form = if init.issued.is_some() { "early: it carries the first message" } else { "a handshake" };
            let mut lines = vec![format!("init request, {form}"), algorithm(*alg), "version: 1".to_owned()];
            lines.extend(init_lines(init));
            lines
        }
        VersionedInit::Unsupported(version) => {
            vec!["init request".to_owned(), algorithm(*alg), format!("version: {version}, which is not ours")]
        }
    };
    lines.push(ciphertext(seal.ciphertext().len()));
    lines
}

fn init_lines(init: &Init) -> Vec<String> {
    let layer = Layer::from_number(init.layer).map_or("unknown", Layer::name);
    let transport = i64::try_from(init.kt).ok().and_then(KeyTransport::from_cose_id);
    let kid = match (transport, <[u8; 32]>::try_from(&init.kid[..]), KeyName::try_from(&init.kid[..])) {
        (Some(KeyTransport::A256Kw), _, Ok(name)) => format!("{:?}", name.as_str()),
        (Some(KeyTransport::RsaOaep256), Ok(id), _) => KeyId(id).to_string(),
        _ => hex(&init.kid),
    };
    let mut lines = vec![
        format!("layer: {layer} ({})", init.layer),
        format!("key transport (kt): {} ({})", transport.map_or("unknown", KeyTransport::name), init.kt),
        format!("recipient key (kid): {kid}"),
        format!("wrapped session key: {} bytes", init.wrapped.len()),
    ];
    lines.extend(init.issued.map(|seconds| format!("time of issue: {seconds} s since 1970-01-01T00:00:00Z")));
    lines.push(share(init.share.as_ref(), "offered"));
    lines
}

fn init_response(seal: &Encrypt0<ReplyHeader>) -> Vec<String> {
    let ReplyHeader { alg, sid, share: taken, end } = seal.header();
    let mut lines = vec![
        "init response".to_owned(),
        algorithm(*alg),
        format!("session (sid): {sid}"),
        share(taken.as_ref(), "taken"),
    ];
    lines.extend(end.then(|| "end: the session is over".to_owned()));
    lines.push(ciphertext(seal.ciphertext().len()));
    lines
}

fn numbered(seal: &Encrypt0<NumberedHeader>, direction: &str) -> Vec<String> {
    let NumberedHeader { alg, sid, number, end } = seal.header();
    let mut lines =
        vec![format!("{direction}, number {}", number.value()), algorithm(*alg), format!("session (sid): {sid}")];
    lines.extend(end.then(|| "end: the session is over".to_owned()));
    lines.push(ciphertext(seal.ciphertext().len()));
    lines
}

fn algorithm(alg: i128) -> String {
    let known = i64::try_from(alg).ok().and_then(Algorithm::from_cose_id);
    format!("algorithm (alg): {} ({alg})", known.map_or("unknown", Algorithm::name))
}

fn share(share: Option<&KeyShare>, verb: &str) -> String {
    match share {
        Some(KeyShare { group, share }) => {
            let name = NamedGroup::from_number(*group).map_or("unknown", NamedGroup::name);
            format!("key exchange: {name} ({group}), share of {} bytes {verb}", share.len())
        }
        None => format!("key exchange: none {verb}"),
    }
}

fn ciphertext(len: usize) -> String {
    format!("sealed: {len} bytes, tag included")
}
