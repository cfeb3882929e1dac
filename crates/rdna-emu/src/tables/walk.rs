// SPDX-License-Identifier: MIT OR Apache-2.0
//! Walking page tables: whole address spaces for the judge, single addresses for the engines.
//!
//! Tables are guest-controlled data: a directory may point at itself or outside memory. Every walk
//! is bounded by [`Limits`], and memory that is not there is an error with its address.

use super::{AddressSpace, Entry, Format, Kind, Level, Raw};
use crate::units::{GpuVa, PageDirectory};
use thiserror::Error;

/// Entries of one table.
const ENTRIES: usize = 512;

/// Where tables are read from.
pub trait TableSource {
    /// Fills `out` with consecutive entries that begin at `address` (an offset into VRAM, or a bus
    /// address when `system`). `false` when that memory is not there.
    fn read_entries(&self, system: bool, address: u64, out: &mut [u64]) -> bool;
}

/// How many levels an address space has, and how its entries are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depth {
    /// The level of the root.
    pub root: Level,
    /// The layout of every entry.
    pub format: Format,
}

impl Depth {
    /// What amdgpu sets up for user VMs on GFX10: PDB2, PDB1, PDB0, PTB.
    pub const FOUR: Self = Self::four(Format::Gfx10);

    /// The same four levels with entries of this layout.
    pub const fn four(format: Format) -> Self {
        Self {
            root: Level::Pdb2,
            format,
        }
    }
}

/// Bounds of a walk.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Tables read.
    pub tables: usize,
    /// Entries returned.
    pub entries: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tables: 1 << 17,
            entries: 1 << 23,
        }
    }
}

/// Why an address space could not be read whole.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum WalkError {
    /// A table lies in memory that the device cannot reach.
    #[error(
        "the {level:?} table at {} address {address:#x} (for {va:?}, {root:?}) is not in memory; \
         expected it inside VRAM or mapped system memory",
        if *system { "system" } else { "VRAM" }
    )]
    Unreachable {
        /// The root of the walk.
        root: PageDirectory,
        /// The first address that the table covers.
        va: GpuVa,
        /// Its level.
        level: Level,
        /// System memory rather than VRAM.
        system: bool,
        /// Its address.
        address: u64,
    },
    /// More than [`Limits`] allow; usually a root that is no page directory.
    #[error(
        "the tables below {root:?} hold more than {limit} {what}; the root is probably not a page directory"
    )]
    TooLarge {
        /// The root of the walk.
        root: PageDirectory,
        /// The limit that was passed.
        limit: usize,
        /// What was counted.
        what: &'static str,
    },
}

/// Reads every entry below `root`.
pub fn walk(
    source: &dyn TableSource,
    root: PageDirectory,
    depth: Depth,
    limits: Limits,
) -> Result<AddressSpace, WalkError> {
    let mut walker = Walker {
        source,
        root,
        format: depth.format,
        limits,
        tables: 0,
        entries: Vec::new(),
    };
    walker.table(Raw(root.0), depth.root, 0)?;
    Ok(AddressSpace {
        root,
        entries: walker.entries,
    })
}

struct Walker<'a> {
    source: &'a dyn TableSource,
    root: PageDirectory,
    format: Format,
    limits: Limits,
    tables: usize,
    entries: Vec<Entry>,
}

impl Walker<'_> {
    /// Recursion is as deep as there are levels: four.
    fn table(&mut self, pointer: Raw, level: Level, base: u64) -> Result<(), WalkError> {
        let root = self.root;
        let too_large = |limit, what| WalkError::TooLarge { root, limit, what };
        self.tables += 1;
        if self.tables > self.limits.tables {
            return Err(too_large(self.limits.tables, "tables"));
        }
        let mut words = [0; ENTRIES];
        let (system, address) = (pointer.system(), pointer.table());
        if !self.source.read_entries(system, address, &mut words) {
            return Err(WalkError::Unreachable {
                root,
                va: GpuVa(base),
                level,
                system,
                address,
            });
        }
        for (i, raw) in (0..).zip(words) {
            let va = GpuVa(base + (i << level.shift()));
            let Some(entry) = self.format.decode(va, level, raw) else {
                continue;
            };
            if self.entries.len() >= self.limits.entries {
                return Err(too_large(self.limits.entries, "entries"));
            }
            self.entries.push(entry);
            if let (Kind::Directory, Some(below)) = (entry.kind, level.below()) {
                self.table(Raw(raw), below, va.0)?;
            }
        }
        Ok(())
    }
}

