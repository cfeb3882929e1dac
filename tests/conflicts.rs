// SPDX-License-Identifier: MIT OR Apache-2.0
//! Others on the same functions. Tracers and probes live beside rmcp on each of them, in either order of loading and
//! unloading, and each sees its calls; so do owners of the instruction pointer and direct calls, except on the function
//! that small limits of fragments take over: that has one owner, and whoever comes second is told so.

use crate::lifecycle::TARGET;
use crate::others::{KPOST, LIVEPATCH, OTHERS, Other, withdraw};
use crate::probe::{Probe, Seen};
use crate::resources::{Resources, demand_gone};
use crate::stage::{Needs, RMCP, Scenario, Stage, demand};
use anyhow::{Context, Result, bail};
use guest::proto::{DrmClose, DrmInfo, DrmOpen};
use xtask::vm::actions::{AMDGPU_PARAMETERS, RENDER_NODE};
use xtask::vm::initramfs::AMDGPU;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "others coexist where entries are written by CPU",
        Needs::NoDriver,
        cpu_update,
    ),
    Scenario::new(
        "others coexist where requests are read",
        Needs::Driver,
        get_vm_pte,
    ),
    Scenario::new(
        "others coexist where entries are written by SDMA",
        Needs::Driver,
        sdma_update,
    ),
    Scenario::new(
        "others coexist where ranges are updated, with 2 MiB fragments",
        Needs::Driver,
        ptes_update,
    ),
    Scenario::new(
        "tracers and probes coexist where ranges are updated, with small fragments",
        Needs::Driver,
        ptes_update_cut,
    ),
    Scenario::new(
        "an owner of the range update is told of, and rmcp arms when it goes",
        Needs::Driver,
        taken,
    ),
    Scenario::new(
        "a live patch that is withdrawn makes room for the next write of enable",
        Needs::Driver,
        withdrawn,
    ),
    Scenario::new(
        "an owner that comes after rmcp is refused by the kernel",
        Needs::Driver,
        second,
    ),
    Scenario::new(
        "others coexist where a device is set up",
        Needs::Driver,
        adjust_size,
    ),
    Scenario::new(
        "ftrace switched off is refused in words",
        Needs::Driver,
        ftrace_off,
    ),
    Scenario::new(
        "every call under load is NC or UC while switches change",
        Needs::Driver,
        calls,
    ),
];

const SDMA_UPDATE: &str = "amdgpu_vm_sdma_update";
const CPU_UPDATE: &str = "amdgpu_vm_cpu_update";
const PTES_UPDATE: &str = "amdgpu_vm_ptes_update";
const ADJUST_SIZE: &str = "amdgpu_vm_adjust_size";
/// All functions that rmcp may hook.
const FUNCTIONS: [&str; 5] = [TARGET, SDMA_UPDATE, CPU_UPDATE, PTES_UPDATE, ADJUST_SIZE];

/// The helper module that calls a hooked function.
const CALLER: &str = "rmcp_call";

fn load_rmcp(stage: &mut Stage, limit: u8) -> Result<()> {
    stage.rmcp(&format!("mtype=uc fragment_size={limit}"))?;
    stage.expect_state("armed")
}

fn get_vm_pte(stage: &mut Stage) -> Result<()> {
    let probe = Probe::new(stage)?;
    coexist(stage, &probe, TARGET, 9, OTHERS)
}

fn sdma_update(stage: &mut Stage) -> Result<()> {
    let probe = Probe::new(stage)?;
    coexist(stage, &probe, SDMA_UPDATE, 9, OTHERS)
}

fn cpu_update(stage: &mut Stage) -> Result<()> {
    stage.load_amdgpu_needs()?;
    // Both graphics and compute address spaces are written by the CPU.
    stage.load(AMDGPU, &format!("{AMDGPU_PARAMETERS} vm_update_mode=3"))?;
    let probe = Probe::new(stage)?;
    coexist(stage, &probe, CPU_UPDATE, 9, OTHERS)?;
    probe.close(stage)?;
    // The next scenario is to find the driver as it usually is.
    stage.unload(AMDGPU)
}

