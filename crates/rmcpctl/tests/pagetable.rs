// SPDX-License-Identifier: MIT OR Apache-2.0
//! `rmcpctl pagetable` on recorded machines whose video memory is put together here.

mod machine;

use clap::Parser;
use machine::{Busy, NAVI10, recorded, said, system};
use rmcpctl::fail::{Failure, Status};
use rmcpctl::pagetable::{self, Args, saved::Walk};
use rmcpctl::system::{Recording, System};
use serde_json::{Value, json};
use std::path::Path;

const DRI: &str = "sys/kernel/debug/dri";
const PARAMETERS: &str = "sys/module/rmcp/parameters";

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn args(words: &[&str]) -> Args {
    Line::try_parse_from(["pagetable"].iter().chain(words))
        .unwrap()
        .args
}

/// Entries as the stock driver was seen to write them (16 of a kind: 64 KiB), in one table at 4 GiB:
/// VRAM as NC, VRAM as UC, system memory as NC; then a directory entry of 2 MiB with fragment 9.
const NC: u64 = 0x0000_0000_0ffd_0271;
const UC: u64 = 0x0003_0000_0ff9_0271;
const GTT: u64 = 0x0000_0000_03dc_0277;
const LARGE: u64 = 0x0040_0000_0fc0_04f1;
const PRT: u64 = 0x0088_0000_0000_0206;

/// Video memory with tables at 1000 (root), 2000, 3000, 4000 (pages); `pages` are the entries from 4 GiB on.
fn memory(pages: &[u64], large: u64) -> Vec<u8> {
    let mut vram = vec![0; 0x5000];
    let mut put = |at: usize, raw: u64| vram[at..at + 8].copy_from_slice(&raw.to_le_bytes());
    put(0x1000, 0x2001);
    put(0x2000 + 4 * 8, 0x3001);
    put(0x3000, 0x4001);
    put(0x3008, large);
    for (index, raw) in pages.iter().enumerate() {
        put(0x4000 + index * 8, *raw);
    }
    vram
}

fn usual() -> Vec<u64> {
    let mut pages = vec![0x10; 64];
    for page in 0..16 {
        pages[page] = NC + ((page as u64) << 12);
        pages[page + 16] = UC + ((page as u64) << 12);
        pages[page + 40] = GTT + ((page as u64) << 12);
    }
    pages[60] = PRT;
    pages
}

fn with(pages: &[u64], large: u64) -> Recording {
    let info = "pd_address: 0x1001\nmax_pfn: 0x1000000000\nnum_level: 0x3\nblock_size: 0x9\nfragment_size: 0x9\n";
    recorded(NAVI10)
        .with(&format!("{DRI}/client-2/vm_pagetable_info"), info)
        .with(
            &format!("{DRI}/0000:01:00.0/amdgpu_vram"),
            memory(pages, large),
        )
}

fn switched(files: Recording, all: &[(&str, &str)]) -> Recording {
    all.iter().fold(files, |files, (name, value)| {
        files.with(&format!("{PARAMETERS}/{name}"), format!("{value}\n"))
    })
}

fn report(files: Recording, words: &[&str]) -> (Status, Value) {
    let system = system(files);
    let (ended, text) = said(true, |output| pagetable::run(&args(words), &system, output));
    (ended.unwrap(), serde_json::from_str(&text).unwrap())
}

fn refused(files: Recording, words: &[&str]) -> Failure {
    let system = system(files);
    said(true, |output| pagetable::run(&args(words), &system, output))
        .0
        .unwrap_err()
}

#[test]
fn entries_are_added_up_by_type_and_by_fragment() {
    let (status, report) = report(with(&usual(), LARGE), &["--pid", "250"]);
    assert_eq!(status, Status::Fine);
    let space = &report["spaces"][0];
    assert_eq!(space["name"], "hip_copy");
    assert_eq!(space["gpu"], "0000:01:00.0");
    let totals = &space["totals"];
    assert_eq!(
        totals["types"],
        json!([
            {"memory": "vram", "mtype": "NC", "entries": 17, "bytes": 65536 + (2 << 20)},
            {"memory": "vram", "mtype": "UC", "entries": 16, "bytes": 65536},
            {"memory": "system", "mtype": "NC", "entries": 16, "bytes": 65536},
        ])
    );
    assert_eq!(
        totals["fragments"],
        json!([
            {"fragment": 4, "entries": 48, "bytes": 3 * 65536},
            {"fragment": 9, "entries": 1, "bytes": 2 << 20},
        ])
    );
    assert_eq!(totals["directories_as_pages"], 1);
    assert_eq!(totals["prt_bytes"], 4096);
    assert_eq!(totals["directories"], 3);
}

