//! Decoders take what the protocol has, refuse everything else, and never panic.

use super::*;
use crate::seal::header::{encode_init_response, encode_numbered};

#[test]
fn items_of_every_type_that_the_protocol_uses_are_taken() {
    let items = [
        "00",
        "17",
        "1818",
        "18ff",
        "190100",
        "1a00010000",
        "1b0000000100000000",
        "20",
        "37",
        "3818",
        "3bffffffffffffffff",
        "40",
        "4101",
        "60",
        "6161",
        "62c3a9",
        "80",
        "820102",
        "a0",
        "a10001",
        "a200012001",
        "a2000161610a",
        "a1616101",
        "f4",
        "f5",
        "f6",
        "d001",
        "818181a10080",
    ];
    for item in items {
        assert_eq!(check_item(&hex::decode(item).unwrap()), Ok(()), "{item}");
    }
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth: usize| [vec![0x81; depth], vec![0x00]].concat();
    assert_eq!(check_item(&nested(15)), Ok(()));
    assert_eq!(check_item(&nested(16)), Err(Malformed::Cbor));
    assert_eq!(check_item(&nested(1_000_000)), Err(Malformed::Cbor));
    assert_eq!(check_item(&[0xD0; 1_000_000]), Err(Malformed::Cbor));
}

#[test]
fn a_protected_header_is_bounded() {
    let init = |len: usize| {
        let wrapped = vec![0; len];
        Init { layer: 1, kt: -41, kid: vec![0; 32], wrapped, issued: None, share: None }
    };
    let sealed = |len: usize| {
        let h = encode_init(Algorithm::A128Gcm, &init(len));
        let keys = InitKeys::derive(default_provider(), Algorithm::A128Gcm, &h, &Key::from_slice(&[0; 16]).unwrap());
        keys.init.seal(Direction::C2s, Number::ZERO, &h, &handshake())
    };
    assert!(decode_request(Layer::Message, sealed(8000).as_ref().into()).is_ok());
    assert_eq!(decode_request(Layer::Message, sealed(9000).as_ref().into()).unwrap_err(), Malformed::Frame);
}

#[test]
fn fields_that_may_not_travel_are_dropped_by_the_sealer() {
    let given: [(&str, &[u8]); 6] = [
        ("host", b"h"),
        ("accept", b"*/*"),
        ("ms-signature", b"s"),
        ("cookie", b"a\r\nb: c"),
        ("set-cookie", b"a=1"),
        ("accept", b"text/plain"),
    ];
    let names = |direction, extras: &Extras| -> Vec<_> {
        Fields::filter(direction, extras, given).iter().map(|(name, _)| name).collect()
    };
    let extras = Extras { request_fields: vec!["ms-signature".into()], ..Extras::default() };
    assert_eq!(names(Direction::C2s, &Extras::default()), ["accept", "accept"]);
    assert_eq!(names(Direction::C2s, &extras), ["accept", "ms-signature", "accept"]);
    assert_eq!(names(Direction::S2c, &extras), ["set-cookie"]);
    let fields = Fields::filter(Direction::C2s, &extras, given);
    assert_eq!((fields.first("accept"), fields.first("host")), (Some(&b"*/*"[..]), None));
}

#[test]
fn what_policy_adds_is_opened() {
    let extras = Extras {
        media_types: vec!["application/x-own".into()],
        request_fields: vec!["ms-signature".into()],
        response_fields: vec!["x-own".into()],
    };
    let fields = Fields::filter(Direction::C2s, &extras, [("ms-signature", &b"s"[..])]);
    let request = Request { content_type: "Application/X-Own; a=b", target: "/", fields, body: b"" };
    let plaintext = written(&request.plaintext());
    assert_eq!(Request::decode(&plaintext, &extras).as_ref(), Ok(&request));
    assert_eq!(Request::decode(&plaintext, &Extras::default()), Err(Malformed::Field));
    let plain = written(&Request { fields: Fields::default(), ..request }.plaintext());
    assert_eq!(Request::decode(&plain, &Extras::default()), Err(Malformed::ContentType));
}

#[test]
fn a_content_type_holds_no_second_line() {
    let extras = Extras::default();
    let request = Request { content_type: "application/vnd.syncml+xml;a=\r\nb: c", ..a_request("/", &[], b"") };
    assert_eq!(Request::decode(&written(&request.plaintext()), &extras), Err(Malformed::ContentType));
    for content_type in ["", "text/html\n", "text/html\0"] {
        let response = Response { content_type, ..a_response(200, &[], b"") };
        assert_eq!(Response::decode(&written(&response.plaintext()), &extras), Err(Malformed::ContentType));
    }
}

#[test]
fn a_status_of_200_may_be_said() {
    let said = hex::decode("a3006474657874 0218c8 0440".replace(' ', "")).unwrap();
    let response = Response::decode(&said, &Extras::default()).unwrap();
    assert_eq!((response.status, response.content_type), (200, "text"));
    assert!(written(&response.plaintext()).len() < said.len());
}

