// SPDX-License-Identifier: MIT OR Apache-2.0
//! The judge against raw entries that stock amdgpu was seen to write (facts/amdgpu-vm.md).

use super::*;
use crate::units::ByteSize;
use std::collections::BTreeMap;

/// Memory that holds only the words put into it; everything below `size` reads as zero.
struct Sparse {
    size: u64,
    words: BTreeMap<(bool, u64), u64>,
}

impl Sparse {
    fn new(words: &[(bool, u64, u64)]) -> Self {
        Self {
            size: 1 << 28,
            words: words.iter().map(|&(s, a, w)| ((s, a), w)).collect(),
        }
    }
}

impl TableSource for Sparse {
    fn read_entries(&self, system: bool, address: u64, out: &mut [u64]) -> bool {
        for (i, word) in (0..).zip(out.iter_mut()) {
            let at = address + i * 8;
            if at >= self.size {
                return false;
            }
            *word = self.words.get(&(system, at)).copied().unwrap_or(0);
        }
        true
    }
}

fn ptb(raw: u64) -> Entry {
    Entry::decode(GpuVa(0), Level::Ptb, raw).expect("an entry that does something")
}

fn pdb0(raw: u64) -> Entry {
    Entry::decode(GpuVa(0), Level::Pdb0, raw).expect("an entry that does something")
}

#[test]
fn vram_64k_entries_differ_in_mtype_only() {
    for (raw, address, mtype) in [
        (0x0000_0000_0ffd_0271, 0x0ffd_0000, Mtype::Nc),
        (0x0001_0000_0ffb_0271, 0x0ffb_0000, Mtype::Wc),
        (0x0002_0000_0ffa_0271, 0x0ffa_0000, Mtype::Cc),
        (0x0003_0000_0ff9_0271, 0x0ff9_0000, Mtype::Uc),
    ] {
        let e = ptb(raw);
        assert_eq!((e.kind, e.fragment(), e.mtype()), (Kind::Leaf, 4, mtype));
        assert_eq!(e.address(), address);
        assert!(e.valid() && e.executable() && e.readable() && e.writeable());
        assert!(!e.system() && !e.snooped() && !e.prt() && !e.noalloc() && !e.pde_as_pte());
    }
}

#[test]
fn vram_4k_has_fragment_zero() {
    let e = ptb(0x0000_0000_0ffe_3071);
    assert_eq!(
        (e.fragment(), e.mtype(), e.address()),
        (0, Mtype::Nc, 0x0ffe_3000)
    );
    assert_eq!(e.span(), ByteSize::kib(4));
}

#[test]
fn directory_entries_that_map_memory_are_leaves() {
    for (raw, address, fragment, mtype) in [
        (0x0040_0000_0fc0_04f1_u64, 0x0fc0_0000, 9, Mtype::Nc),
        (0x0040_0000_0e00_0671, 0x0e00_0000, 12, Mtype::Nc),
        (0x0040_0000_0800_0771, 0x0800_0000, 14, Mtype::Nc),
    ] {
        let e = pdb0(raw);
        assert_eq!(
            (e.kind, e.fragment(), e.mtype()),
            (Kind::Leaf, fragment, mtype)
        );
        assert_eq!((e.address(), e.span()), (address, ByteSize::mib(2)));
        assert!(e.pde_as_pte());
    }
}

#[test]
fn uncached_1m_is_uc_with_fragment_8() {
    let e = ptb(0x0003_0000_0fb0_0471);
    assert_eq!(
        (e.fragment(), e.mtype(), e.address()),
        (8, Mtype::Uc, 0x0fb0_0000)
    );
}

#[test]
fn gtt_entries_are_system_and_snooped() {
    for (raw, mtype) in [
        (0x0000_0000_1234_0277, Mtype::Nc),
        (0x0003_0000_1234_0277, Mtype::Uc),
    ] {
        let e = ptb(raw);
        assert!(e.system() && e.snooped());
        assert_eq!((e.mtype(), e.address()), (mtype, 0x1234_0000));
    }
}

#[test]
fn prt_is_neither_valid_nor_nothing() {
    let e = ptb(0x0088_0000_0000_0206);
    assert_eq!(e.kind, Kind::Prt);
    assert!(!e.valid() && e.prt());
    assert_eq!(e.translate(GpuVa(0)), None);
}

