// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the logs tell.

use crate::doctor::check::Finding;
use crate::doctor::log::event::{Event, Kind, about};
use crate::doctor::log::fault::Fault;
use crate::doctor::log::lines::Boot;
use crate::doctor::log::reading::{hub, sentence};
use crate::doctor::log::{Place, Read};
use crate::doctor::machine::Machine;
use crate::gpu::Gc;

/// The most groups that are told of.
const GROUPS: usize = 40;

/// The graphics core of the GPU that a fault is of.
fn core(machine: &Machine, fault: &Fault) -> Option<Gc> {
    let cards = machine.cards();
    let own = cards
        .iter()
        .find(|card| Some(&card.gpu.address) == fault.device.as_ref());
    // A log of another boot may have other addresses; with one GPU there is no doubt.
    let only = cards.first().filter(|_| cards.len() == 1);
    own.or(only)?.gpu.gc
}

/// Faults that differ in nothing but address and time.
fn same(one: &Fault, other: &Fault) -> bool {
    (
        one.boot,
        &one.device,
        &one.process,
        one.status,
        one.vmid,
        one.hub,
    ) == (
        other.boot,
        &other.device,
        &other.process,
        other.status,
        other.vmid,
        other.hub,
    )
}

pub(super) fn faults(machine: &Machine) -> Vec<Finding> {
    let log = &machine.log;
    let mut groups: Vec<(&Fault, u64, u64, usize)> = Vec::new();
    for fault in &log.faults {
        let address = fault.address.unwrap_or(0);
        match groups.iter_mut().find(|(first, ..)| same(first, fault)) {
            Some((_, low, high, count)) => {
                (*low, *high, *count) = ((*low).min(address), (*high).max(address), *count + 1);
            }
            None => groups.push((fault, address, address, 1)),
        }
    }
    let more = groups.len().saturating_sub(GROUPS);
    let mut found: Vec<_> = groups
        .iter()
        .rev()
        .take(GROUPS)
        .map(|(fault, low, high, count)| {
            let gc = core(machine, fault);
            let mut head = fault.boot.words().to_owned();
            for (name, value) in [("at", &fault.time), ("on", &fault.device)] {
                if let Some(value) = value {
                    head += &format!(" {name} {value}");
                }
            }
            head += &format!(", {}", hub(fault));
            for (name, value) in [("VMID", fault.vmid), ("PASID", fault.pasid)] {
                if let Some(value) = value {
                    head += &format!(", {name} {value}");
                }
            }
            if let Some(status) = fault.status {
                head += &format!(
                    ", status {:#010x} (walker error {}, permission faults {:#x}, mapping error {})",
                    status.0,
                    status.walker_error(),
                    status.permission_faults(),
                    u8::from(status.mapping_error()),
                );
            }
            let times = match count {
                1 => String::new(),
                _ => format!(" {count} such faults, {low:#x} to {high:#x}."),
            };
            Finding::problem(format!("{head}: {}{times}", sentence(fault, gc)))
        })
        .collect();
    if more > 0 {
        found.push(Finding::note(format!(
            "{more} older kinds of faults are only in the JSON."
        )));
    }
    if log.suppressed > 0 {
        found.push(Finding::note(format!(
            "the kernel left out {} messages about faults that came too fast.",
            log.suppressed
        )));
    }
    if !found.is_empty() {
        let entry = "a fault is about what is mapped, not about its memory type or fragment: rmcp changes no address and no \
                     permission, so look at the program first.";
        if let Some(first) = found.first_mut() {
            *first = first
                .clone()
                .cure(entry)
                .source("docs/policy.md, section 1");
        }
        return found;
    }
    let mut found = vec![];
    for (boot, name) in [(Boot::This, "this boot"), (Boot::Last, "the last boot")] {
        if log.has(boot) {
            found.push(Finding::ok(format!("none in the log of {name}.")));
        } else if !log.has(Boot::Unknown) {
            found.push(Finding::unknown(format!(
                "no log of {name} could be read; see the last check."
            )));
        }
    }
    if log.has(Boot::Unknown) {
        found.push(Finding::ok("none in the files of syslog."));
    }
    found
}

pub(super) fn events(machine: &Machine) -> Vec<Finding> {
    let events: Vec<_> = machine
        .log
        .events
        .iter()
        .filter(|event| event.kind != Kind::RejectedAtomics)
        .collect();
    let mut kinds: Vec<(Kind, Boot)> = events
        .iter()
        .map(|event| (event.kind, event.boot))
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    let told = kinds.into_iter().map(|(kind, boot)| {
        let of: Vec<&Event> = events
            .iter()
            .copied()
            .filter(|e| (e.kind, e.boot) == (kind, boot))
            .collect();
        let last = of.last().map_or("", |event| event.text.as_str());
        let times = match of.len() {
            1 => "once".to_owned(),
            n => format!("{n} times"),
        };
        let known = about(kind);
        let what = format!("{}, {times}: {last:?}: {}.", boot.words(), known.meaning);
        let finding = match kind {
            Kind::RingReset => Finding::note(what),
            _ => Finding::problem(what),
        };
        finding.source(known.source)
    });
    let found: Vec<_> = told.collect();
    if !found.is_empty() {
        return found;
    }
    match machine.log.has(Boot::This) || machine.log.has(Boot::Unknown) {
        true => vec![Finding::ok("none in the logs that were read.")],
        false => vec![Finding::unknown(
            "no log could be read; see the last check.",
        )],
    }
}

pub(super) fn places(machine: &Machine) -> Vec<Finding> {
    let told = machine
        .log
        .places
        .iter()
        .map(|Place { place, boot, read }| match read {
            Read::Lines(count) => {
                Finding::ok(format!("{place} ({}): {count} lines.", boot.words()))
            }
            Read::Failed(why) => Finding::unknown(format!(
                "{place} ({}) could not be read: {why}.",
                boot.words()
            ))
            .cure("run it as root, or as a member of group adm or systemd-journal."),
        });
    told.collect()
}
