// SPDX-License-Identifier: MIT OR Apache-2.0
//! A queue of a process: its ring lies in the process's address space, its descriptor in the kernel's.
//!
//! Descriptors: `struct v10_compute_mqd` and `struct v10_sdma_mqd` of `v10_structs.h`, filled in by
//! `kfd_mqd_manager_v10.c`. Three kinds: SDMA and PM4, which execute the same packets as the kernel's rings, and AQL.
//! Positions count in dwords here; in memory and at doorbells SDMA counts bytes, PM4 dwords and AQL packets.

use super::aql::{self, AqlPacket, Begin};
use super::packet;
use super::runlist::{Engine, MapQueues};
use crate::blocks::ring::{Outcome, Stream};
use crate::blocks::{Step, sdma};
use crate::bus::{Bus, Requester, Space};
use crate::units::{GpuVa, Pasid};

/// Dword offsets in `struct v10_compute_mqd`.
mod compute {
    pub(super) const BASE: u64 = 136;
    pub(super) const RPTR: u64 = 138;
    pub(super) const RPTR_REPORT: u64 = 139;
    pub(super) const CONTROL: u64 = 145;
    pub(super) const AQL_CONTROL: u64 = 181;
    pub(super) const WPTR: u64 = 182;
    /// `CP_HQD_PQ_CONTROL.QUEUE_SIZE`: log2 of the dwords, minus 1.
    pub(super) const SIZE_MASK: u32 = 0x3f;
}
/// Dword offsets in `struct v10_sdma_mqd`.
mod dma {
    pub(super) const CONTROL: u64 = 0;
    pub(super) const BASE: u64 = 1;
    pub(super) const RPTR: u64 = 3;
    pub(super) const WPTR: u64 = 5;
    pub(super) const RPTR_ADDR_HIGH: u64 = 8;
    pub(super) const RPTR_ADDR_LOW: u64 = 9;
    /// `SDMA0_RLC0_RB_CNTL.RB_SIZE`: log2 of the dwords.
    pub(super) const SIZE_SHIFT: u32 = 1;
    pub(super) const SIZE_MASK: u32 = 0x1f;
    pub(super) const RPTR_WRITEBACK_ENABLE: u32 = 1 << 12;
}

/// What its ring holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Sdma {
        engine: u8,
    },
    /// `id` as in [`MapQueues`].
    Pm4 {
        id: u8,
    },
    Aql {
        id: u8,
    },
}

impl Kind {
    /// A position in dwords, from one as memory and doorbells have it.
    fn dwords(self, position: u64) -> u64 {
        match self {
            Self::Sdma { .. } => position / 4,
            Self::Pm4 { .. } => position,
            Self::Aql { .. } => position.saturating_mul(aql::DWORDS),
        }
    }

