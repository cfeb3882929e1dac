// SPDX-License-Identifier: MIT OR Apache-2.0
//! Installed PyTorch, rocBLAS and ROCm against the real chips.

use super::NO_GFX1010;
use crate::doctor::check::Finding;
use crate::doctor::gfx::Gfx;
use crate::doctor::machine::Machine;
use crate::doctor::machine::libraries::{Torch, major_minor};
use crate::gpu::Generation;
use std::collections::BTreeSet;

/// The chips that libraries are wanted for.
fn targets(machine: &Machine) -> BTreeSet<Gfx> {
    machine.ours().filter_map(|card| card.target).collect()
}

fn list(chips: impl IntoIterator<Item = Gfx>) -> String {
    let names: Vec<_> = chips.into_iter().map(|gfx| gfx.to_string()).collect();
    match names.is_empty() {
        true => "no chip".to_owned(),
        false => names.join(", "),
    }
}

/// What to do without code for a chip.
fn elsewhere(gfx: Gfx) -> String {
    match gfx.generation() {
        Generation::Rdna1 => format!(
            "use a build for {gfx}: TheRock (https://github.com/ROCm/TheRock/pull/4159) makes some for gfx101X, and \
             PYTORCH_ROCM_ARCH={gfx} builds one from source. An override to 10.3.0 is no cure."
        ),
        _ => format!(
            "use a build for {gfx}; or HSA_OVERRIDE_GFX_VERSION=10.3.0, the usual way for gfx1031 to gfx1036, if it has \
             gfx1030."
        ),
    }
}

pub(super) fn torch(machine: &Machine) -> Vec<Finding> {
    let targets = targets(machine);
    if targets.is_empty() {
        return Vec::new();
    }
    if machine.libraries.torch.is_empty() {
        return vec![Finding::unknown(
            "no PyTorch was found where it usually is, nor in a process that runs; --torch FOLDER names one.",
        )];
    }
    let all = machine.libraries.torch.iter();
    all.flat_map(|torch| one(torch, &targets)).collect()
}

fn one(torch: &Torch, targets: &BTreeSet<Gfx>) -> Vec<Finding> {
    let version = torch.version.as_deref().unwrap_or("of unknown version");
    let name = format!("PyTorch {version} in {}", torch.path);
    if torch.hip.is_none() {
        return vec![
            Finding::note(format!(
                "{name}: built without ROCm, so it uses no AMD GPU."
            ))
            .cure("install one that was built for ROCm (its version ends with +rocm)."),
        ];
    }
    let code = match &torch.code {
        Ok(code) => code,
        Err(why) => {
            return vec![Finding::unknown(format!(
                "{name}: its code could not be read: {why}."
            ))];
        }
    };
    if code.chips.is_empty() {
        let why = code.why.as_deref().unwrap_or("its bundles name no chip");
        return vec![Finding::unknown(format!(
            "{name}: its code could not be read: {why}."
        ))];
    }
    let has = list(code.chips.keys().copied());
    let told = targets.iter().map(|gfx| match code.chips.get(gfx) {
        Some(count) => Finding::ok(format!(
            "{name} has code for {gfx} in {count} of {} bundles.",
            code.bundles
        )),
        None if gfx.generation() == Generation::Rdna2
            && code.chips.contains_key(&Gfx::new(10, 3, 0)) =>
        {
            Finding::note(format!(
                "{name} has no code for {gfx}, but for gfx1030 (it has {has})."
            ))
            .cure(elsewhere(*gfx))
            .source("https://github.com/ROCm/rocBLAS/issues/1339")
        }
        None => Finding::problem(format!("{name} has no code for {gfx}; it has {has}."))
            .cure(elsewhere(*gfx))
            .source(NO_GFX1010),
    });
    let mut found: Vec<_> = told.collect();
    if code.unread > 0 {
        let why = code.why.as_deref().unwrap_or("of no known reason");
        found.push(Finding::unknown(format!(
            "{name}: {} of {} bundles could not be read: {why}.",
            code.unread, code.bundles
        )));
    }
    found
}

pub(super) fn tensile(machine: &Machine) -> Vec<Finding> {
    let targets = targets(machine);
    if targets.is_empty() {
        return Vec::new();
    }
    if machine.libraries.tensile.is_empty() {
        return vec![Finding::unknown("no folder rocblas/library was found.")];
    }
    let mut found = Vec::new();
    for folder in &machine.libraries.tensile {
        let has = list(folder.chips.iter().copied());
        for gfx in &targets {
            let gfx1030 = folder.chips.contains(&Gfx::new(10, 3, 0));
            found.push(if folder.chips.contains(gfx) {
                Finding::ok(format!("{} has kernels for {gfx}.", folder.path))
            } else if gfx.generation() == Generation::Rdna2 && gfx1030 {
                Finding::note(format!(
                    "{} has no kernels for {gfx}, but for gfx1030.",
                    folder.path
                ))
                .cure(elsewhere(*gfx))
            } else {
                Finding::problem(format!(
                    "{} has no kernels for {gfx}; it has {has}.",
                    folder.path
                ))
                .cure(elsewhere(*gfx))
            });
        }
    }
    found
}

/// What is known of versions. Only what somebody has shown.
pub(super) fn version(machine: &Machine) -> Vec<Finding> {
    let targets = targets(machine);
    let rdna1 = targets
        .iter()
        .any(|gfx| gfx.generation() == Generation::Rdna1);
    let rocm = machine.libraries.rocm.iter();
    let rocm = rocm.map(|rocm| {
        (
            format!("ROCm {} ({})", rocm.version, rocm.place),
            &rocm.version,
            None,
        )
    });
    let torch = machine.libraries.torch.iter().filter_map(|torch| {
        let hip = torch.hip.as_ref()?;
        Some((
            format!("PyTorch in {} is built with ROCm {hip}", torch.path),
            hip,
            Some(torch),
        ))
    });
    // A PyTorch whose code was read and fits is no such wheel.
    let fits = |torch: &Torch| {
        let code = torch.code.as_ref();
        code.is_ok_and(|code| targets.iter().all(|gfx| code.chips.contains_key(gfx)))
    };
    let told = rocm.chain(torch).map(|(name, version, torch)| match major_minor(version) {
        Some(version) if rdna1 && ((5, 3)..(6, 1)).contains(&version) => Finding::note(format!(
            "{name}: for gfx1010, jobs that ran with 5.2 failed from 5.3 on; AMD's packages up to 6.0 have mostly no kernels \
             of rocBLAS for it."
        ))
        .cure("a build for the chip of a later version; see the checks of PyTorch and rocBLAS for what is installed.")
        .source("https://github.com/ROCm/legacy-rocm-build/issues/2527, https://github.com/ROCm/legacy-rocm-build/issues/2782"),
        Some(version) if rdna1 && version >= (6, 2) && torch.is_some_and(|torch| !fits(torch)) => Finding::note(format!(
            "{name}: PyTorch's own wheels of ROCm 6.2 had no code for gfx1010; the check of PyTorch says what this one has."
        ))
        .source(NO_GFX1010),
        Some(_) => Finding::ok(format!("{name}: nothing against it is known here for this GPU.")),
        None => Finding::unknown(format!("{name}: that is no version.")),
    });
    let found: Vec<_> = told.collect();
    match found.is_empty() {
        true => vec![Finding::unknown(
            "no ROCm was found in /opt or among Debian's packages.",
        )],
        false => found,
    }
}
