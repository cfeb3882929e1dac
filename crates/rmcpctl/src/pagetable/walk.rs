// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reading a whole address space, table by table.
//!
//! The tables are the driver's and change while they are read: what is found is not one moment. They may also be
//! anything: a table that leads back to itself, or more entries than are worth reading, ends the walk with a sentence.

use super::entry::{Entry, Kind, Level};
use crate::clients::Tables;
use crate::system::{Found, Refusal};
use std::collections::HashSet;

/// Tables that are read at most: 128 GiB in pages of 4 KiB.
const TABLES: usize = 1 << 16;
/// Entries in a directory (`amdgpu_vm_pt_num_entries`).
const ENTRIES: u64 = 512;
/// Bits of a GPU address.
const ADDRESS_BITS: u32 = 48;

/// Memory that holds tables.
pub trait Memory {
    /// Fills `into` with what lies at an address: an offset into video memory, or a bus address if `system`.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    fn read(&self, system: bool, address: u64, into: &mut [u8]) -> Found<()>;
}

/// Every entry that says something, by address; a directory before what it points at.
///
/// # Errors
///
/// When the tables cannot be read, or are none that GFX10 has.
pub fn walk(memory: &dyn Memory, tables: &Tables) -> Found<Vec<Entry>> {
    let root = Level::new(tables.levels).filter(|level| *level != Level::Ptb);
    let block = u32::try_from(tables.block_size).ok();
    let (Some(root), Some(block @ 9..=13)) = (root, block) else {
        let Tables {
            levels, block_size, ..
        } = tables;
        return Err(Refusal::Other(format!(
            "tables of {levels} levels and 2^{block_size} pages are not known"
        )));
    };
    let mut walk = Walk {
        memory,
        block,
        pages: tables.max_pfn.clamp(1, 1 << (ADDRESS_BITS - 12)),
        entries: Vec::new(),
        read: HashSet::new(),
    };
    // The root's address has the flags of an entry.
    let root_entry = Entry {
        va: 0,
        level: root,
        raw: tables.root,
    };
    walk.table(0, root, root_entry.system(), root_entry.table())?;
    Ok(walk.entries)
}

struct Walk<'a> {
    memory: &'a dyn Memory,
    block: u32,
    /// Pages in the address space.
    pages: u64,
    entries: Vec<Entry>,
    read: HashSet<(bool, u64)>,
}

impl Walk<'_> {
    fn table(&mut self, start: u64, level: Level, system: bool, address: u64) -> Found<()> {
        if !self.read.insert((system, address)) {
            return Err(Refusal::Other(format!(
                "the table at {address:#x} is there twice, so these are no page tables"
            )));
        }
        if self.read.len() > TABLES {
            return Err(Refusal::Other(format!(
                "there are more than {TABLES} tables"
            )));
        }
        let shift = level.shift(self.block);
        let all = match level {
            Level::Ptb => 1 << self.block,
            _ => ENTRIES,
        };
        let within = (self.pages << 12)
            .saturating_sub(start)
            .div_ceil(1 << shift);
        let count = usize::try_from(all.min(within)).unwrap_or(0);
        let mut bytes = vec![0; count * 8];
        self.memory.read(system, address, &mut bytes)?;
        for (index, raw) in (0..).zip(bytes.chunks_exact(8)) {
            let raw = raw
                .iter()
                .rev()
                .fold(0, |raw, &byte| raw << 8 | u64::from(byte));
            let entry = Entry {
                va: start + (index << shift),
                level,
                raw,
            };
            let Some(kind) = entry.kind() else {
                continue;
            };
            self.entries.push(entry);
            if let (Kind::Directory, Some(below)) = (kind, level.below()) {
                self.table(entry.va, below, entry.system(), entry.table())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Tables put together by hand, by address: number of an entry and its bits.
    struct Paper(BTreeMap<(bool, u64), Vec<(usize, u64)>>);

    impl Memory for Paper {
        fn read(&self, system: bool, address: u64, into: &mut [u8]) -> Found<()> {
            let table = self.0.get(&(system, address)).ok_or(Refusal::Missing)?;
            for (index, raw) in table {
                into[index * 8..][..8].copy_from_slice(&raw.to_le_bytes());
            }
            Ok(())
        }
    }

    const TABLES: Tables = Tables {
        root: 0x1001,
        max_pfn: 1 << 36,
        levels: 3,
        block_size: 9,
        fragment_size: 9,
    };

    type Table<'a> = ((bool, u64), &'a [(usize, u64)]);

    fn found(tables: &[Table<'_>]) -> Found<Vec<Entry>> {
        let own = tables.iter().map(|(at, table)| (*at, table.to_vec()));
        walk(&Paper(own.collect()), &TABLES)
    }

    #[test]
    fn every_level_adds_its_part_of_the_address() {
        let entries = found(&[
            ((false, 0x1000), &[(1, 0x2001)]),
            ((false, 0x2000), &[(2, 0x3001)]),
            ((false, 0x3000), &[(3, 0x0040_0000_0fc0_04f1), (4, 0x5003)]),
            (
                (true, 0x5000),
                &[(5, 0x0ff9_0271), (6, 0x10), (7, 0x0088_0000_0000_0206)],
            ),
        ])
        .unwrap();
        let places: Vec<(u64, Level)> = entries.iter().map(|e| (e.va, e.level)).collect();
        let (root, upper) = (1 << 39, (1 << 39) + (2 << 30));
        let large = upper + (3 << 21);
        let table = upper + (4 << 21);
        assert_eq!(
            places,
            [
                (root, Level::Pdb2),
                (upper, Level::Pdb1),
                (large, Level::Pdb0),
                (table, Level::Pdb0),
                (table + (5 << 12), Level::Ptb),
                (table + (7 << 12), Level::Ptb),
            ]
        );
    }

    #[test]
    fn tables_that_lead_back_end_the_walk() {
        let said = found(&[
            ((false, 0x1000), &[(0, 0x2001)]),
            ((false, 0x2000), &[(0, 0x1001)]),
        ]);
        let Err(Refusal::Other(said)) = said else {
            panic!("{said:?}");
        };
        assert!(said.contains("0x1000 is there twice"), "{said}");
    }

    #[test]
    fn tables_of_another_shape_are_refused() {
        for (levels, block_size) in [(0, 9), (4, 9), (3, 0), (3, 64)] {
            let tables = Tables {
                levels,
                block_size,
                ..TABLES
            };
            assert!(walk(&Paper(BTreeMap::new()), &tables).is_err());
        }
    }
}
