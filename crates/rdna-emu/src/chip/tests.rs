// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every chip against what the driver's source says of it. The expected values are the driver's own: PCI IDs of
//! `amdgpu_drv.c`, the versions that `amdgpu_discovery.c` switches on, addresses that it has as plain numbers.

use super::*;
use crate::discovery;
use crate::regs::{Reg, RegisterFile};
use std::collections::BTreeMap;

/// A chip as the driver knows it.
struct Known {
    chip: Chip,
    device: u16,
    /// GC, by which it chooses the generation.
    gc: [u8; 3],
    /// SDMA: hardware IDs of the engines, version.
    sdma: (&'static [u16], [u8; 3]),
    /// MP1, by which it chooses the SMU's messages.
    mp1: [u8; 3],
    mmhub: [u8; 3],
    /// Compute units: what a card of this chip has at most.
    units: u32,
}

const fn known(
    chip: Chip,
    device: u16,
    gc: [u8; 3],
    sdma: (&'static [u16], [u8; 3]),
    mp1: [u8; 3],
    mmhub: [u8; 3],
    units: u32,
) -> Known {
    Known {
        chip,
        device,
        gc,
        sdma,
        mp1,
        mmhub,
        units,
    }
}

/// SDMA0_HWID to SDMA3_HWID of `soc15_hw_ip.h`.
const ONE: &[u16] = &[42];
const TWO: &[u16] = &[42, 43];
const FOUR: &[u16] = &[42, 43, 68, 69];

#[rustfmt::skip]
const CHIPS: [Known; 8] = [
    known(Chip::Navi10, 0x731f, [10, 1, 10], (TWO, [5, 0, 0]), [11, 0, 0], [2, 0, 0], 40),
    known(Chip::Navi12, 0x7360, [10, 1, 2], (TWO, [5, 0, 5]), [11, 0, 9], [2, 0, 2], 40),
    known(Chip::Navi14, 0x7340, [10, 1, 1], (TWO, [5, 0, 2]), [11, 0, 5], [2, 0, 0], 24),
    known(Chip::Navi21, 0x73bf, [10, 3, 0], (FOUR, [5, 2, 0]), [11, 0, 7], [2, 1, 0], 80),
    known(Chip::Navi22, 0x73df, [10, 3, 2], (TWO, [5, 2, 2]), [11, 0, 11], [2, 1, 0], 40),
    known(Chip::Navi23, 0x73ff, [10, 3, 4], (TWO, [5, 2, 4]), [11, 0, 12], [2, 1, 1], 32),
    known(Chip::Navi24, 0x743f, [10, 3, 5], (ONE, [5, 2, 5]), [11, 0, 13], [2, 1, 2], 16),
    known(Chip::Renoir, 0x1636, [9, 3, 0], (ONE, [4, 1, 2]), [12, 0, 1], [9, 3, 0], 8),
];

/// Versions that the driver has a case for; in blocks where it has none for a version, nothing works.
const ACCEPTED: &[(u16, &[[u8; 3]])] = &[
    // OSSSYS: navi10_ih, vega10_ih.
    (40, &[[5, 0, 0], [5, 0, 1], [5, 0, 2], [5, 0, 3], [4, 1, 0]]),
    // HDP: hdp_v5_0, hdp_v4_0.
    (
        41,
        &[
            [5, 0, 0],
            [5, 0, 1],
            [5, 0, 2],
            [5, 0, 3],
            [5, 0, 4],
            [4, 1, 2],
        ],
    ),
    // NBIO: nbio_v2_3, nbio_v7_0.
    (
        108,
        &[
            [2, 3, 0],
            [2, 3, 1],
            [3, 3, 0],
            [3, 3, 1],
            [3, 3, 2],
            [3, 3, 3],
            [7, 0, 0],
        ],
    ),
    // MP0: psp_v11_0, psp_v12_0; without one the driver gives up, though PSP is masked off.
    (
        255,
        &[
            [11, 0, 0],
            [11, 0, 9],
            [11, 0, 5],
            [11, 0, 7],
            [11, 0, 11],
            [11, 0, 12],
            [11, 0, 13],
            [12, 0, 1],
        ],
    ),
    // VCN, masked off, but the list of blocks must come out.
    (
        12,
        &[
            [2, 0, 0],
            [2, 0, 2],
            [2, 2, 0],
            [3, 0, 0],
            [3, 0, 16],
            [3, 0, 33],
        ],
    ),
    // DCN, the same.
    (
        271,
        &[
            [2, 0, 0],
            [2, 0, 2],
            [2, 1, 0],
            [3, 0, 0],
            [3, 0, 2],
            [3, 0, 3],
        ],
    ),
];

/// Reads a table front to back, field by field.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn at(table: &'a [u8], offset: u16) -> Self {
        Self(&table[usize::from(offset)..])
    }

