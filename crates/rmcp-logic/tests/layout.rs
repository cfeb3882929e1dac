// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Where members of structs are found, and what is refused, on small files that are put together here.

mod writer;

use proptest::prelude::*;
use rmcp_logic::logic::btf::Btf;
use rmcp_logic::logic::layout::{Member, Shape};
use writer::*;

const FLAGS: Member = member("amdgpu_bo", "flags", Shape::Unsigned(8));
const PDEV: Member = member("amdgpu_bo", "pdev", Shape::PointerTo("pci_dev"));
const PAGES: Member = member("amdgpu_bo", "pages", Shape::PointerToUnsigned(8));
const COMPUTE: Member = member("amdgpu_bo", "compute", Shape::Bool);
const DDEV: Member = member("amdgpu_bo", "ddev", Shape::Struct("drm_device"));
const GC: Member = member(
    "amdgpu_bo",
    "versions",
    Shape::Row {
        of: "blocks",
        named: "GC",
        rows: "MAX",
    },
);

const fn member(of: &'static str, name: &'static str, shape: Shape) -> Member {
    Member { of, name, shape }
}

/// A file with one struct that has everything; `twist` may take a type or an offset for another.
fn file(twist: impl Fn(&mut Writer, &str, u32, u32) -> (u32, u32)) -> Vec<u8> {
    let mut w = Writer::new();
    let u64 = w.unsigned("unsigned long", 8);
    let u32 = w.unsigned("unsigned int", 4);
    let flags = w.add("u64", TYPEDEF, 0, u64, &[]);
    let pdev = w.pointer_to_struct("pci_dev");
    let pages = w.pointer(flags);
    let compute = w.boolean();
    let ddev = w.structure("drm_device");
    w.enumeration("blocks", &[("GC", 1), ("HDP", 2), ("MAX", 43)]);
    let versions = w.array(u32, u32, 43 * 48);
    let members: Vec<(&str, u32, u32)> = [
        ("flags", flags, 64),
        ("pdev", pdev, 128),
        ("pages", pages, 192),
        ("compute", compute, 264),
        ("ddev", ddev, 320),
        ("versions", versions, 640),
    ]
    .into_iter()
    .map(|(name, ty, bits)| {
        let (ty, bits) = twist(&mut w, name, ty, bits);
        (name, ty, bits)
    })
    .collect();
    // Only declared, as where a header is not included; and another one in between.
    w.add("amdgpu_bo", FWD, 0, 0, &[]);
    w.structure("amdgpu_bo_other");
    w.with_members("amdgpu_bo", &members);
    w.file()
}

fn plain() -> Vec<u8> {
    file(|_, _, ty, bits| (ty, bits))
}

fn offset(file: &[u8], member: &Member) -> Option<usize> {
    let btf = Btf::new(file).unwrap_or_else(|error| panic!("{error}"));
    member.offset(&btf).ok()
}

#[test]
fn members_are_found() {
    let file = plain();
    for (member, expected) in [
        (FLAGS, 8),
        (PDEV, 16),
        (PAGES, 24),
        (COMPUTE, 33),
        (DDEV, 40),
        // Row 1 of 43, each 48 numbers of 4 bytes.
        (GC, 80 + 48 * 4),
    ] {
        assert_eq!(offset(&file, &member), Some(expected), "{member:?}");
    }
}

#[test]
fn another_type_is_refused() {
    for twisted in [FLAGS, PDEV, PAGES, COMPUTE, DDEV, GC] {
        let file = file(|w, name, ty, bits| {
            let other = w.signed("int", 4);
            (if name == twisted.name { other } else { ty }, bits)
        });
        for member in [FLAGS, PDEV, PAGES, COMPUTE, DDEV, GC] {
            let found = offset(&file, &member).is_some();
            assert_eq!(found, member.name != twisted.name, "{member:?}");
        }
    }
}

#[test]
fn a_member_within_a_byte_is_refused() {
    let file = file(|_, name, ty, bits| (ty, bits + u32::from(name == "flags")));
    assert_eq!(offset(&file, &FLAGS), None);
    assert_eq!(offset(&file, &PDEV), Some(16));
}

/// The file whose table is an array of that many numbers, or of as many rows of so many.
fn with_table(signed: bool, count: u32, in_row: Option<u32>) -> Vec<u8> {
    file(|w, name, ty, bits| {
        if name != "versions" {
            return (ty, bits);
        }
        let index = w.unsigned("unsigned int", 4);
        let cell = if signed { w.signed("int", 4) } else { index };
        let element = in_row.map_or(cell, |in_row| w.array(cell, index, in_row));
        (w.array(element, index, count), bits)
    })
}

#[test]
fn a_table_is_a_list_or_rows() {
    let expected = Some(80 + 48 * 4);
    for (signed, count, in_row, expected) in [
        (false, 43 * 48, None, expected),
        (false, 43 * 48 + 1, None, None),
        (true, 43 * 48, None, None),
        (false, 43, Some(48), expected),
        (false, 43, Some(1), Some(80 + 4)),
        (false, 43, None, Some(80 + 4)),
        (true, 43, Some(48), None),
        (false, 42, Some(48), None),
        (false, 48, Some(43), None),
        (false, 43 * 48, Some(1), None),
        (false, 43, Some(0), None),
        (false, 0, None, None),
        (false, 43, Some(u32::MAX), None),
    ] {
        let file = with_table(signed, count, in_row);
        assert_eq!(offset(&file, &GC), expected, "{signed} {count} {in_row:?}");
    }
}

#[test]
fn two_structs_of_one_name_must_agree() {
    for (second, expected) in [(64, Some(8)), (128, None)] {
        let mut w = Writer::new();
        let u64 = w.unsigned("unsigned long", 8);
        w.with_members("amdgpu_bo", &[("flags", u64, 64)]);
        w.with_members("amdgpu_bo", &[("flags", u64, second)]);
        assert_eq!(offset(&w.file(), &FLAGS), expected);
    }
}

#[test]
fn what_is_missing_is_named() {
    let file = plain();
    let btf = Btf::new(&file).unwrap_or_else(|error| panic!("{error}"));
    let missing = member("amdgpu_bo", "metadata", Shape::PointerTo("amdgpu_vm"));
    let text = missing.offset(&btf).map_err(|unlike| unlike.to_string());
    assert_eq!(
        text,
        Err(
            "struct amdgpu_bo of this amdgpu has no member metadata that is `struct amdgpu_vm *`"
                .into()
        )
    );
    let nowhere = member("nothing", "flags", Shape::Bool);
    assert!(nowhere.offset(&btf).is_err());
}

proptest! {
    #[test]
    fn broken_files_do_not_panic(at in 0usize..1200, byte: u8, cut in 0usize..1200) {
        let mut file = plain();
        if let Some(place) = file.get_mut(at) {
            *place = byte;
        }
        file.truncate(file.len() - cut.min(file.len() / 4));
        if let Ok(btf) = Btf::new(&file) {
            for member in [FLAGS, PDEV, PAGES, COMPUTE, DDEV, GC] {
                let _ = member.offset(&btf);
            }
        }
    }
}
