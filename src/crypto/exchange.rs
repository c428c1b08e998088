//! Ephemeral key exchange through rustls's groups, for both providers.
//!
//! rustls composes X25519MLKEM768 and does the checks that PROTOCOL section 2 asks for: an all-zero X25519 result and
//! a failed ML-KEM encapsulation-key check are errors there. The groups draw their own randomness.

#[cfg(feature = "aws-lc")]
use rustls::crypto::aws_lc_rs::kx_group;
#[cfg(not(feature = "aws-lc"))]
use rustls::crypto::ring::kx_group;
use rustls::crypto::{self, SupportedKxGroup};
use zeroize::Zeroizing;

use super::{ActiveKeyExchange, CompletedKeyExchange, InvalidShare, NamedGroup, SharedSecret};

/// The groups that this build has.
#[cfg(feature = "aws-lc")]
pub(super) const GROUPS: &[NamedGroup] = &NamedGroup::ALL;
/// The groups that this build has: ML-KEM comes with AWS-LC.
#[cfg(not(feature = "aws-lc"))]
pub(super) const GROUPS: &[NamedGroup] = &[NamedGroup::X25519];

fn kx_group(group: NamedGroup) -> Option<&'static dyn SupportedKxGroup> {
    match group {
        NamedGroup::X25519 => Some(kx_group::X25519),
        #[cfg(feature = "aws-lc")]
        NamedGroup::X25519MlKem768 => Some(kx_group::X25519MLKEM768),
        #[cfg(not(feature = "aws-lc"))]
        NamedGroup::X25519MlKem768 => None,
    }
}

/// Begins an exchange as terminal.
pub(super) fn start(group: NamedGroup) -> Option<Box<dyn ActiveKeyExchange>> {
    let exchange = kx_group(group)?.start().ok()?;
    Some(Box::new(Started { group, exchange }))
}

/// Answers an exchange as gateway.
pub(super) fn answer(group: NamedGroup, terminal_share: &[u8]) -> Result<CompletedKeyExchange, InvalidShare> {
    if terminal_share.len() != group.terminal_share_len() {
        return Err(InvalidShare);
    }
    let completed =
        kx_group(group).ok_or(InvalidShare)?.start_and_complete(terminal_share).map_err(|_| InvalidShare)?;
    Ok(CompletedKeyExchange { group, share: completed.pub_key, secret: zeroizing(&completed.secret) })
}

struct Started {
    group: NamedGroup,
    exchange: Box<dyn crypto::ActiveKeyExchange>,
}

impl ActiveKeyExchange for Started {
    fn group(&self) -> NamedGroup {
        self.group
    }

    fn share(&self) -> &[u8] {
        self.exchange.pub_key()
    }

    fn complete(self: Box<Self>, gateway_share: &[u8]) -> Result<SharedSecret, InvalidShare> {
        if gateway_share.len() != self.group.gateway_share_len() {
            return Err(InvalidShare);
        }
        let secret = self.exchange.complete(gateway_share).map_err(|_| InvalidShare)?;
        Ok(zeroizing(&secret))
    }
}

/// A copy that is ours; rustls zeroes its own.
fn zeroizing(secret: &crypto::SharedSecret) -> SharedSecret {
    SharedSecret(Zeroizing::new(secret.secret_bytes().to_vec()))
}
