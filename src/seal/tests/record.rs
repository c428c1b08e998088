//! Records of sessions, as replicas hand them to each other.

use super::*;

const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn store_key(text: &str) -> StoreKey {
    StoreKey::from_base64(default_provider(), text).unwrap()
}

#[test]
fn what_comes_out_of_a_record_goes_on_where_the_session_was() {
    for (gateway, terminal) in every_combination() {
        for provider in providers() {
            let record = store_key(SECRET).seal_record(default_provider(), &gateway, b"context");
            let (restored, context) = store_key(SECRET).open_record(*provider, gateway.sid(), &record).unwrap();
            assert_eq!(context, b"context");
            assert_eq!((restored.algorithm(), restored.layer()), (gateway.algorithm(), gateway.layer()));
            let number = Number::new(7).unwrap();
            let request = terminal.seal_request(number, &a_request("/sync", &[], b"<SyncML/>").plaintext());
            assert_eq!(open_request(&restored, &request), open_request(&gateway, &request));
            let response = a_response(200, &[], b"<SyncML/>");
            assert_eq!(
                restored.seal_response(number, true, &response.plaintext()),
                gateway.seal_response(number, true, &response.plaintext()),
            );
        }
    }
}

#[test]
fn a_record_opens_for_its_session_under_its_key_as_it_was_sealed() {
    let (gateway, _) = every_combination().remove(0);
    let provider = default_provider();
    let key = store_key(SECRET);
    let record = key.seal_record(provider, &gateway, b"context");
    assert_eq!(key.open_record(provider, Sid([9; 16]), &record).unwrap_err(), crate::crypto::OpenFailed);
    let other = store_key("AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
    assert!(other.open_record(provider, gateway.sid(), &record).is_err());
    assert_ne!(other.namespace(provider), key.namespace(provider));
    for i in 0..record.len() {
        let mut tampered = record.clone();
        tampered[i] ^= 1;
        assert!(key.open_record(provider, gateway.sid(), &tampered).is_err());
        assert!(key.open_record(provider, gateway.sid(), &record[..i]).is_err());
    }
    let shown = format!("{key:?}");
    assert_eq!(shown, "StoreKey");
}

#[test]
fn a_record_shows_no_key() {
    let keys = SessionKeys::meaningless(Sid([3; 16]));
    let record = store_key(SECRET).seal_record(default_provider(), &keys, b"");
    for key in [[1; 8], [2; 8]] {
        assert!(!record.windows(8).any(|window| window == key));
    }
}

#[test]
fn a_store_key_is_32_bytes() {
    let provider = default_provider();
    assert!(StoreKey::from_base64(provider, &format!("\n{SECRET} \n")).is_ok());
    for text in ["", "AAEC", &SECRET[..40], "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gIQ==", "password"] {
        assert_eq!(StoreKey::from_base64(provider, text).unwrap_err(), InvalidStoreKey);
    }
}
