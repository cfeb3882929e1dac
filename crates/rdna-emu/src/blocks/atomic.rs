// SPDX-License-Identifier: MIT OR Apache-2.0
//! Atomic operations on memory that packets of SDMA and of the command processor ask for.
//!
//! Numbers: `TC_OP_ATOMIC_*` of `navi10_enum.h`. Bit 5 tells 64 bits from 32, bit 6 that nothing is returned; floating
//! point is not modelled.

use crate::bus::{Bus, Space};
use crate::report::Access;
use crate::units::{GpuVa, signed};

/// An atomic operation with its operands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Atomic {
    /// `TC_OP_ATOMIC_*`.
    pub(crate) operation: u32,
    pub(crate) operand: u64,
    pub(crate) compared: u64,
}

const WIDE: u32 = 0x20;

impl Atomic {
    /// Whether it works on 64 bits.
    fn wide(&self) -> bool {
        self.operation & WIDE != 0
    }

    /// What `old` becomes; `None` for an operation that is not modelled.
    fn new_value(&self, old: u64) -> Option<u64> {
        let wide = self.wide();
        let cut = |v: u64| if wide { v } else { v & 0xffff_ffff };
        // The sign is in bit 63, so that both widths compare alike.
        let signed = |v: u64| signed(if wide { v } else { v << 32 });
        let (operand, compared) = (cut(self.operand), cut(self.compared));
        Some(match self.operation & 0x1f {
            0x07 => operand,
            0x08 if old == compared => operand,
            0x08 => old,
            0x0f => old.wrapping_add(operand),
            0x10 => old.wrapping_sub(operand),
            0x11 if signed(operand) < signed(old) => operand,
            0x12 if operand < old => operand,
            0x13 if signed(operand) > signed(old) => operand,
            0x14 if operand > old => operand,
            0x11..=0x14 => old,
            0x15 => old & operand,
            0x16 => old | operand,
            0x17 => old ^ operand,
            0x18 if old >= operand => 0,
            0x18 => old + 1,
            0x19 if old == 0 || old > operand => operand,
            0x19 => old - 1,
            _ => return None,
        })
    }

    /// Whether it changes `old`: a comparison that fails does not.
    pub(crate) fn succeeds(&self, old: u64) -> bool {
        let compares = self.operation & 0x1f == 0x08;
        let mask = if self.wide() { u64::MAX } else { 0xffff_ffff };
        !compares || old == self.compared & mask
    }

    /// Performs it at `va`, rounded down to its size. The former value; `None` when memory is unchanged: an operation
    /// that is not modelled, which is counted as unknown, or a fault.
    pub(crate) fn perform(
        self,
        bus: &mut Bus,
        engine: &str,
        space: Space,
        va: GpuVa,
    ) -> Option<u64> {
        let wide = self.wide();
        if self.new_value(0).is_none() {
            bus.journal.unknown(
                Access::Packet,
                format!("atomic operation {:#x}", self.operation),
                format_args!("{engine}: memory unchanged"),
            );
            return None;
        }
        let va = GpuVa(if wide { va.0 & !7 } else { va.0 & !3 });
        bus.update(space, va, wide, |old| self.new_value(old).unwrap_or(old))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(operation: u32, old: u64, operand: u64, compared: u64) -> Option<u64> {
        let atomic = Atomic {
            operation,
            operand,
            compared,
        };
        atomic.new_value(old)
    }

    /// Expected values written by hand from the names in `navi10_enum.h`.
    #[test]
    fn each_operation_does_what_its_name_says() {
        const MINUS_1: u64 = 0xffff_ffff;
        for (operation, old, operand, compared, expected) in [
            (0x47, 5, 9, 0, 9),
            (0x08, 5, 9, 5, 9),
            (0x28, 5, 9, 4, 5),
            (0x2f, u64::MAX, 2, 0, 1),
            (0x30, 1, 2, 0, u64::MAX),
            (0x11, 1, MINUS_1, 0, MINUS_1),
            (0x31, 1, MINUS_1, 0, 1),
            (0x12, 1, MINUS_1, 0, 1),
            (0x13, MINUS_1, 0, 0, 0),
            (0x34, 3, 4, 0, 4),
            (0x15, 6, 3, 0, 2),
            (0x16, 6, 3, 0, 7),
            (0x57, 6, 3, 0, 5),
            (0x18, 7, 7, 0, 0),
            (0x18, 6, 7, 0, 7),
            (0x19, 0, 7, 0, 7),
            (0x19, 9, 7, 0, 7),
            (0x19, 5, 7, 0, 4),
        ] {
            let found = new(operation, old, operand, compared);
            assert_eq!(
                found,
                Some(expected),
                "operation {operation:#x} on {old:#x}"
            );
        }
        assert_eq!(new(0x01, 0, 0, 0), None);
    }
}
