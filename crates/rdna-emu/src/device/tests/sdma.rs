// SPDX-License-Identifier: MIT OR Apache-2.0
//! SDMA: rings, packets, user buffers through page tables.

use super::*;
use crate::units::Vmid;

pub(super) const RING: u64 = 0x10_0000;
const RPTR: u64 = 0x20_0000;
const DATA: u64 = 0x30_0000;
pub(super) const BELL: u32 = 0x200;
/// Entry flags: executable, readable, writeable, valid.
const RWX: u64 = 0x71;

impl Bench {
    /// Sets engine 0's ring up as the driver does.
    pub(super) fn sdma(&mut self) {
        self.set("SDMA0_GFX_RB_BASE", u32::try_from(RING >> 8).unwrap());
        self.set("SDMA0_GFX_RB_RPTR_ADDR_LO", u32::try_from(RPTR).unwrap());
        self.set("SDMA0_GFX_DOORBELL_OFFSET", BELL << 2);
        self.set("SDMA0_GFX_DOORBELL", 1 << 28);
        // 1024 dwords, read pointer written back.
        self.set("SDMA0_GFX_RB_CNTL", 10 << 1 | 1 << 12 | 1);
    }

    /// Executes `packet` from the beginning of the ring.
    fn sdma_run(&mut self, packet: &[u32]) {
        self.sdma();
        self.ram(RING, packet);
        self.doorbell(BELL, packet.len() as u64 * 4);
    }
}

fn low(v: u64) -> u32 {
    u32::try_from(v & 0xffff_ffff).unwrap()
}

#[test]
fn a_fence_is_written_a_trap_interrupts_and_rptr_is_reported() {
    let mut b = Bench::new();
    b.sdma_run(&[5, low(DATA), 0, 0x1234, 6, 0]);
    assert_eq!(b.ram_u32(DATA), 0x1234);
    assert_eq!(b.ram_u32(RPTR), 24);
    assert_eq!(b.get("SDMA0_GFX_RB_RPTR"), 24);
    // Client 8 (SDMA0), source 224.
    assert_eq!(b.interrupts(), [8 | 224 << 8]);
    assert_eq!(b.fired(), 1);
    assert!(b.faults().is_empty() && b.unknowns().is_empty());
}

#[test]
fn data_is_written_copied_and_filled() {
    let mut b = Bench::new();
    let (to, filled) = (DATA + 0x1ffc, DATA + 0x5000);
    let packet = [
        vec![2, low(DATA), 0, 1, 0xaaaa, 0xbbbb],
        vec![1, 7, 0, low(DATA), 0, low(to), 0],
        vec![11, low(filled), 0, 0x0101_0101, 0x1fff],
    ];
    b.sdma_run(&packet.concat());
    assert_eq!((b.ram_u32(to), b.ram_u32(to + 4)), (0xaaaa, 0xbbbb));
    assert_eq!(b.ram_u32(filled + 0x1ffc), 0x0101_0101);
    assert_eq!(b.ram_u32(filled + 0x2000), 0);
}

#[test]
fn page_table_entries_count_up_from_an_address() {
    let mut b = Bench::new();
    // Four entries of 64 KiB distance, fragment 4, at the frame buffer's address 0x8000000000.
    b.sdma_run(&[12, 0x4000, 0x80, 0x271, 0, 0x00fd_0000, 0, 0x10000, 0, 3]);
    assert_eq!(b.at(region::VRAM, 0x4000), 0x00fd_0271);
    assert_eq!(b.at(region::VRAM, 0x4018), 0x0100_0271);
    assert_eq!(b.at(region::VRAM, 0x4020), 0);
}

#[test]
fn a_poll_waits_until_memory_changes() {
    let mut b = Bench::new();
    let poll = 8 | 3 << 28 | 1 << 31;
    let packet = [poll, low(DATA), 0, 5, 0xff, 0, 5, low(DATA + 8), 0, 1];
    b.sdma_run(&packet);
    assert_eq!(b.ram_u32(DATA + 8), 0);
    assert_eq!(b.device.run(), Step::Blocked);
    b.ram(DATA, &[0xff05]);
    b.device.run();
    assert_eq!(b.ram_u32(DATA + 8), 1);
}

