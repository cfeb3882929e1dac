// SPDX-License-Identifier: MIT OR Apache-2.0
//! What stock amdgpu writes for a mapping of video memory: an independent model, by which the fragment scenarios know
//! that they read the tables right before they judge what rmcp changed.
//!
//! It is made of what is documented, and defines instead of computing step by step:
//!
//! - amdgpu's kernel-doc on fragments: FRAG *f* says that the 2^*f* pages of 4 KiB, aligned to that size in the address
//!   space, are physically contiguous and have the same flags; the driver uses "large fragments wherever possible",
//!   and user space supports that "by aligning virtual base address and allocation size". So each page has the largest
//!   aligned block around it that lies inside of one contiguous run of the mapping.
//! - The buddy allocator's kernel-doc: video memory is handed out in blocks of a power of two, aligned to their size.
//!   A buffer is a list of such blocks, and a run never reaches over two of them, be they neighbours or not.
//! - The layout of the tables: a directory entry of 2 MiB or 1 GiB can be the last level ("PDE as PTE").

use crate::stage::{Needs, Scenario, Stage, demand};
use anyhow::Result;
use rdna_emu::tables::Level;
use std::ops::Range;

pub(crate) const SCENARIOS: &[Scenario] = &[Scenario::new(
    "the model of stock's fragments knows what was seen in real tables",
    Needs::Nothing,
    known,
)];

/// The largest value that the field of an entry can hold.
const LARGEST: u8 = 31;

/// FRAG of `page` in a contiguous run of pages of the address space; `None` when it is not in it.
pub(crate) fn fragment(page: u64, run: &Range<u64>) -> Option<u8> {
    let fits = |&order: &u8| {
        let begin = page >> order << order;
        run.start <= begin && begin + (1 << order) <= run.end
    };
    (0..=LARGEST).take_while(fits).last()
}

/// The level of the table whose entry maps a page with that fragment: the highest that the fragment fills.
pub(crate) fn level(fragment: u8) -> Level {
    let orders = [Level::Pdb2, Level::Pdb1, Level::Pdb0];
    let filled = |level: &Level| u32::from(fragment) + 12 >= level.shift();
    orders.into_iter().find(filled).unwrap_or(Level::Ptb)
}

/// The blocks that a buffer consists of, as ranges of its pages, from the address of each of its pages.
pub(crate) fn blocks(addresses: &[u64]) -> Vec<Range<u64>> {
    let mut blocks = Vec::new();
    let mut begin = 0;
    while begin < addresses.len() {
        let first = addresses[begin] >> 12;
        let alike = |(page, address): &(u64, &u64)| **address >> 12 == *page;
        let contiguous = (first..).zip(&addresses[begin..]).take_while(alike).count();
        // As large as the address is aligned and the run is long.
        let longest = contiguous.ilog2().min(first.trailing_zeros());
        let end = begin + (1 << longest);
        blocks.push(begin as u64..end as u64);
        begin = end;
    }
    blocks
}

/// FRAG of each page of a mapping: pages `part` of a buffer that consists of `blocks`, mapped from page `first` of the
/// address space on.
pub(crate) fn predict(first: u64, part: &Range<u64>, blocks: &[Range<u64>]) -> Vec<u8> {
    let run = |block: &Range<u64>| {
        let (begin, end) = (block.start.max(part.start), block.end.min(part.end));
        let va = |page: u64| first + (page - part.start);
        (begin < end).then(|| va(begin)..va(end))
    };
    let of = |run: Range<u64>| {
        let pages = run.clone();
        pages.filter_map(move |page| fragment(page, &run))
    };
    blocks.iter().filter_map(run).flat_map(of).collect()
}

/// What was read from the tables of the unmodified driver when the project began.
fn known(_: &mut Stage) -> Result<()> {
    let mib = |n: u64| n << 8;
    let one =
        |first: u64, pages: u64| predict(first, &(0..pages), std::slice::from_ref(&(0..pages)));
    for (pages, fragment, expected) in [
        (1, 0, Level::Ptb),
        (16, 4, Level::Ptb),
        (mib(1), 8, Level::Ptb),
        (mib(2), 9, Level::Pdb0),
        (mib(16), 12, Level::Pdb0),
        (mib(64), 14, Level::Pdb0),
    ] {
        let found = one(mib(128), pages);
        demand!(
            found.len() as u64 == pages && found.iter().all(|found| *found == fragment),
            "{pages} aligned pages: expected {fragment} everywhere, the model says {found:?}"
        );
        demand!(level(fragment) == expected, "the level of FRAG {fragment}");
    }
    let mut steps = one(mib(128) + 1, mib(16));
    steps.dedup();
    let expected: Vec<u8> = (0..=11).chain([0]).collect();
    demand!(
        steps == expected,
        "16 MiB mapped at +4K: expected {expected:?}, the model says {steps:?}"
    );
    // A buffer of 3 pages and one of another block: two runs, though the addresses follow each other.
    let pages = [0x1000, 0x2000, 0x3000, 0x8000].map(|address| address + 0x10_0000);
    demand!(
        blocks(&pages) == [0..1, 1..3, 3..4],
        "the blocks of {pages:x?} are not {:?}",
        blocks(&pages)
    );
    let two = predict(0x100, &(0..4), &blocks(&pages));
    demand!(two == [0, 0, 0, 0], "two runs: the model says {two:?}");
    let two = predict(0x101, &(0..4), &blocks(&pages));
    demand!(two == [0, 1, 1, 0], "two runs: the model says {two:?}");
    Ok(())
}
