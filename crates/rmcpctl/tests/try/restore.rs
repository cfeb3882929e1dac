// SPDX-License-Identifier: MIT OR Apache-2.0
//! The policy that was found comes back, whatever happens; and what is said when it cannot be changed.

use crate::lab::{
    Act, Lab, OWN, PARAMETERS, RECORD, climb, exit, lab, refused, sentences, stat, step, system,
};
use rmcpctl::fail::Status;
use rmcpctl::system::{Files, Job};
use rmcpctl::r#try::{recover, refuse_while_running};
use serde_json::json;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

/// A policy that no step has, with every switch at a value of its own.
fn unusual(play: impl Fn(&Lab, &Job<'_>) -> Act + 'static) -> Lab {
    let lab = lab(play);
    let values = [
        ("mtype", "uc"),
        ("mtype_scope", "vram"),
        ("clients", "compute"),
        ("mtype_strict", "Y"),
        ("fragment_size", "7"),
        ("devices", "0000:01:00.0"),
    ];
    for (name, value) in values {
        lab.files
            .replace(
                &format!("{PARAMETERS}/{name}"),
                format!("{value}\n").as_bytes(),
            )
            .unwrap();
    }
    lab
}

const UNUSUAL: &str = "uc vram compute Y 7 Y";

#[test]
fn every_switch_comes_back_and_the_record_was_there_first() {
    let lab = Rc::new(unusual(|_, _| exit(1)));
    let before = lab.files.written().len();
    climb(&lab, &["--repeat", "1"]);
    assert_eq!(lab.policy(), UNUSUAL);
    assert_eq!(lab.switch("devices"), "0000:01:00.0");
    let written = lab.files.written();
    let paths: Vec<&str> = written[before..]
        .iter()
        .map(|(path, _)| path.as_str())
        .collect();
    let first = |part: &str| paths.iter().position(|path| path.contains(part)).unwrap();
    let last = |part: &str| paths.iter().rposition(|path| path.contains(part)).unwrap();
    assert!(first(RECORD) < first("parameters/"), "{paths:?}");
    assert!(last(RECORD) > last("parameters/"), "{paths:?}");
    assert!(!lab.has(RECORD));
}

#[test]
fn the_policy_of_each_step_is_whole_whatever_was_found() {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let kept = Rc::clone(&seen);
    let lab = Rc::new(unusual(move |lab, _| {
        kept.borrow_mut().push(lab.policy());
        exit(1)
    }));
    climb(&lab, &["--repeat", "1"]);
    // What each step of the usual ladder says, and `keep` where it says nothing.
    let expected = [
        "keep all compute N keep Y",
        "keep all compute N keep Y",
        "nc all compute N 9 Y",
        "uc system compute N keep Y",
        "uc all compute N keep Y",
        "keep all compute N 4 Y",
        "keep all compute N 0 Y",
        "uc all compute N 4 Y",
        "uc all compute N 0 Y",
    ];
    assert_eq!(*seen.borrow(), expected);
}

#[test]
fn a_command_that_is_not_there_leaves_nothing_changed() {
    let lab = Rc::new(unusual(|_, _| exit(1)));
    let failure = refused(&lab, &["--", "nowhere"]);
    assert_eq!(failure.status, Status::Missing);
    assert_eq!(failure.what, "there is no command \"nowhere\"");
    assert_eq!((lab.policy().as_str(), lab.has(RECORD)), (UNUSUAL, false));
}

#[test]
fn a_ladder_that_means_nothing_changes_nothing() {
    let lab = Rc::new(lab(|_, _| exit(1)));
    let ladder = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&ladder, "[[step]]\nname = \"a\"\nswitches = \"mtype=x\"\n").unwrap();
    let file = ladder.path().to_str().unwrap();
    let before = lab.files.written().len();
    let failure = refused(&lab, &["--ladder", file, "--", "job"]);
    assert_eq!(failure.status, Status::Usage);
    assert_eq!(
        failure.what,
        format!("{file}: line 3: \"x\" is no value of mtype; expected keep, nc or uc")
    );
    assert_eq!(lab.files.written().len(), before);
    assert_eq!(lab.starts.get(), 0);
    let none = refused(&lab, &["--ladder", "/nowhere/at/all", "--", "job"]);
    assert_eq!(none.status, Status::Usage);
}

