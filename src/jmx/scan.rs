//! A scanner of the Prometheus text format 0.0.4, tolerant of OpenMetrics.
//!
//! It looks for few names on pages of megabytes: a line is split only when its name is wanted,
//! and since exporters write families in one piece, most lines cost one comparison with the name
//! before. Lines that are not wanted are skipped unread, so damage there is not noticed; a wanted
//! line that cannot be read fails the page, and so does a page that ends in the middle of a line.
//! Types and help texts decide nothing (reference `kafka-jmx-metrics.md` 4.3).
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions
)]

use std::borrow::Cow;

use memchr::{memchr_iter, memchr2, memchr3};
use thiserror::Error;

/// Which of the two text formats the exporter says it wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text 0.0.4, or no word about it: ends with a newline.
    Text,
    /// OpenMetrics: ends with `# EOF`, else it was cut.
    OpenMetrics,
}

/// What to do with the samples of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<V> {
    /// Nothing.
    Skip,
    /// Count them as Kafka's.
    Kafka,
    /// Count them as Kafka's and read them.
    Wanted(V),
    /// Read them, although they are not Kafka's.
    Beside(V),
}

/// One label. Its value is unescaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label<'p> {
    /// Its name.
    pub name: Cow<'p, [u8]>,
    /// Its value.
    pub value: Cow<'p, [u8]>,
}

/// What a scan counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lines with a sample.
    pub samples: u64,
    /// Those among them whose name is Kafka's.
    pub kafka: u64,
}

/// The most samples that are read of one page. A broker of 12,000 partitions says some 100,000, and 64
/// MiB of the shortest lines that there are would be 16 million.
pub const MOST_SAMPLES: u64 = 2_000_000;

/// Why a page cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Damage {
    /// It ends in the middle of a line, or without the `# EOF` that its format asks for.
    #[error("it ends early, after {bytes} bytes")]
    Cut {
        /// Bytes received.
        bytes: usize,
    },
    /// It has more samples than are read.
    #[error("it has more than {MOST_SAMPLES} samples")]
    TooMany,
    /// A wanted line is not what the format says.
    #[error("line {line} has {what}")]
    Line {
        /// Line number, from 1.
        line: usize,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// Scans a page: `judge` is asked once per run of lines with the same name, `take` gets every
/// wanted sample with its labels and value.
pub fn scan<'p, V: Copy>(
    page: &'p [u8],
    format: Format,
    mut judge: impl FnMut(&[u8]) -> Verdict<V>,
    mut take: impl FnMut(V, &[Label<'p>], f64),
) -> Result<Counts, Damage> {
    let mut counts = Counts::default();
    let mut labels = Vec::new();
    let mut last: (&[u8], Verdict<V>) = (b"", Verdict::Skip);
    let mut eof = false;
    let mut start = 0_usize;
    for newline in memchr_iter(b'\n', page) {
        let line = page.get(start..newline).unwrap_or_default();
        let at = std::mem::replace(&mut start, newline.saturating_add(1));
        if line.first() == Some(&b'#') {
            eof = is_eof(line);
            continue;
        }
        let rest = if let Some(rest) = after_name(line, last.0) {
            rest
        } else {
            match Line::of(line) {
                Line::Empty => continue,
                Line::Named { name, rest } => {
                    last = (name, judge(name));
                    rest
                }
                Line::Quoted(line) => {
                    let name = quoted_name(line).map_err(|what| damage(page, at, what))?;
                    last = (b"", judge(&name));
                    line
                }
            }
        };
        eof = false;
        counts.samples = counts.samples.saturating_add(1);
        if counts.samples > MOST_SAMPLES {
            return Err(Damage::TooMany);
        }
        let (wanted, kafka) = match last.1 {
            Verdict::Skip => continue,
            Verdict::Kafka => (None, true),
            Verdict::Wanted(wanted) => (Some(wanted), true),
            Verdict::Beside(wanted) => (Some(wanted), false),
        };
        counts.kafka = counts.kafka.saturating_add(u64::from(kafka));
        if let Some(wanted) = wanted {
            let value = sample(rest, &mut labels).map_err(|what| damage(page, at, what))?;
            take(wanted, &labels, value);
        }
    }
    let tail = page.get(start..).unwrap_or_default();
    let whole = match format {
        Format::Text => tail.is_empty(),
        Format::OpenMetrics => tail.is_empty() && eof,
    } || is_eof(tail);
    if whole {
        Ok(counts)
    } else {
        Err(Damage::Cut { bytes: page.len() })
    }
}

/// The rest of the line when it begins with the name of the line before.
fn after_name<'p>(line: &'p [u8], name: &[u8]) -> Option<&'p [u8]> {
    if name.is_empty() {
        return None;
    }
    let rest = line.strip_prefix(name)?;
    matches!(rest.first(), Some(b'{' | b' ' | b'\t')).then_some(rest)
}

