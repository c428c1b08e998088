//! What is asked for in an init request, and what else when that is refused.

use crate::crypto::{Algorithm, NamedGroup, RsaPublicKey};
use crate::policy::{AgentPolicy, AgentRecipients};
use crate::seal::{Reason, Recipient, Refusal, RefusalReason};

/// An algorithm, a group and a key of the policy's lists, which are in the order of preference.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offer<'p> {
    lists: Lists<'p>,
    pub(super) alg: Algorithm,
    pub(super) group: Option<NamedGroup>,
    pub(super) recipient: Recipient<'p>,
}

/// The configured lists that an offer is made from. There are no recipients but RSA keys to choose among: whoever shares
/// a secret with the gateway uses that one.
#[derive(Clone, Copy, Debug)]
struct Lists<'p> {
    algorithms: &'p [Algorithm],
    groups: &'p [NamedGroup],
    recipients: &'p [RsaPublicKey],
}

impl<'p> Offer<'p> {
    /// The first of each list. `None` if there is no algorithm or no key, which no policy has.
    pub(super) fn first(policy: &'p AgentPolicy) -> Option<Self> {
        let (recipient, recipients) = match &policy.recipients {
            AgentRecipients::Rsa(keys) => (keys.first()?.into(), keys.as_slice()),
            AgentRecipients::Secret(name, secret) => (Recipient::Secret(name, secret), [].as_slice()),
        };
        Self::of(recipient, Lists { algorithms: &policy.algorithms, groups: &policy.groups, recipients })
    }

    fn of(recipient: Recipient<'p>, lists: Lists<'p>) -> Option<Self> {
        Some(Self { alg: *lists.algorithms.first()?, group: lists.groups.first().copied(), recipient, lists })
    }

    /// Another offer after an unsealed refusal (PROTOCOL section 7): the next of the list that the reason is about, of
    /// those that the refusal names if it names any. The refusal is not authentic: it can choose among what the policy
    /// allows, and nothing else.
    pub(super) fn alternative(self, refusal: &Refusal) -> Option<Self> {
        let RefusalReason::Known(reason) = refusal.reason else { return None };
        match reason {
            Reason::AlgorithmUnsupported => self.with_algorithm(refusal, |alg| !alg.same_cipher(self.alg)),
            Reason::KeyLengthUnsupported => self.with_algorithm(refusal, |alg| alg != self.alg),
            Reason::KeyExchangeRequired => {
                let named =
                    |group: NamedGroup| refusal.groups.is_empty() || refusal.groups.contains(&group.number().into());
                let mut others = self.lists.groups.iter().copied().filter(|group| Some(*group) != self.group);
                others.find(|group| named(*group)).map(|group| Self { group: Some(group), ..self })
            }
            Reason::KeyUnknown => {
                let Recipient::Rsa(tried) = self.recipient else { return None };
                let mut others = self.lists.recipients.iter().filter(|key| key.key_id() != tried.key_id());
                let other = others.find(|key| refusal.keys.is_empty() || refusal.keys.contains(&key.key_id()))?;
                Some(Self { recipient: other.into(), ..self })
            }
            Reason::EncryptionRequired
            | Reason::LayerUnsupported
            | Reason::KeyTransportUnsupported
            | Reason::VersionUnsupported
            | Reason::EarlyRefused
            | Reason::SessionUnknown
            | Reason::SessionBound
            | Reason::Replayed
            | Reason::CannotOpen
            | Reason::Malformed
            | Reason::TooLarge
            | Reason::Overloaded
            | Reason::UpstreamUnreachable
            | Reason::UpstreamTimeout
            | Reason::UpstreamInvalid => None,
        }
    }

