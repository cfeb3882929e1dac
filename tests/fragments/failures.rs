// SPDX-License-Identifier: MIT OR Apache-2.0
//! Failures in the middle of an update: what the driver answers, and what it leaves behind.
//!
//! A helper module lets the driver's allocation of page tables fail from the n-th one on, for each n that a set of
//! mappings needs. GEM_VA itself hides such a failure (it logs it), the next submission tries again and reports it.
//!
//! Stock survives a failure only as long as the update has not yet put a table aside to be freed: it leaves the table
//! in a list on its stack. A table is put aside when a directory entry becomes the last level where a table was made
//! before, so no mapping here has small pages in front of a whole 2 MiB.

use super::caps::{Cap, compare};
use super::pages::Page;
use super::rig::Rig;
use super::script::{Book, Piece, Step, WINDOW};
use crate::stage::{RMCP, Stage, demand};
use anyhow::{Context, Result};
use guest::proto::{Size, Submit};
use guest::uapi::{Domain, VmFlags};
use rdna_emu::PageDirectory;
use std::collections::BTreeSet;

const HELPER: &str = "rmcp_fail";
/// What makes page tables.
const FUNCTION: &str = "amdgpu_bo_create_vm";
const CAPS: [Cap; 4] = [Cap::At(0), Cap::At(4), Cap::At(9), Cap::At(12)];

/// What came of one failure.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    /// Of the submission.
    errno: Option<i32>,
    /// What the driver said in the log, each line once.
    said: BTreeSet<String>,
}

/// What one run with a failure gave.
struct Run {
    outcome: Outcome,
    /// What was mapped right after the failure.
    partly: Vec<Page>,
    /// What was mapped in the end.
    wholly: Vec<Page>,
}

/// Failures under stock and under caps; only with CPU updates, which are visible at once. The failures provoked.
pub(crate) fn passed_on(stage: &mut Stage, rig: &Rig) -> Result<usize> {
    stage.load(HELPER, &format!("function={FUNCTION}"))?;
    let live = mappings();
    let steps: Vec<_> = live.0.values().copied().map(Step::Map).collect();
    let root = stage.root_of(rig.client, 0)?;

    let (reference, tables) = counted(stage, rig, &steps, &live)?;
    demand!(tables >= 5, "the mappings need only {tables} tables");
    let vram = rig.vram(stage)?;
    let stock = (1..=tables)
        .map(|from| run(stage, rig, &live, &steps, root, from, vram))
        .collect::<Result<Vec<_>>>()
        .context("stock")?;
    let mut provoked = stock.len();
    super::caps::load(stage)?;
    for cap in CAPS {
        cap.set(stage)?;
        let (whole, tables) = counted(stage, rig, &steps, &live)?;
        compare(&reference, &whole, |_| cap).with_context(|| format!("cap {cap}"))?;
        for from in 1..=tables {
            let what = || format!("cap {cap}, no table from the {from}. of {tables} on");
            let now = run(stage, rig, &live, &steps, root, from, vram).with_context(what)?;
            judge(&stock, &reference, &now, cap, from).with_context(what)?;
            provoked += 1;
        }
    }
    stage.unload(RMCP)?;
    stage.unload(HELPER)?;
    Ok(provoked)
}

fn judge(stock: &[Run], reference: &[Page], now: &Run, cap: Cap, from: usize) -> Result<()> {
    compare(reference, &now.wholly, |_| cap).context("in the end")?;
    // Below 2 MiB there are more tables, so that another one is the n-th.
    let same = stock.get(from - 1).or(stock.last());
    let same = same.context("stock was not asked")?;
    demand!(
        now.outcome == same.outcome,
        "{:?}, under stock {:?}",
        now.outcome,
        same.outcome
    );
    if cap.only_pages() {
        // What is there is a part of what is to be there, and no directory entry maps.
        let there = |page: &&Page| now.partly.iter().any(|now| now.number == page.number);
        let part: Vec<Page> = reference.iter().filter(there).copied().collect();
        compare(&part, &now.partly, |_| cap).context("right after the failure")
    } else {
        compare(&same.partly, &now.partly, |_| cap).context("right after the failure")
    }
}

/// Maps and unmaps without a failure: what is mapped then, and the tables that were made for it.
fn counted(
    stage: &mut Stage,
    rig: &Rig,
    steps: &[Step],
    live: &Book,
) -> Result<(Vec<Page>, usize)> {
    rig.sweep(stage)?;
    let calls = |stage: &mut Stage| -> Result<usize> {
        Ok(stage.parameter(HELPER, "calls")?.trim().parse()?)
    };
    let before = calls(stage)?;
    rig.take(stage, steps)?;
    let view = rig.view(stage, live)?;
    let after = calls(stage)?;
    rig.clear(stage, live)?;
    rig.sweep(stage)?;
    Ok((view.pages, after - before))
}

fn run(
    stage: &mut Stage,
    rig: &Rig,
    live: &Book,
    steps: &[Step],
    root: PageDirectory,
    from: usize,
    vram: Size,
) -> Result<Run> {
    let mark = stage.mark()?;
    stage.set_parameter(HELPER, "fail", &format!("{from} 1000000"))?;
    rig.take(stage, steps)?;
    let partly = super::pages::pages(&stage.gpu(0).walk(root)?, &WINDOW);
    let submitted = stage.attempt(Submit {
        client: rig.client,
        value: 1,
        domain: Domain::VRAM,
    })?;
    let failed = stage.parameter(HELPER, "failed")?;
    stage.set_parameter(HELPER, "fail", "0 0")?;
    demand!(failed != "0", "nothing failed");
    let Err(failure) = submitted else {
        anyhow::bail!("the submission knows nothing of the {failed} failures");
    };
    let said = stage.log_since(mark)?;
    let said = said.into_iter().filter(|line| line.contains("amdgpu"));
    let outcome = Outcome {
        errno: failure.errno,
        said: said.collect(),
    };
    let wholly = rig.view(stage, live).context("after the failure")?.pages;
    rig.clear(stage, live)?;
    rig.sweep(stage)?;
    rig.freed(stage, vram)?;
    Ok(Run {
        outcome,
        partly,
        wholly,
    })
}

/// Mappings that need tables at their begin and at their end.
fn mappings() -> Book {
    let piece = |first, pages, buffer, offset| Piece {
        first,
        pages,
        buffer,
        offset,
        flags: VmFlags::RWX,
        written: 0,
        pending: false,
    };
    let mut book = Book::default();
    for piece in [
        piece(WINDOW.start, 2048 + 7, 0, 0),
        piece(WINDOW.start + 0x8000 + 300, 600, 1, 5),
        piece(WINDOW.start + 0x2_0000 + 300, 600, 7, 9),
    ] {
        book.0.insert(piece.first, piece);
    }
    book
}
