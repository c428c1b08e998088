//! How fast documents are sealed and opened in the data layer, in XML and WBXML: the captures of about 20 kB and a
//! document of 1 MB, beside the message layer and the bare AEAD over as many bytes, and beside what sealing would take if
//! nothing had to be read or checked.

#![allow(clippy::expect_used, reason = "a bench that cannot go on says so by panicking")]
#![allow(missing_docs, reason = "criterion's macros make public functions")]

mod document;
mod message;

use std::fmt::Write;
use std::hint::black_box;

use base64_turbo::STANDARD;
use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use message::TARGET;
use syncseal::crypto::{
    Algorithm, CryptoProvider, Key, KeyTransport, NamedGroup, RsaPrivateKey, SystemRandom, providers,
};
use syncseal::seal::data::{Sealable, SealedDocument};
use syncseal::seal::{
    self, Accepts, HandshakePlaintext, InitParameters, InitRequest, Layer, Number, Recipients, SealedRequest,
    SessionKeys, Sid,
};
use syncseal::syncml::Form;

const ALGORITHM: Algorithm = Algorithm::A256Gcm;
const MEGABYTE: usize = 1 << 20;
const XML: &str = "application/vnd.syncml+xml";
/// So many bytes are encoded at once.
const PART: usize = 3072;

/// A document of each form and size.
fn documents() -> [(&'static str, Form, &'static str, Bytes); 4] {
    let megabyte = document::document("1", 2, "http://server.example/sync", "IMEI:1", MEGABYTE);
    [
        ("XML/20kB", Form::Xml, XML, Bytes::from_static(include_bytes!("../captures/syncevolution-xml/02.req"))),
        ("XML/1MB", Form::Xml, XML, contacts(MEGABYTE).into()),
        (
            "WBXML/20kB",
            Form::Wbxml,
            document::MEDIA_TYPE,
            Bytes::from_static(include_bytes!("../captures/syncevolution-wbxml/02.req")),
        ),
        ("WBXML/1MB", Form::Wbxml, document::MEDIA_TYPE, megabyte.into()),
    ]
}

/// An XML document of about `size` bytes, with a contact of 1 kB in each item.
fn contacts(size: usize) -> String {
    let mut out = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><SyncML xmlns='SYNCML:SYNCML1.2'><SyncHdr><VerDTD>1.2</VerDTD>\
         <VerProto>SyncML/1.2</VerProto><SessionID>1</SessionID><MsgID>2</MsgID><Target><LocURI>http://server.example/sync\
         </LocURI></Target><Source><LocURI>IMEI:1</LocURI></Source></SyncHdr><SyncBody><Sync><CmdID>1</CmdID>",
    );
    let note = "synchronised ".repeat(70);
    for id in 2.. {
        if out.len() >= size {
            break;
        }
        write!(
            out,
            "<Replace><CmdID>{id}</CmdID><Item><Source><LocURI>{id}</LocURI></Source><Data>BEGIN:VCARD\r\nVERSION:3.0\r\n\
             FN:Ada {id}\r\nNOTE:{note}\r\nEND:VCARD</Data></Item></Replace>",
        )
        .expect("a string takes everything");
    }
    out.push_str("</Sync><Final/></SyncBody></SyncML>");
    out
}

/// The keys of a sealed session.
fn session(provider: &'static dyn CryptoProvider, key: &RsaPrivateKey, layer: Layer) -> SessionKeys {
    let parameters = InitParameters {
        layer,
        alg: ALGORITHM,
        recipient: key.public().into(),
        group: None,
        require_exchange: false,
        issued: None,
    };
    let empty = || HandshakePlaintext::decode(&[0xa0]).expect("the empty map").plaintext();
    let init = InitRequest::new(provider, &SystemRandom, &parameters).expect("an init request");
    let (announcement, form) = (Bytes::from(contacts(0)), Form::Xml);
    let sealable = || Sealable::new(form, XML.as_bytes(), announcement.clone()).expect("it can be sealed");
    let (seal, document) = match layer {
        Layer::Message => (BytesMut::from(&*init.seal(&empty()).0), None),
        Layer::Data => {
            let (sealed, _) = init.seal_document(TARGET, &sealable()).expect("a sealed document");
            let split = SealedDocument::split(form, XML.as_bytes(), BytesMut::from(&*sealed));
            let (seal, document) = split.expect("a sealed document");
            (seal, Some(document))
        }
    };

    let accepts = Accepts {
        layers: vec![layer],
        algorithms: vec![ALGORITHM],
        key_transports: KeyTransport::ALL.to_vec(),
        groups: NamedGroup::ALL.to_vec(),
        require_exchange: false,
    };
    let recipients = Recipients::new(provider, [key]).expect("a recipient");
    let Ok(SealedRequest::Init(init)) = seal::decode_request(layer, seal) else { panic!("an init request") };
    let checked = init.check(provider, &accepts, recipients.at(0)).expect("acceptable");
    let unwrapped = checked.unwrap_key(provider, &SystemRandom).expect("randomness");
    match document {
        None => {
            let (opened, _) = unwrapped.open().expect("it opens");
            opened.reply(provider, Sid([7; 16]), false).seal(&empty()).1
        }
        Some(document) => {
            let (opened, _) = unwrapped.open_document(document, TARGET).expect("it opens");
            let response = opened.reply(provider, Sid([7; 16]), false);
            response.seal_document(&sealable()).expect("a sealed document").1
        }
    }
}