#[test]
fn entries_that_are_alike_are_one_range() {
    let (_, report) = report(with(&usual(), LARGE), &["--pid", "250"]);
    let ranges = report["spaces"][0]["ranges"].as_array().unwrap();
    let short: Vec<Value> = ranges
        .iter()
        .map(|range| {
            json!([
                range["va"],
                range["bytes"],
                range["memory"],
                range["mtype"],
                range["fragment"]
            ])
        })
        .collect();
    assert_eq!(
        Value::from(short),
        json!([
            ["0x000100000000", 65536, "vram", "NC", 4],
            ["0x000100010000", 65536, "vram", "UC", 4],
            ["0x000100028000", 65536, "system", "NC", 4],
            ["0x00010003c000", 4096, null, null, null],
            ["0x000100200000", 2 << 20, "vram", "NC", 9],
        ])
    );
}

#[test]
fn a_gap_ends_a_range() {
    let mut pages = vec![NC; 8];
    pages[3] = 0x10;
    let (_, report) = report(with(&pages, 0), &["--pid", "250"]);
    let ranges = report["spaces"][0]["ranges"].as_array().unwrap();
    let bytes: Vec<&Value> = ranges.iter().map(|range| &range["bytes"]).collect();
    assert_eq!(bytes, [3 * 4096, 4 * 4096]);
}

/// The answer for a process with these pages under these switches, and the exit status.
fn answer(pages: &[u64], large: u64, switches: &[(&str, &str)]) -> (String, Status) {
    let (status, report) = report(switched(with(pages, large), switches), &["--pid", "250"]);
    let answer = report["spaces"][0]["verdict"]["answer"].as_str().unwrap();
    (answer.to_owned(), status)
}

#[test]
fn the_verdict_follows_entries_and_switches() {
    let (uc, nc) = ([UC; 16], [NC; 16]);
    let uncached = [("mtype", "uc"), ("fragment_size", "keep")];
    let is = |answer: &str, status| (answer.to_owned(), status);
    assert_eq!(answer(&uc, 0, &uncached), is("reached", Status::Fine));
    assert_eq!(answer(&nc, 0, &uncached), is("not-reached", Status::No));
    assert_eq!(answer(&usual(), 0, &uncached), is("partly", Status::No));
    // Outside the scope it does not matter.
    let system_only = [
        ("mtype", "uc"),
        ("fragment_size", "keep"),
        ("mtype_scope", "system"),
    ];
    assert_eq!(answer(&nc, 0, &system_only), is("not-meant", Status::Fine));
    // What asked for coherence may be uncached, unless that is taken away.
    let cached = [("mtype", "nc"), ("fragment_size", "keep")];
    assert_eq!(
        answer(&usual(), 0, &cached),
        is("same-as-stock", Status::Fine)
    );
    let strict = [
        ("mtype", "nc"),
        ("fragment_size", "keep"),
        ("mtype_strict", "Y"),
    ];
    assert_eq!(answer(&usual(), 0, &strict), is("partly", Status::No));
    // Fragments, and directory entries that map memory.
    let small = [("mtype", "keep"), ("fragment_size", "4")];
    assert_eq!(answer(&nc, 0, &small), is("reached", Status::Fine));
    assert_eq!(answer(&nc, LARGE, &small), is("partly", Status::No));
    let smaller = [("mtype", "keep"), ("fragment_size", "3")];
    assert_eq!(answer(&nc, 0, &smaller), is("not-reached", Status::No));
    let directory = LARGE & !(0x1f << 7);
    assert_eq!(answer(&nc, directory, &small), is("partly", Status::No));
    // Nothing is asked for.
    let off = [("state", "disabled (enable=N)")];
    assert_eq!(answer(&nc, LARGE, &off), is("not-meant", Status::Fine));
}

