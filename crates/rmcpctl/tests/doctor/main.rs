// SPDX-License-Identifier: MIT OR Apache-2.0
//! `rmcpctl doctor` on made-up machines: every check has a case in which it fires and one in which it does not.
//!
//! Expected values come from the kernel's source (`gfxhub_client_ids`, `debugging.rst`, `kfd_device.c`), from the
//! amdgpu lines that scenarios of this project demand (`tests/faults.rs`), and from the formats' descriptions.

mod bus;
mod code;
#[path = "../machine/mod.rs"]
mod common;
mod driver;
mod elf;
mod environment;
mod gpus;
mod libraries;
mod log;
mod machine;

use machine::{Made, fine};
use rmcpctl::doctor::check::Level;
use rmcpctl::doctor::checks::TABLE;
use rmcpctl::doctor::{Args, run};
use rmcpctl::fail::Status;

#[test]
fn a_healthy_machine_is_found_healthy_by_every_check() {
    let diagnosis = Made::new().examine();
    for check in &diagnosis.checks {
        fine(&check.findings);
    }
    let ids: Vec<_> = diagnosis.checks.iter().map(|check| check.id).collect();
    let all: Vec<_> = TABLE.iter().map(|check| check.id).collect();
    assert_eq!(ids, all);
    assert_eq!(
        (diagnosis.problems, diagnosis.notes, diagnosis.unknown),
        (0, 0, 0)
    );
}

#[test]
fn an_empty_machine_gives_no_panic_and_no_false_comfort() {
    let files = rmcpctl::system::Recording::parse("rmcpctl recording 1\n").unwrap();
    let made = Made {
        files,
        programs: machine::Programs::default(),
    };
    let diagnosis = made.examine();
    for check in &diagnosis.checks {
        let quiet = ["override", "environment"].contains(&check.id);
        assert!(quiet || check.level > Level::Ok, "{check:?}");
    }
}

#[test]
fn each_check_says_why_it_matters() {
    for check in TABLE {
        assert!(
            !check.title.is_empty() && !check.why.is_empty(),
            "{}",
            check.id
        );
        assert!(
            check.id == "logs" || !check.sources.is_empty(),
            "{}",
            check.id
        );
        let same = TABLE.iter().filter(|other| other.id == check.id).count();
        assert_eq!(same, 1, "{}", check.id);
    }
}

/// What the command says, and how it ends.
fn said(made: Made, args: &Args, json: bool) -> (Status, String) {
    let system = made.system();
    let (ended, text) = common::said(json, |output| run(args, &system, output));
    (ended.unwrap(), text)
}

fn ann() -> Args {
    Args {
        user: Some("ann".into()),
        ..Args::default()
    }
}

#[test]
fn the_exit_status_says_whether_there_is_a_problem() {
    assert_eq!(said(Made::new(), &ann(), false).0, Status::Fine);
    let bad = Made::new().variable("HSA_OVERRIDE_GFX_VERSION=10.3.0");
    let (status, text) = said(bad, &ann(), false);
    assert_eq!(status, Status::No);
    let title = text.find("HSA_OVERRIDE_GFX_VERSION\n").unwrap();
    let rest = &text[title..];
    for words in ["problem", "do", "source", "why", "1 problems, 0 notes"] {
        assert!(rest.contains(words), "{words} is not in {rest}");
    }
}

#[test]
fn json_has_the_findings_and_what_was_read() {
    let bad = Made::new().variable("HSA_OVERRIDE_GFX_VERSION=10.3.0");
    let (_, text) = said(bad, &ann(), true);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["format"], "rmcpctl doctor 1");
    assert_eq!(value["problems"], 1);
    let checks = value["checks"].as_array().unwrap();
    let check = checks
        .iter()
        .find(|check| check["id"] == "override")
        .unwrap();
    assert_eq!(check["findings"][0]["level"], "problem");
    assert_eq!(value["machine"]["cards"]["Ok"][0]["target"], "gfx1010");
}

/// The output in docs/diagnose.md is what the command prints.
#[test]
fn the_documentation_shows_real_output() {
    const COMMAND: &str =
        "$ rmcpctl --root crates/rmcpctl/tests/fixtures/navi14-override.txt doctor";
    let page = include_str!("../../../../docs/diagnose.md");
    let (_, rest) = page.split_once(COMMAND).unwrap();
    let (block, _) = rest.split_once("```").unwrap();
    let (words, expected) = block.split_once('\n').unwrap();
    let files = common::recorded(include_str!("../fixtures/navi14-override.txt"));
    let words: Vec<_> = words
        .split_whitespace()
        .filter(|word| *word != "--only")
        .collect();
    let args = Args {
        only: words.into_iter().map(str::to_owned).collect(),
        ..Args::default()
    };
    let system = common::system(files);
    let (ended, text) = common::said(false, |output| run(&args, &system, output));
    assert_eq!(ended, Ok(Status::No));
    assert_eq!(text, expected);
}

#[test]
fn a_single_check_can_be_asked_for() {
    let args = Args {
        only: vec!["bar".into()],
        ..ann()
    };
    let (status, text) = said(Made::new().gpu("class", "0x030000"), &args, false);
    assert_eq!(status, Status::Fine);
    assert!(text.starts_with("large BAR\n"), "{text}");
    assert!(!text.contains("XNACK"));
}
