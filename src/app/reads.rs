//! Where reloads read files. What hangs costs one thread, however often it is tried again.

use crate::config::settings::GateSettings;
use crate::files::Aside;
use crate::gate::state::GateName;

/// The reads of all reloads of a process.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// Of the configuration itself.
    pub(super) configuration: Aside,
    gates: Vec<OfGate>,
}

/// The read of one gate's files.
#[derive(Debug)]
struct OfGate {
    name: GateName,
    settings: GateSettings,
    aside: Aside,
}

impl Reads {
    /// Where this gate's files are read: the place of the read that hangs, where there is one for the
    /// same files. Other settings may name others, and do not wait for it.
    pub(super) fn of(&mut self, name: &GateName, settings: &GateSettings) -> Aside {
        self.gates.retain(|read| read.aside.is_busy());
        let known = self.gates.iter().find(|read| {
            read.name == *name
                && read.settings.kafka == settings.kafka
                && read.settings.jmx == settings.jmx
        });
        if let Some(hangs) = known {
            return hangs.aside.clone();
        }
        let aside = Aside::default();
        self.gates.push(OfGate {
            name: name.clone(),
            settings: settings.clone(),
            aside: aside.clone(),
        });
        aside
    }
}
