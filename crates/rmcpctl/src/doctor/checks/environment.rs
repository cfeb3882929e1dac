// SPDX-License-Identifier: MIT OR Apache-2.0
//! Environment variables, of processes that run and in files that set them.

use super::{NO_GFX1010, OVERRIDE};
use crate::doctor::check::Finding;
use crate::doctor::gfx::Gfx;
use crate::doctor::machine::Machine;
use crate::doctor::machine::processes::Variable;
use crate::gpu::Generation;

/// The variable itself, and those for a single GPU (`HSA_OVERRIDE_GFX_VERSION_0`).
fn overrides_of(machine: &Machine) -> impl Iterator<Item = &Variable> {
    let all = machine.processes.variables.iter();
    all.filter(|variable| variable.name.starts_with("HSA_OVERRIDE_GFX_VERSION"))
}

pub(super) fn overrides(machine: &Machine) -> Vec<Finding> {
    let mut found = Vec::new();
    for variable in overrides_of(machine) {
        let told = format!("{}={} in {}", variable.name, variable.value, variable.place);
        let Some(claimed) = Gfx::from_override(&variable.value) else {
            found.push(
                Finding::note(format!("{told}: no version."))
                    .cure("it is three numbers, such as 10.3.0; better leave it out."),
            );
            continue;
        };
        for card in machine.ours() {
            if let Some(real) = card.target {
                found.push(compare(&told, claimed, real, &card.name()));
            }
        }
    }
    let refused = machine
        .processes
        .rocm
        .iter()
        .filter(|process| process.refused.is_some());
    for process in refused {
        let why = process.refused.as_deref().unwrap_or_default();
        let what = format!(
            "the environment of {} (pid {}) could not be read: {why}.",
            process.name, process.pid
        );
        found.push(Finding::unknown(what).cure("run it as root or as that user."));
    }
    if machine.processes.closed > 0 && machine.processes.rocm.is_empty() {
        let what = format!(
            "{} processes of other users could not be looked at.",
            machine.processes.closed
        );
        found.push(Finding::unknown(what).cure("as root all can be looked at."));
    }
    if found.is_empty() {
        let running = machine.processes.rocm.len();
        found.push(Finding::ok(format!(
            "it is not set, neither in files nor in the {running} processes that use ROCm now.",
        )));
    }
    found
}

fn compare(told: &str, claimed: Gfx, real: Gfx, card: &str) -> Finding {
    let unset = "leave the variable out, and use libraries that were built for the chip: see the checks of PyTorch and \
                 rocBLAS.";
    if claimed == real {
        return Finding::ok(format!(
            "{told}: that is what {card} is, so it changes nothing."
        ));
    }
    match (real.generation(), claimed.generation()) {
        (Generation::Rdna1, Generation::Rdna1) if claimed == Gfx::new(10, 1, 0) => Finding::note(format!(
            "{told}: {card} runs code for gfx1010, as a packager of ROCm suggested for gfx101x, without a promise."
        ))
        .source("https://github.com/ROCm/rocBLAS/issues/1331"),
        (Generation::Rdna1, Generation::Rdna1) => {
            Finding::note(format!("{told}: {card} runs code for {claimed}, of its own generation."))
        }
        (Generation::Rdna1, _) => Finding::problem(format!(
            "{told}: {card} is made to run code for {claimed}, which has instructions that it lacks. Cards like it ended \
             with 0x29 or crashed so, before ROCm 6 as well, and without any change of a page table."
        ))
        .cure(unset)
        .source(OVERRIDE),
        (Generation::Rdna2, Generation::Rdna2) if claimed == Gfx::new(10, 3, 0) => Finding::note(format!(
            "{told}: {card} runs code for gfx1030, the usual way for it. Failures that were traced there were in kernels of \
             MIOpen."
        ))
        .cure(
            "if a job fails, see whether it goes with MIOPEN_DEBUG_CONV_GEMM=0, with \
             MIOPEN_DEBUG_CONV_IMPLICIT_GEMM=0, or with torch.backends.cudnn.enabled=False.",
        )
        .source("https://github.com/ROCm/MIOpen/issues/2522, https://github.com/ROCm/MIOpen/issues/3540"),
        (Generation::Rdna2, Generation::Rdna2) => {
            Finding::note(format!("{told}: {card} runs code for {claimed}; 10.3.0 is what others use."))
        }
        _ => Finding::problem(format!("{told}: {card} is made to run code for {claimed}, another generation."))
            .cure(unset)
            .source("https://llvm.org/docs/AMDGPUUsage.html#processors"),
    }
}

