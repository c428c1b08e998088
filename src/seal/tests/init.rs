//! What a gateway and a terminal check before they have a session.

use super::*;
use crate::seal::header::encode_init_response;

/// An init request that a gateway takes, as far as its header says.
fn good() -> Init {
    let share =
        KeyShare { group: 29, share: default_provider().start_exchange(NamedGroup::X25519).unwrap().share().to_vec() };
    Init {
        layer: 1,
        kt: -41,
        kid: PRIVATE_KEY.public().key_id().0.to_vec(),
        wrapped: vec![0; 256],
        issued: None,
        share: Some(share),
    }
}

/// An init request with this header, sealed under what the session key `k` gives.
fn sealed_init(alg: Algorithm, init: &Init, k: &Key) -> Encrypt0<InitHeader> {
    let h = encode_init(alg, init);
    let keys = InitKeys::derive(default_provider(), alg, &h, k);
    let sealed = keys.init.seal(Direction::C2s, Number::ZERO, &h, &handshake());
    match decode_request(Layer::Message, sealed.as_ref().into()) {
        Ok(SealedRequest::Init(sealed)) => sealed,
        other => panic!("{other:?}"),
    }
}

/// What the checks say to this header; the session key is all zeros.
fn check(accepts: &Accepts, alg: Algorithm, init: &Init) -> Result<CheckedInit, Reason> {
    let k = Key::from_slice(&[0; 32][..alg.key_len()]).unwrap();
    sealed_init(alg, init, &k).check(default_provider(), accepts, RECIPIENTS.at(0))
}

#[test]
fn the_first_check_that_fails_gives_the_reason() {
    let narrow = Accepts {
        layers: vec![],
        algorithms: vec![Algorithm::A256Gcm],
        key_transports: vec![],
        groups: vec![],
        require_exchange: true,
    };
    // From here on, one fault after the other is mended.
    let chacha = Algorithm::ChaCha20Poly1305;
    let mut accepts = narrow;
    let mut init = Init { layer: 0, kid: vec![0; 31], wrapped: vec![0; 255], ..good() };
    let reason = |accepts: &Accepts, alg, init: &Init| check(accepts, alg, init).unwrap_err();
    assert_eq!(reason(&accepts, chacha, &init), Reason::Malformed);
    init.layer = 1;
    assert_eq!(reason(&accepts, chacha, &init), Reason::LayerUnsupported);
    accepts.layers.push(Layer::Message);
    assert_eq!(reason(&accepts, chacha, &init), Reason::AlgorithmUnsupported);
    assert_eq!(reason(&accepts, Algorithm::A128Gcm, &init), Reason::KeyLengthUnsupported);
    assert_eq!(reason(&accepts, Algorithm::A256Gcm, &init), Reason::KeyTransportUnsupported);
    accepts.key_transports.push(KeyTransport::RsaOaep256);
    assert_eq!(reason(&accepts, Algorithm::A256Gcm, &init), Reason::Malformed);
    init.kid = vec![0; 32];
    assert_eq!(reason(&accepts, Algorithm::A256Gcm, &init), Reason::KeyUnknown);
    init.kid = good().kid;
    assert_eq!(reason(&accepts, Algorithm::A256Gcm, &init), Reason::Malformed);
    init.wrapped.push(0);
    assert_eq!(reason(&accepts, Algorithm::A256Gcm, &init), Reason::KeyExchangeRequired);
    accepts.groups.push(NamedGroup::X25519);
    assert!(check(&accepts, Algorithm::A256Gcm, &init).is_ok());
}

#[test]
fn numbers_that_are_not_ours_are_refused() {
    let reason = |init: &Init| check(&accepts_all(), Algorithm::A256Gcm, init).unwrap_err();
    for kt in [-42, -3, 0, i128::from(u64::MAX)] {
        assert_eq!(reason(&Init { kt, ..good() }), Reason::KeyTransportUnsupported);
    }
    assert_eq!(reason(&Init { layer: 2, ..good() }), Reason::Malformed);
}

#[test]
fn another_version_is_not_looked_at() {
    // alg 3 and an init map of version 2 whose other entries are of no known key or type.
    let header = hex::decode("a2010364696e6974a3000201f56178820102").unwrap();
    let sealed = [vec![0xD0], untagged(&header, &[0; 16])].concat();
    let SealedRequest::Init(sealed) = decode_request(Layer::Message, sealed[..].into()).unwrap() else { panic!() };
    assert_eq!(sealed.header().init, VersionedInit::Unsupported(2));
    let checked = sealed.check(default_provider(), &accepts_all(), RECIPIENTS.at(0));
    assert_eq!(checked.unwrap_err(), Reason::VersionUnsupported);
}

