//! `GET /.well-known/syncseal`: what this gateway supports, for those who set up a terminal. Nothing in it is authentic:
//! a key counts only when its id is the pinned one.

use bytes::Bytes;
use serde::Serialize;

use crate::policy::Recipient;
use crate::seal::{Accepts, encode_base64};

/// Where it is asked for.
pub(super) const PATH: &str = "/.well-known/syncseal";

#[derive(Serialize)]
struct Supported {
    versions: [u64; 1],
    algorithms: Vec<&'static str>,
    key_transports: Vec<&'static str>,
    groups: Vec<&'static str>,
    layers: Vec<&'static str>,
    keys: Vec<SpkiKey>,
}

/// A recipient key, by the names of its policy.
#[derive(Serialize)]
struct SpkiKey {
    /// The key id, `sha256//` and base64.
    kid: String,
    /// Base64 of the DER SubjectPublicKeyInfo.
    spki: String,
}

/// The JSON document.
pub(super) fn document<'a>(
    accepts: impl Iterator<Item = &'a Accepts> + Clone,
    rsa_keys: impl Iterator<Item = &'a Recipient>,
) -> Bytes {
    let supported = Supported {
        versions: [1],
        algorithms: names(accepts.clone().flat_map(|accepts| &accepts.algorithms).map(|alg| alg.name())),
        key_transports: names(accepts.clone().flat_map(|accepts| &accepts.key_transports).map(|kt| kt.name())),
        groups: names(accepts.clone().flat_map(|accepts| &accepts.groups).map(|group| group.name())),
        layers: names(accepts.flat_map(|accepts| &accepts.layers).map(|layer| layer.name())),
        keys: rsa_keys
            .map(|recipient| {
                let public = &recipient.public;
                SpkiKey { kid: public.key_id().to_string(), spki: encode_base64(public.to_der()) }
            })
            .collect(),
    };
    #[expect(clippy::expect_used, reason = "strings and numbers always are JSON")]
    serde_json::to_vec(&supported).expect("JSON").into()
}

/// Each name once, in the order of first appearance.
fn names(all: impl Iterator<Item = &'static str>) -> Vec<&'static str> {
    let mut names = Vec::new();
    for name in all {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}
