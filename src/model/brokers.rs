//! Brokers and the active controller: registration, heartbeats, fencing, controlled shutdown and
//! the leaders and ISRs that follow from them (KIP-631, `BrokerLifecycleManager`,
//! `BrokerHeartbeatManager`, `ReplicationControlManager`). The order of the steps of a start and of
//! a stop, and how long they take, are measured (kafka-lab.md, section 4; tests/fixtures/traces).

use super::controllers::{FROZEN_RETRY, LOAD_RETRY};
use super::elections::Rules;
use super::image::{Registration, fit};
use super::state::{BrokerPhase, Contact, ControllerPhase, Event, Millis, Process, Session};
use super::{Cluster, NodeId, Release};

impl Cluster {
    /// When the active controller last heard of `broker`: it sends a heartbeat every
    /// `broker.heartbeat.interval.ms`.
    pub(super) fn last_contact(&self, broker: NodeId) -> Option<Millis> {
        let session = self.sessions.get(&broker)?;
        Some(match session.contact {
            Contact::Lost { last } => last,
            Contact::Live { first } => {
                let interval = self.heartbeat_interval();
                let since = self.now.saturating_sub(first);
                if self.now < first {
                    first
                } else {
                    first + since / interval * interval
                }
            }
        })
    }

    fn can_heartbeat(&self, broker: NodeId) -> bool {
        let phase = self
            .nodes
            .get(&broker)
            .is_some_and(|node| match node.broker {
                BrokerPhase::Registered
                | BrokerPhase::CaughtUp
                | BrokerPhase::Running
                | BrokerPhase::Leaving => true,
                BrokerPhase::Off
                | BrokerPhase::Jvm
                | BrokerPhase::Starting
                | BrokerPhase::Closing => false,
            });
        if self.spec.zookeeper {
            let reaches = self.reaches_zookeeper(broker);
            let runs = self
                .nodes
                .get(&broker)
                .is_some_and(|n| n.alive() && !n.frozen);
            return phase && reaches && runs;
        }
        let controller = self.quorum.leader.filter(|leader| self.votes(*leader));
        phase && controller.is_some_and(|controller| self.linked(broker, controller))
    }

    /// Brings sessions in line with who can send heartbeats.
    pub(super) fn refresh_sessions(&mut self) {
        let brokers: Vec<NodeId> = self.sessions.keys().copied().collect();
        for broker in brokers {
            let alive = self.can_heartbeat(broker);
            let Some(session) = self.sessions.get(&broker).copied() else {
                continue;
            };
            match (session.contact, alive) {
                (Contact::Live { .. }, true) | (Contact::Lost { .. }, false) => {}
                (Contact::Live { .. }, false) => {
                    let last = self.last_contact(broker).unwrap_or(self.now).min(self.now);
                    self.set_contact(broker, Contact::Lost { last });
                }
                (Contact::Lost { .. }, true) => {
                    self.set_contact(broker, Contact::Live { first: self.now });
                    self.welcome_back(broker);
                }
            }
        }
    }

    pub(super) fn set_contact(&mut self, broker: NodeId, contact: Contact) {
        let generation = self
            .sessions
            .get(&broker)
            .map_or(0, |session| session.generation)
            + 1;
        self.sessions.insert(
            broker,
            Session {
                contact,
                generation,
            },
        );
        let registered = self.image.brokers.get(&broker).is_some_and(|r| !r.fenced);
        if let (Contact::Lost { last }, true) = (contact, registered) {
            let check = self.draw(self.spec.timing.fence_check);
            let at = last + self.session_timeout() + check;
            self.after(
                at.saturating_sub(self.now),
                Event::SessionExpiry { broker, generation },
            );
        }
    }

    /// A broker that was fenced while it ran (frozen, cut off) is unfenced at its next heartbeat
    /// that shows it caught up (`BrokerHeartbeatManager.calculateNextBrokerState`).
    fn welcome_back(&mut self, broker: NodeId) {
        let fenced = self.image.brokers.get(&broker).is_some_and(|r| r.fenced);
        let Some(node) = self.nodes.get(&broker) else {
            return;
        };
        if fenced && node.broker == BrokerPhase::Running {
            let run = node.run;
            let delay = self.draw(self.spec.timing.unfence);
            self.after(
                delay,
                Event::BrokerStep {
                    node: broker,
                    run,
                    to: BrokerPhase::Running,
                },
            );
        }
    }