#[test]
fn a_switch_that_cannot_be_written_ends_the_ladder() {
    let mut stubborn = lab(|_, _| exit(1));
    stubborn.files = stubborn
        .files
        .stubborn(&format!("{PARAMETERS}/mtype_scope"));
    let lab = Rc::new(stubborn);
    let failure = {
        let (status, report) = climb(&lab, &["--repeat", "1"]);
        assert_eq!(status, Status::Failed);
        assert_eq!(report["stopped"]["why"], "switches");
        report["stopped"]["what"].as_str().unwrap().to_owned()
    };
    assert!(
        failure.starts_with("mtype_scope=all could not be written"),
        "{failure}"
    );
    assert_eq!(
        (lab.policy().as_str(), lab.has(RECORD)),
        ("nc all all N 9 Y", false)
    );
}

#[test]
fn a_panic_puts_the_policy_back() {
    let lab = Rc::new(unusual(|lab, _| {
        assert!(lab.switch("mtype") != "nc", "on purpose");
        exit(1)
    }));
    let ended = catch_unwind(AssertUnwindSafe(|| climb(&lab, &[])));
    assert!(ended.is_err());
    assert_eq!((lab.policy().as_str(), lab.has(RECORD)), (UNUSUAL, false));
}

/// A machine whose `try` was killed under the step `mtype=nc fragment_size=9`: the record as it was then.
fn killed() -> (Rc<Lab>, Vec<u8>) {
    let lab = Rc::new(unusual(|lab, _| {
        if lab.switch("mtype") == "nc" {
            let record = lab.files.read(RECORD, 9999).unwrap();
            lab.files.replace("saved", &record).unwrap();
            lab.files
                .replace("policy", lab.policy().as_bytes())
                .unwrap();
        }
        exit(1)
    }));
    climb(&lab, &["--repeat", "1"]);
    let record = lab.files.read("saved", 9999).unwrap();
    // What a kill leaves: the record, and the step's switches.
    lab.files.replace(RECORD, &record).unwrap();
    for (name, value) in [
        ("mtype", "nc"),
        ("mtype_scope", "all"),
        ("mtype_strict", "N"),
        ("fragment_size", "9"),
    ] {
        lab.files
            .replace(
                &format!("{PARAMETERS}/{name}"),
                format!("{value}\n").as_bytes(),
            )
            .unwrap();
    }
    (lab, record)
}

#[test]
fn what_a_killed_try_left_is_put_back_and_told() {
    let (lab, _) = killed();
    lab.files.remove(&stat(OWN, 0).0).unwrap();
    let said = recover(&system(&lab)).unwrap();
    assert_eq!(
        said,
        "an earlier `rmcpctl try` (pid 500) was killed; the policy that it had found is put back: mtype_strict=Y \
         mtype_scope=vram mtype=uc fragment_size=7"
    );
    assert_eq!((lab.policy().as_str(), lab.has(RECORD)), (UNUSUAL, false));
    assert_eq!(recover(&system(&lab)), None);
}

#[test]
fn nothing_is_put_back_while_the_owner_lives() {
    let (lab, _) = killed();
    let before = lab.policy();
    assert_eq!(recover(&system(&lab)), None);
    assert_eq!((lab.policy(), lab.has(RECORD)), (before, true));
    let failure = refuse_while_running(&system(&lab)).unwrap_err();
    assert_eq!(
        failure.what,
        "a `rmcpctl try` is running (pid 500), which changes the policy and puts it back"
    );
}

#[test]
fn a_number_that_somebody_else_has_now_is_not_the_owner() {
    let (lab, _) = killed();
    let (path, text) = stat(OWN, 78);
    lab.files.replace(&path, text.as_bytes()).unwrap();
    assert!(recover(&system(&lab)).is_some());
    assert_eq!(lab.policy(), UNUSUAL);
}

#[test]
fn a_zombie_owner_does_not_live() {
    let (lab, _) = killed();
    let (path, text) = stat(OWN, 77);
    lab.files
        .replace(&path, text.replace(") S ", ") Z ").as_bytes())
        .unwrap();
    assert!(recover(&system(&lab)).is_some());
}

#[test]
fn a_command_that_outlived_its_try_is_named() {
    let (lab, record) = killed();
    lab.files.remove(&stat(OWN, 0).0).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    let (path, text) = stat(600, record["command"]["start"].as_u64().unwrap());
    lab.files.replace(&path, text.as_bytes()).unwrap();
    let said = recover(&system(&lab)).unwrap();
    assert!(
        said.ends_with("; its command still runs (pid 600)"),
        "{said}"
    );
}