pub(super) fn xnack(machine: &Machine) -> Vec<Finding> {
    let set: Vec<_> = machine.variables("HSA_XNACK").collect();
    if machine.ours().next().is_none() {
        return Vec::new();
    }
    if set.is_empty() {
        return vec![Finding::ok(
            "HSA_XNACK is not set, and nothing here can have it: KFD says no for GC 10.1.1 to 12.0.",
        )];
    }
    let told = set.into_iter().map(|variable| {
        let what = format!("HSA_XNACK={} in {}", variable.value, variable.place);
        if variable.value == "0" {
            return Finding::ok(format!("{what}: as it is anyway."));
        }
        Finding::note(format!(
            "{what}: without effect, KFD never reports XNACK for these chips. A program that relies on it (managed memory \
             used by the GPU without being moved there first) behaves differently."
        ))
        .cure("leave it out; amdgpu.noretry=0 does not enable XNACK either.")
    });
    told.collect()
}

/// Variables that change what a test shows.
const OTHERS: &[(&str, &str)] = &[
    (
        "HSA_DISABLE_CACHE",
        "ROCm asks for COHERENT and UNCACHED for what it allocates, so its mappings are UC already: rmcp's mtype=uc changes little",
    ),
    (
        "HSA_ENABLE_SDMA",
        "with 0, copies are made by shaders instead of the copy engines",
    ),
    (
        "AMD_SERIALIZE_KERNEL",
        "kernels wait for each other: slower, and a race may hide",
    ),
    (
        "AMD_SERIALIZE_COPY",
        "copies wait for each other: slower, and a race may hide",
    ),
    ("ROCR_VISIBLE_DEVICES", "only these GPUs are seen"),
    ("HIP_VISIBLE_DEVICES", "only these GPUs are seen"),
    ("GPU_MAX_HW_QUEUES", "fewer queues: other timing"),
    (
        "HSA_ENABLE_INTERRUPT",
        "with 0, waits are polled: other timing",
    ),
];

pub(super) fn others(machine: &Machine) -> Vec<Finding> {
    let mut found = Vec::new();
    for variable in &machine.processes.variables {
        let what = format!("{}={} in {}", variable.name, variable.value, variable.place);
        if let Some((_, means)) = OTHERS.iter().find(|(name, _)| *name == variable.name) {
            found.push(Finding::note(format!("{what}: {means}.")));
        } else if variable.name.starts_with("MIOPEN_DEBUG_") {
            found.push(
                Finding::note(format!(
                    "{what}: some of MIOpen's kernels are switched off or on by hand."
                ))
                .source("https://github.com/ROCm/MIOpen/issues/3540"),
            );
        } else if variable.name.starts_with("MIOPEN_") {
            found.push(Finding::note(format!(
                "{what}: MIOpen chooses, finds or keeps kernels in another way than usual."
            )));
        } else if variable.name == "PYTORCH_ROCM_ARCH" {
            found.push(
                Finding::note(format!(
                    "{what}: PyTorch reads it when it is built; it does not change a PyTorch that is installed."
                ))
                .source(NO_GFX1010),
            );
        }
    }
    if found.is_empty() {
        found.push(Finding::ok("none of those that this program knows is set."));
    }
    found
}
