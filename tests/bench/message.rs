//! How the message layer is timed, beside the bare AEAD over as many bytes.

use std::hint::black_box;

use bytes::BytesMut;
use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup};
use syncseal::crypto::{Algorithm, CryptoProvider, Key};
use syncseal::seal::{self, Extras, Fields, Layer, Number, Request, SealedRequest, SessionKeys};

/// Where the messages go.
pub(crate) const TARGET: &str = "/sync";

/// The AEAD alone, in place.
pub(crate) fn bare(
    group: &mut BenchmarkGroup<'_, WallTime>,
    provider: &dyn CryptoProvider,
    alg: Algorithm,
    size: usize,
) {
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
pub(crate) fn message_layer(
    group: &mut BenchmarkGroup<'_, WallTime>,
    keys: &SessionKeys,
    content_type: &str,
    body: &[u8],
) {
    let request = Request { content_type, target: TARGET, fields: Fields::default(), body };
    let number = Number::new(1).expect("a number");
    group.bench_function("message layer seal", |bencher| {
        bencher.iter(|| keys.seal_request(number, &black_box(&request).plaintext()));
    });
    let sealed = keys.seal_request(number, &request.plaintext());
    let extras = Extras::default();
    group.bench_function("message layer open", |bencher| {
        bencher.iter_batched(
            || BytesMut::from(&*sealed),
            |bytes| {
                let Ok(SealedRequest::Numbered(sealed)) = seal::decode_request(Layer::Message, bytes) else {
                    panic!("a request")
                };
                let plaintext = keys.open(sealed).expect("it opens");
                assert_eq!(Request::decode(&plaintext, &extras).expect("a request").body.len(), body.len());
                plaintext
            },
            BatchSize::LargeInput,
        );
    });
}
