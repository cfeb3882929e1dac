// SPDX-License-Identifier: MIT OR Apache-2.0
//! User queues of KFD on stock amdgpu: SDMA, PM4 and AQL work, events wake, preemption loses nothing, data moves
//! between all kinds of memory; on RDNA1 and RDNA2.

mod rig;

use self::rig::{BUFFERS, QUEUES, Rig, STRIDE};
use crate::clients;
use crate::stage::{Needs, RMCP, Scenario, Stage, demand};
use anyhow::{Context, Result};
use guest::kfd_uapi::{KfdFlags, SvmFlags, svm_attribute};
use guest::proto::{KfdPlace, QueueKind, Size, Suspend, SvmQuery, Va};
use rdna_emu::Chip;
use xtask::vm::actions::RENDER_NODE;
use xtask::vm::compute::{Compute, KfdBuffer};
use xtask::vm::queues::{Shape, UserQueue, aql, pm4, sdma};
use xtask::vm::{Vm, VmOptions};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new(
        "stock: user queues copy, wait, signal and survive preemption",
        Needs::Driver,
        |stage| everything(stage, RENDER_NODE, 0),
    ),
    Scenario::new(
        "user queues copy between all kinds of memory under every policy",
        Needs::Driver,
        under_policies,
    ),
    Scenario::new(
        "stock: more compute processes than VMIDs share them",
        Needs::Driver,
        crowd,
    ),
    Scenario::new(
        "power: a user queue goes on after a suspend where it was",
        Needs::Driver,
        asleep,
    ),
    Scenario::new(
        "stock: queues whose buffers have the wrong size are refused",
        Needs::Driver,
        wrong_sizes,
    ),
    Scenario::new(
        "RDNA2: user queues, and every policy and cap on a compute job's mappings",
        Needs::Nothing,
        rdna2,
    ),
];

const MIB: u64 = 1 << 20;
/// Where shared ranges are, for GPU and CPU.
const SHARED: u64 = 0x6100_0000_0000;
/// How much is copied: more than one page, and no whole number of chunks.
const COPIED: u64 = 0x9000;

fn everything(vm: &mut Vm, node: &str, gpu: usize) -> Result<()> {
    let dispatches = vm.gpu(gpu).dispatches();
    let mut rig = Rig::open(vm, node)?;
    sdma_signals(vm, &mut rig).context("SDMA")?;
    pm4_signals(vm, &mut rig).context("PM4")?;
    aql_signals(vm, &mut rig).context("AQL")?;
    let counted = vm.gpu(gpu).dispatches() - dispatches;
    demand!(
        counted == 1,
        "{counted} dispatches were counted, expected 1"
    );
    preemption(vm, &mut rig, node).context("preemption")?;
    copies(vm, &mut rig).context("copies between kinds of memory")?;
    eviction(vm, &mut rig, gpu).context("eviction")?;
    rig.compute.close(vm)
}

/// A fence into the event page and a trap wake whoever waits: with as many queues as RDNA2 has engines, since KFD gives
/// each queue the next engine.
fn sdma_signals(vm: &mut Vm, rig: &mut Rig) -> Result<()> {
    let queues: Result<Vec<_>> = (0..4).map(|_| rig.queue(vm, QueueKind::Sdma)).collect();
    for (mut queue, number) in queues?.into_iter().zip(0..) {
        let event = rig.compute.event(vm, &rig.page)?;
        let mailbox = Va(rig.page.va.0 + u64::from(event.slot) * 8);
        let packets = [
            sdma::fence(rig.at(0).0, 0x600d_0100 | number),
            sdma::fence(mailbox, event.id),
            sdma::trap(event.id),
        ];
        queue.submit(vm, &rig.compute, &packets.concat())?;
        rig.compute.wait_event(vm, event)?;
        let value = rig.word(vm, 0)?;
        demand!(value == 0x600d_0100 | number, "SDMA wrote {value:#x}");
        queue.drain(vm, &rig.compute)?;
        queue.destroy(vm, &rig.compute)?;
    }
    Ok(())
}

