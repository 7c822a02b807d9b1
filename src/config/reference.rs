//! `config/reference.yaml`: the table of keys as a commented file that can be read.

use std::fmt::Write as _;

use super::keys::{KEYS, Key, Kind, Preset};
use super::layers::env_name;

const HEAD: &str = "\
# Every setting of upgrade-gate, with its default, its values and its purpose.
# Generated from the table in src/config/keys.rs; a test keeps them the same.
# A line that is commented out has no default; what stands there is an example.
# Each setting can also be given in the environment: the path in capitals with '__' for '.',
# such as {example}.
# (restart): a change needs a restart; every other takes effect on reload.

";

/// The file.
pub fn reference() -> String {
    let example = env_name("gates.<gate>.kafka.bootstrap");
    let mut out = HEAD.replace("{example}", &example);
    let mut root = Section::default();
    for key in KEYS {
        root.add(&key.segments().map(example_name).collect::<Vec<_>>(), key);
    }
    root.write(&mut out, 0, false);
    out
}

/// A section in the order of the table.
#[derive(Default)]
struct Section {
    items: Vec<(&'static str, Item)>,
}

enum Item {
    Key(&'static Key),
    Section(Section),
}

impl Section {
    fn add(&mut self, path: &[&'static str], key: &'static Key) {
        match path {
            [] => {}
            [name] => self.items.push((name, Item::Key(key))),
            [name, rest @ ..] => {
                let section = self.items.iter_mut().find(|(known, _)| known == name);
                match section {
                    Some((_, Item::Section(section))) => section.add(rest, key),
                    Some((_, Item::Key(_))) => {}
                    None => {
                        let mut section = Self::default();
                        section.add(rest, key);
                        self.items.push((name, Item::Section(section)));
                    }
                }
            }
        }
    }

    /// Whether anything in it stands without a comment sign.
    fn active(&self) -> bool {
        self.items.iter().any(|(_, item)| match item {
            Item::Key(key) => is_active(key),
            Item::Section(section) => section.active(),
        })
    }

    fn write(&self, out: &mut String, depth: usize, commented: bool) {
        let indent = "  ".repeat(depth);
        for (name, item) in &self.items {
            match item {
                Item::Key(key) => write_key(out, &indent, name, key),
                Item::Section(section) => {
                    let off = commented || !section.active();
                    let sign = if off { "# " } else { "" };
                    let blank = if depth < 3 { "\n" } else { "" };
                    let _ = writeln!(out, "{blank}{indent}{sign}{}:", name_of(name));
                    section.write(out, depth + 1, off);
                }
            }
        }
    }
}

const fn is_active(key: &Key) -> bool {
    match key.preset {
        Preset::Is(_) | Preset::Needed(_) => true,
        Preset::Absent(_) => false,
    }
}

fn write_key(out: &mut String, indent: &str, name: &str, key: &Key) {
    let note = if key.reloadable { "" } else { " (restart)" };
    for line in wrap(key.why, 96_usize.saturating_sub(indent.len())) {
        let _ = writeln!(out, "{indent}# {line}");
    }
    let _ = writeln!(out, "{indent}# Values: {}.{note}", key.kind.unit());
    let (sign, text) = match key.preset {
        Preset::Is(text) | Preset::Needed(text) => ("", text),
        Preset::Absent(text) => ("# ", text),
    };
    let text = match key.kind {
        Kind::List(Kind::NodeId) => format!("[{text}]"),
        Kind::List(_) => flow(&[String::from(text)]),
        kind => value_of(kind, text),
    };
    let _ = writeln!(out, "{indent}{sign}{}: {text}", name_of(name));
}

/// A name that could stand for a placeholder.
fn example_name(segment: &'static str) -> &'static str {
    match segment {
        "<gate>" => "default",
        "<node>" => "1",
        "<host>" => "rack1-a",
        "<address>" => "broker-1.internal:9092",
        "<header>" => "X-Scope",
        "<token>" => "jenkins",
        "<user>" => "ann",
        "<san>" => "jenkins.example.org",
        "<metric>" => "UnderReplicatedPartitions",
        other => other,
    }
}

/// Words in lines of at most this many characters.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.len() + word.len() < width => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(String::from(word)),
        }
    }
    lines
}

/// A list on one line.
pub(super) fn flow(texts: &[String]) -> String {
    let items: Vec<_> = texts.iter().map(|text| scalar(text)).collect();
    format!("[{}]", items.join(", "))
}

/// A text as YAML writes it, quoted where it would be read as something else: `yes` by other
/// readers, `123`, `1e3` or `~` by ours.
pub(super) fn scalar(text: &str) -> String {
    let plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '/' | '-' | '+' | ':');
    let starts = |c: char| c.is_ascii_alphanumeric() || c == '/';
    let word = text.starts_with(starts) && text.chars().all(plain) && !text.ends_with(':');
    let misread = ["null", "yes", "no", "on", "off", "y", "n"]
        .contains(&text.to_lowercase().as_str())
        || text.contains(": ");
    let read = || yaml_serde::from_str::<yaml_serde::Value>(text).ok();
    if word && !misread && read().is_some_and(|read| read.as_str() == Some(text)) {
        String::from(text)
    } else {
        quoted(text)
    }
}

/// In double quotes. What YAML refuses or folds when it stands there as it is (a byte order mark, a
/// line separator) is escaped with everything else that is neither letter, digit nor ASCII.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            _ if c.is_alphanumeric() => out.push(c),
            _ => {
                let _ = write!(out, "\\U{:08X}", u32::from(c));
            }
        }
    }
    out.push('"');
    out
}

/// The name of a key or section. Our reader takes a name for its text, so node ids stay plain.
pub(super) fn name_of(name: &str) -> String {
    if name.bytes().all(|byte| byte.is_ascii_digit()) {
        String::from(name)
    } else {
        scalar(name)
    }
}

/// A value of one text, which its kind has already taken.
pub(super) fn value_of(kind: Kind, text: &str) -> String {
    match kind {
        Kind::Bool | Kind::Count(..) | Kind::NodeId => String::from(text),
        Kind::Text
        | Kind::Duration(..)
        | Kind::Size(..)
        | Kind::Word(_)
        | Kind::Path
        | Kind::UrlPath
        | Kind::Listen
        | Kind::HostPort
        | Kind::JmxUrl
        | Kind::JmxTemplate
        | Kind::Series
        | Kind::LogFilter
        | Kind::TrustedUrl
        | Kind::Extensions
        | Kind::List(_) => scalar(text),
    }
}
