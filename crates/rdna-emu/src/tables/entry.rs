// SPDX-License-Identifier: MIT OR Apache-2.0
//! One page-table entry and what its bits say.
//!
//! Layout (AMD's `amdgpu_vm.h`: `AMDGPU_PTE_*`): 0 VALID, 1 SYSTEM, 2 SNOOPED, 4 EXECUTABLE, 5 READABLE,
//! 6 WRITEABLE, 11:7 FRAG, 47:12 address of a page (47:6 of a table), 51 PRT, 54 entry of a directory
//! that maps a page. The memory type's place, its numbers and NOALLOC differ: see [`Format`].

use super::Format;
use crate::units::{ByteSize, GpuVa};
use serde::{Deserialize, Serialize, Serializer, ser::SerializeStruct};
use std::fmt;

/// Bits of an entry.
const VALID: u64 = 1 << 0;
const SYSTEM: u64 = 1 << 1;
const SNOOPED: u64 = 1 << 2;
const EXECUTABLE: u64 = 1 << 4;
const READABLE: u64 = 1 << 5;
const WRITEABLE: u64 = 1 << 6;
const PRT: u64 = 1 << 51;
const PDE_AS_PTE: u64 = 1 << 54;
/// Address bits of an entry that maps a page, and of one that points at a table.
const PAGE_ADDRESS: u64 = 0x0000_ffff_ffff_f000;
const TABLE_ADDRESS: u64 = 0x0000_ffff_ffff_ffc0;

/// The level of the table that an entry stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Level {
    /// A page table: 4 KiB an entry.
    Ptb,
    /// The lowest page directory: 2 MiB an entry.
    Pdb0,
    /// 1 GiB an entry.
    Pdb1,
    /// The root of a four-level address space: 512 GiB an entry.
    Pdb2,
}

impl Level {
    /// log2 of the bytes that one entry covers.
    pub const fn shift(self) -> u32 {
        match self {
            Self::Ptb => 12,
            Self::Pdb0 => 21,
            Self::Pdb1 => 30,
            Self::Pdb2 => 39,
        }
    }

    /// The level of the table that an entry of this level can point at.
    pub const fn below(self) -> Option<Self> {
        match self {
            Self::Ptb => None,
            Self::Pdb0 => Some(Self::Ptb),
            Self::Pdb1 => Some(Self::Pdb0),
            Self::Pdb2 => Some(Self::Pdb1),
        }
    }
}

/// What an entry does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// Maps memory.
    Leaf,
    /// Points at a table of the level below.
    Directory,
    /// Not valid, but reads as a partially resident (sparse) page: no fault.
    Prt,
    /// Not zero, yet does nothing. Only in the listing of a flat table ([`super::flat`]).
    Inert,
}

/// The memory type of a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Mtype {
    /// Non-coherent: cached in L2.
    Nc,
    /// Write-combine. GFX10 only.
    Wc,
    /// Cached for reading and writing by its owner. GFX9 only.
    Rw,
    /// Cache-coherent.
    Cc,
    /// Uncached in L2.
    Uc,
    /// A number that has no name in the format.
    Other(u8),
}

impl fmt::Display for Mtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nc => f.pad("NC"),
            Self::Wc => f.pad("WC"),
            Self::Rw => f.pad("RW"),
            Self::Cc => f.pad("CC"),
            Self::Uc => f.pad("UC"),
            Self::Other(n) => f.pad(&format!("MTYPE{n}")),
        }
    }
}

/// The bits of an entry without a place.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Raw(pub u64);

impl Raw {
    const fn has(self, bit: u64) -> bool {
        self.0 & bit != 0
    }

    /// What the entry does at `level`; `None` when it does nothing (cleared or not valid).
    pub const fn kind(self, level: Level) -> Option<Kind> {
        match (self.has(VALID), level) {
            (true, Level::Ptb) => Some(Kind::Leaf),
            (true, _) if self.has(PDE_AS_PTE) => Some(Kind::Leaf),
            (true, _) => Some(Kind::Directory),
            (false, _) if self.has(PRT) => Some(Kind::Prt),
            (false, _) => None,
        }
    }

    /// The address of the table that a directory entry (or a root) points at.
    pub const fn table(self) -> u64 {
        self.0 & TABLE_ADDRESS
    }

    /// The address of the memory that a leaf maps.
    ///
    /// A directory entry that maps a page may hold an address that is not aligned to its size;
    /// add the offset within the entry, never mask.
    pub const fn page(self) -> u64 {
        self.0 & PAGE_ADDRESS
    }

    /// Bit 1.
    pub const fn system(self) -> bool {
        self.has(SYSTEM)
    }

    /// Bit 5.
    pub const fn readable(self) -> bool {
        self.has(READABLE)
    }

    /// Bit 6.
    pub const fn writeable(self) -> bool {
        self.has(WRITEABLE)
    }
}

/// One entry of an address space and where it was found.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The first address that the entry covers: 48 bits, not sign-extended.
    pub va: GpuVa,
    /// The level of the table that it stands in.
    pub level: Level,
    /// What it does.
    pub kind: Kind,
    /// All 64 bits, as read from memory.
    pub raw: u64,
    /// How they are laid out.
    pub format: Format,
}

