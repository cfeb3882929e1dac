// SPDX-License-Identifier: MIT OR Apache-2.0
//! PCI configuration space: identity, BARs with sizing, power management, PCI Express, MSI.
//!
//! QEMU keeps the guest's view of BARs and MSI itself and asks here for types, sizes and
//! capabilities. Layout: PCI and PCI Express base specifications.

use crate::bytes::Bytes;
use crate::chip::Spec;
use crate::units::ByteSize;
use crate::vbios;

/// Bytes of the space.
pub(crate) const SIZE: usize = 4096;
/// The doorbell and register BARs.
pub(crate) const DOORBELLS: ByteSize = ByteSize::mib(2);
pub(crate) const REGISTERS: ByteSize = ByteSize::kib(512);

const BAR0: usize = 0x10;
const ROM_BAR: usize = 0x30;
/// 64 bits, prefetchable; 32 bits.
const MEMORY64: u32 = 0xc;
const MEMORY32: u32 = 0;
/// Capabilities.
const PM: usize = 0x50;
const EXPRESS: usize = 0x64;
const MSI: usize = 0xa0;

/// Configuration space with what of it can be written.
#[derive(Debug)]
pub(crate) struct ConfigSpace {
    bytes: Bytes,
    writable: Bytes,
}

impl ConfigSpace {
    /// The configuration space of `spec` with a BAR 0 of `bar`.
    pub(crate) fn new(spec: &Spec, bar: ByteSize) -> Self {
        let mut b = Bytes::zeroed(SIZE);
        b.put_u16(0, 0x1002);
        b.put_u16(2, spec.device_id);
        // Status: capability list. Class: display controller, other.
        b.put_u16(6, 0x10);
        b.put(8, &[spec.revision, 0x00, 0x80, 0x03]);
        b.put_u32(BAR0, MEMORY64);
        b.put_u32(BAR0 + 8, MEMORY64);
        b.put_u32(BAR0 + 20, MEMORY32);
        let (vendor, device) = spec.subsystem;
        b.put_u16(0x2c, vendor);
        b.put_u16(0x2e, device);
        b.put(0x34, &[u8::try_from(PM).unwrap_or(0)]);
        b.put(0x3d, &[1]);

        // Power management version 3, no soft reset.
        b.put(PM, &[0x01, u8::try_from(EXPRESS).unwrap_or(0), 3, 0, 8, 0]);
        // Express endpoint, version 2: 256-byte payload, 16 GT/s, 16 lanes.
        b.put(EXPRESS, &[0x10, u8::try_from(MSI).unwrap_or(0), 2, 0]);
        b.put_u32(EXPRESS + 4, 0x0000_8fa1);
        b.put_u16(EXPRESS + 8, 0x2810);
        b.put_u32(EXPRESS + 12, 0x0000_0d04);
        b.put_u16(EXPRESS + 18, 0x1104);
        b.put_u32(EXPRESS + 36, 0x0007_0993);
        b.put_u32(EXPRESS + 44, 0x0000_001e);
        // MSI, 64-bit address, one vector.
        b.put(MSI, &[0x05, 0x00, 0x80, 0x00]);

        let mut w = Bytes::zeroed(SIZE);
        // Command, cache line, interrupt line.
        w.put_u16(4, 0x0547);
        w.put(0x0c, &[0xff]);
        w.put(0x3c, &[0xff]);
        let [low, high] = size_mask(bar);
        w.put_u32(BAR0, low);
        w.put_u32(BAR0 + 4, high);
        let [low, high] = size_mask(DOORBELLS);
        w.put_u32(BAR0 + 8, low);
        w.put_u32(BAR0 + 12, high);
        w.put_u32(BAR0 + 20, size_mask(REGISTERS)[0]);
        // The ROM's enable bit too.
        w.put_u32(ROM_BAR, size_mask(ByteSize(vbios::SIZE as u64))[0] | 1);
        w.put_u16(PM + 4, 0x0103);
        w.put_u16(EXPRESS + 8, 0xffff);
        w.put_u16(EXPRESS + 16, 0x01ff);
        w.put_u16(EXPRESS + 40, 0xffff);
        w.put_u16(MSI + 2, 0x0071);
        w.put(MSI + 4, &[0xff; 10]);
        Self {
            bytes: b,
            writable: w,
        }
    }

    /// Copies out; zeros past the end.
    pub(crate) fn read(&self, offset: u64, out: &mut [u8]) {
        let start = usize::try_from(offset).unwrap_or(SIZE);
        for (i, byte) in out.iter_mut().enumerate() {
            let at = start.saturating_add(i);
            *byte = self.bytes.0.get(at).copied().unwrap_or(0);
        }
    }

    /// Copies in what can be written.
    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) {
        let start = usize::try_from(offset).unwrap_or(SIZE);
        for (i, value) in data.iter().enumerate() {
            let at = start.saturating_add(i);
            if let (Some(byte), Some(mask)) = (self.bytes.0.get_mut(at), self.writable.0.get(at)) {
                *byte = *byte & !mask | value & mask;
            }
        }
    }
}

/// The address bits that a BAR of this size has, low and high dword.
fn size_mask(size: ByteSize) -> [u32; 2] {
    let mask = !(size.bytes().next_power_of_two() - 1);
    let half = |v: u64| u32::try_from(v & 0xffff_ffff).unwrap_or(0);
    [half(mask), half(mask >> 32)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chip::Chip;

    fn sized(config: &mut ConfigSpace, bar: u64) -> u32 {
        config.write(bar, &[0xff; 4]);
        let mut back = [0; 4];
        config.read(bar, &mut back);
        u32::from_le_bytes(back)
    }

    #[test]
    fn bars_answer_sizing_with_their_size_and_type() {
        let mut config = ConfigSpace::new(Chip::Navi10.spec(), ByteSize::mib(256));
        assert_eq!(sized(&mut config, 0x10), 0xf000_000c);
        assert_eq!(sized(&mut config, 0x14), 0xffff_ffff);
        assert_eq!(sized(&mut config, 0x18), 0xffe0_000c);
        assert_eq!(sized(&mut config, 0x24), 0xfff8_0000);
        assert_eq!(sized(&mut config, 0x30), 0xffff_8001);
        assert_eq!(sized(&mut config, 0x20), 0);
    }

    #[test]
    fn identity_cannot_be_written_and_nothing_lies_past_the_end() {
        let mut config = ConfigSpace::new(Chip::Navi10.spec(), ByteSize::mib(256));
        assert_eq!(sized(&mut config, 0), 0x731f_1002);
        assert_eq!(sized(&mut config, 4094), 0);
        assert_eq!(sized(&mut config, u64::MAX), 0);
    }
}
