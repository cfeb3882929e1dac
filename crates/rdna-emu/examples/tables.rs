// SPDX-License-Identifier: MIT OR Apache-2.0
//! The judge without a device: page tables from memory of one's own (a dump of a real card's, for instance), walked
//! and compared.

use rdna_emu::tables::{Depth, Limits, TableSource, diff, lookup, walk};
use rdna_emu::{GpuVa, PageDirectory};
use std::collections::BTreeMap;

/// Video memory that holds only these words; the rest is zero.
struct Dump(BTreeMap<u64, u64>);

impl TableSource for Dump {
    fn read_entries(&self, system: bool, address: u64, out: &mut [u64]) -> bool {
        for (at, word) in (address..).step_by(8).zip(out.iter_mut()) {
            *word = self.0.get(&at).copied().unwrap_or(0);
        }
        !system
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PageDirectory(0x1000);
    // Three directories, then a page of 4 KiB as NC.
    let mut dump = Dump(BTreeMap::from([
        (0x1000, 0x2001),
        (0x2000, 0x3001),
        (0x3000, 0x4001),
        (0x4000, 0x0000_0000_0ffe_3071),
    ]));
    let before = walk(&dump, root, Depth::FOUR, Limits::default())?;
    dump.0.insert(0x4000, 0x0003_0000_0ffe_3071);
    let after = walk(&dump, root, Depth::FOUR, Limits::default())?;
    print!("{}", diff(&before, &after));
    let found = lookup(&dump, root, Depth::FOUR, GpuVa(0x123))?;
    println!("0x123 is at {:#x} in video memory", found.address);
    Ok(())
}
