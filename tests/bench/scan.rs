//! How fast documents are scanned: the captures of real peers, GB/s.

#![allow(clippy::expect_used, reason = "a bench that cannot go on says so by panicking")]
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use syncseal::syncml::{Document, Form, Limits};

fn capture(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures").join(name)).expect("a capture")
}

fn scan(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("scan");
    for (label, form, name) in [
        ("xml/20kB of contacts", Form::Xml, "syncevolution-xml/02.req"),
        ("xml/14kB of device information", Form::Xml, "syncevolution-xml/01.req"),
        ("xml/1.5kB of statuses", Form::Xml, "syncevolution-xml/02.resp"),
        ("wbxml/20kB of contacts", Form::Wbxml, "syncevolution-wbxml/02.req"),
        ("wbxml/5kB of device information", Form::Wbxml, "syncevolution-wbxml/01.req"),
        ("wbxml/0.6kB of statuses", Form::Wbxml, "syncevolution-wbxml/02.resp"),
    ] {
        let document = capture(name);
        group.throughput(Throughput::Bytes(document.len() as u64));
        group.bench_function(label, |bencher| {
            bencher.iter(|| Document::scan(form, black_box(&document), &Limits::default()).expect("it scans"));
        });
    }
    group.finish();
}

criterion_group!(benches, scan);
criterion_main!(benches);
