// SPDX-License-Identifier: MIT OR Apache-2.0
//! The reader of code objects on libraries that are broken on purpose.

use crate::elf::{bundle, compressed, with_fatbin, zstd};
use rmcpctl::doctor::code::{Code, read};
use rmcpctl::system::Recording;

fn of(bytes: &[u8]) -> Result<Code, String> {
    use rmcpctl::system::Files;
    let files = Recording::parse("rmcpctl recording 1\n")
        .unwrap()
        .with("lib", bytes);
    read(&*files.places("lib").unwrap())
}

fn names(code: &Code) -> Vec<String> {
    code.chips.keys().map(ToString::to_string).collect()
}

#[test]
fn every_form_of_bundle_is_read() {
    let list = bundle(&["gfx90a:sramecc+:xnack-", "gfx1010", "gfx1036"]);
    let versions = [1, 2, 3]
        .into_iter()
        .flat_map(|version| [compressed(&list, version), zstd(&list, version)]);
    for form in versions.chain([list.clone()]) {
        let code = of(&with_fatbin(&form)).unwrap();
        assert_eq!(code.bundles, 1);
        assert_eq!(names(&code), ["gfx90a", "gfx1010", "gfx1036"]);
    }
}

#[test]
fn broken_libraries_are_refused_in_words() {
    let good = with_fatbin(&bundle(&["gfx1010"]));
    // e_shoff, e_shentsize, e_shnum and e_shstrndx.
    for (at, bytes, words) in [
        (0, &b"\x7fELG"[..], "no ELF file"),
        (4, &[1], "no ELF file"),
        (0x28, &[0xff; 8], "list of sections"),
        (0x3a, &[1, 0], "sections"),
        (0x3c, &[0xff, 0xff], "65535 sections"),
        (0x3e, &[0xff, 0xff], "no names"),
    ] {
        let mut bad = good.clone();
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        let why = of(&bad).unwrap_err();
        assert!(why.contains(words), "{why}");
    }
    assert!(
        of(&with_fatbin(&[0; 10_000]))
            .unwrap_err()
            .contains("no bundle")
    );
}

#[test]
fn lies_about_sizes_end_soon_and_are_told() {
    let mut many = bundle(&["gfx1010"]);
    many[24..32].copy_from_slice(&u64::MAX.to_le_bytes());
    let code = of(&with_fatbin(&many)).unwrap();
    assert!(
        code.why
            .unwrap()
            .contains("claims 18446744073709551615 entries")
    );
    // An entry that ends past the end of all files, and a name that does.
    let mut far = bundle(&["gfx1010"]);
    far[32 + 8..32 + 16].copy_from_slice(&u64::MAX.to_le_bytes());
    assert_eq!(names(&of(&with_fatbin(&far)).unwrap()), ["gfx1010"]);
    let mut long = bundle(&["gfx1010"]);
    long[32 + 16..32 + 24].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(
        of(&with_fatbin(&long))
            .unwrap()
            .why
            .unwrap()
            .contains("cut off")
    );
    for form in [
        zstd(&bundle(&["gfx1010"]), 3),
        compressed(&bundle(&["gfx1010"]), 3),
    ] {
        let mut huge = form.clone();
        huge[8..24].fill(0xff);
        assert_eq!(names(&of(&with_fatbin(&huge)).unwrap()), ["gfx1010"]);
        let mut broken = form;
        broken[32..].fill(0xee);
        assert!(
            of(&with_fatbin(&broken))
                .unwrap()
                .why
                .unwrap()
                .contains("unpacked")
        );
    }
}

#[test]
fn a_library_that_is_cut_anywhere_is_survived() {
    let whole = with_fatbin(&zstd(&bundle(&["gfx1010"]), 2));
    for length in 0..whole.len() {
        let _ = of(&whole[..length]);
    }
}
