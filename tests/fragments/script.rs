// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random histories of an address space: what to map, unmap, clear and replace, and what is mapped after each part.
//!
//! A script is made of a seed before anything runs, so that the same history can be played under every cap. It knows
//! the driver's rules: a map needs a free range, an unmap names a mapping by its first page, and clearing a part of a
//! mapping leaves what is before and after it. One habit of stock's is kept out of the way: what a clear left of a
//! mapping is written anew only at the next submission, and an unmap before that leaves the old entries standing.

use guest::uapi::VmFlags;
use std::collections::BTreeMap;
use std::ops::Range;

/// The pages of the address space that scripts use: three quarters of the way over a boundary of 1 GiB.
pub(crate) const WINDOW: Range<u64> = 0x12_0000..0x18_0000;
/// Pages that are mapped at a time, at most.
const MOST: u64 = 80_000;
/// The largest mapping is 2^15 pages, 128 MiB.
const LARGEST: u64 = 15;

/// A sequence of numbers that a seed determines (SplitMix64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap_or(0)
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// A mapping: consecutive pages of a buffer at consecutive pages of the address space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Its first page in the address space.
    pub(crate) first: u64,
    /// How many pages.
    pub(crate) pages: u64,
    /// Which buffer, as an index.
    pub(crate) buffer: usize,
    /// Its first page in the buffer.
    pub(crate) offset: u64,
    /// How it is mapped.
    pub(crate) flags: VmFlags,
    /// The batch in which its entries were written.
    pub(crate) written: usize,
    /// Left over by a clear, and no submission has been made since.
    pub(crate) pending: bool,
}

impl Piece {
    pub(crate) fn end(&self) -> u64 {
        self.first + self.pages
    }

    /// The pages of the buffer.
    pub(crate) fn part(&self) -> Range<u64> {
        self.offset..self.offset + self.pages
    }

    /// What of it lies in `range`.
    fn cut(&self, range: Range<u64>, written: usize) -> Option<Piece> {
        let (first, end) = (self.first.max(range.start), self.end().min(range.end));
        (first < end).then(|| Piece {
            first,
            pages: end - first,
            offset: self.offset + (first - self.first),
            written,
            pending: true,
            ..*self
        })
    }
}

/// One GEM_VA call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Map(Piece),
    Unmap(Piece),
    Replace(Piece),
    Clear { first: u64, pages: u64 },
}

/// What is mapped, by first page.
#[derive(Debug, Clone, Default)]
pub(crate) struct Book(pub(crate) BTreeMap<u64, Piece>);

impl Book {
    fn pages(&self) -> u64 {
        self.0.values().map(|piece| piece.pages).sum()
    }

    fn free(&self, range: &Range<u64>) -> bool {
        let before = self.0.range(..range.end).next_back();
        before.is_none_or(|(_, piece)| piece.end() <= range.start)
    }

    pub(crate) fn any(&self, random: &mut Random) -> Option<Piece> {
        let index = random.index(self.0.len());
        self.0.values().nth(index).copied()
    }

    /// What a step does, by the interface's documentation.
    fn follow(&mut self, step: &Step, batch: usize) {
        match step {
            Step::Map(piece) => drop(self.0.insert(piece.first, *piece)),
            Step::Unmap(piece) => drop(self.0.remove(&piece.first)),
            Step::Clear { first, pages } => self.clear(*first..first + pages, batch),
            Step::Replace(piece) => {
                self.clear(piece.first..piece.end(), batch);
                self.0.insert(piece.first, *piece);
            }
        }
    }

    fn clear(&mut self, range: Range<u64>, batch: usize) {
        let hit: Vec<Piece> = self
            .0
            .values()
            .filter(|piece| piece.first < range.end && range.start < piece.end())
            .copied()
            .collect();
        for piece in hit {
            self.0.remove(&piece.first);
            let rest = [0..range.start, range.end..u64::MAX];
            for left in rest.into_iter().filter_map(|rest| piece.cut(rest, batch)) {
                self.0.insert(left.first, left);
            }
        }
    }
}

