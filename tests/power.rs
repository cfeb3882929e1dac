// SPDX-License-Identifier: MIT OR Apache-2.0
//! Suspend and resume, amdgpu losing its device and getting it back, and the kill switch at boot.
//!
//! Stock amdgpu does all of it on the emulated GPU without one warning, so nothing is excused here.

use crate::job::{Job, Place, stock};
use crate::lifecycle::{TARGET, demand_policy};
use crate::resources::{Resources, demand_gone};
use crate::stage::{Needs, RMCP, Scenario, Stage, demand};
use anyhow::{Context, Result, bail};
use guest::proto::{Run, Suspend};
use rdna_emu::tables::{Entry, Mtype};
use xtask::demo::compare::Snapshot;
use xtask::demo::policy::{Policy, memory_type};
use xtask::vm::initramfs::AMDGPU;
use xtask::vm::mappings::{DEMO, Layout, Memory, Placed, unmap};
use xtask::vm::modprobe::{self, MODPROBE};
use xtask::vm::{VmOptions, actions};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "power: stock amdgpu suspends, is unbound, removed and found again",
        Needs::Driver,
        stock_alone,
    ),
    Scenario::new(
        "power: what a resume writes again follows the switches of that moment",
        Needs::Driver,
        suspended,
    ),
    Scenario::new(
        "power: the policy goes on for a device that is unbound and bound, removed and found again",
        Needs::Driver,
        returned,
    ),
    Scenario::new(
        "power: a card that is pulled out while it is mapped",
        Needs::Nothing,
        pulled_out,
    ),
    Scenario::new(
        "power: a card that is unplugged while it is mapped",
        Needs::Nothing,
        unplugged,
    ),
    Scenario::new(
        "power: rmcp.enable=0 on the kernel command line is a kill switch",
        Needs::Nothing,
        kill_switch,
    ),
];

/// A cap below what a directory entry maps.
const CAP: u8 = 4;

fn stock_alone(stage: &mut Stage) -> Result<()> {
    let layout = stage.layout(DEMO)?;
    layout.map(stage)?;
    let mut job = Job::open(stage, actions::RENDER_NODE, 0)?;
    job.map(stage)?;
    stage.call(Suspend {})?;
    job.suspended(stage)?;
    demand_types(stage, &layout, Policy::Stock, |_| true)?;
    settle(stage, &job, stock)?;
    job.close(stage)?;
    stage.close(layout)?;
    depart_and_return(stage, &mut |stage| demand_policy(stage, Policy::Stock))
}

fn suspended(stage: &mut Stage) -> Result<()> {
    stage.rmcp(&format!("mtype=uc fragment_size={CAP}"))?;
    let layout = stage.layout(DEMO)?;
    layout.map(stage)?;
    let mut job = Job::open(stage, actions::RENDER_NODE, 0)?;
    job.map(stage)?;
    demand_types(stage, &layout, Policy::Uc, |_| true)?;
    demand_largest(stage, &layout, CAP)?;
    job.demand(stage, |_| Mtype::Uc)?;

    stage
        .call(Suspend {})
        .context("with the policy unchanged")?;
    job.suspended(stage)?;
    stage.expect_state("armed")?;
    demand_types(stage, &layout, Policy::Uc, |_| true)?;
    demand_largest(stage, &layout, CAP)?;
    settle(stage, &job, |_| Mtype::Uc)?;

    // Nothing is mapped again by a switch; a suspend evicts the card's memory, which is mapped anew.
    stage.switch("mtype", "nc")?;
    stage.switch("fragment_size", "9")?;
    stage.call(Suspend {}).context("with another policy")?;
    let vram = |placed: &Placed| placed.mapping.memory == Memory::Vram;
    demand_types(stage, &layout, Policy::Nc, vram)?;
    demand_types(stage, &layout, Policy::Uc, |placed| !vram(placed))
        .context("what a resume does not write")?;
    // Shared ranges are no buffers: the entries that they had are there after a resume.
    settle(stage, &job, |place| {
        if place.vram && !place.shared {
            stock(place)
        } else {
            Mtype::Uc
        }
    })?;

    layout.unmap(stage)?;
    layout.map(stage)?;
    demand_types(stage, &layout, Policy::Nc, |_| true).context("mapped again")?;
    demand_largest(stage, &layout, 9)?;
    job.unmap(stage)?;
    job.map(stage)?;
    job.demand(stage, stock).context("the job, mapped again")?;
    job.close(stage)?;
    stage.close(layout)?;
    stage.unload(RMCP)?;
    demand_gone(stage)?;
    demand_policy(stage, Policy::Stock)
}

