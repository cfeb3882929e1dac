// SPDX-License-Identifier: MIT OR Apache-2.0
//! The emulated machine itself: several GPUs in one guest, of one chip and of several, and registers that scenarios
//! look at.

use crate::fragments::pages::{Page, pages};
use crate::job::{Job, stock};
use crate::policies::equal;
use crate::stage::{Needs, RMCP, Scenario, Stage, demand};
use anyhow::{Context, Result};
use guest::uapi::Domain;
use rdna_emu::tables::{Entry, Level, Mtype};
use rdna_emu::{ByteSize, Chip};
use xtask::demo::compare::{Snapshot, sound};
use xtask::demo::policy::{MTYPE_MASK, number};
use xtask::vm::actions::AMDGPU_PARAMETERS;
use xtask::vm::initramfs::AMDGPU;
use xtask::vm::mappings::{DEMO, Layout, MORE, Memory};
use xtask::vm::pci::device_file;
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
        "RDNA1, RDNA2 and a chip that is neither work side by side, and rmcp leaves the latter alone",
        Needs::Nothing,
        mixed,
    ),
    Scenario::new(
        "stock: Navi12 with 1 GiB and Navi14 with a small BAR map and work side by side",
        Needs::Nothing,
        rest_of_rdna1,
    ),
    Scenario::new(
        "stock: Navi22 with a 4 GiB BAR, Navi23, Navi24 with a small one map and work side by side",
        Needs::Nothing,
        rest_of_rdna2,
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
    side_by_side(
        stage,
        "mixed",
        &[
            Chip::Navi10.into(),
            Chip::Navi21.into(),
            Chip::Renoir.into(),
        ],
    )
}

fn rest_of_rdna1(stage: &mut Stage) -> Result<()> {
    // Memory behind a small BAR: what the CPU maps must be moved below its end.
    let small = GpuOptions::from(Chip::Navi14)
        .vram(ByteSize::mib(1024))
        .small_bar(ByteSize::mib(256));
    let large = GpuOptions::from(Chip::Navi12).vram(ByteSize::mib(1024));
    side_by_side(stage, "rdna1", &[large, small])
}

fn rest_of_rdna2(stage: &mut Stage) -> Result<()> {
    side_by_side(
        stage,
        "rdna2",
        &[
            GpuOptions::from(Chip::Navi22).vram(ByteSize::mib(4096)),
            GpuOptions::from(Chip::Navi23).vram(ByteSize::mib(512)),
            GpuOptions::from(Chip::Navi24)
                .vram(ByteSize::mib(4096))
                .small_bar(ByteSize::mib(256)),
        ],
    )
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
    for (gpu, options) in gpus.iter().enumerate() {
        demand_memory(&mut vm, gpu, options)?;
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
    if gpus.iter().any(|gpu| gpu.chip == Chip::Renoir) {
        policy(&mut vm, gpus).context("rmcp on a mix of chips")?;
    }
    vm.unload(AMDGPU)?;
    stage.finish(vm)
}

/// Under rmcp every mapping on RDNA has the policy's memory type and fragments; on another chip every entry is, bit for
/// bit, what stock wrote. All of them are in one guest, under one driver.
fn policy(vm: &mut Vm, gpus: &[GpuOptions]) -> Result<()> {
    let all = [DEMO, MORE].concat();
    let mut sides = Vec::new();
    for gpu in 0..gpus.len() {
        let node = vm.render_node(gpu)?;
        let layout = Layout::create(vm, &node, &all)?;
        layout.map(vm)?;
        let stock = Snapshot::take(vm, &layout, gpu)?;
        layout.unmap(vm)?;
        sides.push((layout, stock));
    }
    vm.load(RMCP, "mtype=uc fragment_size=0")?;
    let state = vm.parameter(RMCP, "state")?;
    for (gpu, (layout, stock)) in sides.iter().enumerate() {
        let chip = gpus[gpu].chip;
        layout.map(vm)?;
        let now = Snapshot::take(vm, layout, gpu)?;
        layout.unmap(vm)?;
        let says = if chip == Chip::Renoir {
            let (now, then) = (entries(layout, &now), entries(layout, stock));
            equal(&now, &then, "Renoir under rmcp")?;
            // All of its memory types are among them.
            for mtype in [Mtype::Nc, Mtype::Rw, Mtype::Cc, Mtype::Uc] {
                demand!(
                    now.iter().any(|entry| entry.mtype() == mtype),
                    "nothing is {mtype} on Renoir"
                );
            }
            "GC 9.3.0, not RDNA1/2, left alone"
        } else {
            obeyed(layout, stock, &now).with_context(|| chip.to_string())?;
            "policy applies"
        };
        let address = vm.pci_address(gpu)?;
        let line = state.lines().find(|line| line.contains(&address));
        demand!(
            line.is_some_and(|line| line.ends_with(says)),
            "{chip}: state says {state:?}, expected {says:?} of {address}"
        );
        vm.submit(layout.client, 0x1357_0000, Domain::VRAM)?;
    }
    vm.unload(RMCP)?;
    for (layout, _) in sides {
        layout.close(vm)?;
    }
    Ok(())
}

/// All leaves and PRT entries of a layout's mappings.
fn entries(layout: &Layout, at: &Snapshot) -> Vec<Entry> {
    let placed = layout.placed.iter();
    placed.flat_map(|placed| at.of(placed)).copied().collect()
}

/// Demands UC and FRAG 0 on every page that is mapped, and otherwise what stock wrote.
fn obeyed(layout: &Layout, stock: &Snapshot, now: &Snapshot) -> Result<()> {
    for placed in &layout.placed {
        let name = placed.mapping.name;
        let first = placed.va.0 >> 12;
        let window = first..first + (placed.mapping.size.0 >> 12);
        let expected = pages(&stock.space, &window).into_iter().map(|page| Page {
            fragment: 0,
            level: Level::Ptb,
            marked: false,
            flags: page.flags & !MTYPE_MASK | number(Mtype::Uc) << MTYPE_MASK.trailing_zeros(),
            ..page
        });
        let expected: Vec<_> = expected.collect();
        let found = pages(&now.space, &window);
        let mapped = if placed.mapping.memory == Memory::Prt {
            0
        } else {
            window.end - window.start
        };
        demand!(
            found.len() as u64 == mapped,
            "{name}: {} of {mapped} pages are mapped",
            found.len()
        );
        let wrong = found.iter().zip(&expected).find(|(f, e)| f != e);
        demand!(
            wrong.is_none() && expected.len() == found.len(),
            "{name}: found and expected: {wrong:x?}"
        );
    }
    Ok(())
}

/// Demands that the driver found the memory that the GPU has, and as much of it visible as the BAR shows.
fn demand_memory(vm: &mut Vm, gpu: usize, options: &GpuOptions) -> Result<()> {
    let address = vm.pci_address(gpu)?;
    let visible = options.bar.unwrap_or(options.vram);
    for (file, expected) in [
        ("mem_info_vram_total", options.vram),
        ("mem_info_vis_vram_total", visible),
    ] {
        let found = vm.text(&device_file(&address, file))?;
        demand!(
            found.trim() == expected.bytes().to_string(),
            "GPU {gpu}: {file} is {found:?}, expected {expected}"
        );
    }
    Ok(())
}

/// How many submissions each GPU has run.
fn counts(vm: &Vm) -> Vec<usize> {
    (0..vm.gpus())
        .map(|gpu| vm.gpu(gpu).submissions().len())
        .collect()
}