    /// The first other algorithm that the refusal names; if it names none, the first for which there is hope.
    fn with_algorithm(self, refusal: &Refusal, hopeful: impl Fn(Algorithm) -> bool) -> Option<Self> {
        let acceptable = |alg: Algorithm| {
            if refusal.algorithms.is_empty() {
                hopeful(alg)
            } else {
                refusal.algorithms.contains(&alg.cose_id().into())
            }
        };
        let mut others = self.lists.algorithms.iter().copied().filter(|alg| *alg != self.alg);
        others.find(|alg| acceptable(*alg)).map(|alg| Self { alg, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{RsaPrivateKey, SystemRandom, TerminalSecret};

    const PEM: &str = include_str!("../../tests/keys/public.pem");

    fn keys() -> Vec<RsaPublicKey> {
        let other = || RsaPrivateKey::generate(2048, &SystemRandom).unwrap().public().clone();
        vec![RsaPublicKey::from_pem(PEM).unwrap(), other(), other()]
    }

    fn offer<'p>(algorithms: &'p [Algorithm], groups: &'p [NamedGroup], keys: &'p [RsaPublicKey]) -> Offer<'p> {
        Offer::of((&keys[0]).into(), Lists { algorithms, groups, recipients: keys }).unwrap()
    }

    /// The key of the alternative after `refusal`.
    fn other_key(offer: Offer<'_>, refusal: &Refusal) -> Option<crate::crypto::KeyId> {
        offer.alternative(refusal).map(|offer| match offer.recipient {
            Recipient::Rsa(key) => key.key_id(),
            Recipient::Secret(name, _) => panic!("the secret {name} in the place of a key"),
        })
    }

    fn refusal(reason: Reason) -> Refusal {
        Refusal::from(reason)
    }

    #[test]
    fn the_algorithm_follows_the_own_order_within_what_is_named() {
        use Algorithm::{A128Gcm, A192Gcm, A256Gcm, ChaCha20Poly1305};
        let keys = keys();
        let mut named = refusal(Reason::AlgorithmUnsupported);
        named.algorithms = vec![A128Gcm.cose_id().into(), 7, A192Gcm.cose_id().into()];
        for (algorithms, unnamed, with_names) in [
            ([A256Gcm, A192Gcm, ChaCha20Poly1305, A128Gcm], Some(ChaCha20Poly1305), Some(A192Gcm)),
            ([A256Gcm, A128Gcm, A192Gcm, ChaCha20Poly1305], Some(ChaCha20Poly1305), Some(A128Gcm)),
            ([ChaCha20Poly1305, A256Gcm, A128Gcm, A192Gcm], Some(A256Gcm), Some(A128Gcm)),
        ] {
            let offer = offer(&algorithms, &[], &keys);
            let alternative = |refusal: &Refusal| offer.alternative(refusal).map(|offer| offer.alg);
            assert_eq!(alternative(&refusal(Reason::AlgorithmUnsupported)), unnamed);
            assert_eq!(alternative(&refusal(Reason::KeyLengthUnsupported)), Some(algorithms[1]));
            assert_eq!(alternative(&named), with_names);
        }
    }

    #[test]
    fn groups_and_keys_come_from_the_own_lists_alone() {
        use NamedGroup::{X25519, X25519MlKem768};
        let keys = keys();
        for groups in [[X25519, X25519MlKem768], [X25519MlKem768, X25519]] {
            let offer = offer(&Algorithm::ALL, &groups, &keys);
            let mut required = refusal(Reason::KeyExchangeRequired);
            assert_eq!(offer.alternative(&required).unwrap().group, Some(groups[1]));
            required.groups = vec![groups[0].number().into(), 4587];
            assert!(offer.alternative(&required).is_none());
        }
        let offer = offer(&Algorithm::ALL, &[], &keys);
        assert!(offer.alternative(&refusal(Reason::KeyExchangeRequired)).is_none(), "none configured, none offered");
        let mut unknown = refusal(Reason::KeyUnknown);
        assert_eq!(other_key(offer, &unknown), Some(keys[1].key_id()));
        unknown.keys = vec![crate::crypto::KeyId([1; 32]), keys[2].key_id()];
        assert_eq!(other_key(offer, &unknown), Some(keys[2].key_id()));
        unknown.keys = vec![crate::crypto::KeyId([1; 32])];
        assert!(offer.alternative(&unknown).is_none());
    }

    #[test]
    fn a_secret_has_no_alternative_but_may_have_another_algorithm() {
        let (name, secret) = ("phone".parse().unwrap(), TerminalSecret::generate(&SystemRandom).unwrap());
        let lists = Lists { algorithms: &Algorithm::ALL, groups: &NamedGroup::ALL, recipients: &[] };
        let offer = Offer::of(Recipient::Secret(&name, &secret), lists).unwrap();
        for reason in [Reason::KeyUnknown, Reason::KeyTransportUnsupported, Reason::CannotOpen] {
            let mut refusal = refusal(reason);
            refusal.keys = keys().iter().map(RsaPublicKey::key_id).collect();
            assert!(offer.alternative(&refusal).is_none(), "{}", reason.name());
        }
        let other = offer.alternative(&refusal(Reason::AlgorithmUnsupported)).unwrap();
        assert!(matches!(other.recipient, Recipient::Secret(same, _) if *same == name));
    }

    #[test]
    fn no_other_reason_changes_anything() {
        let keys = keys();
        let offer = offer(&Algorithm::ALL, &NamedGroup::ALL, &keys);
        let changing = [
            Reason::AlgorithmUnsupported,
            Reason::KeyLengthUnsupported,
            Reason::KeyExchangeRequired,
            Reason::KeyUnknown,
        ];
        for reason in Reason::ALL {
            assert_eq!(offer.alternative(&refusal(reason)).is_some(), changing.contains(&reason), "{}", reason.name());
        }
        let unknown = Refusal { reason: "later".into(), ..refusal(Reason::Malformed) };
        assert!(offer.alternative(&unknown).is_none());
    }
}
