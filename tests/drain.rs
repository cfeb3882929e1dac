// SPDX-License-Identifier: MIT OR Apache-2.0
//! rmcp goes while tasks are inside it, or asleep in the driver's function called from it: it waits for them, and then
//! is gone without a trace. What would happen otherwise is shown too, with a copy of rmcp that does not wait.
//!
//! `rmcp_hold` keeps a task asleep in the function that writes entries, called by the one that rmcp takes over.

use crate::others::until;
use crate::probe::{Probe, Seen};
use crate::resources::{Resources, demand_gone};
use crate::stage::{Needs, RMCP, Scenario, Stage, demand};
use anyhow::{Context, Result, anyhow, bail};
use guest::proto::{
    Bytes, LaterEnd, LaterEnded, LaterStart, ProcessEnd, ProcessId, ProcessStart, Request, Rmmod,
    Size, StormId, StormStart, StormStop, StormWait, WriteFile,
};
use std::ops::Range;
use xtask::module::{self, Change};
use xtask::vm::actions::{AMDGPU_PARAMETERS, RENDER_NODE, parameter_path};
use xtask::vm::initramfs::{AMDGPU, GuestFile};
use xtask::vm::{Vm, VmOptions};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "unloading waits for a task that sleeps in the driver's function, by CPU",
        Needs::NoDriver,
        by_cpu,
    ),
    Scenario::new(
        "unloading waits for a task that sleeps in the driver's function, by SDMA",
        Needs::Driver,
        by_sdma,
    ),
    Scenario::new(
        "switching small fragments off waits for a task inside",
        Needs::Driver,
        switching,
    ),
    Scenario::new(
        "rmcp with small fragments is unloaded under load",
        Needs::Driver,
        under_load,
    ),
    Scenario::new(
        "without the wait the kernel crashes",
        Needs::Nothing,
        without_wait,
    ),
];

const HOLD: &str = "rmcp_hold";
/// The function that rmcp takes over for small fragments.
const PTES_UPDATE: &str = "amdgpu_vm_ptes_update";
/// What is loaded in each scenario.
const PARAMETERS: &str = "mtype=uc fragment_size=4";

/// Processes that map and unmap all the time. A mapping of this size takes rmcp more than one piece.
fn storm(vm: &mut Vm, processes: u32) -> Result<StormId> {
    vm.call(StormStart {
        node: RENDER_NODE.into(),
        processes,
        size: Size(4 << 20),
    })
}

fn rounds(vm: &mut Vm, storm: StormId, rounds: u64) -> Result<()> {
    vm.call(StormWait { storm, rounds }).map(drop)
}

/// Loads what holds tasks inside `function` when the range update calls it.
fn load_hold(vm: &mut Vm, function: &str) -> Result<()> {
    vm.load(HOLD, &format!("function={function} caller={PTES_UPDATE}"))
}

/// Waits until one task is asleep there.
fn hold_one(vm: &mut Vm) -> Result<()> {
    vm.set_parameter(HOLD, "hold", "1")?;
    let held = vm.parameter(HOLD, "held")?;
    demand!(held == "1", "{held} tasks are held, expected 1");
    Ok(())
}

fn let_go(vm: &mut Vm) -> Result<()> {
    vm.set_parameter(HOLD, "hold", "0")
}

/// Something that a process of its own does meanwhile.
struct Later(ProcessId);

impl Later {
    fn start(vm: &mut Vm, request: impl Into<Request>) -> Result<Self> {
        let process = vm.call(ProcessStart {})?;
        vm.call(LaterStart {
            process,
            request: Box::new(request.into()),
        })?;
        Ok(Self(process))
    }

    fn rmmod(vm: &mut Vm) -> Result<Self> {
        Self::start(vm, Rmmod { name: RMCP.into() })
    }

    fn ended(&self, vm: &mut Vm) -> Result<bool> {
        vm.call(LaterEnded { process: self.0 })
    }

