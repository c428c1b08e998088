//! Whom session keys are wrapped for: shared secrets, known or not, and the end of keys and secrets.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::crypto::{Kek, KeyName, OpenFailed, TerminalSecret};

fn name(name: &str) -> KeyName {
    name.parse().unwrap()
}

/// The secret of 32 such bytes.
fn secret(byte: u8) -> TerminalSecret {
    TerminalSecret::from_text(&encode_base64(&[byte; 32])).unwrap()
}

/// A gateway that shares a secret with `phone`, and one with `tablet` until second 100.
fn shared(provider: &dyn CryptoProvider) -> Recipients {
    let mut recipients = recipients(provider);
    recipients.add_secret(provider, name("phone"), &secret(1), None);
    recipients.add_secret(provider, name("tablet"), &secret(2), Some(100));
    recipients
}

fn init_request(provider: &dyn CryptoProvider, name: &KeyName, secret: &TerminalSecret) -> (Bytes, PendingInit) {
    let recipient = Recipient::Secret(name, secret);
    let parameters = InitParameters { recipient, ..parameters(Algorithm::A192Gcm, Some(NamedGroup::X25519)) };
    InitRequest::new(provider, &SystemRandom, &parameters).unwrap().seal(&handshake())
}

fn received(request: &[u8]) -> Encrypt0<InitHeader> {
    match decode_request(Layer::Message, request.into()).unwrap() {
        SealedRequest::Init(sealed) => sealed,
        SealedRequest::Numbered(sealed) => panic!("{sealed:?}"),
    }
}

/// Counts the bytes that are drawn.
#[derive(Default)]
struct Counted(AtomicUsize);

impl SecureRandom for Counted {
    fn fill(&self, out: &mut [u8]) -> Result<(), RandomFailed> {
        self.0.fetch_add(out.len(), Ordering::Relaxed);
        SystemRandom.fill(out)
    }
}

#[test]
fn a_session_begins_under_a_secret() {
    for terminal in providers() {
        for gateway in providers() {
            let (request, pending) = init_request(*terminal, &name("phone"), &secret(1));
            let recipients = shared(*gateway);
            let checked = received(&request).check(*gateway, &accepts_all(), recipients.at(0)).unwrap();
            assert_eq!(*checked.kid(), Kid::Secret(name("phone")));
            assert_eq!(checked.secret(), Some(SecretFingerprint::of(*terminal, &secret(1))));
            let (opened, _) = checked.unwrap_key(*gateway, &SystemRandom).unwrap().open().unwrap();
            let (response, keys) = opened.reply(*gateway, Sid([3; 16]), false).seal(&handshake());
            let established = pending.handle_response(*terminal, response.as_ref().into()).unwrap();
            let sealed = established.keys.seal_request(Number::MAX, &a_request("/", &[], b"x").plaintext());
            let Ok(SealedRequest::Numbered(sealed)) = decode_request(Layer::Message, sealed.as_ref().into()) else {
                panic!("a numbered request")
            };
            assert!(keys.open(sealed).is_ok());
        }
    }
}

/// Whether a name is known, and whether its time is over, shows no earlier and not otherwise than a wrong secret.
#[test]
fn a_name_that_nobody_has_fails_as_a_wrong_secret_does() {
    let provider = default_provider();
    let recipients = shared(provider);
    let attempt = |name: &KeyName, secret: &TerminalSecret, now| {
        let (request, _) = init_request(provider, name, secret);
        let checked = received(&request).check(provider, &accepts_all(), recipients.at(now)).unwrap();
        let random = Counted::default();
        let opened = checked.unwrap_key(provider, &random).unwrap().open().map(|_| ());
        // K and a key to unwrap with, before either is needed.
        assert_eq!(random.0.into_inner(), 24 + 32);
        opened
    };
    for now in [0, 99] {
        assert_eq!(attempt(&name("tablet"), &secret(2), now), Ok(()), "{now}");
    }
    for now in [100, u64::MAX] {
        assert_eq!(attempt(&name("tablet"), &secret(2), now), Err(OpenFailed), "{now}");
    }
    assert_eq!(attempt(&name("phone"), &secret(1), u64::MAX), Ok(()));
    for (other, bytes) in [("phone", 2), ("tablet", 1), ("nobody", 1), ("Phone", 1), ("phone ", 1)] {
        assert_eq!(attempt(&name(other), &secret(bytes), 0), Err(OpenFailed), "{other}");
    }
}

