//! The values in force, each with where it came from.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::keys::{KEYS, Kind};
use super::problem::Origin;
use super::reference::{flow, name_of, scalar, value_of};
use super::walk::{Entry, Path};

/// Every value, in the order of the table.
#[derive(Clone, Debug)]
pub struct Effective {
    values: Vec<(Path, Entry)>,
}

/// Stands where a secret's value would.
const MASK: &str = "<secret>";

impl Effective {
    pub(super) fn of(entries: BTreeMap<Path, Entry>) -> Self {
        let mut values: Vec<_> = entries.into_iter().collect();
        let place = |entry: &Entry| KEYS.iter().position(|key| std::ptr::eq(key, entry.key));
        // Sections must stay together: first the gate, then the key's place in the table. Node
        // ids by number.
        values.sort_by_cached_key(|(path, entry)| {
            let top = path.first().is_some_and(|first| first == "gates");
            let gate = path.get(1).filter(|_| top).cloned();
            let number = path.last().and_then(|name| name.parse::<i32>().ok());
            (gate, place(entry), number, path.clone())
        });
        Self { values }
    }

    /// Each value: path, text as the configuration writes it (secrets masked), origin.
    pub fn iter(&self) -> impl Iterator<Item = (String, String, &Origin)> {
        let values = self.values.iter();
        values.map(|(path, entry)| (path.join("."), text(entry), &entry.origin))
    }

    /// As YAML that can be read back, with the origin of each value as a comment.
    pub fn to_yaml(&self) -> String {
        let mut out = String::new();
        let mut open: &[String] = &[];
        for (path, entry) in &self.values {
            let Some((name, sections)) = path.split_last() else {
                continue;
            };
            let same = open
                .iter()
                .zip(sections)
                .take_while(|(a, b)| a == b)
                .count();
            for (depth, section) in sections.iter().enumerate().skip(same) {
                let _ = writeln!(out, "{}{}:", "  ".repeat(depth), name_of(section));
            }
            open = sections;
            let indent = "  ".repeat(sections.len());
            let (name, text, origin) = (name_of(name), text(entry), &entry.origin);
            let _ = writeln!(out, "{indent}{name}: {text}  # {origin}");
        }
        out
    }

    /// The keys whose values differ and take effect only after a restart.
    pub fn needs_restart(&self, new: &Self) -> Vec<String> {
        let fixed = |effective: &Self| -> BTreeMap<Path, Vec<String>> {
            let values = effective.values.iter();
            values
                .filter(|(_, entry)| !entry.key.reloadable)
                .map(|(path, entry)| (path.clone(), entry.texts.clone()))
                .collect()
        };
        let (old, new) = (fixed(self), fixed(new));
        let paths: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
        paths
            .into_iter()
            .filter(|path| old.get(*path) != new.get(*path))
            .map(|path| path.join("."))
            .collect()
    }
}

fn text(entry: &Entry) -> String {
    match entry.key.kind {
        _ if entry.key.secret => scalar(MASK),
        Kind::List(_) => flow(&entry.texts),
        kind => entry
            .texts
            .first()
            .map(|text| value_of(kind, text))
            .unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::{Key, Preset};

    static SECRET: Key = Key {
        path: "token",
        kind: Kind::Text,
        preset: Preset::Absent("x"),
        secret: true,
        reloadable: true,
        why: "A test.",
    };

    #[test]
    fn secrets_are_masked() {
        let entry = Entry {
            key: &SECRET,
            texts: vec![String::from("canary")],
            origin: Origin::Default,
        };
        let path = vec![String::from("token")];
        let effective = Effective::of(BTreeMap::from([(path, entry)]));
        assert_eq!(effective.to_yaml(), "token: \"<secret>\"  # default\n");
        assert!(!format!("{effective:?}").contains("canary"));
        assert!(
            effective
                .iter()
                .all(|(_, text, _)| !text.contains("canary"))
        );
    }
}
