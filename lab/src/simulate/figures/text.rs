//! The figures for people.

use std::fmt;

use super::rolls::{Roll, Stopped};
use super::{Figures, GrantsRow, Part};

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>5} trials, {:>5} steps, {:>3} false opens, exposed {:>6.1} s, {:>3} too soon to tell, {}",
            self.trials,
            self.steps,
            self.false_opens,
            self.exposed_seconds,
            self.harmful_within_allowance,
            self.needless
        )
    }
}

impl fmt::Display for GrantsRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "leases: {} times go ({} once more, {} beside another, {} for several nodes, {} for repairs, {} taken over, \
             {} acted on late, {} left early), {} false, {} too soon to tell, {} doubled, {} lost, {} ended early, \
             {} old tokens {:?}; {:?}",
            self.go,
            self.again,
            self.beside,
            self.sets,
            self.repairs,
            self.taken_over,
            self.late,
            self.left_early,
            self.false_grants,
            self.too_soon_to_tell,
            self.doubled,
            self.lost,
            self.ended_early,
            self.old_tokens,
            self.bad_seeds,
            self.store_said
        )
    }
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>5} stops, {:>4} harmful ({:>6.1} per 1,000) and {:>4} too soon to tell",
            self.steps, self.harmful, self.harmful_per_1000_steps, self.harmful_within_allowance,
        )
    }
}

impl fmt::Display for Roll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "  {:<42} {}; brokers: {}; controllers: {}; exposed {:>6.1} s, needless {:>5.1} s of \
             {:>5.1} s per node, {} of {} rolls finished",
            self.name,
            self.all,
            self.by_role.broker,
            self.by_role.controller,
            self.exposed_seconds,
            self.needless_seconds_per_node,
            self.waited_seconds_per_node,
            self.finished,
            self.rolls,
        )
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} trials from seed {}, {} steps, {:.1} h simulated, {} judgements; opened in {}, \
             not in {:?} {:?}",
            self.trials,
            self.first_seed,
            self.steps,
            self.simulated_hours,
            self.judgements,
            self.opened,
            self.never_opened_seeds,
            self.never_opened
        )?;
        writeln!(
            f,
            "false opens: {} {:?}; open {:.0} s, exposed within the allowance {:.1} s",
            self.false_opens, self.false_open_seeds, self.open_seconds, self.exposed_seconds
        )?;
        write!(f, "{}", self.as_asked)?;
        writeln!(
            f,
            "needless: {} ({:.1} s per step)",
            self.needless, self.needless_seconds_per_step
        )?;
        writeln!(f, "on stock: {}", self.needless_on_stock)?;
        writeln!(f, "by order: {}", self.needless_by_order)?;
        writeln!(f, "cut off:  {}", self.cut_off)?;
        writeln!(f, "cut off at the end: {}", self.cut_off_at_end)?;
        writeln!(f, "before the first open: {}", self.before_first_open)?;
        for never in &self.never_opened_and_safe {
            writeln!(f, "never opened: {never}")?;
        }
        writeln!(f, "per node of a roll: {}", self.needless_per_node)?;
        for cause in self.causes.iter().take(12) {
            writeln!(f, "  {:<22} {}", cause.reason, cause.waits)?;
        }
        writeln!(f, "the longest: {:?}", self.longest)?;
        if let Some(grants) = &self.grants {
            write!(f, "{grants}")?;
        }
        for of in &self.kinds {
            writeln!(f, "  {:<14} {}", of.kind, of.part)?;
        }
        for of in &self.modes {
            let (kill, other) = of.allowed_seconds;
            let (mode, part) = (of.mode.as_str(), &of.part);
            writeln!(f, "  {mode:<14} {part}; D {kill} and {other} s")?;
        }
        for (what, rolls) in [
            ("rolls by the book", &self.rolls),
            ("rolls, each with its own word", &self.rival_rolls),
        ] {
            writeln!(f, "{what}:")?;
            for roll in rolls {
                write!(f, "{roll}")?;
            }
        }
        for rival in &self.rivals {
            writeln!(
                f,
                "{:<42} {:>6} false opens ({:>6} of brokers, {:>6.1} per 1,000 steps, {:>7.0} s), \
                 exposed {:>6.0} s, needless {:>5.1} s per step",
                rival.name,
                rival.false_opens,
                rival.false_opens_of_brokers,
                rival.false_opens_per_1000_steps,
                rival.false_open_seconds,
                rival.exposed_seconds,
                rival.needless_seconds_per_step,
            )?;
        }
        Ok(())
    }
}
