//! How the exporter writes values down: names by family, labels, Java's doubles
//! (kafka-jmx-metrics.md, sections 2.1 to 2.4).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;

use crate::model::{Family, NodeId};

/// Domain and type of an MBean.
type Bean = (&'static str, &'static str);

/// A page under construction: lines by family name, so that families stay together.
pub(super) struct Lines {
    family: Family,
    standalone: bool,
    kinds: BTreeMap<String, (&'static str, String)>,
}

impl Lines {
    pub(super) fn new(family: Family) -> Self {
        Self {
            family,
            standalone: false,
            kinds: BTreeMap::new(),
        }
    }

    /// What the exporter says of itself and of the JVM it runs in; `heard` is whether the JVM
    /// that it reads answered.
    pub(super) fn exporter(&mut self, started_ms: i64, up_ms: u64, standalone: bool, heard: bool) {
        let started = started_ms as f64 / 1_000.0;
        self.put("process_start_time_seconds", "gauge", &[], started);
        let cpu = up_ms as f64 / 20_000.0;
        self.put("process_cpu_seconds_total", "counter", &[], cpu);
        self.put("jvm_threads_current", "gauge", &[], 96.0);
        let heap = [("area", "heap")];
        self.put("jvm_memory_used_bytes", "gauge", &heap, 187_432_960.0);
        let error = f64::from(u8::from(!heard));
        self.put("jmx_scrape_error", "gauge", &[], error);
        self.put("jmx_scrape_duration_seconds", "gauge", &[], 0.007);
        let name = if standalone {
            "jmx_prometheus_standalone"
        } else {
            "jmx_prometheus_javaagent"
        };
        let info = [("name", name), ("version", "1.0.1")];
        self.put("jmx_exporter_build_info", "gauge", &info, 1.0);
        self.standalone = standalone;
    }

    /// `java.lang:type=Runtime`, which a standalone exporter reads like any other bean; the
    /// agents here are configured without it.
    pub(super) fn jvm_start(&mut self, started_ms: i64) {
        if !self.standalone {
            return;
        }
        let value = started_ms as f64;
        match self.family {
            Family::Default => self.put("java_lang_Runtime_StartTime", "untyped", &[], value),
            Family::Flat => self.put("java_lang_runtime_starttime", "gauge", &[], value),
        }
    }

    /// A gauge with the attribute `Value`.
    pub(super) fn gauge(&mut self, bean: Bean, name: &str, labels: &[(&str, &str)], value: f64) {
        match self.family {
            Family::Default => {
                let mut labels = labels.to_vec();
                labels.push(("name", name));
                self.put(
                    &format!("{}_Value", mangled(bean)),
                    "untyped",
                    &labels,
                    value,
                );
            }
            Family::Flat => {
                let metric = format!("{}_{name}", mangled(bean)).to_lowercase();
                self.put_lower(&metric, "gauge", labels, value);
            }
        }
    }

    /// A meter: its cumulative count, and rates that nothing should be decided by.
    pub(super) fn meter(&mut self, bean: Bean, name: &str, value: f64) {
        match self.family {
            Family::Default => {
                let labels = [("name", name)];
                let base = mangled(bean);
                self.put(&format!("{base}_Count"), "untyped", &labels, value);
                self.put(&format!("{base}_OneMinuteRate"), "untyped", &labels, 0.0);
            }
            Family::Flat => {
                let name = name.trim_end_matches("PerSec");
                let metric = format!("{}_{name}_total", mangled(bean)).to_lowercase();
                self.put(&metric, "counter", &[], value);
            }
        }
    }

    /// A meter of which only the one-minute rate means something; its count is nanoseconds.
    pub(super) fn percent(&mut self, bean: Bean, name: &str, value: f64) {
        match self.family {
            Family::Default => {
                let labels = [("name", name)];
                let base = mangled(bean);
                self.put(&format!("{base}_Count"), "untyped", &labels, 6.0e10);
                self.put(&format!("{base}_OneMinuteRate"), "untyped", &labels, value);
            }
            Family::Flat => {
                let name = name.trim_end_matches("Percent");
                let metric = format!("{}_{name}_percent", mangled(bean)).to_lowercase();
                self.put(&metric, "gauge", &[], value);
            }
        }
    }

