//! The scanner on a page of 1 MB recorded from a real broker, beside prometheus-parse. Aim: 3 GB/s
//! for the wanted names.
//!
//! `lab bench jmx`, or `cargo bench --bench jmx [-- --rounds N]`

#![expect(
    clippy::print_stdout,
    reason = "a benchmark reports on standard output"
)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "a benchmark that cannot run ends here"
)]

mod measure;

use std::hint::black_box;
use std::path::Path;

use serde_json::json;
use upgrade_gate::jmx::page;
use upgrade_gate::jmx::recognise::Recogniser;
use upgrade_gate::jmx::scan::{Format, Verdict, scan};

use measure::{Work, alternate, argument, round};

fn main() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/jmx/full.prom");
    let page = std::fs::read(&path).expect("the recorded page");
    let recogniser = Recogniser::default();
    let facts = page::read(&page, Format::Text, &recogniser).expect("a page of Kafka's");
    let skip = |_: &[u8]| Verdict::<()>::Skip;
    let samples = scan(&page, Format::Text, skip, |(), _, _| {}).expect("a whole page");
    let took = alternate(
        argument("--rounds", 31),
        &mut [
            Work {
                name: "wanted_names",
                times: 20,
                run: &mut || {
                    drop(black_box(page::read(
                        black_box(&page),
                        Format::Text,
                        &recogniser,
                    )));
                },
            },
            Work {
                name: "lines_only",
                times: 20,
                run: &mut || {
                    black_box(scan(black_box(&page), Format::Text, skip, |(), _, _| {})).unwrap();
                },
            },
            Work {
                name: "every_sample",
                times: 2,
                run: &mut || every_sample(black_box(&page)),
            },
            Work {
                name: "prometheus_parse",
                times: 1,
                run: &mut || prometheus_parse(black_box(&page)),
            },
        ],
    );
    let mut report = json!({
        "page": {
            "bytes": page.len(),
            "samples": samples.samples,
            "values_read": facts.values.len(),
        },
        "microseconds": {},
        "gigabytes_per_second": {},
    });
    let bytes = f64::from(u32::try_from(page.len()).unwrap());
    let mut medians = Vec::new();
    for (name, spread) in took {
        report["microseconds"][name] = spread.json();
        report["gigabytes_per_second"][name] = json!(round(bytes / spread.median() / 1e3));
        medians.push(spread.median());
    }
    let [wanted, _, every, peer] = medians[..] else {
        panic!("four works were measured");
    };
    report["peer_by_ours"] = json!({
        "wanted_names": round(peer / wanted),
        "every_sample": round(peer / every),
    });
    println!("{report:#}");
}

fn every_sample(page: &[u8]) {
    let mut sum = 0.0;
    let all = |_: &[u8]| Verdict::Wanted(());
    scan(page, Format::Text, all, |(), _, value| sum += value).unwrap();
    black_box(sum);
}

fn prometheus_parse(page: &[u8]) {
    let text = std::str::from_utf8(page).unwrap();
    let lines = text.lines().map(|line| Ok(String::from(line)));
    black_box(prometheus_parse::Scrape::parse(lines).unwrap());
}
