// SPDX-License-Identifier: MIT OR Apache-2.0
//! Orders of events: who is loaded first, who is reloaded, and what is left when rmcp is gone.

use crate::resources::{Resources, demand_gone};
use crate::stage::{Needs, RMCP, Scenario, Stage, demand};
use anyhow::{Context, Result};
use xtask::demo::compare::Snapshot;
use xtask::demo::policy::{Policy, memory_type};
use xtask::vm::initramfs::AMDGPU;
use xtask::vm::mappings::{DEMO, Mapping};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "rmcp after amdgpu: armed at once; disabled means no hook",
        Needs::Driver,
        after,
    ),
    Scenario::new(
        "rmcp is reloaded 20 times without a leak",
        Needs::Driver,
        reloaded,
    ),
    Scenario::new(
        "rmcp before amdgpu, which is reloaded 5 times",
        Needs::NoDriver,
        before,
    ),
];

/// The function that rmcp hooks.
pub(crate) const TARGET: &str = "gmc_v10_0_get_vm_pte";

/// A few mappings of different kinds.
fn few() -> Vec<Mapping> {
    const NAMES: [&str; 5] = [
        "VRAM 64K",
        "VRAM 64K as CC",
        "VRAM 1M COHERENT",
        "GTT 64K",
        "PRT 64K",
    ];
    DEMO.iter()
        .copied()
        .filter(|mapping| NAMES.contains(&mapping.name))
        .collect()
}

/// Maps a few buffers in a new client and demands the memory types that `policy` promises.
pub(crate) fn demand_policy(stage: &mut Stage, policy: Policy) -> Result<()> {
    let layout = stage.layout(&few())?;
    layout.map(stage)?;
    let now = Snapshot::take(stage, &layout, 0)?;
    for placed in &layout.placed {
        let name = placed.mapping.name;
        demand!(now.of(placed).count() > 0, "{name} has no entry");
        for entry in now.of(placed) {
            let found = entry.valid().then(|| entry.mtype());
            let expected = memory_type(policy, &placed.mapping);
            demand!(
                found == expected,
                "{policy:?}: {name}: found {entry:?}, expected {expected:?}"
            );
        }
    }
    stage.close(layout)
}

fn after(stage: &mut Stage) -> Result<()> {
    let stock = Resources::read(stage)?;
    demand!(
        !stock.traces(TARGET),
        "{TARGET} is traced before rmcp is there"
    );
    stage.rmcp_mtype("")?;
    stage.expect_state("armed")?;
    demand!(
        Resources::read(stage)?.traces(TARGET),
        "rmcp says armed, but ftrace has nothing on {TARGET}"
    );
    demand_policy(stage, Policy::Nc)?;
    for (name, value) in [("enable", "N"), ("enable", "Y"), ("mtype", "keep")] {
        stage.switch(name, value)?;
        let hooked = Resources::read(stage)?.traces(TARGET);
        demand!(
            hooked == (value == "Y"),
            "{name}={value}: hooked is {hooked}"
        );
    }
    demand_policy(stage, Policy::Stock)?;
    stage.switch("mtype", "uc")?;
    stage.expect_state("armed")?;
    stage.unload(RMCP)?;
    demand_gone(stage)?;
    demand_policy(stage, Policy::Stock)
}

fn reloaded(stage: &mut Stage) -> Result<()> {
    const TURNS: u64 = 20;
    // Two rounds first: the first use of a facility makes caches that stay.
    for _ in 0..2 {
        stage.rmcp_mtype("")?;
        stage.unload(RMCP)?;
    }
    let before = Resources::read(stage)?;
    for turn in 0..TURNS {
        stage.rmcp_mtype(if turn % 2 == 0 {
            "mtype=uc"
        } else {
            "mtype=nc"
        })?;
        stage.expect_state("armed")?;
        stage.unload(RMCP)?;
    }
    demand_gone(stage)?;
    Resources::read(stage)?.demand_no_leak(&before, TURNS)?;
    demand_policy(stage, Policy::Stock)
}

fn before(stage: &mut Stage) -> Result<()> {
    const RELOADS: u64 = 5;
    stage.rmcp_mtype("mtype=uc")?;
    stage.expect_state("waiting for amdgpu")?;
    let mut first = None;
    for turn in 0..=RELOADS {
        stage.load_amdgpu()?;
        stage
            .expect_state("armed")
            .with_context(|| format!("load {turn} of amdgpu"))?;
        let policy = if turn % 2 == 0 {
            Policy::Uc
        } else {
            Policy::Nc
        };
        stage.switch("mtype", if turn % 2 == 0 { "uc" } else { "nc" })?;
        demand_policy(stage, policy).with_context(|| format!("load {turn} of amdgpu"))?;
        if turn == RELOADS {
            break;
        }
        stage.unload(AMDGPU)?;
        stage
            .expect_state("waiting for amdgpu")
            .with_context(|| format!("unload {turn} of amdgpu"))?;
        let now = Resources::read(stage)?;
        demand!(
            !now.traces(TARGET),
            "amdgpu is gone, but ftrace still has something on {TARGET}"
        );
        // A reference to amdgpu's BTF would keep megabytes at each reload.
        let btf = *first.get_or_insert(now.btf());
        demand!(
            now.btf() <= btf,
            "BTF of unloaded modules: {btf} bytes at first, {} now",
            now.btf()
        );
    }
    stage.unload(RMCP)?;
    demand_gone(stage)?;
    demand_policy(stage, Policy::Stock)
}
