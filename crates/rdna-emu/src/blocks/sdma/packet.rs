// SPDX-License-Identifier: MIT OR Apache-2.0
//! SDMA packets: layouts from `navi10_sdma_pkt_open.h`, use from `sdma_v5_0.c`.
//!
//! Dword 0: opcode in bits 7:0, sub-opcode in 15:8, the rest depends. A packet that is not known
//! is counted, and one dword is skipped.

use crate::blocks::atomic::Atomic;
use crate::blocks::gmc::Hub;
use crate::blocks::ih::{Client, Vector};
use crate::blocks::ring::{Outcome, Packet, Stream, compare, write_reg};
use crate::bus::{Bus, Space};
use crate::regs::Reg;
use crate::report::Access;
use crate::trace::{TraceKind, sdma_packet};
use crate::units::{GpuVa, Vmid};

/// `SDMA_OP_*`.
mod op {
    pub(super) const NOP: u32 = 0;
    pub(super) const COPY: u32 = 1;
    pub(super) const WRITE: u32 = 2;
    pub(super) const INDIRECT: u32 = 4;
    pub(super) const FENCE: u32 = 5;
    pub(super) const TRAP: u32 = 6;
    pub(super) const POLL_REGMEM: u32 = 8;
    pub(super) const COND_EXE: u32 = 9;
    pub(super) const ATOMIC: u32 = 10;
    pub(super) const CONST_FILL: u32 = 11;
    pub(super) const PTEPDE: u32 = 12;
    pub(super) const TIMESTAMP: u32 = 13;
    pub(super) const SRBM_WRITE: u32 = 14;
    pub(super) const GPUVM_INV: u32 = 16;
    pub(super) const GCR_REQ: u32 = 17;
}
/// `SDMA_SUBOP_COPY_LINEAR_SUB_WIND`.
const SUB_WINDOW: u32 = 4;
/// `SDMA_SUBOP_POLL_*` that stand alone.
const POLL_MEM: u32 = 0;
const VM_INVALIDATION: u32 = 4;
/// `SDMA0__SRCID__SDMA_TRAP`.
const TRAP_SOURCE: u8 = 224;
/// Bytes moved at a time by copies and fills.
const CHUNK: u64 = 64 << 10;
/// The largest count that a packet of this engine version can carry.
const COUNT: u32 = 0x3fff_ffff;

/// Bytes and rows that one sub-window copy may move; a guest that asks for more is refused.
const WINDOW_BYTES: u64 = 4 << 30;
const WINDOW_ROWS: u64 = 1 << 22;

/// Which engine executes, and where.
#[derive(Clone, Copy, Debug)]
pub(in crate::blocks) struct Unit<'a> {
    pub(in crate::blocks) engine: u8,
    pub(in crate::blocks) name: &'a str,
    /// In an indirect buffer already: it may not call another one.
    pub(in crate::blocks) in_buffer: bool,
}

fn done(dwords: u64) -> Outcome {
    Outcome::Done { dwords }
}

/// Executes the packet at the read position of `stream`.
pub(in crate::blocks) fn execute(bus: &mut Bus, unit: Unit<'_>, stream: &Stream) -> Outcome {
    let p = stream.head(bus);
    let space = stream.space;
    let header = p.dword(0);
    let sub = header >> 8 & 0xff;
    if bus.journal.traces(TraceKind::Packets) {
        bus.trace_packet(unit.name, space, sdma_packet(header), p.words());
    }
    match header & 0xff {
        op::NOP => done(1 + u64::from(header >> 16 & 0x3fff)),
        op::COPY if sub == 0 => copy(bus, space, &p),
        op::COPY if sub == SUB_WINDOW => copy_window(bus, unit, space, &p),
        op::WRITE if sub == 0 => write(bus, space, &p, stream),
        op::INDIRECT if !unit.in_buffer => indirect(bus, unit, space, &p),
        op::FENCE => {
            bus.write(space, GpuVa(p.qword(1) & !3), &p.dword(3).to_le_bytes());
            done(4)
        }
        op::TRAP => {
            let mut vector = Vector::kernel(Client::Sdma(unit.engine), TRAP_SOURCE, 0);
            vector.vmid = space.vmid();
            vector.data[0] = p.dword(1) & 0x0fff_ffff;
            bus.interrupt(vector);
            done(2)
        }
        op::POLL_REGMEM if sub == POLL_MEM => poll(bus, unit, space, &p),
        op::POLL_REGMEM if sub == VM_INVALIDATION => vm_invalidation(bus, unit, space, &p),
        op::COND_EXE => {
            let matches = bus.read_u32(space, GpuVa(p.qword(1) & !3)) == p.dword(3);
            let skipped = if matches { 0 } else { p.dword(4) & 0x3fff };
            done(5 + u64::from(skipped))
        }
        op::ATOMIC => atomic(bus, unit, space, &p),
        op::CONST_FILL => fill(bus, space, &p),
        op::PTEPDE if sub == 0 => ptepde(bus, space, &p),
        op::TIMESTAMP => {
            let now = bus.clock.read();
            bus.write(space, GpuVa(p.qword(1) & !7), &now.to_le_bytes());
            done(3)
        }
        op::SRBM_WRITE => srbm_write(bus, unit, space, &p),
        op::GPUVM_INV => {
            // 1: as VM_INVALIDATE_ENGx_REQ.
            let hub = bus.hub();
            bus.gmc.request(&mut bus.regs, hub, p.dword(1));
            done(4)
        }
        op::GCR_REQ => done(5),
        opcode => {
            let what = format!("SDMA packet op {opcode} sub {sub}");
            bus.journal.unknown(
                Access::Packet,
                what,
                format_args!("{} {header:#010x}: one dword skipped", unit.name),
            );
            done(1)
        }
    }
}

