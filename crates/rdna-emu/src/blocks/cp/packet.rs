// SPDX-License-Identifier: MIT OR Apache-2.0
//! Executing PM4 packets: layouts from `nvd.h`, use from `gfx_v10_0.c` and `kfd_pm4_headers_ai.h`.
//!
//! Dword 0 of a type 3 packet: type in bits 31:30, dwords behind it minus one in 29:16, opcode in
//! 15:8. Registers are written only for the kernel; a process that tries is refused.

use super::pm4::{self, Op, Treatment};
use super::queue::DEPTH;
use super::runlist::{self, Effect};
use crate::blocks::atomic::Atomic;
use crate::blocks::gmc::Hub;
use crate::blocks::ih::{Client, Vector};
use crate::blocks::ring::{Outcome, Packet, Stream, compare, write_reg};
use crate::bus::{Bus, Space};
use crate::regs::Reg;
use crate::report::Access;
use crate::trace::TraceKind;
use crate::units::{GpuVa, Vmid};

/// `GFX_10_1__SRCID__CP_EOP_INTERRUPT`.
const EOP_SOURCE: u8 = 181;
/// Where the ranges of the SET_*_REG packets begin (`PACKET3_SET_*_REG_START`).
const CONFIG_START: u32 = 0x2000;
const CONTEXT_START: u32 = 0xa000;
const SH_START: u32 = 0x2c00;
const UCONFIG_START: u32 = 0xc000;
/// Register numbers in packets.
const REG_MASK: u32 = 0x3ffff;
/// Bytes moved at a time.
const CHUNK: u64 = 64 << 10;

/// Which queue executes.
#[derive(Debug)]
pub(super) struct Unit<'a> {
    pub(super) name: &'a str,
    pub(super) id: u8,
    pub(super) depth: usize,
    pub(super) effects: &'a mut Vec<Effect>,
}

/// Executes the packet at the read position of `stream`.
pub(super) fn execute(bus: &mut Bus, mut unit: Unit<'_>, stream: &Stream) -> Outcome {
    let p = stream.head(bus);
    let header = p.dword(0);
    let (kind, count) = (header >> 30, header >> 16 & 0x3fff);
    let opcode = u8::try_from(header >> 8 & 0xff).unwrap_or(0);
    if bus.journal.traces(TraceKind::Packets) {
        let (name, _) = pm4::describe(opcode);
        let length = usize::try_from(count + 2).unwrap_or(0).min(p.words().len());
        bus.trace_packet(unit.name, stream.space, &name, &p.words()[..length]);
    }
    let dwords = match kind {
        2 => return Outcome::Done { dwords: 1 },
        3 if opcode == 0x10 && count == 0x3fff => return Outcome::Done { dwords: 1 },
        3 => u64::from(count) + 2,
        _ => {
            bus.journal.unknown(
                Access::Packet,
                format!("PM4 packet of type {kind}"),
                format_args!("{}: {header:#010x}, one dword skipped", unit.name),
            );
            return Outcome::Done { dwords: 1 };
        }
    };
    let done = Outcome::Done { dwords };
    match pm4::treatment(opcode) {
        Treatment::Accept => done,
        Treatment::Unknown => {
            let (what, _) = pm4::describe(opcode);
            bus.journal.unknown(
                Access::Packet,
                what,
                format_args!("{}: {dwords} dwords skipped", unit.name),
            );
            done
        }
        Treatment::Execute(op) => perform(bus, &mut unit, stream, &p, op, dwords),
    }
}