/// A line that does not begin with the name before.
enum Line<'p> {
    /// Blank, or a comment after blanks.
    Empty,
    /// `name{labels} value` or `name value`.
    Named { name: &'p [u8], rest: &'p [u8] },
    /// `{"name",labels} value`, with which names outside `[a-zA-Z0-9_:]` are written.
    Quoted(&'p [u8]),
}

impl<'p> Line<'p> {
    fn of(line: &'p [u8]) -> Self {
        let line = line.trim_ascii();
        match line.first() {
            None | Some(b'#') => Self::Empty,
            Some(b'{') => Self::Quoted(line),
            Some(_) => {
                let end = memchr3(b'{', b' ', b'\t', line).unwrap_or(line.len());
                let (name, rest) = line.split_at_checked(end).unwrap_or((line, b""));
                Self::Named { name, rest }
            }
        }
    }
}

fn is_eof(line: &[u8]) -> bool {
    line.strip_suffix(b"\r").unwrap_or(line) == b"# EOF"
}

/// The damage with its line number, which is counted only now.
fn damage(page: &[u8], at: usize, what: &'static str) -> Damage {
    let before = page.get(..at).unwrap_or(page);
    Damage::Line {
        line: memchr_iter(b'\n', before).count().saturating_add(1),
        what,
    }
}

/// The name inside the braces of a line that begins with a brace.
fn quoted_name(line: &[u8]) -> Result<Cow<'_, [u8]>, &'static str> {
    let inside = line.strip_prefix(b"{").unwrap_or(line).trim_ascii_start();
    let inside = inside.strip_prefix(b"\"").ok_or("no metric name")?;
    Ok(quoted(inside)?.0)
}

/// Reads what follows the name: labels, the value, and (unused) a timestamp and an exemplar.
fn sample<'p>(rest: &'p [u8], labels: &mut Vec<Label<'p>>) -> Result<f64, &'static str> {
    labels.clear();
    let rest = rest.trim_ascii();
    let rest = match rest.strip_prefix(b"{") {
        Some(inside) => label_set(inside, labels)?,
        None => rest,
    };
    // An exemplar begins with a `#` after the value.
    let end = memchr::memchr(b'#', rest).unwrap_or(rest.len());
    let rest = rest.get(..end).unwrap_or(rest);
    let mut tokens = rest
        .split(u8::is_ascii_whitespace)
        .filter(|token| !token.is_empty());
    let value = tokens.next().and_then(number).ok_or("no readable value")?;
    match (tokens.next().map(number), tokens.next()) {
        (None | Some(Some(_)), None) => Ok(value),
        (Some(None), _) => Err("no readable timestamp"),
        (_, Some(_)) => Err("something after its timestamp"),
    }
}

/// Java's and Prometheus' ways to write a double, `NaN`, `+Inf` and `-Inf` among them.
fn number(token: &[u8]) -> Option<f64> {
    std::str::from_utf8(token).ok()?.parse().ok()
}

