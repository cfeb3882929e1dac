// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compute clients, which KFD knows, beside ordinary DRM clients.

use crate::job::{Job, Place, driver_has, stock};
use crate::stage::{Needs, RMCP, Scenario, Stage, demand};
use anyhow::{Context, Result};
use guest::kfd_uapi::{SvmFlags, svm_attribute};
use guest::proto::{KfdNode, KfdPlace, Size, SvmChange, SvmQuery, Va};
use rdna_emu::GpuVa;
use rdna_emu::tables::Mtype;
use xtask::demo::compare::Snapshot;
use xtask::vm::actions::RENDER_NODE;
use xtask::vm::compute::Compute;
use xtask::vm::initramfs::AMDGPU;
use xtask::vm::mappings::{DEMO, Layout};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "stock: a compute job and a desktop client side by side",
        Needs::Driver,
        side_by_side,
    ),
    Scenario::new(
        "clients=compute: memory type and fragments of what KFD knows, and of nothing else",
        Needs::Driver,
        compute_only,
    ),
    Scenario::new(
        "every memory-type policy on a compute job's mappings",
        Needs::Driver,
        every_policy,
    ),
    Scenario::new(
        "every cap on a compute job's mappings",
        Needs::Driver,
        every_cap,
    ),
    Scenario::new(
        "stock: attributes of shared ranges move, map and unmap them",
        Needs::Driver,
        attributes,
    ),
];

/// Bits of an entry that tell where and how long, and not how.
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;

fn side_by_side(stage: &mut Stage) -> Result<()> {
    let layout = stage.layout(DEMO)?;
    layout.map(stage)?;
    let before = Snapshot::take(stage, &layout, 0)?;
    let users = stage.references(AMDGPU)?;
    let job = Job::open(stage, RENDER_NODE, 0)?;
    job.demand_unmapped(stage)?;
    job.map(stage)?;
    job.demand(stage, stock)?;
    let space = job.space(stage)?;
    // As seen in VRAM with the unmodified driver.
    for (name, raw) in [
        ("KFD VRAM 2M", 0x0040_0000_0000_04f1),
        ("KFD VRAM 2M COHERENT", 0x0043_0000_0000_04f1),
        ("KFD VRAM 2M UNCACHED", 0x0043_0000_0000_04f1),
    ] {
        let entry = job.single(&space, name)?;
        demand!(
            entry.raw & !ADDRESS == raw,
            "{name}: {entry:?}, expected {raw:#018x}"
        );
    }
    job.unmap(stage)?;
    job.demand_unmapped(stage)?;
    job.map(stage)?;
    let now = Snapshot::take(stage, &layout, 0)?;
    demand_same(&layout, &before, &now)?;
    job.close(stage)?;
    let left = stage.references(AMDGPU)?;
    demand!(
        left == users,
        "{users} users of amdgpu before, {left} after"
    );
    Ok(())
}

fn compute_only(stage: &mut Stage) -> Result<()> {
    const CAP: u8 = 4;
    let layout = stage.layout(DEMO)?;
    layout.map(stage)?;
    let desktop = Snapshot::take(stage, &layout, 0)?;
    let job = Job::open(stage, RENDER_NODE, 0)?;
    job.map(stage)?;
    let stocks = job.largest_fragment(stage)?;
    // 64 MiB of VRAM, aligned.
    demand!(stocks == 14, "stock's largest fragment is {stocks}");
    let again = |stage: &mut Stage| -> Result<Snapshot> {
        layout.unmap(stage)?;
        job.unmap(stage)?;
        layout.map(stage)?;
        job.map(stage)?;
        Snapshot::take(stage, &layout, 0)
    };

    stage.rmcp(&format!("clients=compute mtype=uc fragment_size={CAP}"))?;
    for turn in 0..2 {
        let now = again(stage)?;
        demand_same(&layout, &desktop, &now).context("clients=compute, the desktop")?;
        job.demand(stage, uncached).context("clients=compute")?;
        let largest = job.largest_fragment(stage)?;
        demand!(largest == CAP, "clients=compute: a fragment of {largest}");

        if turn == 0 {
            // Live, and back again.
            stage.switch("clients", "all")?;
            let now = again(stage)?;
            for placed in &layout.placed {
                for entry in now.of(placed).filter(|entry| entry.valid()) {
                    demand!(
                        entry.mtype() == Mtype::Uc && entry.fragment() <= CAP,
                        "clients=all: {}: {entry:?}",
                        placed.mapping.name
                    );
                }
            }
            job.demand(stage, uncached).context("clients=all")?;
            stage.switch("clients", "compute")?;
        }
    }

    stage.switch("mtype", "keep")?;
    stage.switch("fragment_size", "keep")?;
    let now = again(stage)?;
    demand_same(&layout, &desktop, &now).context("disabled, the desktop")?;
    job.demand(stage, stock).context("disabled")?;
    stage.unload(RMCP)?;
    job.close(stage)
}