    /// A controller that becomes active gives every unfenced broker a whole session
    /// (`ClusterControlManager.activate`).
    pub(super) fn begin_sessions(&mut self) {
        if self.spec.zookeeper {
            // They are ZooKeeper's, not the controller's.
            return;
        }
        let brokers = self
            .image
            .brokers
            .iter()
            .filter(|(_, registration)| !registration.fenced);
        let brokers: Vec<NodeId> = brokers.map(|(broker, _)| *broker).collect();
        for broker in brokers {
            self.set_contact(broker, Contact::Lost { last: self.now });
        }
    }

    pub(super) fn session_expired(&mut self, broker: NodeId, generation: u64) {
        let current = self
            .sessions
            .get(&broker)
            .is_some_and(|s| s.generation == generation);
        let fenced = self.image.brokers.get(&broker).is_none_or(|r| r.fenced);
        // Nobody is there who ends sessions; they are resumed.
        if !current || fenced || self.zookeeper_lost.is_some() {
            return;
        }
        if self.spec.zookeeper {
            self.lose_zookeeper_controller(broker);
        }
        if self.committing().is_none() {
            // Without an active controller nobody counts; the next one starts anew.
            self.after(LOAD_RETRY, Event::SessionExpiry { broker, generation });
            return;
        }
        self.fence(broker);
    }

    /// `ReplicationControlManager.handleBrokerFenced`: out of every ISR it is not the last member
    /// of (with ELR out of those too), and its partitions get other leaders or none. On ZooKeeper
    /// `KafkaController.onBrokerFailure`.
    pub(super) fn fence(&mut self, broker: NodeId) {
        let bump = self.bumps_epoch_on_shrink();
        self.commit(|image, cluster| {
            let Some(registration) = image.brokers.get_mut(&broker) else {
                return 0;
            };
            registration.fenced = true;
            registration.shutting_down = false;
            let rules = Rules::new(cluster, image, Some(broker));
            1 + Rules::remove(image, &rules, broker, u32::MAX, bump)
        });
    }

    /// The controller grants controlled shutdown: leaders move and ISRs shrink at once, also
    /// where the broker was the only replica (kafka-jmx-metrics.md, section 3.3;
    /// `ReplicationControlManager.handleBrokerInControlledShutdown`).
    fn begin_shutdown(&mut self, broker: NodeId) {
        let bump = self.bumps_epoch_on_shrink();
        self.commit(|image, cluster| {
            let Some(registration) = image.brokers.get_mut(&broker) else {
                return 0;
            };
            if registration.fenced {
                return 0;
            }
            registration.shutting_down = true;
            let mut rules = Rules::new(cluster, image, Some(broker));
            // There a last member leads until its session ends (kafka-jmx-metrics.md, section 3.3;
            // `KafkaController.doControlledShutdown`).
            rules.spares_last = cluster.spec.zookeeper;
            1 + Rules::remove(image, &rules, broker, u32::MAX, bump)
        });
    }

    /// `ReplicationControlManager.handleBrokerUnfenced`: leaderless partitions that may have it as
    /// leader get it; it comes into other ISRs only by fetching.
    fn unfence(&mut self, broker: NodeId) {
        self.commit(|image, cluster| {
            let Some(registration) = image.brokers.get_mut(&broker) else {
                return 0;
            };
            if !registration.fenced {
                return 0;
            }
            registration.fenced = false;
            registration.new = false;
            let rules = Rules::new(cluster, image, None);
            1 + rules.elect_leaders(image)
        });
    }