fn perform(
    bus: &mut Bus,
    unit: &mut Unit<'_>,
    stream: &Stream,
    p: &Packet,
    op: Op,
    dwords: u64,
) -> Outcome {
    let space = stream.space;
    let mut next = dwords;
    match op {
        Op::WriteData => write_data(bus, unit, stream, p, dwords),
        Op::SetConfigReg => set_regs(bus, unit, stream, p, CONFIG_START, dwords),
        Op::SetUconfigReg => set_regs(bus, unit, stream, p, UCONFIG_START, dwords),
        Op::SetContextReg => set_state(bus, stream, p, CONTEXT_START, dwords),
        Op::SetShReg => set_state(bus, stream, p, SH_START, dwords),
        Op::WaitRegMem => {
            if !wait_reg_mem(bus, unit, space, p) {
                return Outcome::Wait;
            }
        }
        Op::CondExec => {
            // 1-2 address, 3 reserved, 4 dwords that are left out when memory holds 0.
            if bus.read_u32(space, GpuVa(p.qword(1) & !3)) == 0 {
                next += u64::from(p.dword(dwords_index(dwords)) & 0x3fff);
            }
        }
        Op::InvalidateTlbs => invalidate_tlbs(bus, p),
        Op::ReleaseMem => release_mem(bus, unit, space, p),
        Op::CopyData => copy_data(bus, unit, space, p),
        Op::DmaData => dma_data(bus, space, p),
        Op::AtomicMem => {
            if !atomic_mem(bus, unit, space, p) {
                return Outcome::Wait;
            }
        }
        Op::IndirectBuffer => {
            if let Some(buffer) = indirect_buffer(bus, unit, space, p) {
                return Outcome::Call { dwords, buffer };
            }
        }
        Op::SetResources
        | Op::RunList
        | Op::MapProcess
        | Op::MapQueues
        | Op::UnmapQueues
        | Op::QueryStatus => return schedule(bus, unit, stream, p, op, dwords),
    }
    Outcome::Done { dwords: next }
}

/// Packets for the hardware scheduler; a process that tries them is refused.
fn schedule(
    bus: &mut Bus,
    unit: &mut Unit<'_>,
    stream: &Stream,
    p: &Packet,
    op: Op,
    dwords: u64,
) -> Outcome {
    let done = Outcome::Done { dwords };
    let space = stream.space;
    if space != Space::Kernel {
        bus.journal.fault(
            &format!("{} {op:?} by a process", unit.name),
            format_args!("refused"),
        );
        return done;
    }
    let effect = match op {
        Op::SetResources => runlist::set_resources(p),
        Op::RunList if unit.depth == 0 => {
            let size = p.dword(3) & 0x000f_ffff;
            bus.journal.log(format_args!("RUN_LIST {size} dwords"));
            unit.effects.push(Effect::RunList);
            let buffer = Stream::buffer(space, GpuVa(p.qword(1) & !3), size);
            return Outcome::Call { dwords, buffer };
        }
        // The last packet of an oversubscribed list names the list itself: it is to be run again and again in turns.
        // Everything in it is mapped already.
        Op::RunList => None,
        Op::MapProcess => Some(runlist::map_process(bus, p)),
        Op::MapQueues => Some(runlist::map_queues(p, unit.depth > 0)),
        Op::UnmapQueues if p.dword(1) & 3 == 3 => {
            // "Preempt, do not unmap": 3-4 address and 5 data of a fence.
            bus.write(space, GpuVa(p.qword(3) & !3), &p.dword(5).to_le_bytes());
            None
        }
        Op::UnmapQueues => Some(runlist::unmap_queues(p)),
        // QUERY_STATUS: 1 context, 2 doorbell, 3-4 address, 5-6 data.
        _ => {
            bus.write(space, GpuVa(p.qword(3) & !7), &p.qword(5).to_le_bytes());
            None
        }
    };
    unit.effects.extend(effect);
    done
}

fn dwords_index(dwords: u64) -> usize {
    usize::try_from(dwords.saturating_sub(1)).unwrap_or(0)
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes
        .chunks_exact(4)
        .map(|raw| u32::from_le_bytes(raw.try_into().unwrap_or_default()))
}

/// 1 control (destination in 11:8, bit 16: do not count up), 2-3 address, then data.
fn write_data(bus: &mut Bus, unit: &Unit<'_>, stream: &Stream, p: &Packet, dwords: u64) {
    let (control, at) = (p.dword(1), p.qword(2));
    let data = stream.bytes(bus, 4, dwords.saturating_sub(4));
    if control >> 8 & 0xf != 0 {
        bus.write(stream.space, GpuVa(at & !3), &data);
        return;
    }
    let first = Reg(p.dword(2) & REG_MASK);
    let step = if control >> 16 & 1 == 1 { 0 } else { 1 };
    for (i, value) in (0..).zip(words(&data)) {
        write_reg(bus, unit.name, stream.space, first.plus(i * step), value);
    }
}

