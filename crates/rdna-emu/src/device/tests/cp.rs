// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command processor: KIQ, mapped queues, fences, waits.

use super::*;

const KIQ: u64 = 0x10_0000;
const QUEUE: u64 = 0x11_0000;
const DESCRIPTOR: u64 = 0x12_0000;
const WPTR: u64 = 0x13_0000;
const RPTR: u64 = 0x13_0100;
const DATA: u64 = 0x30_0000;
const KIQ_BELL: u32 = 0;
const QUEUE_BELL: u32 = 6;

fn low(v: u64) -> u32 {
    u32::try_from(v & 0xffff_ffff).unwrap()
}

/// The header of a packet with `n` dwords behind it.
fn header(opcode: u32, n: u32) -> u32 {
    3 << 30 | (n - 1) << 16 | opcode << 8
}

impl Bench {
    /// Activates the KIQ (ME 2, pipe 1), 4096 dwords.
    fn kiq(&mut self) {
        self.set("GRBM_GFX_CNTL", 2 << 2 | 1);
        self.set("CP_HQD_PQ_BASE", low(KIQ >> 8));
        self.set("CP_HQD_PQ_CONTROL", 11);
        self.set("CP_HQD_PQ_DOORBELL_CONTROL", KIQ_BELL << 2 | 1 << 30);
        self.set("CP_HQD_ACTIVE", 1);
    }

    pub(super) fn kiq_run(&mut self, packet: &[u32]) {
        self.kiq();
        self.ram(KIQ, packet);
        self.doorbell(KIQ_BELL, packet.len() as u64);
    }

    /// Maps a compute queue (ME 1, pipe 2, queue 1) through the KIQ.
    pub(super) fn map_compute(&mut self) {
        self.ram(DESCRIPTOR + 136 * 4, &[low(QUEUE >> 8), 0, 0, low(RPTR), 0]);
        self.ram(DESCRIPTOR + 145 * 4, &[9]);
        let control = 1 << 29 | 2 << 16 | 1 << 13;
        self.kiq_run(&[
            header(0xa2, 6),
            control,
            QUEUE_BELL << 2,
            low(DESCRIPTOR),
            0,
            low(WPTR),
            0,
        ]);
    }
}

#[test]
fn the_kiq_writes_registers_and_memory_and_interrupts() {
    let mut b = Bench::new();
    let (scratch, status) = (b.reg("SCRATCH_REG0").0, b.reg("CPC_INT_STATUS").0);
    let packet = [
        vec![header(0x37, 4), 0, scratch, 0, 0x11],
        vec![header(0x37, 4), 5 << 8, low(DATA), 0, 0x22],
        vec![header(0x37, 4), 0, status, 0, 0x2000_0000],
    ];
    b.kiq_run(&packet.concat());
    assert_eq!(b.get("SCRATCH_REG0"), 0x11);
    assert_eq!(b.ram_u32(DATA), 0x22);
    // Client 0x14, source 178, ME 2 pipe 1.
    assert_eq!(b.interrupts(), [0x14 | 178 << 8 | 9 << 16]);
}

#[test]
fn a_mapped_queue_signals_its_fence_with_its_own_number() {
    let mut b = Bench::new();
    b.map_compute();
    let release = [
        header(0x49, 7),
        0,
        2 << 29 | 2 << 24,
        low(DATA),
        0,
        0x5555_6666,
        0x7777_8888,
        0,
    ];
    b.ram(QUEUE, &release);
    b.doorbell(QUEUE_BELL, 8);
    assert_eq!(b.ram_u32(DATA), 0x5555_6666);
    assert_eq!(b.ram_u32(DATA + 4), 0x7777_8888);
    assert_eq!(b.ram_u32(RPTR), 8);
    let id = 1 << 2 | 2 | 1 << 4;
    assert_eq!(b.interrupts(), [0x14 | 181 << 8 | id << 16]);
    assert_eq!(b.unknowns(), [] as [String; 0]);
}

#[test]
fn an_unmapped_queue_hears_no_doorbell() {
    let mut b = Bench::new();
    b.map_compute();
    b.kiq_run(&[header(0xa3, 5), 1 << 29 | 1, QUEUE_BELL << 2, 0, 0, 0]);
    b.doorbell(QUEUE_BELL, 8);
    assert_eq!(b.unknowns(), ["doorbell 0x6"]);
}

#[test]
fn a_flush_by_packet_writes_the_request_and_waits_for_the_acknowledge() {
    let mut b = Bench::new();
    let (req, ack) = (
        b.reg("GCVM_INVALIDATE_ENG5_REQ").0,
        b.reg("GCVM_INVALIDATE_ENG5_ACK").0,
    );
    let wait = [header(0x3c, 6), 1 << 6 | 3, req, ack, 0x00f8_0004, 4, 0x20];
    b.kiq_run(&[wait.as_slice(), &[header(0x37, 4), 5 << 8, low(DATA), 0, 1]].concat());
    assert_eq!(b.get("GCVM_INVALIDATE_ENG5_ACK"), 4);
    assert_eq!(b.ram_u32(DATA), 1);
}

#[test]
fn nested_buffers_end() {
    let mut b = Bench::new();
    // A buffer that calls itself for ever.
    let call = [header(0x3f, 3), low(DATA), 0, 4];
    b.ram(DATA, &call);
    b.kiq_run(&call);
    assert!(
        b.faults()[0].contains("nested too deep"),
        "{:?}",
        b.faults()
    );
}

#[test]
fn unknown_packets_are_named_and_skipped_whole() {
    let mut b = Bench::new();
    let packet = [
        vec![header(0xd3, 3), 1, 2, 3],
        vec![header(0x15, 4), 1, 1, 1, 0],
        vec![header(0x37, 4), 5 << 8, low(DATA), 0, 1],
    ];
    b.kiq_run(&packet.concat());
    assert_eq!(b.unknowns(), ["PM4 0xd3", "PM4 DISPATCH_DIRECT (0x15)"]);
    assert_eq!(b.ram_u32(DATA), 1);
}
