// SPDX-License-Identifier: MIT OR Apache-2.0
//! SDMA: the copy engines. A ring in memory, moved on by a doorbell; indirect buffers; packets.
//!
//! Registers: `SDMAn_GFX_*` in `gc_10_1_0_offset.h`; how the driver sets a ring up:
//! `sdma_v5_0_gfx_resume_instance`. Packets: `packet.rs`. One engine is one block; a step executes
//! one packet. User queues of processes are `cp::user`'s: they execute the same packets.

pub(in crate::blocks) mod packet;

use super::ring::{Outcome, Stream};
use super::{Block, Doorbell, Step};
use crate::bus::{Bus, Requester, Space};
use crate::regs::{Reg, Token, Wiring, WiringError};
use crate::units::{GpuVa, Vmid};

/// `SDMA0_GFX_RB_CNTL`.
mod cntl {
    pub(super) const RB_ENABLE: u32 = 1 << 0;
    pub(super) const RB_SIZE_SHIFT: u32 = 1;
    pub(super) const RB_SIZE_MASK: u32 = 0x1f;
    pub(super) const RPTR_WRITEBACK_ENABLE: u32 = 1 << 12;
    pub(super) const RB_VMID_SHIFT: u32 = 24;
    pub(super) const RB_VMID_MASK: u32 = 0xf;
}
/// `SDMA0_GFX_DOORBELL.ENABLE`; `SDMA0_GFX_DOORBELL_OFFSET` counts in bytes.
const DOORBELL_ENABLE: u32 = 1 << 28;
const DOORBELL_OFFSET: u32 = 0x0fff_fffc;
/// `SDMA0_F32_CNTL.HALT`.
const HALT: u32 = 1 << 0;
/// `SDMA0_FREEZE`: FREEZE, FROZEN.
const FREEZE_REQUEST: u32 = 1 << 4;
const FROZEN: u32 = 1 << 5;
/// `SDMA0_STATUS_REG`: IDLE, RB_EMPTY, RB_CMD_IDLE.
const STATUS_IDLE: u32 = 1 << 0 | 1 << 2 | 1 << 4;

const CNTL: Token = 0;
const RPTR: Token = 1;
const WPTR: Token = 2;
const FREEZE: Token = 3;

/// Where an engine is: in its ring, and perhaps in an indirect buffer that the ring called.
#[derive(Debug)]
struct Queue {
    ring: Stream,
    buffer: Option<Stream>,
}

#[derive(Debug)]
struct Registers {
    f32_cntl: Reg,
    freeze: Reg,
    cntl: Reg,
    base: Reg,
    base_high: Reg,
    rptr: Reg,
    rptr_high: Reg,
    wptr: Reg,
    wptr_high: Reg,
    rptr_addr_low: Reg,
    rptr_addr_high: Reg,
    doorbell: Reg,
    doorbell_offset: Reg,
}

/// One engine.
#[derive(Debug)]
pub(crate) struct Sdma {
    engine: u8,
    name: String,
    regs: Registers,
    queue: Option<Queue>,
    /// The read pointer moved since it was last reported.
    unreported: bool,
}

impl Sdma {
    /// Claims the registers of engine `engine`.
    pub(crate) fn new(w: &mut Wiring<'_>, engine: u8) -> Result<Self, WiringError> {
        let name = |what: &str| format!("SDMA{engine}_{what}");
        w.fixed(&name("STATUS_REG"), STATUS_IDLE)?;
        let regs = Registers {
            freeze: w.on_write(&name("FREEZE"), FREEZE)?,
            f32_cntl: w.on_write(&name("F32_CNTL"), CNTL)?,
            cntl: w.on_write(&name("GFX_RB_CNTL"), CNTL)?,
            base: w.reg(&name("GFX_RB_BASE"))?,
            base_high: w.reg(&name("GFX_RB_BASE_HI"))?,
            rptr: w.on_write(&name("GFX_RB_RPTR"), RPTR)?,
            rptr_high: w.on_write(&name("GFX_RB_RPTR_HI"), RPTR)?,
            wptr: w.reg(&name("GFX_RB_WPTR"))?,
            wptr_high: w.on_write(&name("GFX_RB_WPTR_HI"), WPTR)?,
            rptr_addr_low: w.reg(&name("GFX_RB_RPTR_ADDR_LO"))?,
            rptr_addr_high: w.reg(&name("GFX_RB_RPTR_ADDR_HI"))?,
            doorbell: w.reg(&name("GFX_DOORBELL"))?,
            doorbell_offset: w.reg(&name("GFX_DOORBELL_OFFSET"))?,
        };
        Ok(Self {
            engine,
            name: format!("sdma{engine}"),
            regs,
            queue: None,
            unreported: false,
        })
    }