fn uncached(_: &Place) -> Mtype {
    Mtype::Uc
}

/// Each memory type policy, on the first GPU.
pub(crate) fn every_policy(stage: &mut Stage) -> Result<()> {
    let job = Job::open(stage, RENDER_NODE, 0)?;
    stage.rmcp("mtype=keep")?;
    /// Switches to write, and what they promise in the manual page.
    type Case = (&'static [(&'static str, &'static str)], fn(&Place) -> Mtype);
    let cases: &[Case] = &[
        (&[], stock),
        (&[("mtype", "uc")], uncached),
        (&[("mtype_scope", "vram")], |place| {
            if place.vram { Mtype::Uc } else { stock(place) }
        }),
        (&[("mtype_scope", "system")], |place| {
            if place.vram { stock(place) } else { Mtype::Uc }
        }),
        // KFD asks for the default, which is NC already; what asks for coherence keeps it.
        (&[("mtype_scope", "all"), ("mtype", "nc")], stock),
        (&[("mtype_strict", "Y")], |_| Mtype::Nc),
        (&[("mtype_scope", "vram")], |place| {
            if place.vram { Mtype::Nc } else { stock(place) }
        }),
        (&[("mtype_scope", "all"), ("mtype_strict", "N")], stock),
    ];
    for (switches, expected) in cases {
        for (name, value) in *switches {
            stage.switch(name, value)?;
        }
        job.map(stage)?;
        job.demand(stage, *expected)
            .with_context(|| format!("after {switches:?}"))?;
        job.unmap(stage)?;
    }
    job.close(stage)
}

/// Each cap, on the first GPU.
pub(crate) fn every_cap(stage: &mut Stage) -> Result<()> {
    let job = Job::open(stage, RENDER_NODE, 0)?;
    job.map(stage)?;
    let stocks = job.pages(stage)?;
    job.unmap(stage)?;
    stage.rmcp("mtype=keep fragment_size=keep")?;
    for cap in [0, 4, 8, 9, 12] {
        stage.switch("fragment_size", &cap.to_string())?;
        job.map(stage)?;
        job.demand(stage, stock)
            .with_context(|| format!("cap {cap}"))?;
        let compared = job
            .demand_capped(stage, &stocks, cap)
            .with_context(|| format!("cap {cap}"))?;
        // 64 MiB of VRAM alone.
        demand!(compared > 16384, "{compared} pages were compared");
        job.unmap(stage)?;
    }
    stage.switch("fragment_size", "keep")?;
    job.map(stage)?;
    job.demand_capped(stage, &stocks, u8::MAX)
        .context("without a cap")?;
    job.close(stage)
}

/// What each attribute of a shared range does on gfx10, where the GPU does not retry faults: PREFETCH_LOC moves it, and
/// so does the CPU's access; NO_ACCESS unmaps it; ACCESS and ACCESS_IN_PLACE map it where it is; PREFERRED_LOC and
/// GRANULARITY are kept.
fn attributes(stage: &mut Stage) -> Result<()> {
    const AT: Va = Va(0x6200_0000_0000);
    const BYTES: Size = Size(2 << 20);
    let compute = Compute::open(stage, RENDER_NODE)?;
    compute.share(stage, AT, BYTES, SvmFlags::NONE, false)?;
    let client = compute.client();
    let process = compute.process();
    let gpu = stage.within(process, KfdNode { client })?;
    let gpu = gpu.get("gpu_id").copied().context("no gpu_id")?;
    let gpu = u32::try_from(gpu)?;
    let change = |stage: &mut Stage, kind, value| {
        let attributes = vec![(kind, value)];
        let (va, size) = (AT, BYTES);
        stage.within(
            process,
            SvmChange {
                va,
                size,
                attributes,
            },
        )
    };
    let query = |stage: &mut Stage, kind, value| -> Result<(u32, u32)> {
        let attributes = vec![(kind, value)];
        let (va, size) = (AT, BYTES);
        let found = stage.within(
            process,
            SvmQuery {
                va,
                size,
                attributes,
            },
        )?;
        found.first().copied().context("no attribute came back")
    };
    // Where all of it is mapped: in system memory, in VRAM, or nowhere.
    let mapped = |stage: &mut Stage| -> Result<Option<bool>> {
        let space = compute.address_space(stage, 0)?;
        let range = GpuVa(AT.0)..GpuVa(AT.0 + BYTES.0);
        let valid: Vec<_> = space.leaves(range).filter(|e| e.valid()).collect();
        let bytes: u64 = valid.iter().map(|e| e.span().bytes()).sum();
        let Some(first) = valid.first() else {
            return Ok(None);
        };
        demand!(bytes >= BYTES.0, "{bytes:#x} bytes are mapped");
        let same = valid.iter().all(|e| e.system() == first.system());
        demand!(same, "mapped partly in VRAM and partly in system memory");
        Ok(Some(first.system()))
    };
    use svm_attribute as attribute;
    demand!(
        mapped(stage)? == Some(true),
        "shared, and not in system memory"
    );
    let place = KfdPlace::Shared(AT);
    let pattern: Vec<u32> = (0..1024_u32).map(|i| i << 16 | !i & 0xffff).collect();
    compute.write(stage, place, &pattern)?;

    change(stage, attribute::PREFETCH_LOC, gpu)?;
    demand!(mapped(stage)? == Some(false), "prefetched, and not in VRAM");
    let found = query(stage, attribute::PREFETCH_LOC, 0)?;
    demand!(
        found.1 == gpu,
        "prefetched to {found:x?}, the GPU is {gpu:#x}"
    );
    // The CPU's access brings back what it touches, with its contents; then it is the driver's affair how much that is.
    let found = compute.read(stage, place, 1024)?;
    demand!(found == pattern, "the contents changed on the way");
    change(stage, attribute::PREFETCH_LOC, 0)?;
    demand!(
        mapped(stage)? == Some(true),
        "prefetched to system memory, and not there"
    );
    let found = compute.read(stage, place, 1024)?;
    demand!(found == pattern, "the contents changed on the way back");

    // Linux 7.2's driver only remembers that; 7.3's has a member for what is to be unmapped at once.
    let at_once = driver_has(stage, "bitmap_needs_unmap")?;
    change(stage, attribute::NO_ACCESS, gpu)?;
    let (found, expected) = (mapped(stage)?, (!at_once).then_some(true));
    demand!(
        found == expected,
        "no access, and {found:?} is mapped; with this driver {expected:?} is right"
    );
    let found = query(stage, attribute::ACCESS, gpu)?;
    demand!(
        found.0 == attribute::NO_ACCESS,
        "no access is told as {found:x?}"
    );
    for kind in [attribute::ACCESS, attribute::ACCESS_IN_PLACE] {
        change(stage, kind, gpu)?;
        demand!(
            mapped(stage)? == Some(true),
            "access {kind}, and not mapped"
        );
        let found = query(stage, attribute::ACCESS, gpu)?;
        demand!(found.0 == kind, "access {kind} is told as {found:x?}");
    }
    for (kind, value) in [(attribute::PREFERRED_LOC, gpu), (attribute::GRANULARITY, 6)] {
        change(stage, kind, value)?;
        let found = query(stage, kind, 0)?;
        demand!(
            found == (kind, value),
            "attribute {kind} is told as {found:x?}"
        );
    }
    compute.unshare(stage, AT)?;
    demand!(mapped(stage)?.is_none(), "dropped, and mapped");
    compute.close(stage)
}

/// Demands that a desktop client's mappings have the entries that they had.
fn demand_same(layout: &Layout, before: &Snapshot, now: &Snapshot) -> Result<()> {
    for placed in &layout.placed {
        let raw = |snapshot: &Snapshot| -> Vec<_> {
            snapshot
                .of(placed)
                .map(|entry| (entry.va, entry.raw))
                .collect()
        };
        let (then, now) = (raw(before), raw(now));
        demand!(!then.is_empty(), "{} had no entry", placed.mapping.name);
        demand!(
            then == now,
            "{}: {:x?} became {:x?}",
            placed.mapping.name,
            then.first(),
            now.first()
        );
    }
    Ok(())
}
