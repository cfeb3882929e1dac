// SPDX-License-Identifier: MIT OR Apache-2.0
//! The program `rdna-emu`: what it does with saved walks, and what it says when something is missing.

use rdna_emu::tables::{AddressSpace, Entry, Level};
use rdna_emu::{GpuVa, PageDirectory};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn run(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_rdna-emu"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn save(folder: &Path, name: &str, raw: u64) {
    let space = AddressSpace {
        root: PageDirectory(0x20_0001),
        entries: Entry::decode(GpuVa(0x1000), Level::Ptb, raw)
            .into_iter()
            .collect(),
    };
    fs::write(folder.join(name), serde_json::to_string(&space).unwrap()).unwrap();
}

#[test]
fn saved_walks_are_shown_and_compared() {
    let dir = tempfile::tempdir().unwrap();
    save(dir.path(), "nc.json", 0x0000_0000_0ffd_0271);
    save(dir.path(), "uc.json", 0x0003_0000_0ffd_0271);
    let shown = run(&["show", "uc.json"], dir.path());
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(
        text.contains("000300000ffd0271") && text.contains("frag=4 UC"),
        "{text}"
    );
    let differ = run(&["diff", "nc.json", "uc.json"], dir.path());
    assert_eq!(differ.status.code(), Some(1));
    let text = String::from_utf8(differ.stdout).unwrap();
    assert!(
        text.starts_with("~ ") && text.ends_with("mtype NC -> UC\n"),
        "{text}"
    );
    let same = run(&["diff", "nc.json", "nc.json"], dir.path());
    assert_eq!((same.status.code(), same.stdout), (Some(0), Vec::new()));
    let json = run(&["diff", "--json", "nc.json", "uc.json"], dir.path());
    let value: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(value["changed"][0]["fields"], serde_json::json!(["mtype"]));
    assert_eq!(value["changed"][0]["bits"], "0003000000000000");
}

#[test]
fn mistakes_are_told_in_words() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("x.json"), "{}").unwrap();
    for (arguments, said) in [
        (&["show", "x.json"][..], "x.json is no walk"),
        (&["show", "none.json"], "none.json: No such file"),
        (&["--chip", "navi10"], "--socket"),
        (
            &["--socket", "s", "--log", "l", "--trace", "all"],
            "\"all\" cannot be traced",
        ),
    ] {
        let output = run(arguments, dir.path());
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && text.contains(said),
            "{arguments:?}: {text}"
        );
    }
}
