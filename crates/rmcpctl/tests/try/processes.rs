// SPDX-License-Identifier: MIT OR Apache-2.0
//! Real processes: how they end, what they leave behind, and who asks `try` to end. The command itself is run, on whatever
//! machine this is; only steps without switches are used.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// A step without switches, with something to know it by.
const LADDER: &str =
    "[[step]]\nname = \"stock\"\n[[step]]\nname = \"other\"\nenvironment = { OTHER = \"yes\" }\n";

struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ladder"), LADDER).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, options: &[&str], script: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rmcpctl"));
        command
            .args(["--json", "try", "--ladder"])
            .arg(self.path("ladder"))
            .args(options)
            .args(["--", "sh", "-c", script])
            .current_dir(self.folder.path());
        command
    }

    fn run(&self, options: &[&str], script: &str) -> (Output, Value) {
        let output = self.command(options, script).output().unwrap();
        let report = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {output:?}"));
        (output, report)
    }
}

fn end(report: &Value, step: usize) -> &Value {
    &report["steps"][step]["runs"][0]["end"]
}

#[test]
fn ends_are_told_apart() {
    let bench = Bench::new();
    let once = &["--repeat", "1"][..];
    let (output, report) = bench.run(once, "test \"$OTHER\" = yes");
    assert_eq!(end(&report, 0), &json!({"how": "exit", "status": 1}));
    assert_eq!(end(&report, 1), &json!({"how": "exit", "status": 0}));
    assert_eq!(output.status.code(), Some(0));
    let (output, report) = bench.run(once, "kill -SEGV $$");
    assert_eq!(end(&report, 0), &json!({"how": "signal", "signal": 11}));
    assert_eq!(output.status.code(), Some(1));
    // Its standard output is not in the report's way.
    let (output, report) = bench.run(once, "echo words; exit 4");
    assert_eq!(end(&report, 0), &json!({"how": "exit", "status": 4}));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("words\n")
    );
}

#[test]
fn a_hang_is_ended_even_if_it_does_not_heed_sigterm() {
    let bench = Bench::new();
    let script = "trap '' TERM; sleep 1000; sleep 1000";
    let (_, report) = bench.run(&["--repeat", "1", "--timeout", "0.5"], script);
    assert_eq!(end(&report, 0), &json!({"how": "timeout"}));
    assert_eq!(end(&report, 1), &json!({"how": "timeout"}));
}

#[test]
fn what_a_job_leaves_behind_does_not_run_beside_the_next() {
    let bench = Bench::new();
    let script = "setsid sh -c 'echo $$ >>pids; exec sleep 1000' >/dev/null 2>&1 & while ! test -s pids; do :; done";
    let (_, report) = bench.run(&["--repeat", "1"], script);
    assert_eq!(end(&report, 1), &json!({"how": "exit", "status": 0}));
    gone(&bench, 1);
}

/// The processes whose numbers the script wrote down are gone.
fn gone(bench: &Bench, least: usize) {
    let pids = std::fs::read_to_string(bench.path("pids")).unwrap();
    assert!(pids.lines().count() >= least, "{pids}");
    for pid in pids.lines() {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        assert!(name.trim() != "sleep", "{pid} still runs");
    }
}

#[test]
fn a_command_that_is_not_there_is_told_in_a_sentence() {
    let output = Command::new(env!("CARGO_BIN_EXE_rmcpctl"))
        .args(["try", "--", "/nowhere/at/all"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("there is no command \"/nowhere/at/all\"; nothing is left changed\n"),
        "{said}"
    );
}

#[test]
fn a_request_to_end_ends_the_job_with_all_that_belongs_to_it_and_shows_what_was_seen() {
    for signal in ["INT", "TERM", "HUP"] {
        let bench = Bench::new();
        // One child in its group, and one that has left it and does not heed SIGTERM.
        let script = "test -e once || { touch once; exit 1; }
            touch pids
            sleep 1000 & echo $! >>pids
            setsid sh -c 'trap \"\" TERM; echo $$ >>pids; exec sleep 1000' >/dev/null 2>&1 &
            while test $(wc -l <pids) -lt 2; do :; done
            echo waiting >&2
            wait";
        let mut child = bench
            .command(&["--repeat", "2"], script)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(
            lines.any(|line| line.unwrap() == "waiting"),
            "it never waited"
        );
        let killed = Command::new("kill")
            .args([format!("-{signal}"), child.id().to_string()])
            .status();
        assert!(killed.unwrap().success());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(5), "{signal}");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["stopped"], json!({"why": "asked"}));
        assert_eq!(end(&report, 0), &json!({"how": "exit", "status": 1}));
        gone(&bench, 2);
    }
}

#[test]
fn the_machine_of_a_recording_has_no_commands_to_run() {
    let recording = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/navi10.txt");
    let output = Command::new(env!("CARGO_BIN_EXE_rmcpctl"))
        .args(["--root", recording, "try", "--", "true"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("`try` does not go with --root"), "{said}");
}
