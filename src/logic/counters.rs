// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What is counted for each GPU, as numbered cells.
//!
//! A mapping adds one to one cell: the type that it asked for, the type that is written, and the reason
//! when it was left alone, all in one number. The sums that people want are made when they are read.

use super::{
    device::PciAddress,
    fragment::Fragment,
    mtype::{Mtype, RequestedMtype},
    policy::{Decision, Reason},
};
use core::fmt::{self, Write};

/// Memory types that can be asked for, in the order of the cells. Numbers that the ABI does not name
/// are one.
const REQUESTED: [&str; 7] = ["default", "nc", "wc", "cc", "uc", "rw", "other"];
/// Memory types that the driver writes, in the order of the cells.
const WRITTEN: [&str; 4] = ["nc", "wc", "cc", "uc"];
/// Ways in which a mapping can end up: changed, or left alone for a reason.
const FATES: u16 = 1 + Reason::ALL.len() as u16;
const WRITTEN_COUNT: u16 = WRITTEN.len() as u16;
const MAPPINGS: u16 = REQUESTED.len() as u16 * WRITTEN_COUNT * FATES;
/// How many values a fragment has.
const FRAGMENTS: u16 = Fragment::MAX as u16 + 1;

/// The number of one counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell(u16);

impl Cell {
    /// How many there are.
    pub const COUNT: usize = Self::PIECES.number() as usize + 1;

    const ASKED: u16 = MAPPINGS;
    const WROTE: u16 = Self::ASKED + FRAGMENTS;

    /// Page-table updates that were cut into pieces (calls of `amdgpu_vm_ptes_update`).
    pub const UPDATES_CUT: Self = Self(Self::WROTE + FRAGMENTS);
    /// The pieces.
    pub const PIECES: Self = Self(Self::UPDATES_CUT.0 + 1);

    /// All cells.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..=Self::PIECES.0).map(Self)
    }

    /// Its number, less than [`Cell::COUNT`].
    pub const fn number(self) -> u16 {
        self.0
    }

    /// Where a mapping is counted that asked for `requested`.
    pub const fn mapping(requested: RequestedMtype, decision: &Decision) -> Self {
        let fate = match decision.left_alone {
            None => 0,
            Some(reason) => 1 + reason as u16,
        };
        Self::of(row(requested), column(decision.written), fate)
    }

    const fn of(requested: u16, written: u16, fate: u16) -> Self {
        Self((requested * WRITTEN_COUNT + written) * FATES + fate)
    }

    /// Where an update is counted for which the driver chose `fragment`.
    #[inline(always)]
    pub const fn asked(fragment: Fragment) -> Self {
        Self(Self::ASKED + fragment.log2_pages() as u16)
    }

    /// Where an update is counted that wrote `fragment`.
    #[inline(always)]
    pub const fn wrote(fragment: Fragment) -> Self {
        Self(Self::WROTE + fragment.log2_pages() as u16)
    }
}

const fn row(requested: RequestedMtype) -> u16 {
    match requested {
        RequestedMtype::Default => 0,
        RequestedMtype::Nc => 1,
        RequestedMtype::Wc => 2,
        RequestedMtype::Cc => 3,
        RequestedMtype::Uc => 4,
        RequestedMtype::Rw => 5,
        RequestedMtype::Other(_) => 6,
    }
}

/// The driver writes no other types.
const fn column(written: Mtype) -> u16 {
    match written {
        Mtype::Nc | Mtype::Other(_) => 0,
        Mtype::Wc => 1,
        Mtype::Cc => 2,
        Mtype::Uc => 3,
    }
}

/// Writes the counters of one GPU: one fact per line, each beginning with `device`. `count` says what a
/// cell holds. Pairs of types and fragments that were never met are left out.
///
/// # Errors
///
/// When `out` has one.
pub fn write_report(
    out: &mut dyn Write,
    device: PciAddress,
    count: &dyn Fn(Cell) -> u64,
) -> fmt::Result {
    // Requested type, written type and fate; `None` stands for all.
    let sum = |row: Option<u16>, column: Option<u16>, fate: Option<u16>| {
        (0..MAPPINGS)
            .filter(|cell| {
                let (pair, its_fate) = (cell / FATES, cell % FATES);
                let (its_row, its_column) = (pair / WRITTEN_COUNT, pair % WRITTEN_COUNT);
                row.is_none_or(|row| row == its_row)
                    && column.is_none_or(|column| column == its_column)
                    && fate.is_none_or(|fate| fate == its_fate)
            })
            .map(|cell| count(Cell(cell)))
            .fold(0, u64::wrapping_add)
    };
    writeln!(out, "{device} mappings {}", sum(None, None, None))?;
    for (row, requested) in (0..).zip(REQUESTED) {
        for (column, written) in (0..).zip(WRITTEN) {
            let met = sum(Some(row), Some(column), None);
            if met != 0 {
                writeln!(
                    out,
                    "{device} requested {requested} written {written} {met}"
                )?;
            }
        }
    }
    writeln!(out, "{device} changed {}", sum(None, None, Some(0)))?;
    for (fate, reason) in (1..).zip(Reason::ALL) {
        let left = sum(None, None, Some(fate));
        writeln!(out, "{device} left-alone {} {left}", reason.as_str())?;
    }
    writeln!(out, "{device} updates-cut {}", count(Cell::UPDATES_CUT))?;
    writeln!(out, "{device} pieces {}", count(Cell::PIECES))?;
    for (what, first) in [("asked", Cell::ASKED), ("written", Cell::WROTE)] {
        let mut largest = None;
        for log2 in 0..FRAGMENTS {
            let met = count(Cell(first + log2));
            if met != 0 {
                largest = Some(log2);
                writeln!(out, "{device} fragment {what} {log2} count {met}")?;
            }
        }
        match largest {
            Some(log2) => writeln!(out, "{device} fragment {what} largest {log2}")?,
            None => writeln!(out, "{device} fragment {what} largest none")?,
        }
    }
    Ok(())
}