/// Linear copy: 1 count − 1, 2 swap, 3-4 source, 5-6 destination.
fn copy(bus: &mut Bus, space: Space, p: &Packet) -> Outcome {
    let bytes = u64::from(p.dword(1) & COUNT) + 1;
    let (from, to) = (p.address(3), p.address(5));
    let mut buffer = Vec::new();
    let mut at = 0;
    while at < bytes {
        let n = CHUNK.min(bytes - at);
        buffer.resize(usize::try_from(n).unwrap_or(0), 0);
        bus.read(space, from.plus(at), &mut buffer);
        bus.write(space, to.plus(at), &buffer);
        at += n;
    }
    done(7)
}

/// One side of a sub-window copy.
struct Window {
    first: GpuVa,
    pitch: u64,
    slice: u64,
}

impl Window {
    /// From five dwords at `i`: address; x in 13:0 and y in 29:16; z in 12:0 and pitch − 1 in 31:13; slice − 1 in 27:0.
    /// All but the address count in elements of `1 << shift` bytes.
    fn new(p: &Packet, i: usize, shift: u32) -> Self {
        let (xy, z_pitch) = (p.dword(i + 2), p.dword(i + 3));
        let pitch = (u64::from(z_pitch >> 13) + 1) << shift;
        let slice = (u64::from(p.dword(i + 4) & 0x0fff_ffff) + 1) << shift;
        let (x, y, z) = (xy & 0x3fff, xy >> 16 & 0x3fff, z_pitch & 0x1fff);
        let offset = (u64::from(x) << shift) + u64::from(y) * pitch + u64::from(z) * slice;
        Self {
            first: p.address(i).plus(offset),
            pitch,
            slice,
        }
    }
}

/// Linear sub-window copy: element size's logarithm in bits 31:29 of dword 0, 1-5 source, 6-10 destination,
/// 11 columns − 1 and rows − 1, 12 slices − 1.
fn copy_window(bus: &mut Bus, unit: Unit<'_>, space: Space, p: &Packet) -> Outcome {
    let shift = p.dword(0) >> 29;
    let (from, to) = (Window::new(p, 1, shift), Window::new(p, 6, shift));
    let size = p.dword(11);
    let width = (u64::from(size & 0x3fff) + 1) << shift;
    let rows = u64::from(size >> 16 & 0x3fff) + 1;
    let slices = u64::from(p.dword(12) & 0x1fff) + 1;
    let bytes = width * rows * slices;
    if bytes > WINDOW_BYTES || rows * slices > WINDOW_ROWS {
        bus.journal.fault(
            &format!("{} sub-window copy too large", unit.name),
            format_args!("{bytes} bytes in {rows} x {slices} rows: refused"),
        );
        return done(13);
    }
    let mut buffer = vec![0; usize::try_from(width).unwrap_or(0)];
    for z in 0..slices {
        for y in 0..rows {
            bus.read(
                space,
                from.first.plus(z * from.slice + y * from.pitch),
                &mut buffer,
            );
            bus.write(space, to.first.plus(z * to.slice + y * to.pitch), &buffer);
        }
    }
    done(13)
}

/// Linear write: 1-2 destination, 3 dwords − 1, then data.
fn write(bus: &mut Bus, space: Space, p: &Packet, stream: &Stream) -> Outcome {
    let dwords = u64::from(p.dword(3) & 0x000f_ffff) + 1;
    let data = stream.bytes(bus, 4, dwords);
    bus.write(space, p.address(1), &data);
    done(4 + dwords)
}