fn returned(stage: &mut Stage) -> Result<()> {
    stage.rmcp(&format!("mtype=uc fragment_size={CAP}"))?;
    depart_and_return(stage, &mut |stage| {
        stage.expect_state("armed")?;
        let address = stage.pci_address(0)?;
        let line = format!("device {address}: GC 10.1.10, policy applies");
        let state = stage.parameter(RMCP, "state")?;
        demand!(
            state.lines().any(|found| found == line),
            "no {line:?} in {state:?}"
        );
        let layout = stage.layout(DEMO)?;
        layout.map(stage)?;
        demand_types(stage, &layout, Policy::Uc, |_| true)?;
        demand_largest(stage, &layout, CAP)?;
        stage.close(layout)
    })?;
    stage.unload(AMDGPU)?;
    stage.expect_state("waiting for amdgpu")?;
    stage.load_amdgpu()?;
    demand_policy(stage, Policy::Uc)?;
    stage.unload(RMCP)?;
    demand_gone(stage)?;
    demand_policy(stage, Policy::Stock)
}

/// Takes amdgpu from its device and gives it back, then removes the device and finds it again; each once while no
/// client is there and once while one has everything mapped. `check` looks at the device after each return.
fn depart_and_return(
    stage: &mut Stage,
    check: &mut dyn FnMut(&mut Stage) -> Result<()>,
) -> Result<()> {
    let address = stage.pci_address(0)?;
    for busy in [false, true] {
        for removed in [false, true] {
            let what = format!("removed {removed}, with a client {busy}");
            let layout = busy.then(|| stage.layout(DEMO)).transpose()?;
            if let Some(layout) = &layout {
                layout.map(stage)?;
                // Work that stock amdgpu leaves unfinished at a removal never ends, nor does who waits for it
                // ("device unplugged skipping recovery"): so it is done before.
                Snapshot::take(stage, layout, 0)?;
            }
            if removed {
                stage.remove_device(&address)?;
                let left = stage.find_pci_address(0)?;
                demand!(left.is_none(), "{left:?} is there after its removal");
            } else {
                stage.driver("unbind", &address)?;
            }
            if let Some(layout) = layout {
                let first = layout.named("VRAM 64K");
                demand!(
                    unmap(stage, layout.client, first).is_err(),
                    "{what}: a client goes on without its device"
                );
                stage.close(layout)?;
            }
            if removed {
                stage.rescan()?;
            } else {
                stage.driver("bind", &address)?;
            }
            check(stage).with_context(|| format!("after the return: {what}"))?;
        }
    }
    Ok(())
}

/// Demands of those mappings that `which` names that they are covered with the types that a policy promises.
fn demand_types(
    stage: &mut Stage,
    layout: &Layout,
    policy: Policy,
    which: impl Fn(&Placed) -> bool,
) -> Result<()> {
    let now = Snapshot::take(stage, layout, 0)?;
    for placed in layout.placed.iter().filter(|placed| which(placed)) {
        let mut next = placed.va.0;
        for entry in now.of(placed) {
            demand!(
                entry.va.0 == next && type_of(entry) == memory_type(policy, &placed.mapping),
                "{policy:?}: {}: found {entry:?} where {next:#x} is to be",
                placed.mapping.name
            );
            demand!(
                type_of(entry).is_none()
                    || entry.system() == (placed.mapping.memory != Memory::Vram),
                "{}: {entry:?} is in the wrong memory",
                placed.mapping.name
            );
            next = entry.va.0 + entry.span().bytes();
        }
        demand!(
            next == placed.va.0 + placed.mapping.size.0,
            "{}: nothing at {next:#x}",
            placed.mapping.name
        );
    }
    Ok(())
}

fn type_of(entry: &Entry) -> Option<Mtype> {
    entry.valid().then(|| entry.mtype())
}

/// Demands that the 64 MiB in the card's memory have fragments of exactly this size, and nothing has larger ones.
fn demand_largest(stage: &mut Stage, layout: &Layout, cap: u8) -> Result<()> {
    let now = Snapshot::take(stage, layout, 0)?;
    let largest = layout
        .placed
        .iter()
        .flat_map(|placed| now.of(placed))
        .filter(|entry| entry.valid())
        .map(Entry::fragment)
        .max();
    demand!(
        largest == Some(cap),
        "the largest fragment is {largest:?}, expected {cap}"
    );
    Ok(())
}

