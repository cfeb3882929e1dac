// SPDX-License-Identifier: MIT OR Apache-2.0
//! A hardware queue: a ring, where its read pointer is reported, and the buffers it has called.
//!
//! Queues come from registers (the KIQ: CP_HQD_*) or from a memory queue descriptor that a
//! MAP_QUEUES packet names. The descriptor's dwords: `struct v10_compute_mqd` and
//! `struct v10_gfx_mqd` of `v10_structs.h`, which agree in what is used here.

use crate::blocks::ring::Stream;
use crate::bus::{Bus, Requester, Space};
use crate::units::GpuVa;

/// Dword offsets in the descriptor.
mod mqd {
    pub(super) const ACTIVE: u64 = 130;
    pub(super) const BASE: u64 = 136;
    pub(super) const RPTR: u64 = 138;
    pub(super) const RPTR_REPORT: u64 = 139;
    pub(super) const CONTROL: u64 = 145;
}
/// `CP_HQD_PQ_CONTROL.QUEUE_SIZE`: log2 of the dwords, minus 1.
const SIZE_MASK: u32 = 0x3f;
/// Buffers may call buffers this deep.
pub(super) const DEPTH: usize = 4;

/// See the module.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) name: String,
    /// Pipe in bits 1:0, ME in 3:2, queue in 6:4, as interrupt vectors carry it.
    pub(super) id: u8,
    ring: Stream,
    buffers: Vec<Stream>,
    report_to: Option<GpuVa>,
    /// Where its descriptor is, if it has one.
    pub(super) descriptor: Option<GpuVa>,
    unreported: bool,
}

/// How a queue is set up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    pub(super) base: u64,
    pub(super) control: u32,
    pub(super) rptr: u32,
    pub(super) report_to: u64,
}

impl Setup {
    /// From the descriptor at `at`.
    pub(super) fn from_descriptor(bus: &mut Bus, at: GpuVa) -> Self {
        let dword = |i: u64| at.plus(i * 4);
        Self {
            base: bus.read_u64(Space::Kernel, dword(mqd::BASE)),
            control: bus.read_u32(Space::Kernel, dword(mqd::CONTROL)),
            rptr: bus.read_u32(Space::Kernel, dword(mqd::RPTR)),
            report_to: bus.read_u64(Space::Kernel, dword(mqd::RPTR_REPORT)),
        }
    }
}

impl Queue {
    pub(super) fn new(name: String, id: u8, space: Space, setup: Setup) -> Self {
        let dwords = 1_u64 << ((setup.control & SIZE_MASK) + 1).min(32);
        let base = GpuVa(setup.base << 8);
        let pos = u64::from(setup.rptr);
        Self {
            name,
            id,
            ring: Stream::ring(space, base, dwords, pos),
            buffers: Vec::new(),
            report_to: (setup.report_to != 0).then_some(GpuVa(setup.report_to)),
            descriptor: None,
            unreported: false,
        }
    }

    /// Who executes it: ME 0 does graphics.
    pub(super) fn requester(&self) -> Requester {
        if self.id >> 2 & 3 == 0 {
            Requester::Cpg
        } else {
            Requester::Cpc
        }
    }

    /// The driver has it reset: it says in its descriptor that it is off (`cp_gfx_hqd_active`).
    pub(super) fn reset(self, bus: &mut Bus) {
        if let Some(at) = self.descriptor {
            bus.write(Space::Kernel, at.plus(mqd::ACTIVE * 4), &[0; 4]);
        }
    }

    /// Moves the write pointer.
    pub(super) fn set_end(&mut self, bus: &mut Bus, end: u64) {
        if !self.ring.extend(end) {
            let (pos, old) = (self.ring.pos, self.ring.end);
            bus.journal.fault(
                &format!("{} write pointer", self.name),
                format_args!("{end} with rptr {pos}, wptr {old} (dwords): ignored"),
            );
        }
    }

    /// How deep in buffers it is.
    pub(super) fn depth(&self) -> usize {
        self.buffers.len()
    }

    /// Where to read the next packet; `None` when there is none.
    pub(super) fn current(&mut self) -> Option<&mut Stream> {
        while self.buffers.last().is_some_and(|b| b.left() == 0) {
            self.buffers.pop();
        }
        let stream = self.buffers.last_mut().unwrap_or(&mut self.ring);
        (stream.left() > 0).then_some(stream)
    }

    /// The packet is done: goes on behind it, in `call` first.
    pub(super) fn advance(&mut self, bus: &mut Bus, dwords: u64, call: Option<Stream>) {
        self.unreported = true;
        let stream = self.buffers.last_mut().unwrap_or(&mut self.ring);
        if !stream.advance(dwords.max(1)) {
            bus.journal.fault(
                &format!("{} packet longer than its buffer", self.name),
                format_args!("{dwords} dwords"),
            );
        }
        self.buffers.extend(call);
    }

    /// Tells the driver how far the ring has been read.
    pub(super) fn report(&mut self, bus: &mut Bus) {
        if !std::mem::take(&mut self.unreported) {
            return;
        }
        if let Some(at) = self.report_to {
            let rptr = u32::try_from(self.ring.pos & 0xffff_ffff).unwrap_or(0);
            bus.write(self.ring.space, at, &rptr.to_le_bytes());
        }
    }
}
