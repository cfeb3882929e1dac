// SPDX-License-Identifier: MIT OR Apache-2.0
//! Eviction: the driver moves every buffer and every table out of VRAM, and writes the mappings anew when the next
//! submission brings them back.

use super::caps::{Cap, compare};
use super::rig::{Rig, View};
use super::script::{Book, Random, Script, Step};
use crate::stage::{Stage, demand};
use anyhow::{Context, Result, bail};

/// The caps under which buffers are evicted.
const CAPS: [Cap; 4] = [Cap::At(0), Cap::At(4), Cap::At(9), Cap::At(12)];
/// Submissions until the driver has moved back what it wants to, at most.
const MOVES: usize = 60;

/// Evicts under some caps; rmcp must be there. The pages compared.
pub(crate) fn under_caps(stage: &mut Stage, rig: &Rig, seed: u64) -> Result<usize> {
    let mut compared = 0;
    for (cap, file) in CAPS.into_iter().zip(["vram", "gtt"].into_iter().cycle()) {
        let script = Script::new(seed, &rig.sizes(), 1, super::STEPS);
        let live = script.last();
        cap.set(stage)?;
        let batch = script.batches.first().context("a script without batch")?;
        compared += rig
            .play(stage, batch)
            .and_then(|_| one(stage, rig, &live, cap, file))
            .with_context(|| format!("seed {seed}, cap {cap}, eviction of {file}"))?;
        rig.data(stage, &live, &mut Random::new(seed))
            .with_context(|| format!("seed {seed}, cap {cap}, after the eviction of {file}"))?;
        rig.clear(stage, &live)?;
        rig.sweep(stage)?;
    }
    Ok(compared)
}

/// What the driver writes after an eviction is judged by what stock writes for the buffers where they are then.
fn one(stage: &mut Stage, rig: &Rig, live: &Book, cap: Cap, file: &str) -> Result<usize> {
    evict(stage, file)?;
    let mut view = still(stage, rig, live)?;
    let again: Vec<_> = live.0.values().copied().map(Step::Replace).collect();
    for _ in 0..MOVES {
        Cap::Keep.set(stage)?;
        rig.take(stage, &again)?;
        let stock = rig.view(stage, live)?;
        if places(&stock).eq(places(&view)) {
            compare(&stock.pages, &view.pages, |_| cap)?;
            return Ok(view.pages.len());
        }
        // A buffer has moved meanwhile.
        cap.set(stage)?;
        rig.take(stage, &again)?;
        view = rig.view(stage, live)?;
    }
    bail!("the buffers do not stay where they are")
}

fn places(view: &View) -> impl Iterator<Item = (u64, bool)> {
    view.pages.iter().map(|page| (page.address, page.system))
}

/// Submits until nothing moves any more.
fn still(stage: &mut Stage, rig: &Rig, live: &Book) -> Result<View> {
    let mut last = rig.view(stage, live)?;
    for _ in 0..MOVES {
        let now = rig.view(stage, live)?;
        if places(&now).eq(places(&last)) {
            return Ok(now);
        }
        last = now;
    }
    bail!("the buffers do not stay where they are")
}

/// Lets the driver evict all that it can.
fn evict(stage: &mut Stage, what: &str) -> Result<()> {
    const CARD: &str = "/sys/kernel/debug/dri/0";
    let done = stage.text(&format!("{CARD}/amdgpu_evict_{what}"))?;
    demand!(done.trim() == "0", "evicting {what} came to {done:?}");
    Ok(())
}
