// SPDX-License-Identifier: GPL-2.0 OR MIT

//! GFX10's page table entry: 64 bits, taken apart and put together.
//!
//! The layout is the driver's (`AMDGPU_PTE_*` in `drivers/gpu/drm/amd/amdgpu/amdgpu_vm.h`, the
//! `NV10` variant of the memory type). A page directory entry that maps 2 MiB or more itself has
//! the same layout with [`Fields::pde_as_pte`] set.

use super::{fragment::Fragment, mtype::Mtype};

/// A raw page table entry.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Pte(u64);

impl core::fmt::Debug for Pte {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Pte({:#018x})", self.0)
    }
}

/// The physical page that an entry points to, bits 47:12.
///
/// # Invariants
///
/// The address is a multiple of 4 KiB below 2^48.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageAddress(u64);

impl PageAddress {
    /// `None` when `address` has bits outside 47:12.
    pub const fn new(address: u64) -> Option<Self> {
        if address & !bits::ADDRESS == 0 {
            // INVARIANT: just compared.
            Some(Self(address))
        } else {
            None
        }
    }

    /// The address in bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

/// The bits of an entry by name.
pub mod bits {
    /// The entry translates.
    pub const VALID: u64 = 1 << 0;
    /// The page is in system memory.
    pub const SYSTEM: u64 = 1 << 1;
    /// Accesses snoop the CPU's caches.
    pub const SNOOPED: u64 = 1 << 2;
    /// Encrypted (trusted memory zone).
    pub const TMZ: u64 = 1 << 3;
    /// Shaders may run from the page.
    pub const EXECUTABLE: u64 = 1 << 4;
    /// The page may be read.
    pub const READABLE: u64 = 1 << 5;
    /// The page may be written.
    pub const WRITEABLE: u64 = 1 << 6;
    /// Fragment, 5 bits from here.
    pub const FRAGMENT_SHIFT: u32 = 7;
    /// The fragment's bits.
    pub const FRAGMENT: u64 = 0x1f << FRAGMENT_SHIFT;
    /// The address's bits.
    pub const ADDRESS: u64 = 0x0000_ffff_ffff_f000;
    /// Memory type, 3 bits from here.
    pub const MTYPE_SHIFT: u32 = 48;
    /// The memory type's bits.
    pub const MTYPE: u64 = 0x7 << MTYPE_SHIFT;
    /// Partially resident: faults are swallowed.
    pub const PRT: u64 = 1 << 51;
    /// In a page directory: the entry is a leaf.
    pub const PDE_AS_PTE: u64 = 1 << 54;
    /// Accesses are logged; the driver sets it together with `PRT`.
    pub const LOG: u64 = 1 << 55;
    /// Translate further.
    pub const TRANSLATE_FURTHER: u64 = 1 << 56;
    /// Do not allocate in the last level cache.
    pub const NOALLOC: u64 = 1 << 58;
    /// Bits that none of the above covers.
    pub const REST: u64 = !(VALID
        | SYSTEM
        | SNOOPED
        | TMZ
        | EXECUTABLE
        | READABLE
        | WRITEABLE
        | FRAGMENT
        | ADDRESS
        | MTYPE
        | PRT
        | PDE_AS_PTE
        | LOG
        | TRANSLATE_FURTHER
        | NOALLOC);
}

/// Bits of an entry that GFX10's driver does not name.
///
/// # Invariants
///
/// Only bits of [`bits::REST`] are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rest(u64);

impl Rest {
    /// No such bit.
    pub const NONE: Self = Self(0);