    /// `false` when the controller refuses: an older process of this id still has a session.
    /// Up to 3.9 only an unfenced registration counts (`BrokerHeartbeatManager.hasValidSession`),
    /// from 4.0 on a fenced one too (`BrokerHeartbeatTracker.hasValidSession`, KAFKA-17793), which
    /// makes quick restarts stall (DUPLICATE_BROKER_REGISTRATION, kafka-lab.md, section 4).
    fn register(&mut self, broker: NodeId) -> bool {
        let controller = self.committing().filter(|c| self.linked(broker, *c));
        if (controller.is_none() && !self.spec.zookeeper) || self.zookeeper_lost.is_some() {
            return false;
        }
        let release = controller
            .and_then(|id| self.nodes.get(&id))
            .map_or(self.spec.finalized, |n| n.release);
        let known = self.image.brokers.get(&broker).copied();
        let offline_dirs = self.offline_mask(broker);
        let recent = self
            .last_contact(broker)
            .is_some_and(|last| last + self.session_timeout() >= self.now);
        let counts = known.is_some_and(|r| !r.fenced || release >= Release::V4_0);
        if recent && counts {
            return false;
        }
        if self.spec.zookeeper {
            // The controller's node of an earlier process went with its session.
            self.lose_zookeeper_controller(broker);
        }
        if known.is_some_and(|registration| !registration.fenced) {
            self.fence(broker);
        }
        let epoch = self.metadata_end();
        let unclean = self.nodes.get(&broker).is_some_and(|node| node.unclean);
        self.commit(|image, cluster| {
            let registration = Registration {
                fenced: true,
                new: known.is_none_or(|before| before.new),
                shutting_down: false,
                epoch,
                offline_dirs,
            };
            image.brokers.insert(broker, registration);
            let forgotten = if unclean {
                Rules::forget_unclean(image, cluster, broker)
            } else {
                0
            };
            1 + forgotten
        });
        true
    }

    /// Moves a broker one step on in its start or stop.
    pub(super) fn broker_step(&mut self, id: NodeId, run: u64, to: BrokerPhase) {
        let timing = self.spec.timing.clone();
        let Some(node) = self.nodes.get(&id).filter(|node| node.run == run) else {
            return;
        };
        let again = Event::BrokerStep { node: id, run, to };
        if node.frozen {
            self.after(FROZEN_RETRY, again);
            return;
        }
        let stopping = matches!(node.process, Process::Stopping { .. });
        if node.process != Process::Alive && !stopping {
            return;
        }
        let next = match to {
            BrokerPhase::Starting if !stopping => {
                let recovery = if self.spec.zookeeper {
                    self.begin_recovery(id)
                } else {
                    0
                };
                // It opens its logs before it registers.
                let opening = self.draw(timing.register) * self.slowness(id);
                Some((recovery + opening, BrokerPhase::Registered))
            }
            BrokerPhase::Registered if !stopping => {
                let ready = node.loaded || self.spec.zookeeper;
                if !ready || !self.register(id) {
                    if self.spec.zookeeper {
                        self.node_exists(id, run);
                    } else {
                        self.after(timing.register_retry, again);
                    }
                    return;
                }
                self.mark_stale_copies();
                self.set_contact(id, Contact::Live { first: self.now });
                let recovery = if self.spec.zookeeper {
                    0
                } else {
                    self.begin_recovery(id)
                };
                let reading = self.draw(timing.catch_up) * self.slowness(id);
                Some((recovery + reading, BrokerPhase::CaughtUp))
            }
            BrokerPhase::CaughtUp if !stopping => {
                // Requests are answered while it waits to be unfenced: measured on 3.9.2 in nine
                // of ten starts (tests/fixtures/traces/return.json).
                let delay = self.draw(timing.open);
                self.after(delay, Event::Open { node: id, run });
                Some((self.draw(timing.unfence), BrokerPhase::Running))
            }
            BrokerPhase::Running if !stopping => {
                let alone = self.committing().is_none();
                if !self.can_heartbeat(id) || (alone && !self.spec.zookeeper) {
                    self.after(LOAD_RETRY, again);
                    return;
                }
                self.run_broker(id, run, !alone);
                if alone {
                    // It runs, and the next controller lets it in.
                    self.after(LOAD_RETRY, again);
                }
                return;
            }
            BrokerPhase::Leaving if stopping => {
                self.leave(id, run, again);
                return;
            }
            BrokerPhase::Closing if stopping => {
                self.close_broker(id, again);
                return;
            }
            BrokerPhase::Off
            | BrokerPhase::Jvm
            | BrokerPhase::Starting
            | BrokerPhase::Registered
            | BrokerPhase::CaughtUp
            | BrokerPhase::Running
            | BrokerPhase::Leaving
            | BrokerPhase::Closing => return,
        };
        if let Some(node) = self.nodes.get_mut(&id) {
            node.broker = to;
        }
        if let Some((delay, to)) = next {
            self.after(delay, Event::BrokerStep { node: id, run, to });
        }
    }