impl Entry {
    /// Decodes `raw`, found at `level` for `va` on GFX10; see [`Format::decode`].
    pub fn decode(va: GpuVa, level: Level, raw: u64) -> Option<Self> {
        Format::Gfx10.decode(va, level, raw)
    }

    fn has(&self, bit: u64) -> bool {
        self.raw & bit != 0
    }

    /// Bit 0: the entry maps or points at something.
    pub fn valid(&self) -> bool {
        self.has(VALID)
    }

    /// Bit 1: the address is a system (bus) address, not an offset into VRAM.
    pub fn system(&self) -> bool {
        self.has(SYSTEM)
    }

    /// Bit 2: accesses snoop the CPU's caches.
    pub fn snooped(&self) -> bool {
        self.has(SNOOPED)
    }

    /// Bit 4.
    pub fn executable(&self) -> bool {
        self.has(EXECUTABLE)
    }

    /// Bit 5.
    pub fn readable(&self) -> bool {
        self.has(READABLE)
    }

    /// Bit 6.
    pub fn writeable(&self) -> bool {
        self.has(WRITEABLE)
    }

    /// Bits 11:7: log2 of the number of 4 KiB pages that the entry says are contiguous.
    pub fn fragment(&self) -> u8 {
        u8::try_from((self.raw >> 7) & 0x1f).unwrap_or(0)
    }

    /// The address: of the mapped memory for a leaf, of the next table for a directory.
    pub fn address(&self) -> u64 {
        match self.kind {
            Kind::Directory => Raw(self.raw).table(),
            Kind::Leaf | Kind::Prt | Kind::Inert => Raw(self.raw).page(),
        }
    }

    /// The memory type: bits 50:48 on GFX10, 58:57 on GFX9.
    pub fn mtype(&self) -> Mtype {
        self.format.mtype(self.raw)
    }

    /// Bit 51.
    pub fn prt(&self) -> bool {
        self.has(PRT)
    }

    /// Bit 58 on GFX10: no allocation in the last-level cache.
    pub fn noalloc(&self) -> bool {
        self.format.noalloc(self.raw)
    }

    /// Bit 54: an entry of a directory that maps memory itself.
    pub fn pde_as_pte(&self) -> bool {
        self.has(PDE_AS_PTE)
    }

    /// How many bytes of the address space the entry covers.
    pub fn span(&self) -> ByteSize {
        ByteSize(1 << self.level.shift())
    }

    /// Whether `va` lies in what the entry covers.
    pub fn covers(&self, va: GpuVa) -> bool {
        va.0.checked_sub(self.va.0)
            .is_some_and(|d| d < self.span().bytes())
    }

    /// Where `va` ends up; `None` when the entry maps nothing there.
    pub fn translate(&self, va: GpuVa) -> Option<u64> {
        (self.kind == Kind::Leaf && self.covers(va))
            .then(|| self.address().wrapping_add(va.0 - self.va.0))
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flag = |on: bool, c: char| if on { c } else { '-' };
        write!(
            f,
            "{} {:?} {:?} {:016x} addr={:012x} {}{}{}{}{}{} frag={} {}{}{}{}",
            self.va,
            self.level,
            self.kind,
            self.raw,
            self.address(),
            flag(self.valid(), 'V'),
            flag(self.system(), 'S'),
            flag(self.snooped(), 'C'),
            flag(self.executable(), 'X'),
            flag(self.readable(), 'R'),
            flag(self.writeable(), 'W'),
            self.fragment(),
            self.mtype(),
            if self.pde_as_pte() { " pde-as-pte" } else { "" },
            if self.prt() { " prt" } else { "" },
            if self.noalloc() { " noalloc" } else { "" },
        )
    }
}

impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut s = serializer.serialize_struct("Entry", 16)?;
        s.serialize_field("va", &format_args!("{:#014x}", self.va.0))?;
        s.serialize_field("level", &self.level)?;
        s.serialize_field("kind", &self.kind)?;
        s.serialize_field("raw", &format_args!("{:016x}", self.raw))?;
        s.serialize_field("span", &self.span())?;
        s.serialize_field("address", &format_args!("{:#014x}", self.address()))?;
        s.serialize_field("valid", &self.valid())?;
        s.serialize_field("system", &self.system())?;
        s.serialize_field("snooped", &self.snooped())?;
        s.serialize_field("executable", &self.executable())?;
        s.serialize_field("readable", &self.readable())?;
        s.serialize_field("writeable", &self.writeable())?;
        s.serialize_field("fragment", &self.fragment())?;
        s.serialize_field("mtype", &format_args!("{}", self.mtype()))?;
        s.serialize_field("prt", &self.prt())?;
        s.serialize_field("noalloc", &self.noalloc())?;
        match self.format {
            Format::Gfx10 => s.skip_field("layout")?,
            other => s.serialize_field("layout", &other)?,
        }
        s.end()
    }
}
