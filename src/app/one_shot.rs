//! A gate without a service: collects and judges in this process until it opens or the time is
//! over. It takes a whole window, like every gate that has just started.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::{Common, Running};
use crate::clock::{Clock, SystemClock};
use crate::config::settings::{GateSettings, Settings};
use crate::engine::handle::{AskError, Room};
use crate::evidence::ids::NodeId;
use crate::gate::doc::{GateDoc, Revision, Stored};
use crate::gate::question::{Answered, Question};
use crate::gate::state::{GateName, State};
use crate::gate::view::Decision;
use crate::kafka::TcpDial;
use crate::metrics::counters::Counters;
use crate::store::sqlite::look::{Found, look};
use crate::store::{MemoryStore, Store as _, Writer};
use crate::time::Now;

/// Between two looks at the verdict.
const LOOK: Duration = Duration::from_millis(500);

/// How long one question to the engine may take.
const QUESTION: Duration = Duration::from_secs(10);

/// What a one-shot check ended with.
#[derive(Clone, Debug)]
pub struct OneShot {
    /// The gate's name.
    pub gate: GateName,
    /// The last verdict.
    pub decision: Decision,
    /// When it was made.
    pub evaluated: Now,
    /// What the gate does not see as it is set up, by name.
    pub blind_spots: Vec<&'static str>,
}

/// The leases and holds that count beside the cluster, and the nodes seen before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remembered {
    /// As the data folder has them.
    Document(Box<GateDoc>),
    /// Nobody knows of any, and why.
    Nothing(String),
}

impl Remembered {
    /// Looks into the data folder as `doctor` does: nothing in it is changed, and a gate may be at work.
    ///
    /// # Errors
    /// There is something that cannot be read: what is taken is not known, and that is not nothing.
    pub fn look(settings: &Settings) -> Result<Self> {
        let (name, _) = only_gate(settings)?;
        let Some(folder) = &settings.data_dir else {
            let why = "no data folder is given (--data-dir)";
            return Ok(Self::Nothing(String::from(why)));
        };
        let at = folder.display();
        match look(folder, name) {
            Found::Nothing => Ok(Self::Nothing(format!("there is no database in {at}"))),
            Found::Document(Revision(0), _) => Ok(Self::Nothing(format!(
                "the database in {at} has nothing of gate {name}"
            ))),
            Found::Document(_, doc) => Ok(Self::Document(doc)),
            Found::Damaged(why)
            | Found::Newer(why)
            | Found::Locked(why)
            | Found::Unreadable(why) => {
                bail!("failed to read leases and holds: {why}")
            }
        }
    }

    fn doc(&self) -> GateDoc {
        match self {
            Self::Document(doc) => GateDoc::clone(doc),
            Self::Nothing(_) => GateDoc::default(),
        }
    }

    /// Whether both have the same leases and holds.
    fn takes_the_same(&self, other: &Self) -> bool {
        let (mine, theirs) = (self.doc(), other.doc());
        mine.leases == theirs.leases
            && mine.hold == theirs.hold
            && mine.node_holds == theirs.node_holds
    }

    /// A store that begins with it. What comes of it stays in this process.
    fn store(&self, gate: &GateName) -> Result<MemoryStore> {
        let mut store = MemoryStore::default();
        if let Self::Document(doc) = self {
            let stored = store.commit(gate, Revision(0), doc, &[]);
            ensure!(
                matches!(stored, Stored::Written(_)),
                "failed to go on from the data folder: {stored:?}"
            );
        }
        Ok(store)
    }
}

fn only_gate(settings: &Settings) -> Result<(&GateName, &GateSettings)> {
    settings
        .gates
        .iter()
        .next()
        .context("no gate is configured")
}

