//! What the server bounds: how much of it is taken, and what callers were refused.

use std::fmt;
use std::sync::atomic::Ordering;

use prometheus_client::metrics::MetricType;

use super::counters::{HttpCounters, Refused};
use super::page::{Page, Value};

impl Page<'_, '_> {
    pub(super) fn http(&mut self, http: &HttpCounters) -> fmt::Result {
        let (gauge, counter) = (MetricType::Gauge, MetricType::Counter);
        for (name, help, kind, number) in [
            (
                "upgrade_gate_http_connections",
                "Open HTTP connections.",
                gauge,
                &http.connections,
            ),
            (
                "upgrade_gate_http_connections_limit",
                "How many HTTP connections may be open at once.",
                gauge,
                &http.connections_limit,
            ),
            (
                "upgrade_gate_http_connections_refused",
                "Connections told 503 because the limit was reached.",
                counter,
                &http.connections_refused,
            ),
            (
                "upgrade_gate_http_waiters",
                "Requests that wait for a gate to open.",
                gauge,
                &http.waiters,
            ),
            (
                "upgrade_gate_http_waiters_limit",
                "How many requests may wait at once.",
                gauge,
                &http.waiters_limit,
            ),
            (
                "upgrade_gate_http_waiters_refused",
                "Requests answered at once instead of waiting because the limit was reached.",
                counter,
                &http.waiters_refused,
            ),
        ] {
            let value = Value::from(number.load(Ordering::Relaxed));
            self.single(name, help, kind, &[], Some(value))?;
        }
        self.process_family(
            "upgrade_gate_http_refused",
            "Connections and requests refused or ended, by the limit or right that they met.",
            counter,
            |family| {
                Refused::ALL
                    .into_iter()
                    .try_for_each(|why| family.put(&[("by", why.as_str())], http.refusals(why)))
            },
        )?;
        self.single(
            "upgrade_gate_web_files_usable",
            "Whether certificates, users and tokens could be used when they were read last.",
            gauge,
            &[],
            Some(Value::from(http.files_usable())),
        )
    }
}
