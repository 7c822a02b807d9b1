//! The table of keys as a JSON schema (draft 2020-12), for editors and for checks before a roll-out.

use serde_json::{Map, Value, json};

use super::keys::{self, Key, Kind, Pattern, Preset, is_placeholder};

/// The schema.
pub fn schema() -> Value {
    let mut root = section(&mut Pattern::new());
    if let Value::Object(root) = &mut root {
        root.insert(
            String::from("$schema"),
            json!("https://json-schema.org/draft/2020-12/schema"),
        );
        root.insert(
            String::from("title"),
            json!("Configuration of upgrade-gate"),
        );
    }
    root
}

fn section(pattern: &mut Pattern) -> Value {
    let mut properties = Map::new();
    let mut names = Map::new();
    for segment in keys::below(pattern).iter().copied() {
        pattern.push(segment);
        let inner = match keys::at(pattern) {
            Some(key) => leaf(key),
            None => section(pattern),
        };
        pattern.pop();
        let into = if is_placeholder(segment) {
            &mut names
        } else {
            &mut properties
        };
        into.insert(String::from(name_of(segment)), inner);
    }
    if pattern.last() == Some(&"kafka") {
        let flat = dotted(&properties);
        properties.extend(flat);
    }
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
        "patternProperties": names,
    })
}

/// librdkafka's own spelling with dots, beside the sections.
fn dotted(properties: &Map<String, Value>) -> Map<String, Value> {
    let mut out = Map::new();
    for (name, value) in properties {
        let inner = value.get("properties").and_then(Value::as_object);
        for (below, value) in inner.into_iter().flatten() {
            let one = Map::from_iter([(below.clone(), value.clone())]);
            let deeper = dotted(&one);
            if deeper.is_empty() && value.get("properties").is_none() {
                out.insert(format!("{name}.{below}"), value.clone());
            }
            for (deep, value) in deeper {
                out.insert(format!("{name}.{deep}"), value);
            }
        }
    }
    out
}

/// A literal name, or the pattern of the names that a placeholder stands for.
fn name_of(segment: &str) -> &str {
    match segment {
        "<gate>" => "^[A-Za-z0-9_-][A-Za-z0-9._-]{0,62}$",
        "<node>" => "^[0-9]{1,10}$",
        "<host>" => "^[A-Za-z0-9._-]{1,253}$",
        "<token>" => "^[A-Za-z0-9._-]{1,100}$",
        "<address>" => "^([0-9]{1,10}|.+:[0-9]{1,5})$",
        "<user>" | "<san>" => "^[!-'*-~]{1,100}$",
        "<header>" => "^[A-Za-z0-9-]+$",
        "<metric>" => "^[A-Za-z-]+$",
        literal => literal,
    }
}

fn leaf(key: &Key) -> Value {
    let mut out = of_kind(key.kind);
    if let Value::Object(out) = &mut out {
        let text = format!("{} Values: {}.", key.why, key.kind.unit());
        out.insert(String::from("description"), json!(text));
        if let Preset::Is(text) = key.preset {
            out.insert(String::from("default"), preset(key.kind, text));
        }
    }
    out
}

fn preset(kind: Kind, text: &str) -> Value {
    match kind {
        Kind::Bool => json!(text == "true"),
        Kind::Count(..) => text.parse::<u64>().map_or(Value::Null, Value::from),
        Kind::List(_) => json!([text]),
        _ => json!(text),
    }
}

fn of_kind(kind: Kind) -> Value {
    let matching = |pattern: &str| json!({"type": "string", "pattern": pattern});
    match kind {
        Kind::Text | Kind::Path | Kind::Series | Kind::LogFilter => {
            json!({"type": "string", "minLength": 1})
        }
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Count(low, high) => json!({"type": "integer", "minimum": low, "maximum": high}),
        Kind::NodeId => json!({"type": "integer", "minimum": 0, "maximum": i32::MAX}),
        Kind::Duration(..) => matching("^([0-9]+(ms|s|m|h|d))+$"),
        Kind::Size(..) => matching("^([0-9]+(B|KiB|MiB|GiB))+$"),
        Kind::Word(words) => json!({"type": "string", "enum": words}),
        Kind::TrustedUrl => matching("^https?://"),
        Kind::Extensions => matching("^[A-Za-z]+=[^,]+(,[ ]*[A-Za-z]+=[^,]+)*$"),
        Kind::UrlPath => matching("^/\\S*$"),
        Kind::Listen | Kind::HostPort => matching(":[0-9]{1,5}$"),
        Kind::JmxUrl => matching("^\\S+$"),
        Kind::JmxTemplate => matching("\\{(host|port|id)"),
        Kind::List(of) => {
            json!({"anyOf": [
                {"type": "array", "items": of_kind(*of), "uniqueItems": true},
                {"type": "string", "minLength": 1},
            ]})
        }
    }
}
