// SPDX-License-Identifier: MIT OR Apache-2.0
//! One entry of GFX10's page tables, taken apart: `AMDGPU_PTE_*` and `AMDGPU_PDE_*` in the driver's `amdgpu_vm.h`, the
//! memory types in `navi10_enum.h`.

use serde::{Deserialize, Serialize};
use std::fmt;

const VALID: u64 = 1 << 0;
const SYSTEM: u64 = 1 << 1;
const SNOOPED: u64 = 1 << 2;
const EXECUTABLE: u64 = 1 << 4;
const READABLE: u64 = 1 << 5;
const WRITEABLE: u64 = 1 << 6;
const FRAG_SHIFT: u32 = 7;
const FRAG_MASK: u64 = 0x1f;
const MTYPE_SHIFT: u32 = 48;
const MTYPE_MASK: u64 = 0x7;
const PRT: u64 = 1 << 51;
const PDE_PTE: u64 = 1 << 54;
const NOALLOC: u64 = 1 << 58;
/// The address in an entry that maps memory.
const PAGE: u64 = 0x0000_ffff_ffff_f000;
/// The address in an entry that points at a table (`gmc_v10_0_get_vm_pde`).
const TABLE: u64 = 0x0000_ffff_ffff_ffc0;

/// A level of the tables, as the driver names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub enum Level {
    /// Page tables.
    Ptb,
    /// Directories of page tables.
    Pdb0,
    /// Directories above.
    Pdb1,
    /// The root of a four-level tree.
    Pdb2,
}

impl Level {
    /// By its distance from the pages.
    pub fn new(number: u64) -> Option<Self> {
        Some(match number {
            0 => Self::Ptb,
            1 => Self::Pdb0,
            2 => Self::Pdb1,
            3 => Self::Pdb2,
            _ => return None,
        })
    }

    /// The level that an entry of this one points at.
    pub fn below(self) -> Option<Self> {
        match self {
            Self::Ptb => None,
            Self::Pdb0 => Some(Self::Ptb),
            Self::Pdb1 => Some(Self::Pdb0),
            Self::Pdb2 => Some(Self::Pdb1),
        }
    }

    /// log2 of the bytes that one entry stands for (`amdgpu_vm_pt_level_shift`), with `block` bits in a page table.
    pub fn shift(self, block: u32) -> u32 {
        match self {
            Self::Ptb => 12,
            Self::Pdb0 => 12 + block,
            Self::Pdb1 => 12 + block + 9,
            Self::Pdb2 => 12 + block + 18,
        }
    }
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It maps memory.
    Leaf,
    /// It points at a table.
    Directory,
    /// It is partially resident: nothing is behind it, and accesses are swallowed.
    Prt,
}

/// A memory type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mtype {
    /// Cached, not coherent.
    Nc,
    /// Write combining.
    Wc,
    /// Cached, coherent.
    Cc,
    /// Uncached.
    Uc,
    /// A number without a name.
    Other(u8),
}

impl fmt::Display for Mtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nc => "NC",
            Self::Wc => "WC",
            Self::Cc => "CC",
            Self::Uc => "UC",
            Self::Other(number) => return write!(f, "{number}"),
        })
    }
}

impl Serialize for Mtype {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An entry and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The first GPU address that it is about.
    pub va: u64,
    /// Its level.
    pub level: Level,
    /// All its bits.
    pub raw: u64,
}

impl Entry {
    fn has(&self, bit: u64) -> bool {
        self.raw & bit != 0
    }

    /// What it is; none when it says nothing.
    pub fn kind(&self) -> Option<Kind> {
        if self.has(VALID) {
            let leaf = self.level == Level::Ptb || self.has(PDE_PTE);
            Some(if leaf { Kind::Leaf } else { Kind::Directory })
        } else {
            self.has(PRT).then_some(Kind::Prt)
        }
    }

    /// Whether what it is about is in system memory.
    pub fn system(&self) -> bool {
        self.has(SYSTEM)
    }

    /// Whether accesses look into the CPU's caches.
    pub fn snooped(&self) -> bool {
        self.has(SNOOPED)
    }

    /// The rights, as `rwx`.
    pub fn rights(&self) -> String {
        let right = |bit, letter| if self.has(bit) { letter } else { '-' };
        [
            right(READABLE, 'r'),
            right(WRITEABLE, 'w'),
            right(EXECUTABLE, 'x'),
        ]
        .into_iter()
        .collect()
    }

    /// log2 of the pages that may be translated as one.
    pub fn fragment(&self) -> u8 {
        // The mask leaves 5 bits.
        (self.raw >> FRAG_SHIFT & FRAG_MASK) as u8
    }

    /// The memory type.
    pub fn mtype(&self) -> Mtype {
        match self.raw >> MTYPE_SHIFT & MTYPE_MASK {
            0 => Mtype::Nc,
            1 => Mtype::Wc,
            2 => Mtype::Cc,
            3 => Mtype::Uc,
            // The mask leaves 3 bits.
            other => Mtype::Other(other as u8),
        }
    }

    /// Whether the last-level cache is left out.
    pub fn noalloc(&self) -> bool {
        self.has(NOALLOC)
    }

    /// Where the memory is that it maps.
    pub fn page(&self) -> u64 {
        self.raw & PAGE
    }

    /// Where the table is that it points at.
    pub fn table(&self) -> u64 {
        self.raw & TABLE
    }

    /// How many bytes it is about, with `block` bits in a page table.
    pub fn span(&self, block: u32) -> u64 {
        1 << self.level.shift(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pte(raw: u64) -> Entry {
        Entry {
            va: 0,
            level: Level::Ptb,
            raw,
        }
    }

    /// Entries that the stock driver was seen to write.
    #[test]
    fn entries_of_the_stock_driver_are_read_right() {
        let uc = pte(0x0003_0000_0ff9_0271);
        assert_eq!(uc.kind(), Some(Kind::Leaf));
        assert_eq!((uc.mtype(), uc.fragment()), (Mtype::Uc, 4));
        assert_eq!((uc.page(), uc.system()), (0x0ff9_0000, false));
        assert_eq!(uc.rights(), "rwx");

        let gtt = pte(0x0002_0000_03dc_0277);
        assert!(gtt.system() && gtt.snooped());
        assert_eq!(gtt.mtype(), Mtype::Cc);

        let large = Entry {
            level: Level::Pdb0,
            ..pte(0x0040_0000_0800_0771)
        };
        assert_eq!((large.kind(), large.fragment()), (Some(Kind::Leaf), 14));
        assert_eq!(large.span(9), 2 << 20);

        assert_eq!(pte(0x0088_0000_0000_0206).kind(), Some(Kind::Prt));
        assert_eq!(pte(0x10).kind(), None);
        let cleared = Entry {
            level: Level::Pdb0,
            ..pte(0x0040_0000_0000_0000)
        };
        assert_eq!(cleared.kind(), None);
    }
}