/// Judges until the verdict is open or `patience` is over. `progress` is told every verdict that
/// differs from the one before. What is `remembered` is looked at once more before it is open.
pub async fn one_shot(
    settings: &Settings,
    remembered: &Remembered,
    nodes: BTreeSet<NodeId>,
    patience: Duration,
    mut progress: impl FnMut(&OneShot),
) -> Result<OneShot> {
    let (name, gate) = only_gate(settings)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let common = Common {
        clock: Arc::clone(&clock),
        dial: Arc::new(TcpDial),
        store: Writer::spawn(Box::new(remembered.store(name)?))?,
        limits: settings.limits,
        counters: Arc::new(Counters::default()),
    };
    let running = Running::start(name, gate.clone(), &common).await?;
    let deadline = clock.now().mono.plus(patience);
    let mut told = None;
    loop {
        let question = Question {
            nodes: nodes.clone(),
            newer_than: None,
        };
        let late = clock.now().mono >= deadline;
        let answered = running.handle.decide(question, QUESTION, Room::default());
        match answered.await {
            Ok(Answered::Decided {
                decision,
                evaluated,
            }) => {
                let state = decision.state;
                let key = (
                    state,
                    decision
                        .reasons
                        .iter()
                        .map(|r| r.reason)
                        .collect::<Vec<_>>(),
                );
                let view = running.handle.published().load();
                let now = OneShot {
                    gate: name.clone(),
                    decision,
                    evaluated,
                    blind_spots: view.at(clock.now().mono).last_known().blind_spot_ids(),
                };
                if told.as_ref() != Some(&key) {
                    progress(&now);
                    told = Some(key);
                }
                if state == State::Open || late {
                    running.end().await;
                    ensure!(
                        state != State::Open
                            || Remembered::look(settings)?.takes_the_same(remembered),
                        "leases or holds have changed meanwhile: ask again"
                    );
                    return Ok(now);
                }
            }
            // A node may become known a moment later, with the first answers.
            Ok(Answered::NoSuchNodes(strangers)) if late => {
                let names: Vec<_> = strangers.iter().map(ToString::to_string).collect();
                bail!(
                    "failed to judge: the cluster has no node {}",
                    names.join(", ")
                );
            }
            Err(error) if late => return Err(error.into()),
            Ok(Answered::NoSuchNodes(_))
            | Err(AskError::Busy | AskError::BusyForPeer | AskError::Gone | AskError::Late(_)) => {}
        }
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;
    use crate::gate::lease::{Hold, Owner};
    use crate::store::SqliteStore;
    use crate::store::sqlite::Retention;
    use crate::time::Timestamp;

    const KEEP: Retention = Retention {
        age: Duration::from_secs(3600),
        entries: 10,
    };

    fn settings(folder: Option<&std::path::Path>) -> Settings {
        let env = [
            ("GATES__DEFAULT__MODE", "kafka"),
            ("GATES__DEFAULT__KAFKA__BOOTSTRAP", "a:1"),
        ];
        let env = env.map(|(name, value)| (format!("UPGRADE_GATE_{name}"), String::from(value)));
        let sources = Sources {
            env: env.into(),
            ..Sources::default()
        };
        let mut settings = sources.load().unwrap().settings;
        settings.data_dir = folder.map(std::path::Path::to_path_buf);
        settings
    }

    #[test]
    fn what_the_folder_has_counts_and_what_cannot_be_read_is_not_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let at = Some(folder.path());
        let nothing = |folder| {
            let found = Remembered::look(&settings(folder)).unwrap();
            assert_eq!(found.doc(), GateDoc::default());
            match found {
                Remembered::Nothing(why) => why,
                Remembered::Document(doc) => panic!("{doc:?}"),
            }
        };
        assert!(nothing(None).contains("no data folder"));
        assert!(nothing(at).contains("no database in"));
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let mut store = SqliteStore::open(folder.path(), KEEP, clock).unwrap();
        assert!(nothing(at).contains("has nothing of gate default"));
        let gate = GateName::default();
        let free = Remembered::Document(Box::default());
        let mut doc = GateDoc {
            hold: Some(Hold {
                author: Owner::try_from(String::from("ann")).unwrap(),
                reason: String::from("disks"),
                since: Timestamp::default(),
                until: None,
            }),
            ..GateDoc::default()
        };
        store.commit(&gate, Revision(0), &doc, &[]);
        let held = Remembered::look(&settings(at)).unwrap();
        assert_eq!(held, Remembered::Document(Box::new(doc.clone())));
        assert!(!held.takes_the_same(&free));
        let mut copy = held.store(&gate).unwrap();
        assert_eq!(copy.load(&gate), Ok((Revision(1), doc.clone())));
        // Other nodes that were seen meanwhile are no reason to ask again.
        doc.known_nodes
            .insert(NodeId(7), crate::evidence::ids::Role::BROKER);
        store.commit(&gate, Revision(1), &doc, &[]);
        assert!(
            Remembered::look(&settings(at))
                .unwrap()
                .takes_the_same(&held)
        );
        drop(store);
        let path = folder.path().join(crate::store::sqlite::DATABASE);
        std::fs::write(path, "").unwrap();
        assert!(Remembered::look(&settings(at)).is_err());
    }
}
