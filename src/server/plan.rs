//! `plan`: what each node and each machine may do.

use std::collections::{BTreeMap, BTreeSet};

use super::app::App;
use super::body::{HostBody, PlanBody};
use super::check::nothing_known;
use super::query::{CheckQuery, Targets};
use super::reply::Content;
use super::verdict::Verdict;
use crate::checks::finding::Subject;
use crate::checks::reason::Reason;
use crate::engine::handle::GateHandle;
use crate::evidence::ids::NodeId;
use crate::time::Now;

impl App {
    /// The plan as of now. Nodes are in the published view; machines with several nodes go to the
    /// engine, since the view judges each node alone.
    pub(super) async fn plan(&self, gate: &GateHandle, now: Now) -> Content {
        let mut verdicts = BTreeMap::new();
        for (host, nodes) in gate.hosts() {
            let verdict = self.on_host(gate, nodes, now).await;
            verdicts.insert(host.as_str(), verdict);
        }
        let now = self.state.clock.now();
        let view = gate.published().load();
        let answer = view.at(now.mono);
        // What speaks against everybody is in the verdict already.
        let general: BTreeSet<(Reason, Subject)> = answer
            .reasons()
            .into_iter()
            .map(|view| (view.reason, view.subject))
            .collect();
        let hosts = verdicts.into_iter().map(|(host, mut verdict)| {
            let known =
                |reason: Reason, subject: &Subject| general.contains(&(reason, subject.clone()));
            verdict
                .reasons
                .retain(|view| !known(view.reason, &view.subject));
            (host.to_owned(), HostBody::new(&verdict, now))
        });
        let body = PlanBody::new(answer, hosts.collect(), now);
        Content::json(&body).with_verdict(&Verdict::of_view(answer))
    }

    async fn on_host(&self, gate: &GateHandle, nodes: &BTreeSet<NodeId>, now: Now) -> Verdict {
        let query = CheckQuery {
            targets: Targets {
                nodes: nodes.clone(),
                hosts: BTreeSet::new(),
            },
            ..CheckQuery::default()
        };
        self.ask(gate, &query, now.mono)
            .await
            .unwrap_or_else(|refused| {
                // The configuration names a node on it that the cluster does not have.
                let decision = nothing_known(Reason::EvidenceIncomplete, refused.detail, now);
                Verdict::alone(gate.name().clone(), nodes.clone(), decision, now)
            })
    }
}