    /// Waits for its end; it must have gone well.
    fn end(self, vm: &mut Vm) -> Result<()> {
        vm.call(LaterEnd { process: self.0 })?;
        vm.call(ProcessEnd { process: self.0 })
    }
}

/// Demands that `later` waits although everything else goes on: the hook is gone, and others map and unmap.
fn demand_waiting(stage: &mut Stage, later: &Later, load: StormId) -> Result<()> {
    /// Rounds of the others; none takes less than a few milliseconds, and rmcp looks every millisecond.
    const ROUNDS: u64 = 5;
    until(stage, "the range update is hooked no more", |stage| {
        Ok(!Resources::read(stage)?.traces(PTES_UPDATE))
    })?;
    rounds(stage, load, ROUNDS)?;
    demand!(
        !later.ended(stage)?,
        "it did not wait for the task that is held"
    );
    demand!(stage.loaded(RMCP)?, "rmcp is gone while a task is held");
    Ok(())
}

fn by_sdma(stage: &mut Stage) -> Result<()> {
    unloading(stage, "amdgpu_vm_sdma_update")
}

fn by_cpu(stage: &mut Stage) -> Result<()> {
    stage.load_amdgpu_needs()?;
    stage.load(AMDGPU, &format!("{AMDGPU_PARAMETERS} vm_update_mode=3"))?;
    unloading(stage, "amdgpu_vm_cpu_update")?;
    // The next scenario is to find the driver as it usually is.
    stage.unload(AMDGPU)
}

fn unloading(stage: &mut Stage, function: &str) -> Result<()> {
    const TURNS: usize = 3;
    let probe = Probe::new(stage)?;
    load_hold(stage, function)?;
    let held = storm(stage, 1)?;
    let mut load = None;
    for turn in 0..TURNS {
        let what = || format!("turn {turn}");
        stage.rmcp(PARAMETERS)?;
        stage.expect_state("armed").with_context(what)?;
        rounds(stage, held, 1)?;
        if let Some(load) = load.take() {
            stage.call(StormStop { storm: load })?;
        }
        hold_one(stage)?;
        let others = *load.insert(storm(stage, 2)?);
        let later = Later::rmmod(stage)?;
        demand_waiting(stage, &later, others).with_context(what)?;
        let_go(stage)?;
        later.end(stage).with_context(what)?;
        demand_gone(stage).with_context(what)?;
        // The task that was held goes on as under stock, and so do the others.
        rounds(stage, held, 2)?;
        rounds(stage, others, 2)?;
    }
    for storm in load.into_iter().chain([held]) {
        stage.call(StormStop { storm })?;
    }
    stage.unload(HOLD)?;
    probe.demand(stage, Seen::Stock)?;
    probe.close(stage)
}

fn switching(stage: &mut Stage) -> Result<()> {
    let probe = Probe::new(stage)?;
    load_hold(stage, "amdgpu_vm_sdma_update")?;
    stage.rmcp(PARAMETERS)?;
    for (name, away, state, seen, back) in [
        ("fragment_size", "9", "armed", Seen::Uc(9), "4"),
        ("enable", "N", "disabled (enable=N)", Seen::Stock, "Y"),
    ] {
        stage.expect_state("armed")?;
        let held = storm(stage, 1)?;
        hold_one(stage)?;
        let load = storm(stage, 2)?;
        let later = Later::start(
            stage,
            WriteFile {
                path: parameter_path(RMCP, name),
                data: Bytes(format!("{away}\n").into_bytes()),
            },
        )?;
        demand_waiting(stage, &later, load).with_context(|| format!("{name}={away}"))?;
        let_go(stage)?;
        later.end(stage).with_context(|| format!("{name}={away}"))?;
        stage.expect_state(state)?;
        rounds(stage, held, 2)?;
        for storm in [held, load] {
            stage.call(StormStop { storm })?;
        }
        probe.demand(stage, seen)?;
        stage.switch(name, back)?;
        probe.demand(stage, Seen::Uc(4))?;
    }
    Ok(())
}

