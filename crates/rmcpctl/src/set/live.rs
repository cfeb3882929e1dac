// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writing the switches of the loaded module, and putting them back.

use super::Change;
use super::wanted::Wanted;
use crate::fail::{Failure, Status};
use crate::rmcp::{self, Headline, PARAMETERS};
use crate::system::{Refusal, System};

/// How a failure begins that is the module's own, since hooks could not be set.
pub(crate) const REFUSES: &str = "rmcp refuses";

/// Switches that were written.
pub(crate) struct Live {
    /// All switches before the first write.
    before: Vec<rmcp::Setting>,
    /// All switches now.
    after: Vec<rmcp::Setting>,
    /// What was written, in order.
    written: Vec<&'static str>,
    /// The first line of `state` now.
    pub(crate) state: String,
}

fn path(name: &str) -> String {
    format!("{PARAMETERS}/{name}")
}

fn unreadable(refusal: &Refusal) -> Failure {
    let what = format!("{PARAMETERS} cannot be read: {refusal}");
    Failure::new(Status::Failed, what).cure("look again, the module may be going")
}

impl Live {
    /// Writes all, or puts back what it wrote.
    pub(crate) fn write(system: &System, wanted: &[Wanted]) -> Result<Self, Failure> {
        let before = rmcp::settings(system).map_err(|refusal| unreadable(&refusal))?;
        let earlier = rmcp::state(system).map_err(|refusal| unreadable(&refusal))?;
        let mut live = Self {
            after: before.clone(),
            before,
            written: Vec::new(),
            state: String::new(),
        };
        for wanted in wanted.iter().filter(|wanted| !wanted.at_load_only()) {
            if let Err(failure) = write(system, wanted) {
                return Err(live.put_back(system, failure));
            }
            live.written.push(wanted.name);
        }
        let read = rmcp::settings(system).and_then(|after| Ok((after, rmcp::state(system)?)));
        let (after, state) = match read {
            Ok(read) => read,
            Err(refusal) => return Err(live.put_back(system, unreadable(&refusal))),
        };
        let written = wanted.iter().filter(|wanted| !wanted.at_load_only());
        for Wanted { name, value } in written {
            let now = value_of(&after, name).unwrap_or_default();
            if now != value {
                let what = format!("{name} is {now:?} after {value:?} was written");
                let failure = Failure::new(Status::Failed, what)
                    .cure("somebody else may be writing it; try again");
                return Err(live.put_back(system, failure));
            }
        }
        // All hooks go when one that is needed cannot be set, so the old setting is worth more than the new one.
        if state.headline == Headline::Refused && earlier.headline != Headline::Refused {
            let why = state.said.trim_start_matches("refused: ");
            let failure = Failure::new(Status::Failed, format!("{REFUSES}: {why}"));
            return Err(live.put_back(system, failure));
        }
        live.after = after;
        live.state = state.said;
        Ok(live)
    }

    /// Writes what was there before, last written first, and says so.
    pub(super) fn put_back(self, system: &System, failure: Failure) -> Failure {
        if self.written.is_empty() {
            return failure;
        }
        let mut stuck = Vec::new();
        for name in self.written.iter().rev() {
            let old = value_of(&self.before, name).unwrap_or_default();
            if let Err(refusal) = system.files().write(&path(name), old.as_bytes()) {
                stuck.push(format!("{name}={old} ({refusal})"));
            }
        }
        let what = match stuck.is_empty() {
            true => format!("{}; what was written before is put back", failure.what),
            false => format!(
                "{}; NOT put back could be {}",
                failure.what,
                stuck.join(", ")
            ),
        };
        Failure { what, ..failure }
    }

    /// Before and after, of what was wanted.
    pub(super) fn changes(&self, wanted: &[Wanted]) -> Vec<Change> {
        let own = |all: &[rmcp::Setting], name| value_of(all, name).map(str::to_owned);
        let change = |wanted: &Wanted| Change {
            switch: wanted.name,
            before: own(&self.before, wanted.name),
            after: own(&self.after, wanted.name),
        };
        wanted.iter().map(change).collect()
    }
}

fn value_of<'a>(all: &'a [rmcp::Setting], name: &str) -> Option<&'a str> {
    let setting = all.iter().find(|(known, _)| *known == name)?;
    Some(setting.1.as_str())
}

fn write(system: &System, wanted: &Wanted) -> Result<(), Failure> {
    let Wanted { name, value } = wanted;
    let written = system.files().write(&path(name), value.as_bytes());
    written.map_err(|refusal| {
        let what = format!("{name}={value} could not be written: {refusal}");
        match refusal {
            Refusal::Denied if !system.host().is_root() => {
                Failure::new(Status::Denied, what).cure("ask as root")
            }
            Refusal::Denied => Failure::new(Status::Denied, what),
            Refusal::Missing => Failure::new(Status::Missing, what)
                .cure("the module may be going, or is older than this command"),
            _ => Failure::new(Status::Failed, what).cure("the kernel log says more"),
        }
    })
}
