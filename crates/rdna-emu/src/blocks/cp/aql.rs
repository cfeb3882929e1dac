// SPDX-License-Identifier: MIT OR Apache-2.0
//! Packets of user queues in the architected queuing language (AQL): 64 bytes each, type in the header's low byte.
//!
//! Layouts: the HSA Platform System Architecture specification, 2.9 (packets); `hsa_ven_amd_aqlprofile.h` and
//! `hsa_ext_amd.h` of ROCr for AMD's own formats; `amd_hsa_signal.h` for signals. Kernels are not executed: a dispatch
//! is counted, and its signal completed.

use crate::blocks::ih::{Client, Vector};
use crate::blocks::ring::Stream;
use crate::bus::{Bus, Space};
use crate::report::Access;
use crate::trace::TraceKind;
use crate::units::{GpuVa, signed};

/// Dwords of a packet.
pub(super) const DWORDS: u64 = 16;
/// `HSA_PACKET_TYPE_*`.
mod kind {
    pub(super) const VENDOR: u8 = 0;
    pub(super) const INVALID: u8 = 1;
    pub(super) const DISPATCH: u8 = 2;
    pub(super) const BARRIER_AND: u8 = 3;
    pub(super) const BARRIER_OR: u8 = 5;

    /// For the log.
    pub(super) fn name(number: u8) -> &'static str {
        match number {
            VENDOR => "VENDOR_SPECIFIC",
            INVALID => "INVALID",
            DISPATCH => "KERNEL_DISPATCH",
            BARRIER_AND => "BARRIER_AND",
            BARRIER_OR => "BARRIER_OR",
            _ => "unknown",
        }
    }
}
/// AMD's formats of vendor packets.
mod format {
    /// A PM4 indirect buffer.
    pub(super) const PM4_IB: u8 = 1;
    /// `HSA_AMD_PACKET_TYPE_BARRIER_VALUE`
    pub(super) const BARRIER_VALUE: u8 = 2;
}
/// `GFX_10_1__SRCID__CP_EOP_INTERRUPT`.
const EOP_SOURCE: u8 = 181;
/// Signals that a barrier may wait for.
const DEPENDENCIES: usize = 5;

/// `amd_signal_t`: where its members are.
mod signal {
    pub(super) const VALUE: u64 = 8;
    pub(super) const MAILBOX: u64 = 16;
    pub(super) const EVENT: u64 = 24;
    pub(super) const START: u64 = 32;
    pub(super) const END: u64 = 40;
}

/// A packet as fetched.
#[derive(Clone, Copy, Debug)]
pub(super) struct AqlPacket {
    bytes: [u8; 64],
}

/// How a packet begins.
#[derive(Debug)]
pub(super) enum Begin {
    /// It has not been written yet.
    NotReady,
    /// It waits for signals.
    Wait,
    /// Nothing is left but to complete it.
    Complete,
    /// To be completed when this buffer has been executed.
    Run(Stream),
}

impl AqlPacket {
    /// The packet at `at`; one that cannot be read is not ready.
    pub(super) fn fetch(bus: &mut Bus, space: Space, at: GpuVa) -> Self {
        let mut bytes = [0; 64];
        if !bus.read(space, at, &mut bytes) {
            bytes[0] = kind::INVALID;
        }
        Self { bytes }
    }

    fn u64(&self, at: usize) -> u64 {
        let bytes = self.bytes.get(at..at + 8).and_then(|b| b.try_into().ok());
        u64::from_le_bytes(bytes.unwrap_or_default())
    }

    fn u32(&self, at: usize) -> u32 {
        let bytes = self.bytes.get(at..at + 4).and_then(|b| b.try_into().ok());
        u32::from_le_bytes(bytes.unwrap_or_default())
    }

