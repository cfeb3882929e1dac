// SPDX-License-Identifier: MIT OR Apache-2.0
//! `rmcpctl workloads` with a stand-in for Python: a shell script that reads what it is given and says what a PyTorch of that
//! kind would. With a real PyTorch it is run by `make check-workloads`.

use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use tempfile::TempDir;

/// Finds out which workload it was given, and acts for it.
const PYTHON: &str = r#"#!/bin/sh
script=$(cat)
say() { printf 'something of PyTorch\nrmcpctl: %s\n' "$1"; }
case $script in
*'"rocm": hip'*)
    if [ "$2" = cuda ]; then gpu='"AMD Radeon RX 5700 XT"'; else gpu=null; fi
    say "{\"torch\": {\"version\": \"2.6.0\", \"rocm\": \"6.2\", \"gpu\": $gpu}}"
    say '{"done": true}' ;;
*'Basic tensor operations'*)
    say '{"step": "arithmetic"}'
    say '{"check": "sum of two", "fine": true, "error": 1e-9}'
    say '{"done": true}' ;;
*'Copies between host'*)
    say '{"check": "4096 bytes there and back", "fine": false, "what": "64 of 4096 values differ"}'
    say '{"done": true}' ;;
*'Memory under stress'*)
    say '{"step": "turn 2: allocate"}'
    echo 'Memory access fault by GPU node-1' >&2
    kill -ABRT $$ ;;
*'Convolutions forward'*)
    say '{"step": "3x3, forward"}'
    kill -STOP $$ ;;
*'Attention'*)
    say '{"check": "one", "fine": true}' ;;
*)
    say '{"step": "forward"}'
    printf 'Traceback\nRuntimeError: HIP error: invalid device function\n' >&2
    exit 1 ;;
esac
"#;

struct Machine {
    folder: TempDir,
}

impl Machine {
    fn new(python: &str) -> Self {
        let machine = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        fs::write(machine.python(), python).unwrap();
        fs::set_permissions(machine.python(), Permissions::from_mode(0o755)).unwrap();
        machine
    }

    fn python(&self) -> PathBuf {
        self.folder.path().join("python")
    }

    fn run(&self, words: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_rmcpctl"))
            .arg("workloads")
            .arg("--python")
            .arg(self.python())
            .args(words)
            .output()
            .unwrap()
    }

    /// The exit status and the report.
    fn report(&self, words: &[&str]) -> (Option<i32>, Value) {
        let output = self.run(&[words, &["--json"]].concat());
        (
            output.status.code(),
            serde_json::from_slice(&output.stdout).unwrap(),
        )
    }
}

fn of<'a>(report: &'a Value, name: &str) -> &'a Value {
    let all = report["workloads"].as_array().unwrap();
    all.iter()
        .find(|workload| workload["name"] == name)
        .unwrap()
}

