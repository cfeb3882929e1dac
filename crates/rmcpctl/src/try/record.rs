// SPDX-License-Identifier: MIT OR Apache-2.0
//! The policy that `try` found, on record for as long as it may have changed it, so that it is put back even when `try` is
//! killed: every command looks here first.
//!
//! The record is written before the first switch is, and deleted after the last one is back. Its owner is known by
//! number and time of start, and holds a lock, which the kernel takes from whoever ends. Nobody else restores anything
//! while the owner lives.

use crate::fail::{Failure, Status};
use crate::rmcp::{self, PARAMETERS, Setting};
use crate::set::{Wanted, parse_words};
use crate::system::{Found, Lock, Refusal, System};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where the files are.
const FOLDER: &str = "run/rmcpctl";
/// The record.
pub const RECORD: &str = "run/rmcpctl/try.json";
/// The lock.
const LOCK: &str = "run/rmcpctl/try.lock";
const FORMAT: &str = "rmcpctl try record 1";

/// In which order switches are written: what says whom a policy is for before the policy.
const ORDER: [&str; 7] = [
    "mtype_strict",
    "mtype_scope",
    "clients",
    "devices",
    "mtype",
    "fragment_size",
    "enable",
];

/// A process: numbers are used again, a number with a time of start is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub(super) pid: u32,
    /// In the kernel's ticks since boot.
    pub(super) start: u64,
}

impl Process {
    /// The process of this number.
    pub(super) fn of(system: &System, pid: u32) -> Option<Self> {
        let start = super::processes::stat(system, pid)?.start;
        Some(Self { pid, start })
    }

