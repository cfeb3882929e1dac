// SPDX-License-Identifier: MIT OR Apache-2.0
//! Walks compared with each other, written and read.

use super::*;

/// Raw entries that stock amdgpu was seen to write (facts/amdgpu-vm.md): VRAM 64K as NC and as UC, a directory.
const NC: u64 = 0x0000_0000_0ffd_0271;
const UC: u64 = 0x0003_0000_0ffd_0271;
const DIRECTORY: u64 = 0x0000_0000_0fe0_0001;

fn entry(va: u64, level: Level, raw: u64) -> Entry {
    Entry::decode(GpuVa(va), level, raw).expect("an entry that does something")
}

fn space(entries: &[(u64, Level, u64)]) -> AddressSpace {
    AddressSpace {
        root: PageDirectory(0x20_0001),
        entries: entries
            .iter()
            .map(|&(va, l, raw)| entry(va, l, raw))
            .collect(),
    }
}

#[test]
fn a_diff_names_what_came_went_and_changed() {
    use Level::{Pdb0, Ptb};
    let before = space(&[
        (0, Pdb0, DIRECTORY),
        (0, Ptb, NC),
        (0x1000, Ptb, NC),
        (0x2000, Ptb, NC),
    ]);
    let after = space(&[
        (0, Pdb0, DIRECTORY),
        (0, Ptb, UC),
        (0x2000, Ptb, NC),
        (0x3000, Ptb, NC),
    ]);
    let found = diff(&before, &after);
    assert_eq!(found.removed, [entry(0x1000, Ptb, NC)]);
    assert_eq!(found.added, [entry(0x3000, Ptb, NC)]);
    assert_eq!(found.changed.len(), 1);
    assert_eq!(found.changed[0].fields, [Field::Mtype]);
    assert_eq!(found.changed[0].bits, 3 << 48);
    assert_eq!(
        found.changed[0].to_string(),
        "va 0x000000000000 Ptb 000000000ffd0271 -> 000300000ffd0271: mtype NC -> UC"
            .trim_start_matches("va ")
    );
    assert!(diff(&before, &before).is_empty());
    // Backwards it is the same with the sides changed.
    let back = diff(&after, &before);
    assert_eq!((back.added, back.removed), (found.removed, found.added));
}

/// Bits of the layout in `amdgpu_vm.h`, each with what it is called.
#[test]
fn every_bit_of_an_entry_has_its_name() {
    use Field::*;
    let bits = [
        (1, System),
        (2, Snooped),
        (4, Executable),
        (5, Readable),
        (6, Writeable),
        (7, Fragment),
        (11, Fragment),
        (12, Address),
        (47, Address),
        (48, Mtype),
        (50, Mtype),
        (51, Prt),
        (54, PdeAsPte),
        (58, Noalloc),
        (3, Unnamed),
        (55, Unnamed),
        (63, Unnamed),
    ];
    for (bit, field) in bits {
        let before = space(&[(0, Level::Ptb, NC)]);
        let after = space(&[(0, Level::Ptb, NC ^ 1 << bit)]);
        assert_eq!(
            diff(&before, &after).changed[0].fields,
            [field],
            "bit {bit}"
        );
    }
    // A table made into a page: what it is changes with the bit that says so.
    let before = space(&[(0, Level::Pdb0, DIRECTORY)]);
    let after = space(&[(0, Level::Pdb0, DIRECTORY | 1 << 54)]);
    assert_eq!(diff(&before, &after).changed[0].fields, [Kind, PdeAsPte]);
}

#[test]
fn a_walk_is_the_same_after_writing_and_reading() {
    let walked = space(&[
        (0, Level::Pdb2, DIRECTORY),
        (0, Level::Pdb0, 0x0040_0000_0fc0_04f1),
        (0x20_0000, Level::Pdb0, DIRECTORY),
        (0x20_0000, Level::Ptb, UC),
        (0x20_1000, Level::Ptb, 0x0088_0000_0000_0206),
    ]);
    let text = serde_json::to_string_pretty(&walked).unwrap();
    let read: AddressSpace = serde_json::from_str(&text).unwrap();
    assert_eq!(read, walked);
    assert_eq!(serde_json::to_string_pretty(&read).unwrap(), text);
    // The documented shape.
    let first = &serde_json::from_str::<serde_json::Value>(&text).unwrap()["entries"][3];
    assert_eq!(first["span"], 4096);
    assert_eq!(first["raw"], "000300000ffd0271");
    assert!(
        text.starts_with(
            "{\n  \"format\": \"rdna-emu walk 1\",\n  \"root\": \"0x0000000000200001\""
        )
    );
}

#[test]
fn what_is_no_walk_is_refused_in_words() {
    let good = serde_json::to_string(&space(&[(0x1000, Level::Ptb, NC)])).unwrap();
    for (from, to, said) in [
        ("walk 1", "walk 2", "expected \"rdna-emu walk 1\""),
        (
            "\"0x000000001000\"",
            "\"0x000000001008\"",
            "no Ptb entry can begin at 0x1008",
        ),
        (
            "\"0x000000001000\"",
            "\"4096 bytes\"",
            "expected a number in hex",
        ),
        ("\"Leaf\"", "\"Directory\"", "is a Leaf, not a Directory"),
        (
            "\"000000000ffd0271\"",
            "\"0000000000000000\"",
            "is a Inert, not a Leaf",
        ),
    ] {
        let bad = good.replace(from, to);
        assert_ne!(bad, good, "{from}");
        let error = serde_json::from_str::<AddressSpace>(&bad)
            .unwrap_err()
            .to_string();
        assert!(error.contains(said), "{error}");
    }
}
