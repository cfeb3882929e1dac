// SPDX-License-Identifier: MIT OR Apache-2.0
//! The IP discovery table: how the chip tells the driver what it consists of. It lies 64 KiB below
//! the top of VRAM.
//!
//! Layout: `discovery.h` (`binary_header`, `ip_discovery_header`, `die_header`, `ip`,
//! `gc_info_v1_0`, `harvest_table`); how it is read and checked: `amdgpu_discovery.c`.

use crate::bytes::{Bytes, sum};
use crate::chip::Spec;
use crate::units::ByteSize;

/// Distance from the top of VRAM (`DISCOVERY_TMR_OFFSET`).
const BELOW_TOP: u64 = 64 << 10;
const BINARY_SIGNATURE: u32 = 0x2821_1407;
const DISCOVERY_SIGNATURE: u32 = 0x5344_5049;
const GC_ID: u32 = 0x4347;
const HARVEST_SIGNATURE: u32 = 0x5652_4148;
/// Bytes of `binary_header` up to the table list, and of a list entry; entries in the list.
const HEADER: usize = 12;
const LIST_ENTRY: usize = 8;
const LIST: usize = 6;
/// Bytes of `ip_discovery_header`.
const IP_HEADER: usize = 12 + 2 + 16 * 4 + 2;
/// Base addresses that each IP has a place for.
const BASES: usize = 6;

/// Where the table belongs in a VRAM of this size.
pub(crate) fn offset(vram: ByteSize) -> u64 {
    vram.bytes().saturating_sub(BELOW_TOP)
}

fn len16(bytes: &[u8]) -> u16 {
    u16::try_from(bytes.len()).unwrap_or(u16::MAX)
}

/// The table of `spec`.
pub(crate) fn table(spec: &Spec) -> Vec<u8> {
    let start = HEADER + LIST * LIST_ENTRY;
    let tables = [ip_table(spec, start), gc_table(spec), harvest_table()];
    let mut body = Bytes::default();
    let mut list = Bytes::default();
    for table in &tables {
        while body.0.len() % 4 != 0 {
            body.push(&[0]);
        }
        let at = start + body.0.len();
        list.push_u16(u16::try_from(at).unwrap_or(u16::MAX))
            .push_u16(table.sum())
            .push_u16(len16(&table.0))
            .push_u16(0);
        body.push(&table.0);
    }
    list.0.resize(LIST * LIST_ENTRY, 0);

    let size = start + body.0.len();
    let mut summed = Bytes::default();
    summed
        .push_u16(u16::try_from(size).unwrap_or(u16::MAX))
        .push(&list.0)
        .push(&body.0);
    let mut out = Bytes::default();
    out.push_u32(BINARY_SIGNATURE)
        .push_u16(1)
        .push_u16(0)
        .push_u16(sum(&summed.0))
        .push(&summed.0);
    out.0
}

/// One die with all IPs; `start` is where this table will lie in the whole.
fn ip_table(spec: &Spec, start: usize) -> Bytes {
    let mut die = Bytes::default();
    die.push_u16(0)
        .push_u16(u16::try_from(spec.ips.len()).unwrap_or(0));
    for block in spec.ips {
        let (major, minor, revision) = block.version;
        // Engines of SDMA have hardware IDs of their own, so that the instance is 0.
        die.push_u16(block.ip.hardware_id(block.instance))
            .push(&[0, u8::try_from(BASES).unwrap_or(0)])
            .push(&[major, minor, revision, 0]);
        for i in 0..BASES {
            die.push_u32(block.bases.get(i).copied().unwrap_or(0));
        }
    }
    let mut out = Bytes::default();
    out.push_u32(DISCOVERY_SIGNATURE)
        .push_u16(3)
        .push_u16(u16::try_from(IP_HEADER + die.0.len()).unwrap_or(u16::MAX))
        .push_u32(0)
        .push_u16(1)
        // die_info[0]: ID 0, offset in the whole.
        .push_u16(0)
        .push_u16(u16::try_from(start + IP_HEADER).unwrap_or(u16::MAX));
    out.0.resize(IP_HEADER, 0);
    out.push(&die.0);
    out
}

fn gc_table(spec: &Spec) -> Bytes {
    let words = spec.gc.words();
    let size = 12 + 4 * words.len();
    let mut out = Bytes::default();
    out.push_u32(GC_ID)
        .push_u16(1)
        .push_u16(0)
        .push_u32(u32::try_from(size).unwrap_or(0));
    for word in words {
        out.push_u32(word);
    }
    out
}

/// Nothing is harvested.
fn harvest_table() -> Bytes {
    let mut out = Bytes::default();
    out.push_u32(HARVEST_SIGNATURE).push_u32(0);
    out.0.resize(8 + 32 * 4, 0);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chip::Chip;

    fn u16_at(t: &[u8], at: usize) -> u16 {
        u16::from_le_bytes([t[at], t[at + 1]])
    }

    #[test]
    fn sums_and_sizes_are_those_that_the_driver_checks() {
        for chip in Chip::ALL {
            let t = table(chip.spec());
            assert_eq!(usize::from(u16_at(&t, 10)), t.len());
            assert_eq!(u16_at(&t, 8), sum(&t[10..]));
            for i in 0..3 {
                let entry = HEADER + LIST_ENTRY * i;
                let (at, len) = (u16_at(&t, entry).into(), usize::from(u16_at(&t, entry + 4)));
                assert_eq!(u16_at(&t, entry + 2), sum(&t[at..][..len]), "table {i}");
            }
        }
    }

    #[test]
    fn the_first_ip_of_navi10_is_gc_10_1_10_at_its_bases() {
        let t = table(Chip::Navi10.spec());
        let die = usize::from(u16_at(&t, HEADER + LIST * LIST_ENTRY + 12 + 4));
        let ip = &t[die + 4..];
        assert_eq!(ip[..8], [11, 0, 0, 6, 10, 1, 10, 0]);
        assert_eq!(ip[8..16], [0x60, 0x12, 0, 0, 0, 0xa0, 0, 0]);
        assert_eq!(t.len(), 912);
    }
}
