// SPDX-License-Identifier: MIT OR Apache-2.0
//! What differs between the generations' page-table entries, as data: where the memory type is, what
//! its numbers mean, and whether there is a NOALLOC bit.
//!
//! Layout: `amdgpu_vm.h`, `AMDGPU_PTE_MTYPE_NV10` and `MTYPE_*` of `navi10_enum.h` for GFX10,
//! `AMDGPU_PTE_MTYPE_VG10` and `MTYPE_*` of `vega10_enum.h` for GFX9.

use super::{Entry, Level, Mtype, Raw};
use crate::units::GpuVa;
use serde::{Deserialize, Serialize};

/// How a chip lays out its entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Format {
    #[default]
    /// RDNA1 and RDNA2: MTYPE in bits 50:48, NOALLOC in bit 58.
    Gfx10,
    /// Vega and its APUs: MTYPE in bits 58:57.
    Gfx9,
}

/// The fields that have another place or meaning.
#[derive(Debug)]
struct Fields {
    mtype_shift: u32,
    mtype_mask: u64,
    /// By number.
    mtypes: [Mtype; 4],
    noalloc: u64,
}

const GFX10: Fields = Fields {
    mtype_shift: 48,
    mtype_mask: 7,
    mtypes: [Mtype::Nc, Mtype::Wc, Mtype::Cc, Mtype::Uc],
    noalloc: 1 << 58,
};

const GFX9: Fields = Fields {
    mtype_shift: 57,
    mtype_mask: 3,
    mtypes: [Mtype::Nc, Mtype::Rw, Mtype::Cc, Mtype::Uc],
    noalloc: 0,
};

impl Format {
    const fn fields(self) -> &'static Fields {
        match self {
            Self::Gfx10 => &GFX10,
            Self::Gfx9 => &GFX9,
        }
    }

    /// Decodes `raw`, found at `level` for `va`; `None` when it neither maps, points nor is PRT.
    pub fn decode(self, va: GpuVa, level: Level, raw: u64) -> Option<Entry> {
        let kind = Raw(raw).kind(level)?;
        Some(Entry {
            va,
            level,
            kind,
            raw,
            format: self,
        })
    }

    /// Whether entries have a NOALLOC bit at all.
    pub const fn has_noalloc(self) -> bool {
        self.fields().noalloc != 0
    }

    /// The memory type in the bits of an entry.
    pub(super) fn mtype(self, raw: u64) -> Mtype {
        let fields = self.fields();
        let number = (raw >> fields.mtype_shift) & fields.mtype_mask;
        let named = usize::try_from(number)
            .ok()
            .and_then(|n| fields.mtypes.get(n));
        let other = Mtype::Other(u8::try_from(number).unwrap_or(0));
        named.copied().unwrap_or(other)
    }

    /// Whether the bits of an entry say NOALLOC.
    pub(super) fn noalloc(self, raw: u64) -> bool {
        raw & self.fields().noalloc != 0
    }
}