/// Reads `count` entries of a flat table (VMID 0: the GART) that begins at `root` and covers
/// addresses from `start`; leaves out entries that are zero.
pub fn flat(
    source: &dyn TableSource,
    root: PageDirectory,
    start: GpuVa,
    count: usize,
    format: Format,
) -> Result<Vec<Entry>, WalkError> {
    let (system, base) = (Raw(root.0).system(), Raw(root.0).table());
    let mut entries = Vec::new();
    let mut words = [0; ENTRIES];
    for first in (0..count).step_by(ENTRIES) {
        let chunk = &mut words[..ENTRIES.min(count - first)];
        let address = base.wrapping_add(first as u64 * 8);
        if !source.read_entries(system, address, chunk) {
            return Err(WalkError::Unreachable {
                root,
                va: start.plus((first as u64) << 12),
                level: Level::Ptb,
                system,
                address,
            });
        }
        for (i, &raw) in chunk.iter().enumerate().filter(|(_, raw)| **raw != 0) {
            let va = start.plus(((first + i) as u64) << 12);
            let kind = Raw(raw).kind(Level::Ptb).unwrap_or(Kind::Inert);
            entries.push(Entry {
                va,
                level: Level::Ptb,
                kind,
                raw,
                format,
            });
        }
    }
    Ok(entries)
}

/// Where one address leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The entry that maps it.
    pub entry: Entry,
    /// System memory rather than VRAM.
    pub system: bool,
    /// The physical address of the byte asked for.
    pub address: u64,
    /// Bytes from there to the end of what the entry covers.
    pub remaining: u64,
}

/// Why an address leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// No valid entry.
    #[error("no valid entry at level {0:?}")]
    NotPresent(Level),
    /// The entry says: partially resident. Reads give zero, writes are dropped.
    #[error("partially resident page")]
    Prt,
    /// A table is outside of memory.
    #[error("{level:?} table outside memory at {address:#x}")]
    Table {
        /// Its level.
        level: Level,
        /// Its address.
        address: u64,
    },
    /// The address has more bits than the tables translate.
    #[error("address is wider than 48 bits")]
    TooWide,
}

/// Translates `va` through the tables below `root`.
pub fn lookup(
    source: &dyn TableSource,
    root: PageDirectory,
    depth: Depth,
    va: GpuVa,
) -> Result<Translation, Fault> {
    // Addresses are sign-extended from bit 47 on GFX10; both halves use the same table bits.
    let high = va.0 >> 47;
    if high != 0 && high != 0x1_ffff {
        return Err(Fault::TooWide);
    }
    let va = GpuVa(va.0 & 0xffff_ffff_ffff);
    let mut pointer = Raw(root.0);
    let mut level = depth.root;
    loop {
        let index = (va.0 >> level.shift()) & (ENTRIES as u64 - 1);
        let address = pointer.table().wrapping_add(index * 8);
        let mut word = [0];
        if !source.read_entries(pointer.system(), address, &mut word) {
            return Err(Fault::Table { level, address });
        }
        let offset = va.0 & ((1 << level.shift()) - 1);
        let Some(entry) = depth.format.decode(GpuVa(va.0 - offset), level, word[0]) else {
            return Err(Fault::NotPresent(level));
        };
        match (entry.kind, level.below()) {
            (Kind::Prt, _) => return Err(Fault::Prt),
            (Kind::Directory, Some(below)) => {
                pointer = Raw(entry.raw);
                level = below;
            }
            (Kind::Directory | Kind::Leaf | Kind::Inert, _) => {
                return Ok(Translation {
                    entry,
                    system: entry.system(),
                    address: entry.address().wrapping_add(offset),
                    remaining: entry.span().bytes() - offset,
                });
            }
        }
    }
}