/// Some steps, and what is mapped after them.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) steps: Vec<Step>,
    pub(crate) live: Book,
}

/// A history.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    pub(crate) batches: Vec<Batch>,
}

impl Script {
    /// `sizes` are the pages of the buffers.
    pub(crate) fn new(seed: u64, sizes: &[u64], batches: usize, steps: usize) -> Self {
        let mut random = Random::new(seed);
        let mut live = Book::default();
        let batches = (0..batches).map(|batch| {
            let mut made = Vec::new();
            while made.len() < steps {
                if let Some(step) = choose(&mut random, &live, sizes, batch) {
                    live.follow(&step, batch);
                    made.push(step);
                }
            }
            for piece in live.0.values_mut() {
                piece.pending = false;
            }
            let live = live.clone();
            Batch { steps: made, live }
        });
        let batches = batches.collect();
        Self { batches }
    }

    /// What is mapped at the end.
    pub(crate) fn last(&self) -> Book {
        self.batches
            .last()
            .map(|batch| batch.live.clone())
            .unwrap_or_default()
    }
}

fn choose(random: &mut Random, live: &Book, sizes: &[u64], batch: usize) -> Option<Step> {
    let full = live.pages() > MOST;
    match random.below(10) {
        0..=4 if !full => {
            let piece = piece(random, sizes, batch);
            live.free(&(piece.first..piece.end()))
                .then_some(Step::Map(piece))
        }
        0..=5 => live
            .any(random)
            .filter(|piece| !piece.pending)
            .map(Step::Unmap),
        6..=7 if !full => {
            let mut piece = piece(random, sizes, batch);
            // Half of them over something that is there.
            if let Some(under) = live.any(random).filter(|_| !random.one_in(2)) {
                piece.first = (under.first + random.below(under.pages))
                    .min(WINDOW.end - piece.pages)
                    .max(WINDOW.start);
            }
            Some(Step::Replace(piece))
        }
        _ => live.any(random).map(|piece| {
            let first = piece.first + random.below(piece.pages);
            let pages = length(random).min(WINDOW.end - first);
            // Mostly inside of the mapping, sometimes over its end and beyond.
            let inside = pages.min(piece.end() - first);
            let pages = if random.one_in(4) { pages } else { inside };
            Step::Clear { first, pages }
        }),
    }
}

/// A number of pages, each power of two as likely as the next.
fn length(random: &mut Random) -> u64 {
    let power = 1 << random.below(LARGEST + 1);
    match random.below(3) {
        0 => power,
        1 => power + random.below(power),
        _ => power - random.below(power.min(40)),
    }
}

fn aligned(random: &mut Random, value: u64) -> u64 {
    let order = random.below(LARGEST + 1);
    value >> order << order
}

fn piece(random: &mut Random, sizes: &[u64], batch: usize) -> Piece {
    // The first is the largest: every third mapping is of it.
    let buffer = if random.one_in(3) {
        0
    } else {
        random.index(sizes.len())
    };
    let size = sizes[buffer];
    let pages = if random.one_in(6) {
        size
    } else {
        length(random).min(size)
    };
    let offset = random.below(size - pages + 1);
    let offset = aligned(random, offset);
    let first = WINDOW.start + random.below(WINDOW.end - WINDOW.start - pages);
    let first = aligned(random, first).max(WINDOW.start);
    let flags = match random.below(8) {
        0 => VmFlags::READABLE,
        1 => VmFlags::RWX | VmFlags::MTYPE_UC,
        2 => VmFlags::RWX | VmFlags::MTYPE_CC,
        3 => VmFlags::RWX | VmFlags::NOALLOC,
        _ => VmFlags::RWX,
    };
    Piece {
        first,
        pages,
        buffer,
        offset,
        flags,
        written: batch,
        pending: false,
    }
}