/// Nobody is held, but with three processes on two CPUs somebody is nearly always inside.
fn under_load(stage: &mut Stage) -> Result<()> {
    const TURNS: u64 = 10;
    let probe = Probe::new(stage)?;
    // The first turns bring caches into being that stay.
    come_and_go(stage, 2)?;
    let before = Resources::read(stage)?;
    come_and_go(stage, TURNS)?;
    Resources::read(stage)?.demand_no_leak(&before, TURNS)?;
    probe.demand(stage, Seen::Stock)
}

fn come_and_go(stage: &mut Stage, turns: u64) -> Result<()> {
    let load = storm(stage, 3)?;
    for _ in 0..turns {
        stage.rmcp(PARAMETERS)?;
        stage.expect_state("armed")?;
        rounds(stage, load, 1)?;
        stage.switch("fragment_size", "10")?;
        stage.switch("fragment_size", "8")?;
        rounds(stage, load, 1)?;
        stage.unload(RMCP)?;
        rounds(stage, load, 1)?;
    }
    stage.call(StormStop { storm: load }).map(drop)
}

/// In a VM of its own, since it does not survive.
fn without_wait(stage: &mut Stage) -> Result<()> {
    const NO_WAIT: Change = Change {
        file: "src/hook/replacement.rs",
        from: "while self.0.sum(LEFT) != self.0.sum(CAME) {",
        to: "while false {",
    };
    let rmcp = module::build_changed(&stage.kernel, "no-wait", &NO_WAIT, &stage.ui)?;
    let options = VmOptions {
        files: vec![GuestFile::module(&rmcp)?, stage.helper(HOLD)?],
        name: "no-wait".into(),
        ..VmOptions::default()
    };
    let mut vm = Vm::boot(&stage.kernel, options, &stage.ui)?;
    let vm = &mut vm;
    vm.load_amdgpu()?;
    vm.load(RMCP, PARAMETERS)?;
    load_hold(vm, "amdgpu_vm_sdma_update")?;
    let code = code_of_rmcp(vm)?;
    let held = storm(vm, 1)?;
    hold_one(vm)?;
    // It does not wait, and up to here nothing is seen of it.
    Later::rmmod(vm)?.end(vm)?;
    demand!(!vm.loaded(RMCP)?, "rmcp is still loaded");
    if let Some(trouble) = vm.trouble_since(Default::default())? {
        bail!("too early: {trouble}");
    }
    let crashed = match let_go(vm).and_then(|()| rounds(vm, held, 2)) {
        Ok(()) => return Err(anyhow!("the task came through freed code unharmed")),
        Err(error) => format!("{error:#}"),
    };
    demand!(
        vm.dead().is_some_and(|why| why.contains("Kernel panic")),
        "the VM ended, but not by a crash: {crashed}"
    );
    let console = vm.log();
    let at = console
        .lines()
        .find_map(|line| line.split_once("RIP: 0010:0x"))
        .and_then(|(_, address)| u64::from_str_radix(address.trim(), 16).ok())
        .with_context(|| format!("the kernel crashed, but in code that is there: {crashed}"))?;
    demand!(
        code.contains(&at),
        "the kernel crashed at {at:#x}, rmcp was at {code:#x?}"
    );
    Ok(())
}

/// Where rmcp's code is.
fn code_of_rmcp(vm: &mut Vm) -> Result<Range<u64>> {
    let modules = vm.text("/proc/modules")?;
    let words: Vec<&str> = modules
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .find(|words| words.first() == Some(&RMCP))
        .with_context(|| format!("{RMCP} is not in /proc/modules"))?;
    let [_, size, .., address, _] = words.as_slice() else {
        bail!("/proc/modules says {words:?} of {RMCP}");
    };
    let hex = address.trim_start_matches("0x");
    let (start, size) = (u64::from_str_radix(hex, 16)?, size.parse::<u64>()?);
    Ok(start..start + size)
}
