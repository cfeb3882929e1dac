// SPDX-License-Identifier: MIT OR Apache-2.0
//! The PCI Express side: atomics with the compute firmware, and how much video memory the CPU reaches.

use crate::doctor::check::Finding;
use crate::doctor::log::event::Kind;
use crate::doctor::machine::bus::Atomics;
use crate::doctor::machine::{Card, Machine};
use crate::gpu::{Gc, Generation};

/// The compute firmware from which on KFD does without PCIe atomics: `no_atomic_fw_version` in
/// `kfd_device_info_init()`.
fn enough(gc: Option<Gc>, generation: Generation) -> u64 {
    match (gc.map(|gc| (gc.major, gc.minor, gc.revision)), generation) {
        (Some((10, 3, 6)), _) => 14,
        (Some((10, 3, 7)), _) => 3,
        (_, Generation::Rdna2) => 92,
        _ => 145,
    }
}

pub(super) fn atomics(machine: &Machine) -> Vec<Finding> {
    let mut found: Vec<_> = machine.ours().map(one).collect();
    let events = machine.log.events.iter();
    let mut rejected = events.filter(|event| event.kind == Kind::RejectedAtomics);
    if let Some(event) = rejected.next_back() {
        found.push(
            Finding::problem(format!(
                "the kernel log ({}) says {:?}.",
                event.boot.words(),
                event.text
            ))
            .cure("newer firmware (linux-firmware), or a slot whose root port completes atomics."),
        );
    }
    found
}

fn one(card: &Card) -> Finding {
    let name = card.name();
    if card.is_apu() {
        return Finding::ok(format!("{name}: an APU, which needs no PCIe atomics."));
    }
    let enough = enough(card.gpu.gc, card.gpu.generation);
    match (&card.atomics, &card.mec) {
        (Atomics::Yes, _) => Finding::ok(format!("{name}: PCIe atomics are on.")),
        (Atomics::No(why), Ok(mec)) if *mec >= enough => Finding::ok(format!(
            "{name}: no PCIe atomics ({why}), but compute firmware {mec} does without (from {enough} on)."
        )),
        (Atomics::No(why), Ok(mec)) => Finding::problem(format!(
            "{name}: no PCIe atomics ({why}), and compute firmware {mec} needs them (up to {}): KFD leaves the GPU out.",
            enough - 1
        ))
        .cure("newer firmware (linux-firmware), or a slot whose root port completes atomics."),
        (Atomics::No(why), Err(firmware)) => {
            Finding::unknown(format!("{name}: no PCIe atomics ({why}), and the version of its firmware could not be read: {firmware}."))
        }
        (Atomics::Unknown(_), Ok(mec)) if *mec >= enough => Finding::ok(format!(
            "{name}: compute firmware {mec} does without PCIe atomics (from {enough} on)."
        )),
        (Atomics::Unknown(why), Ok(mec)) => Finding::unknown(format!(
            "{name}: whether it has PCIe atomics could not be read: {why}; with compute firmware {mec} it needs atomics (up to {}).",
            enough - 1
        )),
        (Atomics::Unknown(why), Err(firmware)) => Finding::unknown(format!("{name}: could not be read: {why}; {firmware}.")),
    }
}

pub(super) fn bar(machine: &Machine) -> Vec<Finding> {
    let told = machine.ours().filter(|card| !card.is_apu()).map(|card| {
        let name = card.name();
        let (Some(bar), Some(vram)) = (card.gpu.bar, card.gpu.vram) else {
            return Finding::unknown(format!("{name}: sysfs does not tell the sizes of BAR 0 and of video memory."));
        };
        let (mib, all) = (bar >> 20, vram >> 20);
        if bar >= vram {
            return Finding::ok(format!("{name}: the CPU reaches all {all} MiB of video memory."));
        }
        Finding::note(format!(
            "{name}: the CPU reaches {mib} of {all} MiB of video memory. No failure is known to come from that."
        ))
        .cure("\"Resizable BAR\" and \"Above 4G decoding\" in the firmware's setup make it large, if you want it.")
    });
    told.collect()
}