/// RELEASE_MEM into the event page wakes whoever waits.
fn pm4_signals(vm: &mut Vm, rig: &mut Rig) -> Result<()> {
    let mut queue = rig.queue(vm, QueueKind::Pm4)?;
    let event = rig.compute.event(vm, &rig.page)?;
    let mailbox = Va(rig.page.va.0 + u64::from(event.slot) * 8);
    let packets = [
        pm4::write(rig.at(8).0, 0x600d_0002),
        pm4::release(mailbox, u64::from(event.id), event.id),
    ];
    queue.submit(vm, &rig.compute, &packets.concat())?;
    rig.compute.wait_event(vm, event)?;
    let value = rig.word(vm, 8)?;
    demand!(value == 0x600d_0002, "PM4 wrote {value:#x}");
    queue.drain(vm, &rig.compute)?;
    queue.destroy(vm, &rig.compute)
}

/// A barrier waits for a signal that the CPU sets, completes its own and wakes; a dispatch completes its signal.
fn aql_signals(vm: &mut Vm, rig: &mut Rig) -> Result<()> {
    let mut queue = rig.queue(vm, QueueKind::Aql)?;
    let event = rig.compute.event(vm, &rig.page)?;
    let mailbox = Va(rig.page.va.0 + u64::from(event.slot) * 8);
    let [(first, _), (done, _), (kernel, _)] = [0x100, 0x140, 0x180].map(|at| rig.at(at));
    rig.put(vm, 0x100, &aql::signal(1, None))?;
    rig.put(vm, 0x140, &aql::signal(2, Some((mailbox, event.id))))?;
    rig.put(vm, 0x180, &aql::signal(1, None))?;
    queue.submit(vm, &rig.compute, &aql::barrier_and(&[first], done))?;
    let before = rig.word(vm, 0x140 + aql::VALUE)?;
    demand!(
        before == 2,
        "the barrier's signal is {before} before its time"
    );
    rig.put(vm, 0x100 + aql::VALUE, &[0, 0])?;
    rig.compute.wait_event(vm, event)?;
    let after = rig.word(vm, 0x140 + aql::VALUE)?;
    demand!(after == 1, "the barrier's signal is {after}, expected 1");
    queue.submit(vm, &rig.compute, &aql::dispatch(Va(0x1000), kernel))?;
    rig.compute.wait(vm, rig.at(0x180 + aql::VALUE).1, 0)?;
    queue.drain(vm, &rig.compute)?;
    queue.destroy(vm, &rig.compute)
}

/// What a queue was doing when it was taken off goes on exactly there: other queues come and go, another process
/// does, the queue itself is disabled.
fn preemption(vm: &mut Vm, rig: &mut Rig, node: &str) -> Result<()> {
    const COUNTER: u64 = 0x200;
    const GATE: u64 = 0x210;
    rig.put(vm, COUNTER, &[0, 0])?;
    rig.put(vm, GATE, &[0])?;
    let mut queue = rig.queue(vm, QueueKind::Sdma)?;
    let packets = [
        sdma::add(rig.at(COUNTER).0, 1),
        sdma::poll(rig.at(GATE).0, 7),
        sdma::add(rig.at(COUNTER).0, 0x100),
    ];
    queue.submit(vm, &rig.compute, &packets.concat())?;
    rig.compute.wait(vm, rig.at(COUNTER).1, 1)?;

    // Each of these makes the driver take back the run list and hand over another.
    let other = rig.queue(vm, QueueKind::Aql)?;
    let mut neighbour = Rig::open(vm, node)?;
    let mut theirs = neighbour.queue(vm, QueueKind::Sdma)?;
    let fence = sdma::fence(neighbour.at(0).0, 0x600d_0003);
    theirs.submit(vm, &neighbour.compute, &fence)?;
    theirs.drain(vm, &neighbour.compute)?;
    let value = neighbour.word(vm, 0)?;
    demand!(
        value == 0x600d_0003,
        "the neighbour's queue wrote {value:#x}"
    );
    other.destroy(vm, &rig.compute)?;
    queue.update(vm, &rig.compute, 0)?;
    let kept = queue.read_pointer(vm, &rig.compute)?;
    demand!(
        kept == 32,
        "the read pointer is {kept}, expected at the poll"
    );

    // It is off the hardware: neither the open gate nor the doorbell moves it.
    rig.put(vm, GATE, &[7])?;
    queue.submit(vm, &rig.compute, &sdma::add(rig.at(COUNTER).0, 0x1000))?;
    theirs.submit(vm, &neighbour.compute, &fence)?;
    theirs.drain(vm, &neighbour.compute)?;
    let counter = rig.word(vm, COUNTER)?;
    demand!(
        counter == 1,
        "a queue that is off has counted to {counter:#x}"
    );
    queue.update(vm, &rig.compute, 100)?;
    queue.drain(vm, &rig.compute)?;
    let counter = rig.word(vm, COUNTER)?;
    demand!(
        counter == 0x1101,
        "the counter is {counter:#x}, expected 0x1101"
    );
    neighbour.compute.close(vm)?;
    queue.destroy(vm, &rig.compute)
}

