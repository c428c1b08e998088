use ml_kem::{
    B32, DecapsulationKey, EncapsulationKey, MlKem768, Seed,
    kem::{Decapsulate, KeyExport},
};
use x25519_dalek::{PublicKey, StaticSecret};

use super::*;

/// Every u-coordinate whose product with a clamped scalar is zero, canonical or not (RFC 7748, 6.1 and 7).
const LOW_ORDER: [&str; 7] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

/// Low-order points, each with and without the high bit, which X25519 ignores.
fn low_order() -> impl Iterator<Item = [u8; 32]> {
    LOW_ORDER.iter().flat_map(|point| {
        let mut point: [u8; 32] = hex::decode(point).unwrap().try_into().unwrap();
        let plain = point;
        point[31] |= 0x80;
        [plain, point]
    })
}

#[test]
fn both_sides_of_every_pair_of_providers_agree() {
    for (terminal, gateway) in providers().iter().flat_map(|a| providers().iter().map(move |b| (a, b))) {
        for &group in terminal.groups() {
            let started = terminal.start_exchange(group).unwrap();
            assert_eq!(started.group(), group);
            assert_eq!(started.share().len(), group.terminal_share_len());
            let answered = gateway.answer_exchange(group, started.share()).unwrap();
            assert_eq!(answered.group, group);
            assert_eq!(answered.share.len(), group.gateway_share_len());
            let secret = started.complete(&answered.share).unwrap();
            assert_eq!(secret.expose(), answered.secret.expose());

            let again = gateway.answer_exchange(group, terminal.start_exchange(group).unwrap().share()).unwrap();
            assert_ne!(again.secret.expose(), secret.expose());
        }
    }
}

/// The terminal of the vectors, in other implementations, agrees with our gateway; its shares are those of the file.
#[test]
fn other_implementations_agree_with_the_gateway() {
    let mut cases = 0;
    for case in vectors("keyschedule.json")["cases"].as_array().unwrap() {
        let Some(group) = case["group"].as_u64().map(|number| NamedGroup::from_number(number).unwrap()) else {
            continue;
        };
        let private = bytes(&case["terminal_private"]["x25519"]);
        let x25519 = StaticSecret::from(<[u8; 32]>::try_from(private).unwrap());
        let ml_kem = (group == NamedGroup::X25519MlKem768).then(|| {
            let seed = bytes(&case["terminal_private"]["mlkem_seed_d_z"]);
            DecapsulationKey::<MlKem768>::from_seed(Seed::try_from(&seed[..]).unwrap())
        });
        let mut share = ml_kem.as_ref().map_or_else(Vec::new, |key| key.encapsulation_key().to_bytes().to_vec());
        share.extend_from_slice(PublicKey::from(&x25519).as_bytes());
        assert_eq!(share, bytes(&case["terminal_share"]), "{}", case["name"]);

        for provider in providers().iter().filter(|provider| provider.groups().contains(&group)) {
            let answered = provider.answer_exchange(group, &share).unwrap();
            let (ciphertext, point) = answered.share.split_at(answered.share.len() - 32);
            let mut secret =
                ml_kem.as_ref().map_or_else(Vec::new, |key| key.decapsulate_slice(ciphertext).unwrap().to_vec());
            let point = <[u8; 32]>::try_from(point).unwrap();
            secret.extend_from_slice(x25519.diffie_hellman(&PublicKey::from(point)).as_bytes());
            assert_eq!(secret, answered.secret.expose(), "{}", case["name"]);
            cases += 1;
        }
    }
    assert!(cases >= 2, "{cases} cases");
}

