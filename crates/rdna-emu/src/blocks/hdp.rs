// SPDX-License-Identifier: MIT OR Apache-2.0
//! HDP: the host data path, between the VRAM BAR and VRAM. Here the BAR is VRAM itself, so that a
//! flush or an invalidation has nothing to do.
//!
//! Registers: `hdp_5_0_0_offset.h` as plain storage, and the page at which the driver remaps the
//! flush registers for user space (`MMIO_REG_HOLE_OFFSET`).

use super::Block;
use crate::regs::{Wiring, WiringError};

/// See the module.
#[derive(Debug)]
pub(crate) struct Hdp;

impl Hdp {
    /// Claims its registers.
    pub(crate) fn new(w: &mut Wiring<'_>) -> Result<Self, WiringError> {
        // Writes flush; the driver reads one back to order them.
        w.fixed("REMAPPED_HDP_MEM_FLUSH", 0)?;
        w.reg("HDP_READ_CACHE_INVALIDATE")?;
        Ok(Self)
    }
}

impl Block for Hdp {}