/// A kind of memory to copy from and to.
struct Memory {
    name: &'static str,
    va: Va,
    place: KfdPlace,
    /// A shared range that is to be in the card's memory when the GPU uses it.
    prefetched: bool,
}

/// Buffers and ranges of every kind, mapped.
fn memories(vm: &mut Vm, rig: &Rig) -> Result<Vec<Memory>> {
    let kinds = [
        ("VRAM", KfdFlags::VRAM | KfdFlags::PUBLIC),
        ("GTT", KfdFlags::GTT),
        ("userptr", KfdFlags::USERPTR),
    ];
    let mut all = Vec::new();
    for ((name, flags), index) in kinds.into_iter().zip(2..) {
        let va = Va(BUFFERS + index * STRIDE);
        let buffer = rig.compute.alloc(vm, flags, va, Size(2 * MIB))?;
        rig.compute.map(vm, &buffer)?;
        all.push(Memory {
            name,
            va,
            place: KfdPlace::Buffer(buffer.handle, Size(0)),
            prefetched: false,
        });
    }
    for (name, prefetched, index) in [("SVM", false, 0), ("SVM in VRAM", true, 1)] {
        let va = Va(SHARED + index * STRIDE);
        let (size, flags) = (Size(2 * MIB), SvmFlags::NONE);
        rig.compute.share(vm, va, size, flags, prefetched)?;
        all.push(Memory {
            name,
            va,
            place: KfdPlace::Shared(va),
            prefetched,
        });
    }
    Ok(all)
}

/// A pattern that tells where it comes from.
fn pattern(seed: u64) -> Vec<u32> {
    let word = |i: u64| (i * 0x9e37_79b1 + seed * 0x0101_0101) & 0xffff_ffff;
    (0..COPIED / 4)
        .map(|i| u32::try_from(word(i)).unwrap_or(0))
        .collect()
}

/// From every kind of memory to every other; the CPU writes and compares.
fn copies(vm: &mut Vm, rig: &mut Rig) -> Result<()> {
    let mut queue = rig.queue(vm, QueueKind::Sdma)?;
    let all = memories(vm, rig)?;
    let mut seed = 0;
    for from in &all {
        for to in all.iter().filter(|to| to.name != from.name) {
            seed += 1;
            let expected = pattern(seed);
            rig.compute.write(vm, from.place, &expected)?;
            for memory in [from, to].into_iter().filter(|m| m.prefetched) {
                // The CPU's access has brought it back to system memory.
                prefetch(vm, rig, memory)?;
            }
            let bytes = u32::try_from(COPIED)?;
            queue.submit(vm, &rig.compute, &sdma::copy(from.va, to.va, bytes))?;
            queue.drain(vm, &rig.compute)?;
            let found = rig.compute.read(vm, to.place, COPIED / 4)?;
            demand!(
                found == expected,
                "{} to {}: {:x?}… arrived, expected {:x?}…",
                from.name,
                to.name,
                &found[..4],
                &expected[..4]
            );
        }
    }
    queue.destroy(vm, &rig.compute)
}

