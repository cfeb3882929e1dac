// SPDX-License-Identifier: MIT OR Apache-2.0
//! Setting the policy of a step, and giving back the one that was found.

use super::ladder::Step;
use super::record::{Process, Record};
use crate::fail::{Failure, Status};
use crate::rmcp::{self, Headline, Setting};
use crate::set::{Live, REFUSES, Wanted};
use crate::system::System;

/// What a step has where it says nothing, in the order in which switches are written; `clients` is decided apart.
const BASE: [(&str, &str); 6] = [
    ("mtype_strict", "N"),
    ("mtype_scope", "all"),
    ("clients", "compute"),
    ("mtype", "keep"),
    ("fragment_size", "keep"),
    ("enable", "Y"),
];

/// What can be done to the policy.
pub(super) struct Control<'a> {
    system: &'a System,
    hold: Hold,
}

enum Hold {
    /// Everything; the record is kept until it is given back.
    Full(Record),
    /// It was, and is given back.
    Given(Vec<Wanted>),
    /// Nothing, and why.
    None {
        why: String,
        /// The policy that is in force, if there is one.
        as_found: Option<String>,
    },
}

/// Why a step's policy is not set.
pub(super) enum Unset {
    /// rmcp refuses this one.
    Refused(String),
    /// Writing failed.
    Failed(Failure),
}

fn words<'a>(settings: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let words: Vec<String> = settings
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    words.join(" ")
}

/// What differs from a module loaded without options, or everything about the policy when nothing does.
fn short(settings: &[Setting]) -> String {
    let defaults = rmcp::defaults();
    let always = ["mtype", "fragment_size"];
    let told = settings
        .iter()
        .filter(|setting| always.contains(&setting.0) || !defaults.contains(setting));
    words(told.map(|(name, value)| (*name, value.as_str())))
}

impl<'a> Control<'a> {
    /// Looks what can be done, and puts the policy on record when it can be changed.
    pub(super) fn take(system: &'a System) -> Result<Self, Failure> {
        let Some(pid) = system.host().own_pid() else {
            let what = "this is not the machine that this command runs on";
            return Err(Failure::new(Status::Usage, what).cure("`try` does not go with --root"));
        };
        let hold = match reason(system) {
            None => Hold::Full(Record::begin(system, pid)?),
            Some(why) => Hold::None {
                why,
                as_found: in_force(system),
            },
        };
        Ok(Self { system, hold })
    }

    /// Whether it can be changed.
    pub(super) fn is_full(&self) -> bool {
        !matches!(self.hold, Hold::None { .. })
    }

    /// Why it cannot be changed.
    pub(super) fn why_not(&self) -> Option<&str> {
        match &self.hold {
            Hold::None { why, .. } => Some(why),
            _ => None,
        }
    }

    /// The policy that stays in force since it cannot be changed.
    pub(super) fn as_found(&self) -> Option<&str> {
        match &self.hold {
            Hold::None { as_found, .. } => as_found.as_deref(),
            _ => None,
        }
    }

    /// The policy that was found and is given back, in words.
    pub(super) fn found(&self) -> Option<String> {
        let found = match &self.hold {
            Hold::Full(record) => record.found(),
            Hold::Given(found) => found,
            Hold::None { .. } => return None,
        };
        let settings: Vec<Setting> = found.iter().map(|w| (w.name, w.value.clone())).collect();
        Some(short(&settings))
    }

    /// Whether a step can be run; if not, why.
    pub(super) fn can(&self, step: &Step) -> Result<(), String> {
        match &self.hold {
            Hold::None { .. } if !step.is_neutral() => Err("the policy cannot be changed".into()),
            _ => Ok(()),
        }
    }

    /// Sets a step's policy; says whom it is for, when there is one.
    pub(super) fn set(&self, step: &Step, clients: &str) -> Result<Option<String>, Unset> {
        if !self.is_full() {
            return Ok(None);
        }
        let mut wanted: Vec<Wanted> = Vec::new();
        let named = |name: &str| step.switches.iter().find(|wanted| wanted.name == name);
        for (name, value) in BASE {
            let usual = if name == "clients" { clients } else { value };
            wanted.push(named(name).cloned().unwrap_or_else(|| Wanted {
                name,
                value: usual.to_owned(),
            }));
        }
        wanted.extend(named("devices").cloned());
        let live = Live::write(self.system, &wanted).map_err(|failure| {
            match failure.what.starts_with(REFUSES) {
                true => Unset::Refused(failure.what),
                false => Unset::Failed(failure),
            }
        })?;
        if step.is_neutral() {
            return Ok(None);
        }
        if !live.state.starts_with("armed") {
            return Err(Unset::Refused(format!("rmcp is {}", live.state)));
        }
        let whom = wanted.iter().find(|wanted| wanted.name == "clients");
        Ok(whom.map(|wanted| wanted.value.clone()))
    }

    /// Puts on record which command runs.
    pub(super) fn note(&self, command: Option<Process>) -> Result<(), Failure> {
        match &self.hold {
            Hold::Full(record) => record.note(self.system, command),
            _ => Ok(()),
        }
    }

    /// Gives back the policy that was found.
    pub(super) fn give_back(&mut self) -> Result<(), Failure> {
        if let Hold::Full(record) = &self.hold {
            record.restore(self.system)?;
            self.hold = Hold::Given(record.found().to_vec());
        }
        Ok(())
    }
}

impl Drop for Control<'_> {
    fn drop(&mut self) {
        if let Err(failure) = self.give_back() {
            anstream::eprintln!("rmcpctl: {failure}");
        }
    }
}

/// Why the policy cannot be changed, with the cure.
fn reason(system: &System) -> Option<String> {
    let only = "so only the steps without switches are run";
    if !rmcp::is_loaded(system) {
        return Some(format!(
            "rmcp is not loaded, {only}; `modprobe rmcp` makes the others possible"
        ));
    }
    if !system.host().is_root() {
        return Some(format!(
            "only root may change the policy, {only}; as root, `setpriv --reuid` or `sudo -u` behind `--` runs the command \
             as somebody else"
        ));
    }
    let state = rmcp::state(system).ok()?;
    match state.headline {
        Headline::Refused | Headline::Waiting => Some(format!(
            "rmcp can do nothing ({}), {only}; `rmcpctl status` says more",
            state.said
        )),
        _ => None,
    }
}

/// The policy that is in force now.
fn in_force(system: &System) -> Option<String> {
    let state = rmcp::state(system).ok()?;
    let settings = rmcp::settings(system).ok()?;
    (state.headline == Headline::Armed).then(|| short(&settings))
}