#[test]
fn a_share_counts_only_if_its_group_is_accepted() {
    let with = |share: Option<(u64, usize)>, accepts: &Accepts| {
        let share = share.map(|(group, len)| KeyShare { group, share: vec![9; len] });
        check(accepts, Algorithm::A256Gcm, &Init { share, ..good() }).map(|checked| checked.group())
    };
    let optional = Accepts { groups: vec![NamedGroup::X25519], ..accepts_all() };
    let required = Accepts { require_exchange: true, ..optional.clone() };
    assert_eq!(with(Some((29, 32)), &optional), Ok(Some(NamedGroup::X25519)));
    assert_eq!(with(Some((29, 31)), &optional), Err(Reason::Malformed));
    for ignored in [None, Some((4588, 1)), Some((23, 65)), Some((u64::MAX, 0))] {
        assert_eq!(with(ignored, &optional), Ok(None));
        assert_eq!(with(ignored, &required), Err(Reason::KeyExchangeRequired));
    }
    let low_order = Init { share: Some(KeyShare { group: 29, share: vec![0; 32] }), ..good() };
    assert_eq!(check(&optional, Algorithm::A256Gcm, &low_order).unwrap_err(), Reason::Malformed);
}

#[test]
fn every_algorithm_of_a_list_is_taken_in_any_order() {
    let mut algorithms = vec![Algorithm::A256Gcm, Algorithm::ChaCha20Poly1305, Algorithm::A128Gcm];
    for _ in 0..2 {
        let accepts = Accepts { algorithms: algorithms.clone(), ..accepts_all() };
        for alg in &algorithms {
            assert_eq!(check(&accepts, *alg, &good()).unwrap().algorithm(), *alg);
        }
        assert_eq!(check(&accepts, Algorithm::A192Gcm, &good()).unwrap_err(), Reason::KeyLengthUnsupported);
        algorithms.reverse();
    }
    let accepts = Accepts { algorithms: vec![Algorithm::ChaCha20Poly1305], ..accepts_all() };
    assert_eq!(check(&accepts, Algorithm::A256Gcm, &good()).unwrap_err(), Reason::AlgorithmUnsupported);
}

#[test]
fn a_session_key_of_another_length_fails_like_any_other() {
    let opens = |provider: &dyn CryptoProvider, alg, len| {
        let k = Key::from_slice(&[7; 32][..len]).unwrap();
        let wrapped = PRIVATE_KEY.public().wrap_key(&k, &SystemRandom).unwrap();
        let sealed = sealed_init(alg, &Init { wrapped, ..good() }, &k);
        let checked = sealed.check(provider, &accepts_all(), recipients(provider).at(0)).unwrap();
        checked.unwrap_key(provider, &SystemRandom).unwrap().open().is_ok()
    };
    for provider in providers() {
        for alg in Algorithm::ALL {
            for len in [0, 1, 16, 24, 31, 32] {
                assert_eq!(opens(*provider, alg, len), len == alg.key_len(), "{alg:?} {len}");
            }
        }
    }
}

/// Even a sender who guesses right what the wrapped key decrypts to, nothing, has not the key that is used.
#[test]
fn what_does_not_unwrap_is_replaced_by_a_key_that_nobody_knows() {
    let checked = check(&accepts_all(), Algorithm::A256Gcm, &good()).unwrap();
    // The seal is under a session key of zeros; the random one is not.
    assert!(checked.unwrap_key(default_provider(), &SystemRandom).unwrap().open().is_err());

    struct Zeros;
    impl SecureRandom for Zeros {
        fn fill(&self, out: &mut [u8]) -> Result<(), RandomFailed> {
            out.fill(0);
            Ok(())
        }
    }
    let checked = check(&accepts_all(), Algorithm::A256Gcm, &good()).unwrap();
    assert!(checked.unwrap_key(default_provider(), &Zeros).unwrap().open().is_ok());
}

#[test]
fn without_randomness_nothing_begins() {
    struct Broken;
    impl SecureRandom for Broken {
        fn fill(&self, _: &mut [u8]) -> Result<(), RandomFailed> {
            Err(RandomFailed)
        }
    }
    let request = InitRequest::new(default_provider(), &Broken, &parameters(Algorithm::A256Gcm, None));
    assert_eq!(request.unwrap_err(), StartInitError::Random(RandomFailed));
    let checked = check(&accepts_all(), Algorithm::A256Gcm, &good()).unwrap();
    assert_eq!(checked.unwrap_key(default_provider(), &Broken).unwrap_err(), RandomFailed);
}