#[test]
fn cleared_entries_are_nothing() {
    assert_eq!(Entry::decode(GpuVa(0), Level::Ptb, 0x10), None);
    assert_eq!(
        Entry::decode(GpuVa(0), Level::Pdb0, 0x0040_0000_0000_0000),
        None
    );
    assert_eq!(Entry::decode(GpuVa(0), Level::Pdb2, 0), None);
}

#[test]
fn mtypes_without_a_name_keep_their_number() {
    assert_eq!(ptb(0x0005_0000_0000_0001).mtype(), Mtype::Other(5));
    assert_eq!(Mtype::Other(5).to_string(), "MTYPE5");
}

/// Root 0x1000 → 0x2000 → 0x3000 → { 2 MiB leaf with an odd address, table 0x4000 in system
/// memory → 4 KiB leaf, PRT }.
fn example() -> Sparse {
    Sparse::new(&[
        (false, 0x1000, 0x2001),
        (false, 0x2000 + 8 * 4, 0x3001),
        (false, 0x3000, 0x0040_0000_0123_44f7),
        (false, 0x3000 + 8 * 2, 0x4003),
        (true, 0x4000 + 8 * 3, 0x0003_0000_0abc_d071),
        (true, 0x4000 + 8 * 4, 0x0088_0000_0000_0206),
    ])
}

const ROOT: PageDirectory = PageDirectory(0x1001);
const GIB4: u64 = 4 << 30;

#[test]
fn a_walk_lists_directories_leaves_and_prt_in_order() {
    let space = walk(&example(), ROOT, Depth::FOUR, Limits::default()).unwrap();
    let seen: Vec<_> = space
        .entries
        .iter()
        .map(|e| (e.va.0, e.level, e.kind))
        .collect();
    assert_eq!(
        seen,
        [
            (0, Level::Pdb2, Kind::Directory),
            (GIB4, Level::Pdb1, Kind::Directory),
            (GIB4, Level::Pdb0, Kind::Leaf),
            (GIB4 + 0x40_0000, Level::Pdb0, Kind::Directory),
            (GIB4 + 0x40_3000, Level::Ptb, Kind::Leaf),
            (GIB4 + 0x40_4000, Level::Ptb, Kind::Prt),
        ]
    );
    assert_eq!(space.directories().count(), 3);
    let covering = |va| space.leaf_covering(GpuVa(va)).map(|e| e.raw);
    assert_eq!(covering(GIB4 + 0x1f_ffff), Some(0x0040_0000_0123_44f7));
    assert_eq!(covering(GIB4 + 0x20_0000), None);
    assert_eq!(covering(GIB4 + 0x40_3fff), Some(0x0003_0000_0abc_d071));
    assert_eq!(covering(GIB4 + 0x40_5000), None);
    assert_eq!(covering(GIB4 - 1), None);
    assert_eq!(
        space
            .leaves(GpuVa(GIB4 + 0x10_0000)..GpuVa(GIB4 + 0x40_4000))
            .count(),
        2
    );
}

#[test]
fn an_address_in_an_unaligned_2m_entry_is_added_not_masked() {
    let t = lookup(&example(), ROOT, Depth::FOUR, GpuVa(GIB4 + 0x1f_f008)).unwrap();
    assert!(t.system);
    assert_eq!(t.address, 0x0123_4000 + 0x1f_f008);
    assert_eq!(t.remaining, 0xff8);
}

#[test]
fn lookups_name_what_is_missing() {
    let at = |va| lookup(&example(), ROOT, Depth::FOUR, GpuVa(va));
    assert_eq!(at(0), Err(Fault::NotPresent(Level::Pdb1)));
    assert_eq!(at(GIB4 + 0x40_4000), Err(Fault::Prt));
    assert_eq!(at(GIB4 + 0x40_0000), Err(Fault::NotPresent(Level::Ptb)));
    assert_eq!(at(1 << 50), Err(Fault::TooWide));
}

#[test]
fn a_directory_that_points_at_itself_ends_the_walk() {
    let words: Vec<_> = (0..512).map(|i| (false, 0x1000 + 8 * i, 0x1001)).collect();
    let limits = Limits {
        tables: 500,
        entries: 1 << 20,
    };
    let result = walk(&Sparse::new(&words), ROOT, Depth::FOUR, limits);
    assert!(
        matches!(result, Err(WalkError::TooLarge { what: "tables", .. })),
        "{result:?}"
    );
}