fn layers(criterion: &mut Criterion) {
    let key = RsaPrivateKey::generate(2048, &SystemRandom).expect("a key");
    for &provider in providers() {
        let [data_keys, message_keys] = [Layer::Data, Layer::Message].map(|layer| session(provider, &key, layer));
        for (label, form, content_type, document) in documents() {
            let mut group = criterion.benchmark_group(format!("layers/{label}/{}", provider.name()));
            group.throughput(Throughput::Bytes(document.len() as u64));
            message::bare(&mut group, provider, ALGORITHM, document.len());
            message::message_layer(&mut group, &message_keys, content_type, &document);
            data_layer(&mut group, &data_keys, form, content_type, &document);
            unread(&mut group, provider, form, content_type, &document);
            group.finish();
        }
    }
}

type Group<'a> = criterion::BenchmarkGroup<'a, criterion::measurement::WallTime>;

/// With all checks on either side.
fn data_layer(group: &mut Group<'_>, keys: &SessionKeys, form: Form, content_type: &str, document: &Bytes) {
    let number = Number::new(1).expect("a number");
    let content_type = content_type.as_bytes();
    let seal = || {
        let sealable = Sealable::new(form, content_type, black_box(document).clone()).expect("it can be sealed");
        keys.seal_request_document(number, TARGET, &sealable).expect("a sealed document")
    };
    group.bench_function("data layer seal", |bencher| bencher.iter(seal));
    let sealed = seal();
    group.bench_function("data layer open", |bencher| {
        bencher.iter_batched(
            || BytesMut::from(&*sealed),
            |bytes| {
                let (seal, sealed) = SealedDocument::split(form, content_type, bytes).expect("a sealed document");
                let Ok(SealedRequest::Numbered(seal)) = seal::decode_request(Layer::Data, seal) else {
                    panic!("a request")
                };
                let opened = keys.open_document(&seal, sealed, Some(TARGET)).expect("it opens");
                let original = opened.check().expect("the spans that were put back");
                assert_eq!(original.len(), document.len());
                original
            },
            BatchSize::LargeInput,
        );
    });
}

/// What is left of sealing where nothing is read, checked or authenticated beside the ciphertext: to bring together what is
/// encrypted, to encrypt it, and to put it between the rest, which in XML is in base64. The bound of any sealer.
fn unread(group: &mut Group<'_>, provider: &dyn CryptoProvider, form: Form, content_type: &str, document: &Bytes) {
    let sealable = Sealable::new(form, content_type.as_bytes(), document.clone()).expect("it can be sealed");
    let spans = sealable.spans();
    let plaintext_len = spans.iter().map(ExactSizeIterator::len).sum::<usize>();
    let aead = provider.aead(ALGORITHM, &Key::from_slice(&[1; 32]).expect("a key"));
    let encrypt = |data: &mut [u8]| aead.seal_in_place([3; 12], b"", data);
    group.bench_function("data layer seal, unread", |bencher| match form {
        Form::Wbxml => bencher.iter(|| {
            let mut out = black_box(document).to_vec();
            black_box(encrypt(&mut out[..plaintext_len]));
            out
        }),
        Form::Xml => {
            let size = document.len() - plaintext_len
                + spans.iter().map(|span| STANDARD.encoded_len(span.len())).sum::<usize>();
            let start = size + PART - plaintext_len;
            bencher.iter(|| {
                let document = black_box(document);
                let mut out = Vec::with_capacity(size + PART);
                out.resize(start, 0);
                for span in spans {
                    out.extend_from_slice(&document[span.clone()]);
                }
                black_box(encrypt(&mut out[start..]));
                let (mut from, mut to, mut end) = (start, 0, 0);
                for span in spans {
                    let part = &document[end..span.start];
                    out[to..to + part.len()].copy_from_slice(part);
                    to += part.len();
                    end = span.end;
                    let piece_end = from + span.len();
                    while from < piece_end {
                        let (front, back) = out.split_at_mut(from);
                        let piece = &back[..PART.min(piece_end - from)];
                        let text = &mut front[to..to + STANDARD.encoded_len(piece.len())];
                        to += STANDARD.encode_slice(piece, text).expect("room for it");
                        from += piece.len();
                    }
                }
                let part = &document[end..];
                out[to..to + part.len()].copy_from_slice(part);
                out.truncate(size);
                out
            });
        }
    });
}

criterion_group!(benches, layers);
criterion_main!(benches);
