// SPDX-License-Identifier: MIT OR Apache-2.0
//! What does not fit is refused in words, and amdgpu loads and maps as if rmcp were not there.

use crate::altered::{Alteration, make};
use crate::lifecycle::{TARGET, demand_policy};
use crate::resources::Resources;
use crate::stage::{Needs, RMCP, Scenario, Stage, demand};
use anyhow::{Result, bail};
use guest::proto::RemoveFile;
use xtask::demo::policy::Policy;
use xtask::vm::Vm;
use xtask::vm::actions::AMDGPU_PARAMETERS;
use xtask::vm::initramfs::AMDGPU;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "ftrace_enabled=0: the kernel refuses it, or rmcp does",
        Needs::Driver,
        ftrace_off,
    ),
    Scenario::new(
        "a driver without the function is refused and works",
        Needs::NoDriver,
        renamed,
    ),
    Scenario::new(
        "a driver whose function has another prototype is refused and works",
        Needs::NoDriver,
        prototype,
    ),
];

/// How the altered driver's file is called in the guest.
const ALTERED: &str = "amdgpu-altered";

fn ftrace_off(stage: &mut Stage) -> Result<()> {
    const SWITCH: &str = "/proc/sys/kernel/ftrace_enabled";
    const EOPNOTSUPP: i32 = 95;
    match stage.write(SWITCH, b"0\n")? {
        // Linux 7.3: "The ftrace_enabled file is deprecated and no longer disables ftrace".
        Err(failure) if failure.errno == Some(EOPNOTSUPP) => {
            demand!(
                stage.text(SWITCH)?.trim() == "1",
                "the kernel refused 0, but ftrace_enabled is not 1"
            );
            stage.rmcp_mtype("mtype=uc")?;
            stage.expect_state("armed")?;
            demand_policy(stage, Policy::Uc)
        }
        Ok(()) => {
            stage.rmcp_mtype("mtype=uc")?;
            let state = stage.parameter(RMCP, "state")?;
            demand_policy(stage, Policy::Stock)?;
            stage.unload(RMCP)?;
            let restored = stage.write(SWITCH, b"1\n")?;
            demand!(
                restored.is_ok(),
                "cannot switch ftrace on again: {restored:?}"
            );
            demand!(
                state.starts_with("refused: ") && state.contains("ftrace"),
                "state is {state:?} without ftrace"
            );
            Ok(())
        }
        Err(failure) => bail!("{failure}"),
    }
}

fn renamed(stage: &mut Stage) -> Result<()> {
    refused(stage, Alteration::Renamed(TARGET))
}

fn prototype(stage: &mut Stage) -> Result<()> {
    refused(stage, Alteration::OtherPrototype(TARGET))?;
    // The same rmcp takes the real driver when that comes.
    stage.load_amdgpu()?;
    stage.expect_state("armed")?;
    demand_policy(stage, Policy::Uc)
}

/// Loads the altered driver with rmcp waiting for it; rmcp must refuse it, again when it is reloaded, and again on a
/// write of a switch, and say so once each time.
fn refused(stage: &mut Stage, alteration: Alteration) -> Result<()> {
    make(stage, ALTERED, &[alteration])?;
    stage.load_amdgpu_needs()?;
    let mark = stage.mark()?;
    stage.rmcp_mtype("mtype=uc")?;
    stage.expect_state("waiting for amdgpu")?;
    stage.load(ALTERED, AMDGPU_PARAMETERS)?;
    demand_refused(stage)?;
    let lines = stage.rmcp_lines(mark)?;
    let told = lines.iter().filter(|line| line.contains("refused")).count();
    demand!(
        told == 1,
        "expected one line about the refusal, found {lines:?}"
    );
    demand_policy(stage, Policy::Stock)?;

    stage.unload(RMCP)?;
    stage.rmcp_mtype("mtype=uc")?;
    demand_refused(stage)?;
    stage.switch("mtype", "nc")?;
    demand_refused(stage)?;
    stage.switch("enable", "N")?;
    stage.expect_state("disabled (enable=N)")?;
    stage.switch("enable", "Y")?;
    demand_refused(stage)?;
    stage.switch("mtype", "uc")?;
    demand_policy(stage, Policy::Stock)?;

    stage.unload(AMDGPU)?;
    stage.expect_state("waiting for amdgpu")?;
    stage.call(RemoveFile {
        path: Vm::module_path(ALTERED),
    })
}

fn demand_refused(stage: &mut Stage) -> Result<()> {
    let state = stage.parameter(RMCP, "state")?;
    let words = state.strip_prefix("refused: ");
    demand!(
        words.is_some_and(|words| words.contains(TARGET)),
        "state is {state:?}, expected a refusal that names {TARGET}"
    );
    let traced = Resources::read(stage)?.traces(TARGET);
    demand!(
        !traced,
        "rmcp refused the driver, but ftrace has something on {TARGET}"
    );
    Ok(())
}
