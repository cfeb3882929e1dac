// SPDX-License-Identifier: MIT OR Apache-2.0
//! An amdgpu that is not the distribution's, as AMD's amdgpu-dkms is not: rmcp looks at what it is and not at whose it
//! is, works where everything fits, and says in one sentence what does not and whose driver it is.
//!
//! What AMD's differs in was read in its source, release 6.12.12: `dkms.conf` (installed below `updates/dkms`),
//! `configure.ac` and `amdgpu_drv.c` (the module has a version), `gmc_v10_0.c` (three parameters); and in the newer
//! `pre-build.sh` of ROCm/amdgpu (BTF only on demand).

use crate::altered::{Alteration, make};
use crate::lifecycle::{TARGET, demand_policy};
use crate::resources::Resources;
use crate::stage::{Needs, RMCP, Scenario, Stage, demand};
use anyhow::Result;
use guest::proto::RemoveFile;
use xtask::demo::policy::Policy;
use xtask::vm::Vm;
use xtask::vm::actions::AMDGPU_PARAMETERS;
use xtask::vm::initramfs::AMDGPU;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "an amdgpu from outside the kernel is hooked where it fits, and told of",
        Needs::NoDriver,
        fits,
    ),
    Scenario::new(
        "an amdgpu from outside the kernel with AMD's older prototype is refused and works",
        Needs::NoDriver,
        older,
    ),
    Scenario::new(
        "an amdgpu from outside the kernel without type information is refused and works",
        Needs::NoDriver,
        without_types,
    ),
    Scenario::new(
        "an amdgpu from outside the kernel whose struct lacks a member is refused and works",
        Needs::NoDriver,
        other_member,
    ),
    Scenario::new(
        "an amdgpu from outside the kernel without the function is refused and works",
        Needs::NoDriver,
        without_function,
    ),
];

/// Where DKMS puts it.
const FILE: &str = "updates/dkms/amdgpu";

/// What ends a refusal of a driver that was built outside the kernel and says that it is version 6.12.12.
const OUTSIDER: &str = "; this amdgpu was built outside the kernel (version 6.12.12): to use the kernel's own, remove \
     its package, such as amdgpu-dkms, and reboot";

const OUTSIDE: Alteration = Alteration::Outside("6.12.12");

fn fits(stage: &mut Stage) -> Result<()> {
    make(stage, FILE, &[OUTSIDE])?;
    stage.load_amdgpu_needs()?;
    stage.rmcp_mtype("mtype=uc")?;
    stage.load(FILE, AMDGPU_PARAMETERS)?;
    // That the copy is what it should be, from the kernel's own mouth.
    demand!(
        stage.text("/sys/module/amdgpu/version")?.trim() == "6.12.12",
        "the copy has another version"
    );
    demand!(
        stage.text("/sys/module/amdgpu/taint")?.contains('O'),
        "the copy counts as part of the kernel"
    );
    demand_told(stage)?;
    demand_policy(stage, Policy::Uc)?;
    // And when it was there first.
    stage.unload(RMCP)?;
    stage.rmcp_mtype("mtype=uc")?;
    demand_told(stage)?;
    demand_policy(stage, Policy::Uc)?;
    stage.switch("mtype", "keep")?;
    demand_policy(stage, Policy::Stock)?;
    stage.unload(AMDGPU)?;
    // Of the kernel's own nothing of the kind is said.
    stage.switch("mtype", "uc")?;
    stage.load_amdgpu()?;
    stage.expect_state("armed")?;
    let state = stage.parameter(RMCP, "state")?;
    demand!(
        !state.contains("driver:"),
        "state is {state:?} with the kernel's own amdgpu"
    );
    leave(stage)
}

fn demand_told(stage: &mut Stage) -> Result<()> {
    let state = stage.parameter(RMCP, "state")?;
    demand!(
        state.starts_with("armed\n")
            && state
                .lines()
                .any(|line| line == "driver: built outside the kernel (version 6.12.12)"),
        "state is {state:?}"
    );
    Ok(())
}

fn older(stage: &mut Stage) -> Result<()> {
    let shorter = Alteration::ShorterPrototype(TARGET, "amdgpu_bo_va_mapping");
    let why = format!(
        "{TARGET} is `void (struct amdgpu_device *, struct amdgpu_bo_va_mapping *, u64 *)`, expected `void (struct \
         amdgpu_device *, struct amdgpu_vm *, struct amdgpu_bo *, u32, u64 *)`"
    );
    refused(stage, shorter, &why)
}

fn without_types(stage: &mut Stage) -> Result<()> {
    let why = "this amdgpu brings no type information (BTF) to check it by; one that was built with it is needed";
    refused(stage, Alteration::NoTypeInfo, why)
}

fn other_member(stage: &mut Stage) -> Result<()> {
    let why = "struct amdgpu_vm of this amdgpu has no member is_compute_context that is `bool`";
    refused(stage, Alteration::OtherMember("is_compute_context"), why)
}

fn without_function(stage: &mut Stage) -> Result<()> {
    let why =
        format!("this amdgpu has no function {TARGET}; a driver that supports RDNA1/2 is needed");
    refused(stage, Alteration::Renamed(TARGET), &why)
}

/// Loads a driver from outside the kernel that is altered, before and after rmcp: rmcp must refuse it for the reason
/// given, say so once, and leave it alone.
fn refused(stage: &mut Stage, alteration: Alteration, why: &str) -> Result<()> {
    make(stage, FILE, &[OUTSIDE, alteration])?;
    stage.load_amdgpu_needs()?;
    let mark = stage.mark()?;
    stage.rmcp_mtype("mtype=uc")?;
    stage.load(FILE, AMDGPU_PARAMETERS)?;
    let sentence = format!("refused: {why}{OUTSIDER}");
    demand_refused(stage, &sentence)?;
    let lines = stage.rmcp_lines(mark)?;
    let told = lines.iter().filter(|line| line.contains(&sentence)).count();
    demand!(
        told == 1,
        "expected one line with the refusal, found {lines:?}"
    );
    demand_policy(stage, Policy::Stock)?;
    stage.unload(RMCP)?;
    stage.rmcp_mtype("mtype=uc")?;
    demand_refused(stage, &sentence)?;
    demand_policy(stage, Policy::Stock)?;
    leave(stage)
}

fn demand_refused(stage: &mut Stage, sentence: &str) -> Result<()> {
    let state = stage.parameter(RMCP, "state")?;
    demand!(
        state == sentence,
        "state is {state:?}, expected {sentence:?}"
    );
    let traced = Resources::read(stage)?.traces(TARGET);
    demand!(
        !traced,
        "rmcp refused the driver, but ftrace has something on {TARGET}"
    );
    Ok(())
}

fn leave(stage: &mut Stage) -> Result<()> {
    stage.unload(RMCP)?;
    stage.unload(AMDGPU)?;
    stage.call(RemoveFile {
        path: Vm::module_path(FILE),
    })
}
