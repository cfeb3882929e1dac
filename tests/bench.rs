// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `cargo xtask bench` is made of works: its helper module learns from the driver, each of the mechanisms that it
//! compares has its effect, and the guest counts. The figures need a clock that counts instructions and are not looked at.

use crate::stage::{Needs, Scenario, Stage, demand};
use anyhow::{Context, Result};
use xtask::bench::calls::{HELPER, ORDINARY, learn, measure, set_mechanism};
use xtask::bench::maps;
use xtask::bench::setting::{ALL, Who};

pub(crate) const SCENARIOS: &[Scenario] = &[Scenario::new(
    "what the bench counts has its effect",
    Needs::Driver,
    effects,
)];

/// Bits 50:48 of an entry.
const MTYPE: u64 = 7 << 48;
/// Non-coherent, which stock makes of a request for nothing in particular.
const NC: u64 = 0;
/// Uncached, which every mechanism is to force.
const UC: u64 = 3 << 48;
const ROUNDS: u32 = 3;

fn effects(stage: &mut Stage) -> Result<()> {
    let layout = stage.layout(maps::BUFFERS)?;
    let buffer = layout.placed.first().context("no buffer")?;
    learn(stage, layout.client, buffer)?;
    let mtype = |stage: &mut Stage| -> Result<u64> { Ok(measure(stage, ORDINARY)?.entry & MTYPE) };
    let mut seen = 0;
    for setting in ALL {
        let Who::Helper(mechanism) = setting.who else {
            continue;
        };
        set_mechanism(stage, mechanism)?;
        let forced = mtype(stage)?;
        demand!(forced == UC, "{}: {forced:#x} instead of UC", setting.name);
        set_mechanism(stage, "none")?;
        let stock = mtype(stage)?;
        demand!(stock == NC, "{} left {stock:#x} behind", setting.name);
        seen += 1;
    }
    demand!(seen > 0, "no mechanism was tried");
    stage.unload(HELPER)?;
    let counted = maps::count(stage, &layout, ROUNDS)?;
    demand!(
        counted.len() == maps::BUFFERS.len(),
        "{counted:?} of {} buffers",
        maps::BUFFERS.len()
    );
    for one in &counted {
        demand!(
            one.map.rounds == ROUNDS as usize && one.both() > 0,
            "{one:?}"
        );
    }
    Ok(())
}
