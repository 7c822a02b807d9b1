//! `plan`: what each node and each machine may do.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::app::App;
use super::body::{HostBody, PlanBody};
use super::check::{nothing_known, of_engine};
use super::reply::Content;
use super::verdict::Verdict;
use crate::checks::finding::Subject;
use crate::checks::reason::Reason;
use crate::engine::handle::{AskError, GateHandle};
use crate::evidence::ids::NodeId;
use crate::gate::question::Answered;

impl App {
    /// The plan as of now. Nodes are in the published view; machines with several nodes go to the
    /// engine, all of them in one question, since the view judges each node alone.
    pub(super) async fn plan(&self, gate: &GateHandle, peer: IpAddr) -> Content {
        let verdicts = self.on_hosts(gate, peer).await;
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

    /// The verdict on "all nodes of this machine stop now", for every machine.
    async fn on_hosts<'g>(&self, gate: &'g GateHandle, peer: IpAddr) -> BTreeMap<&'g str, Verdict> {
        let hosts = gate.hosts();
        if hosts.is_empty() {
            return BTreeMap::new();
        }
        let sets = hosts.values().cloned().collect();
        let within = self.limits.decide;
        let decide = |room| gate.decide_each(sets, within, room);
        let answered = self.heard(gate.name(), peer, decide).await;
        let now = self.state.clock.now();
        let view = gate.published().load();
        let answers: Vec<Result<Answered, AskError>> = match answered {
            Ok(answers) => answers.into_iter().map(Ok).collect(),
            Err(why) => hosts.iter().map(|_| Err(why)).collect(),
        };
        let verdict = |((host, nodes), answered): ((&'g String, &BTreeSet<NodeId>), _)| {
            let read = of_engine(view.at(now.mono), nodes, answered, now);
            let verdict = read.unwrap_or_else(|refused| {
                // The configuration names a node on it that the cluster does not have.
                let decision = nothing_known(Reason::EvidenceIncomplete, refused.detail, now);
                Verdict::alone(gate.name().clone(), nodes.clone(), decision, now)
            });
            (host.as_str(), verdict)
        };
        hosts.iter().zip(answers).map(verdict).collect()
    }
}