/// Moves a shared range to the card, and demands that KFD says so.
fn prefetch(vm: &mut Vm, rig: &Rig, memory: &Memory) -> Result<()> {
    let (va, size) = (memory.va, Size(2 * MIB));
    rig.compute.share(vm, va, size, SvmFlags::NONE, true)?;
    let attributes = vec![(svm_attribute::PREFETCH_LOC, 0)];
    let query = SvmQuery {
        va,
        size,
        attributes,
    };
    let found = vm.within(rig.compute.process(), query)?;
    demand!(
        matches!(found.as_slice(), [(_, location)] if *location != 0 && *location != u32::MAX),
        "prefetched to {found:x?}"
    );
    Ok(())
}

/// The driver moves every buffer out of VRAM while a queue waits: the queue is taken off, buffers come back, possibly
/// to other places, and it goes on with the right data.
fn eviction(vm: &mut Vm, rig: &mut Rig, gpu: usize) -> Result<()> {
    const GATE: u64 = 0x300;
    rig.put(vm, GATE, &[0])?;
    let mut queue = rig.queue(vm, QueueKind::Sdma)?;
    let (bytes, size) = (u32::try_from(COPIED)?, Size(2 * MIB));
    let [from, to] = [0x20, 0x21].map(|index| Va(BUFFERS + index * STRIDE));
    let public = KfdFlags::VRAM | KfdFlags::PUBLIC;
    let from = rig.compute.alloc(vm, public, from, size)?;
    let to = rig.compute.alloc(vm, public, to, size)?;
    for buffer in [&from, &to] {
        rig.compute.map(vm, buffer)?;
    }
    let expected = pattern(99);
    let place = |buffer: &KfdBuffer| KfdPlace::Buffer(buffer.handle, Size(0));
    rig.compute.write(vm, place(&from), &expected)?;
    let packets = [
        sdma::fence(rig.at(GATE + 8).0, 1),
        sdma::poll(rig.at(GATE).0, 7),
        sdma::copy(from.va, to.va, bytes),
    ];
    queue.submit(vm, &rig.compute, &packets.concat())?;
    rig.compute.wait(vm, rig.at(GATE + 8).1, 1)?;
    let file = format!("/sys/kernel/debug/dri/{gpu}/amdgpu_evict_vram");
    let done = vm.text(&file)?;
    demand!(done.trim() == "0", "evicting came to {done:?}");
    rig.put(vm, GATE, &[7])?;
    queue.drain(vm, &rig.compute)?;
    let found = rig.compute.read(vm, place(&to), COPIED / 4)?;
    demand!(found == expected, "after an eviction {:x?}…", &found[..4]);
    queue.destroy(vm, &rig.compute)
}

/// SDMA goes through the tables that rmcp has a hand in: the data must arrive all the same.
fn under_policies(stage: &mut Stage) -> Result<()> {
    stage.rmcp("mtype=keep fragment_size=keep")?;
    for switches in [
        [("mtype", "uc"), ("fragment_size", "0")],
        [("mtype", "nc"), ("fragment_size", "4")],
        [("mtype_strict", "Y"), ("fragment_size", "9")],
    ] {
        for (name, value) in switches {
            stage.switch(name, value)?;
        }
        let mut rig = Rig::open(stage, RENDER_NODE)?;
        copies(stage, &mut rig).with_context(|| format!("under {switches:?}"))?;
        rig.compute.close(stage)?;
    }
    Ok(())
}

