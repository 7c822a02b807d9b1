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
                    let _ = writeln!(out, "{blank}{indent}{sign}{}:", scalar(name));
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
        Kind::List(_) => flow(&[String::from(text)]),
        _ => scalar(text),
    };
    let _ = writeln!(out, "{indent}{sign}{}: {text}", scalar(name));
}

/// A name that could stand for a placeholder.
fn example_name(segment: &'static str) -> &'static str {
    match segment {
        "<gate>" => "default",
        "<node>" => "1",
        "<address>" => "broker-1.internal:9092",
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

/// A text as YAML writes it, quoted where it would be read as something else.
pub(super) fn scalar(text: &str) -> String {
    let plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '/' | '-' | '+' | ':');
    let starts = |c: char| c.is_ascii_alphanumeric() || c == '/';
    let word = text.starts_with(starts) && text.chars().all(plain) && !text.ends_with(':');
    let misread = ["null", "yes", "no", "on", "off", "y", "n"]
        .contains(&text.to_lowercase().as_str())
        || text.contains(": ");
    if word && !misread {
        String::from(text)
    } else {
        serde_json::Value::from(text).to_string()
    }
}
