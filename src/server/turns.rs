//! One owner is served one set of nodes at a time, however many requests it sends.

use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::evidence::ids::NodeId;
use crate::gate::lease::Owner;
use crate::gate::state::GateName;

/// Who is being served.
#[derive(Debug, Default)]
pub(super) struct Turns {
    served: Mutex<BTreeMap<(GateName, Owner), Served>>,
    freed: Notify,
}

#[derive(Debug)]
struct Served {
    nodes: BTreeSet<NodeId>,
    requests: usize,
}

/// A turn, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    whose: (GateName, Owner),
}

impl Turns {
    /// Waits for a turn. A repeated request for the same nodes shares the one there is: its first
    /// may hang in a proxy for ever. `None`: the deadline came first.
    pub(super) async fn wait(
        &self,
        gate: &GateName,
        owner: &Owner,
        nodes: &BTreeSet<NodeId>,
        deadline: Instant,
    ) -> Option<Turn<'_>> {
        let whose = (gate.clone(), owner.clone());
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // Before looking, so that no turn is given back in between.
            freed.as_mut().enable();
            if self.take(&whose, nodes) {
                return Some(Turn { turns: self, whose });
            }
            timeout_at(deadline, freed).await.ok()?;
        }
    }

    fn take(&self, whose: &(GateName, Owner), nodes: &BTreeSet<NodeId>) -> bool {
        match self.lock().entry(whose.clone()) {
            Entry::Vacant(vacant) => {
                vacant.insert(Served {
                    nodes: nodes.clone(),
                    requests: 1,
                });
                true
            }
            Entry::Occupied(mut served) if served.get().nodes == *nodes => {
                served.get_mut().requests += 1;
                true
            }
            Entry::Occupied(_) => false,
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(GateName, Owner), Served>> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut served = self.turns.lock();
        if let Some(mine) = served.get_mut(&self.whose) {
            mine.requests = mine.requests.saturating_sub(1);
            if mine.requests == 0 {
                served.remove(&self.whose);
                drop(served);
                self.turns.freed.notify_waiters();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn other_nodes_of_one_owner_wait_and_everybody_else_does_not() {
        let turns = Turns::default();
        let (gate, mine) = (
            GateName::default(),
            Owner::try_from("me".to_owned()).unwrap(),
        );
        let yours = Owner::try_from("you".to_owned()).unwrap();
        let [one, two] = [1, 2].map(|id| BTreeSet::from([NodeId(id)]));
        let soon = || Instant::now() + Duration::from_secs(1);
        let first = turns.wait(&gate, &mine, &one, soon()).await;
        assert!(first.is_some());
        assert!(turns.wait(&gate, &mine, &two, soon()).await.is_none());
        assert!(turns.wait(&gate, &yours, &two, soon()).await.is_some());
        let again = turns.wait(&gate, &mine, &one, soon()).await;
        drop(first);
        assert!(turns.wait(&gate, &mine, &two, soon()).await.is_none());
        let waits = turns.wait(&gate, &mine, &two, soon());
        let frees = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            drop(again);
        };
        let (turn, ()) = tokio::join!(waits, frees);
        assert!(turn.is_some());
        drop(turn);
        assert!(turns.lock().is_empty());
    }
}
