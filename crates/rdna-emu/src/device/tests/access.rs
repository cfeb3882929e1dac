// SPDX-License-Identifier: MIT OR Apache-2.0
//! Registers, windows, regions and the mailbox.

use super::*;
use crate::report::Access;

#[test]
fn every_chip_is_wired() {
    for chip in Chip::ALL {
        let memory = Memory::new(ByteSize::mib(16)).unwrap();
        let device = Device::new(chip.spec(), memory, Journal::new(None, false));
        assert!(device.is_ok(), "{chip}: {:?}", device.err());
    }
}

#[test]
fn named_registers_keep_what_is_written_and_lose_it_on_reset() {
    let mut b = Bench::new();
    b.set("SCRATCH_REG0", 0xdead_beef);
    assert_eq!(b.get("SCRATCH_REG0"), 0xdead_beef);
    b.device.reset();
    assert_eq!(b.get("SCRATCH_REG0"), 0);
    assert_eq!(b.get("RCC_DEV0_EPF0_RCC_CONFIG_MEMSIZE"), 16);
}

#[test]
fn unknown_registers_are_counted_with_their_block_and_offset() {
    let mut b = Bench::new();
    // MMHUB begins at 0x1a000; no table names its last registers.
    for _ in 0..3 {
        b.at(region::REGISTERS, 0x1_fff0 * 4);
    }
    let unknown = b.device.bus.journal.unknowns();
    assert_eq!(unknown.len(), 1, "{unknown:?}");
    assert_eq!((unknown[0].access, unknown[0].count), (Access::Read, 3));
    assert!(unknown[0].what.contains("0x1fff0"), "{unknown:?}");
}

#[test]
fn addresses_are_those_of_the_headers() {
    let b = Bench::new();
    // mp_11_0: C2PMSG_33; nbio_2_3: CONFIG_MEMSIZE; both known from the driver's early code.
    assert_eq!(b.reg("MP0_SMN_C2PMSG_33"), Reg(0x16061));
    assert_eq!(b.reg("RCC_DEV0_EPF0_RCC_CONFIG_MEMSIZE"), Reg(0xde3));
    assert_eq!(b.reg("BIF_BX_PF_MM_DATA"), Reg(1));
}

#[test]
fn the_counter_goes_on_between_two_readings() {
    let mut b = Bench::new();
    // smuio_11_0_0: base 1 of SMUIO and 0x102, 0x103, where the driver reads it.
    assert_eq!(b.reg("GOLDEN_TSC_COUNT_UPPER"), Reg(0x16b02));
    assert_eq!(b.reg("GOLDEN_TSC_COUNT_LOWER"), Reg(0x16b03));
    b.device.bus.clock = crate::clock::Counter::Counted(0xffff_ff00);
    let [first, second] = [(); 2].map(|()| b.get("GOLDEN_TSC_COUNT_LOWER"));
    assert_eq!([first, second], [0xffff_ff64, 0xffff_ffc8]);
    assert_eq!(b.get("GOLDEN_TSC_COUNT_UPPER"), 1);
}

#[test]
fn a_small_bar_shows_the_beginning_of_vram_and_the_window_all_of_it() {
    let memory = Memory::new(ByteSize::mib(64)).unwrap();
    let memory = memory.show_only(ByteSize::mib(16));
    let journal = Journal::new(None, false);
    let mut b = Bench::over(Device::new(Chip::Navi10.spec(), memory, journal).unwrap());
    assert_eq!(b.device.region_size(region::VRAM), 16 << 20);
    assert_eq!(b.get("RCC_DEV0_EPF0_RCC_CONFIG_MEMSIZE"), 64);
    b.vram((16 << 20) - 8, &[0x1111_2222_3333_4444]);
    assert_eq!(b.at(region::VRAM, (16 << 20) - 8), 0x3333_4444);
    // Behind the BAR nothing answers; the window reaches the same place.
    b.vram(32 << 20, &[5]);
    b.set("BIF_BX_PF_MM_INDEX", 0x8000_0000 | 32 << 20);
    assert_eq!(b.get("BIF_BX_PF_MM_DATA"), 0);
    b.set("BIF_BX_PF_MM_DATA", 7);
    assert_eq!(b.get("BIF_BX_PF_MM_DATA"), 7);
    assert_eq!(b.at(region::VRAM, 32 << 20), 0);
    assert_eq!(b.faults(), [""; 0]);
}