    /// Starts or stops the ring as RB_CNTL and F32_CNTL say now.
    fn configure(&mut self, bus: &mut Bus) {
        let control = bus.regs.get(self.regs.cntl);
        let halted = bus.regs.get(self.regs.f32_cntl) & HALT != 0;
        if control & cntl::RB_ENABLE == 0 || halted {
            if self.queue.take().is_some() {
                bus.journal.log(format_args!("{} off", self.name));
            }
            return;
        }
        if self.queue.is_some() {
            return;
        }
        let dwords = 1 << (control >> cntl::RB_SIZE_SHIFT & cntl::RB_SIZE_MASK);
        let base = GpuVa(bus.regs.pair(self.regs.base, self.regs.base_high) << 8);
        let vmid = u8::try_from(control >> cntl::RB_VMID_SHIFT & cntl::RB_VMID_MASK).unwrap_or(0);
        let space = bus.gmc.space(&bus.regs, bus.gmc.sdma_hub(), Vmid(vmid));
        let pos = bus.regs.pair(self.regs.rptr, self.regs.rptr_high) / 4;
        bus.journal.log(format_args!(
            "{} on: ring of {dwords} dwords at {base}, rptr {pos}",
            self.name
        ));
        let ring = Stream::ring(space, base, dwords, pos);
        self.queue = Some(Queue { ring, buffer: None });
    }

    fn set_end(&mut self, bus: &mut Bus, bytes: u64) {
        let Some(queue) = &mut self.queue else {
            return;
        };
        if !queue.ring.extend(bytes / 4) {
            let (pos, end) = (queue.ring.pos, queue.ring.end);
            bus.journal.fault(
                &format!("{} write pointer", self.name),
                format_args!(
                    "{} with rptr {pos}, wptr {end} (dwords): ignored",
                    bytes / 4
                ),
            );
        }
    }

    /// Tells the driver how far the ring has been read.
    fn report(&mut self, bus: &mut Bus) {
        let Some(queue) = &self.queue else {
            return;
        };
        self.unreported = false;
        let bytes = queue.ring.pos * 4;
        let low = u32::try_from(bytes & 0xffff_ffff).unwrap_or(0);
        bus.regs.set(self.regs.rptr, low);
        bus.regs
            .set(self.regs.rptr_high, u32::try_from(bytes >> 32).unwrap_or(0));
        if bus.regs.get(self.regs.cntl) & cntl::RPTR_WRITEBACK_ENABLE != 0 {
            let at = bus
                .regs
                .pair(self.regs.rptr_addr_low, self.regs.rptr_addr_high);
            bus.write(Space::Kernel, GpuVa(at & !3), &bytes.to_le_bytes());
        }
    }
}

impl Block for Sdma {
    fn reset(&mut self, _bus: &mut Bus) {
        self.queue = None;
        self.unreported = false;
    }

    fn written(&mut self, bus: &mut Bus, token: Token, value: u32) {
        match token {
            CNTL => self.configure(bus),
            // An engine freezes between two packets, so at once.
            FREEZE if value & FREEZE_REQUEST != 0 => bus.regs.set(self.regs.freeze, value | FROZEN),
            FREEZE => bus.regs.set(self.regs.freeze, value & !FROZEN),
            RPTR => {
                if let Some(queue) = &mut self.queue {
                    let pos = bus.regs.pair(self.regs.rptr, self.regs.rptr_high) / 4;
                    (queue.ring.pos, queue.ring.end) = (pos, pos);
                    queue.buffer = None;
                }
            }
            _ => {
                let bytes = bus.regs.pair(self.regs.wptr, self.regs.wptr_high);
                self.set_end(bus, bytes);
            }
        }
    }

    fn doorbell(&mut self, bus: &mut Bus, bell: Doorbell) -> bool {
        let enabled = bus.regs.get(self.regs.doorbell) & DOORBELL_ENABLE != 0;
        let offset = bus.regs.get(self.regs.doorbell_offset) & DOORBELL_OFFSET;
        if !enabled || offset >> 2 != bell.index {
            return false;
        }
        if bell.whole {
            self.set_end(bus, bell.value);
        }
        true
    }

    fn step(&mut self, bus: &mut Bus) -> Step {
        bus.requester = Requester::Sdma(self.engine);
        if bus.hangs(bus.requester) || bus.regs.get(self.regs.freeze) & FROZEN != 0 {
            return Step::Idle;
        }
        let Some(queue) = &mut self.queue else {
            return Step::Idle;
        };
        if queue.buffer.as_ref().is_some_and(|b| b.left() == 0) {
            queue.buffer = None;
        }
        let unit = packet::Unit {
            engine: self.engine,
            name: &self.name,
            in_buffer: queue.buffer.is_some(),
        };
        let stream = queue.buffer.as_mut().unwrap_or(&mut queue.ring);
        if stream.left() == 0 {
            if self.unreported {
                self.report(bus);
            }
            return Step::Idle;
        }
        let outcome = packet::execute(bus, unit, stream);
        let outcome = if bus.take_retry() {
            Outcome::Wait
        } else {
            outcome
        };
        let (dwords, call) = match outcome {
            Outcome::Done { dwords } => (dwords, None),
            Outcome::Call { dwords, buffer } => (dwords, Some(buffer)),
            Outcome::Wait => {
                if self.unreported {
                    self.report(bus);
                }
                return Step::Blocked;
            }
        };
        if !stream.advance(dwords.max(1)) {
            bus.journal.fault(
                &format!("{} packet longer than its buffer", self.name),
                format_args!("{dwords} dwords"),
            );
        }
        if let Some(buffer) = call {
            queue.buffer = Some(buffer);
        }
        self.unreported = true;
        Step::Worked
    }
}
