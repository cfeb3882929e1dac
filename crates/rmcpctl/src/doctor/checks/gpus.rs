// SPDX-License-Identifier: MIT OR Apache-2.0
//! GPUs, and whether ROCm and the user get at them.

use crate::doctor::check::Finding;
use crate::doctor::log::event::Kind;
use crate::doctor::machine::Machine;
use crate::gpu::Generation;

pub(super) fn generation(machine: &Machine) -> Vec<Finding> {
    let cards = match &machine.cards {
        Ok(cards) => cards,
        Err(why) => return vec![Finding::unknown(format!("{why}."))],
    };
    if cards.is_empty() {
        return vec![Finding::problem("no AMD GPU is on the PCI bus.")];
    }
    let told = cards.iter().map(|card| {
        let core = card
            .gpu
            .gc
            .map_or("of unknown version".to_owned(), |gc| gc.to_string());
        let what = format!(
            "{}: {}, graphics core {core}",
            card.name(),
            card.gpu.generation
        );
        match card.gpu.generation {
            Generation::Rdna1 | Generation::Rdna2 => Finding::ok(format!("{what}.")),
            Generation::Other => Finding::note(format!("{what}; rmcp leaves it alone.")),
            Generation::Unknown => Finding::note(format!("{what}; rmcp asks the driver itself.")),
        }
    });
    let mut found: Vec<_> = told.collect();
    if machine.ours().count() >= 1 && cards.len() > machine.ours().count() {
        found.push(
            Finding::note("there are GPUs of several generations: a job may run on another one than you think.")
                .cure("ROCR_VISIBLE_DEVICES=N (the number in rocminfo) lets a job see one only."),
        );
    }
    found
}

pub(super) fn node(machine: &Machine) -> Vec<Finding> {
    if !machine.driver.loaded {
        return vec![
            Finding::problem("amdgpu is not loaded.")
                .cure("sudo modprobe amdgpu; the kernel log says why if it fails."),
        ];
    }
    if !machine.kfd {
        return vec![
            Finding::problem("/sys/class/kfd is not there: this amdgpu has no KFD.")
                .cure("use a kernel with CONFIG_HSA_AMD=y."),
        ];
    }
    let told = machine.ours().map(|card| {
        if let Some(node) = &card.gpu.kfd {
            return Finding::ok(format!("{}: node {} of KFD.", card.name(), node.node));
        }
        if card.gpu.driver.as_deref() != Some("amdgpu") {
            let driver = card.gpu.driver.as_deref().unwrap_or("no driver");
            return Finding::problem(format!("{}: {driver} has it, not amdgpu.", card.name()));
        }
        let rejected = machine
            .log
            .events
            .iter()
            .any(|event| event.kind == Kind::RejectedAtomics);
        let why = match rejected {
            true => "the kernel log says that PCIe atomics are the reason (see that check)",
            false => {
                "the kernel log may say why (lines with kfd), or this user may not see the node"
            }
        };
        Finding::problem(format!("{}: KFD has no node for it; {why}.", card.name()))
    });
    told.collect()
}

pub(super) fn access(machine: &Machine) -> Vec<Finding> {
    let Some(user) = &machine.user else {
        return vec![Finding::unknown(
            "not looked at: nobody was named. --user NAME says who is to use the GPU.",
        )];
    };
    let groups = match &user.groups {
        Ok(groups) => groups,
        Err(why) => {
            return vec![Finding::unknown(format!(
                "the groups of {} could not be read: {why}.",
                user.name
            ))];
        }
    };
    let told = machine.nodes.iter().map(|node| {
        let mode = match &node.mode {
            Ok(mode) => mode,
            Err(why) => return Finding::unknown(format!("{} could not be looked at: {why}.", node.path)),
        };
        let bits = format!("{} ({:03o}, {}:{})", node.path, mode.bits, mode.owner, mode.group);
        if mode.allows(&user.name, groups) {
            return Finding::ok(format!("{} may read and write {bits}.", user.name));
        }
        let cure = match (mode.bits >> 3 & 6 == 6, mode.group.as_str()) {
            (true, group) if group != "root" => {
                format!("sudo usermod -aG {group} {}, then log in anew.", user.name)
            }
            _ => "a udev rule of your distribution is missing: ROCm's packages bring one that gives it to group render."
                .to_owned(),
        };
        Finding::problem(format!("{} may not read and write {bits}.", user.name)).cure(cure)
    });
    told.collect()
}