/// rmcp does not hook it then.
fn ptes_update(stage: &mut Stage) -> Result<()> {
    let probe = Probe::new(stage)?;
    coexist(stage, &probe, PTES_UPDATE, 9, OTHERS)
}

fn ptes_update_cut(stage: &mut Stage) -> Result<()> {
    let plain: Vec<Other> = OTHERS.iter().copied().filter(|other| !other.owns).collect();
    let probe = Probe::new(stage)?;
    coexist(stage, &probe, PTES_UPDATE, 4, &plain)
}

/// The other first and rmcp first, who came first leaving first; the first of the others in all four orders.
fn coexist(
    stage: &mut Stage,
    probe: &Probe,
    function: &str,
    limit: u8,
    others: &[Other],
) -> Result<()> {
    for (index, other) in others.iter().enumerate() {
        for rmcp_first in [false, true] {
            for rmcp_leaves_first in [false, true] {
                if index > 0 && rmcp_leaves_first != rmcp_first {
                    continue;
                }
                let order = [rmcp_first, rmcp_leaves_first];
                both(stage, probe, function, limit, *other, order).with_context(|| {
                    format!(
                        "{} on {function} (rmcp first: {rmcp_first}, rmcp leaves first: {rmcp_leaves_first})",
                        other.name
                    )
                })?;
            }
        }
    }
    demand_clean(stage, &FUNCTIONS)?;
    probe.demand(stage, Seen::Stock)
}

fn both(
    stage: &mut Stage,
    probe: &Probe,
    function: &str,
    limit: u8,
    other: Other,
    [rmcp_first, rmcp_leaves_first]: [bool; 2],
) -> Result<()> {
    if rmcp_first {
        load_rmcp(stage, limit)?;
        other.load(stage, function)?;
    } else {
        other.load(stage, function)?;
        load_rmcp(stage, limit)?;
    }
    other.sees(stage, |stage| probe.demand(stage, Seen::Uc(limit)))?;
    if rmcp_leaves_first {
        stage.unload(RMCP)?;
        other.sees(stage, |stage| probe.demand(stage, Seen::Stock))?;
        other.unload(stage)
    } else {
        other.unload(stage)?;
        stage.expect_state("armed")?;
        probe.demand(stage, Seen::Uc(limit))?;
        stage.unload(RMCP)
    }
}

/// Nobody may have anything on these functions.
fn demand_clean(stage: &mut Stage, functions: &[&str]) -> Result<()> {
    let resources = Resources::read(stage)?;
    for function in functions {
        demand!(
            !resources.traces(function),
            "ftrace has something on {function}, but nobody may"
        );
    }
    Ok(())
}

/// `state` must refuse because of the function, nothing may be hooked, and the driver must work as without rmcp.
fn demand_taken(stage: &mut Stage, probe: &Probe) -> Result<()> {
    let state = stage.parameter(RMCP, "state")?;
    demand!(
        state.starts_with("refused: ") && state.contains(PTES_UPDATE),
        "state is {state:?}, expected a refusal that names {PTES_UPDATE}"
    );
    demand!(
        state.contains("live patch"),
        "state does not say who may be in the way: {state:?}"
    );
    let free: Vec<&str> = FUNCTIONS
        .into_iter()
        .filter(|function| *function != PTES_UPDATE)
        .collect();
    demand_clean(stage, &free)?;
    probe.demand(stage, Seen::Stock)
}

/// Who owns the instruction pointer of the function, by each mechanism there is.
fn owners() -> impl Iterator<Item = Other> {
    OTHERS.iter().copied().filter(|other| other.owns)
}

fn taken(stage: &mut Stage) -> Result<()> {
    let probe = Probe::new(stage)?;
    for other in owners() {
        refused(stage, &probe, other).with_context(|| other.name.to_owned())?;
    }
    demand_gone(stage)?;
    probe.demand(stage, Seen::Stock)
}

