//! A failing trial made short enough to read.

use std::time::Duration;

use super::trial::{Order, Outcome, run};

/// Shrinking makes at most so many trials.
const TRIES: usize = 150;

/// A trial that fails, and how often it was tried to make it shorter.
struct Shrinking {
    best: Order,
    outcome: Outcome,
    tries: usize,
}

/// The same false word with fewer operations and operators: leaves out ever smaller parts as long as
/// something false is still said, and ends soon after it. Gives back what it was given where that
/// says nothing false.
pub fn shrink(order: &Order) -> (Order, Outcome) {
    let first = run(order.clone());
    let mut best = order.replayed(&first);
    let mut outcome = run(best.clone());
    if !outcome.went_wrong() {
        // Operators do not go the same way again without the gate's word, and a lease is nobody's.
        (best, outcome) = (order.clone(), first);
    }
    let mut shrinking = Shrinking {
        best,
        outcome,
        tries: 2,
    };
    if shrinking.outcome.went_wrong() {
        shrinking.end_after();
        shrinking.fewer_operators();
        shrinking.fewer_ops();
        shrinking.fewer_nodes();
    }
    (shrinking.best, shrinking.outcome)
}

impl Shrinking {
    /// Whether this is wrong as well; it is the best one then.
    fn takes(&mut self, fewer: Order) -> bool {
        if self.tries >= TRIES {
            return false;
        }
        self.tries += 1;
        let outcome = run(fewer.clone());
        if !outcome.went_wrong() {
            return false;
        }
        (self.best, self.outcome) = (fewer, outcome);
        self.end_after();
        true
    }

    fn fewer_ops(&mut self) {
        let mut size = self.best.plan.ops.len().div_ceil(2);
        while size > 0 {
            let mut start = 0;
            while start < self.best.plan.ops.len() {
                let mut fewer = self.best.clone();
                let stop = (start + size).min(fewer.plan.ops.len());
                fewer.plan.ops.drain(start..stop);
                if !self.takes(fewer) {
                    start += size;
                }
            }
            size = if size == 1 { 0 } else { size.div_ceil(2) };
        }
    }

    fn fewer_operators(&mut self) {
        for index in (0..self.best.plan.operators.len()).rev() {
            let mut fewer = self.best.clone();
            fewer.plan.operators.remove(index);
            self.takes(fewer);
        }
    }

    fn fewer_nodes(&mut self) {
        for index in 0..self.best.plan.operators.len() {
            for node in (0..self.best.plan.operators[index].nodes.len()).rev() {
                let mut fewer = self.best.clone();
                fewer.plan.operators[index].nodes.remove(node);
                self.takes(fewer);
            }
        }
    }

    fn end_after(&mut self) {
        if let Some(at) = self.outcome.wrong_at() {
            let end = at + Duration::from_secs(2);
            let plan = &mut self.best.plan;
            plan.end = plan.end.min(end);
            plan.ops.retain(|(at, _)| *at <= end);
        }
    }
}