/// 1 register within the range, then values; the driver tests rings with these.
fn set_regs(bus: &mut Bus, unit: &Unit<'_>, stream: &Stream, p: &Packet, start: u32, dwords: u64) {
    let first = Reg(start + (p.dword(1) & 0xffff));
    let data = stream.bytes(bus, 2, dwords.saturating_sub(2));
    for (i, value) in (0..).zip(words(&data)) {
        // Processes may set the user configuration range, which holds no privileged register.
        if start == UCONFIG_START {
            bus.write_reg(first.plus(i), value);
        } else {
            write_reg(bus, unit.name, stream.space, first.plus(i), value);
        }
    }
}

/// As `set_regs`, for state of draws and dispatches: it is kept and means nothing here.
fn set_state(bus: &mut Bus, stream: &Stream, p: &Packet, start: u32, dwords: u64) {
    let first = Reg(start + (p.dword(1) & 0xffff));
    let data = stream.bytes(bus, 2, dwords.saturating_sub(2));
    for (i, value) in (0..).zip(words(&data)) {
        bus.regs.set(first.plus(i), value);
    }
}

/// 1 control (function 2:0, memory 4, operation 7:6), 2-3 address or registers, 4 reference,
/// 5 mask. Operation 1 writes the reference to the first register and waits for the second.
fn wait_reg_mem(bus: &mut Bus, unit: &Unit<'_>, space: Space, p: &Packet) -> bool {
    let control = p.dword(1);
    let (reference, mask) = (p.dword(4), p.dword(5));
    let (memory, operation) = (control >> 4 & 1 == 1, control >> 6 & 3);
    if memory {
        let value = bus.read_u32(space, GpuVa(p.qword(2) & !3));
        return compare(control & 7, value & mask, reference);
    }
    let (first, second) = (Reg(p.dword(2) & REG_MASK), Reg(p.dword(3) & REG_MASK));
    if operation == 1 {
        write_reg(bus, unit.name, space, first, reference);
        let value = bus.read_reg(second);
        return compare(control & 7, value & mask, reference & mask);
    }
    let value = bus.read_reg(first);
    compare(control & 7, value & mask, reference)
}

/// 1 event, 2 data in 31:29 and interrupt in 26:24, 3-4 address, 5-6 data, 7 interrupt context.
fn release_mem(bus: &mut Bus, unit: &Unit<'_>, space: Space, p: &Packet) {
    let (at, data) = (p.qword(3), p.qword(5));
    match p.dword(2) >> 29 {
        1 => bus.write(space, GpuVa(at & !3), &p.dword(5).to_le_bytes()),
        2 => bus.write(space, GpuVa(at & !7), &data.to_le_bytes()),
        3 | 4 => {
            let now = bus.clock.read();
            bus.write(space, GpuVa(at & !7), &now.to_le_bytes())
        }
        _ => true,
    };
    if matches!(p.dword(2) >> 24 & 7, 1 | 2) {
        let mut vector = Vector::kernel(Client::GrbmCp, EOP_SOURCE, unit.id);
        vector.vmid = space.vmid();
        vector.data[0] = p.dword(7);
        bus.interrupt(vector);
    }
}