/// Reads labels up to the closing brace and returns what follows it. Accepts a comma before the
/// brace (exporter 0.x) and a quoted string without a value (the name of a quoted line).
fn label_set<'p>(
    mut rest: &'p [u8],
    labels: &mut Vec<Label<'p>>,
) -> Result<&'p [u8], &'static str> {
    loop {
        rest = rest.trim_ascii_start();
        if let Some(after) = rest.strip_prefix(b"}") {
            return Ok(after);
        }
        let name;
        let bare = !rest.starts_with(b"\"");
        if let Some(inside) = rest.strip_prefix(b"\"") {
            let (quoted, after) = quoted(inside)?;
            name = quoted;
            rest = after.trim_ascii_start();
        } else {
            let end = memchr2(b'=', b'}', rest).ok_or("labels without an end")?;
            let (bare, after) = rest.split_at_checked(end).ok_or("labels without an end")?;
            name = Cow::Borrowed(bare.trim_ascii_end());
            rest = after;
        }
        if let Some(after) = rest.strip_prefix(b"=") {
            let inside = after.trim_ascii_start().strip_prefix(b"\"");
            let (value, after) = quoted(inside.ok_or("a label value without quotes")?)?;
            labels.push(Label { name, value });
            rest = after.trim_ascii_start();
        } else if bare {
            return Err("a label without a value");
        }
        rest = match rest.split_first() {
            Some((b',', after)) => after,
            Some((b'}', _)) => rest,
            Some(_) => return Err("something between its labels"),
            None => return Err("labels without an end"),
        };
    }
}

