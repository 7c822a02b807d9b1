//! The one collector: every family of the page, read from the views at the scrape.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

use super::counters::Counters;
use super::page::{Family, Gate, Page, Value};
use super::process::Usage;
use super::untaken::{Kind, PLACES};
use super::{BuildInfo, Gates};
use crate::checks::reason::Reason;
use crate::clock::Clock;
use crate::evidence::report::Cap;
use crate::gate::lease::Stage;
use crate::gate::parts::{FactsView, NodeView};
use crate::gate::state::State;
use crate::time::Timestamp;

/// Reads the views when a scrape comes.
#[derive(Debug)]
pub(super) struct Views {
    pub(super) gates: Gates,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) counters: Arc<Counters>,
    pub(super) build: BuildInfo,
    pub(super) started: Timestamp,
}

impl Collector for Views {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let gates = self.gates.load();
        let views: Vec<_> = gates.values().map(|g| g.published().load()).collect();
        let now = self.clock.now().mono;
        let gates = views
            .iter()
            .map(|view| {
                let answer = view.at(now);
                Gate {
                    name: view.gate().as_str(),
                    answer,
                    reasons: answer.reasons(),
                }
            })
            .collect();
        let mut page = Page { encoder, gates };
        page.verdict()?;
        page.counted(&self.counters)?;
        page.sources()?;
        page.nodes()?;
        page.leases()?;
        page.facts()?;
        self.whole_process(&mut page)
    }
}

impl Page<'_, '_> {
    fn verdict(&mut self) -> fmt::Result {
        self.gauge(
            "upgrade_gate_open",
            "Whether the next node may be stopped: 1 only when this is proven now.",
            |gate| Some(gate.answer.state() == State::Open),
        )?;
        self.gauges(
            "upgrade_gate_state",
            "The verdict; exactly one state is 1.",
            |gate, family| {
                State::ALL.into_iter().try_for_each(|state| {
                    let is = gate.answer.state() == state;
                    family.put(&[("state", state.as_str())], is)
                })
            },
        )?;
        self.gauges(
            "upgrade_gate_reason",
            "Which reasons keep the gate from being open; every code there is, 0 or 1.",
            |gate, family| dense(family, &gate.against()),
        )?;
        self.gauges(
            "upgrade_gate_warning",
            "Which reasons are given only as warnings; every code there is, 0 or 1.",
            |gate, family| dense(family, &gate.warnings()),
        )?;
        self.gauge(
            "upgrade_gate_blocking_reasons",
            "How many different reasons keep the gate from being open.",
            |gate| Some(gate.against().len()),
        )?;
        self.gauge(
            "upgrade_gate_last_evaluation_timestamp_seconds",
            "When the newest judgement was made.",
            |gate| Some(seconds(gate.answer.evaluated().wall)),
        )?;
        self.gauge(
            "upgrade_gate_last_transition_timestamp_seconds",
            "When the verdict last changed.",
            |gate| Some(seconds(gate.answer.since())),
        )?;
        self.gauge(
            "upgrade_gate_window_required_seconds",
            "How long the cluster has to be healthy before the gate opens.",
            |gate| {
                let parts = gate.answer.parts()?;
                Some(parts.window.required.as_secs_f64())
            },
        )?;
        self.gauge(
            "upgrade_gate_window_healthy_seconds",
            "For how long it has been healthy; no series while something is wrong.",
            |gate| Some(gate.answer.parts()?.window.healthy_for?.as_secs_f64()),
        )
    }

    fn counted(&mut self, counters: &Counters) -> fmt::Result {
        self.family(
            "upgrade_gate_transitions",
            "How often each state was entered since the process began.",
            MetricType::Counter,
            |gate, family| {
                let transitions = &gate.answer.last_known().transitions;
                State::ALL.into_iter().try_for_each(|state| {
                    let count = transitions.get(&state).copied().unwrap_or(0);
                    family.put(&[("to", state.as_str())], count)
                })
            },
        )?;
        self.family(
            "upgrade_gate_decisions",
            "Answers of check and enter given to callers.",
            MetricType::Counter,
            |gate, family| {
                let decisions = counters.decisions(&gate.answer.last_known().gate);
                State::ALL.into_iter().try_for_each(|state| {
                    family.put(&[("state", state.as_str())], decisions.of(state))
                })
            },
        )?;
        self.family(
            "upgrade_gate_answers_not_taken",
            "Answers of nodes that were larger than is read, malformed, ended early, or late.",
            MetricType::Counter,
            |gate, family| {
                let name = &gate.answer.last_known().gate;
                PLACES.into_iter().try_for_each(|(from, why)| {
                    let count = counters.untaken.of(name, Kind::From(from, why));
                    family.put(&[("from", from), ("because", why)], count)
                })
            },
        )?;
        self.family(
            "upgrade_gate_answers_over_limit",
            "Answers of nodes that were larger than is read, by what bounds them.",
            MetricType::Counter,
            |gate, family| {
                let name = &gate.answer.last_known().gate;
                Cap::ALL.into_iter().try_for_each(|cap| {
                    let count = counters.untaken.of(name, Kind::Over(cap));
                    family.put(&[("limit", cap.as_str())], count)
                })
            },
        )?;
        self.gauge(
            "upgrade_gate_evaluation_duration_seconds",
            "How long the newest judgement took.",
            |gate| {
                let took = counters.evaluation(&gate.answer.last_known().gate)?;
                Some(took.as_secs_f64())
            },
        )
    }