    fn u8(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().expect("a byte");
        self.0 = rest;
        *first
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.u8(), self.u8()])
    }

    fn u32(&mut self) -> u32 {
        u32::from(self.u16()) | u32::from(self.u16()) << 16
    }
}

/// What the driver learns of an IP: version and bases.
type Found = ([u8; 3], Vec<u32>);

/// By hardware ID, as `amdgpu_discovery_reg_base_init` goes through it; the words of the GC table.
fn discover(table: &[u8]) -> (BTreeMap<u16, Found>, Vec<u32>) {
    let mut header = Reader(table);
    assert_eq!(header.u32(), 0x2821_1407, "signature");
    for _ in 0..4 {
        header.u16();
    }
    let mut lists = [(); 6].map(|()| [header.u16(), header.u16(), header.u16(), header.u16()][0]);
    lists[3..].fill(0);
    let mut ips = Reader::at(table, lists[0]);
    assert_eq!(
        ips.u32(),
        u32::from_le_bytes(*b"IPDS"),
        "signature of the first table"
    );
    let (_version, _size, _id, dies) = (ips.u16(), ips.u16(), ips.u32(), ips.u16());
    assert_eq!((dies, ips.u16()), (1, 0), "dies, ID of the first");
    let mut die = Reader::at(table, ips.u16());
    assert_eq!(die.u16(), 0, "ID of the die");
    let mut found = BTreeMap::new();
    for _ in 0..die.u16() {
        let (id, instance, bases) = (die.u16(), die.u8(), die.u8());
        let version = [die.u8(), die.u8(), die.u8()];
        assert_eq!((instance, die.u8()), (0, 0), "instance, variant");
        let bases = (0..bases).map(|_| die.u32()).collect();
        assert!(found.insert(id, (version, bases)).is_none(), "{id} twice");
    }
    let mut gc = Reader::at(table, lists[1]);
    assert_eq!(gc.u32(), u32::from_le_bytes(*b"GC\0\0"));
    let (_major, _minor, size) = (gc.u16(), gc.u16(), gc.u32());
    let words = (0..(size - 12) / 4).map(|_| gc.u32()).collect();
    (found, words)
}

fn file(chip: Chip) -> RegisterFile {
    RegisterFile::new(chip.spec()).expect("good tables")
}

#[test]
fn the_list_is_complete_and_each_name_is_understood() {
    assert_eq!(CHIPS.map(|k| k.chip).as_slice(), Chip::ALL);
    for chip in Chip::ALL {
        assert_eq!(chip.name().parse(), Ok(*chip));
        assert!(chip.firmware().iter().all(|f| f.ends_with('_')));
        assert!(!chip.firmware().is_empty());
    }
    let known = "navi99".parse::<Chip>().unwrap_err();
    assert!(known.contains("navi24, renoir"), "{known}");
}

#[test]
fn the_discovery_table_says_what_the_driver_expects() {
    for known in &CHIPS {
        let (chip, spec) = (known.chip, known.chip.spec());
        assert_eq!(spec.device_id, known.device, "{chip}");
        let (ips, gc) = discover(&discovery::table(spec));
        let version = |id: u16| ips.get(&id).map(|(version, _)| *version);
        assert_eq!(version(11), Some(known.gc), "{chip}: GC");
        assert_eq!(version(1), Some(known.mp1), "{chip}: MP1");
        assert_eq!(version(255), Some(known.mp1), "{chip}: MP0");
        assert_eq!(version(34), Some(known.mmhub), "{chip}: MMHUB");
        let (engines, sdma) = known.sdma;
        for id in FOUR {
            let expected = engines.contains(id).then_some(sdma);
            assert_eq!(version(*id), expected, "{chip}: SDMA {id}");
        }
        assert_eq!(spec.sdma_engines, engines.len(), "{chip}");
        for (id, accepted) in ACCEPTED {
            let found = version(*id).unwrap_or_else(|| panic!("{chip} has no block {id}"));
            assert!(accepted.contains(&found), "{chip}: block {id} is {found:?}");
        }
        // Shader engines × arrays × WGPs of 2 units.
        assert_eq!(gc[0] * gc[16] * (gc[1] + gc[2]) * 2, known.units, "{chip}");
        assert_eq!(gc.len(), 19);
        for block in spec.ips {
            let (_, bases) = &ips[&block.ip.hardware_id(block.instance)];
            assert_eq!(
                &bases[..block.bases.len()],
                block.bases,
                "{chip}: {:?}",
                block.ip
            );
            assert!(bases[block.bases.len()..].iter().all(|base| *base == 0));
        }
    }
}

