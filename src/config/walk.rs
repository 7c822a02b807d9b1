//! Our walk over the merged value. It visits everything, so that all problems are told at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use figment::Figment;
use figment::value::{Dict, Tag, Value};

use super::keys::{self, Key, Kind, Pattern, is_placeholder};
use super::names::{check_name, refused};
use super::problem::{Origin, Problem};
use super::suggest;

/// A path with the names that the user chose.
pub(super) type Path = Vec<String>;

/// One value of its key's kind.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) key: &'static Key,
    /// One text; of a list: its elements.
    pub(super) texts: Vec<String>,
    pub(super) origin: Origin,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Entry");
        if !self.key.secret {
            out.field("texts", &self.texts);
        }
        out.field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// What a walk brings home.
#[derive(Debug, Default)]
pub(super) struct Walked {
    /// Every value that is of its key's kind.
    pub(super) entries: BTreeMap<Path, Entry>,
    /// Where a value stands that is not.
    pub(super) bad: BTreeSet<Path>,
    pub(super) problems: Vec<Problem>,
}

/// Visits every value.
pub(super) fn walk(figment: &Figment, merged: &Dict) -> Walked {
    let mut walker = Walker {
        figment,
        pattern: Pattern::new(),
        path: Path::new(),
        out: Walked::default(),
    };
    walker.section(merged);
    walker.out
}

struct Walker<'f> {
    figment: &'f Figment,
    pattern: Pattern,
    path: Path,
    out: Walked,
}

impl Walker<'_> {
    fn section(&mut self, dict: &Dict) {
        let known = keys::below(&self.pattern);
        let chosen = known.iter().copied().find(|name| is_placeholder(name));
        for (name, value) in dict {
            let literal = known.iter().copied().find(|known| known == name);
            self.path.push(name.clone());
            match literal.or(chosen) {
                Some(segment) => self.step(segment, name, value),
                None => self.unknown(name, value, known),
            }
            self.path.pop();
        }
    }

    fn step(&mut self, segment: &'static str, name: &str, value: &Value) {
        if let Some(Err(what)) = check_name(segment, name) {
            self.problem(what, value.tag());
            return;
        }
        self.pattern.push(segment);
        match (keys::at(&self.pattern), value) {
            (Some(key), _) => self.leaf(key, value),
            (None, Value::Dict(_, inner)) => self.section(inner),
            (None, _) => {
                let below = keys::below(&self.pattern).join(", ");
                self.problem(format!("is a section: put {below} below it"), value.tag());
            }
        }
        self.pattern.pop();
    }

    fn unknown(&mut self, name: &str, value: &Value, known: &[&'static str]) {
        let what = if let Some(why) = refused(&self.pattern, name) {
            String::from(why)
        } else {
            let hint = suggest::did_you_mean(name, known.iter().copied(), "");
            let list = known.join(", ");
            if hint.is_empty() {
                format!("is no key; here are {list}")
            } else {
                format!("is no key{hint}")
            }
        };
        // A section has no origin of its own: the first value in it has.
        self.problem(what, first_leaf(value).tag());
    }

    fn leaf(&mut self, key: &'static Key, value: &Value) {
        let texts = match texts_of(key.kind, value) {
            Ok(texts) => texts,
            Err(what) => return self.problem(what, value.tag()),
        };
        let Some(origin) = self.origin(value.tag()) else {
            return self.problem(String::from("comes from nowhere"), value.tag());
        };
        let mut good = true;
        for text in &texts {
            if let Err(what) = key.check(text) {
                self.problem(format!("{what}{}", found(key, text, &origin)), value.tag());
                good = false;
            }
        }
        if good {
            let entry = Entry { key, texts, origin };
            self.out.entries.insert(self.path.clone(), entry);
        }
    }

    fn problem(&mut self, what: String, tag: Tag) {
        self.out.bad.insert(self.path.clone());
        self.out.problems.push(Problem {
            path: self.path.join("."),
            what,
            origin: self.origin(tag),
        });
    }

    fn origin(&self, tag: Tag) -> Option<Origin> {
        self.figment.get_metadata(tag).and_then(Origin::of)
    }
}

fn first_leaf(value: &Value) -> &Value {
    match value {
        Value::Dict(_, inner) => inner.values().next().map_or(value, first_leaf),
        _ => value,
    }
}

/// What was found instead, where it may be said.
fn found(key: &Key, text: &str, origin: &Origin) -> String {
    let public = origin.may_be_shown() && !key.secret && !text.contains('@');
    if public {
        let short: String = text.chars().take(60).collect();
        format!("; found {short:?}")
    } else {
        String::new()
    }
}

/// The texts of a value: one, or of a list its elements.
fn texts_of(kind: Kind, value: &Value) -> Result<Vec<String>, String> {
    let Kind::List(of) = kind else {
        return text_of(kind, value).map(|text| vec![text]);
    };
    let texts: Vec<String> = match value {
        Value::Array(_, items) => items
            .iter()
            .map(|item| text_of(*of, item))
            .collect::<Result<_, _>>()?,
        _ => text_of(kind, value)?
            .split(',')
            .map(|text| String::from(text.trim()))
            .collect(),
    };
    let mut seen = BTreeSet::new();
    match texts.iter().find(|text| !seen.insert(*text)) {
        Some(_) => Err(String::from("names one thing twice")),
        None => Ok(texts),
    }
}

fn text_of(kind: Kind, value: &Value) -> Result<String, String> {
    let quoted = |what: &str| Err(format!("is {what} here; put it in quotes"));
    let text = matches!(kind, Kind::Text | Kind::List(_));
    match value {
        Value::String(_, text) => Ok(text.clone()),
        Value::Char(_, text) => Ok(text.to_string()),
        Value::Bool(..) if text => quoted("true or false"),
        Value::Num(..) if text => quoted("a number"),
        Value::Bool(_, yes) => Ok(yes.to_string()),
        Value::Num(..) => Ok(number(value)),
        Value::Empty(..) => Err(String::from("has no value: write one, or remove the key")),
        Value::Dict(..) => Err(format!("is a section here; wants {}", kind.unit())),
        Value::Array(..) => Err(format!("is a list here; wants {}", kind.unit())),
    }
}

fn number(value: &Value) -> String {
    let whole = value.to_i128().map(|n| n.to_string());
    whole
        .or_else(|| value.to_u128().map(|n| n.to_string()))
        .or_else(|| value.to_f64().map(|n| n.to_string()))
        .unwrap_or_default()
}