fn refused(stage: &mut Stage, probe: &Probe, other: Other) -> Result<()> {
    other.load(stage, PTES_UPDATE)?;
    let mark = stage.mark()?;
    stage.rmcp("mtype=uc fragment_size=4")?;
    demand_taken(stage, probe)?;
    let lines = stage.rmcp_lines(mark)?;
    let told = lines
        .iter()
        .filter(|line| line.contains("refused: ") && line.contains(PTES_UPDATE))
        .count();
    demand!(
        told == 1,
        "expected one line about the refusal, found {lines:?}"
    );
    other.sees(stage, |stage| probe.demand(stage, Seen::Stock))?;
    // Who does not need the function is not hindered, and a write that does leaves nothing half done.
    stage.switch("fragment_size", "9")?;
    stage.expect_state("armed")?;
    other.sees(stage, |stage| probe.demand(stage, Seen::Uc(9)))?;
    stage.switch("fragment_size", "8")?;
    demand_taken(stage, probe)?;
    stage.switch("enable", "Y")?;
    demand_taken(stage, probe)?;

    other.unload(stage)?;
    stage
        .expect_state("armed")
        .context("the other one is gone")?;
    probe.demand(stage, Seen::Uc(8))?;
    stage.unload(RMCP)
}

/// The patch's module stays, so nothing but the user can tell rmcp.
fn withdrawn(stage: &mut Stage) -> Result<()> {
    let probe = Probe::new(stage)?;
    LIVEPATCH.load(stage, PTES_UPDATE)?;
    stage.rmcp("mtype=uc fragment_size=4")?;
    demand_taken(stage, &probe)?;
    withdraw(stage)?;
    demand_clean(stage, &FUNCTIONS)?;
    stage.switch("enable", "Y")?;
    stage.expect_state("armed")?;
    probe.demand(stage, Seen::Uc(4))?;
    stage.unload(LIVEPATCH.name)?;
    stage.expect_state("armed")
}

fn second(stage: &mut Stage) -> Result<()> {
    const EBUSY: i32 = 16;
    let probe = Probe::new(stage)?;
    load_rmcp(stage, 4)?;
    for other in owners() {
        match other.try_load(stage, PTES_UPDATE)? {
            Err(failure) if failure.errno == Some(EBUSY) => {}
            // `register_kprobe` of Linux 7.3 says 0 also when ftrace did not take the kprobe.
            Ok(()) if other == KPOST => {
                probe.demand(stage, Seen::Uc(4))?;
                let calls = other.calls(stage)?;
                demand!(calls == 0, "two owners at a time: {calls} calls");
                other.unload(stage)?;
            }
            loaded => bail!(
                "{} came after rmcp, and loading it gave {loaded:?}",
                other.name
            ),
        }
        stage.expect_state("armed")?;
        probe
            .demand(stage, Seen::Uc(4))
            .with_context(|| format!("after {} was refused", other.name))?;
        // The same module finds room while rmcp needs the function no more.
        stage.switch("fragment_size", "9")?;
        other.load(stage, PTES_UPDATE)?;
        other.sees(stage, |stage| probe.demand(stage, Seen::Uc(9)))?;
        other.unload(stage)?;
        stage.switch("fragment_size", "4")?;
        stage.expect_state("armed")?;
    }
    probe.demand(stage, Seen::Uc(4))?;
    stage.unload(RMCP)?;
    demand_clean(stage, &FUNCTIONS)?;
    probe.demand(stage, Seen::Stock)
}

