//! A session's constant part as the store keeps it: sealed, so that the store sees no key, no address and no name.

use std::{net::IpAddr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    crypto::{CryptoProvider, KeyId},
    seal::{SecretFingerprint, SessionKeys, Sid, StoreKey},
    session::{Kid, Session, SessionFacts},
};

/// What belongs to a session beside its keys, id and layer.
#[derive(Serialize, Deserialize)]
struct Context {
    route: String,
    rsa_key: Option<[u8; 32]>,
    secret: Option<String>,
    fingerprint: Option<[u8; 16]>,
    source: IpAddr,
}

pub(super) fn seal(
    key: &StoreKey,
    provider: &dyn CryptoProvider,
    facts: &SessionFacts,
    keys: &SessionKeys,
) -> Option<Vec<u8>> {
    let (rsa_key, secret) = match &facts.kid {
        Kid::Rsa(KeyId(id)) => (Some(*id), None),
        Kid::Secret(name) => (None, Some(name.to_string())),
    };
    let fingerprint = facts.secret.map(|SecretFingerprint(fingerprint)| fingerprint);
    let context = Context { route: facts.route.to_string(), rsa_key, secret, fingerprint, source: facts.source };
    Some(key.seal_record(provider, keys, &serde_json::to_vec(&context).ok()?))
}

/// `None` for a record that another key sealed, that belongs to another session, or that was made by another version.
pub(super) fn open(
    key: &StoreKey,
    provider: &dyn CryptoProvider,
    sid: Sid,
    record: &[u8],
) -> Option<Session<SessionKeys>> {
    let (keys, context) = key.open_record(provider, sid, record).ok()?;
    let Context { route, rsa_key, secret, fingerprint, source } = serde_json::from_slice(&context).ok()?;
    let kid = match (rsa_key, secret) {
        (Some(id), None) => Kid::Rsa(KeyId(id)),
        (None, Some(name)) => Kid::Secret(name.parse().ok()?),
        _ => return None,
    };
    let secret = fingerprint.map(SecretFingerprint);
    let facts = SessionFacts { sid, layer: keys.layer(), route: route.into(), kid, secret, source };
    Some(Session { facts, keys: Arc::new(keys) })
}
