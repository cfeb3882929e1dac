// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compute clients, which KFD knows, beside ordinary DRM clients.

use crate::job::{Job, Place, stock};
use crate::stage::{Needs, RMCP, Scenario, Stage, demand};
use anyhow::{Context, Result};
use rdna_emu::tables::Mtype;
use xtask::demo::compare::Snapshot;
use xtask::vm::actions::RENDER_NODE;
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

fn every_policy(stage: &mut Stage) -> Result<()> {
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
