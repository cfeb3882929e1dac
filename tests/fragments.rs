// SPDX-License-Identifier: MIT OR Apache-2.0
//! The fragment cap against the unmodified driver: the same random histories of the same buffers, page by page.
//!
//! `RMCP_SEED=n` plays other histories than the fixed ones; every failure names its seed.

mod pages;
mod rig;
mod script;

use crate::model;
use crate::stage::{Needs, Scenario, Stage, demand};
use anyhow::{Context, Result};
use rdna_emu::tables::Level;
use rig::{Rig, View};
use script::{Book, Random, Script};
use std::fmt;
use std::ops::Range;
use xtask::vm::mappings::Memory;

pub(crate) const SCENARIOS: &[Scenario] = &[Scenario::new(
    "the model predicts every fragment that stock writes to VRAM",
    Needs::Driver,
    predicted,
)];

/// Parts of a history after which everything is compared, and the calls in each.
const BATCHES: usize = 3;
const STEPS: usize = 25;

/// `count` seeds: always the same, or from the environment's on.
fn seeds(count: u64) -> Result<Range<u64>> {
    let first = match std::env::var("RMCP_SEED") {
        Ok(text) => text
            .parse()
            .with_context(|| format!("RMCP_SEED is no number: {text:?}"))?,
        Err(_) => 1,
    };
    Ok(first..first + count)
}

fn predicted(stage: &mut Stage) -> Result<()> {
    const HISTORIES: u64 = 6;
    let rig = Rig::new(stage)?;
    let mut counts = Counts::default();
    let empty = rig.vram(stage)?;
    for seed in seeds(HISTORIES)? {
        let script = Script::new(seed, &rig.sizes(), BATCHES, STEPS);
        for (number, batch) in script.batches.iter().enumerate() {
            rig.play(stage, batch)
                .and_then(|view| as_predicted(&rig, &batch.live, &view, &mut counts))
                .with_context(|| format!("seed {seed}, batch {number}"))?;
        }
        let live = script.last();
        rig.data(stage, &live, &mut Random::new(seed))
            .with_context(|| format!("seed {seed}"))?;
        rig.clear(stage, &live)?;
        let left = rig.sweep(stage)?;
        demand!(left.is_empty(), "tables are left: {left:x?}");
        let now = rig.vram(stage)?;
        demand!(
            now == empty,
            "{now:?} of VRAM in use, {empty:?} before anything was mapped"
        );
    }
    println!("compared with the model: {counts}");
    // Something of everything, or nothing was shown.
    let met = counts.fragments.iter().filter(|count| **count > 0).count();
    demand!(met >= 15, "only these were met: {counts}");
    Ok(())
}

/// How many pages were compared.
#[derive(Default)]
struct Counts {
    vram: u64,
    system: u64,
    /// VRAM pages, by fragment.
    fragments: [u64; 32],
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} pages of VRAM, {} of system memory",
            self.vram, self.system
        )?;
        let met = self
            .fragments
            .iter()
            .enumerate()
            .filter(|(_, pages)| **pages > 0);
        met.into_iter()
            .try_for_each(|(fragment, pages)| write!(f, ", FRAG {fragment}: {pages}"))
    }
}

/// Every page leads to the page of its buffer, and every VRAM entry is as the model says.
fn as_predicted(rig: &Rig, live: &Book, view: &View, counts: &mut Counts) -> Result<()> {
    let mut found = view.pages.iter();
    for piece in live.0.values() {
        let buffer = &rig.buffers[piece.buffer];
        let blocks = model::blocks(&buffer.addresses);
        let fragments = model::predict(piece.first, &piece.part(), &blocks);
        let addresses = &buffer.addresses[piece.offset as usize..];
        for (fragment, address) in fragments.iter().zip(addresses) {
            let Some(page) = found.next() else { break };
            demand!(
                page.address == *address,
                "{page:x?} does not lead to {address:#x}, which {piece:x?} maps"
            );
            if buffer.memory != Memory::Vram {
                counts.system += 1;
                continue;
            }
            let level = model::level(*fragment);
            let marked = level != Level::Ptb;
            demand!(
                (page.fragment, page.level, page.marked) == (*fragment, level, marked),
                "{page:x?}: the model says {fragment} in {level:?}, for {piece:x?} of {blocks:x?}"
            );
            counts.vram += 1;
            counts.fragments[usize::from(*fragment)] += 1;
        }
    }
    demand!(found.next().is_none(), "more pages than the script maps");
    Ok(())
}
