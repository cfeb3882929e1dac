// SPDX-License-Identifier: MIT OR Apache-2.0
//! `rmcpctl set` and `rmcpctl reset`: switches as they shall be, now and after the next start.
//!
//! All or nothing: every word is checked before anything is written, and when one write fails, or the module refuses the
//! new setting, what was written before is put back.

mod initramfs;
mod live;
pub mod persist;
mod show;
mod wanted;

use crate::fail::{Failure, Status};
use crate::output::Output;
use crate::rmcp;
use crate::system::System;
use initramfs::Image;
pub(crate) use live::{Live, REFUSES};
use persist::Kept;
use serde::Serialize;
use std::collections::BTreeMap;
pub use wanted::Wanted;
pub(crate) use wanted::parse as parse_words;

/// What can be said behind `set`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Switches and their values, as in rmcp(4): mtype=uc fragment_size=4
    #[arg(required = true, value_name = "SWITCH=VALUE")]
    switches: Vec<String>,

    /// Also keep them for later starts, in /etc/modprobe.d/rmcpctl.conf
    #[arg(long)]
    persist: bool,

    /// Rebuild the initramfs of the running kernel, which has a copy of modprobe.d
    #[arg(long, requires = "persist")]
    update_initramfs: bool,
}

/// What can be said behind `reset`.
#[derive(Debug, clap::Args)]
pub struct ResetArgs {
    /// Rebuild the initramfs of the running kernel, which has a copy of modprobe.d
    #[arg(long)]
    update_initramfs: bool,
}

/// A switch before and after.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Change {
    switch: &'static str,
    /// As it was; none when the module is not loaded.
    before: Option<String>,
    /// As it is; none when the module is not loaded.
    after: Option<String>,
}

/// What was done.
#[derive(Debug, Serialize)]
struct Done {
    /// The switches that were named, in the order in which they were written.
    changes: Vec<Change>,
    /// The first line of `state`; none when the module is not loaded.
    state: Option<String>,
    /// What is kept for later starts.
    persisted: Option<Kept>,
    /// The initramfs, when what is kept has changed.
    initramfs: Option<Image>,
    /// What else there is to know.
    notes: Vec<String>,
}

/// Does `set`.
///
/// # Errors
///
/// When a word means nothing, a file is not there or cannot be written, or the module refuses.
pub fn run(args: &Args, system: &System, output: &mut Output) -> Result<Status, Failure> {
    let wanted = wanted::parse(&args.switches)?;
    let keep = args.persist.then(|| Keep {
        change: persist::Change::Add(&wanted),
        rebuild: args.update_initramfs,
    });
    let done = bring_about(system, &wanted, keep)?;
    output.report(&show::Set(done))?;
    Ok(Status::Fine)
}

/// Does `reset`.
///
/// # Errors
///
/// When a file cannot be written, or the module refuses.
pub fn reset(args: &ResetArgs, system: &System, output: &mut Output) -> Result<Status, Failure> {
    let keep = Keep {
        change: persist::Change::Remove,
        rebuild: args.update_initramfs,
    };
    let done = bring_about(system, &wanted::defaults(), Some(keep))?;
    output.report(&show::Reset(done))?;
    Ok(Status::Fine)
}

/// What becomes of what is kept.
struct Keep<'a> {
    change: persist::Change<'a>,
    rebuild: bool,
}

fn bring_about(
    system: &System,
    wanted: &[Wanted],
    keep: Option<Keep<'_>>,
) -> Result<Done, Failure> {
    let mut notes = Vec::new();
    let loaded = rmcp::is_loaded(system);
    let resetting = keep
        .as_ref()
        .is_some_and(|keep| matches!(keep.change, persist::Change::Remove));
    check(wanted, loaded, keep.is_some(), resetting)?;
    let plan = match &keep {
        Some(keep) => Some(persist::plan(system, &keep.change)?),
        None => None,
    };

    let live = match loaded {
        true => Some(Live::write(system, wanted)?),
        false => None,
    };
    let persisted = match plan {
        Some(plan) => match plan.carry_out(system) {
            Ok(kept) => Some(kept),
            Err(failure) => {
                return Err(match live {
                    Some(live) => live.put_back(system, failure),
                    None => failure,
                });
            }
        },
        None => None,
    };
    let changes = match &live {
        Some(live) => live.changes(wanted),
        None => not_loaded(wanted, resetting, &mut notes),
    };
    add_notes(&changes, wanted, &mut notes);
    let changed = persisted.as_ref().is_some_and(|kept| kept.changed);
    let rebuild = keep.as_ref().is_some_and(|keep| keep.rebuild);
    let initramfs = match changed || rebuild {
        true => initramfs::after(system, rebuild)?,
        false => None,
    };
    Ok(Done {
        changes,
        state: live.map(|live| live.state),
        persisted,
        initramfs,
        notes,
    })
}

/// What cannot be done is said before anything is.
fn check(wanted: &[Wanted], loaded: bool, persist: bool, resetting: bool) -> Result<(), Failure> {
    if !loaded && !persist {
        let what = "rmcp is not loaded, so there is nothing to set";
        return Err(Failure::new(Status::Missing, what)
            .cure("load it with `modprobe rmcp`, or keep the setting for later with --persist"));
    }
    let at_load = |wanted: &&Wanted| wanted.at_load_only();
    if let Some(wanted) = wanted
        .iter()
        .find(at_load)
        .filter(|_| !persist && !resetting)
    {
        let what = format!("{} can only be given when rmcp is loaded", wanted.name);
        return Err(
            Failure::new(Status::Usage, what).cure("keep it for the next start with --persist")
        );
    }
    Ok(())
}

fn not_loaded(wanted: &[Wanted], resetting: bool, notes: &mut Vec<String>) -> Vec<Change> {
    if resetting {
        notes.push("rmcp is not loaded; when it is, it starts with its defaults".into());
        return Vec::new();
    }
    notes.push("rmcp is not loaded; the setting holds from when it is".into());
    let untouched = |wanted: &Wanted| Change {
        switch: wanted.name,
        before: None,
        after: None,
    };
    wanted.iter().map(untouched).collect()
}

fn add_notes(changes: &[Change], wanted: &[Wanted], notes: &mut Vec<String>) {
    let after: BTreeMap<&str, &str> = changes
        .iter()
        .filter_map(|change| Some((change.switch, change.after.as_deref()?)))
        .collect();
    for wanted in wanted.iter().filter(|wanted| wanted.at_load_only()) {
        if after
            .get(wanted.name)
            .is_some_and(|now| *now != wanted.value)
        {
            let name = wanted.name;
            notes.push(format!(
                "{name} stays as it is until rmcp is loaded again, before amdgpu"
            ));
        }
    }
    if after.get("mtype_strict") == Some(&"Y") {
        notes.push(
            "with mtype=nc, mtype_strict=Y takes coherence from buffers that asked for it, which can corrupt data"
                .into(),
        );
    }
    if changes.iter().any(|change| change.before != change.after) {
        notes.push(
            "what is mapped keeps its bits until it is written again: start the program anew"
                .into(),
        );
    }
}