#[test]
fn registers_that_the_driver_has_as_plain_numbers_are_there() {
    for chip in Chip::ALL {
        let regs = file(*chip);
        // `amdgpu_discovery.c`: read before any base is known.
        assert_eq!(regs.find("MP0_SMN_C2PMSG_33"), Some(Reg(0x16061)), "{chip}");
        let size = regs.find("RCC_DEV0_EPF0_RCC_CONFIG_MEMSIZE");
        assert_eq!(size, Some(Reg(0xde3)), "{chip}");
        // `amdgpu_device.c`: the indirect windows.
        for (name, at) in [("MM_INDEX", 0), ("MM_DATA", 1), ("MM_INDEX_HI", 6)] {
            let found = regs.find(&format!("BIF_BX_PF_{name}"));
            assert_eq!(found, Some(Reg(at)), "{chip}: {name}");
        }
        // `gfx_v10_0.c`, `gfx_v9_0.c`: RLC_SAFE_MODE counts from the second base.
        let offset = if known_gc(*chip)[..2] == [10, 3] {
            0x4ca0
        } else {
            0x4c05
        };
        assert_eq!(
            regs.find("RLC_SAFE_MODE"),
            Some(Reg(0xa000 + offset)),
            "{chip}"
        );
    }
}

fn known_gc(chip: Chip) -> [u8; 3] {
    CHIPS.iter().find(|k| k.chip == chip).expect("known").gc
}

/// The driver has names for engine 0 only and adds a distance (`sdma_v5_0_get_reg_offset`,
/// `sdma_v5_2_get_reg_offset`); the tables name every engine's registers.
#[test]
fn the_registers_of_sdma_engines_are_as_far_apart_as_the_driver_thinks() {
    const DISTANCE: [u32; 4] = [0, 0x600, 0x1c000 - 0x1260, 0x1c000 - 0x1260 + 0x400];
    for chip in Chip::ALL {
        let regs = file(*chip);
        for (engine, distance) in DISTANCE.iter().enumerate().take(chip.spec().sdma_engines) {
            for what in [
                "GFX_RB_CNTL",
                "GFX_RB_WPTR_HI",
                "GFX_DOORBELL_OFFSET",
                "F32_CNTL",
                "STATUS_REG",
            ] {
                let first = regs.find(&format!("SDMA0_{what}")).expect("engine 0");
                let found = regs.find(&format!("SDMA{engine}_{what}"));
                assert_eq!(
                    found,
                    Some(first.plus(*distance)),
                    "{chip}: SDMA{engine}_{what}"
                );
            }
        }
    }
}

#[test]
fn both_hubs_have_their_own_registers() {
    for chip in Chip::ALL {
        let regs = file(*chip);
        let gfx = regs.find("GCVM_CONTEXT1_PAGE_TABLE_BASE_ADDR_LO32");
        let mm = regs.find("MMVM_CONTEXT1_PAGE_TABLE_BASE_ADDR_LO32");
        assert!(
            gfx.is_some() && mm.is_some() && gfx != mm,
            "{chip}: {gfx:?} {mm:?}"
        );
        // The driver counts contexts by two dwords (`ctx_addr_distance`).
        for hub in ["GC", "MM"] {
            let at = |n: u32| regs.find(&format!("{hub}VM_CONTEXT{n}_PAGE_TABLE_BASE_ADDR_LO32"));
            let first = at(0).expect("context 0");
            for n in 1..16 {
                assert_eq!(at(n), Some(first.plus(2 * n)), "{chip}: {hub} context {n}");
            }
        }
    }
}

#[test]
fn each_chip_has_the_messages_of_its_smu() {
    for chip in Chip::ALL {
        let messages = chip.spec().smu.messages;
        let mut numbers: Vec<_> = messages.iter().map(|m| m.number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), messages.len(), "{chip}: a number twice");
        // `smu_v11_0_ppsmc.h`, `smu_v11_0_7_ppsmc.h`, `smu_v12_0_ppsmc.h`: the same in name, not in number.
        let number = |name| messages.iter().find(|m| m.name == name).map(|m| m.number);
        let (off, dram) = match known_gc(*chip) {
            [10, 1, _] => (Some(0x29), Some(0x0e)),
            [10, 3, _] => (Some(0x28), Some(0x0e)),
            _ => (None, Some(0x1a)),
        };
        assert_eq!(number("AllowGfxOff"), off, "{chip}");
        assert_eq!(number("SetDriverDramAddrHigh"), dram, "{chip}");
        assert_eq!(number("GetSmuVersion"), Some(2), "{chip}");
    }
}
