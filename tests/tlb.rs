// SPDX-License-Identifier: MIT OR Apache-2.0
//! That the emulated GPU's TLB would notice: with an error built into it, the histories that are otherwise played without
//! a fault deliver wrong data and wrong uses are counted.
//!
//! That stock and rmcp have no stale use and no wrong fragment is demanded at the end of every scenario
//! (`Vm::gpu_trouble`).

use crate::fragments::rig::Rig;
use crate::fragments::script::{Random, Script};
use crate::fragments::seeds;
use crate::stage::{Needs, Scenario, Stage, demand};
use anyhow::{Context, Result};
use rdna_emu::{Mistake, TlbReport};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "tlb: fragments that claim twice as much are noticed, in the data and in the count",
        Needs::Driver,
        enlarged,
    ),
    Scenario::new(
        "tlb: invalidations that do nothing are noticed, in the data and in the count",
        Needs::Driver,
        ignored,
    ),
];

const HISTORIES: u64 = 4;
const BATCHES: usize = 4;
const STEPS: usize = 12;

pub(crate) fn enlarged(stage: &mut Stage) -> Result<()> {
    let (wrong, report) = with_mistake(stage, Mistake::FragmentsOneLarger)?;
    demand!(
        wrong > 0 && report.wrong_fragments > 0 && report.stale == 0,
        "{wrong} of {HISTORIES} histories delivered wrong data, and the count is {report:x?}"
    );
    Ok(())
}

pub(crate) fn ignored(stage: &mut Stage) -> Result<()> {
    let (wrong, report) = with_mistake(stage, Mistake::InvalidationsIgnored)?;
    demand!(
        wrong > 0 && report.stale > 0 && report.wrong_fragments == 0,
        "{wrong} of {HISTORIES} histories delivered wrong data, and the count is {report:x?}"
    );
    Ok(())
}

/// Plays histories with an error in the TLB, and again without. In how many the data was wrong, and what
/// was counted.
fn with_mistake(stage: &mut Stage, mistake: Mistake) -> Result<(u64, TlbReport)> {
    let rig = Rig::new(stage)?;
    let before = stage.gpu(0).take_tlb();
    demand!(
        before.stale + before.wrong_fragments == 0 && before.hits > 0,
        "before the mistake: {before:x?}"
    );
    let mut wrong = 0;
    let mut total = TlbReport::default();
    for seed in seeds(HISTORIES)? {
        let script = Script::new(seed, &rig.sizes(), BATCHES, STEPS);
        let what = || format!("seed {seed}");
        for (mistake, found) in [(Some(mistake), &mut wrong), (None, &mut 0)] {
            stage.gpu(0).make_mistake(mistake);
            let mut failed = false;
            for batch in &script.batches {
                // What is mapped is read from the tables: no mistake there.
                rig.play(stage, batch).with_context(what)?;
                // Other pieces twice: what the first left behind meets the second.
                let read = rig.data(stage, &batch.live, &mut Random::new(seed));
                failed |= read.is_err();
                if mistake.is_none() {
                    read.with_context(what)?;
                }
            }
            *found += u64::from(failed);
            let report = stage.gpu(0).take_tlb();
            if mistake.is_some() {
                total.stale += report.stale;
                total.wrong_fragments += report.wrong_fragments;
                total.examples.extend(report.examples);
            } else {
                demand!(
                    report.stale + report.wrong_fragments == 0,
                    "{}, without a mistake: {report:x?}",
                    what()
                );
            }
            stage.gpu(0).make_mistake(None);
            rig.clear(stage, &script.last()).with_context(what)?;
            rig.repaint(stage)?;
            rig.sweep(stage)?;
            stage.gpu(0).take_tlb();
        }
    }
    println!(
        "{mistake:?}: {wrong} of {HISTORIES} histories delivered wrong data; {} stale uses, {} wrong fragments",
        total.stale, total.wrong_fragments
    );
    Ok((wrong, total))
}