    fn sources(&mut self) -> fmt::Result {
        self.gauges(
            "upgrade_gate_source_up",
            "Whether every fact a source was asked for is in date.",
            |gate, family| {
                let sources = gate.answer.parts().map(|parts| &parts.sources);
                sources.into_iter().flatten().try_for_each(|source| {
                    family.put(&[("source", &source.source.to_string())], source.up)
                })
            },
        )?;
        self.gauges(
            "upgrade_gate_source_last_success_timestamp_seconds",
            "When a source last answered anything; no series before it did.",
            |gate, family| {
                let sources = &gate.answer.last_known().sources;
                sources.iter().try_for_each(|source| {
                    source.last_success.map_or(Ok(()), |at| {
                        let name = source.source.to_string();
                        family.put(&[("source", &name)], seconds(at))
                    })
                })
            },
        )
    }

    fn nodes(&mut self) -> fmt::Result {
        self.gauges(
            "upgrade_gate_node_info",
            "Every expected node, with its role and the release last seen.",
            |gate, family| {
                let nodes = &gate.answer.last_known().nodes;
                nodes.iter().try_for_each(|node| {
                    let labels = [
                        ("node", &*node.node.to_string()),
                        ("role", node.role.as_str()),
                        ("release", &*node.release.to_string()),
                    ];
                    family.put(&labels, true)
                })
            },
        )?;
        self.gauges(
            "upgrade_gate_node_may_stop",
            "Whether this node may be stopped: 1 only when this is proven now.",
            |gate, family| {
                let nodes = &gate.answer.last_known().nodes;
                nodes.iter().try_for_each(|node| {
                    let verdict = gate.answer.node(node.node);
                    let may = verdict.is_some_and(|verdict| verdict.state == State::Open);
                    family.put(&[("node", &node.node.to_string())], may)
                })
            },
        )?;
        self.per_node(
            "upgrade_gate_node_down",
            "Whether this node counts as down.",
            |node| node.down.into(),
        )?;
        self.per_node(
            "upgrade_gate_node_active_controller",
            "Whether this node is the active controller.",
            |node| node.active_controller.into(),
        )?;
        self.per_node(
            "upgrade_gate_node_leaders",
            "Partitions this node leads.",
            |node| node.leads.into(),
        )?;
        self.per_node(
            "upgrade_gate_node_replicas",
            "Replicas this node holds.",
            |node| node.replicas.into(),
        )
    }

    /// Leases and holds outlive a judgement, so these are shown as last known.
    fn leases(&mut self) -> fmt::Result {
        self.gauges(
            "upgrade_gate_leases",
            "Slots that are taken, by stage; every stage there is.",
            |gate, family| {
                let leases = &gate.answer.last_known().leases;
                Stage::ALL.into_iter().try_for_each(|stage| {
                    let count = leases.iter().filter(|view| view.lease.stage == stage);
                    family.put(&[("stage", stage.as_str())], count.count())
                })
            },
        )?;
        self.gauges(
            "upgrade_gate_lease_expires_timestamp_seconds",
            "When the lease on this node ends; no series where it has none, or nobody's.",
            |gate, family| {
                let leases = gate.answer.last_known().leases.iter();
                let owned = leases.filter(|view| view.lease.owner.is_some());
                let nodes = owned.flat_map(|view| {
                    let nodes = view.lease.nodes.iter();
                    nodes.map(|node| (*node, view.lease.expires_at))
                });
                // Once each, whatever two leases may say.
                let nodes: BTreeMap<_, _> = nodes.collect();
                nodes.into_iter().try_for_each(|(node, expires)| {
                    family.put(&[("node", &node.to_string())], seconds(expires))
                })
            },
        )?;
        self.gauge(
            "upgrade_gate_hold",
            "Whether the gate is held by hand.",
            |gate| Some(gate.answer.last_known().hold.is_some()),
        )?;
        self.gauges(
            "upgrade_gate_node_hold",
            "Whether this node is held by hand.",
            |gate, family| {
                let last = gate.answer.last_known();
                last.nodes.iter().try_for_each(|node| {
                    let held = last.node_holds.contains_key(&node.node);
                    family.put(&[("node", &node.node.to_string())], held)
                })
            },
        )
    }

    /// One gauge per expected node, while the view is true.
    fn per_node(
        &mut self,
        name: &str,
        help: &str,
        value: impl Fn(&NodeView) -> Value,
    ) -> fmt::Result {
        self.gauges(name, help, |gate, family| {
            let nodes = gate.answer.parts().map(|parts| &parts.nodes);
            nodes
                .into_iter()
                .flatten()
                .try_for_each(|node| family.put(&[("node", &node.node.to_string())], value(node)))
        })
    }

