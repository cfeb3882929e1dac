// SPDX-License-Identifier: MIT OR Apache-2.0
//! The switches that narrow or widen the memory type policy, on every kind of mapping: `mtype_scope` and
//! `mtype_strict`.

use crate::stage::{Needs, Scenario, Stage, demand};
use anyhow::Result;
use rdna_emu::tables::{Kind, Mtype};
use xtask::demo::compare::Snapshot;
use xtask::demo::policy::{MTYPE_MASK, Policy, memory_type, number};
use xtask::vm::mappings::{DEMO, Layout, MORE, Mapping, Memory};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "mtype_scope: the policy stays within VRAM or system memory",
        Needs::Driver,
        scope,
    ),
    Scenario::new(
        "mtype_strict: nc also for what asks for coherence",
        Needs::Driver,
        strict,
    ),
];

/// What a mapping is to have; `None` for PRT, which has no memory type.
type Expected<'a> = &'a dyn Fn(&Mapping) -> Option<Mtype>;

/// Maps everything and demands the expected memory types; every other bit must be as in `stock`.
fn demand_types(
    stage: &mut Stage,
    layout: &Layout,
    stock: &Snapshot,
    what: &str,
    expected: Expected<'_>,
) -> Result<()> {
    layout.map(stage)?;
    let now = Snapshot::take(stage, layout, 0)?;
    for placed in &layout.placed {
        let name = placed.mapping.name;
        let (before, after): (Vec<_>, Vec<_>) =
            (stock.of(placed).collect(), now.of(placed).collect());
        demand!(
            !before.is_empty() && before.len() == after.len(),
            "{what}: {name} has {} entries, under stock it had {}",
            after.len(),
            before.len()
        );
        for (before, after) in before.iter().zip(after) {
            let expected = match expected(&placed.mapping) {
                Some(mtype) if before.kind == Kind::Leaf => {
                    (before.raw & !MTYPE_MASK) | number(mtype) << 48
                }
                _ => before.raw,
            };
            demand!(
                after.va == before.va && after.raw == expected,
                "{what}: {name}: found {after:?}, expected {expected:#018x}, stock wrote {before:?}"
            );
        }
    }
    layout.unmap(stage)
}

fn stock(stage: &mut Stage) -> Result<(Layout, Snapshot)> {
    let layout = stage.layout(&[DEMO, MORE].concat())?;
    layout.map(stage)?;
    let stock = Snapshot::take(stage, &layout, 0)?;
    layout.unmap(stage)?;
    Ok((layout, stock))
}

fn is_system(mapping: &Mapping) -> bool {
    matches!(mapping.memory, Memory::Gtt | Memory::Userptr)
}

fn scope(stage: &mut Stage) -> Result<()> {
    let (layout, stock) = stock(stage)?;
    stage.rmcp_mtype("mtype=uc mtype_scope=vram")?;
    for (scope, mtype, policy) in [
        ("vram", "uc", Policy::Uc),
        ("system", "uc", Policy::Uc),
        ("system", "nc", Policy::Nc),
        ("vram", "nc", Policy::Nc),
        ("all", "uc", Policy::Uc),
    ] {
        stage.switch("mtype", mtype)?;
        stage.switch("mtype_scope", scope)?;
        stage.expect_state("armed")?;
        let what = format!("mtype={mtype} mtype_scope={scope}");
        demand_types(stage, &layout, &stock, &what, &|mapping| {
            let inside = scope == "all" || is_system(mapping) == (scope == "system");
            memory_type(if inside { policy } else { Policy::Stock }, mapping)
        })?;
    }
    Ok(())
}

fn strict(stage: &mut Stage) -> Result<()> {
    let (layout, stock) = stock(stage)?;
    let everything = |mapping: &Mapping| (mapping.memory != Memory::Prt).then_some(Mtype::Nc);
    stage.rmcp_mtype("mtype=nc mtype_strict=Y")?;
    demand_types(stage, &layout, &stock, "strict nc", &everything)?;
    stage.switch("mtype_scope", "system")?;
    demand_types(
        stage,
        &layout,
        &stock,
        "strict nc of system memory",
        &|mapping| {
            if is_system(mapping) {
                everything(mapping)
            } else {
                memory_type(Policy::Stock, mapping)
            }
        },
    )?;
    stage.switch("mtype_scope", "all")?;
    stage.switch("mtype", "uc")?;
    demand_types(stage, &layout, &stock, "uc, strict or not", &|mapping| {
        memory_type(Policy::Uc, mapping)
    })?;
    stage.switch("mtype_strict", "N")?;
    stage.switch("mtype", "nc")?;
    demand_types(stage, &layout, &stock, "nc again", &|mapping| {
        memory_type(Policy::Nc, mapping)
    })
}
