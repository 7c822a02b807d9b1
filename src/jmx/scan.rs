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

/// Why a page cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Damage {
    /// It ends in the middle of a line, or without the `# EOF` that its format asks for.
    #[error("it ends early, after {bytes} bytes")]
    Cut {
        /// Bytes received.
        bytes: usize,
    },
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
        let rest = if let Some(rest) = after_name(line, last.0) {
            rest
        } else {
            match Line::of(line) {
                Line::Blank => continue,
                Line::Comment => {
                    eof = is_eof(line);
                    continue;
                }
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
    Blank,
    Comment,
    /// `name{labels} value` or `name value`.
    Named {
        name: &'p [u8],
        rest: &'p [u8],
    },
    /// `{"name",labels} value`, with which names outside `[a-zA-Z0-9_:]` are written.
    Quoted(&'p [u8]),
}

impl<'p> Line<'p> {
    fn of(line: &'p [u8]) -> Self {
        let line = line.trim_ascii();
        match line.first() {
            None => Self::Blank,
            Some(b'#') => Self::Comment,
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
    line.trim_ascii_end() == b"# EOF"
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
