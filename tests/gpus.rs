// SPDX-License-Identifier: MIT OR Apache-2.0
//! The emulated machine itself: two GPUs in one guest, and registers that scenarios look at; stock amdgpu only.

use crate::job::{Job, stock};
use crate::stage::{Needs, Scenario, Stage, demand};
use anyhow::{Context, Result};
use guest::uapi::Domain;
use rdna_emu::Chip;
use xtask::demo::compare::{Snapshot, sound};
use xtask::vm::actions::AMDGPU_PARAMETERS;
use xtask::vm::initramfs::AMDGPU;
use xtask::vm::mappings::{DEMO, Layout};
use xtask::vm::{GpuOptions, Vm, VmOptions};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "stock: amdgpu.noretry reaches both hubs' registers",
        Needs::NoDriver,
        noretry,
    ),
    Scenario::new(
        "stock: two GPUs in one guest map and work side by side",
        Needs::Nothing,
        two,
    ),
    Scenario::new(
        "stock: RDNA1 and RDNA2 in one guest map and work side by side",
        Needs::Nothing,
        mixed,
    ),
];

/// Both hubs have a register with this name behind their own prefix.
const CONTEXT1_CNTL: [&str; 2] = ["GCVM_CONTEXT1_CNTL", "MMVM_CONTEXT1_CNTL"];
/// `*VM_CONTEXT1_CNTL__RETRY_PERMISSION_OR_INVALID_PAGE_FAULT_MASK` of gc_10_1_0_sh_mask.h and mmhub_2_0_0_sh_mask.h.
const RETRY: u32 = 0x80;

/// Demands what both hubs of a GPU do with a faulting access: try again, or not.
pub(crate) fn demand_retry(vm: &Vm, gpu: usize, retry: bool) -> Result<()> {
    for name in CONTEXT1_CNTL {
        let value = vm
            .gpu(gpu)
            .register(name)
            .with_context(|| format!("the emulated GPU has no {name}"))?;
        // Bit 0 enables the context: the driver has been here.
        demand!(value & 1 == 1, "{name} is {value:#x}: not programmed");
        demand!(
            (value & RETRY != 0) == retry,
            "GPU {gpu}: {name} is {value:#x}, expected retry {retry}"
        );
    }
    Ok(())
}

fn noretry(stage: &mut Stage) -> Result<()> {
    stage.load_amdgpu_needs()?;
    for (parameter, retry) in [("noretry=0", true), ("noretry=1", false), ("", false)] {
        stage.load(AMDGPU, &format!("{AMDGPU_PARAMETERS} {parameter}"))?;
        demand_retry(stage, 0, retry).with_context(|| format!("amdgpu with {parameter:?}"))?;
        stage.unload(AMDGPU)?;
    }
    Ok(())
}

fn two(stage: &mut Stage) -> Result<()> {
    side_by_side(stage, "two", &[Chip::Navi10.into(), Chip::Navi10.into()])
}

fn mixed(stage: &mut Stage) -> Result<()> {
    side_by_side(stage, "mixed", &[Chip::Navi10.into(), Chip::Navi21.into()])
}

/// Boots a guest with these GPUs and stock amdgpu. Every kind of buffer is mapped on each, SDMA writes through the
/// client's tables, a compute job of KFD maps its memory; the entries are those that stock writes.
fn side_by_side(stage: &mut Stage, name: &str, gpus: &[GpuOptions]) -> Result<()> {
    let mut vm = stage.boot(VmOptions {
        gpus: gpus.to_vec(),
        memory: 3072,
        name: name.into(),
        ..VmOptions::default()
    })?;
    vm.load_amdgpu()?;
    let mut layouts = Vec::new();
    for gpu in 0..gpus.len() {
        let node = vm.render_node(gpu)?;
        let layout = Layout::create(&mut vm, &node, DEMO)?;
        layout.map(&mut vm)?;
        layouts.push(layout);
    }
    for (gpu, layout) in layouts.iter().enumerate() {
        let before = counts(&vm);
        for domain in [Domain::VRAM, Domain::GTT] {
            vm.submit(layout.client, 0x1234_0000 | domain.0, domain)?;
        }
        let now = Snapshot::take(&mut vm, layout, gpu)?;
        if let Some(wrong) = sound(layout, &now).first() {
            anyhow::bail!("GPU {gpu}: {wrong}");
        }
        for (other, (then, now)) in before.iter().zip(counts(&vm)).enumerate() {
            let ran = now - then;
            demand!(
                (ran > 0) == (other == gpu),
                "{ran} submissions for GPU {gpu} ran on GPU {other}"
            );
        }
    }
    let mut jobs = Vec::new();
    for gpu in 0..gpus.len() {
        let node = vm.render_node(gpu)?;
        let job = Job::open(&mut vm, &node, gpu)?;
        job.map(&mut vm)?;
        jobs.push(job);
    }
    for job in jobs {
        job.demand(&mut vm, stock)?;
        job.unmap(&mut vm)?;
        job.close(&mut vm)?;
    }
    for layout in layouts {
        layout.unmap(&mut vm)?;
        layout.close(&mut vm)?;
    }
    vm.unload(AMDGPU)?;
    stage.finish(vm)
}

/// How many submissions each GPU has run.
fn counts(vm: &Vm) -> Vec<usize> {
    (0..vm.gpus())
        .map(|gpu| vm.gpu(gpu).submissions().len())
        .collect()
}
