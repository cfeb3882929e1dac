// SPDX-License-Identifier: MIT OR Apache-2.0
//! Packets that map and unmap queues: for the kernel's own queues from the KIQ, for those of processes from the
//! scheduler's queue (HIQ) and the run lists that it is given.
//!
//! Layouts: `kfd_pm4_headers_ai.h` (`pm4_mes_*`) and `nvd.h`. What they do: [`super::Cp`] and [`super::scheduler`].

use crate::blocks::ring::Packet;
use crate::bus::Bus;
use crate::units::{GpuVa, PageDirectory, Pasid};

/// What a packet wants done to the queues.
#[derive(Debug)]
pub(super) enum Effect {
    /// A queue of the kernel.
    Map(MapQueues),
    /// Queues by their doorbells; hung ones get going again only with `reset`.
    Unmap { doorbells: Vec<u32>, reset: bool },
    /// The VMIDs that processes may get, a bit each.
    Resources(u16),
    /// A new run list begins.
    RunList,
    /// A process of the run list; the queues behind it are its own.
    MapProcess(MapProcess),
    /// A queue of the process before it.
    MapUserQueue(MapQueues),
    /// Queues of processes.
    Preempt(Selection),
}

/// Which queues of processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Selection {
    All,
    Process(Pasid),
}

/// What executes a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Engine {
    Graphics,
    Compute,
    Sdma(u8),
}

/// A queue to be made from a descriptor.
#[derive(Clone, Copy, Debug)]
pub(super) struct MapQueues {
    pub(super) engine: Engine,
    /// Pipe in bits 1:0, ME in 3:2, queue in 6:4, as interrupt vectors carry it.
    pub(super) id: u8,
    /// In dwords from the start of the BAR.
    pub(super) doorbell: u32,
    /// In VMID 0.
    pub(super) descriptor: GpuVa,
    /// Where the write pointer is kept, in the queue's own address space.
    pub(super) wptr: GpuVa,
}

/// A process to be made known.
#[derive(Clone, Copy, Debug)]
pub(super) struct MapProcess {
    pub(super) pasid: Pasid,
    pub(super) root: PageDirectory,
}

/// `mes_set_resources_queue_type_enum`: only the HIQ's resources are about processes.
const HIQ: u32 = 1;

/// 1 VMIDs in 15:0 and queue type in 31:29.
pub(super) fn set_resources(p: &Packet) -> Option<Effect> {
    let control = p.dword(1);
    (control >> 29 == HIQ).then(|| Effect::Resources(low_half(control)))
}

/// 1 PASID in 15:0, 2-3 page-table base, then shader and GDS state, which means nothing here.
pub(super) fn map_process(bus: &mut Bus, p: &Packet) -> Effect {
    let process = MapProcess {
        pasid: Pasid(low_half(p.dword(1))),
        root: PageDirectory(p.qword(2)),
    };
    bus.journal.log(format_args!(
        "MAP_PROCESS pasid {} root {}",
        process.pasid, process.root
    ));
    bus.space_listed(process.pasid, process.root);
    Effect::MapProcess(process)
}

/// 1 control (extended engine 3:2, queue 15:13, pipe 17:16, ME 18, engine 28:26), 2 doorbell, 3-4 descriptor, 5-6 where
/// the write pointer is kept. In a run list the queue belongs to a process.
pub(super) fn map_queues(p: &Packet, in_run_list: bool) -> Effect {
    let control = p.dword(1);
    let number = control >> 26 & 7;
    let engine = match (control >> 2 & 3, number) {
        (1, n) => Engine::Sdma(u8::try_from(n).unwrap_or(0)),
        (2, n) => Engine::Sdma(u8::try_from(n + 8).unwrap_or(0)),
        (_, n @ 2..=3) => Engine::Sdma(u8::try_from(n - 2).unwrap_or(0)),
        (_, 4) => Engine::Graphics,
        _ => Engine::Compute,
    };
    let me = match engine {
        Engine::Graphics => 0,
        _ if control >> 18 & 1 == 1 => 2,
        _ => 1,
    };
    let id = me << 2 | control >> 16 & 3 | (control >> 13 & 7) << 4;
    let map = MapQueues {
        engine,
        id: u8::try_from(id).unwrap_or(0),
        doorbell: doorbell(p, 2),
        descriptor: p.address(3),
        wptr: GpuVa(p.qword(5) & !7),
    };
    if in_run_list {
        Effect::MapUserQueue(map)
    } else {
        Effect::Map(map)
    }
}

/// `amdgpu_unmap_queues_action`: what hangs is given up.
const RESET_QUEUES: u32 = 1;

/// 1 control (action 1:0, selection 5:4, count 31:29), 2 PASID, or 2 and on: doorbells.
pub(super) fn unmap_queues(p: &Packet) -> Effect {
    let control = p.dword(1);
    match control >> 4 & 3 {
        0 => {
            let count = usize::try_from((control >> 29).min(4)).unwrap_or(0);
            Effect::Unmap {
                doorbells: (2..2 + count).map(|i| doorbell(p, i)).collect(),
                reset: control & 3 == RESET_QUEUES,
            }
        }
        1 => Effect::Preempt(Selection::Process(Pasid(low_half(p.dword(2))))),
        // All of them, with or without the static ones, of which there are none.
        _ => Effect::Preempt(Selection::All),
    }
}

fn doorbell(p: &Packet, i: usize) -> u32 {
    p.dword(i) >> 2 & 0x03ff_ffff
}

fn low_half(dword: u32) -> u16 {
    u16::try_from(dword & 0xffff).unwrap_or(0)
}
