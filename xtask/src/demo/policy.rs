// SPDX-License-Identifier: MIT OR Apache-2.0
//! What each policy promises, for one entry; written from the words of the project's documentation, not from the
//! module's source, because it judges the module.
//!
//! - stock: the driver's own choice: what was asked, NC for DEFAULT and RW, UC for buffers that ask for coherence.
//! - `uc`: every user mapping is UC.
//! - `nc`: every user mapping is NC, except buffers made COHERENT, EXT_COHERENT or UNCACHED and mappings that ask for
//!   UC themselves: those are UC.
//! - Always: PRT, invalid, directory and GART entries are as under stock, and so is every bit but the memory type.

use guest::uapi::{GemFlags, VmFlags};
use rdna_emu::tables::{Entry, Kind, Mtype};
use serde::Serialize;

use crate::vm::mappings::{Mapping, Memory};

/// Who decides about the memory type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// amdgpu alone.
    Stock,
    /// rmcp with `mtype=uc`.
    Uc,
    /// rmcp with `mtype=nc`.
    Nc,
}

/// Where the memory type is in an entry of GFX10.
const MTYPE_SHIFT: u32 = 48;
/// Its bits.
pub const MTYPE_MASK: u64 = 7 << MTYPE_SHIFT;

/// The number of a memory type in an entry of GFX10.
#[must_use]
pub fn number(mtype: Mtype) -> u64 {
    match mtype {
        Mtype::Nc => 0,
        // GFX9 has RW in the place of WC.
        Mtype::Wc | Mtype::Rw => 1,
        Mtype::Cc => 2,
        Mtype::Uc => 3,
        Mtype::Other(number) => u64::from(number),
    }
}

/// The memory type that a mapping must have; `None` for PRT, which has none.
#[must_use]
pub fn memory_type(policy: Policy, mapping: &Mapping) -> Option<Mtype> {
    const ASKED: u32 = 0xf << 5;
    if mapping.memory == Memory::Prt {
        return None;
    }
    let coherent = [
        GemFlags::COHERENT,
        GemFlags::EXT_COHERENT,
        GemFlags::UNCACHED,
    ]
    .iter()
    .any(|flag| mapping.gem.has(*flag));
    let asked = VmFlags(mapping.vm.0 & ASKED);
    Some(match policy {
        Policy::Uc => Mtype::Uc,
        Policy::Nc | Policy::Stock if coherent || asked == VmFlags::MTYPE_UC => Mtype::Uc,
        Policy::Nc => Mtype::Nc,
        Policy::Stock if asked == VmFlags::MTYPE_WC => Mtype::Wc,
        Policy::Stock if asked == VmFlags::MTYPE_CC => Mtype::Cc,
        Policy::Stock => Mtype::Nc,
    })
}

/// The entry that `policy` must lead to where stock wrote `stock` for `mapping`.
#[must_use]
pub fn entry(policy: Policy, mapping: &Mapping, stock: &Entry) -> u64 {
    match memory_type(policy, mapping) {
        Some(mtype) if stock.kind == Kind::Leaf => {
            (stock.raw & !MTYPE_MASK) | (number(mtype) << MTYPE_SHIFT)
        }
        _ => stock.raw,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::mappings::DEMO;
    use rdna_emu::GpuVa;
    use rdna_emu::tables::Level;

    fn named(name: &str) -> &'static Mapping {
        DEMO.iter().find(|mapping| mapping.name == name).unwrap()
    }

    /// Entries seen in VRAM with the unmodified driver.
    #[test]
    fn stocks_memory_types_are_those_that_were_seen() {
        for (name, raw) in [
            ("VRAM 64K", 0x0000_0000_0ffd_0271),
            ("VRAM 64K as NC", 0x0000_0000_0ffd_0271),
            ("VRAM 64K as RW", 0x0000_0000_0ffd_0271),
            ("VRAM 64K as WC", 0x0001_0000_0ffb_0271),
            ("VRAM 64K as CC", 0x0002_0000_0ffa_0271),
            ("VRAM 64K as UC", 0x0003_0000_0ff9_0271),
            ("VRAM 1M COHERENT", 0x0003_0000_0fb0_0471),
            ("VRAM 1M UNCACHED", 0x0003_0000_0fb0_0471_u64),
        ] {
            let seen = Entry::decode(GpuVa(0), Level::Ptb, raw).unwrap();
            assert_eq!(
                memory_type(Policy::Stock, named(name)),
                Some(seen.mtype()),
                "{name}"
            );
            assert_eq!(entry(Policy::Stock, named(name), &seen), raw, "{name}");
        }
    }

    #[test]
    fn uc_and_nc_change_the_type_and_nothing_else() {
        let seen = Entry::decode(GpuVa(0), Level::Ptb, 0x0002_0000_0ffa_0271).unwrap();
        assert_eq!(
            entry(Policy::Uc, named("VRAM 64K as CC"), &seen),
            0x0003_0000_0ffa_0271
        );
        assert_eq!(
            entry(Policy::Nc, named("VRAM 64K as CC"), &seen),
            0x0000_0000_0ffa_0271
        );
    }

    #[test]
    fn what_asked_for_coherence_stays_uncached_under_nc() {
        for name in [
            "VRAM 1M COHERENT",
            "VRAM 1M UNCACHED",
            "VRAM 64K as UC",
            "GTT 64K as UC",
            "GTT 64K COHERENT",
        ] {
            assert_eq!(
                memory_type(Policy::Nc, named(name)),
                Some(Mtype::Uc),
                "{name}"
            );
        }
    }

    #[test]
    fn prt_is_never_touched() {
        let seen = Entry::decode(GpuVa(0), Level::Ptb, 0x0088_0000_0000_0206).unwrap();
        for policy in [Policy::Stock, Policy::Uc, Policy::Nc] {
            assert_eq!(memory_type(policy, named("PRT 64K")), None);
            assert_eq!(entry(policy, named("PRT 64K"), &seen), seen.raw);
        }
    }
}