/// The driver hands over a run list with more processes than there are VMIDs (`OVER_SUBSCRIPTION_PROCESS_COUNT`): all
/// of them get their work done, none has another's PASID, and VMIDs of graphics are not touched.
fn crowd(stage: &mut Stage) -> Result<()> {
    const PROCESSES: u32 = 11;
    const FIRST_OF_KFD: usize = 8;
    let mut all = Vec::new();
    for _ in 0..PROCESSES {
        let mut rig = Rig::open(stage, RENDER_NODE)?;
        let queue = rig.queue(stage, QueueKind::Sdma)?;
        all.push((rig, queue));
    }
    for turn in 1..3 {
        for ((rig, queue), number) in all.iter_mut().zip(0..) {
            let fence = sdma::fence(rig.at(0).0, turn << 16 | number);
            queue.submit(stage, &rig.compute, &fence)?;
        }
        for ((rig, queue), number) in all.iter().zip(0..) {
            queue.drain(stage, &rig.compute)?;
            let found = rig.word(stage, 0)?;
            demand!(
                found == turn << 16 | number,
                "process {number} found {found:#x} in turn {turn}"
            );
        }
    }
    let owner = |n| stage.gpu(0).register(&format!("IH_VMID_{n}_LUT"));
    let owners: Vec<u32> = (0..16).filter_map(owner).collect();
    let mut of_kfd = owners.get(FIRST_OF_KFD..).unwrap_or(&[]).to_vec();
    of_kfd.sort_unstable();
    of_kfd.dedup();
    demand!(
        of_kfd.len() == 16 - FIRST_OF_KFD && !of_kfd.contains(&0),
        "VMIDs belong to {owners:x?}"
    );
    for (rig, _) in all {
        rig.compute.close(stage)?;
    }
    Ok(())
}

/// The driver takes queues off before it suspends, and maps them again after.
fn asleep(stage: &mut Stage) -> Result<()> {
    const COUNTER: u64 = 0x200;
    const GATE: u64 = 0x210;
    let mut rig = Rig::open(stage, RENDER_NODE)?;
    let mut queue = rig.queue(stage, QueueKind::Sdma)?;
    let packets = [
        sdma::add(rig.at(COUNTER).0, 1),
        sdma::poll(rig.at(GATE).0, 7),
        sdma::add(rig.at(COUNTER).0, 0x100),
    ];
    rig.put(stage, COUNTER, &[0, 0, 0, 0, 0])?;
    queue.submit(stage, &rig.compute, &packets.concat())?;
    rig.compute.wait(stage, rig.at(COUNTER).1, 1)?;
    stage.call(Suspend {})?;
    rig.put(stage, GATE, &[7])?;
    queue.drain(stage, &rig.compute)?;
    let counter = rig.word(stage, COUNTER)?;
    demand!(
        counter == 0x101,
        "the counter is {counter:#x}, expected 0x101"
    );
    queue.destroy(stage, &rig.compute)?;
    rig.compute.close(stage)
}

fn wrong_sizes(stage: &mut Stage) -> Result<()> {
    let compute = Compute::open(stage, RENDER_NODE)?;
    // EINVAL: each buffer must be exactly what KFD computes (`kfd_queue_acquire_buffers`).
    let right = Shape::new(QueueKind::Aql, Va(QUEUES));
    let wrong = [
        Shape {
            va: Va(QUEUES + STRIDE),
            ring_error: 64 << 10,
            ..right
        },
        Shape {
            va: Va(QUEUES + 2 * STRIDE),
            stack_error: 4096,
            ..right
        },
    ];
    for shape in wrong {
        let Err(error) = UserQueue::create(stage, &compute, shape) else {
            anyhow::bail!("KFD made a queue with wrong sizes: {shape:?}");
        };
        let text = format!("{error:#}");
        demand!(
            text.contains("CREATE_QUEUE") && text.contains("os error 22"),
            "{text}"
        );
    }
    let queue = UserQueue::create(stage, &compute, right)?;
    queue.destroy(stage, &compute)?;
    compute.close(stage)
}

fn rdna2(stage: &mut Stage) -> Result<()> {
    let mut vm = stage.boot(VmOptions {
        gpus: vec![Chip::Navi21.into()],
        memory: 3072,
        name: "queues-rdna2".into(),
        ..VmOptions::default()
    })?;
    vm.load_amdgpu()?;
    stage.alone(vm, |stage| {
        everything(stage, RENDER_NODE, 0).context("stock")?;
        clients::every_policy(stage)?;
        stage.unload(RMCP)?;
        clients::every_cap(stage)
    })
}
