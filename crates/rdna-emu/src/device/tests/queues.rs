// SPDX-License-Identifier: MIT OR Apache-2.0
//! SDMA user queues and the scheduler: mapping, doorbells, preemption, VMIDs.

use super::kfd::*;
use super::*;

/// SDMA: linear copy of `bytes`.
fn copy(from: u64, to: u64, bytes: u32) -> [u32; 7] {
    let (from, to) = (VA + from, VA + to);
    [1, bytes - 1, 0, low(from), high(from), low(to), high(to)]
}

/// SDMA: waits until the dword at `at` is `value`.
fn poll(at: u64, value: u32) -> [u32; 6] {
    [
        8 | 3 << 28 | 1 << 31,
        low(VA + at),
        high(VA + at),
        value,
        u32::MAX,
        0,
    ]
}

/// SDMA: adds to the qword at `at`.
fn add(at: u64, value: u64) -> [u32; 8] {
    [
        10 | 47 << 25,
        low(VA + at),
        high(VA + at),
        low(value),
        high(value),
        0,
        0,
        0,
    ]
}

#[test]
fn an_sdma_queue_copies_within_its_process() {
    let mut k = Kfd::new();
    k.make_sdma(0);
    k.run_list(&[SDMA]);
    k.put(FROM, &[0x600d_cafe, 0x1234_5678]);
    k.submit(SDMA, 0, &copy(FROM, TO, 8));
    assert_eq!((k.get(TO), k.get(TO + 4)), (0x600d_cafe, 0x1234_5678));
    assert_eq!(k.get(RPTR), 28, "bytes");
    // What hardware looks at tells whose VMID 8 is.
    assert_eq!(
        k.bench.get("GCVM_CONTEXT8_PAGE_TABLE_BASE_ADDR_LO32"),
        low(root(0) | 1)
    );
    assert_eq!(
        k.bench.get("MMVM_CONTEXT8_PAGE_TABLE_BASE_ADDR_LO32"),
        low(root(0) | 1)
    );
    assert_eq!(k.bench.get("IH_VMID_8_LUT"), u32::from(PASID));
    k.quiet();
}

#[test]
fn a_trap_tells_vmid_pasid_and_event() {
    let mut k = Kfd::new();
    k.make_sdma(0);
    k.run_list(&[SDMA]);
    k.submit(SDMA, 0, &[6, 0x77]);
    assert_eq!(k.interrupt(0, 0), 8 | 224 << 8 | 8 << 24);
    assert_eq!(k.interrupt(0, 3), u32::from(PASID));
    assert_eq!(k.interrupt(0, 4), 0x77);
    assert_eq!(k.bench.fired(), 1);
}

#[test]
fn a_write_pointer_that_moved_before_the_queue_was_mapped_counts() {
    let mut k = Kfd::new();
    k.make_sdma(0);
    k.put(FROM, &[7]);
    k.put(RING, &copy(FROM, TO, 4));
    k.put_u64(WPTR, &[28]);
    k.run_list(&[SDMA]);
    assert_eq!(k.get(TO), 7);
    k.quiet();
}

#[test]
fn preemption_keeps_where_a_queue_was_and_doorbells_in_between_are_not_lost() {
    let mut k = Kfd::new();
    k.make_sdma(0);
    k.run_list(&[SDMA]);
    k.put(FROM, &[5]);
    let first = [add(TO, 1).as_slice(), &poll(SIGNALS, 9)].concat();
    k.submit(SDMA, 0, &first);
    assert_eq!(k.bench.device.run(), Step::Blocked);
    k.preempt();
    assert_eq!(k.mqd(0, 3), 32, "the read pointer is at the poll");
    assert_eq!(k.mqd(0, 5), 56);
    assert_eq!(k.bench.get("IH_VMID_8_LUT"), 0, "nobody has the VMID");
    k.put(SIGNALS, &[9]);
    k.submit(SDMA, 14, &copy(FROM, TO + 8, 4));
    assert_eq!(k.get(TO + 8), 0, "it is not mapped");
    k.run_list(&[SDMA]);
    assert_eq!(
        (k.get(TO), k.get(TO + 8)),
        (1, 5),
        "the addition is not repeated"
    );
    k.quiet();
}

