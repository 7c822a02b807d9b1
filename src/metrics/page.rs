//! Writing families and samples: the gate label, whole numbers, and nothing that is no number.

use std::collections::BTreeSet;
use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;

use crate::checks::reason::{Reason, Severity};
use crate::gate::parts::ReasonView;
use crate::gate::view::Answer;

/// One gate as of this scrape.
pub(super) struct Gate<'a> {
    pub(super) name: &'a str,
    pub(super) answer: Answer<'a>,
    pub(super) reasons: Vec<ReasonView>,
}

impl Gate<'_> {
    fn codes(&self, wanted: impl Fn(Severity) -> bool) -> BTreeSet<Reason> {
        self.reasons
            .iter()
            .filter(|reason| wanted(reason.severity))
            .map(|reason| reason.reason)
            .collect()
    }

    /// The distinct reasons that keep the gate from being open.
    pub(super) fn against(&self) -> BTreeSet<Reason> {
        self.codes(|severity| severity != Severity::Warn)
    }

    pub(super) fn warnings(&self) -> BTreeSet<Reason> {
        self.codes(|severity| severity == Severity::Warn)
    }
}

/// The page while it is being written.
pub(super) struct Page<'e, 'a> {
    pub(super) encoder: DescriptorEncoder<'e>,
    pub(super) gates: Vec<Gate<'a>>,
}

/// A sample's value: whole numbers stay whole on the page.
#[derive(Clone, Copy)]
pub(super) enum Value {
    Whole(u64),
    Signed(i64),
    Real(f64),
}

impl From<bool> for Value {
    fn from(yes: bool) -> Self {
        Self::Whole(u64::from(yes))
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Whole(u64::try_from(number).unwrap_or(u64::MAX))
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Signed(number)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

/// One family, and the gate whose samples are being written; no gate for the process's own.
pub(super) struct Family<'m, 'g> {
    metric: MetricEncoder<'m>,
    kind: MetricType,
    gate: Option<&'g str>,
}

impl Family<'_, '_> {
    /// Writes one sample. A number that is none (NaN, infinite) is not written.
    pub(super) fn put(&mut self, more: &[(&str, &str)], value: impl Into<Value>) -> fmt::Result {
        let value = value.into();
        if matches!(value, Value::Real(number) if !number.is_finite()) {
            return Ok(());
        }
        let gate = self.gate.map(|name| ("gate", name));
        let labels: Vec<(&str, &str)> = gate.into_iter().chain(more.iter().copied()).collect();
        if labels.is_empty() {
            return write(&mut self.metric, self.kind, value);
        }
        write(&mut self.metric.encode_family(&labels)?, self.kind, value)
    }
}

fn write(metric: &mut MetricEncoder<'_>, kind: MetricType, value: Value) -> fmt::Result {
    let counter = matches!(kind, MetricType::Counter);
    match value {
        Value::Whole(n) if counter => metric.encode_counter::<[(&str, &str); 0], _, u64>(&n, None),
        Value::Real(n) if counter => metric.encode_counter::<[(&str, &str); 0], _, f64>(&n, None),
        Value::Whole(n) => metric.encode_gauge(&n),
        Value::Signed(n) => metric.encode_gauge(&n),
        Value::Real(n) => metric.encode_gauge(&n),
    }
}

impl<'a> Page<'_, 'a> {
    /// One family over all gates.
    pub(super) fn family(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        mut samples: impl FnMut(&Gate<'a>, &mut Family<'_, 'a>) -> fmt::Result,
    ) -> fmt::Result {
        let metric = self.encoder.encode_descriptor(name, help, None, kind)?;
        let mut family = Family {
            metric,
            kind,
            gate: None,
        };
        for gate in &self.gates {
            family.gate = Some(gate.name);
            samples(gate, &mut family)?;
        }
        Ok(())
    }

    pub(super) fn gauges(
        &mut self,
        name: &str,
        help: &str,
        samples: impl FnMut(&Gate<'a>, &mut Family<'_, 'a>) -> fmt::Result,
    ) -> fmt::Result {
        self.family(name, help, MetricType::Gauge, samples)
    }

    /// One gauge per gate; no series where there is no value.
    pub(super) fn gauge<V: Into<Value>>(
        &mut self,
        name: &str,
        help: &str,
        value: impl Fn(&Gate<'a>) -> Option<V>,
    ) -> fmt::Result {
        self.gauges(name, help, |gate, family| match value(gate) {
            Some(value) => family.put(&[], value),
            None => Ok(()),
        })
    }

    /// One family of the process.
    pub(super) fn process_family(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        samples: impl FnOnce(&mut Family<'_, 'a>) -> fmt::Result,
    ) -> fmt::Result {
        let metric = self.encoder.encode_descriptor(name, help, None, kind)?;
        samples(&mut Family {
            metric,
            kind,
            gate: None,
        })
    }

    /// One number of the process.
    pub(super) fn single(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        labels: &[(&str, &str)],
        value: Option<Value>,
    ) -> fmt::Result {
        let Some(value) = value else { return Ok(()) };
        self.process_family(name, help, kind, |family| family.put(labels, value))
    }
}