/// Indirect buffer: VMID in bits 19:16 of dword 0, which means nothing in a process's own queue; 1-2 address, 3 dwords,
/// 4-5 save area.
fn indirect(bus: &mut Bus, unit: Unit<'_>, space: Space, p: &Packet) -> Outcome {
    let vmid = Vmid(u8::try_from(p.dword(0) >> 16 & 0xf).unwrap_or(0));
    let space = match space {
        Space::Kernel => bus.space(vmid),
        Space::Process { .. } => space,
    };
    let address = GpuVa(p.qword(1) & !0x1f);
    let dwords = p.dword(3) & 0x000f_ffff;
    if space != Space::Kernel {
        bus.submission(unit.name, space, address, dwords);
    }
    let buffer = Stream::buffer(space, address, dwords);
    Outcome::Call { dwords: 6, buffer }
}

/// Poll: FUNC in bits 30:28, MEM_POLL in bit 31, HDP_FLUSH in bit 26; 1-2 address (or registers
/// times 4), 3 reference, 4 mask.
fn poll(bus: &mut Bus, unit: Unit<'_>, space: Space, p: &Packet) -> Outcome {
    let header = p.dword(0);
    let value = if header >> 31 == 1 {
        bus.read_u32(space, GpuVa(p.qword(1) & !3))
    } else {
        if header >> 26 & 1 == 1 {
            let reg = Reg(p.dword(2) >> 2 & 0x3ffff);
            write_reg(bus, unit.name, space, reg, p.dword(3));
        }
        bus.read_reg(Reg(p.dword(1) >> 2 & 0x3ffff))
    };
    if compare(header >> 28 & 7, value & p.dword(4), p.dword(3)) {
        done(6)
    } else {
        Outcome::Wait
    }
}

/// Invalidation (SDMA 5.2): the graphics hub's engine in bits 20:16 of dword 0, the other hub's in
/// 28:24, 31 for none; 1 what the engine's request register gets; 2-3 range, acknowledge mask.
fn vm_invalidation(bus: &mut Bus, unit: Unit<'_>, space: Space, p: &Packet) -> Outcome {
    for (hub, shift) in [(Hub::Gfx, 16), (Hub::Mm, 24)] {
        let (prefix, engine) = (hub.prefix(), p.dword(0) >> shift & 0x1f);
        let request = format!("{prefix}VM_INVALIDATE_ENG{engine}_REQ");
        if let Some(reg) = bus.regs.find(&request) {
            write_reg(bus, unit.name, space, reg, p.dword(1));
        }
    }
    done(4)
}

/// Atomics: operation in bits 31:25 of dword 0, "until it succeeds" in bit 16; 1-2 address, 3-4 operand, 5-6 compared.
fn atomic(bus: &mut Bus, unit: Unit<'_>, space: Space, p: &Packet) -> Outcome {
    let header = p.dword(0);
    let atomic = Atomic {
        operation: header >> 25,
        operand: p.qword(3),
        compared: p.qword(5),
    };
    let old = atomic.perform(bus, unit.name, space, p.address(1));
    if header >> 16 & 1 == 1 && old.is_some_and(|old| !atomic.succeeds(old)) {
        return Outcome::Wait;
    }
    done(8)
}

/// Constant fill: 1-2 destination, 3 value, 4 bytes − 1.
fn fill(bus: &mut Bus, space: Space, p: &Packet) -> Outcome {
    let (to, bytes) = (p.address(1), u64::from(p.dword(4) & COUNT) + 1);
    let pattern = p.dword(3).to_le_bytes();
    let chunk: Vec<u8> = pattern.repeat(usize::try_from(CHUNK.min(bytes + 3) / 4).unwrap_or(0));
    let mut at = 0;
    while at < bytes {
        let n = (chunk.len() as u64).min(bytes - at);
        bus.write(
            space,
            to.plus(at),
            &chunk[..usize::try_from(n).unwrap_or(0)],
        );
        at += n.max(1);
    }
    done(5)
}

/// Page-table entries: 1-2 destination, 3-4 flags, 5-6 first address, 7-8 step, 9 entries − 1.
fn ptepde(bus: &mut Bus, space: Space, p: &Packet) -> Outcome {
    let (to, flags, first, step) = (p.address(1), p.qword(3), p.qword(5), p.qword(7));
    let count = u64::from(p.dword(9) & 0x0007_ffff) + 1;
    let mut bytes = Vec::with_capacity(usize::try_from(count * 8).unwrap_or(0));
    for i in 0..count {
        let entry = first.wrapping_add(step.wrapping_mul(i)) | flags;
        bytes.extend_from_slice(&entry.to_le_bytes());
    }
    bus.write(space, to, &bytes);
    done(10)
}

/// Register write: 1 register, 2 value. Not for processes.
fn srbm_write(bus: &mut Bus, unit: Unit<'_>, space: Space, p: &Packet) -> Outcome {
    let (reg, value) = (Reg(p.dword(1) & 0x3ffff), p.dword(2));
    write_reg(bus, unit.name, space, reg, value);
    done(3)
}