#[test]
fn a_user_is_told_who_can_put_it_back() {
    let (lab, _) = killed();
    let mut lab = Rc::into_inner(lab).unwrap();
    lab.root = false;
    let lab = Rc::new(lab);
    lab.files.remove(&stat(OWN, 0).0).unwrap();
    let before = lab.policy();
    let said = recover(&system(&lab)).unwrap();
    assert!(said.contains("when root gives it"), "{said}");
    assert_eq!((lab.policy(), lab.has(RECORD)), (before, true));
}

#[test]
fn a_module_that_is_gone_needs_nothing_back() {
    let (lab, _) = killed();
    lab.files.remove(&stat(OWN, 0).0).unwrap();
    let mut lab = Rc::into_inner(lab).unwrap();
    lab.files = lab.files.without("sys/module/rmcp");
    let lab = Rc::new(lab);
    let said = recover(&system(&lab)).unwrap();
    assert!(said.contains("there is nothing to put back"), "{said}");
    assert!(!lab.has(RECORD));
}

#[test]
fn a_record_that_is_none_is_left_alone_and_named() {
    for record in ["", "{}", "{\"format\":\"rmcpctl try record 2\"}", "[1"] {
        let lab = Rc::new(lab(|_, _| exit(1)));
        lab.files.replace(RECORD, record.as_bytes()).unwrap();
        let said = recover(&system(&lab)).unwrap();
        assert!(
            said.contains("/run/rmcpctl/try.json cannot be used"),
            "{said}"
        );
        assert!(lab.has(RECORD));
    }
    // Values that are none are not written.
    let (lab, record) = killed();
    lab.files.remove(&stat(OWN, 0).0).unwrap();
    let record = String::from_utf8(record)
        .unwrap()
        .replace("\"uc\"", "\"xx\"");
    lab.files.replace(RECORD, record.as_bytes()).unwrap();
    let before = lab.policy();
    let said = recover(&system(&lab)).unwrap();
    assert!(said.contains("\"xx\" is no value of mtype"), "{said}");
    assert_eq!((lab.policy(), lab.has(RECORD)), (before, true));
}

#[test]
fn without_the_module_only_steps_without_switches_are_run() {
    let mut bare = lab(|_, _| exit(1));
    bare.files = bare
        .files
        .without("sys/module/rmcp")
        .without("sys/kernel/debug/rmcp");
    // The stage counts in a file that is not there then.
    bare.files = bare
        .files
        .with(crate::lab::COUNTERS, "0000:01:00.0 mappings 0\n");
    let lab = Rc::new(bare);
    let (_, report) = climb(&lab, &["--repeat", "1"]);
    assert_eq!(lab.starts.get(), 2);
    assert_eq!(
        step(&report, "uc")["not_run"],
        "the policy cannot be changed"
    );
    assert_eq!(step(&report, "stock")["runs"].as_array().unwrap().len(), 1);
    assert_eq!(
        report["notes"][0],
        "rmcp is not loaded, so only the steps without switches are run; `modprobe rmcp` makes the others possible"
    );
    assert_eq!(report["policy"], json!(null));
}

#[test]
fn a_user_runs_what_needs_no_switch_and_is_told_under_which_policy() {
    let mut user = unusual(|_, _| exit(1));
    user.root = false;
    let lab = Rc::new(user);
    let before = lab.files.written().len();
    let (_, report) = climb(&lab, &["--repeat", "2"]);
    assert_eq!(lab.starts.get(), 4);
    assert!(
        !lab.files.written()[before..]
            .iter()
            .any(|(path, _)| path.contains("parameters/"))
    );
    let notes: Vec<&str> = report["notes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|note| note.as_str().unwrap())
        .collect();
    assert!(
        notes[0].starts_with(
            "only root may change the policy, so only the steps without switches are run;"
        ),
        "{notes:?}"
    );
    assert!(
        notes[1]
            .contains("mtype=uc mtype_scope=vram clients=compute mtype_strict=Y fragment_size=7"),
        "{notes:?}"
    );
    // It is not stock, and is not called that.
    assert!(
        sentences(&report)[0].starts_with("2 of 2 runs failed under as found, "),
        "{report}"
    );
}

#[test]
fn a_driver_that_does_not_fit_is_left_alone() {
    let mut refusing = lab(|_, _| exit(1));
    refusing.refuses = Some("9");
    let lab = Rc::new(refusing);
    let (_, report) = climb(&lab, &["--repeat", "1"]);
    assert_eq!(lab.starts.get(), 2);
    let note = report["notes"][0].as_str().unwrap();
    assert!(
        note.starts_with("rmcp can do nothing (refused: a live patch"),
        "{note}"
    );
    assert_eq!(lab.policy(), "nc all all N 9 Y");
}
