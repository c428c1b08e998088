//! Refusals, in both notations.

use super::*;

pub(super) fn full() -> Refusal {
    Refusal {
        reason: RefusalReason::Known(Reason::EncryptionRequired),
        algorithms: vec![3, 24],
        key_transports: vec![-41, -5],
        groups: vec![29, 4588],
        keys: vec![KeyId([1; 32]), KeyId([2; 32])],
        layers: vec![0, 1],
        retry_after: Some(7),
    }
}

#[test]
fn every_reason_is_written_and_read() {
    for reason in Reason::ALL {
        for refusal in [Refusal::from(reason), Refusal { reason: RefusalReason::Known(reason), ..full() }] {
            assert_eq!(Refusal::from_map(&refusal.to_map()).as_ref(), Ok(&refusal));
            assert_eq!(Refusal::from_problem(&refusal.to_problem()).as_ref(), Ok(&refusal));
            let sentence = refusal.sentence();
            assert!(sentence.is_ascii() && sentence.starts_with(reason.name()));
        }
    }
}

#[test]
fn a_reason_of_a_later_version_is_kept_as_text() {
    let refusal = Refusal::from_map(b"\xA1\x00\x65later").unwrap();
    assert_eq!(refusal.reason, RefusalReason::Unknown("later".into()));
    assert_eq!(refusal.to_map(), b"\xA1\x00\x65later");
    let refusal = Refusal::from_problem(br#"{"type":"urn:syncseal:refusal:later","status":499,"x":[1]}"#).unwrap();
    assert_eq!(refusal.reason.to_string(), "later");
}

#[test]
fn offers_of_a_later_version_are_passed_over() {
    let problem = br#"{"type":"urn:syncseal:refusal:key-unknown","algorithms":["A256GCM","New"],"keys":["sha256//x"]}"#;
    let refusal = Refusal::from_problem(problem).unwrap();
    assert_eq!((refusal.algorithms, refusal.keys), (vec![3], vec![]));
    assert_eq!(Refusal::from_map(&hex::decode("a2006178018119ffff").unwrap()).unwrap().algorithms, [0xFFFF]);
}

#[test]
fn what_is_no_refusal_is_refused() {
    for map in ["", "a0", "a10000", "a20061780800", "a2006178040101", "a20061780481410a", "a20061780720", "a1006178f6"]
    {
        assert!(Refusal::from_map(&hex::decode(map).unwrap()).is_err(), "{map}");
    }
    for json in ["", "{}", "[]", r#"{"type":"about:blank"}"#, r#"{"type":"urn:syncseal:refusal:x","keys":1}"#] {
        assert_eq!(Refusal::from_problem(json.as_bytes()), Err(Malformed::Refusal), "{json}");
    }
}

#[test]
fn offers_go_with_the_reasons_that_are_about_them() {
    let accepts = Accepts {
        layers: Layer::ALL.into(),
        algorithms: vec![Algorithm::ChaCha20Poly1305, Algorithm::A256Gcm],
        ..accepts_all()
    };
    let recipients = recipients(default_provider());
    for reason in Reason::ALL {
        let refusal = Refusal::with_offers(reason, &accepts, recipients.at(0));
        let offers = [
            !refusal.algorithms.is_empty(),
            !refusal.key_transports.is_empty(),
            !refusal.groups.is_empty(),
            !refusal.keys.is_empty(),
            !refusal.layers.is_empty(),
        ];
        let expected = match reason {
            Reason::EncryptionRequired => [true; 5],
            Reason::AlgorithmUnsupported | Reason::KeyLengthUnsupported => [true, false, false, false, false],
            Reason::KeyTransportUnsupported => [false, true, false, false, false],
            Reason::KeyExchangeRequired => [false, false, true, false, false],
            Reason::KeyUnknown => [false, false, false, true, false],
            Reason::LayerUnsupported => [false, false, false, false, true],
            _ => [false; 5],
        };
        assert_eq!(offers, expected, "{}", reason.name());
    }
    assert_eq!(Refusal::with_offers(Reason::AlgorithmUnsupported, &accepts, recipients.at(0)).algorithms, [24, 3]);
}
