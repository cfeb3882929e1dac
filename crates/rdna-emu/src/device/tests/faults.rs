// SPDX-License-Identifier: MIT OR Apache-2.0
//! Page faults as the driver sees them: status registers, interrupts, and what the job gets.
//!
//! The expected numbers are those of `gc_10_1_0_sh_mask.h` and of the example in
//! `Documentation/gpu/amdgpu/debugging.rst` (0x00301030: a read of an invalid page, VMID 3).

use super::sdma::{BELL, RING};
use super::*;

const VA: u64 = 0x1_0000_0000;
const PAGE: u64 = 0x40_0000;
/// GCVM_CONTEXT1_CNTL as `gfxhub_v2_0_setup_vmid_config` and `amdgpu_gmc_set_vm_fault_masks` leave it.
const CONTEXT: u32 = 0x007f_fe07;

/// A process in VMID 3, PASID 0x8005, that has its buffer at `VA` and nothing else; the buffer is
/// readable, and writeable if `leaf` says so.
fn bench(leaf: u64) -> Bench {
    let mut b = Bench::new();
    let root = b.map_page(0x20_0000, VA, PAGE | leaf | 2);
    b.set(
        "GCVM_CONTEXT3_PAGE_TABLE_BASE_ADDR_LO32",
        u32::try_from(root).unwrap(),
    );
    b.set("GCVM_CONTEXT3_CNTL", CONTEXT);
    b.set("IH_VMID_3_LUT", 0x8005);
    b.sdma();
    b
}

/// Lets the process run a packet on SDMA0.
fn run(b: &mut Bench, at: u64, packet: &[u32]) {
    let mut words = packet.to_vec();
    words.resize(packet.len().next_multiple_of(8), 0);
    b.ram(PAGE, &words);
    let length = u32::try_from(words.len()).unwrap();
    b.ram(RING + at * 4, &[4 | 3 << 16, 0, 1, length, 0, 0]);
    b.doorbell(BELL, (at + 6) * 4);
}

/// The eight dwords of an interrupt.
fn vector(b: &Bench, number: u64) -> Vec<u32> {
    (0..8)
        .map(|i| b.ram_u32(IH_RING + number * 32 + i * 4))
        .collect()
}

fn copy(from: u64, to: u64, bytes: u32) -> [u32; 7] {
    let halves = |at: u64| [(at & 0xffff_ffff) as u32, (at >> 32) as u32];
    let ([a, b], [c, d]) = (halves(from), halves(to));
    [1, bytes - 1, 0, a, b, c, d]
}

#[test]
fn a_read_of_a_page_that_is_not_there() {
    let mut b = bench(0x71);
    b.ram(PAGE + 0x800, &[7; 4]);
    run(&mut b, 0, &copy(VA + 0x5000, VA + 0x800, 16));
    assert_eq!(
        b.ram_u32(PAGE + 0x800),
        0,
        "what is not there reads as zero"
    );
    // SDMA0 is client 13.
    assert_eq!(
        b.get("GCVM_L2_PROTECTION_FAULT_STATUS"),
        3 << 20 | 13 << 9 | 3 << 4
    );
    assert_eq!(b.get("GCVM_L2_PROTECTION_FAULT_ADDR_LO32"), 0x0010_0005);
    assert_eq!(b.get("GCVM_L2_PROTECTION_FAULT_ADDR_HI32"), 0);
    // UTCL2, source 0, ring 24, VMID 3 of the graphics hub.
    let seen = vector(&b, 0);
    assert_eq!(seen[0], 0x1b | 24 << 16 | 3 << 24);
    assert_eq!(seen[3..6], [0x8005, 0x0010_0005, 0]);
    assert_eq!(b.interrupts().len(), 1);
    assert_eq!(b.fired(), 1);
}

#[test]
fn a_write_to_a_page_that_may_be_read_only() {
    let mut b = bench(0x31);
    run(&mut b, 0, &copy(VA, VA + 0x800, 16));
    let status = b.get("GCVM_L2_PROTECTION_FAULT_STATUS");
    assert_eq!(status, 3 << 20 | 1 << 18 | 13 << 9 | 4 << 4);
    let seen = vector(&b, 0);
    assert_eq!(seen[0], 0x1b | 32 << 16 | 3 << 24);
    assert_eq!(seen[4..6], [0x0010_0000, 0x20]);
    assert_eq!(b.ram_u32(PAGE + 0x800), 0);
}

#[test]
fn an_address_of_more_than_48_bits() {
    let mut b = bench(0x71);
    let wide = 0x0123_4567_89ab_c000;
    run(&mut b, 0, &copy(wide, VA + 0x800, 16));
    // WALKER_ERROR 1, MAPPING_ERROR.
    let status = b.get("GCVM_L2_PROTECTION_FAULT_STATUS");
    assert_eq!(status, 3 << 20 | 13 << 9 | 1 << 8 | 3 << 4 | 1 << 1);
    assert_eq!(vector(&b, 0)[4..6], [0x5678_9abc, 0x4]);
}

