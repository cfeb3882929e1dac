// SPDX-License-Identifier: MIT OR Apache-2.0
//! Data as the judge: SDMA reads and writes through random mappings of VRAM, GTT and user memory, while a TLB takes each
//! fragment at its word, under every policy for memory types and for fragments.
//!
//! The mappings change between the copies; an entry that is wrong, or used although it is out of date, shows as data of
//! another page. `RMCP_SEED=n` plays other histories.

use crate::fragments::caps::{Cap, load};
use crate::fragments::rig::Rig;
use crate::fragments::script::{Random, Script};
use crate::fragments::seeds;
use crate::stage::{Needs, RMCP, Scenario, Stage, demand};
use anyhow::{Context, Result};

pub(crate) const SCENARIOS: &[Scenario] = &[Scenario::new(
    "traffic: SDMA fills and copies deliver the data under every policy, through a TLB",
    Needs::Driver,
    every_policy,
)];

const TYPES: [&str; 3] = ["keep", "nc", "uc"];
const CAPS: [Cap; 7] = [
    Cap::Keep,
    Cap::At(0),
    Cap::At(4),
    Cap::At(8),
    Cap::At(9),
    Cap::At(12),
    Cap::At(31),
];
const BATCHES: usize = 2;
const STEPS: usize = 10;
/// MTYPE of an entry.
const MTYPE: u64 = 7 << 48;
const UC: u64 = 3 << 48;

fn every_policy(stage: &mut Stage) -> Result<()> {
    let rig = Rig::new(stage)?;
    stage.gpu(0).take_tlb();
    // Stock first.
    let mut seeds = seeds(1 + (TYPES.len() * CAPS.len()) as u64)?;
    let mut read = traffic(stage, &rig, seeds.next().unwrap_or(0), "keep").context("stock")?;
    load(stage)?;
    for mtype in TYPES {
        stage.switch("mtype", mtype)?;
        for (cap, seed) in CAPS.into_iter().zip(&mut seeds) {
            cap.set(stage)?;
            read += traffic(stage, &rig, seed, mtype)
                .with_context(|| format!("mtype={mtype} fragment_size={cap}"))?;
        }
    }
    stage.unload(RMCP)?;
    let tlb = stage.gpu(0).tlb();
    demand!(
        tlb.hits > tlb.misses && tlb.misses > 1000 && tlb.invalidations > 44,
        "too little traffic: {tlb:?}"
    );
    println!(
        "{read} pages read; TLB: {} hits, {} misses, {} invalidations, {} stale, {} wrong fragments",
        tlb.hits, tlb.misses, tlb.invalidations, tlb.stale, tlb.wrong_fragments
    );
    Ok(())
}

/// One history, with copies and a fill after each batch. The pages that were read.
pub(crate) fn traffic(stage: &mut Stage, rig: &Rig, seed: u64, mtype: &str) -> Result<u64> {
    let script = Script::new(seed, &rig.sizes(), BATCHES, STEPS);
    let mut random = Random::new(seed);
    // Where SDMA fills; of its own, so that what is copied does not depend on it.
    let mut places = Random::new(!seed);
    let mut read = 0;
    for (number, batch) in script.batches.iter().enumerate() {
        let what = || format!("seed {seed}, batch {number}");
        let view = rig.play(stage, batch).with_context(what)?;
        let other = view.pages.iter().find(|page| page.flags & MTYPE != UC);
        demand!(
            mtype != "uc" || other.is_none(),
            "{}: {other:x?} is not UC",
            what()
        );
        read += rig
            .data(stage, &batch.live, &mut random)
            .with_context(what)?;
        rig.fill(stage, &batch.live, &mut places)
            .with_context(what)?;
        let tlb = stage.gpu(0).tlb();
        demand!(tlb.stale + tlb.wrong_fragments == 0, "{}: {tlb:x?}", what());
    }
    rig.clear(stage, &script.last())?;
    rig.sweep(stage)?;
    Ok(read)
}