/// 1 control (source 3:0, destination 11:8, 64 bits 16), 2-3 source, 4-5 destination.
fn copy_data(bus: &mut Bus, unit: &Unit<'_>, space: Space, p: &Packet) {
    let control = p.dword(1);
    let wide = control >> 16 & 1 == 1;
    let (from, to) = (p.qword(2), p.qword(4));
    let value = match control & 0xf {
        0 => {
            let reg = Reg(p.dword(2) & REG_MASK);
            let low = u64::from(bus.read_reg(reg));
            if wide {
                low | u64::from(bus.read_reg(reg.plus(1))) << 32
            } else {
                low
            }
        }
        1 | 2 => bus.read_u64(space, GpuVa(from & !3)),
        5 => from,
        9 | 10 => bus.clock.read(),
        source => {
            bus.journal.unknown(
                Access::Packet,
                format!("COPY_DATA source {source}"),
                format_args!("{}: 0 copied", unit.name),
            );
            0
        }
    };
    let bytes = value.to_le_bytes();
    match control >> 8 & 0xf {
        0 => {
            let reg = Reg(p.dword(4) & REG_MASK);
            for (i, word) in (0..).zip(words(&bytes[..if wide { 8 } else { 4 }])) {
                write_reg(bus, unit.name, space, reg.plus(i), word);
            }
        }
        1 | 2 | 5 => {
            bus.write(space, GpuVa(to & !3), &bytes[..if wide { 8 } else { 4 }]);
        }
        destination => bus.journal.unknown(
            Access::Packet,
            format!("COPY_DATA destination {destination}"),
            format_args!("{}: dropped", unit.name),
        ),
    }
}

/// 1 control (source in 30:29, 2 = the value itself), 2-3 source, 4-5 destination, 6 bytes.
fn dma_data(bus: &mut Bus, space: Space, p: &Packet) {
    let (from, to) = (p.address(2), p.address(4));
    let bytes = u64::from(p.dword(6) & 0x03ff_ffff);
    let immediate = p.dword(1) >> 29 & 3 == 2;
    let mut buffer = p.dword(2).to_le_bytes().repeat(64 << 10 >> 2);
    let mut at = 0;
    while at < bytes {
        let n = CHUNK.min(bytes - at);
        let part = &mut buffer[..usize::try_from(n).unwrap_or(0)];
        if !immediate {
            bus.read(space, from.plus(at), part);
        }
        bus.write(space, to.plus(at), part);
        at += n;
    }
}

/// 1 operation in 6:0 and "until it succeeds" in 11:8, 2-3 address, 4-5 operand, 6-7 compared. `false`: try it again.
fn atomic_mem(bus: &mut Bus, unit: &Unit<'_>, space: Space, p: &Packet) -> bool {
    let atomic = Atomic {
        operation: p.dword(1) & 0x7f,
        operand: p.qword(4),
        compared: p.qword(6),
    };
    let old = atomic.perform(bus, unit.name, space, p.address(2));
    p.dword(1) >> 8 & 0xf != 1 || old.is_none_or(|old| atomic.succeeds(old))
}

/// 1 destination in 3:0, all hubs 4, PASID in 20:5, flush type in 31:29.
fn invalidate_tlbs(bus: &mut Bus, p: &Packet) {
    let control = p.dword(1);
    let pasid = u16::try_from(control >> 5 & 0xffff).unwrap_or(0);
    bus.gmc.invalidate_pasid(&bus.regs, Hub::Gfx, pasid);
    if control >> 4 & 1 == 1 {
        bus.gmc.invalidate_pasid(&bus.regs, Hub::Mm, pasid);
    }
}

/// 1-2 address, 3 dwords in 19:0 and VMID in 27:24.
fn indirect_buffer(bus: &mut Bus, unit: &Unit<'_>, space: Space, p: &Packet) -> Option<Stream> {
    let (at, dwords) = (GpuVa(p.qword(1) & !3), p.dword(3) & 0x000f_ffff);
    let vmid = Vmid(u8::try_from(p.dword(3) >> 24 & 0xf).unwrap_or(0));
    if unit.depth >= DEPTH {
        bus.journal.fault(
            &format!("{} buffers nested too deep", unit.name),
            format_args!("{at} skipped"),
        );
        return None;
    }
    // Inside a process's buffer the VMID field means nothing.
    let inner = match space {
        Space::Kernel => bus.space(vmid),
        Space::Process { .. } => space,
    };
    if space == Space::Kernel {
        bus.submission(unit.name, inner, at, dwords);
    }
    Some(Stream::buffer(inner, at, dwords))
}
