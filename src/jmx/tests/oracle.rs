//! The scanner against prometheus-parse, and against damage.

use proptest::prelude::*;

use super::{facts, pages};
use crate::evidence::report::FailureClass;
use crate::jmx::page::PageError;
use crate::jmx::scan::{Format, Label, Verdict, scan};

/// Name, sorted labels, bits of the value (NaN made one).
type Sample = (String, Vec<(String, String)>, u64);

fn bits(value: f64) -> u64 {
    if value.is_nan() {
        f64::NAN.to_bits()
    } else {
        value.to_bits()
    }
}

/// All samples of a page, by our scanner.
fn ours(page: &[u8]) -> Vec<Sample> {
    let mut names: Vec<String> = Vec::new();
    let mut samples = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    let judge = |name: &[u8]| {
        names.push(text(name));
        Verdict::Wanted(names.len() - 1)
    };
    let mut found = Vec::new();
    let take = |index: usize, labels: &[Label<'_>], value: f64| {
        let mut labels: Vec<_> = labels
            .iter()
            .map(|label| (text(&label.name), text(&label.value)))
            .collect();
        labels.sort();
        found.push((index, labels, bits(value)));
    };
    scan(page, Format::Text, judge, take).expect("page");
    for (index, labels, value) in found {
        samples.push((names[index].clone(), labels, value));
    }
    samples.sort();
    samples
}

/// The same by prometheus-parse. Types are left out: it would fold histograms and summaries.
fn theirs(page: &str) -> Vec<Sample> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    let scrape = prometheus_parse::Scrape::parse(lines.map(|line| Ok(String::from(line))));
    let mut samples: Vec<_> = scrape
        .expect("page")
        .samples
        .into_iter()
        .map(|sample| {
            let mut labels: Vec<_> = sample
                .labels
                .iter()
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect();
            labels.sort();
            let (prometheus_parse::Value::Untyped(value)
            | prometheus_parse::Value::Counter(value)
            | prometheus_parse::Value::Gauge(value)) = sample.value
            else {
                panic!("{:?}", sample.value)
            };
            (sample.metric, labels, bits(value))
        })
        .collect();
    samples.sort();
    samples
}

/// Lines on which the oracle can be right: it splits labels at every comma and equals sign, ends
/// them at the first brace and unescapes nothing.
fn in_its_reach(page: &[u8]) -> String {
    let text = String::from_utf8_lossy(page);
    let plain = |line: &&str| {
        let values: Vec<_> = line.split('"').skip(1).step_by(2).collect();
        !line.contains('\\')
            && !line.contains(" # ")
            && !line.starts_with('{')
            && values
                .iter()
                .all(|value| !value.contains([',', '=', '{', '}']))
    };
    text.lines()
        .filter(plain)
        .flat_map(|line| [line, "\n"])
        .collect()
}

#[test]
fn every_fixture_reads_as_the_oracle_reads_it() {
    let mut samples = 0;
    for (name, page) in pages("recorded")
        .into_iter()
        .chain(pages("synthetic"))
        .chain(pages(""))
    {
        let page = in_its_reach(&page);
        let ours = ours(page.as_bytes());
        samples += ours.len();
        assert_eq!(ours, theirs(&page), "{name}");
    }
    assert!(samples > 10_000, "{samples}");
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<f64>().prop_map(|value| format!("{value:e}").replace('e', "E")),
        any::<i32>().prop_map(|value| value.to_string()),
        prop_oneof!["NaN", "\\+Inf", "-Inf", "Inf", "5\\.8E-169", "7\\.0"],
    ]
}

fn line() -> impl Strategy<Value = String> {
    let labels = prop::collection::btree_map(
        "[a-z_][a-zA-Z0-9_]{0,6}",
        "[ -!#-+./:;<>?@A-Z a-z|-]{0,9}",
        0..4,
    );
    let ends = (
        any::<bool>(),
        prop_oneof!["", " ", "\t"],
        prop::option::of(any::<u32>()),
    );
    ("[a-zA-Z_][a-zA-Z0-9_]{0,20}", labels, value(), ends).prop_map(
        |(name, labels, value, ends)| {
            let (comma, blank, timestamp) = ends;
            let labels: Vec<_> = labels.iter().map(|(k, v)| format!("{k}=\"{v}\"")).collect();
            let comma = if comma && !labels.is_empty() { "," } else { "" };
            let labels = match labels.as_slice() {
                [] => String::new(),
                labels => format!("{{{}{comma}}}", labels.join(",")),
            };
            let timestamp = timestamp.map(|t| format!(" {t}")).unwrap_or_default();
            format!("{name}{labels} {blank}{value}{timestamp}")
        },
    )
}

proptest! {
    #[test]
    fn random_pages_read_as_the_oracle_reads_them(
        lines in prop::collection::vec((line(), 1..4_usize), 0..40),
        crlf in any::<bool>(),
    ) {
        let end = if crlf { "\r\n" } else { "\n" };
        let mut page = String::new();
        for (line, times) in lines {
            for _ in 0..times {
                page.push_str(&line);
                page.push_str(end);
            }
        }
        let reach = in_its_reach(page.as_bytes());
        prop_assert_eq!(ours(reach.as_bytes()), theirs(&reach));
    }

    #[test]
    fn label_values_survive_escaping(values in prop::collection::vec("\\PC{0,12}|[\\\\\"\n{},=# ]{0,8}", 1..4)) {
        let escape = |value: &String| {
            value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
        };
        let labels: Vec<_> =
            values.iter().enumerate().map(|(i, v)| format!("l{i}=\"{}\"", escape(v))).collect();
        let page = format!("name{{{}}} 1\n", labels.join(" , "));
        let read = ours(page.as_bytes());
        prop_assert_eq!(read.len(), 1);
        let read: Vec<_> = read[0].1.iter().map(|(_, value)| value.clone()).collect();
        prop_assert_eq!(read, values);
    }

    /// A page cut anywhere inside a line is refused; anywhere else HTTP must notice.
    #[test]
    fn a_cut_page_is_refused(at in any::<prop::sample::Index>()) {
        let (_, page) = pages("synthetic").into_iter().find(|(n, _)| n == "confluent-broker").expect("page");
        let at = at.index(page.len() - 1) + 1;
        let cut = &page[..at];
        match facts(cut) {
            Err(error @ PageError::Damaged(_)) => prop_assert_eq!(error.class(), FailureClass::Cut),
            Err(PageError::NotKafka { .. }) | Ok(_) => prop_assert!(cut.ends_with(b"\n")),
            Err(error) => prop_assert!(false, "{}", error),
        }
    }

    /// Changed, removed and added bytes never panic.
    #[test]
    fn damaged_pages_do_not_panic(
        which in any::<prop::sample::Index>(),
        damages in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..8),
    ) {
        let pages = pages("synthetic");
        let (_, mut page) = pages[which.index(pages.len())].clone();
        for (at, byte, how) in damages {
            let at = at.index(page.len());
            match how {
                0 => page[at] = byte,
                1 => drop(page.remove(at)),
                _ => page.insert(at, byte),
            }
        }
        let _ = facts(&page);
    }

    #[test]
    fn noise_does_not_panic(page in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = facts(&page);
    }
}
