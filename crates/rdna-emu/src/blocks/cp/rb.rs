// SPDX-License-Identifier: MIT OR Apache-2.0
//! The graphics ring of GFX9, which the driver sets up by registers instead of a descriptor and a packet
//! (`gfx_v9_0_cp_gfx_resume`): it starts when its doorbell is enabled.

use super::queue::Setup;
use crate::bus::Bus;
use crate::regs::{Reg, Token, Wiring, WiringError};

/// `CP_RB_DOORBELL_CONTROL`: DOORBELL_OFFSET (in bytes) and DOORBELL_EN.
const DOORBELL_OFFSET: u32 = 0x0fff_fffc;
const DOORBELL_EN: u32 = 1 << 30;

/// The registers CP_RB0_*.
#[derive(Debug)]
pub(super) struct RegisterRing {
    base: Reg,
    base_high: Reg,
    control: Reg,
    report: Reg,
    report_high: Reg,
}

impl RegisterRing {
    /// Claims the registers; the doorbell's is heard as `token`.
    pub(super) fn new(w: &mut Wiring<'_>, token: Token) -> Result<Self, WiringError> {
        w.on_write("CP_RB_DOORBELL_CONTROL", token)?;
        Ok(Self {
            base: w.reg("CP_RB0_BASE")?,
            base_high: w.reg("CP_RB0_BASE_HI")?,
            control: w.reg("CP_RB0_CNTL")?,
            report: w.reg("CP_RB0_RPTR_ADDR")?,
            report_high: w.reg("CP_RB0_RPTR_ADDR_HI")?,
        })
    }

    /// The ring that a write of `value` to the doorbell's register starts, with the doorbell's dword index.
    pub(super) fn started(&self, bus: &Bus, value: u32) -> Option<(u32, Setup)> {
        let setup = Setup {
            base: bus.regs.pair(self.base, self.base_high),
            // RB_BUFSZ: log2 of the dwords, minus 1, as in CP_HQD_PQ_CONTROL.
            control: bus.regs.get(self.control),
            rptr: 0,
            report_to: bus.regs.pair(self.report, self.report_high),
        };
        (value & DOORBELL_EN != 0).then_some(((value & DOORBELL_OFFSET) >> 2, setup))
    }
}
