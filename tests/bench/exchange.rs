//! A whole exchange over loopback: a terminal's sealed request through a gateway to a server and back, beside the same
//! request sent to the server directly.

#![allow(clippy::expect_used, reason = "a bench that cannot go on says so by panicking")]
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use syncseal::gateway::{Gateway, Surroundings};
use syncseal::net::drain::Trigger;
use tokio::runtime::Runtime;

mod document;
mod site;

use site::Terminal;

const SIZES: [(&str, usize); 3] = [("4kB", 4 << 10), ("64kB", 64 << 10), ("1MB", 1 << 20)];

fn exchanges(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let directory = tempfile::tempdir().expect("a directory");
    let key = site::write_key(directory.path());
    let trigger = Trigger::new();
    let (server, gateway) = runtime.block_on(async {
        let (url, server) = site::server(&trigger).await;
        let policy = site::policy(directory.path(), &url, "", "dangerous = { bind_sessions = false }");
        let gateway = Gateway::in_memory(&policy, Surroundings::default()).expect("a gateway");
        (server, site::serve(gateway, &trigger).await)
    });
    let mut terminal = runtime.block_on(Terminal::begin(&gateway, &key));
    for (label, size) in SIZES {
        let body = document::document("1", 1, "/sync", "bench", size);
        let mut group = criterion.benchmark_group(format!("exchange/{label} each way"));
        group.throughput(Throughput::Elements(1));
        group.bench_function("server alone", |bencher| {
            let body = Bytes::from(body.clone());
            bencher.iter(|| runtime.block_on(site::send(&server, document::MEDIA_TYPE, body.clone())));
        });
        group.bench_function("terminal, gateway, server", |bencher| {
            bencher.iter(|| runtime.block_on(terminal.exchange(&gateway, &body)));
        });
        group.finish();
    }
    trigger.end();
}

criterion_group!(benches, exchanges);
criterion_main!(benches);
