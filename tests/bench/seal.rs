//! How fast messages are sealed and opened, by algorithm, provider and size, beside the bare AEAD; and how many sealed
//! sessions a gateway can begin in a second, by key size and group.

#![allow(clippy::expect_used, reason = "a bench that cannot go on says so by panicking")]
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use syncseal::crypto::{
    Algorithm, CryptoProvider, Key, KeyTransport, NamedGroup, RsaPrivateKey, SystemRandom, providers,
};
use syncseal::seal::{
    self, Accepts, Extras, Fields, HandshakePlaintext, InitParameters, InitRequest, Layer, Number, Recipients, Request,
    SealedRequest, SessionKeys, Sid,
};

const SIZES: [(&str, usize); 4] = [("4kB", 4 << 10), ("16kB", 16 << 10), ("64kB", 64 << 10), ("1MB", 1 << 20)];

/// What a gateway does with an init request, from its bytes to the sealed response.
fn handshake(
    provider: &'static dyn CryptoProvider,
    recipients: &Recipients,
    alg: Algorithm,
    init: BytesMut,
) -> SessionKeys {
    let accepts = Accepts {
        layers: vec![Layer::Message],
        algorithms: vec![alg],
        key_transports: KeyTransport::ALL.to_vec(),
        groups: NamedGroup::ALL.to_vec(),
        require_exchange: false,
    };
    let Ok(SealedRequest::Init(init)) = seal::decode_request(Layer::Message, init) else { panic!("an init request") };
    let checked = init.check(provider, &accepts, recipients.at(0)).expect("acceptable");
    let unwrapped = checked.unwrap_key(provider, &SystemRandom).expect("randomness");
    let (opened, plaintext) = unwrapped.open().expect("it opens");
    let empty = HandshakePlaintext::decode(&plaintext).expect("a handshake");
    opened.reply(provider, Sid([7; 16]), false).seal(&empty.plaintext()).1
}

fn init_request(
    provider: &dyn CryptoProvider,
    key: &RsaPrivateKey,
    alg: Algorithm,
    group: Option<NamedGroup>,
) -> BytesMut {
    let parameters = InitParameters {
        layer: Layer::Message,
        alg,
        recipient: key.public().into(),
        group,
        require_exchange: false,
        issued: None,
    };
    let empty = HandshakePlaintext::decode(&[0xa0]).expect("the empty map").plaintext();
    let (sealed, _) = InitRequest::new(provider, &SystemRandom, &parameters).expect("an init request").seal(&empty);
    BytesMut::from(&*sealed)
}

fn generate(bits: usize) -> RsaPrivateKey {
    RsaPrivateKey::generate(bits, &SystemRandom).expect("a key")
}

fn messages(criterion: &mut Criterion) {
    let key = generate(2048);
    for &provider in providers() {
        let recipients = Recipients::new(provider, [&key]).expect("a recipient");
        for alg in Algorithm::ALL {
            let keys = handshake(provider, &recipients, alg, init_request(provider, &key, alg, None));
            for (label, size) in SIZES {
                let mut group =
                    criterion.benchmark_group(format!("message/{}/{}/{label}", alg.name(), provider.name()));
                group.throughput(Throughput::Bytes(size as u64));
                bare(&mut group, provider, alg, size);
                sealed(&mut group, &keys, size);
                group.finish();
            }
        }
    }
}

type Group<'a> = criterion::BenchmarkGroup<'a, criterion::measurement::WallTime>;

/// The AEAD alone, in place.
fn bare(group: &mut Group<'_>, provider: &dyn CryptoProvider, alg: Algorithm, size: usize) {
    let key = Key::from_slice(&vec![1; alg.key_len()]).expect("a key");
    let aead = provider.aead(alg, &key);
    let mut data = vec![2; size];
    group.bench_function("bare AEAD seal", |bencher| {
        bencher.iter(|| black_box(aead.seal_in_place([3; 12], b"aad", black_box(&mut data))));
    });
    let tag = aead.seal_in_place([3; 12], b"aad", &mut data);
    data.extend_from_slice(&tag);
    group.bench_function("bare AEAD open", |bencher| {
        bencher.iter_batched_ref(
            || data.clone(),
            |data| aead.open_in_place([3; 12], b"aad", data).expect("it opens"),
            BatchSize::LargeInput,
        );
    });
}

/// From a message to its seal, and back to a request that can be forwarded.
fn sealed(group: &mut Group<'_>, keys: &SessionKeys, size: usize) {
    let body = vec![4; size];
    let request = Request {
        content_type: "application/vnd.syncml+wbxml",
        target: "/sync",
        fields: Fields::default(),
        body: &body,
    };
    let number = Number::new(1).expect("a number");
    group.bench_function("seal", |bencher| {
        bencher.iter(|| keys.seal_request(number, &black_box(&request).plaintext()));
    });
    let bytes = keys.seal_request(number, &request.plaintext());
    let extras = Extras::default();
    group.bench_function("open", |bencher| {
        bencher.iter_batched(
            || BytesMut::from(&*bytes),
            |bytes| {
                let Ok(SealedRequest::Numbered(sealed)) = seal::decode_request(Layer::Message, bytes) else {
                    panic!("a request")
                };
                let plaintext = keys.open(sealed).expect("it opens");
                assert_eq!(Request::decode(&plaintext, &extras).expect("a request").body.len(), size);
                plaintext
            },
            BatchSize::LargeInput,
        );
    });
}

fn handshakes(criterion: &mut Criterion) {
    for bits in [2048, 3072, 4096] {
        let key = generate(bits);
        for &provider in providers() {
            let recipients = Recipients::new(provider, [&key]).expect("a recipient");
            let mut group = criterion.benchmark_group(format!("handshake/RSA-{bits}/{}", provider.name()));
            group.throughput(Throughput::Elements(1));
            let groups = [None, Some(NamedGroup::X25519), Some(NamedGroup::X25519MlKem768)];
            for named in groups.into_iter().filter(|named| named.is_none_or(|named| provider.groups().contains(&named)))
            {
                let init = init_request(provider, &key, Algorithm::A256Gcm, named);
                group.bench_function(named.map_or("no exchange", NamedGroup::name), |bencher| {
                    bencher.iter_batched(
                        || init.clone(),
                        |init| handshake(provider, &recipients, Algorithm::A256Gcm, init),
                        BatchSize::SmallInput,
                    );
                });
            }
            group.finish();
        }
    }
}

criterion_group!(benches, messages, handshakes);
criterion_main!(benches);
