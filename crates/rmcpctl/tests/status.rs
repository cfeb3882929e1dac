// SPDX-License-Identifier: MIT OR Apache-2.0
//! `rmcpctl status` on recorded machines.

mod machine;

use clap::Parser;
use machine::{Busy, NAVI10, document, recorded, said, system};
use rmcpctl::status::{self, Args};
use rmcpctl::system::{Files, Recording, System};
use serde_json::{Value, json};
use std::rc::Rc;

const COUNTERS: &str = "sys/kernel/debug/rmcp/counters";
const GPU: &str = "sys/devices/pci0000:00/0000:00:10.0/0000:01:00.0";

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn args(words: &[&str]) -> Args {
    Line::parse_from(["status"].iter().chain(words)).args
}

fn report(files: Recording) -> Value {
    let system = system(files);
    document(|output| status::run(&args(&["--interval", "0"]), &system, output))
}

fn text(files: Recording) -> String {
    let system = system(files);
    let (ended, text) = said(false, |output| {
        status::run(&args(&["--interval", "0"]), &system, output)
    });
    ended.unwrap();
    text
}

fn switched(files: Recording, name: &str, value: &str) -> Recording {
    files.with(
        &format!("sys/module/rmcp/parameters/{name}"),
        format!("{value}\n"),
    )
}

#[test]
fn an_armed_machine_is_told_in_full() {
    let report = report(recorded(NAVI10));
    assert_eq!(report["format"], "rmcpctl status 1");
    assert_eq!(report["kernel"], "7.3.4+deb13-amd64");
    assert_eq!(report["amdgpu"]["origin"], "stock");
    assert_eq!(report["rmcp"]["state"]["headline"], "armed");
    assert_eq!(report["pending"], json!([]));
    assert_eq!(report["unread"], json!([]));
    let gpus = report["gpus"].as_array().unwrap();
    assert_eq!(gpus.len(), 1);
    let gpu = &gpus[0];
    let facts = [
        ("address", json!("0000:01:00.0")),
        ("id", json!("1002:731f")),
        ("generation", json!("rdna1")),
        ("gc", json!("10.1.10")),
        ("gfx", json!("gfx1010")),
        ("vram", json!(268_435_456)),
        ("bar", json!(268_435_456)),
        ("driver", json!("amdgpu")),
        ("render", json!("renderD128")),
        ("policy", json!(true)),
        ("policy_said", json!("policy applies")),
        ("rates", json!(null)),
    ];
    for (name, expected) in facts {
        assert_eq!(gpu[name], expected, "{name}");
    }
    assert_eq!(gpu["product"]["name"], "Navi 10");
    assert_eq!(gpu["counters"]["mappings"], 31);
    assert_eq!(gpu["counters"]["left-alone coherent"], 3);
}

