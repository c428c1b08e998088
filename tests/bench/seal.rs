//! How fast messages are sealed and opened, by algorithm, provider and size, beside the bare AEAD; and how many sealed
//! sessions a gateway can begin in a second, by key size and group.

#![allow(clippy::expect_used, reason = "a bench that cannot go on says so by panicking")]
#![allow(missing_docs, reason = "criterion's macros make public functions")]

mod message;

use bytes::BytesMut;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use syncseal::crypto::{Algorithm, CryptoProvider, KeyTransport, NamedGroup, RsaPrivateKey, SystemRandom, providers};
use syncseal::seal::{
    self, Accepts, HandshakePlaintext, InitParameters, InitRequest, Layer, Recipients, SealedRequest, SessionKeys, Sid,
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
                message::bare(&mut group, provider, alg, size);
                message::message_layer(&mut group, &keys, "application/vnd.syncml+wbxml", &vec![4; size]);
                group.finish();
            }
        }
    }
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