/// The function runs when the driver takes the device, so that is done again and again.
fn adjust_size(stage: &mut Stage) -> Result<()> {
    const LIMIT: u8 = 4;
    const PAGE: u32 = 4096;
    let stock = told(stage)?;
    demand!(stock > PAGE << LIMIT, "stock tells {stock} bytes");
    for (turn, other) in OTHERS.iter().enumerate() {
        let rmcp_first = turn % 2 == 0;
        if rmcp_first {
            load_rmcp(stage, LIMIT)?;
        }
        other.load(stage, ADJUST_SIZE)?;
        if !rmcp_first {
            load_rmcp(stage, LIMIT)?;
        }
        other
            .sees(stage, rebind)
            .with_context(|| format!("with {}", other.name))?;
        let now = told(stage)?;
        demand!(
            now == PAGE << LIMIT,
            "with {}: {now} bytes are told, expected {}",
            other.name,
            PAGE << LIMIT
        );
        if rmcp_first {
            stage.unload(RMCP)?;
            other.unload(stage)?;
        } else {
            other.unload(stage)?;
            stage.expect_state("armed")?;
            stage.unload(RMCP)?;
        }
    }
    demand_clean(stage, &FUNCTIONS)?;
    rebind(stage)?;
    let now = told(stage)?;
    demand!(now == stock, "{now} bytes are told, stock told {stock}");
    Ok(())
}

/// The fragment size that user space is told, in bytes.
fn told(stage: &mut Stage) -> Result<u32> {
    let client = stage.call(DrmOpen {
        node: RENDER_NODE.into(),
    })?;
    let facts = stage.call(DrmInfo { client })?;
    stage.call(DrmClose { client })?;
    Ok(facts.pte_fragment_size)
}

/// Lets the driver leave the device and take it again.
fn rebind(stage: &mut Stage) -> Result<()> {
    const DEVICE: &[u8] = b"0000:01:00.0\n";
    for what in ["unbind", "bind"] {
        stage
            .write(&format!("/sys/bus/pci/drivers/amdgpu/{what}"), DEVICE)?
            .map_err(|failure| anyhow::anyhow!("{what} failed: {failure}"))?;
    }
    Ok(())
}

/// Linux 7.3 does not let user space switch ftrace off; the helper does it from inside.
fn ftrace_off(stage: &mut Stage) -> Result<()> {
    let probe = Probe::new(stage)?;
    stage.load("rmcp_ftoff", "")?;
    stage.rmcp("mtype=uc fragment_size=4")?;
    let state = stage.parameter(RMCP, "state")?;
    demand!(
        state.starts_with("refused: ftrace is switched off"),
        "state is {state:?} without ftrace"
    );
    probe.demand(stage, Seen::Stock)?;
    // It arms on the next write of a switch once tracing works again.
    stage.unload("rmcp_ftoff")?;
    stage.switch("enable", "Y")?;
    stage.expect_state("armed")?;
    probe.demand(stage, Seen::Uc(4))
}

/// Two kernel threads call the function without pause, on both CPUs, and look at each entry.
fn calls(stage: &mut Stage) -> Result<()> {
    const TURNS: usize = 3;
    stage.load(CALLER, "")?;
    // The driver's own call shows it the device.
    Probe::new(stage)?;
    demand!(
        stage.parameter(CALLER, "device")? == "1",
        "{CALLER} has seen no call of the driver"
    );
    stage.set_parameter(CALLER, "storm", "2")?;
    let count =
        |stage: &mut Stage| -> Result<u64> { Ok(stage.parameter(CALLER, "calls")?.parse()?) };
    let before = count(stage)?;
    for turn in 0..TURNS {
        stage.rmcp_mtype(if turn % 2 == 0 {
            "mtype=uc"
        } else {
            "mtype=nc"
        })?;
        stage.expect_state("armed")?;
        stage.switch("mtype", "nc")?;
        stage.switch("mtype", "uc")?;
        stage.switch("enable", "N")?;
        stage.switch("enable", "Y")?;
        stage.unload(RMCP)?;
    }
    let after = count(stage)?;
    stage.set_parameter(CALLER, "storm", "0")?;
    let bad = stage.parameter(CALLER, "bad")?;
    demand!(after > before, "the threads made no calls");
    demand!(bad == "0", "{bad} entries were neither NC nor UC");
    Ok(())
}
