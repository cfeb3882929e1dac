// SPDX-License-Identifier: MIT OR Apache-2.0
//! Switching and unloading while two processes map and unmap as fast as they can.

use crate::policies::demand_equal;
use crate::resources::Resources;
use crate::stage::{Needs, RMCP, Scenario, Stage, demand};
use anyhow::Result;
use guest::proto::{Size, StormId, StormStart, StormStop, StormWait};
use xtask::demo::compare::{Snapshot, compare};
use xtask::demo::policy::Policy;
use xtask::vm::actions::RENDER_NODE;
use xtask::vm::mappings::DEMO;

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "switches change while two processes map and unmap",
        Needs::Driver,
        switching,
    ),
    Scenario::new(
        "rmcp is unloaded while two processes map and unmap",
        Needs::Driver,
        unloading,
    ),
];

const PROCESSES: u32 = 2;
/// Rounds of each process between two actions.
const BETWEEN: u64 = 2;

fn start(stage: &mut Stage) -> Result<StormId> {
    stage.call(StormStart {
        node: RENDER_NODE.into(),
        processes: PROCESSES,
        size: Size(64 << 10),
    })
}

fn wait(stage: &mut Stage, storm: StormId) -> Result<()> {
    stage
        .call(StormWait {
            storm,
            rounds: BETWEEN,
        })
        .map(drop)
}

fn stop(stage: &mut Stage, storm: StormId, at_least: u64) -> Result<()> {
    let rounds = stage.call(StormStop { storm })?;
    demand!(
        rounds.len() == PROCESSES as usize,
        "{} processes, expected {PROCESSES}",
        rounds.len()
    );
    demand!(
        rounds.iter().all(|rounds| *rounds >= at_least),
        "rounds {rounds:?}, expected {at_least} each"
    );
    Ok(())
}

fn switching(stage: &mut Stage) -> Result<()> {
    const TURNS: u64 = 10;
    stage.rmcp_mtype("mtype=uc")?;
    let storm = start(stage)?;
    for _ in 0..TURNS {
        for (name, value, state) in [
            ("mtype", "nc", "armed"),
            ("enable", "N", "disabled (enable=N)"),
            ("enable", "Y", "armed"),
            ("mtype", "keep", "disabled (mtype=keep fragment_size=keep)"),
            ("mtype", "uc", "armed"),
        ] {
            stage.switch(name, value)?;
            stage.expect_state(state)?;
            wait(stage, storm)?;
        }
    }
    stop(stage, storm, 5 * TURNS * BETWEEN)
}

fn unloading(stage: &mut Stage) -> Result<()> {
    const TURNS: u64 = 10;
    let layout = stage.layout(DEMO)?;
    layout.map(stage)?;
    let stock = Snapshot::take(stage, &layout, 0)?;
    layout.unmap(stage)?;
    // The first load brings caches into being that stay.
    stage.rmcp_mtype("")?;
    stage.unload(RMCP)?;
    let before = Resources::read(stage)?;
    let storm = start(stage)?;
    for _ in 0..TURNS {
        stage.rmcp_mtype("mtype=uc")?;
        stage.expect_state("armed")?;
        wait(stage, storm)?;
        stage.unload(RMCP)?;
        wait(stage, storm)?;
    }
    stop(stage, storm, 2 * TURNS * BETWEEN)?;
    Resources::read(stage)?.demand_no_leak(&before, TURNS)?;
    layout.map(stage)?;
    let now = Snapshot::take(stage, &layout, 0)?;
    demand_equal(
        &compare(Policy::Stock, &layout, &stock, &now),
        "after unloading under load",
    )
}