#[test]
fn what_passes_is_told_with_the_gpu_that_it_ran_on() {
    let machine = Machine::new(PYTHON);
    let (status, report) = machine.report(&["--device", "cuda", "--only", "tensors"]);
    assert_eq!(status, Some(0), "{report}");
    assert_eq!(report["format"], "rmcpctl workloads 1");
    assert_eq!(report["torch"]["gpu"], "AMD Radeon RX 5700 XT");
    let tensors = of(&report, "tensors");
    assert_eq!(
        (&tensors["outcome"], &tensors["checks"]),
        (&"passed".into(), &1.into())
    );
    let shown = machine.run(&["--device", "cuda", "--only", "tensors"]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    for words in [
        "PyTorch 2.6.0 (ROCm 6.2) on AMD Radeon RX 5700 XT",
        "1 of 1 workloads passed",
    ] {
        assert!(shown.contains(words), "{shown}");
    }
}

#[test]
fn each_failure_is_told_as_what_it_is_and_ends_only_itself() {
    let machine = Machine::new(PYTHON);
    let (status, report) = machine.report(&["--device", "cpu", "--timeout", "2"]);
    assert_eq!(status, Some(1), "{report}");
    assert_eq!(report["workloads"].as_array().unwrap().len(), 9);
    for (name, outcome, why) in [
        ("tensors", "passed", None),
        ("copies", "wrong", Some("1 of 1 comparisons failed")),
        (
            "memory",
            "crashed",
            Some("signal 6 (SIGABRT) ended it in \"turn 2: allocate\""),
        ),
        (
            "convolutions",
            "timed-out",
            Some("it was not done after 2 s in \"3x3, forward\", and was killed"),
        ),
        (
            "attention",
            "ended-early",
            Some("it ended, before it was done"),
        ),
        (
            "training",
            "failed",
            Some("RuntimeError: HIP error: invalid device function in \"forward\""),
        ),
    ] {
        let found = of(&report, name);
        assert_eq!(found["outcome"], outcome, "{found}");
        assert_eq!(found["why"].as_str(), why, "{found}");
    }
    let wrong = &of(&report, "copies")["wrong"][0];
    assert_eq!(wrong["what"], "64 of 4096 values differ");
    assert_eq!(
        of(&report, "memory")["errors"][0],
        "Memory access fault by GPU node-1"
    );
}

#[test]
fn what_is_missing_is_one_sentence_with_the_cure() {
    let cases = [
        (
            "#!/bin/sh\necho 'rmcpctl: {\"missing\": \"No module named torch\"}'\n",
            "has no PyTorch: No module named torch; name the Python",
        ),
        (
            "#!/bin/sh\necho 'rmcpctl: {\"torch\": {\"version\": \"2\", \"rocm\": null, \"gpu\": null}, \"done\": true}'\n",
            "was built without ROCm; name the Python",
        ),
        (
            "#!/bin/sh\necho 'rmcpctl: {\"torch\": {\"version\": \"2\", \"rocm\": \"6\", \"gpu\": null}, \"done\": true}'\n",
            "built with ROCm 6, sees no GPU; `rmcpctl doctor` looks",
        ),
        ("#!/bin/sh\nexit 127\n", "as if there were no such program"),
    ];
    for (python, sentence) in cases {
        let output = Machine::new(python).run(&["--device", "cuda"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(
            said.contains(sentence) && said.lines().count() == 1,
            "{said}"
        );
    }
    let machine = Machine::new(PYTHON);
    let said = machine.run(&["--device", "cpu", "--python", "/not/there"]);
    assert_eq!(said.status.code(), Some(2), "--python was given twice");
    fs::remove_file(machine.python()).unwrap();
    let said = String::from_utf8(machine.run(&["--device", "cpu"]).stderr).unwrap();
    assert!(said.contains("there is no program"), "{said}");
}

#[test]
fn a_pytorch_that_crashes_at_its_start_is_told_of() {
    let machine = Machine::new("#!/bin/sh\necho 'HSA_STATUS_ERROR' >&2\nkill -SEGV $$\n");
    let (status, report) = machine.report(&["--device", "cuda"]);
    assert_eq!(status, Some(1), "{report}");
    assert_eq!(report["workloads"].as_array().unwrap().len(), 1);
    let start = of(&report, "start");
    assert_eq!(start["outcome"], "crashed");
    assert_eq!(start["errors"][0], "HSA_STATUS_ERROR");
}

#[test]
fn a_list_needs_no_python_and_unknown_names_are_refused() {
    let machine = Machine::new("");
    fs::remove_file(machine.python()).unwrap();
    let (status, report) = machine.report(&["--list"]);
    assert_eq!(status, Some(0), "{report}");
    let eeg = of(&report, "eeg")["about"].as_str().unwrap();
    assert!(eeg.starts_with("The pattern of EEG networks"), "{eeg}");
    let said = machine.run(&["--device", "cpu", "--only", "mining"]);
    assert_eq!(said.status.code(), Some(2));
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(
        said.contains("there is no workload \"mining\"; there are tensors"),
        "{said}"
    );
    let elsewhere = Command::new(env!("CARGO_BIN_EXE_rmcpctl"))
        .args(["--root", "/", "workloads", "--list"])
        .output()
        .unwrap();
    assert_eq!(elsewhere.status.code(), Some(2));
}

#[test]
fn the_script_arrives_whole_and_output_without_end_is_cut() {
    let machine = Machine::new(
        r#"#!/bin/sh
script=$(cat)
case $script in
*'"rocm": hip'*)
    echo 'rmcpctl: {"torch": {"version": "2", "rocm": null, "gpu": null}, "done": true}' ;;
*)
    yes 'noise without end' | head -c 3000000
    yes 'more of it' | head -c 3000000 >&2
    [ "$(printf %s "$script" | tail -c 15)" = 'tell(done=True)' ] && printf '\nrmcpctl: {"check": "end", "fine": true}\n'
    echo 'rmcpctl: {"done": true}' ;;
esac
"#,
    );
    let (status, report) = machine.report(&["--device", "cpu", "--only", "eeg"]);
    assert_eq!(status, Some(0), "{report}");
    assert_eq!(of(&report, "eeg")["checks"], 1);
}
