//! What the gate says of a node on its way back, looked at all the while.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::http;
use crate::spec::NodeId;

/// How often it is looked at.
const PACE: Duration = Duration::from_millis(250);
const ANSWER: Duration = Duration::from_secs(5);

/// What was said meanwhile.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Said {
    /// What was waited for, in the order in which it was said first; numbers left out.
    pub(super) progress: Vec<String>,
    /// Codes of warnings.
    pub(super) warned: BTreeSet<String>,
}

/// Looks at a node's lease until it is asked what was said.
pub(super) struct Returning {
    said: Arc<Mutex<Said>>,
    task: JoinHandle<()>,
}

impl Returning {
    /// Begins to look.
    pub(super) fn watch(port: u16, node: NodeId) -> Self {
        let said = Arc::new(Mutex::new(Said::default()));
        let taken = Arc::clone(&said);
        let task = tokio::spawn(async move {
            loop {
                if let Some(document) = document(port).await {
                    let mut said = taken.lock().unwrap_or_else(PoisonError::into_inner);
                    said.take(&document, node);
                }
                sleep(PACE).await;
            }
        });
        Self { said, task }
    }

    /// What was said by now; nobody looks any more.
    pub(super) fn said(self) -> Said {
        self.task.abort();
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.clone()
    }
}

async fn document(port: u16) -> Option<Value> {
    let path = "/api/v1/gates/default";
    let body = http::get(port, path, "application/json", ANSWER).await;
    serde_json::from_slice(&body.ok()?).ok()
}

impl Said {
    fn take(&mut self, document: &Value, node: NodeId) {
        let list = |name: &str| document[name].as_array().into_iter().flatten();
        let own = list("leases").find(|lease| lease["nodes"] == json!([node]));
        if let Some(progress) = own.and_then(|lease| lease["progress"].as_str()) {
            let words = progress.split(' ');
            let words = words.map(|word| {
                if word.contains(|c: char| c.is_ascii_digit()) {
                    "N"
                } else {
                    word
                }
            });
            let words = words.collect::<Vec<_>>().join(" ");
            if !self.progress.contains(&words) {
                self.progress.push(words);
            }
        }
        let warnings = list("reasons").filter(|reason| reason["severity"] == "warn");
        let codes = warnings.filter_map(|reason| reason["code"].as_str().map(str::to_owned));
        self.warned.extend(codes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_kept_once_and_without_numbers() {
        let of = |progress: &str| {
            json!({
                "leases": [{"nodes": [2], "progress": "still up"}, {"nodes": [1], "progress": progress}],
                "reasons": [{"code": "slot_taken", "severity": "block"},
                    {"code": "registration_stalled", "severity": "warn"}],
            })
        };
        let mut said = Said::default();
        for progress in [
            "down: 1",
            "3 of its replicas are out of sync",
            "1 of its replicas are out of sync",
        ] {
            said.take(&of(progress), 1);
        }
        assert_eq!(
            said.progress,
            ["down: N", "N of its replicas are out of sync"]
        );
        assert_eq!(
            said.warned,
            BTreeSet::from([String::from("registration_stalled")])
        );
    }
}