    fn run_broker(&mut self, id: NodeId, run: u64, unfence: bool) {
        if unfence {
            self.unfence(id);
        }
        let starting = self
            .nodes
            .get(&id)
            .is_some_and(|n| n.broker == BrokerPhase::CaughtUp);
        if starting {
            self.queue_isr_check(id, run);
        }
        if let Some(node) = self.nodes.get_mut(&id) {
            node.broker = BrokerPhase::Running;
            node.unclean = false;
        }
    }

    fn leave(&mut self, id: NodeId, run: u64, again: Event) {
        let registered = self.image.brokers.get(&id).is_some_and(|r| !r.fenced);
        let heard = self.can_heartbeat(id);
        let gives_up = self.spec.zookeeper && !heard;
        if registered && !gives_up && (self.committing().is_none() || !heard) {
            // Controlled shutdown waits for a controller: it is asked for in a heartbeat.
            self.after(LOAD_RETRY, again);
            return;
        }
        // Otherwise the controller waits until the new leaders are known everywhere, and says so
        // in a later heartbeat (`BrokerHeartbeatManager.calculateNextBrokerState`).
        let idle = self
            .image
            .partitions()
            .all(|(_, _, _, p)| p.leader != Some(id));
        if !gives_up {
            self.begin_shutdown(id);
        }
        let timing = &self.spec.timing;
        let closing = if idle && !self.spec.zookeeper {
            timing.left_idle
        } else {
            (
                timing.left.0.saturating_sub(timing.leave.1),
                timing.left.1.saturating_sub(timing.leave.1),
            )
        };
        let delay = self.draw(closing);
        self.after(
            delay,
            Event::BrokerStep {
                node: id,
                run,
                to: BrokerPhase::Closing,
            },
        );
    }

    /// The controller lets the broker go and fences it in the same heartbeat
    /// (`ReplicationControlManager.processBrokerHeartbeat`); the broker closes its connections at
    /// once and its process ends a little later (`BrokerServer.shutdown`).
    fn close_broker(&mut self, id: NodeId, again: Event) {
        let registered = self.image.brokers.get(&id).is_some_and(|r| !r.fenced);
        let waits = self.committing().is_none() || !self.can_heartbeat(id);
        if registered && waits && !self.spec.zookeeper {
            self.after(LOAD_RETRY, again);
            return;
        }
        if self.spec.zookeeper {
            // It closes its session, and whoever is the controller then sees it.
            self.lose_zookeeper_controller(id);
            self.set_contact(id, Contact::Lost { last: self.now });
            let generation = self.sessions.get(&id).map_or(0, |s| s.generation);
            let gone = Event::SessionExpiry {
                broker: id,
                generation,
            };
            self.after(0, gone);
        } else if registered {
            self.fence(id);
            self.set_contact(id, Contact::Lost { last: self.now });
        }
        let timing = &self.spec.timing;
        let rest = (
            timing.exit.0.saturating_sub(timing.left.1),
            timing.exit.1.saturating_sub(timing.left.1),
        );
        let delay = self.draw(rest);
        let Some(node) = self.nodes.get_mut(&id) else {
            return;
        };
        node.broker = BrokerPhase::Closing;
        node.life += 1;
        if node.spec.roles.controller {
            // In a combined process the controller stops after the broker.
            node.controller = ControllerPhase::Leaving;
        }
        let run = node.run;
        self.after(delay, Event::Exit { node: id, run });
    }

    /// Gives every partition its preferred leader back where that is in sync, as the controller
    /// does every `leader.imbalance.check.interval.seconds`
    /// (`ReplicationControlManager.maybeBalancePartitionLeaders`, which has no threshold). Assumed
    /// on ZooKeeper too: there a broker that misses at most 10 % of its partitions waits
    /// (`leader.imbalance.per.broker.percentage`,
    /// `KafkaController.checkAndTriggerAutoLeaderRebalance`).
    pub(super) fn balance(&mut self) {
        if self.committing().is_none() {
            return;
        }
        self.commit(|image, _| {
            let brokers = image.brokers.clone();
            image.change(
                |partition| {
                    let preferred = partition.replicas.first().copied();
                    preferred != partition.leader
                        && preferred.is_some_and(|id| {
                            partition.isr.contains(&id) && fit(&brokers, id, partition)
                        })
                },
                |_, partition| {
                    partition.leader = partition.replicas.first().copied();
                    partition.leader_epoch += 1;
                },
            )
        });
    }
}