/// Even a sender who guesses the key to unwrap with, were it a fixed one, has not guessed the one that is used.
#[test]
fn the_key_in_the_place_of_an_unknown_one_is_random() {
    struct Zeros;
    impl SecureRandom for Zeros {
        fn fill(&self, out: &mut [u8]) -> Result<(), RandomFailed> {
            out.fill(0);
            Ok(())
        }
    }
    let provider = default_provider();
    let k = Key::from_slice(&[7; 32]).unwrap();
    let wrapped = provider.aes_wrap(&Kek::new(&[0; 32]), &k);
    let init = Init { layer: 1, kt: -5, kid: b"nobody".to_vec(), wrapped, issued: None, share: None };
    let opens = |random: &dyn SecureRandom| {
        let h = encode_init(Algorithm::A256Gcm, &init);
        let keys = InitKeys::derive(provider, Algorithm::A256Gcm, &h, &k);
        let request = keys.init.seal(Direction::C2s, Number::ZERO, &h, &handshake());
        let recipients = shared(provider);
        let checked = received(&request).check(provider, &accepts_all(), recipients.at(0)).unwrap();
        checked.unwrap_key(provider, random).unwrap().open().is_ok()
    };
    assert!(opens(&Zeros));
    assert!(!opens(&SystemRandom));
}

#[test]
fn what_the_header_of_a_secret_may_say() {
    let provider = default_provider();
    let check = |kid: &[u8], wrapped: usize, share: bool| {
        let share = share.then(|| KeyShare { group: 29, share: vec![9; 32] });
        let init = Init { layer: 1, kt: -5, kid: kid.to_vec(), wrapped: vec![0; wrapped], issued: None, share };
        let h = encode_init(Algorithm::A128Gcm, &init);
        let keys = InitKeys::derive(provider, Algorithm::A128Gcm, &h, &Key::from_slice(&[0; 16]).unwrap());
        let request = keys.init.seal(Direction::C2s, Number::ZERO, &h, &handshake());
        let accepts = Accepts { require_exchange: true, ..accepts_all() };
        received(&request).check(provider, &accepts, shared(provider).at(0)).map(|_| ())
    };
    for kid in [&b""[..], b"\xff", &[b'x'; 65]] {
        assert_eq!(check(kid, 24, true), Err(Reason::Malformed), "{kid:?}");
    }
    for kid in [&b"phone"[..], b"nobody", "å".repeat(32).as_bytes()] {
        for wrapped in [0, 16, 23, 25, 32, 40, 48] {
            assert_eq!(check(kid, wrapped, false), Err(Reason::CannotOpen), "{wrapped}");
        }
        assert_eq!(check(kid, 24, false), Err(Reason::KeyExchangeRequired));
        assert_eq!(check(kid, 24, true), Ok(()));
    }
}

#[test]
fn a_key_whose_end_has_come_is_unknown_and_no_longer_named() {
    let provider = default_provider();
    let other = RsaPrivateKey::from_pem(include_str!("../../../tests/keys/exponent-3.pem")).unwrap();
    let mut recipients = Recipients::default();
    recipients.add_rsa_key(PRIVATE_KEY.public(), provider.rsa_unwrap(&PRIVATE_KEY).unwrap().into(), None);
    recipients.add_rsa_key(other.public(), provider.rsa_unwrap(&other).unwrap().into(), Some(100));
    let ids = [PRIVATE_KEY.public().key_id(), other.public().key_id()];
    for (now, known) in [(0, 2), (99, 2), (100, 1), (u64::MAX, 1)] {
        let current = recipients.at(now);
        assert_eq!(current.key_ids().collect::<Vec<_>>(), ids[..known], "{now}");
        assert_eq!(Refusal::with_offers(Reason::KeyUnknown, &accepts_all(), current).keys, ids[..known]);
        let asking = InitParameters { recipient: other.public().into(), ..parameters(Algorithm::A256Gcm, None) };
        let (request, _) = InitRequest::new(provider, &SystemRandom, &asking).unwrap().seal(&handshake());
        let checked = received(&request).check(provider, &accepts_all(), current).map(|checked| checked.kid().clone());
        assert_eq!(checked, if known == 2 { Ok(Kid::Rsa(ids[1])) } else { Err(Reason::KeyUnknown) });
    }
}

#[test]
fn a_session_ends_with_its_secret_but_not_with_an_rsa_key() {
    let recipients = shared(default_provider());
    let fingerprint = |byte| Some(SecretFingerprint::of(default_provider(), &secret(byte)));
    let rsa = Kid::Rsa(KeyId([0; 32]));
    for (kid, shown, now, upheld) in [
        (Kid::Secret(name("phone")), fingerprint(1), u64::MAX, true),
        (Kid::Secret(name("phone")), fingerprint(2), 0, false),
        (Kid::Secret(name("phone")), None, 0, false),
        (Kid::Secret(name("tablet")), fingerprint(2), 99, true),
        (Kid::Secret(name("tablet")), fingerprint(2), 100, false),
        (Kid::Secret(name("nobody")), fingerprint(1), 0, false),
        (rsa, None, u64::MAX, true),
    ] {
        assert_eq!(recipients.at(now).upholds(&kid, shown), upheld, "{kid:?} {shown:?} {now}");
    }
}
