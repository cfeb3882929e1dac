// SPDX-License-Identifier: MIT OR Apache-2.0
//! SMUIO: the counter that the driver reads the GPU's time from, for KFD's clients above all.
//!
//! Registers: `smuio_11_0_0_offset.h`; `gfx_v10_0_get_gpu_clock_counter`, which reads the upper half before and after
//! the lower one. It counts the same ticks as the engines' time stamps.

use super::{Answer, Block};
use crate::bus::Bus;
use crate::regs::{Token, Wiring, WiringError};

const UPPER: Token = 0;
const LOWER: Token = 1;

/// See the module.
#[derive(Debug)]
pub(crate) struct Smuio;

impl Smuio {
    /// Claims its registers, on chips that have them.
    pub(crate) fn new(w: &mut Wiring<'_>) -> Result<Self, WiringError> {
        for (name, token) in [
            ("GOLDEN_TSC_COUNT_UPPER", UPPER),
            ("GOLDEN_TSC_COUNT_LOWER", LOWER),
        ] {
            if w.reg(name).is_ok() {
                w.on_access(name, token)?;
            }
        }
        Ok(Self)
    }
}

impl Block for Smuio {
    fn read(&mut self, bus: &mut Bus, token: Token) -> Answer {
        let bytes = bus.clock.read().to_le_bytes();
        let [a, b, c, d, e, f, g, h] = bytes;
        Answer::Value(u32::from_le_bytes(if token == UPPER {
            [e, f, g, h]
        } else {
            [a, b, c, d]
        }))
    }
}