    /// An attribute of Kafka's own metrics: lower-case, dashed, the same in both families.
    pub(super) fn plain(&mut self, domain: &str, kind: &str, attribute: &str, value: f64) {
        let name = format!("{domain}_{kind}_{attribute}").replace(['.', '-'], "_");
        let typed = match self.family {
            Family::Default => "untyped",
            Family::Flat => "gauge",
        };
        self.put(&name, typed, &[], value);
    }

    /// `current-state` is a string: without a rule for it, it is dropped silently.
    pub(super) fn raft_state(&mut self, state: &str) {
        match self.family {
            Family::Default => {}
            Family::Flat => {
                let name = "kafka_server_raft_metrics_current_state";
                self.put(name, "gauge", &[("state", state)], 1.0);
            }
        }
    }

    pub(super) fn app_info(&mut self, id: NodeId, started_ms: i64) {
        let value = started_ms as f64;
        match self.family {
            Family::Default => {
                let id = id.to_string();
                self.put(
                    "kafka_server_app_info_StartTimeMs",
                    "untyped",
                    &[("id", &id)],
                    value,
                );
                self.put("kafka_server_app_info_start_time_ms", "untyped", &[], value);
            }
            Family::Flat => {
                self.put("kafka_server_app_info_start_time_ms", "gauge", &[], value);
            }
        }
    }

    fn put_lower(&mut self, name: &str, kind: &'static str, labels: &[(&str, &str)], value: f64) {
        let lower: Vec<(String, &str)> = labels
            .iter()
            .map(|(label, value)| (label.to_lowercase(), *value))
            .collect();
        let labels: Vec<(&str, &str)> = lower.iter().map(|(l, v)| (l.as_str(), *v)).collect();
        self.put(name, kind, &labels, value);
    }

    fn put(&mut self, name: &str, kind: &'static str, labels: &[(&str, &str)], value: f64) {
        // The exporter sorts labels from 1.0 on.
        let mut labels = labels.to_vec();
        labels.sort_unstable();
        // A name that is there is not made anew: pages are most of what a simulation writes.
        if !self.kinds.contains_key(name) {
            self.kinds.insert(name.to_owned(), (kind, String::new()));
        }
        let Some((_, lines)) = self.kinds.get_mut(name) else {
            return;
        };
        lines.push_str(name);
        for (place, (label, value)) in labels.iter().enumerate() {
            lines.push(if place == 0 { '{' } else { ',' });
            lines.push_str(label);
            lines.push_str("=\"");
            lines.push_str(&escaped(value));
            lines.push('"');
        }
        lines.push_str(if labels.is_empty() { " " } else { "} " });
        lines.push_str(&java_double(value));
        lines.push('\n');
    }

    pub(super) fn text(self) -> String {
        let mut text = String::new();
        for (name, (kind, lines)) in self.kinds {
            // Writing into a String cannot fail.
            let _ = writeln!(text, "# HELP {name} Attribute exposed for management");
            let _ = writeln!(text, "# TYPE {name} {kind}");
            text.push_str(&lines);
        }
        text
    }
}

fn mangled(bean: Bean) -> String {
    format!("{}_{}", bean.0, bean.1).replace(['.', '-'], "_")
}

fn escaped(value: &str) -> Cow<'_, str> {
    if !value.contains(['\\', '"', '\n']) {
        return value.into();
    }
    let escaped = value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    escaped.into()
}

/// `Double.toString`: a point always, an exponent from ten million on.
fn java_double(value: f64) -> String {
    if value.abs() < 1e7 {
        return format!("{value:?}");
    }
    let text = format!("{value:E}");
    match text.split_once('E') {
        Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
        Some(_) | None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::java_double;

    #[test]
    fn doubles_look_like_javas() {
        assert_eq!(java_double(0.0), "0.0");
        assert_eq!(java_double(-1.0), "-1.0");
        assert_eq!(java_double(1e7), "1.0E7");
        assert_eq!(java_double(1.795_235_513_332e9), "1.795235513332E9");
    }
}
