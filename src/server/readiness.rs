//! Whether this process is ready to be asked.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::gate::state::GateName;

/// Remembers which gates have judged at least once, and whether the process is ending.
///
/// Being ready says nothing about being open. A gate that fails later stays ready here, since
/// its verdict says so itself.
#[derive(Debug, Default)]
pub struct Readiness {
    judged: Mutex<BTreeSet<GateName>>,
    draining: AtomicBool,
}

/// Why the process is not ready.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// It is ending.
    #[error("the process is ending")]
    Draining,
    /// There is nothing to ask.
    #[error("no gate is configured")]
    NoGates,
    /// A gate has not judged yet.
    #[error("gate {0} has not judged yet")]
    NotJudged(GateName),
}

impl NotReady {
    /// What a probe is told: nobody asks it who it is, so it learns no names.
    pub const fn without_names(&self) -> &'static str {
        match self {
            Self::Draining => "the process is ending",
            Self::NoGates => "no gate is configured",
            Self::NotJudged(_) => "a gate has not judged yet",
        }
    }
}

impl Readiness {
    /// From now on never ready again.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Takes note of gates and whether each has published a judgement of its own (a view with a
    /// generation above 0).
    ///
    /// # Errors
    /// Says what is missing.
    pub fn look<'a>(
        &self,
        gates: impl IntoIterator<Item = (&'a GateName, bool)>,
    ) -> Result<(), NotReady> {
        if self.draining.load(Ordering::Relaxed) {
            return Err(NotReady::Draining);
        }
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut any, mut missing) = (false, None);
        for (gate, has_judged) in gates {
            any = true;
            if has_judged {
                judged.insert(gate.clone());
            } else if !judged.contains(gate) {
                missing.get_or_insert_with(|| gate.clone());
            }
        }
        match missing {
            Some(gate) => Err(NotReady::NotJudged(gate)),
            None if any => Ok(()),
            None => Err(NotReady::NoGates),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_once_every_gate_has_judged_until_the_end() {
        let readiness = Readiness::default();
        let (a, b) = (
            GateName::default(),
            GateName::try_from(String::from("b")).unwrap(),
        );
        assert_eq!(readiness.look([]), Err(NotReady::NoGates));
        assert_eq!(
            readiness.look([(&a, true), (&b, false)]),
            Err(NotReady::NotJudged(b.clone()))
        );
        assert_eq!(readiness.look([(&a, false), (&b, true)]), Ok(()));
        assert_eq!(readiness.look([(&a, false), (&b, false)]), Ok(()));
        readiness.drain();
        assert_eq!(readiness.look([(&a, true)]), Err(NotReady::Draining));
    }
}