#[test]
fn only_programs_of_rocm_are_judged_when_only_they_are_meant() {
    let switches = [
        ("mtype", "uc"),
        ("fragment_size", "keep"),
        ("clients", "compute"),
    ];
    let (meant, _) = answer(&[NC; 16], 0, &switches);
    assert_eq!(meant, "not-meant");
    let text = format!("{NAVI10}link proc/250/fd/3 /dev/kfd\n");
    let compute = recorded(&text)
        .with(
            &format!("{DRI}/client-2/vm_pagetable_info"),
            "pd_address: 0x1001\nmax_pfn: 0x1000000000\nnum_level: 0x3\nblock_size: 0x9\nfragment_size: 0x9\n",
        )
        .with(&format!("{DRI}/0000:01:00.0/amdgpu_vram"), memory(&[NC; 16], 0));
    let (status, report) = report(switched(compute, &switches), &["--all"]);
    assert_eq!(report["spaces"][0]["verdict"]["answer"], "not-reached");
    assert_eq!(status, Status::No);
}

#[test]
fn what_the_kernel_does_not_show_is_told_with_a_way_out() {
    let locked = refused(with(&usual(), LARGE).denied("sys/kernel/debug"), &["--all"]);
    assert_eq!(locked.status, Status::Denied);
    assert!(locked.what.contains("locked down"), "{locked}");
    assert!(locked.to_string().contains("rmcpctl status"), "{locked}");

    let user = Busy {
        root: false,
        ..Busy::new(1, || {})
    };
    let user = System::new(with(&usual(), LARGE).denied("sys/kernel/debug"), user);
    let failure = said(true, |output| {
        pagetable::run(&args(&["--all"]), &user, output)
    })
    .0;
    assert_eq!(
        failure.unwrap_err().to_string(),
        "only root may read page tables; ask as root"
    );

    let absent = refused(
        with(&usual(), LARGE).without(&format!("{DRI}/client-2")),
        &["--all"],
    );
    assert_eq!(absent.status, Status::Missing);
    assert!(absent.to_string().contains("mount debugfs"), "{absent}");
    let counted = "of 0000:01:00.0: 4 of 31 mappings were changed";
    assert!(absent.to_string().ends_with(counted), "{absent}");

    let nobody = refused(with(&usual(), LARGE), &["--pid", "4"]);
    assert_eq!(nobody.to_string(), "there is no process 4");
    let without = with(&usual(), LARGE).without("proc/250/fdinfo/8");
    assert_eq!(
        refused(without, &["--pid", "250"]).to_string(),
        "process 250 has no GPU of amdgpu open"
    );
}

#[test]
fn tables_outside_of_memory_are_named() {
    let mut vram = memory(&usual(), LARGE);
    vram[0x2000 + 4 * 8..][..8].copy_from_slice(&0x7_0001_u64.to_le_bytes());
    let files = with(&[], 0).with(&format!("{DRI}/0000:01:00.0/amdgpu_vram"), vram);
    let failure = refused(files, &["--all"]);
    assert_eq!(failure.status, Status::Failed);
    assert!(
        failure
            .what
            .contains("the table at 0x70000 in video memory cannot be read"),
        "{failure}"
    );
}

#[test]
fn another_generation_is_not_read() {
    let core = "sys/devices/pci0000:00/0000:00:10.0/0000:01:00.0/ip_discovery/die/0/GC/0/major";
    let failure = refused(with(&usual(), LARGE).with(core, "9\n"), &["--all"]);
    assert!(failure.what.contains("not RDNA1/2"), "{failure}");
}

/// Saves a walk of these pages.
fn saved(folder: &Path, name: &str, pages: &[u64], large: u64) -> String {
    let file = folder.join(name).to_str().unwrap().to_owned();
    report(with(pages, large), &["--pid", "250", "--save", &file]);
    file
}

#[test]
fn saved_walks_are_compared_entry_by_entry() {
    let folder = tempfile::tempdir().unwrap();
    let one = saved(folder.path(), "one", &usual(), LARGE);
    let mut pages = usual();
    pages[0] |= 0x0003_0000_0000_0000;
    pages[40] = 0x10;
    pages[63] = NC;
    let two = saved(folder.path(), "two", &pages, LARGE);
    let (status, difference) = report(recorded(NAVI10), &["--diff", &one, &two]);
    assert_eq!(status, Status::No);
    assert_eq!(difference["changed"].as_array().unwrap().len(), 1);
    assert_eq!(difference["changed"][0]["fields"], json!(["mtype"]));
    assert_eq!(difference["changed"][0]["after"]["mtype"], "UC");
    assert_eq!(difference["removed"][0]["va"], "0x000100028000");
    assert_eq!(difference["added"][0]["va"], "0x00010003f000");
    assert_eq!(difference["same"], 16 * 3 - 2 + 1 + 1 + 3);

    let (status, nothing) = report(recorded(NAVI10), &["--diff", &one, &one]);
    assert_eq!((status, &nothing["changed"]), (Status::Fine, &json!([])));
    let text = std::fs::read(&one).unwrap();
    let walk = Walk::parse(&text).unwrap();
    assert_eq!(walk.to_json().as_bytes(), text);
}

