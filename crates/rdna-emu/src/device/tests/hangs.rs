// SPDX-License-Identifier: MIT OR Apache-2.0
//! Engines that stop, and the driver's ways to get them going: those of `sdma_v5_0_reset_queue`,
//! `gfx_v10_0_reset_kgq` and `gfx_v10_0_reset_kcq`.

use super::sdma::{BELL, RING};
use super::*;
use crate::inject::{Engine, Injection, inject};

/// A fence to write, in guest memory.
const DATA: u64 = 0x30_0000;

fn fence(b: &mut Bench, at: u64, value: u32) {
    let to = u32::try_from(DATA).unwrap();
    b.ram(RING + at * 4, &[5, to, 0, value]);
    b.doorbell(BELL, (at + 4) * 4);
}

#[test]
fn a_copy_engine_that_hangs_does_nothing_until_it_is_reset() {
    let mut b = Bench::new();
    b.sdma();
    fence(&mut b, 0, 1);
    assert_eq!(b.ram_u32(DATA), 1);
    inject(&mut b.device.bus, Injection::Hang(Engine::Sdma(0)));
    fence(&mut b, 4, 2);
    assert_eq!(b.ram_u32(DATA), 1);
    // The ring off, frozen, halted; reset; off again where it was, and on.
    b.set("SDMA0_GFX_RB_CNTL", 0);
    b.set("SDMA0_FREEZE", 1 << 4);
    assert_eq!(b.get("SDMA0_FREEZE"), 3 << 4);
    b.set("GRBM_SOFT_RESET", 1 << 24);
    fence(&mut b, 4, 3);
    assert_eq!(
        b.ram_u32(DATA),
        1,
        "another engine was reset, this one is off"
    );
    b.set("GRBM_SOFT_RESET", 1 << 23);
    b.set("GRBM_SOFT_RESET", 0);
    b.set("SDMA0_FREEZE", 0);
    assert_eq!(b.get("SDMA0_FREEZE"), 0);
    b.set("SDMA0_GFX_RB_RPTR", 8 * 4);
    b.sdma();
    fence(&mut b, 8, 4);
    assert_eq!(b.ram_u32(DATA), 4);
}

#[test]
fn a_frozen_engine_stands_still() {
    let mut b = Bench::new();
    b.sdma();
    b.set("SDMA0_FREEZE", 1 << 4);
    fence(&mut b, 0, 1);
    assert_eq!(b.ram_u32(DATA), 0);
    b.set("SDMA0_FREEZE", 0);
    assert_eq!(b.ram_u32(DATA), 1);
}

#[test]
fn a_graphics_queue_is_reset_and_says_so_in_its_descriptor() {
    const QUEUE: u64 = 0x11_0000;
    const DESCRIPTOR: u64 = 0x12_0000;
    const QUEUE_BELL: u32 = 0x100;
    let low = |v: u64| u32::try_from(v).unwrap();
    let mut b = Bench::new();
    b.ram(DESCRIPTOR + 130 * 4, &[1]);
    b.ram(DESCRIPTOR + 136 * 4, &[low(QUEUE >> 8), 0, 0, 0, 0]);
    b.ram(DESCRIPTOR + 145 * 4, &[9]);
    // MAP_QUEUES: engine 4, pipe 0, queue 0; one queue.
    let control = 1 << 29 | 4 << 26;
    let map = [
        0xc005_a200,
        control,
        QUEUE_BELL << 2,
        low(DESCRIPTOR),
        0,
        low(0x13_0000),
        0,
    ];
    b.kiq_run(&map);
    // WRITE_DATA to memory.
    let write = |value| [0xc003_3700, 5 << 8, low(DATA), 0, value];
    b.ram(QUEUE, &write(1));
    b.doorbell(QUEUE_BELL, 5);
    assert_eq!(b.ram_u32(DATA), 1);
    inject(&mut b.device.bus, Injection::Hang(Engine::Gfx));
    b.ram(QUEUE + 20, &write(2));
    b.doorbell(QUEUE_BELL, 10);
    assert_eq!(b.ram_u32(DATA), 1);
    // Of queue 1 first, which is not this one.
    b.set("CP_VMID_RESET", 2 << 16 | 1 << 3);
    assert_eq!(b.ram_u32(DESCRIPTOR + 130 * 4), 1);
    b.set("CP_VMID_RESET", 1 << 16 | 1 << 3);
    assert_eq!(b.get("CP_VMID_RESET"), 0);
    assert_eq!(b.ram_u32(DESCRIPTOR + 130 * 4), 0);
    assert_eq!(b.ram_u32(DATA), 1, "the job is gone");
    assert_eq!(b.faults(), Vec::<String>::new());
}

#[test]
fn a_compute_queue_is_active_until_it_is_reset_and_works_when_it_is_mapped_again() {
    const COMPUTE: u64 = 0x11_0000;
    const COMPUTE_BELL: u32 = 6;
    let low = |v: u64| u32::try_from(v).unwrap();
    let write = |value| [0xc003_3700, 5 << 8, low(DATA), 0, value];
    // UNMAP_QUEUES of one queue: action 0 preempts, 1 resets.
    let unmap = |action: u32| [0xc004_a300, 1 << 29 | action, COMPUTE_BELL << 2, 0, 0, 0];
    // ME 1, pipe 2, queue 1; and another.
    let (this, other) = (1 << 8 | 1 << 2 | 2, 1 << 2 | 2);
    let mut b = Bench::new();
    b.map_compute();
    let active = |b: &mut Bench| {
        [this, other].map(|select| {
            b.set("GRBM_GFX_CNTL", select);
            b.get("CP_HQD_ACTIVE")
        })
    };
    assert_eq!(active(&mut b), [1, 0]);
    b.ram(COMPUTE, &write(1));
    b.doorbell(COMPUTE_BELL, 5);
    assert_eq!(b.ram_u32(DATA), 1);
    inject(&mut b.device.bus, Injection::Hang(Engine::Compute));
    b.ram(COMPUTE + 20, &write(2));
    b.doorbell(COMPUTE_BELL, 10);
    assert_eq!(b.ram_u32(DATA), 1);
    // Preempted and mapped again, it hangs as before.
    b.kiq_run(&unmap(0));
    assert_eq!(active(&mut b), [0, 0]);
    b.map_compute();
    b.ram(COMPUTE, &write(3));
    b.doorbell(COMPUTE_BELL, 5);
    assert_eq!(b.ram_u32(DATA), 1);
    b.kiq_run(&unmap(1));
    assert_eq!(active(&mut b), [0, 0]);
    assert_eq!(b.ram_u32(DATA), 1, "the job is gone");
    b.map_compute();
    assert_eq!(active(&mut b), [1, 0]);
    b.ram(COMPUTE, &write(4));
    b.doorbell(COMPUTE_BELL, 5);
    assert_eq!(b.ram_u32(DATA), 4);
    assert_eq!(b.faults(), Vec::<String>::new());
}