    /// Executes it as far as the packet processor does by itself.
    pub(super) fn begin(&self, bus: &mut Bus, queue: &str, space: Space) -> Begin {
        if bus.journal.traces(TraceKind::Packets) {
            let words: Vec<u32> = (0..16).map(|i| self.u32(i * 4)).collect();
            bus.trace_packet(queue, space, kind::name(self.bytes[0]), &words);
        }
        match self.bytes[0] {
            kind::INVALID => Begin::NotReady,
            kind::DISPATCH => {
                bus.journal.dispatch(format_args!(
                    "{queue}: kernel object {:#x}, grid {} x {} x {}",
                    self.u64(32),
                    self.u32(12),
                    self.u32(16),
                    self.u32(20)
                ));
                Begin::Complete
            }
            kind::BARRIER_AND => wait_unless(self.dependencies(bus, space).all(|value| value == 0)),
            kind::BARRIER_OR => {
                let mut values = self.dependencies(bus, space).peekable();
                wait_unless(values.peek().is_none() || values.any(|value| value == 0))
            }
            kind::VENDOR if self.bytes[2] == format::PM4_IB => {
                let at = self.u64(8) & 0xffff_ffff_fffc;
                Begin::Run(Stream::buffer(space, GpuVa(at), self.u32(16) & 0x000f_ffff))
            }
            kind::VENDOR if self.bytes[2] == format::BARRIER_VALUE => {
                wait_unless(self.value_is_right(bus, space))
            }
            kind => {
                let what = match kind {
                    kind::VENDOR => format!("AQL vendor packet, format {}", self.bytes[2]),
                    _ => format!("AQL packet of type {kind}"),
                };
                bus.journal.unknown(
                    Access::Packet,
                    what,
                    format_args!("{queue}: completed without being executed"),
                );
                Begin::Complete
            }
        }
    }

    /// The values of the signals that a barrier names.
    fn dependencies<'a>(
        &'a self,
        bus: &'a mut Bus,
        space: Space,
    ) -> impl Iterator<Item = u64> + 'a {
        (0..DEPENDENCIES)
            .map(|i| self.u64(8 + 8 * i))
            .filter(|handle| *handle != 0)
            .map(move |handle| bus.read_u64(space, GpuVa(handle).plus(signal::VALUE)))
    }

    /// Whether a barrier's signal, masked, stands to its value as asked (`hsa_signal_condition_t`, 32): signed.
    fn value_is_right(&self, bus: &mut Bus, space: Space) -> bool {
        let handle = self.u64(8);
        if handle == 0 {
            return true;
        }
        let found = bus.read_u64(space, GpuVa(handle).plus(signal::VALUE)) & self.u64(24);
        let (found, wanted) = (signed(found), signed(self.u64(16)));
        match self.u32(32) {
            0 => found == wanted,
            1 => found != wanted,
            2 => found < wanted,
            _ => found >= wanted,
        }
    }

    /// Completes it: times, value, mailbox, interrupt, in this order. The packet's place is free then.
    pub(super) fn complete(&self, bus: &mut Bus, space: Space, at: GpuVa, id: u8, begun: u64) {
        let invalid = u16::from(kind::INVALID).to_le_bytes();
        bus.write(space, at, &invalid);
        let handle = self.u64(56);
        if handle == 0 {
            return;
        }
        let member = |offset| GpuVa(handle & !7).plus(offset);
        bus.write(space, member(signal::START), &begun.to_le_bytes());
        let end = bus.clock.read();
        bus.write(space, member(signal::END), &end.to_le_bytes());
        bus.update(space, member(signal::VALUE), true, |v| v.wrapping_sub(1));
        let mailbox = bus.read_u64(space, member(signal::MAILBOX));
        if mailbox == 0 {
            return;
        }
        let event = bus.read_u32(space, member(signal::EVENT));
        bus.write(space, GpuVa(mailbox & !7), &u64::from(event).to_le_bytes());
        let mut vector = Vector::kernel(Client::GrbmCp, EOP_SOURCE, id);
        vector.vmid = space.vmid();
        vector.data[0] = event;
        bus.interrupt(vector);
    }
}

fn wait_unless(done: bool) -> Begin {
    if done { Begin::Complete } else { Begin::Wait }
}
