// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compute user queues: PM4 and AQL packets in them.

use super::kfd::*;
use super::*;

/// A barrier of `kind` that waits for signals and completes one.
fn barrier(kind: u32, dependencies: &[u64], completion: u64) -> [u32; 16] {
    let mut packet = [0; 16];
    packet[0] = kind | 1 << 8;
    for (i, signal) in dependencies.iter().enumerate() {
        (packet[2 + 2 * i], packet[3 + 2 * i]) = (low(*signal), high(*signal));
    }
    (packet[14], packet[15]) = (low(completion), high(completion));
    packet
}

#[test]
fn a_pm4_queue_writes_memory_and_signals_its_event() {
    let mut k = Kfd::new();
    k.make_compute(1, false);
    k.run_list(&[COMPUTE]);
    let to = VA + TO;
    let release = [
        header(0x49, 7),
        5 << 8 | 0x14,
        1 << 29 | 2 << 24,
        low(to + 8),
        high(to + 8),
        0x22,
        0,
        0x55,
    ];
    let packet = [
        [header(0x37, 4), 5 << 8, low(to), high(to), 0x11].as_slice(),
        &release,
    ]
    .concat();
    k.submit(COMPUTE, 0, &packet);
    assert_eq!((k.get(TO), k.get(TO + 8)), (0x11, 0x22));
    assert_eq!(k.get(RPTR + 8), 13, "dwords");
    assert_eq!(k.interrupt(0, 0) & 0xff00_ffff, 0x14 | 181 << 8 | 8 << 24);
    assert_eq!(
        (k.interrupt(0, 3), k.interrupt(0, 4)),
        (u32::from(PASID), 0x55)
    );
    k.preempt();
    assert_eq!(k.mqd(1, 138), 13);
    k.quiet();
}

#[test]
fn a_process_cannot_map_queues_or_write_registers() {
    let mut k = Kfd::new();
    k.make_compute(1, false);
    k.run_list(&[COMPUTE]);
    let scratch = k.bench.reg("SCRATCH_REG0").0;
    let packets = [
        vec![header(0x37, 4), 0, scratch, 0, 0x11],
        vec![
            header(0xa1, 15),
            0x9999,
            0xdead_b001,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
        ],
        vec![header(0xa2, 6), 1 << 29, 0x700 << 2, low(HIQ_MQD), 0, 0, 0],
        vec![header(0xa3, 5), 3 << 4, 0, 0, 0, 0],
        vec![header(0xa4, 6), 2 << 30, 0, low(FENCE), 0, 100, 0],
        vec![header(0xa5, 3), low(RUN_LIST), 0, 1 << 23 | 10],
    ];
    k.submit(COMPUTE, 0, &packets.concat());
    assert_eq!(k.bench.faults().len(), 6, "{:?}", k.bench.faults());
    assert_eq!(k.bench.get("SCRATCH_REG0"), 0);
    assert_eq!(k.bench.ram_u32(FENCE), 0);
    assert_eq!(k.bench.get("IH_VMID_9_LUT"), 0);
    assert_eq!(
        k.get(RPTR + 8),
        low(packets.concat().len() as u64),
        "its own queue is still mapped"
    );
}

#[test]
fn an_aql_barrier_waits_completes_its_signal_and_wakes() {
    let mut k = Kfd::new();
    k.make_compute(1, true);
    k.run_list(&[COMPUTE]);
    let (a, b, done) = (k.signal(0, 1, 0), k.signal(1, 1, 0), k.signal(2, 1, 0x33));
    k.submit_aql(0, &[barrier(3, &[a, b], done)]);
    assert_eq!(k.bench.device.run(), Step::Blocked);
    k.put_u64(SIGNALS + 8, &[0]);
    assert_eq!(
        k.bench.device.run(),
        Step::Blocked,
        "the other one is missing"
    );
    assert_eq!(k.signal_value(2), 1);
    k.put_u64(SIGNALS + 64 + 8, &[0]);
    k.bench.device.run();
    assert_eq!(k.signal_value(2), 0);
    assert_eq!(k.get(MAILBOX + 0x33 * 8), 0x33);
    assert_eq!(k.interrupt(0, 0) & 0xff00_ffff, 0x14 | 181 << 8 | 8 << 24);
    assert_eq!(
        (k.interrupt(0, 3), k.interrupt(0, 4)),
        (u32::from(PASID), 0x33)
    );
    assert_eq!(k.get(RING) & 0xffff, 1, "the packet's place is free");
    assert_eq!(k.get(RPTR + 8), 1, "packets");
    k.quiet();
}

#[test]
fn barrier_or_and_barrier_value_wait_for_what_they_say() {
    let mut k = Kfd::new();
    k.make_compute(1, true);
    k.run_list(&[COMPUTE]);
    let (a, b, done) = (k.signal(0, 1, 0), k.signal(1, 1, 0), k.signal(2, 3, 0));
    // Value: mask 0xff, at least 5 (condition 3).
    let mut value = barrier(0, &[a], done);
    value[0] = 2 << 16;
    (value[4], value[6], value[8]) = (5, 0xff, 3);
    k.submit_aql(
        0,
        &[barrier(5, &[], done), barrier(5, &[a, b], done), value],
    );
    assert_eq!(k.signal_value(2), 2, "nothing to wait for");
    k.put_u64(SIGNALS + 64 + 8, &[0]);
    k.bench.device.run();
    assert_eq!(k.signal_value(2), 1, "one is enough");
    k.put_u64(SIGNALS + 8, &[0x104]);
    k.bench.device.run();
    assert_eq!(k.signal_value(2), 1);
    k.put_u64(SIGNALS + 8, &[0x105]);
    k.bench.device.run();
    assert_eq!(k.signal_value(2), 0);
    k.quiet();
}

#[test]
fn a_dispatch_is_counted_and_completed_and_a_pm4_buffer_executed() {
    let mut k = Kfd::new();
    k.make_compute(1, true);
    k.run_list(&[COMPUTE]);
    let done = k.signal(0, 2, 0);
    k.put(
        BUFFER,
        &[header(0x37, 4), 5 << 8, low(VA + TO), high(VA + TO), 0x66],
    );
    let mut buffer = barrier(0, &[], done);
    buffer[0] = 1 << 16;
    buffer[1..5].copy_from_slice(&[
        header(0x3f, 3),
        low(VA + BUFFER),
        high(VA + BUFFER),
        5 | 1 << 23,
    ]);
    k.submit_aql(0, &[barrier(2, &[], done), buffer]);
    assert_eq!(k.signal_value(0), 0);
    assert_eq!(k.get(TO), 0x66);
    assert_eq!(k.bench.device.bus.journal.dispatches(), 1);
    assert!(k.get(SIGNALS + 40) != 0, "it has an end time");
    k.quiet();
}

#[test]
fn a_packet_that_is_not_written_yet_is_waited_for() {
    let mut k = Kfd::new();
    k.make_compute(1, true);
    k.run_list(&[COMPUTE]);
    let done = k.signal(0, 2, 0);
    // Somebody has taken place 0 and not filled it; place 1 is ready and announced.
    let mut missing = barrier(3, &[], done);
    missing[0] = 1;
    k.submit_aql(0, &[missing, barrier(3, &[], done)]);
    assert_eq!(k.signal_value(0), 2);
    k.put(RING, &barrier(3, &[], done));
    k.bench.doorbell(COMPUTE.bell, 0);
    assert_eq!(k.signal_value(0), 0);
    k.quiet();
}