#[test]
fn the_mm_window_shows_vram_and_registers() {
    let mut b = Bench::new();
    b.vram(0x2000, &[0x1122_3344_5566_7788]);
    b.set("BIF_BX_PF_MM_INDEX", 0x8000_2004);
    assert_eq!(b.get("BIF_BX_PF_MM_DATA"), 0x1122_3344);
    b.set("BIF_BX_PF_MM_DATA", 0x99);
    assert_eq!(b.at(region::VRAM, 0x2004), 0x99);
    let scratch = b.reg("SCRATCH_REG0").0 * 4;
    b.set("BIF_BX_PF_MM_INDEX", scratch);
    b.set("BIF_BX_PF_MM_DATA", 7);
    assert_eq!(b.get("SCRATCH_REG0"), 7);
    assert_eq!(b.get("BIF_BX_PF_MM_DATA"), 7);
}

#[test]
fn the_mm_window_onto_itself_ends() {
    let mut b = Bench::new();
    b.set("BIF_BX_PF_MM_INDEX", 4);
    assert_eq!(b.get("BIF_BX_PF_MM_DATA"), 0);
    b.set("BIF_BX_PF_MM_DATA", 1);
    assert_eq!(b.faults().len(), 2, "{:?}", b.faults());
}

#[test]
fn the_mm_window_past_vram_is_a_fault() {
    let mut b = Bench::new();
    b.set("BIF_BX_PF_MM_INDEX_HI", 0x10);
    b.set("BIF_BX_PF_MM_INDEX", 0x8000_0000);
    assert_eq!(b.get("BIF_BX_PF_MM_DATA"), 0);
    assert_eq!(b.faults().len(), 1);
}

#[test]
fn the_smu_answers_versions_and_refuses_unknown_messages() {
    let mut b = Bench::new();
    b.set("MP1_SMN_C2PMSG_90", 0);
    b.set("MP1_SMN_C2PMSG_66", 3);
    assert_eq!(b.get("MP1_SMN_C2PMSG_90"), 1);
    assert_eq!(b.get("MP1_SMN_C2PMSG_82"), 0x37);
    b.set("MP1_SMN_C2PMSG_66", 0x7777);
    assert_eq!(b.get("MP1_SMN_C2PMSG_90"), 0xfe);
    assert_eq!(b.unknowns(), ["SMU message 0x7777"]);
}

#[test]
fn an_invalidation_is_acknowledged_for_the_vmids_asked_for() {
    let mut b = Bench::new();
    b.set("GCVM_INVALIDATE_ENG17_REQ", 0x00f8_0008);
    assert_eq!(b.get("GCVM_INVALIDATE_ENG17_ACK"), 8);
    assert_eq!(b.get("MMVM_INVALIDATE_ENG17_ACK"), 0);
    assert_eq!(b.get("MMVM_INVALIDATE_ENG17_SEM"), 1);
}

#[test]
fn the_discovery_table_lies_below_the_top_of_vram() {
    let mut b = Bench::new();
    assert_eq!(b.at(region::VRAM, (16 << 20) - 0x10000), 0x2821_1407);
}

#[test]
fn regions_end_where_they_end() {
    let mut b = Bench::new();
    for region in 0..region::COUNT {
        let end = b.device.region_size(region);
        for offset in [end.saturating_sub(2), end, u64::MAX - 1] {
            b.device.region_write(region, offset, &[0xff; 8]);
            b.device.region_read(region, offset, &mut [0; 8]);
        }
    }
}

#[test]
fn a_doorbell_of_nobody_is_unknown() {
    let mut b = Bench::new();
    b.doorbell(0x400, 1);
    assert_eq!(b.unknowns(), ["doorbell 0x400"]);
}

#[test]
fn gart_lists_the_kernels_entries() {
    let b = Bench::new();
    let gart = b.device.gart().unwrap();
    assert_eq!(gart.len(), usize::try_from(RAM >> 12).unwrap());
    assert!(gart.iter().all(|e| e.address() == e.va.0 && e.system()));
}