/// Reads up to the closing quote; returns the unescaped text and what follows the quote.
fn quoted(text: &[u8]) -> Result<(Cow<'_, [u8]>, &[u8]), &'static str> {
    const OPEN: &str = "a quote without an end";
    let mut plain = Cow::Borrowed(b"".as_slice());
    let mut rest = text;
    loop {
        let end = memchr2(b'"', b'\\', rest).ok_or(OPEN)?;
        let (piece, after) = rest.split_at_checked(end).ok_or(OPEN)?;
        if plain.is_empty() {
            plain = Cow::Borrowed(piece);
        } else {
            plain.to_mut().extend_from_slice(piece);
        }
        rest = match after {
            [b'"', after @ ..] => return Ok((plain, after)),
            [b'\\', b'n', after @ ..] => {
                plain.to_mut().push(b'\n');
                after
            }
            [b'\\', escaped @ (b'\\' | b'"'), after @ ..] => {
                plain.to_mut().push(*escaped);
                after
            }
            // Not an escape: the backslash stands for itself, as in Prometheus' own parser.
            [b'\\', after @ ..] => {
                plain.to_mut().push(b'\\');
                after
            }
            _ => return Err(OPEN),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Read = Vec<(String, Vec<(String, String)>, f64)>;

    /// Reads the names that begin with `k`.
    fn read_as(page: &str, format: Format) -> Result<(Read, Counts), Damage> {
        let mut read = Read::new();
        let mut names = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let counts = scan(
            page.as_bytes(),
            format,
            |name| match name.first() {
                Some(b'k') => {
                    let index = names.len();
                    names.push(text(name));
                    Verdict::Wanted(index)
                }
                Some(b'K') => Verdict::Kafka,
                _ => Verdict::Skip,
            },
            |which, labels, value| {
                let labels = labels.iter().map(|l| (text(&l.name), text(&l.value)));
                read.push((which.to_string(), labels.collect(), value));
            },
        )?;
        for (name, _, _) in &mut read {
            let which: usize = name.parse().expect("index");
            name.clone_from(names.get(which).expect("name"));
        }
        Ok((read, counts))
    }

    fn read(page: &str) -> Result<Read, Damage> {
        Ok(read_as(page, Format::Text)?.0)
    }

    fn one(line: &str) -> (Vec<(String, String)>, f64) {
        let mut read = read(&format!("{line}\n")).expect(line);
        assert_eq!(read.len(), 1, "{line}");
        let (name, labels, value) = read.remove(0);
        assert_eq!(name, "k", "{line}");
        (labels, value)
    }

    #[test]
    fn lines_in_all_their_forms() {
        for line in [
            "k 7",
            "k 7.0",
            "k\t7 1795242000123",
            "  k   7  ",
            "k 7\r",
            "k{} 7",
            "k{ } 7 1795242000.123 # {trace=\"a # } b\"} 1.0 3",
            "k 7 # {} 1",
            "{\"k\"} 7",
            "{ \"k\" , } 7",
        ] {
            assert_eq!(one(line), (vec![], 7.0), "{line}");
        }
        for (line, value) in [
            (r#"k{a="x"} 7"#, "x"),
            (r#"k{a="x",} 7"#, "x"),
            (r#"k { a = "x" , } 7"#, "x"),
            (r#"{"k","a"="x"} 7"#, "x"),
            (r#"k{a="Produce, error=X {} #"} 7"#, "Produce, error=X {} #"),
            (r#"k{a="\"/var/kafka\""} 7"#, r#""/var/kafka""#),
            (r#"k{a="\\n\n\d"} 7"#, "\\n\n\\d"),
            (r#"k{a=""} 7"#, ""),
        ] {
            assert_eq!(one(line), (vec![("a".into(), value.into())], 7.0), "{line}");
        }
        for (line, value) in [
            ("k +Inf", f64::INFINITY),
            ("k -Inf", f64::NEG_INFINITY),
            ("k 5.8E-169", 5.8e-169),
            ("k 1.75E12", 1.75e12),
            ("k -1", -1.0),
        ] {
            assert_eq!(one(line), (vec![], value), "{line}");
        }
        assert!(one("k NaN").1.is_nan());
    }

    #[test]
    fn names_are_compared_whole() {
        let (read, counts) = read_as(
            "k 1\nkk 2\nk{a=\"b\"} 3\nk 4\nK 5\nx 6\nx{}\n",
            Format::Text,
        )
        .expect("page");
        let read: Vec<_> = read
            .into_iter()
            .map(|(name, _, value)| (name, value))
            .collect();
        let wanted = [("k", 1.0), ("kk", 2.0), ("k", 3.0), ("k", 4.0)];
        assert_eq!(
            read,
            wanted.map(|(name, value)| (String::from(name), value))
        );
        assert_eq!((counts.samples, counts.kafka), (7, 5));
    }

    #[test]
    fn damage_on_a_wanted_line_fails_the_page_with_its_number() {
        for line in [
            "k",
            "k{",
            "k{a",
            "k{a}",
            "k{a=1} 1",
            "k{a=\"b\" 1",
            "k{a=\"b} 1",
            "k{a=\"b\\",
            "k{a=\"b\"c=\"d\"} 1",
            "k x",
            "k 1 x",
            "k 1 2 3",
            "k{} ",
            "{} 1",
            "{k} 1",
            "{\"k\" 1",
        ] {
            let page = format!("# HELP k x\n\nx 1\n{line}\nk 1\n");
            let damage = read(&page).expect_err(line);
            assert!(
                matches!(damage, Damage::Line { line: 4, .. }),
                "{line}: {damage}"
            );
        }
        assert!(
            read("x{{{ \"\n= 3 =\nk 1\n").is_ok(),
            "unwanted lines are not read"
        );
    }

    #[test]
    fn more_samples_than_a_page_has_are_not_read() {
        let most = usize::try_from(MOST_SAMPLES).expect("a count");
        let page = "x 1\n".repeat(most);
        let counted = read_as(&page, Format::Text).map(|(_, counts)| counts.samples);
        assert_eq!(counted, Ok(MOST_SAMPLES));
        // What comes after that is not looked at, the end of the page included.
        let more = read(&format!("{page}k 1\nk")).expect_err("too many");
        assert_eq!(more, Damage::TooMany);
    }

    #[test]
    fn only_a_whole_page_counts() {
        let cut = |page: &str, format| matches!(read_as(page, format), Err(Damage::Cut { bytes }) if bytes == page.len());
        assert!(cut("k 1\nk 2", Format::Text));
        assert!(cut("k 1\n# TYPE", Format::Text));
        assert!(cut("k 1\n# EOF\nk", Format::Text));
        assert!(cut("k 1\n", Format::OpenMetrics));
        assert!(cut("k 1\n# EOF\nk 2\n", Format::OpenMetrics));
        for page in ["k 1\n# EOF", "k 1\n# EOF\n", "k 1\r\n# EOF\r\n"] {
            assert!(
                !cut(page, Format::Text) && !cut(page, Format::OpenMetrics),
                "{page}"
            );
        }
    }
}
