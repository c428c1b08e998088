//! Whatever is changed, cut or mistaken for something else does not open.

use super::*;

/// Every copy of `bytes` with one bit changed.
fn flipped(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    (0..bytes.len() * 8).map(|bit| {
        let mut copy = bytes.to_vec();
        copy[bit / 8] ^= 1 << (bit % 8);
        copy
    })
}

/// Every proper beginning of `bytes`.
fn cut(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    (0..bytes.len()).map(|len| &bytes[..len])
}

#[test]
fn changed_and_cut_messages_do_not_open() {
    for alg in Algorithm::ALL {
        for provider in providers() {
            let (terminal, gateway) = establish(*provider, *provider, alg, None);
            let number = Number::new(0x0102).unwrap();
            let request =
                terminal.seal_request(number, &a_request("/s", &[("cookie", b"c")], b"<SyncML/>").plaintext());
            let response = gateway.seal_response(number, true, &a_response(201, &[], b"<SyncML/>").plaintext());
            open_request(&gateway, &request).unwrap();
            open_response(&terminal, &response).unwrap();
            for changed in flipped(&request) {
                open_request(&gateway, &changed).unwrap_err();
            }
            for changed in flipped(&response) {
                open_response(&terminal, &changed).unwrap_err();
            }
            for changed in cut(&request) {
                assert_eq!(open_request(&gateway, changed), Err(Reason::Malformed));
            }
            for changed in cut(&response) {
                assert_eq!(open_response(&terminal, changed), Err(Reason::Malformed));
            }
        }
    }
}

#[test]
fn changed_and_cut_init_requests_do_not_open() {
    let provider = default_provider();
    let parameters = parameters(Algorithm::A256Gcm, Some(NamedGroup::X25519));
    let (request, _) = InitRequest::new(provider, &SystemRandom, &parameters).unwrap().seal(&handshake());
    let accepts = accepts_all();
    gateway(provider, &accepts, &request, false).unwrap();
    for changed in flipped(&request) {
        gateway(provider, &accepts, &changed, false).unwrap_err();
    }
    for changed in cut(&request) {
        assert_eq!(gateway(provider, &accepts, changed, false).unwrap_err(), Reason::Malformed);
    }
}

#[test]
fn changed_and_cut_init_responses_do_not_open() {
    let provider = default_provider();
    let parameters = parameters(Algorithm::A128Gcm, Some(NamedGroup::X25519));
    let answered = || {
        let (request, pending) = InitRequest::new(provider, &SystemRandom, &parameters).unwrap().seal(&handshake());
        (gateway(provider, &accepts_all(), &request, true).unwrap().0, pending)
    };
    let (response, pending) = answered();
    assert!(pending.handle_response(provider, response.as_ref().into()).unwrap().end);
    let len = response.len();
    for bit in 0..len * 8 {
        let (response, pending) = answered();
        let mut changed = BytesMut::from(&response[..]);
        changed[bit / 8] ^= 1 << (bit % 8);
        // X25519 ignores the last bit of a share, but the share stands in R.
        pending.handle_response(provider, changed).unwrap_err();
    }
    for len in 0..len {
        let (response, pending) = answered();
        let error = pending.handle_response(provider, response[..len].into()).unwrap_err();
        assert!(matches!(error, InitResponseError::Malformed(_)), "{len}: {error}");
    }
}

#[test]
fn messages_open_as_what_they_are_and_nothing_else() {
    let provider = default_provider();
    let (terminal, gateway) = establish(provider, provider, Algorithm::A256Gcm, None);
    let (other_terminal, other_gateway) = establish(provider, provider, Algorithm::A256Gcm, None);
    let (_, chacha) = establish(provider, provider, Algorithm::ChaCha20Poly1305, None);
    let plaintext = a_request("/sync", &[], b"<SyncML/>").plaintext();
    let number = Number::new(1).unwrap();
    let request = terminal.seal_request(number, &plaintext);

    // Sent back to its sender, to another session, to one of another algorithm.
    assert_eq!(open_response(&terminal, &request), Err(Reason::CannotOpen));
    assert_eq!(open_request(&other_gateway, &request), Err(Reason::CannotOpen));
    assert_eq!(open_request(&chacha, &request), Err(Reason::Malformed));
    assert_eq!(open_request(&gateway, &request).unwrap(), open_request(&gateway, &request).unwrap());

    // Under the sid of the other session.
    let at = request.windows(16).position(|window| window == terminal.sid().0).unwrap();
    let mut moved = request.to_vec();
    moved[at..at + 16].copy_from_slice(&other_terminal.sid().0);
    assert_eq!(open_request(&other_gateway, &moved), Err(Reason::CannotOpen));

    // In the other layer's container, where its ciphertext is too long; and one that fits.
    assert!(matches!(decode_request(Layer::Data, request[1..].into()), Err(Malformed::Frame)));
    let tag_alone = untagged(&header::encode_numbered(Algorithm::A256Gcm, terminal.sid(), number, false), &[0; 16]);
    let SealedRequest::Numbered(sealed) = decode_request(Layer::Data, tag_alone[..].into()).unwrap() else { panic!() };
    assert_eq!(gateway.open(sealed), Err(Reason::Malformed));
}

#[test]
fn an_init_request_of_another_form_does_not_open_as_a_message() {
    let provider = default_provider();
    let (terminal, _) = establish(provider, provider, Algorithm::A256Gcm, None);
    let parameters = parameters(Algorithm::A256Gcm, None);
    let (request, _) = InitRequest::new(provider, &SystemRandom, &parameters).unwrap().seal(&handshake());
    assert!(decode_response(Layer::Message, request.as_ref().into()).is_err());
    assert!(decode_init_response(Layer::Message, request.as_ref().into()).is_err());
    let numbered = terminal.seal_request(Number::MAX, &handshake());
    assert!(decode_init_response(Layer::Message, numbered.as_ref().into()).is_err());
}