#[test]
fn a_target_needs_a_prefix() {
    assert_eq!(Target::parse(b"/sync", &[] as &[&str]), Err(Malformed::Target));
    let prefixes = ["/other", "/sync"];
    assert_eq!(Target::parse(b"/sync;a?b", &prefixes).map(Target::as_str), Ok("/sync;a?b"));
    assert_eq!(Target::parse(b"/sync;/..", &prefixes), Err(Malformed::Target));
    assert_eq!(Target::parse(b"/sync/%2e%2E;x", &prefixes), Err(Malformed::Target));
    assert_eq!(Target::parse(b"/sync\xFF", &prefixes), Err(Malformed::Target));
}

fn written(plaintext: &Plaintext<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    plaintext.write(&mut out);
    assert_eq!(out.len(), plaintext.len());
    out
}

/// Gives `bytes` to every decoder.
fn decode_all(bytes: &[u8]) {
    let extras = Extras::default();
    let _ = check_item(bytes);
    for layer in Layer::ALL {
        let _ = decode_request(layer, bytes.into());
        let _ = decode_init_response(layer, bytes.into());
        let _ = decode_response(layer, bytes.into());
    }
    let _ = Request::decode(bytes, &extras);
    let _ = Response::decode(bytes, &extras);
    let _ = HandshakePlaintext::decode(bytes);
    let _ = Refusal::from_map(bytes);
    let _ = Refusal::from_problem(bytes);
    let _ = Target::parse(bytes, &["/"]);
    if let Ok(decoded) = decode_base64(bytes) {
        assert_eq!(encode_base64(&decoded).as_bytes(), bytes);
    }
}

/// One good input for each decoder.
fn good() -> Vec<Vec<u8>> {
    let share = KeyShare { group: 29, share: vec![3; 32] };
    let sid = Sid([1; 16]);
    let init = Init {
        layer: 1,
        kt: -41,
        kid: vec![0; 32],
        wrapped: vec![1; 256],
        issued: Some(1),
        share: Some(share.clone()),
    };
    let key = Key::from_slice(&[0; 16]).unwrap();
    let h = encode_init(Algorithm::A128Gcm, &init);
    let keys = InitKeys::derive(default_provider(), Algorithm::A128Gcm, &h, &key);
    let sealed = |h: &[u8]| keys.init.seal(Direction::C2s, Number::ZERO, h, &handshake()).to_vec();
    vec![
        sealed(&h),
        sealed(&encode_init_response(Algorithm::A128Gcm, sid, Some(&share), true)),
        sealed(&encode_numbered(Algorithm::A128Gcm, sid, Number::MAX, true)),
        written(&a_request("/", &[("cookie", b"c"), ("accept", b"a")], b"<SyncML/>").plaintext()),
        written(&a_response(404, &[("set-cookie", b"c")], b"").plaintext()),
        refusal::full().to_map(),
        refusal::full().to_problem(),
        b"QUJDRA==".to_vec(),
    ]
}

#[test]
fn good_inputs_are_taken() {
    let extras = Extras::default();
    let good = good();
    let [init, reply, numbered, request, response, map, problem, base64] = &good[..] else { panic!() };
    assert!(matches!(decode_request(Layer::Message, init[..].into()), Ok(SealedRequest::Init(_))));
    assert!(decode_init_response(Layer::Message, reply[..].into()).is_ok());
    assert!(decode_response(Layer::Message, numbered[..].into()).is_ok());
    assert!(Request::decode(request, &extras).is_ok() && Response::decode(response, &extras).is_ok());
    assert!(Refusal::from_map(map).is_ok() && Refusal::from_problem(problem).is_ok());
    assert_eq!(decode_base64(base64).unwrap(), b"ABCD");
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        decode_all(&bytes);
    }

    #[test]
    fn spoilt_inputs_are_decoded_or_refused(
        index: prop::sample::Index,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 1..4),
    ) {
        let good = good();
        let mut bytes = index.get(&good).clone();
        for (at, byte, insert) in edits {
            let at = at.index(bytes.len());
            if insert { bytes.insert(at, byte) } else { bytes[at] = byte }
        }
        decode_all(&bytes);
    }

    #[test]
    fn an_item_is_taken_in_one_encoding_only(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        if check_item(&bytes).is_ok() {
            let value: coset::cbor::Value = coset::cbor::from_reader(&bytes[..]).unwrap();
            let mut again = Vec::new();
            coset::cbor::into_writer(&value, &mut again).unwrap();
            prop_assert_eq!(again, bytes);
        }
    }

    #[test]
    fn a_target_stays_below_its_prefix(target in "(/[a.%2eEfF5cC;]{0,6}){1,4}") {
        if let Ok(target) = Target::parse(target.as_bytes(), &["/a"]) {
            let decoded = target.as_str().to_lowercase().replace("%2e", ".").replace("%2f", "/").replace("%5c", "/");
            let mut path = vec![];
            for segment in decoded.split('/').skip(1) {
                match segment.split(';').next() {
                    Some("..") => { path.pop(); }
                    Some(".") => {}
                    _ => path.push(segment),
                }
            }
            prop_assert!(path.first().is_some_and(|first| *first == "a" || first.starts_with("a;")));
        }
    }
}