#[test]
fn a_queue_preempted_inside_of_a_buffer_goes_on_there() {
    let mut k = Kfd::new();
    k.make_sdma(0);
    k.run_list(&[SDMA]);
    let buffer = [add(TO, 1).as_slice(), &poll(SIGNALS, 9), &add(TO, 0x10)].concat();
    k.put(BUFFER, &buffer);
    let call = [
        4,
        low(VA + BUFFER),
        high(VA + BUFFER),
        low(buffer.len() as u64),
        0,
        0,
    ];
    k.submit(SDMA, 0, &call);
    assert_eq!(k.get(TO), 1);
    k.preempt();
    k.run_list(&[SDMA]);
    assert_eq!(k.get(TO), 1);
    k.put(SIGNALS, &[9]);
    k.bench.device.run();
    assert_eq!(k.get(TO), 0x11);
    // A new queue in the same descriptor begins anew, whatever the former was in the middle of.
    k.put(SIGNALS, &[0]);
    k.submit(SDMA, 6, &call);
    assert_eq!(k.get(TO), 0x12);
    k.preempt();
    k.make_sdma(0);
    k.set_mqd(0, &[(3, 0), (5, 0)]);
    k.put_u64(WPTR, &[0]);
    k.run_list(&[SDMA]);
    k.submit(SDMA, 0, &add(TO, 0x100));
    assert_eq!(k.get(TO), 0x112);
    k.quiet();
}

#[test]
fn a_processs_buffer_cannot_choose_the_kernels_address_space() {
    let mut k = Kfd::new();
    k.make_sdma(0);
    k.run_list(&[SDMA]);
    // The buffer lies at a kernel address, and the packet says VMID 0.
    k.bench.ram(FENCE + 0x100, &[2, low(FENCE), 0, 0, 0xbad]);
    k.submit(SDMA, 0, &[4, low(FENCE + 0x100), 0, 5, 0, 0]);
    assert_ne!(k.bench.ram_u32(FENCE), 0xbad);
    assert!(
        k.bench.faults()[0].contains("vmid 8"),
        "{:?}",
        k.bench.faults()
    );
    // Nor does a poll write registers.
    let scratch = k.bench.reg("SCRATCH_REG0").0 << 2;
    k.submit(SDMA, 6, &[8 | 1 << 26, scratch, scratch, 5, 0, 0]);
    assert_eq!(k.bench.get("SCRATCH_REG0"), 0);
}

#[test]
fn a_sub_window_is_copied_row_by_row() {
    let mut k = Kfd::new();
    k.make_sdma(0);
    k.run_list(&[SDMA]);
    let source: Vec<u32> = (0..64).collect();
    k.put(FROM, &source);
    let (from, to) = (VA + FROM, VA + TO);
    // Dwords: 2 x 2 x 2 elements from (1, 1, 1), of rows of 4 and slices of 16, to rows of 8 and slices of 32.
    let packet = [
        1 | 4 << 8 | 2 << 29,
        low(from),
        high(from),
        1 | 1 << 16,
        1 | 3 << 13,
        15,
        low(to),
        high(to),
        0,
        7 << 13,
        31,
        1 | 1 << 16,
        1,
    ];
    k.submit(SDMA, 0, &packet);
    // x + 4 y + 16 z of the source.
    for (x, y, z) in (0..8).map(|i| (i & 1, i >> 1 & 1, i >> 2)) {
        let expected = (x + 1) + 4 * (y + 1) + 16 * (z + 1);
        assert_eq!(
            k.get(TO + (x + 8 * y + 32 * z) * 4),
            low(expected),
            "({x}, {y}, {z})"
        );
    }
    assert_eq!(k.get(TO + 8), 0, "nothing beside the window");
    k.quiet();
}

#[test]
fn more_processes_than_vmids_take_turns() {
    const MANY: u64 = 12;
    let mut k = Kfd::new();
    let mut queues = Vec::new();
    for n in 0..MANY {
        k.make_process(n);
        k.make_sdma(n);
        let bell = BELL + low(n) * 2;
        queues.push(UserQueue {
            process: n,
            slot: n,
            engine: 2,
            bell,
        });
        let memory = n * PAGES * 0x1000;
        k.put(memory + FROM, &[0x100 + low(n)]);
        k.put(memory + RING, &copy(FROM, TO, 4));
        k.put_u64(memory + WPTR + n * 8, &[28]);
    }
    k.run_list(&queues);
    for n in 0..MANY {
        assert_eq!(
            k.get(n * PAGES * 0x1000 + TO),
            0x100 + low(n),
            "process {n}"
        );
    }
    let pasids: Vec<u32> = (0..16)
        .map(|n| k.bench.get(&format!("IH_VMID_{n}_LUT")))
        .collect();
    assert_eq!(pasids[..8], [0; 8]);
    assert!(pasids[8..].iter().all(|p| *p != 0), "{pasids:x?}");
    k.quiet();
}