#[test]
fn what_is_no_walk_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let good = saved(folder.path(), "good", &usual(), LARGE);
    let text = std::fs::read_to_string(&good).unwrap();
    for (from, to, expected) in [
        (
            "rmcpctl walk 1",
            "rmcpctl walk 2",
            "the format is \"rmcpctl walk 2\"",
        ),
        (
            "\"block_size\":9",
            "\"block_size\":64",
            "the block size is 64",
        ),
        (
            "000100010000",
            "000100000000",
            "is not behind the one before",
        ),
        ("000100010000", "000100010001", "no Ptb entry can begin at"),
        ("0088000000000206", "0000000000000206", "says nothing"),
        (
            "0088000000000206",
            "+088000000000206",
            "is not a number in hex",
        ),
    ] {
        let wrong = text.replacen(from, to, 1);
        assert_ne!(wrong, text, "{from}");
        let said = Walk::parse(wrong.as_bytes()).unwrap_err();
        assert!(said.contains(expected), "{said}");
    }
    let failure = refused(recorded(NAVI10), &["--diff", &good, "/nonexistent"]);
    assert_eq!(failure.status, Status::Usage);
}

#[test]
fn the_picture_shows_each_range_and_escapes_names() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("picture.svg");
    let files = with(&usual(), LARGE).with("proc/250/comm", "<b>&\"\n");
    report(files, &["--all", "--svg", file.to_str().unwrap()]);
    let picture = std::fs::read_to_string(&file).unwrap();
    assert!(picture.contains("&lt;b&gt;&amp;&quot; (process 250, client 2)"));
    for piece in [
        "data-va=\"0x100000000\" data-bytes=\"65536\" data-mtype=\"NC\" data-fragment=\"4\"",
        "data-va=\"0x100010000\" data-bytes=\"65536\" data-mtype=\"UC\" data-fragment=\"4\"",
        "data-va=\"0x10003c000\" data-bytes=\"4096\" data-mtype=\"PRT\" data-fragment=\"\"",
        "data-va=\"0x100200000\" data-bytes=\"2097152\" data-mtype=\"NC\" data-fragment=\"9\"",
    ] {
        assert!(picture.contains(piece), "{piece} is not in\n{picture}");
    }
}

#[test]
fn people_read_the_same() {
    let system = system(with(&usual(), LARGE));
    let (ended, text) = said(false, |output| {
        pagetable::run(&args(&["--pid", "250", "--entries"]), &system, output)
    });
    ended.unwrap();
    for part in [
        "hip_copy (process 250, client 2) on 0000:01:00.0\n",
        "nothing contradicts the policy: all 49 entries",
        "by type             vram NC 2112 KiB, vram UC 64 KiB, system NC 64 KiB\n",
        "by fragment         4: 192 KiB, 9: 2 MiB\n",
        "0x000100010000  64 KiB  vram    UC           4  rwx\n",
        "0x000100010000 Ptb 000300000ff90271 UC 4\n",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

#[test]
fn a_report_of_a_bug_has_the_sums_without_addresses_and_names_of_people() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("snapshot.json");
    let passwd = "evelyn:x:1000:1000:Evelyn Smith,,,:/srv/evelyn:/bin/sh\n";
    let files = with(&usual(), LARGE)
        .with("etc/passwd", passwd)
        .with("proc/250/comm", "evelyn-job\n");
    let system = system(files);
    let args = rmcpctl::snapshot::Args {
        write: Some(path.clone()),
    };
    let (ended, _) = said(false, |output| {
        rmcpctl::snapshot::run(&args, &system, output)
    });
    assert_eq!(ended, Ok(Status::Fine));
    let text = std::fs::read_to_string(path).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    let space = &document["pagetable"]["spaces"][0];
    assert_eq!(space["totals"]["types"][0]["bytes"], 65536 + (2 << 20));
    assert_eq!(space["totals"]["fragments"][1]["fragment"], 9);
    assert!(space["verdict"]["answer"].is_string(), "{space}");
    assert_eq!(space["name"], "USER-job");
    for private in ["evelyn", "0x000100000000", "1001"] {
        assert!(!space.to_string().contains(private), "{private}: {space}");
    }
}