    /// The reverse of `dwords`.
    fn position(self, dwords: u64) -> u64 {
        match self {
            Self::Sdma { .. } => dwords.saturating_mul(4),
            Self::Pm4 { .. } => dwords,
            Self::Aql { .. } => dwords / aql::DWORDS,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct UserQueue {
    pub(super) name: String,
    /// The process that it belongs to.
    pub(super) pasid: Pasid,
    pub(super) descriptor: GpuVa,
    kind: Kind,
    base: GpuVa,
    ring: Stream,
    /// Indirect buffers, each called by the one before it.
    buffers: Vec<Stream>,
    /// An AQL packet that is being executed, and since when.
    packet: Option<(AqlPacket, u64)>,
    /// Where the write pointer is kept.
    wptr: GpuVa,
    report_to: Option<GpuVa>,
    unreported: bool,
    /// An AQL queue whose next packet is worth a look.
    due: bool,
}

/// What a preempted queue was in the middle of, beside what its descriptor tells: stands for the context save area.
#[derive(Debug)]
pub(super) struct Suspended {
    position: u64,
    buffers: Vec<Stream>,
    packet: Option<(AqlPacket, u64)>,
}

impl UserQueue {
    /// From its descriptor, for the process that has `space` now.
    pub(super) fn load(bus: &mut Bus, space: Space, pasid: Pasid, map: &MapQueues) -> Self {
        let at = |i: u64| map.descriptor.plus(i * 4);
        let kernel = Space::Kernel;
        let end = bus.read_u64(space, map.wptr);
        let (kind, base, size, pos, report_to);
        if let Engine::Sdma(engine) = map.engine {
            kind = Kind::Sdma { engine };
            let control = bus.read_u32(kernel, at(dma::CONTROL));
            base = bus.read_u64(kernel, at(dma::BASE));
            size = 1 << (control >> dma::SIZE_SHIFT & dma::SIZE_MASK);
            pos = bus.read_u64(kernel, at(dma::RPTR)) / 4;
            let low = bus.read_u32(kernel, at(dma::RPTR_ADDR_LOW));
            let high = bus.read_u32(kernel, at(dma::RPTR_ADDR_HIGH));
            let wanted = control & dma::RPTR_WRITEBACK_ENABLE != 0;
            report_to = if wanted {
                u64::from(low) | u64::from(high) << 32
            } else {
                0
            };
        } else {
            let control = bus.read_u32(kernel, at(compute::CONTROL));
            let is_aql = bus.read_u32(kernel, at(compute::AQL_CONTROL)) & 1 == 1;
            kind = if is_aql {
                Kind::Aql { id: map.id }
            } else {
                Kind::Pm4 { id: map.id }
            };
            base = bus.read_u64(kernel, at(compute::BASE));
            size = 1_u64 << ((control & compute::SIZE_MASK) + 1).min(32);
            let rptr = bus.read_u32(kernel, at(compute::RPTR));
            pos = kind.dwords(widen(rptr, end, kind.position(size)));
            report_to = bus.read_u64(kernel, at(compute::RPTR_REPORT));
        }
        let name = match kind {
            Kind::Sdma { engine } => format!("sdma{engine}_{:x}", map.doorbell),
            Kind::Pm4 { .. } => format!("pm4_{:x}", map.doorbell),
            Kind::Aql { .. } => format!("aql_{:x}", map.doorbell),
        };
        let base = GpuVa(base << 8);
        let mut queue = Self {
            name,
            pasid,
            descriptor: map.descriptor,
            kind,
            base,
            ring: Stream::ring(space, base, size, pos),
            buffers: Vec::new(),
            packet: None,
            wptr: map.wptr,
            report_to: (report_to != 0).then_some(GpuVa(report_to & !3)),
            unreported: false,
            due: true,
        };
        queue.set_end(bus, end);
        queue
    }

    /// The doorbell rang, with the write pointer.
    pub(super) fn doorbell(&mut self, bus: &mut Bus, value: u64, whole: bool) {
        if whole || matches!(self.kind, Kind::Aql { .. }) {
            self.set_end(bus, value);
        }
    }

    fn set_end(&mut self, bus: &mut Bus, position: u64) {
        if let Kind::Aql { .. } = self.kind {
            // Which packets are there, their headers tell.
            self.due = true;
            return;
        }
        let end = self.kind.dwords(position);
        if !self.ring.extend(end) {
            let (pos, old) = (self.ring.pos, self.ring.end);
            bus.journal.fault(
                &format!("{} write pointer", self.name),
                format_args!("{end} with rptr {pos}, wptr {old} (dwords): ignored"),
            );
        }
    }

    /// Whether a step would do something.
    pub(super) fn has_work(&self) -> bool {
        let ring = match self.kind {
            Kind::Aql { .. } => self.due,
            _ => self.ring.left() > 0,
        };
        ring || self.unreported || self.packet.is_some() || !self.buffers.is_empty()
    }

    /// One packet, in the address space that the process has now.
    pub(super) fn step(&mut self, bus: &mut Bus, space: Space) -> Step {
        bus.requester = match self.kind {
            Kind::Sdma { engine } => Requester::Sdma(engine),
            Kind::Pm4 { .. } | Kind::Aql { .. } => Requester::Cpc,
        };
        if bus.hangs(bus.requester) {
            return Step::Idle;
        }
        self.ring.space = space;
        for buffer in &mut self.buffers {
            buffer.space = space;
        }
        while self.buffers.last().is_some_and(|b| b.left() == 0) {
            self.buffers.pop();
        }
        match self.kind {
            Kind::Aql { id } if self.buffers.is_empty() => self.step_aql(bus, space, id),
            _ => self.step_stream(bus),
        }
    }

    fn step_stream(&mut self, bus: &mut Bus) -> Step {
        let depth = self.buffers.len();
        let stream = *self.buffers.last().unwrap_or(&self.ring);
        if stream.left() == 0 {
            self.report(bus);
            return Step::Idle;
        }
        let outcome = match self.kind {
            Kind::Sdma { engine } => {
                let unit = sdma::packet::Unit {
                    engine,
                    name: &self.name,
                    in_buffer: depth > 0,
                };
                sdma::packet::execute(bus, unit, &stream)
            }
            Kind::Pm4 { id } | Kind::Aql { id } => {
                let unit = packet::Unit {
                    name: &self.name,
                    id,
                    depth,
                    // A process cannot map queues: nothing is ever put here.
                    effects: &mut Vec::new(),
                };
                packet::execute(bus, unit, &stream)
            }
        };
        let outcome = if bus.take_retry() {
            Outcome::Wait
        } else {
            outcome
        };
        let (dwords, call) = match outcome {
            Outcome::Done { dwords } => (dwords, None),
            Outcome::Call { dwords, buffer } => (dwords, Some(buffer)),
            Outcome::Wait => {
                self.report(bus);
                return Step::Blocked;
            }
        };
        let stream = self.buffers.last_mut().unwrap_or(&mut self.ring);
        if !stream.advance(dwords.max(1)) {
            bus.journal.fault(
                &format!("{} packet longer than its buffer", self.name),
                format_args!("{dwords} dwords"),
            );
        }
        self.buffers.extend(call);
        self.unreported = true;
        Step::Worked
    }

    fn step_aql(&mut self, bus: &mut Bus, space: Space, id: u8) -> Step {
        let at = self.base.plus(self.ring.offset());
        if let Some((packet, begun)) = self.packet.take() {
            packet.complete(bus, space, at, id, begun);
            self.ring.pos = self.ring.pos.wrapping_add(aql::DWORDS);
            self.ring.end = self.ring.pos;
            self.unreported = true;
            self.report(bus);
            self.due = true;
            return Step::Worked;
        }
        self.report(bus);
        if !std::mem::take(&mut self.due) {
            return Step::Idle;
        }
        if bus.read_u64(space, self.wptr) <= self.kind.position(self.ring.pos) {
            return Step::Idle;
        }
        let packet = AqlPacket::fetch(bus, space, at);
        match packet.begin(bus, &self.name, space) {
            Begin::NotReady => return Step::Idle,
            Begin::Wait => {
                self.due = true;
                return Step::Blocked;
            }
            Begin::Complete => {}
            Begin::Run(buffer) => self.buffers.push(buffer),
        }
        self.packet = Some((packet, bus.clock.read()));
        Step::Worked
    }

    /// Tells the process how far the ring has been read.
    fn report(&mut self, bus: &mut Bus) {
        if !std::mem::take(&mut self.unreported) {
            return;
        }
        let Some(at) = self.report_to else {
            return;
        };
        let position = self.kind.position(self.ring.pos).to_le_bytes();
        let length = match self.kind {
            Kind::Pm4 { .. } => 4,
            _ => 8,
        };
        bus.write(self.ring.space, at, &position[..length]);
    }

    /// Takes it off the hardware: its pointers go into the descriptor, and what it was in the middle of is handed back.
    /// `space` is the process's, when it has a VMID.
    pub(super) fn save(mut self, bus: &mut Bus, space: Option<Space>) -> Suspended {
        if let Some(space) = space {
            self.ring.space = space;
            self.report(bus);
        }
        let (pos, end) = (
            self.kind.position(self.ring.pos),
            self.kind.position(self.ring.end),
        );
        let (rptr, wptr, length) = match self.kind {
            Kind::Sdma { .. } => (dma::RPTR, dma::WPTR, 8),
            _ => (compute::RPTR, compute::WPTR, 4),
        };
        let at = |i: u64| self.descriptor.plus(i * 4);
        bus.write(Space::Kernel, at(rptr), &pos.to_le_bytes()[..length]);
        bus.write(Space::Kernel, at(wptr), &end.to_le_bytes());
        Suspended {
            position: self.ring.pos,
            buffers: self.buffers,
            packet: self.packet,
        }
    }

    /// Goes on where it was, unless the descriptor has become that of another queue.
    pub(super) fn resume(&mut self, suspended: Suspended) {
        if suspended.position == self.ring.pos {
            self.buffers = suspended.buffers;
            self.packet = suspended.packet;
        }
    }
}

impl Suspended {
    /// Whether there is anything that the descriptor does not tell.
    pub(super) fn matters(&self) -> bool {
        self.packet.is_some() || !self.buffers.is_empty()
    }
}

/// A read pointer of which 32 bits are kept: the position at most `size` before `end` that agrees in them, or itself.
fn widen(rptr: u32, end: u64, size: u64) -> u64 {
    let low = u32::try_from(end & 0xffff_ffff).unwrap_or(0);
    let ahead = u64::from(low.wrapping_sub(rptr));
    match end.checked_sub(ahead) {
        Some(pos) if ahead <= size => pos,
        _ => u64::from(rptr),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_pointer_of_32_bits_is_widened_to_what_lies_before_the_end() {
        assert_eq!(widen(5, 9, 16), 5);
        assert_eq!(widen(0xffff_fffe, 0x3_0000_0002, 16), 0x2_ffff_fffe);
        assert_eq!(widen(5, 0, 16), 5, "an end that makes no sense");
        assert_eq!(widen(5, 4096, 16), 5);
    }
}