/// A gateway made of other implementations agrees with our terminal.
#[test]
fn other_implementations_agree_with_the_terminal() {
    for provider in providers() {
        for &group in provider.groups() {
            let started = provider.start_exchange(group).unwrap();
            let (encapsulation_key, point) = started.share().split_at(started.share().len() - 32);
            let x25519 = StaticSecret::from([7; 32]);
            let (mut answer, mut secret) = (Vec::new(), Vec::new());
            if group == NamedGroup::X25519MlKem768 {
                let key = EncapsulationKey::<MlKem768>::new(&encapsulation_key.try_into().unwrap()).unwrap();
                let (ciphertext, shared) = key.encapsulate_deterministic(&B32::from([9; 32]));
                answer.extend_from_slice(&ciphertext);
                secret.extend_from_slice(&shared);
            }
            answer.extend_from_slice(PublicKey::from(&x25519).as_bytes());
            let point = <[u8; 32]>::try_from(point).unwrap();
            secret.extend_from_slice(x25519.diffie_hellman(&PublicKey::from(point)).as_bytes());
            assert_eq!(started.complete(&answer).unwrap().expose(), secret, "{}", group.name());
        }
    }
}

#[test]
fn invalid_shares_of_the_vectors_are_refused() {
    let mut refused = 0;
    for case in vectors("invalid.json")["cases"].as_array().unwrap().iter().filter(|case| case["kind"] == "exchange") {
        assert_eq!(case["expect"], "malformed", "{}", case["name"]);
        let group = NamedGroup::from_number(case["group"].as_u64().unwrap()).unwrap();
        let share = bytes(&case["share"]);
        for provider in providers() {
            match case["party"].as_str().unwrap() {
                "gateway" => assert!(provider.answer_exchange(group, &share).is_err(), "{}", case["name"]),
                "terminal" => {
                    let Some(started) = provider.start_exchange(group) else { continue };
                    assert!(started.complete(&share).is_err(), "{}", case["name"]);
                }
                party => panic!("party {party}"),
            }
            refused += 1;
        }
    }
    assert!(refused >= 17, "{refused} cases");
}

/// In X25519 and as the last 32 bytes of the hybrid group, on both sides.
#[test]
fn low_order_points_are_refused() {
    for provider in providers() {
        for &group in provider.groups() {
            for point in low_order() {
                let started = provider.start_exchange(group).unwrap();
                let mut share = started.share().to_vec();
                let mut answer = provider.answer_exchange(group, &share).unwrap().share;
                share.splice(share.len() - 32.., point);
                answer.splice(answer.len() - 32.., point);
                let point = hex::encode(point);
                assert!(provider.answer_exchange(group, &share).is_err(), "{} gateway {point}", group.name());
                assert!(started.complete(&answer).is_err(), "{} terminal {point}", group.name());
            }
        }
    }
}

#[test]
fn shares_of_another_length_are_refused() {
    for provider in providers() {
        for &group in provider.groups() {
            let share = provider.start_exchange(group).unwrap().share().to_vec();
            let answer = provider.answer_exchange(group, &share).unwrap().share;
            for wrong in [&share[1..], &[&share[..], &[0]].concat(), &[]] {
                assert!(provider.answer_exchange(group, wrong).is_err());
            }
            for wrong in [&answer[1..], &[&answer[..], &[0]].concat(), &[]] {
                assert!(provider.start_exchange(group).unwrap().complete(wrong).is_err());
            }
        }
    }
}

/// Each of the 768 coefficients of an ML-KEM key is below q, or the key is refused (FIPS 203, 7.2).
#[cfg(feature = "aws-lc")]
#[test]
fn every_coefficient_of_an_encapsulation_key_is_checked() {
    let group = NamedGroup::X25519MlKem768;
    let share = default_provider().start_exchange(group).unwrap().share().to_vec();
    for coefficient in 0..768 {
        let mut share = share.clone();
        // Twelve bits each, little-endian, two in three bytes; q is 3329 = 0xd01.
        let at = coefficient / 2 * 3;
        if coefficient % 2 == 0 {
            share[at] = 0x01;
            share[at + 1] = share[at + 1] & 0xf0 | 0x0d;
        } else {
            share[at + 1] = share[at + 1] & 0x0f | 0x10;
            share[at + 2] = 0xd0;
        }
        assert!(default_provider().answer_exchange(group, &share).is_err(), "coefficient {coefficient}");
    }
}