#[test]
fn people_read_the_same() {
    let text = text(recorded(NAVI10));
    for part in [
        "amdgpu    the kernel's own",
        "rmcp      armed",
        "switches  enable=Y, mtype=nc,",
        "0000:01:00.0 Navi 10 (1002:731f)",
        "  chip          RDNA1, gfx1010, GC 10.1.10",
        "  video memory  256 MiB, all of it within the CPU's reach",
        "  rmcp          policy applies",
        "  mappings      31, of which 4 changed; left alone: 3 coherent, 24 same",
        "  fragments     largest asked 14 (64 MiB), largest written 9 (2 MiB)",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    assert!(text.lines().all(|line| line.len() <= 100), "{text}");
}

#[test]
fn names_come_from_the_lists_of_the_machine() {
    let list = "731F,\tC1,\tAMD Radeon RX 5700 XT\n";
    let machine = recorded(NAVI10).with("usr/share/libdrm/amdgpu.ids", list);
    let product = report(machine)["gpus"][0]["product"].clone();
    assert_eq!(
        product,
        json!({"name": "AMD Radeon RX 5700 XT", "source": "usr/share/libdrm/amdgpu.ids"})
    );
}

#[test]
fn a_gpu_of_another_generation_is_left_alone() {
    let machine = recorded(NAVI10)
        .with(&format!("{GPU}/ip_discovery/die/0/GC/0/major"), "9\n")
        .with(&format!("{GPU}/ip_discovery/die/0/GC/0/minor"), "3\n");
    let gpu = report(machine)["gpus"][0].clone();
    assert_eq!(gpu["generation"], "other");
    assert_eq!(gpu["policy"], false);
    assert_eq!(gpu["policy_said"], "not RDNA1/2, left alone");
}

#[test]
fn without_a_driver_the_chip_is_known_by_its_number() {
    let machine = recorded(NAVI10)
        .without(&format!("{GPU}/driver"))
        .without(&format!("{GPU}/ip_discovery"))
        .without(&format!("{GPU}/mem_info_vram_total"))
        .without("sys/class/kfd")
        .without("sys/module");
    let report = report(machine);
    assert_eq!(report["amdgpu"], json!(null));
    assert_eq!(report["rmcp"], json!(null));
    let gpu = &report["gpus"][0];
    assert_eq!(gpu["generation"], "rdna1");
    assert_eq!(gpu["gc"], json!(null));
    assert_eq!(gpu["driver"], json!(null));
    assert_eq!(gpu["policy_said"], "rmcp is not loaded");
}

#[test]
fn a_driver_from_outside_the_kernel_is_named_as_such() {
    let dkms = recorded(NAVI10)
        .with("sys/module/amdgpu/taint", "OE\n")
        .with("sys/module/amdgpu/version", "6.14.14\n");
    assert_eq!(
        report(dkms)["amdgpu"],
        json!({"origin": "dkms", "version": "6.14.14", "kernel": "7.3.4+deb13-amd64"})
    );
    let built_in = recorded(NAVI10).without("sys/module/amdgpu/initstate");
    assert_eq!(report(built_in)["amdgpu"]["origin"], "built-in");
}

#[test]
fn refusals_are_told_in_the_modules_words() {
    let said = "refused: ftrace is switched off; run `sysctl kernel.ftrace_enabled=1', then write Y to `enable'";
    let report = report(switched(recorded(NAVI10), "state", said));
    assert_eq!(report["rmcp"]["state"]["headline"], "refused");
    assert_eq!(report["rmcp"]["state"]["said"], said);
    assert_eq!(report["gpus"][0]["policy"], false);
    assert_eq!(report["gpus"][0]["policy_said"], said);
}

#[test]
fn what_waits_for_the_driver_is_pending() {
    let noretry = "armed\nhooks: x\ndevice 0000:01:00.0: GC 10.1.10, policy applies\n\
                   noretry: 0 takes effect when amdgpu is loaded again";
    let machine = switched(recorded(NAVI10), "state", noretry);
    let pending = report(switched(machine, "noretry", "0"))["pending"].clone();
    assert_eq!(pending.as_array().unwrap().len(), 1, "{pending}");
    assert_eq!(
        pending[0]["what"],
        "0 takes effect when amdgpu is loaded again"
    );

    let machine = switched(recorded(NAVI10), "fragment_size", "4");
    let pending = report(machine)["pending"].clone();
    assert_eq!(pending[0]["switch"], "fragment_size", "{pending}");
    assert_eq!(pending[0]["gpu"], "0000:01:00.0");
    let what = pending[0]["what"].as_str().unwrap();
    assert!(what.contains("2^9") && what.contains("2^4"), "{what}");
}

#[test]
fn a_told_limit_that_fits_is_not_pending() {
    for (name, value) in [("fragment_size", "12"), ("fragment_size", "keep")] {
        let report = report(switched(recorded(NAVI10), name, value));
        assert_eq!(report["pending"], json!([]), "{name}={value}");
    }
    // Compute programs are told the same as all others.
    let machine = switched(recorded(NAVI10), "fragment_size", "4");
    let compute = report(switched(machine, "clients", "compute"));
    assert_eq!(compute["pending"], json!([]));
}

#[test]
fn who_may_not_read_the_counters_is_told_who_may() {
    let user = Busy {
        root: false,
        ..Busy::new(1, || {})
    };
    let machine = System::new(recorded(NAVI10).denied("sys/kernel/debug"), user);
    let report = document(|output| status::run(&args(&[]), &machine, output));
    assert_eq!(
        report["unread"],
        json!([{"what": "the counters", "why": "not permitted", "cure": "ask as root"}])
    );
    assert_eq!(report["gpus"][0]["policy"], true);
    assert_eq!(report["gpus"][0]["counters"], json!(null));

    let locked = document(|output| {
        let machine = system(recorded(NAVI10).denied("sys/kernel/debug"));
        status::run(&args(&[]), &machine, output)
    });
    let cure = locked["unread"][0]["cure"].as_str().unwrap();
    assert!(cure.contains("locked down"), "{cure}");
}

/// Mappings grow by 10 while a command waits.
fn growing() -> (Rc<Recording>, impl Fn()) {
    let files = Rc::new(recorded(NAVI10));
    let grown = Rc::clone(&files);
    let grow = move || {
        let text = grown.read(COUNTERS, 1 << 20).unwrap();
        let text = String::from_utf8(text).unwrap();
        let more = |line: &str| match line.rsplit_once("mappings ") {
            Some((address, count)) => {
                format!("{address}mappings {}\n", count.parse::<u64>().unwrap() + 10)
            }
            None => format!("{line}\n"),
        };
        let text: String = text.lines().map(more).collect();
        grown.write(COUNTERS, text.as_bytes()).unwrap();
    };
    (files, grow)
}

#[test]
fn rates_come_from_two_readings() {
    let (files, grow) = growing();
    let system = System::new(files, Busy::new(1, grow));
    let report = document(|output| status::run(&args(&["--interval", "4"]), &system, output));
    let gpu = &report["gpus"][0];
    assert_eq!(gpu["counters"]["mappings"], 41);
    assert_eq!(gpu["rates"]["mappings"], 2.5);
    assert_eq!(gpu["rates"]["changed"], 0.0);
    assert_eq!(gpu["rates"]["fragment asked largest"], json!(null));
}

#[test]
fn watching_tells_it_again_and_again() {
    let (files, grow) = growing();
    let system = System::new(files, Busy::new(3, grow));
    let (ended, text) = said(true, |output| {
        status::run(&args(&["--watch"]), &system, output)
    });
    ended.unwrap();
    let documents: Vec<Value> = serde_json::Deserializer::from_str(&text)
        .into_iter()
        .map(Result::unwrap)
        .collect();
    let mappings = |index: usize| documents[index]["gpus"][0]["counters"]["mappings"].clone();
    assert_eq!(documents.len(), 3);
    assert_eq!([mappings(0), mappings(1), mappings(2)], [31, 41, 51]);
    assert_eq!(documents[0]["gpus"][0]["rates"], json!(null));
    assert_eq!(documents[2]["gpus"][0]["rates"]["mappings"], 5.0);
}

#[test]
fn a_machine_without_amd_is_told_as_such() {
    let bare = "rmcpctl recording 1\nfolder sys/bus/pci/devices\n";
    assert!(text(recorded(bare)).contains("There is no AMD GPU."));
}

#[test]
fn escapes_in_files_do_not_reach_the_terminal() {
    let machine = switched(recorded(NAVI10), "state", "armed \x1b[2J\u{9b}1m");
    let said = report(machine)["rmcp"]["state"]["said"].clone();
    assert_eq!(said, "armed \u{fffd}[2J\u{fffd}1m");
}
