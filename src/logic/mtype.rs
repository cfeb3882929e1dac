// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Memory types, in the two forms in which the driver handles them.
//!
//! A mapping *requests* a type in bits 8:5 of its `vm_flags` ([`VmFlags`], [`RequestedMtype`];
//! the numbers are user space ABI, `AMDGPU_VM_*` in `include/uapi/drm/amdgpu_drm.h`). GFX10's page
//! table entries hold a type with other numbers ([`Mtype`]).

/// The memory type field of a GFX10 page table entry, bits 50:48.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mtype {
    /// Non-coherent: cached in the GPU's L2.
    Nc,
    /// Write-combining.
    Wc,
    /// Cache-coherent.
    Cc,
    /// Uncached.
    Uc,
    /// A value of the 3 bit field that GFX10 does not name (4 to 7).
    Other(OtherMtype),
}

/// A memory type number that GFX10 does not name. Holds 4 to 7, nothing else.
///
/// # Invariants
///
/// The number is in `4..=7`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OtherMtype(u8);

impl Mtype {
    /// Reads the low 3 bits of `raw`.
    pub const fn from_bits(raw: u8) -> Self {
        match raw & 0x7 {
            0 => Self::Nc,
            1 => Self::Wc,
            2 => Self::Cc,
            3 => Self::Uc,
            // INVARIANT: 3 bits remain after the mask and 0 to 3 are taken.
            other => Self::Other(OtherMtype(other)),
        }
    }

    /// The number as the page table entry holds it.
    pub const fn to_bits(self) -> u8 {
        match self {
            Self::Nc => 0,
            Self::Wc => 1,
            Self::Cc => 2,
            Self::Uc => 3,
            Self::Other(OtherMtype(raw)) => raw,
        }
    }
}

/// The memory type that a mapping asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestedMtype {
    /// Nothing in particular: the driver chooses.
    Default,
    /// `AMDGPU_VM_MTYPE_NC`.
    Nc,
    /// `AMDGPU_VM_MTYPE_WC`.
    Wc,
    /// `AMDGPU_VM_MTYPE_CC`.
    Cc,
    /// `AMDGPU_VM_MTYPE_UC`.
    Uc,
    /// `AMDGPU_VM_MTYPE_RW`, which GFX10 does not have.
    Rw,
    /// A number that the ABI does not name (6 to 15).
    Other(OtherRequest),
}

/// A requested memory type that the ABI does not name.
///
/// # Invariants
///
/// The number is in `6..=15`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OtherRequest(u8);

impl RequestedMtype {
    /// Reads the low 4 bits of `raw`.
    pub const fn from_bits(raw: u8) -> Self {
        match raw & 0xf {
            0 => Self::Default,
            1 => Self::Nc,
            2 => Self::Wc,
            3 => Self::Cc,
            4 => Self::Uc,
            5 => Self::Rw,
            // INVARIANT: 4 bits remain after the mask and 0 to 5 are taken.
            other => Self::Other(OtherRequest(other)),
        }
    }

    /// The number as `vm_flags` holds it, before it is shifted into place.
    pub const fn to_bits(self) -> u8 {
        match self {
            Self::Default => 0,
            Self::Nc => 1,
            Self::Wc => 2,
            Self::Cc => 3,
            Self::Uc => 4,
            Self::Rw => 5,
            Self::Other(OtherRequest(raw)) => raw,
        }
    }
}

/// The flags of one mapping request (`AMDGPU_VM_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct VmFlags(u32);

impl VmFlags {
    /// `AMDGPU_VM_PAGE_PRT`: a partially resident range, mapped to nothing.
    pub const PRT: u32 = 1 << 4;
    /// The lowest bit of the memory type field.
    pub const MTYPE_SHIFT: u32 = 5;
    /// `AMDGPU_VM_MTYPE_MASK`.
    pub const MTYPE_MASK: u32 = 0xf << Self::MTYPE_SHIFT;

    /// Takes the flags as the driver holds them.
    pub const fn new(raw: u32) -> Self {
        Self(raw)
    }

    /// The flags as the driver holds them.
    pub const fn raw(self) -> u32 {
        self.0
    }

    /// Whether the request is for a partially resident range.
    pub const fn is_prt(self) -> bool {
        self.0 & Self::PRT != 0
    }

    /// The memory type asked for.
    pub const fn mtype(self) -> RequestedMtype {
        // The mask leaves 4 bits.
        RequestedMtype::from_bits(((self.0 & Self::MTYPE_MASK) >> Self::MTYPE_SHIFT) as u8)
    }

    /// The same request with another memory type.
    #[must_use]
    pub const fn with_mtype(self, mtype: RequestedMtype) -> Self {
        // `u32::from` is not const; the cast widens.
        Self((self.0 & !Self::MTYPE_MASK) | ((mtype.to_bits() as u32) << Self::MTYPE_SHIFT))
    }
}
