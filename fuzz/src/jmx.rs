//! A JMX exporter's page: the scanner and the recogniser.
//!
//! The first byte chooses the format, the rest is the page.

use std::borrow::Cow;
use std::sync::LazyLock;

use upgrade_gate::evidence::jmx::{JmxFacts, Metric};
use upgrade_gate::jmx::page::{self, PageError};
use upgrade_gate::jmx::recognise::Recogniser;
use upgrade_gate::jmx::scan::{Counts, Damage, Format, Label, MOST_SAMPLES, Verdict, scan};

static RECOGNISER: LazyLock<Recogniser> = LazyLock::new(Recogniser::default);

/// Names and values.
type Labels = Vec<(Vec<u8>, Vec<u8>)>;
/// Name, labels, bits of the value.
type Sample = (Vec<u8>, Labels, u64);

/// Reads one page.
///
/// # Panics
/// When something does not hold.
pub fn run(input: &[u8]) {
    let Some((choice, page)) = input.split_first() else {
        return;
    };
    let format = if choice % 2 == 0 {
        Format::Text
    } else {
        Format::OpenMetrics
    };
    let recogniser = &*RECOGNISER;
    let facts = super::bounded(16 << 10, 64, page.len(), || {
        page::read(page, format, recogniser)
    });
    let numbers = numbers(page);
    match &facts {
        Ok(facts) => said(facts, &numbers),
        Err(
            PageError::NotKafka { .. }
            | PageError::Empty
            | PageError::Html
            | PageError::TooManyBrokers
            | PageError::Damaged(_),
        ) => {}
    }
    if format == Format::Text && !page.ends_with(b"\n") && !last_line(page).starts_with(b"# EOF") {
        assert!(facts.is_err(), "a page that ends inside a line was read");
    }
    let whole = samples(page, format);
    if let Ok((samples, counts)) = &whole {
        assert!(counts.samples >= samples.len() as u64);
        for (_, _, value) in samples {
            let there = numbers.contains(value);
            assert!(there, "{} is not on the page", f64::from_bits(*value));
        }
    }
    line_by_line(page, &whole, format);
}

/// Everything on a page.
fn samples(page: &[u8], format: Format) -> Result<(Vec<Sample>, Counts), Damage> {
    let mut names: Vec<Vec<u8>> = Vec::new();
    let mut found: Vec<(usize, Labels, f64)> = Vec::new();
    let judge = |name: &[u8]| {
        names.push(name.to_vec());
        Verdict::Wanted(names.len() - 1)
    };
    let take = |index: usize, labels: &[Label<'_>], value: f64| {
        for text in labels.iter().flat_map(|label| [&label.name, &label.value]) {
            assert!(stands_on(page, text), "a label that is not on the page");
        }
        let labels = labels
            .iter()
            .map(|label| (label.name.to_vec(), label.value.to_vec()));
        found.push((index, labels.collect(), value));
    };
    let counts = scan(page, format, judge, take)?;
    let named = |(index, labels, value): (usize, _, f64)| {
        let value = if value.is_nan() { f64::NAN } else { value };
        (names[index].clone(), labels, value.to_bits())
    };
    Ok((found.into_iter().map(named).collect(), counts))
}

/// A line means the same alone as after the lines before it, and only damage fails a page.
fn line_by_line(page: &[u8], whole: &Result<(Vec<Sample>, Counts), Damage>, format: Format) {
    let mut alone = Vec::new();
    let mut damaged = None;
    for (number, line) in page.split_inclusive(|byte| *byte == b'\n').enumerate() {
        if !line.ends_with(b"\n") {
            break; // What is behind the last newline is not read.
        }
        match samples(line, Format::Text) {
            Ok((samples, _)) => alone.extend(samples),
            Err(Damage::Line { .. }) => {
                damaged = Some(number + 1);
                break;
            }
            Err(damage @ (Damage::Cut { .. } | Damage::TooMany)) => {
                panic!("{damage} in a whole line")
            }
        }
    }
    match whole {
        Ok((samples, _)) => {
            assert_eq!(damaged, None, "damage that the page does not show");
            assert_eq!(*samples, alone, "lines mean something else on their page");
        }
        Err(Damage::Line { line, .. }) => assert_eq!(damaged, Some(*line)),
        Err(Damage::TooMany) => assert!(page.len() as u64 > MOST_SAMPLES),
        Err(Damage::Cut { bytes }) => {
            assert_eq!((damaged, *bytes), (None, page.len()));
            let cut = !page.ends_with(b"\n");
            assert!(cut || format == Format::OpenMetrics || page.is_empty());
        }
    }
}

fn last_line(page: &[u8]) -> &[u8] {
    page.rsplit(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default()
}

/// Bits of every number that stands anywhere on the page; NaN is always among them.
fn numbers(page: &[u8]) -> Vec<u64> {
    let ends = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'}' | b'#');
    let number = |token: &[u8]| std::str::from_utf8(token).ok()?.parse::<f64>().ok();
    let numbers = page.split(ends).filter_map(number).map(f64::to_bits);
    numbers.chain([f64::NAN.to_bits()]).collect()
}

/// Whether a text is a piece of the page itself; one with escapes cannot be, and is shorter.
#[expect(
    clippy::ptr_arg,
    reason = "whether the text is borrowed is the question"
)]
fn stands_on(page: &[u8], text: &Cow<'_, [u8]>) -> bool {
    match text {
        Cow::Borrowed(text) => text.is_empty() || page.as_ptr_range().contains(&text.as_ptr()),
        Cow::Owned(text) => page.contains(&b'\\') && text.len() < page.len(),
    }
}

/// Facts are numbers from the page (or sums, for the few that are added up), never negative
/// counts and never infinite.
fn said(facts: &JmxFacts, numbers: &[u64]) {
    assert!(
        facts.kafka_samples > 0,
        "facts of a page that is not Kafka's"
    );
    for (metric, value) in &facts.values {
        assert!(!value.is_infinite(), "{metric} is {value}");
        let summed = matches!(
            metric,
            Metric::UnderReplicatedPartitions
                | Metric::UnderMinIsrPartitionCount
                | Metric::RemainingLogsToRecover
        );
        assert!(
            summed || value.is_nan() || numbers.contains(&value.to_bits()),
            "{metric} is {value}, which is not on the page"
        );
    }
    assert!(facts.heartbeat_age_ms.values().all(|age| *age >= 0.0));
}