/// Demands a job's types after a resume. KFD maps a process's memory from a work queue, so it is looked at again as
/// long as it may still be at it.
fn settle(stage: &mut Stage, job: &Job, expected: fn(&Place) -> Mtype) -> Result<()> {
    const LOOKS: u32 = 200;
    let mut last = Ok(());
    for _ in 0..LOOKS {
        last = job.demand(stage, expected);
        if last.is_ok() {
            return Ok(());
        }
    }
    last.context("KFD did not restore the job's mappings")
}

/// Nothing answers any more, then the kernel is told: amdgpu talks to a device that reads as ones.
fn pulled_out(stage: &mut Stage) -> Result<()> {
    let vm = stage.boot(VmOptions {
        name: "pulled-out".into(),
        ..VmOptions::default()
    })?;
    stage.alone(vm, |stage| {
        stage.load_amdgpu()?;
        stage.rmcp(&format!("mtype=uc fragment_size={CAP}"))?;
        let layout = stage.layout(DEMO)?;
        layout.map(stage)?;
        demand_types(stage, &layout, Policy::Uc, |_| true)?;
        let address = stage.pci_address(0)?;
        if let Some(trouble) = stage.gpu_trouble() {
            bail!("{trouble}");
        }
        let mark = stage.mark()?;
        stage.pull_out(0);
        stage.remove_device(&address)?;
        let log = stage.log_since(mark)?;
        demand!(
            log.iter()
                .any(|line| line.ends_with("device lost from bus!")),
            "amdgpu did not notice: {log:?}"
        );
        stage.expect_state("armed")?;
        stage.switch("mtype", "nc")?;
        stage.close(layout)?;
        stage.unload(AMDGPU)?;
        stage.expect_state("waiting for amdgpu")?;
        stage.unload(RMCP)?;
        demand_gone(stage)
    })
}

/// The slot's button is pressed: the guest has the driver let go of the device before it is gone.
fn unplugged(stage: &mut Stage) -> Result<()> {
    let vm = stage.boot(VmOptions {
        name: "unplugged".into(),
        ..VmOptions::default()
    })?;
    stage.alone(vm, |stage| {
        stage.load_amdgpu()?;
        stage.rmcp(&format!("mtype=uc fragment_size={CAP}"))?;
        let layout = stage.layout(DEMO)?;
        layout.map(stage)?;
        demand_types(stage, &layout, Policy::Uc, |_| true)?;
        if let Some(trouble) = stage.gpu_trouble() {
            bail!("{trouble}");
        }
        let mark = stage.mark()?;
        stage.unplug(0)?;
        let left = stage.find_pci_address(0)?;
        demand!(left.is_none(), "{left:?} is there after it was unplugged");
        let log = stage.log_since(mark)?;
        demand!(
            log.iter().any(|line| line.contains("finishing device")),
            "amdgpu did not let go: {log:#?}"
        );
        let first = layout.named("VRAM 64K");
        demand!(
            unmap(stage, layout.client, first).is_err(),
            "a client goes on without its device"
        );
        stage.expect_state("armed")?;
        stage.close(layout)?;
        stage.unload(AMDGPU)?;
        stage.expect_state("waiting for amdgpu")?;
        stage.unload(RMCP)?;
        demand_gone(stage)
    })
}

/// modprobe hands on what the kernel's command line says about a module.
fn kill_switch(stage: &mut Stage) -> Result<()> {
    let files = modprobe::files(&stage.kernel, &stage.rmcp)?;
    let vm = stage.boot(VmOptions {
        cmdline: "rmcp.enable=0".into(),
        files,
        name: "kill-switch".into(),
        ..VmOptions::default()
    })?;
    stage.alone(vm, |stage| {
        stage.load_amdgpu()?;
        let ran = stage.call(Run {
            words: vec![MODPROBE.into(), "--verbose".into(), RMCP.into()],
        })?;
        if let Some(failure) = &ran.failure {
            bail!("modprobe: {failure}: {}", ran.output);
        }
        stage.expect_state("disabled (enable=N)")?;
        let now = Resources::read(stage)?;
        demand!(!now.traces(TARGET), "disabled, but {TARGET} is traced");
        demand_policy(stage, Policy::Stock)?;
        // It is a default, not a lock; and without modprobe the kernel's command line says nothing.
        stage.switch("enable", "Y")?;
        stage.expect_state("armed")?;
        demand_policy(stage, Policy::Nc)?;
        stage.unload(RMCP)?;
        stage.rmcp("")?;
        stage.expect_state("armed")?;
        stage.unload(RMCP)?;
        demand_gone(stage)
    })
}