#[test]
fn a_users_buffer_goes_through_its_own_tables() {
    let mut b = Bench::new();
    // The process sees its buffer at 4 GiB (system memory 0x400000) and nothing else.
    let va = 0x1_0000_0000;
    let root = b.map_page(0x20_0000, va, 0x40_0000 | RWX | 2);
    b.set("GCVM_CONTEXT3_PAGE_TABLE_BASE_ADDR_LO32", low(root));
    b.ram(0x40_0000, &[2, 0x100, 1, 0, 0x600d_cafe, 0, 0, 0]);
    b.sdma_run(&[4 | 3 << 16, 0, 1, 8, 0, 0, 5, low(DATA), 0, 9]);
    assert_eq!(b.ram_u32(0x40_0100), 0x600d_cafe);
    assert_eq!(b.ram_u32(DATA), 9, "the ring goes on after the buffer");
    let seen = b.device.bus.journal.submissions();
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].vmid, seen[0].root.0), (Vmid(3), root));
    assert_eq!((seen[0].engine.as_str(), seen[0].first_dword), ("sdma0", 2));
    let space = b.device.walk(seen[0].root).unwrap();
    assert_eq!(space.entries.len(), 4);
}

#[test]
fn a_read_only_page_is_not_written() {
    let mut b = Bench::new();
    let va = 0x1_0000_0000;
    let read_only = 0x40_0000 | RWX & !0x40 | 2;
    let root = b.map_page(0x20_0000, va, read_only);
    b.set("GCVM_CONTEXT3_PAGE_TABLE_BASE_ADDR_LO32", low(root));
    b.ram(0x40_0000, &[2, 0x100, 1, 0, 0x600d_cafe, 0, 0, 0]);
    b.sdma_run(&[4 | 3 << 16, 0, 1, 8, 0, 0]);
    assert_eq!(b.ram_u32(0x40_0100), 0);
    assert_eq!(b.faults().len(), 1, "{:?}", b.faults());
}

#[test]
fn a_user_cannot_write_registers() {
    let mut b = Bench::new();
    let va = 0x1_0000_0000;
    let root = b.map_page(0x20_0000, va, 0x40_0000 | RWX | 2);
    b.set("GCVM_CONTEXT3_PAGE_TABLE_BASE_ADDR_LO32", low(root));
    let scratch = b.reg("SCRATCH_REG0").0;
    b.ram(0x40_0000, &[14, scratch, 5, 0, 0, 0, 0, 0]);
    b.sdma_run(&[4 | 3 << 16, 0, 1, 8, 0, 0]);
    assert_eq!(b.get("SCRATCH_REG0"), 0);
    b.sdma_run(&[14, scratch, 6]);
    // The read pointer is behind the first run's six dwords: a stale write pointer is ignored.
    assert_eq!(b.get("SCRATCH_REG0"), 0);
    b.ram(RING + 24, &[14, scratch, 6]);
    b.doorbell(BELL, 36);
    assert_eq!(b.get("SCRATCH_REG0"), 6);
}

#[test]
fn the_ring_wraps_and_can_be_set_up_again() {
    let mut b = Bench::new();
    b.sdma();
    b.ram(RING, &vec![0; 1022]);
    b.doorbell(BELL, 1022 * 4);
    b.ram(RING + 1022 * 4, &[5, low(DATA)]);
    b.ram(RING, &[0, 0x77]);
    b.doorbell(BELL, 1026 * 4);
    assert_eq!(b.ram_u32(DATA), 0x77);
    // As rmmod and insmod do: off, pointers to zero, on.
    b.set("SDMA0_GFX_RB_CNTL", 0);
    b.set("SDMA0_GFX_RB_RPTR", 0);
    b.set("SDMA0_GFX_RB_RPTR_HI", 0);
    b.sdma_run(&[5, low(DATA), 0, 0x78]);
    assert_eq!(b.ram_u32(DATA), 0x78);
    assert!(b.faults().is_empty(), "{:?}", b.faults());
}

#[test]
fn unknown_packets_are_named_and_skipped() {
    let mut b = Bench::new();
    b.sdma_run(&[0x55, 5, low(DATA), 0, 3]);
    assert_eq!(b.unknowns(), ["SDMA packet op 85 sub 0"]);
    assert_eq!(b.ram_u32(DATA), 3);
}
