//! Both providers against each other, against published vectors, and against third implementations.

use proptest::prelude::*;

use super::*;

mod exchange;
mod keys;

/// A test key or vector file, from `tests/`.
fn test_file(path: &str) -> String {
    std::fs::read_to_string(format!("{}/tests/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The cases of a vector file.
fn vectors(file: &str) -> serde_json::Value {
    serde_json::from_str(&test_file(&format!("vectors/{file}"))).unwrap()
}

fn bytes(value: &serde_json::Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn any_key() -> impl Strategy<Value = (Algorithm, Key)> {
    (prop::sample::select(Algorithm::ALL.to_vec()), any::<[u8; 32]>())
        .prop_map(|(alg, bytes)| (alg, Key::from_slice(&bytes[..alg.key_len()]).unwrap()))
}

/// RFC 3394, sections 4.3, 4.5 and 4.6: keys of 16, 24 and 32 bytes under one of 32.
#[test]
fn key_wrap_is_that_of_rfc_3394() {
    let kek: [u8; 32] = std::array::from_fn(|n| n as u8);
    let kek = Kek::new(&kek);
    for (key, wrapped) in [
        ("00112233445566778899AABBCCDDEEFF", "64E8C3F9CE0F5BA263E9777905818A2A93C8191E7D6E8AE7"),
        (
            "00112233445566778899AABBCCDDEEFF0001020304050607",
            "A8F9BC1612C68B3FF6E6F4FBE30E71E4769C8B80A32CB8958CD5D17D6B254DA1",
        ),
        (
            "00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F",
            "28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21",
        ),
    ] {
        let (key, wrapped) = (hex::decode(key).unwrap(), hex::decode(wrapped).unwrap());
        for provider in providers() {
            assert_eq!(provider.aes_wrap(&kek, &Key::from_slice(&key).unwrap()), wrapped);
            assert_eq!(provider.aes_unwrap(&kek, &wrapped).unwrap().expose(), key);
        }
    }
}

#[test]
fn what_is_no_key_wrap_is_no_key() {
    let kek = Kek::new(&[1; 32]);
    for provider in providers() {
        let key = Key::from_slice(&[2; 32]).unwrap();
        let wrapped = provider.aes_wrap(&kek, &key);
        for len in 0..100 {
            let other: Vec<u8> = wrapped.iter().copied().cycle().take(len).collect();
            assert_eq!(provider.aes_unwrap(&kek, &other).is_some(), len == 40, "{len} bytes");
        }
        for bit in 0..wrapped.len() * 8 {
            let mut other = wrapped.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(provider.aes_unwrap(&kek, &other).is_none());
        }
        assert!(provider.aes_unwrap(&Kek::new(&[0; 32]), &wrapped).is_none());
    }
}

#[test]
fn a_secret_is_one_line_of_base64() {
    let secret = TerminalSecret::generate(&SystemRandom).unwrap();
    let text = secret.to_text();
    assert_eq!((text.len(), text.as_bytes().last()), (45, Some(&b'\n')));
    for end in ["", "\n", "\r\n"] {
        let read = TerminalSecret::from_text(&format!("{}{end}", text.trim_end())).unwrap();
        assert_eq!(read.expose(), secret.expose());
    }
    let long = base64_turbo::STANDARD.encode([5; 100]);
    assert_eq!(TerminalSecret::from_text(&long).unwrap().expose(), [5; 100]);
    let short = base64_turbo::STANDARD.encode([5; 31]);
    assert_eq!(TerminalSecret::from_text(&short).unwrap_err(), InvalidSecret::Length { len: 31 });
    for other in
        [format!(" {}", *text), format!("{}\n", *text), text.replace('=', ""), text.replacen('A', "-", 64) + "-"]
    {
        assert_eq!(TerminalSecret::from_text(&other).unwrap_err(), InvalidSecret::Encoding, "{other:?}");
    }
    assert_eq!(format!("{secret:?}"), "TerminalSecret(32 bytes)");
    assert_eq!(format!("{:?}", Kek::new(&[7; 32])), "Kek");
}

#[test]
fn a_key_name_is_text_of_1_to_64_bytes() {
    assert!("".parse::<KeyName>().is_err() && "x".repeat(65).parse::<KeyName>().is_err());
    assert!(KeyName::try_from(&b"\xff"[..]).is_err());
    assert_eq!(KeyName::try_from("å".repeat(32).as_bytes()).unwrap().as_str(), "å".repeat(32));
}

proptest! {
    #[test]
    fn providers_seal_alike_and_open_each_other(
        (alg, key) in any_key(),
        nonce: [u8; NONCE_LEN],
        aad in prop::collection::vec(any::<u8>(), 0..100),
        plaintext in prop::collection::vec(any::<u8>(), 0..2000),
        flip: prop::sample::Index,
    ) {
        let aeads: Vec<_> = providers().iter().map(|provider| provider.aead(alg, &key)).collect();
        let sealed = aeads.iter().map(|aead| {
            let mut data = plaintext.clone();
            let tag = aead.seal_in_place(nonce, &aad, &mut data);
            data.extend_from_slice(&tag);
            data
        });
        for sealed in sealed.collect::<Vec<_>>() {
            for aead in &aeads {
                let mut data = sealed.clone();
                prop_assert_eq!(aead.open_in_place(nonce, &aad, &mut data), Ok(()));
                prop_assert_eq!(&data[..plaintext.len()], &plaintext[..]);

                // One bit of ciphertext, tag, authenticated data or nonce.
                let bit = flip.index((sealed.len() + aad.len() + NONCE_LEN) * 8);
                let (mut data, mut aad, mut nonce) = (sealed.clone(), aad.clone(), nonce);
                let mut all = data.iter_mut().chain(&mut aad).chain(&mut nonce);
                *all.nth(bit / 8).unwrap() ^= 1 << (bit % 8);
                prop_assert_eq!(aead.open_in_place(nonce, &aad, &mut data), Err(OpenFailed));
            }
        }
    }

    #[test]
    fn providers_hash_and_derive_alike(
        salt in prop::collection::vec(any::<u8>(), 0..100),
        ikm in prop::collection::vec(any::<u8>(), 0..200),
        info in prop::collection::vec(any::<u8>(), 0..200),
        len in 0..=255_usize * 32,
    ) {
        let mut results = providers().iter().map(|provider| {
            let prk = provider.hkdf_extract(&salt, &ikm);
            let mut okm = vec![0; len];
            provider.hkdf_expand(&prk, &info, &mut okm);
            let hash = provider.sha256(&[&salt, &ikm, &info]);
            assert_eq!(hash, provider.sha256(&[&[&salt[..], &ikm, &info].concat()]));
            (*prk.0, okm, hash)
        });
        let first = results.next().unwrap();
        prop_assert!(results.all(|other| other == first));
    }
}

/// What is shorter than a tag does not open, and panics nothing.
#[test]
fn less_than_a_tag_does_not_open() {
    for provider in providers() {
        for alg in Algorithm::ALL {
            let aead = provider.aead(alg, &Key::from_slice(&[7; 32][..alg.key_len()]).unwrap());
            for len in 0..TAG_LEN {
                assert_eq!(aead.open_in_place([0; NONCE_LEN], b"", &mut vec![0; len]), Err(OpenFailed), "{len}");
            }
        }
    }
}

/// RFC 5869, A.1 to A.3: IKM, salt, info, PRK, OKM.
#[test]
fn hkdf_of_rfc_5869() {
    let cases = [
        (
            "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b".to_owned(),
            "000102030405060708090a0b0c".to_owned(),
            "f0f1f2f3f4f5f6f7f8f9".to_owned(),
            "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (
            hex::encode((0x00..=0x4f).collect::<Vec<u8>>()),
            hex::encode((0x60..=0xaf).collect::<Vec<u8>>()),
            hex::encode((0xb0..=0xff).collect::<Vec<u8>>()),
            "06a6b88c5853361a06104c9ceb35b45cef760014904671014a193f40c15fc244",
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
        ),
        (
            "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b".to_owned(),
            String::new(),
            String::new(),
            "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
        ),
    ];
    for (ikm, salt, info, prk, okm) in cases {
        for provider in providers() {
            let extracted = provider.hkdf_extract(&hex::decode(&salt).unwrap(), &hex::decode(&ikm).unwrap());
            assert_eq!(hex::encode(*extracted.0), prk);
            let mut out = vec![0; okm.len() / 2];
            provider.hkdf_expand(&extracted, &hex::decode(&info).unwrap(), &mut out);
            assert_eq!(hex::encode(out), okm);
        }
    }
}

#[test]
fn secrets_are_not_printed() {
    let key = Key::from_slice(&[0xab; 32]).unwrap();
    assert_eq!(format!("{key:?}"), "Key(32 bytes)");
    assert_eq!(format!("{:?}", default_provider().hkdf_extract(b"", b"")), "Prk");
    assert_eq!(format!("{:?}", SharedSecret(Zeroizing::new(vec![0xab; 64]))), "SharedSecret(64 bytes)");
}

#[test]
fn the_system_gives_randomness() {
    let mut drawn = [[0; 32]; 2];
    for out in &mut drawn {
        SystemRandom.fill(out).unwrap();
    }
    assert_ne!(drawn[0], drawn[1]);
}

/// The warning at start and the group that needs AWS-LC follow the feature.
#[test]
fn what_is_built_in() {
    let has_aws_lc = cfg!(feature = "aws-lc");
    assert_eq!(default_provider().name(), if has_aws_lc { "aws-lc" } else { "rustcrypto" });
    assert_eq!(RSA_TIMING_WARNING.is_none(), has_aws_lc);
    for provider in providers() {
        assert!(provider.groups().contains(&NamedGroup::X25519));
        assert_eq!(provider.groups().contains(&NamedGroup::X25519MlKem768), has_aws_lc);
    }
}
