// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The entry codec against entries that the unmodified driver wrote on an emulated Navi10, and
//! against itself for arbitrary bits.

use proptest::prelude::*;
use rmcp_logic::logic::fragment::Fragment;
use rmcp_logic::logic::mtype::Mtype;
use rmcp_logic::logic::pte::{Fields, PageAddress, Pte, Rest};

/// A valid VRAM entry with read, write and execute, as `AMDGPU_VM_PAGE_*` without NOALLOC gives.
fn vram(address: u64, fragment: u8, mtype: Mtype) -> Fields {
    Fields {
        valid: true,
        system: false,
        snooped: false,
        tmz: false,
        executable: true,
        readable: true,
        writeable: true,
        fragment: Fragment::new(fragment).unwrap(),
        address: PageAddress::new(address).unwrap(),
        mtype,
        prt: false,
        pde_as_pte: false,
        log: false,
        translate_further: false,
        noalloc: false,
        rest: Rest::NONE,
    }
}

fn huge(address: u64, fragment: u8, mtype: Mtype) -> Fields {
    Fields {
        pde_as_pte: true,
        ..vram(address, fragment, mtype)
    }
}

fn gtt(address: u64, fragment: u8, mtype: Mtype) -> Fields {
    Fields {
        system: true,
        snooped: true,
        ..vram(address, fragment, mtype)
    }
}

fn nothing() -> Fields {
    Fields {
        valid: false,
        executable: false,
        readable: false,
        writeable: false,
        ..vram(0, 0, Mtype::Nc)
    }
}

#[test]
fn entries_seen_in_vram_decode_to_what_was_mapped() {
    let seen = [
        (
            "VRAM 64K default",
            0x0000_0000_0ffd_0271,
            vram(0xffd_0000, 4, Mtype::Nc),
        ),
        (
            "VRAM 64K WC",
            0x0001_0000_0ffb_0271,
            vram(0xffb_0000, 4, Mtype::Wc),
        ),
        (
            "VRAM 64K CC",
            0x0002_0000_0ffa_0271,
            vram(0xffa_0000, 4, Mtype::Cc),
        ),
        (
            "VRAM 64K UC",
            0x0003_0000_0ff9_0271,
            vram(0xff9_0000, 4, Mtype::Uc),
        ),
        (
            "VRAM 4K",
            0x0000_0000_0ffe_3071,
            vram(0xffe_3000, 0, Mtype::Nc),
        ),
        (
            "VRAM 2M",
            0x0040_0000_0fc0_04f1,
            huge(0xfc0_0000, 9, Mtype::Nc),
        ),
        (
            "VRAM 16M",
            0x0040_0000_0e00_0671,
            huge(0xe00_0000, 12, Mtype::Nc),
        ),
        (
            "VRAM 64M",
            0x0040_0000_0800_0771,
            huge(0x800_0000, 14, Mtype::Nc),
        ),
        (
            "VRAM 1M uncached",
            0x0003_0000_0fb0_0471,
            vram(0xfb0_0000, 8, Mtype::Uc),
        ),
        (
            "GTT 64K default",
            0x0000_0000_1234_5277,
            gtt(0x1234_5000, 4, Mtype::Nc),
        ),
        (
            "GTT 64K CC",
            0x0002_0000_1234_5277,
            gtt(0x1234_5000, 4, Mtype::Cc),
        ),
        (
            "userptr",
            0x0000_0000_1234_5077,
            gtt(0x1234_5000, 0, Mtype::Nc),
        ),
        (
            "userptr coherent",
            0x0003_0000_1234_5077,
            gtt(0x1234_5000, 0, Mtype::Uc),
        ),
        (
            "PRT 64K",
            0x0088_0000_0000_0206,
            Fields {
                system: true,
                snooped: true,
                prt: true,
                log: true,
                fragment: Fragment::new(4).unwrap(),
                ..nothing()
            },
        ),
        (
            "cleared entry",
            0x10,
            Fields {
                executable: true,
                ..nothing()
            },
        ),
        (
            "cleared directory entry",
            0x0040_0000_0000_0000,
            Fields {
                pde_as_pte: true,
                ..nothing()
            },
        ),
    ];
    for (what, raw, fields) in seen {
        assert_eq!(Pte::new(raw).decode(), fields, "{what}");
        assert_eq!(fields.encode(), Pte::new(raw), "{what}");
    }
}

/// `AMDGPU_PTE_*` of the driver's header, written down again as shifts.
#[test]
fn every_flag_has_the_bit_that_the_drivers_header_gives_it() {
    type Get = fn(&Fields) -> bool;
    let flags: [(u32, Get); 12] = [
        (0, |f| f.valid),
        (1, |f| f.system),
        (2, |f| f.snooped),
        (3, |f| f.tmz),
        (4, |f| f.executable),
        (5, |f| f.readable),
        (6, |f| f.writeable),
        (51, |f| f.prt),
        (54, |f| f.pde_as_pte),
        (55, |f| f.log),
        (56, |f| f.translate_further),
        (58, |f| f.noalloc),
    ];
    for (bit, _) in flags {
        let fields = Pte::new(1 << bit).decode();
        for (other, get) in flags {
            assert_eq!(get(&fields), bit == other, "bit {bit}, flag of bit {other}");
        }
        assert_eq!(fields.address.bytes(), 0);
        assert_eq!(fields.fragment.log2_pages(), 0);
        assert_eq!(fields.mtype, Mtype::Nc);
        assert_eq!(fields.rest, Rest::NONE);
    }
}

#[test]
fn fields_that_do_not_fit_are_refused() {
    assert_eq!(Fragment::new(31).map(Fragment::log2_pages), Some(31));
    assert_eq!(Fragment::new(32), None);
    assert!(PageAddress::new(0x0000_ffff_ffff_f000).is_some());
    assert_eq!(PageAddress::new(0x0000_ffff_ffff_f001), None);
    assert_eq!(PageAddress::new(0x0001_0000_0000_0000), None);
}

proptest! {
    #[test]
    fn encode_undoes_decode(raw: u64) {
        prop_assert_eq!(Pte::new(raw).decode().encode().raw(), raw);
    }

    #[test]
    fn a_new_memory_type_changes_bits_50_to_48_only(raw: u64, bits in 0u8..8) {
        let changed = Pte::new(raw).with_mtype(Mtype::from_bits(bits)).raw();
        prop_assert_eq!(changed >> 48 & 7, u64::from(bits));
        prop_assert_eq!((changed ^ raw) & !(7 << 48), 0);
    }

    #[test]
    fn a_new_fragment_changes_bits_11_to_7_only(raw: u64, log2 in 0u8..32) {
        let changed = Pte::new(raw).with_fragment(Fragment::new(log2).unwrap()).raw();
        prop_assert_eq!(changed >> 7 & 0x1f, u64::from(log2));
        prop_assert_eq!((changed ^ raw) & !(0x1f << 7), 0);
    }
}