    /// The bits, in place.
    pub const fn raw(self) -> u64 {
        self.0
    }
}

/// An entry taken apart. [`Pte::decode`] and [`Fields::encode`] lose nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fields {
    /// The entry translates.
    pub valid: bool,
    /// The page is in system memory.
    pub system: bool,
    /// Accesses snoop the CPU's caches.
    pub snooped: bool,
    /// Encrypted.
    pub tmz: bool,
    /// Shaders may run from the page.
    pub executable: bool,
    /// The page may be read.
    pub readable: bool,
    /// The page may be written.
    pub writeable: bool,
    /// Fragment.
    pub fragment: Fragment,
    /// Physical page.
    pub address: PageAddress,
    /// Memory type.
    pub mtype: Mtype,
    /// Partially resident.
    pub prt: bool,
    /// In a page directory: the entry is a leaf.
    pub pde_as_pte: bool,
    /// Accesses are logged.
    pub log: bool,
    /// Translate further.
    pub translate_further: bool,
    /// Do not allocate in the last level cache.
    pub noalloc: bool,
    /// Everything else.
    pub rest: Rest,
}

impl Pte {
    /// Takes the entry as it lies in memory.
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// The entry as it lies in memory.
    pub const fn raw(self) -> u64 {
        self.0
    }

    const fn has(self, bit: u64) -> bool {
        self.0 & bit != 0
    }

    /// The memory type.
    pub const fn mtype(self) -> Mtype {
        // The mask of `from_bits` leaves 3 bits.
        Mtype::from_bits((self.0 >> bits::MTYPE_SHIFT) as u8)
    }

    /// The same entry with another memory type.
    #[must_use]
    pub const fn with_mtype(self, mtype: Mtype) -> Self {
        Self((self.0 & !bits::MTYPE) | ((mtype.to_bits() as u64) << bits::MTYPE_SHIFT))
    }

    /// The fragment.
    pub const fn fragment(self) -> Fragment {
        // The cast keeps the low byte, of which 5 bits are read.
        Fragment::from_bits((self.0 >> bits::FRAGMENT_SHIFT) as u8)
    }

    /// The same entry with another fragment.
    #[must_use]
    pub const fn with_fragment(self, fragment: Fragment) -> Self {
        Self((self.0 & !bits::FRAGMENT) | ((fragment.log2_pages() as u64) << bits::FRAGMENT_SHIFT))
    }

    /// Takes the entry apart.
    pub const fn decode(self) -> Fields {
        Fields {
            valid: self.has(bits::VALID),
            system: self.has(bits::SYSTEM),
            snooped: self.has(bits::SNOOPED),
            tmz: self.has(bits::TMZ),
            executable: self.has(bits::EXECUTABLE),
            readable: self.has(bits::READABLE),
            writeable: self.has(bits::WRITEABLE),
            fragment: self.fragment(),
            // INVARIANT: the mask leaves bits 47:12.
            address: PageAddress(self.0 & bits::ADDRESS),
            mtype: self.mtype(),
            prt: self.has(bits::PRT),
            pde_as_pte: self.has(bits::PDE_AS_PTE),
            log: self.has(bits::LOG),
            translate_further: self.has(bits::TRANSLATE_FURTHER),
            noalloc: self.has(bits::NOALLOC),
            // INVARIANT: masked.
            rest: Rest(self.0 & bits::REST),
        }
    }
}

impl Fields {
    /// Puts the entry together.
    pub const fn encode(&self) -> Pte {
        const fn flag(set: bool, bit: u64) -> u64 {
            match set {
                true => bit,
                false => 0,
            }
        }
        Pte(flag(self.valid, bits::VALID)
            | flag(self.system, bits::SYSTEM)
            | flag(self.snooped, bits::SNOOPED)
            | flag(self.tmz, bits::TMZ)
            | flag(self.executable, bits::EXECUTABLE)
            | flag(self.readable, bits::READABLE)
            | flag(self.writeable, bits::WRITEABLE)
            | self.address.0
            | flag(self.prt, bits::PRT)
            | flag(self.pde_as_pte, bits::PDE_AS_PTE)
            | flag(self.log, bits::LOG)
            | flag(self.translate_further, bits::TRANSLATE_FURTHER)
            | flag(self.noalloc, bits::NOALLOC)
            | self.rest.0)
        .with_mtype(self.mtype)
        .with_fragment(self.fragment)
    }
}