    fn facts(&mut self) -> fmt::Result {
        for (name, help, fact) in FACTS {
            self.gauge(name, help, |gate| fact(&gate.answer.parts()?.facts))?;
        }
        self.gauge(
            "upgrade_gate_metadata_version_level",
            "The finalized level of metadata.version.",
            |gate| gate.answer.parts()?.cluster.metadata_version.map(i64::from),
        )?;
        self.gauges(
            "upgrade_gate_group_lag",
            "Records a named group is behind, over all partitions with a commit.",
            |gate, family| {
                let groups = gate.answer.parts().map(|parts| &parts.groups);
                groups.into_iter().flatten().try_for_each(|group| {
                    let labels = [("group", group.group.0.as_str())];
                    group.lag.map_or(Ok(()), |lag| family.put(&labels, lag))
                })
            },
        )
    }
}

/// A wall time for Prometheus, which keeps milliseconds.
#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds since 1970 fit into 53 bits"
)]
fn seconds(at: Timestamp) -> f64 {
    (at.as_nanos() / 1_000_000) as f64 / 1000.0
}

/// Every code of the closed list, 1 where it is given.
fn dense(family: &mut Family<'_, '_>, given: &BTreeSet<Reason>) -> fmt::Result {
    Reason::ALL
        .iter()
        .try_for_each(|reason| family.put(&[("reason", reason.code())], given.contains(reason)))
}

type Fact = (&'static str, &'static str, fn(&FactsView) -> Option<Value>);

/// The facts that feed the dashboard, so that one scrape is enough.
const FACTS: [Fact; 8] = [
    (
        "upgrade_gate_partitions",
        "Partitions of the cluster, by metadata.",
        |facts| facts.partitions.map(Value::from),
    ),
    (
        "upgrade_gate_under_replicated_partitions",
        "Partitions with a short ISR, by metadata.",
        |facts| facts.under_replicated.map(Value::from),
    ),
    (
        "upgrade_gate_under_min_isr_partitions",
        "Partitions with an ISR below min.insync.replicas, by metadata.",
        |facts| facts.under_min_isr.map(Value::from),
    ),
    (
        "upgrade_gate_offline_partitions",
        "Partitions without a leader, by metadata.",
        |facts| facts.offline.map(Value::from),
    ),
    (
        "upgrade_gate_reassigning_partitions",
        "Partitions being reassigned.",
        |facts| facts.reassigning.map(Value::from),
    ),
    (
        "upgrade_gate_jmx_under_replicated_partitions",
        "UnderReplicatedPartitions summed over brokers, when every broker says it.",
        |facts| facts.jmx_under_replicated.map(Value::from),
    ),
    (
        "upgrade_gate_jmx_active_controllers",
        "ActiveControllerCount summed over controllers, when every controller says it.",
        |facts| facts.jmx_active_controllers.map(Value::from),
    ),
    (
        "upgrade_gate_jmx_offline_partitions",
        "The largest OfflinePartitionsCount of the controllers that have loaded.",
        |facts| facts.jmx_offline.map(Value::from),
    ),
];

impl Views {
    fn whole_process(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let mut single = |name: &str, help: &str, kind, value: Option<Value>| {
            page.single(name, help, kind, &[], value)
        };
        let (gauge, counter) = (MetricType::Gauge, MetricType::Counter);
        let reload = &self.counters.reload;
        single(
            "upgrade_gate_config_last_reload_successful",
            "Whether the newest attempt to load the configuration succeeded.",
            gauge,
            Some(reload.last_successful().into()),
        )?;
        single(
            "upgrade_gate_config_last_reload_success_timestamp_seconds",
            "When the configuration was last loaded.",
            gauge,
            reload.last_success().map(|at| seconds(at).into()),
        )?;
        page.http(&self.counters.http)?;
        let mut single = |name: &str, help: &str, kind, value: Option<Value>| {
            page.single(name, help, kind, &[], value)
        };
        let usage = Usage::read();
        single(
            "process_start_time_seconds",
            "When the process started.",
            gauge,
            Some(seconds(self.started).into()),
        )?;
        single(
            "process_cpu_seconds",
            "User and system CPU time spent.",
            counter,
            Some(usage.cpu_seconds.into()),
        )?;
        for (name, help, number) in [
            (
                "process_resident_memory_bytes",
                "Resident memory.",
                usage.resident_bytes,
            ),
            ("process_open_fds", "Open file descriptors.", usage.open_fds),
            (
                "process_max_fds",
                "How many file descriptors may be open.",
                usage.max_fds,
            ),
        ] {
            single(name, help, gauge, number.map(Value::from))?;
        }
        page.single(
            "upgrade_gate_build_info",
            "Which program this is; always 1.",
            MetricType::Gauge,
            &[
                ("version", self.build.version),
                ("revision", self.build.revision),
            ],
            Some(Value::Whole(1)),
        )
    }
}