#[test]
fn a_table_outside_memory_is_an_error_with_its_address() {
    let memory = Sparse::new(&[(false, 0x1000, 0x7000_0000_1001)]);
    let error = walk(&memory, ROOT, Depth::FOUR, Limits::default()).unwrap_err();
    assert!(error.to_string().contains("0x700000001000"), "{error}");
}

#[test]
fn flat_tables_list_what_is_not_zero() {
    let memory = Sparse::new(&[
        (false, 0x8008, 0x0003_0000_0555_5077),
        (false, 0x8000 + 8 * 700, 2),
    ]);
    let start = GpuVa(0x7fff_0000_0000);
    let found = flat(&memory, PageDirectory(0x8001), start, 1024, Format::Gfx10).unwrap();
    let seen: Vec<_> = found.iter().map(|e| (e.va, e.kind, e.mtype())).collect();
    assert_eq!(
        seen,
        [
            (start.plus(0x1000), Kind::Leaf, Mtype::Uc),
            (start.plus(700 << 12), Kind::Inert, Mtype::Nc)
        ]
    );
}

#[test]
fn entries_are_written_as_json_with_their_fields_decoded() {
    let json = serde_json::to_value(ptb(0x0003_0000_0ff9_0271)).unwrap();
    for (key, value) in [
        ("va", "0x000000000000"),
        ("level", "Ptb"),
        ("kind", "Leaf"),
        ("raw", "000300000ff90271"),
        ("address", "0x00000ff90000"),
        ("mtype", "UC"),
    ] {
        assert_eq!(json[key], value, "{key}");
    }
    assert_eq!(json["fragment"], 4);
    assert_eq!(json["span"], 4096);
}

/// Renoir's entries as stock amdgpu was seen to write them (gmc_v9_0): 64 KiB of VRAM with each memory type, 2 MiB, PRT.
#[test]
fn gfx9_has_the_memory_type_elsewhere_and_rw_for_wc() {
    for (raw, mtype) in [
        (0x0000_0000_0ffb_0271, Mtype::Nc),
        (0x0200_0000_0ff9_0271, Mtype::Rw),
        (0x0400_0000_0ff8_0271, Mtype::Cc),
        (0x0600_0000_0ff7_0271, Mtype::Uc),
    ] {
        let entry = Format::Gfx9.decode(GpuVa(0), Level::Ptb, raw).unwrap();
        assert_eq!((entry.mtype(), entry.fragment()), (mtype, 4), "{entry:?}");
        assert!(!entry.noalloc(), "{entry:?}");
        // The same bits on GFX10: no memory type at all, and perhaps NOALLOC.
        assert_eq!(ptb(raw).mtype(), Mtype::Nc);
    }
    let large = Format::Gfx9.decode(GpuVa(0), Level::Pdb0, 0x0040_0000_00a0_04f1);
    let large = large.unwrap();
    assert_eq!((large.kind, large.fragment()), (Kind::Leaf, 9));
    let prt = Format::Gfx9.decode(GpuVa(0), Level::Ptb, 0x0008_0000_0000_0200);
    assert_eq!(prt.unwrap().kind, Kind::Prt);
}

#[test]
fn a_walk_hands_its_format_to_every_entry() {
    let space = walk(
        &example(),
        ROOT,
        Depth::four(Format::Gfx9),
        Limits::default(),
    );
    let entries = space.unwrap().entries;
    assert!(entries.iter().all(|e| e.format == Format::Gfx9));
}

#[test]
fn a_document_says_which_format_its_entries_have() {
    for format in [Format::Gfx9, Format::Gfx10] {
        let depth = Depth::four(format);
        let space = walk(&example(), ROOT, depth, Limits::default()).unwrap();
        let text = serde_json::to_string(&space).unwrap();
        let gfx9 = format == Format::Gfx9;
        assert_eq!(text.contains("\"layout\":\"Gfx9\""), gfx9, "{text}");
        assert_eq!(text.contains("layout"), gfx9, "{text}");
        assert_eq!(serde_json::from_str::<AddressSpace>(&text).unwrap(), space);
    }
}