#[test]
fn the_first_fault_stays_until_the_driver_clears_it() {
    let mut b = bench(0x71);
    run(&mut b, 0, &copy(VA + 0x5000, VA + 0x800, 16));
    let first = b.get("GCVM_L2_PROTECTION_FAULT_STATUS");
    run(&mut b, 6, &copy(VA + 0x6000, VA + 0x800, 16));
    assert_eq!(b.get("GCVM_L2_PROTECTION_FAULT_STATUS"), first | 1);
    assert_eq!(b.get("GCVM_L2_PROTECTION_FAULT_ADDR_LO32"), 0x0010_0005);
    b.set("GCVM_L2_PROTECTION_FAULT_CNTL", 1);
    assert_eq!(b.get("GCVM_L2_PROTECTION_FAULT_STATUS"), 0);
    assert_eq!(b.get("GCVM_L2_PROTECTION_FAULT_CNTL"), 0);
    run(&mut b, 12, &copy(VA + 0x7000, VA + 0x800, 16));
    assert_eq!(b.get("GCVM_L2_PROTECTION_FAULT_STATUS"), first);
    assert_eq!(b.interrupts().len(), 3);
}

#[test]
fn a_storm_is_limited_and_goes_on_when_the_driver_has_looked() {
    let mut b = bench(0x71);
    let megabyte = copy(VA + 0x10_0000, VA + 0x20_0000, 1 << 20);
    run(&mut b, 0, &megabyte);
    assert_eq!(b.interrupts().len(), 16);
    b.set("GCVM_L2_PROTECTION_FAULT_CNTL", 1);
    run(&mut b, 6, &megabyte);
    assert_eq!(b.interrupts().len(), 32);
    let counted = b.device.bus.journal.faults();
    let sum: u64 = counted.iter().map(|fault| fault.count).sum();
    assert_eq!(
        sum,
        2 * 2 * 256,
        "each page of both is counted: {counted:?}"
    );
}

#[test]
fn nobody_is_interrupted_who_did_not_ask() {
    let mut b = bench(0x71);
    b.set("GCVM_CONTEXT3_CNTL", CONTEXT & !(1 << 15));
    run(&mut b, 0, &copy(VA + 0x5000, VA + 0x800, 16));
    assert_eq!(b.interrupts().len(), 0);
    assert_eq!(b.faults().len(), 1);
}

#[test]
fn a_retried_access_waits_until_the_page_is_there() {
    let mut b = bench(0x71);
    b.set("GCVM_CONTEXT3_CNTL", CONTEXT | 1 << 7);
    run(&mut b, 0, &copy(VA + 0x5000, VA + 0x800, 16));
    // Bit 7 of the second data word: a retry.
    assert_eq!(vector(&b, 0)[5], 0x80);
    b.ram(PAGE + 0x800, &[7; 4]);
    assert_eq!(b.device.run(), Step::Blocked);
    assert_eq!(
        b.ram_u32(PAGE + 0x800),
        0,
        "the attempt itself writes zeros"
    );
    b.vram(0x20_0000 + 0x3000 + 5 * 8, &[0x50_0073]);
    b.ram(0x50_0000, &[0x600d]);
    b.device.run();
    assert_eq!(b.ram_u32(PAGE + 0x800), 0x600d);
}

/// Ways to ask for an invalidation of VMID 3, each from dword `at` of SDMA0's ring on; the dwords used.
const WAYS: [fn(&mut Bench, u64) -> u64; 4] = [
    // VM_INVALIDATE_ENG5_REQ by the CPU.
    |b, _| {
        b.set("GCVM_INVALIDATE_ENG5_REQ", REQUEST);
        0
    },
    // GPUVM_INV, VM_INVALIDATION of engine 5 and of no engine of the other hub.
    |b, at| packet(b, at, &[16, REQUEST, 0, 0]),
    |b, at| {
        packet(
            b,
            at,
            &[
                8 | 4 << 8 | 5 << 16 | 0x1f << 24,
                REQUEST,
                !0,
                8 | 0x1f << 16,
            ],
        )
    },
    // INVALIDATE_TLBS by PASID, as the driver gives it to the KIQ.
    |b, _| {
        b.kiq_run(&[0xc000_9800, 0x8005 << 5]);
        0
    },
];
/// As `gfxhub_v2_0_get_invalidate_req` makes it.
const REQUEST: u32 = 0x00f8_0000 | 1 << 3;

fn packet(b: &mut Bench, at: u64, words: &[u32]) -> u64 {
    b.ram(RING + at * 4, words);
    let length = words.len() as u64;
    b.doorbell(BELL, (at + length) * 4);
    length
}

#[test]
fn translations_are_forgotten_when_asked() {
    const OTHER: u64 = 0x60_0000;
    for (number, way) in WAYS.into_iter().enumerate() {
        let mut b = bench(0x71);
        let mark = |value| [2, 0x800, 1, 0, value, 0, 0, 0];
        run(&mut b, 0, &mark(1));
        assert_eq!(b.ram_u32(PAGE + 0x800), 1);
        // The page moves, and nobody says so: what is run and written is the old one.
        b.vram(0x20_3000, &[OTHER | 0x73]);
        b.ram(OTHER, &mark(3));
        run(&mut b, 6, &mark(2));
        assert_eq!((b.ram_u32(PAGE + 0x800), b.ram_u32(OTHER + 0x800)), (2, 0));
        let stale = b.device.bus.gmc.tlb_report().stale;
        assert!(stale > 0);
        let at = 12 + way(&mut b, 12);
        run(&mut b, at, &mark(4));
        let found = (b.ram_u32(PAGE + 0x800), b.ram_u32(OTHER + 0x800));
        assert_eq!(found, (2, 3), "way {number}");
        assert_eq!(b.device.bus.gmc.tlb_report().stale, stale);
        assert_eq!(b.faults(), Vec::<String>::new());
    }
}