/// Asks with `parameters`, and answers with a header of this algorithm and share, under keys that nobody agreed on.
fn refused_answer(parameters: &InitParameters<'_>, alg: Algorithm, share: Option<KeyShare>) -> InitResponseError {
    let provider = default_provider();
    let (_, pending) = InitRequest::new(provider, &SystemRandom, parameters).unwrap().seal(&handshake());
    let r = encode_init_response(alg, Sid([0; 16]), share.as_ref(), false);
    let keys = InitKeys::derive(provider, Algorithm::A128Gcm, &r, &Key::from_slice(&[0; 16]).unwrap());
    let answer = keys.init.seal(Direction::S2c, Number::ZERO, &r, &handshake());
    pending.handle_response(provider, answer.as_ref().into()).unwrap_err()
}

#[test]
fn a_terminal_takes_only_what_it_asked_for() {
    let share = |group, len| Some(KeyShare { group, share: vec![9; len] });
    let demands = parameters(Algorithm::A256Gcm, Some(NamedGroup::X25519));
    let offers = InitParameters { require_exchange: false, ..demands };
    let plain = parameters(Algorithm::A256Gcm, None);

    assert_eq!(refused_answer(&demands, Algorithm::A256Gcm, None), InitResponseError::NoExchange);
    assert_eq!(refused_answer(&offers, Algorithm::A256Gcm, None), InitResponseError::CannotOpen);
    assert_eq!(refused_answer(&plain, Algorithm::A256Gcm, None), InitResponseError::CannotOpen);
    assert_eq!(refused_answer(&plain, Algorithm::A128Gcm, None), Malformed::Session.into());
    assert_eq!(refused_answer(&plain, Algorithm::A256Gcm, share(29, 32)), Malformed::Share.into());
    assert_eq!(refused_answer(&demands, Algorithm::A256Gcm, share(4588, 1120)), Malformed::Share.into());
    assert_eq!(refused_answer(&demands, Algorithm::A256Gcm, share(29, 31)), Malformed::Share.into());
    assert_eq!(refused_answer(&demands, Algorithm::A256Gcm, share(29, 32)), InitResponseError::CannotOpen);
}

#[test]
fn a_share_that_is_offered_need_not_be_taken() {
    let provider = default_provider();
    let offers = InitParameters { require_exchange: false, ..parameters(Algorithm::A192Gcm, Some(NamedGroup::X25519)) };
    let (request, pending) = InitRequest::new(provider, &SystemRandom, &offers).unwrap().seal(&handshake());
    let accepts = Accepts { groups: vec![], ..accepts_all() };
    let (response, _) = gateway(provider, &accepts, &request, false).unwrap();
    assert!(!pending.handle_response(provider, response.as_ref().into()).unwrap().exchanged);
}

#[test]
fn an_early_message_says_when_it_was_issued() {
    let provider = default_provider();
    let early = InitParameters { issued: Some(1_790_000_000), ..parameters(Algorithm::A256Gcm, None) };
    let message = a_request("/sync", &[], b"<SyncML/>");
    let (request, pending) = InitRequest::new(provider, &SystemRandom, &early).unwrap().seal(&message.plaintext());
    let SealedRequest::Init(sealed) = decode_request(Layer::Message, request.as_ref().into()).unwrap() else {
        panic!()
    };
    let digest = provider.sha256(&[sealed.protected()]);
    let checked = sealed.check(provider, &accepts_all(), RECIPIENTS.at(0)).unwrap();
    assert_eq!(checked.issued(), Some(1_790_000_000));
    assert_eq!(checked.header_digest(provider), digest);
    let (opened, plaintext) = checked.unwrap_key(provider, &SystemRandom).unwrap().open().unwrap();
    assert_eq!(Request::decode(&plaintext, &Extras::default()).as_ref(), Ok(&message));
    let answer = a_response(200, &[], b"<SyncML/>");
    let (response, _) = opened.reply(provider, Sid([5; 16]), true).seal(&answer.plaintext());
    let established = pending.handle_response(provider, response.as_ref().into()).unwrap();
    assert!(established.end);
    assert_eq!(Response::decode(&established.plaintext, &Extras::default()), Ok(answer));
}

#[test]
fn one_request_answered_twice_gives_two_sessions() {
    let provider = default_provider();
    let (request, _) =
        InitRequest::new(provider, &SystemRandom, &parameters(Algorithm::A256Gcm, None)).unwrap().seal(&handshake());
    let (_, first) = gateway(provider, &accepts_all(), &request, false).unwrap();
    let (_, second) = gateway(provider, &accepts_all(), &request, false).unwrap();
    let number = Number::MAX;
    let one = first.seal_response(number, false, &handshake());
    let other = second.seal_response(number, false, &handshake());
    assert_ne!(one[one.len() - 17..], other[other.len() - 17..]);
}
