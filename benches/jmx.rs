//! The scanner on a page recorded from a real broker, beside prometheus-parse.
//!
//! `cargo bench --bench jmx` prints throughput; the aim is 3 GB/s for the wanted names.

use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use upgrade_gate::jmx::page;
use upgrade_gate::jmx::recognise::Recogniser;
use upgrade_gate::jmx::scan::{Format, Verdict, scan};

fn pages(c: &mut Criterion) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/jmx/full.prom");
    let page = std::fs::read(&path).unwrap_or_default();
    assert!(!page.is_empty(), "no page at {}", path.display());
    let recogniser = Recogniser::default();
    let mut group = c.benchmark_group("page");
    group.throughput(Throughput::Bytes(page.len() as u64));
    group.bench_function("facts", |b| {
        b.iter(|| page::read(black_box(&page), Format::Text, &recogniser));
    });
    group.bench_function("lines only", |b| {
        b.iter(|| {
            let skip = |_: &[u8]| Verdict::<()>::Skip;
            scan(black_box(&page), Format::Text, skip, |(), _, _| {})
        });
    });
    group.bench_function("every sample", |b| {
        b.iter(|| {
            let mut sum = 0.0;
            let all = |_: &[u8]| Verdict::Wanted(());
            let scanned = scan(black_box(&page), Format::Text, all, |(), _, value| {
                sum += value;
            });
            (scanned, sum)
        });
    });
    group.sample_size(10);
    group.bench_function("prometheus-parse", |b| {
        b.iter(|| {
            let text = std::str::from_utf8(black_box(&page)).unwrap_or_default();
            prometheus_parse::Scrape::parse(text.lines().map(|line| Ok(String::from(line))))
        });
    });
    group.finish();
}

criterion_group!(benches, pages);
criterion_main!(benches);
