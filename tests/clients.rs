// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compute clients, which KFD knows, beside ordinary DRM clients.

use crate::job::{Job, stock};
use crate::stage::{Needs, Scenario, Stage, demand};
use anyhow::Result;
use xtask::demo::compare::Snapshot;
use xtask::vm::actions::RENDER_NODE;
use xtask::vm::initramfs::AMDGPU;
use xtask::vm::mappings::{DEMO, Layout};

pub(crate) const SCENARIOS: &[Scenario] = &[Scenario::new(
    "stock: a compute job and a desktop client side by side",
    Needs::Driver,
    side_by_side,
)];

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