    fn lives(self, system: &System) -> bool {
        let stat = super::processes::stat(system, self.pid);
        stat.is_some_and(|stat| stat.start == self.start && !stat.dead)
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Written {
    format: String,
    owner: Process,
    /// The switches as they were found.
    found: BTreeMap<String, String>,
    /// The command that runs, or ran last.
    command: Option<Process>,
}

/// The record of a `try` that runs.
pub(super) struct Record {
    owner: Process,
    found: Vec<Wanted>,
    _lock: Lock,
}

fn busy(pid: Option<u32>) -> Failure {
    let who = pid.map_or(String::new(), |pid| format!(" (pid {pid})"));
    let what =
        format!("a `rmcpctl try` is running{who}, which changes the policy and puts it back");
    Failure::new(Status::Failed, what).cure("wait for its end, or end it with Ctrl-C or SIGTERM")
}

fn unwritable(refusal: &Refusal) -> Failure {
    let what = format!("the policy that was found cannot be put on record in /{FOLDER}: {refusal}");
    Failure::new(Status::Failed, what).cure("nothing was changed")
}

impl Record {
    /// Puts the switches on record.
    pub(super) fn begin(system: &System, pid: u32) -> Result<Self, Failure> {
        system
            .files()
            .make_folder(FOLDER)
            .map_err(|refusal| unwritable(&refusal))?;
        let lock = system.files().lock(LOCK);
        let Some(lock) = lock.map_err(|refusal| unwritable(&refusal))? else {
            return Err(busy(owner(system)));
        };
        let found = rmcp::settings(system).map_err(|refusal| {
            let what = format!("{PARAMETERS} cannot be read: {refusal}");
            Failure::new(Status::Failed, what)
        })?;
        let owner = Process::of(system, pid)
            .ok_or_else(|| unwritable(&Refusal::Other("/proc cannot be read".into())))?;
        let record = Self {
            owner,
            found: checked(&found)?,
            _lock: lock,
        };
        record.note(system, None)?;
        Ok(record)
    }

    /// The switches as they were found.
    pub(super) fn found(&self) -> &[Wanted] {
        &self.found
    }

    /// Puts on record which command runs.
    pub(super) fn note(&self, system: &System, command: Option<Process>) -> Result<(), Failure> {
        let pair = |wanted: &Wanted| (wanted.name.to_owned(), wanted.value.clone());
        let written = Written {
            format: FORMAT.into(),
            owner: self.owner,
            found: self.found.iter().map(pair).collect(),
            command,
        };
        let text = serde_json::to_vec(&written).unwrap_or_default();
        system
            .files()
            .replace(RECORD, &text)
            .map_err(|refusal| unwritable(&refusal))
    }

    /// Puts the switches back and deletes the record; says which were put back.
    pub(super) fn restore(&self, system: &System) -> Result<Vec<String>, Failure> {
        let back = put_back(system, &self.found)?;
        remove(system)?;
        Ok(back)
    }
}

/// Values that this command understands.
fn checked(found: &[Setting]) -> Result<Vec<Wanted>, Failure> {
    let words: Vec<String> = found
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let mut wanted = parse_words(&words)?;
    wanted.retain(|wanted| !wanted.at_load_only());
    Ok(wanted)
}

fn remove(system: &System) -> Result<(), Failure> {
    match system.files().remove(RECORD) {
        Ok(()) | Err(Refusal::Missing) => Ok(()),
        Err(refusal) => {
            let what = format!("the policy is back, but /{RECORD} cannot be deleted: {refusal}");
            Err(Failure::new(Status::Failed, what).cure("delete it"))
        }
    }
}

/// Writes the switches that are not as they were; all are tried, and what failed is told.
fn put_back(system: &System, found: &[Wanted]) -> Result<Vec<String>, Failure> {
    let (mut back, mut stuck) = (Vec::new(), Vec::new());
    for name in ORDER {
        let Some(wanted) = found.iter().find(|wanted| wanted.name == name) else {
            continue;
        };
        let path = format!("{PARAMETERS}/{name}");
        let now = system.text(&path);
        if now.as_ref() == Ok(&wanted.value) {
            continue;
        }
        let written = system.files().write(&path, wanted.value.as_bytes());
        match written.and_then(|()| system.text(&path)) {
            Ok(now) if now == wanted.value => back.push(format!("{name}={}", wanted.value)),
            Ok(now) => stuck.push(format!("{name}={} (it is {now})", wanted.value)),
            Err(refusal) => stuck.push(format!("{name}={} ({refusal})", wanted.value)),
        }
    }
    match stuck.is_empty() {
        true => Ok(back),
        false => {
            let what = format!("these switches could not be put back: {}", stuck.join(", "));
            Err(Failure::new(Status::Failed, what).cure("set them with `rmcpctl set`"))
        }
    }
}

fn read(system: &System) -> Found<Option<Written>> {
    let bytes = match system.bytes(RECORD) {
        Err(Refusal::Missing) => return Ok(None),
        other => other?,
    };
    let record: Result<Written, _> = serde_json::from_slice(&bytes);
    match record {
        Ok(record) if record.format == FORMAT => Ok(Some(record)),
        _ => Err(Refusal::Other("it is not one of this command's".into())),
    }
}

/// The `try` that runs and may change the policy.
pub fn owner(system: &System) -> Option<u32> {
    let owner = read(system).ok()??.owner;
    owner.lives(system).then_some(owner.pid)
}

/// Refuses while a `try` runs.
///
/// # Errors
///
/// When one does.
pub fn refuse_while_running(system: &System) -> Result<(), Failure> {
    match owner(system) {
        Some(pid) => Err(busy(Some(pid))),
        None => Ok(()),
    }
}

/// Puts the policy back that a killed `try` left; what was done, or why not, in a sentence.
pub fn recover(system: &System) -> Option<String> {
    match recovered(system) {
        Ok(done) => done,
        Err(failure) => Some(format!("an earlier `rmcpctl try` was killed; {failure}")),
    }
}

fn recovered(system: &System) -> Result<Option<String>, Failure> {
    let unreadable = |refusal: Refusal| {
        let what = format!("its record /{RECORD} cannot be used: {refusal}");
        Failure::new(Status::Failed, what).cure("look at the switches, then delete it")
    };
    match read(system).map_err(unreadable)? {
        None => return Ok(None),
        Some(record) if record.owner.lives(system) => return Ok(None),
        Some(_) if !system.host().is_root() => {
            return Ok(Some(
                "an earlier `rmcpctl try` was killed and the policy may still be one of its own; any rmcpctl command puts \
                 it back when root gives it"
                    .into(),
            ));
        }
        Some(_) => {}
    }
    let Some(_lock) = system.files().lock(LOCK).map_err(unreadable)? else {
        return Ok(None);
    };
    // Between the two looks somebody else may have done it.
    let Some(record) = read(system).map_err(unreadable)? else {
        return Ok(None);
    };
    let pid = record.owner.pid;
    if !rmcp::is_loaded(system) {
        remove(system)?;
        return Ok(Some(format!(
            "an earlier `rmcpctl try` (pid {pid}) was killed; rmcp is not loaded any more, so there is nothing to put back"
        )));
    }
    let words = record.found.iter();
    let words: Vec<String> = words
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let found = parse_words(&words)?;
    let back = put_back(system, &found)?;
    remove(system)?;
    let what = match back.is_empty() {
        true => "the policy is as it found it already".to_owned(),
        false => format!(
            "the policy that it had found is put back: {}",
            back.join(" ")
        ),
    };
    let running = record.command.filter(|command| command.lives(system));
    let also = running.map_or(String::new(), |command| {
        format!("; its command still runs (pid {})", command.pid)
    });
    Ok(Some(format!(
        "an earlier `rmcpctl try` (pid {pid}) was killed; {what}{also}"
    )))
}
