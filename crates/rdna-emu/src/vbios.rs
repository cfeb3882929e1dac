// SPDX-License-Identifier: MIT OR Apache-2.0
//! A video BIOS that says just enough: identity, firmware info, empty power tables. It has no code;
//! the scratch register says that the chip is posted already.
//!
//! Layout: `atombios.h`, `atomfirmware.h` (headers and tables), `atom.c` and `amdgpu_bios.c` (what
//! is checked), PCI firmware specification (the image header).

use crate::bytes::Bytes;
use crate::chip::Spec;

/// Bytes of the ROM.
pub(crate) const SIZE: usize = 0x8000;

/// Offsets of the parts; only the ones that say so are given by the format.
mod at {
    /// Given: the byte pointer to PCIR, "IBM", the magic string, the pointer to the ROM header.
    pub(super) const PCIR_POINTER: usize = 0x18;
    pub(super) const IBM: usize = 0x1e;
    pub(super) const MAGIC: usize = 0x30;
    pub(super) const HEADER_POINTER: usize = 0x48;
    pub(super) const BUILD_DATE: usize = 0x50;
    pub(super) const NAME_POINTER: usize = 0x6e;
    pub(super) const PART_NUMBER: usize = 0x80;

    pub(super) const PCIR: usize = 0xc0;
    pub(super) const NAME: usize = 0x100;
    pub(super) const CONFIG_NAME: usize = 0x1f0;
    pub(super) const HEADER: usize = 0x200;
    pub(super) const COMMANDS: usize = 0x300;
    pub(super) const DATA: usize = 0x400;
    pub(super) const FIRMWARE_INFO: usize = 0x500;
    pub(super) const INDIRECT_IO: usize = 0x600;
    pub(super) const SMC_DPM_INFO: usize = 0x700;
    pub(super) const POWERPLAY_INFO: usize = 0x2000;
}

/// Entries of the two master tables.
const COMMANDS: usize = 100;
const TABLES: usize = 35;
/// Places in the master data table (`atom_master_list_of_data_tables_v2_1`).
mod table {
    pub(super) const SMC_DPM_INFO: usize = 2;
    pub(super) const FIRMWARE_INFO: usize = 4;
    pub(super) const POWERPLAY_INFO: usize = 15;
    pub(super) const INDIRECT_IO: usize = 23;
}
/// The first of the scratch registers, which the firmware info names.
const SCRATCH: u32 = 0x4c;

/// The image of `spec`.
pub(crate) fn image(spec: &Spec) -> Vec<u8> {
    let mut b = Bytes::zeroed(SIZE);
    let blocks = SIZE / 512;
    b.put(0, &[0x55, 0xaa, u8::try_from(blocks).unwrap_or(0), 0xcb]);
    b.put_u16(at::PCIR_POINTER, offset(at::PCIR));
    b.put(at::IBM, b"IBM");
    b.put(at::MAGIC, b" 761295520");
    b.put_u16(at::HEADER_POINTER, offset(at::HEADER));
    b.put(at::BUILD_DATE, b"11/22/26 08:00");
    b.put_u16(at::NAME_POINTER, offset(at::NAME));
    b.put(at::PART_NUMBER, spec.part_number.as_bytes());

    b.put(at::PCIR, b"PCIR");
    b.put_u16(at::PCIR + 4, 0x1002);
    b.put_u16(at::PCIR + 6, spec.device_id);
    b.put_u16(at::PCIR + 0xa, 0x18);
    b.put(at::PCIR + 0xd, &[0x00, 0x80, 0x03]);
    b.put_u16(at::PCIR + 0x10, offset(blocks));
    b.put(at::PCIR + 0x15, &[0x80]);
    b.put(at::NAME, b"ATOMBIOSBK-AMD VER017.001.000");

    // atom_rom_header_v2_2.
    b.put_u16(at::HEADER, 0x28);
    b.put(at::HEADER + 2, &[2, 2]);
    b.put(at::HEADER + 4, b"ATOM");
    b.put_u16(at::HEADER + 0xc, offset(at::CONFIG_NAME));
    b.put_u16(at::HEADER + 0x1e, offset(at::COMMANDS));
    b.put_u16(at::HEADER + 0x20, offset(at::DATA));
    master(&mut b, at::COMMANDS, COMMANDS);
    master(&mut b, at::DATA, TABLES);

    // atom_firmware_info_v3_1: revision, boot-up clocks, capability, resource, scratch registers.
    let mut info = Bytes::default();
    for word in [0x1101_0000, 30_000, 50_000, 1, 0, SCRATCH] {
        info.push_u32(word);
    }
    info.0.resize(info.0.len() + 48, 0);
    data(
        &mut b,
        table::FIRMWARE_INFO,
        at::FIRMWARE_INFO,
        (3, 1),
        &info.0,
    );
    data(&mut b, table::INDIRECT_IO, at::INDIRECT_IO, (1, 1), &[0; 8]);
    data(
        &mut b,
        table::SMC_DPM_INFO,
        at::SMC_DPM_INFO,
        (4, 5),
        &[0; 0x800],
    );
    let powerplay = (12, 0);
    data(
        &mut b,
        table::POWERPLAY_INFO,
        at::POWERPLAY_INFO,
        powerplay,
        &[0; 0x1800],
    );

    // All bytes together sum up to zero in 8 bits.
    let [sum, _] = b.sum().to_le_bytes();
    b.put(SIZE - 1, &[sum.wrapping_neg()]);
    b.0
}

fn offset(value: usize) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}

/// The header of a master table of `entries` pointers.
fn master(b: &mut Bytes, at: usize, entries: usize) {
    b.put_u16(at, offset(4 + 2 * entries));
    b.put(at + 2, &[2, 1]);
}

/// Data table number `index` at `at`: common header (size, format and content revision) and body.
fn data(b: &mut Bytes, index: usize, at: usize, revision: (u8, u8), body: &[u8]) {
    b.put_u16(at::DATA + 4 + 2 * index, offset(at));
    b.put_u16(at, offset(4 + body.len()));
    b.put(at + 2, &[revision.0, revision.1]);
    b.put(at + 4, body);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chip::Chip;

    #[test]
    fn the_image_passes_the_checks_of_a_pci_rom_and_of_atom() {
        let rom = image(Chip::Navi10.spec());
        assert_eq!(rom.len(), 32 << 10);
        assert_eq!(rom[..2], [0x55, 0xaa]);
        assert_eq!(rom.iter().fold(0_u8, |s, b| s.wrapping_add(*b)), 0);
        let pcir = usize::from(u16::from_le_bytes([rom[0x18], rom[0x19]]));
        assert_eq!(rom[pcir..][..8], *b"PCIR\x02\x10\x1f\x73");
        let header = usize::from(u16::from_le_bytes([rom[0x48], rom[0x49]]));
        assert_eq!(rom[header + 4..][..4], *b"ATOM");
        assert_eq!(rom[0x30..0x3a], *b" 761295520");
    }

    #[test]
    fn firmware_info_names_the_scratch_registers() {
        let rom = image(Chip::Navi10.spec());
        let at = 0x400 + 4 + 2 * 4;
        let info = usize::from(u16::from_le_bytes([rom[at], rom[at + 1]]));
        assert_eq!(rom[info + 2..][..2], [3, 1]);
        assert_eq!(rom[info + 4 + 20..][..4], [0x4c, 0, 0, 0]);
    }
}
