// SPDX-License-Identifier: MIT OR Apache-2.0
//! `rmcpctl workloads` with Debian's PyTorch, on the CPU: ours must pass, and those that are broken on purpose (in
//! `broken/`) must be reported as what they are.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use fs_err as fs;
use serde_json::Value;

use crate::cache::Cache;
use crate::check::count::Tally;
use crate::guest_bin;
use crate::host;
use crate::project;
use crate::root::Root;
use crate::ui::{Step, Ui};

/// The cache's folder for root file systems with PyTorch.
const KIND: &str = "torch";
/// Whose PyTorch.
const SUITE: &str = "trixie";
const PACKAGES: &[&str] = &["python3-torch"];
/// Where the broken ones are, below the checkout.
const BROKEN: &str = "xtask/src/workloads/broken";
const ENDLESS: &str = "xtask/src/workloads/endless";
const CPU: [&str; 2] = ["--device", "cpu"];
/// Python that finds no package, as on a machine without PyTorch.
const BARE: &str = "#!/bin/sh\nexec python3 -I -S \"$@\"\n";

/// Each broken workload, what it must be reported as, and words of the reason.
const REPORTED: &[(&str, &str, &str)] = &[
    (
        "crash",
        "crashed",
        "signal 6 (SIGABRT) ended it in \"fall\"",
    ),
    ("empty", "ended-early", "it compared nothing"),
    ("early", "ended-early", "before it was done"),
    ("exception", "failed", "ValueError: on purpose in \"raise\""),
    ("nan", "wrong", "1 of 1 comparisons failed"),
    ("wrong", "wrong", "1 of 2 comparisons failed"),
];

/// The root file system, from the cache or made.
fn prepare(ui: &Ui) -> Result<Root> {
    host::ensure_kernel(ui)?;
    let cache = Cache::open()?;
    let _lock = cache.lock(ui)?;
    Root::of_suite(
        SUITE,
        PACKAGES,
        &["usr/bin/python3", "usr/lib/python3/dist-packages/torch"],
        (KIND, "root file system with PyTorch"),
        &cache,
        ui,
    )
}

/// Runs all; each workload is a test.
pub fn run(ui: &Ui) -> Result<Tally> {
    let root = prepare(ui)?;
    let rmcpctl = guest_bin::build_rmcpctl(ui)?;
    let place = project::target_dir().join("workloads");
    fs::create_dir_all(&place)?;
    let bare = place.join("bare-python");
    fs::write(&bare, BARE)?;
    fs::set_permissions(&bare, Permissions::from_mode(0o755))?;
    let root = root.showing(&project::target_dir());
    let run = |words: &[&str], step: &Step| {
        let report = report(&root, &rmcpctl, words, step)?;
        match report.get("error") {
            Some(error) => bail!("rmcpctl workloads {}: {error}", words.join(" ")),
            None => Ok(report),
        }
    };

    let mut tally = Tally::default();
    let ours = ui.step("workloads on the CPU", |step| run(&CPU, step))?;
    let found = workloads(&ours)?;
    let listed = ui.step("list of workloads", |step| run(&["--list"], step))?;
    // Each of the list has run.
    tally += told(ui, "the list", names(&found) == names(&workloads(&listed)?));
    for workload in found {
        let good = workload["outcome"] == "passed" && workload["checks"].as_u64() > Some(0);
        tally += told(ui, &format!("workload {workload}"), good);
    }

    let broken = ui.step("broken workloads", |step| {
        run(&[&CPU[..], &["--from", BROKEN]].concat(), step)
    })?;
    let broken = workloads(&broken)?;
    for (name, outcome, why) in REPORTED {
        let found = broken.iter().find(|workload| workload["name"] == *name);
        let good = found.is_some_and(|workload| {
            let said = workload["why"].as_str().unwrap_or_default();
            workload["outcome"] == *outcome && said.contains(why)
        });
        let what = format!("broken workload {name}: {found:?}, expected {outcome}, {why:?}");
        tally += told(ui, &what, good);
    }
    let limit = ["--from", ENDLESS, "--timeout", "30"];
    let endless = ui.step("endless workload", |step| {
        run(&[&CPU[..], &limit].concat(), step)
    })?;
    let good = workloads(&endless)?
        .first()
        .is_some_and(|workload| workload["outcome"] == "timed-out");
    tally += told(ui, &format!("endless workload: {endless}"), good);

    let bare = bare.to_string_lossy();
    for (words, what, cure) in [
        (
            ["--device", "cpu", "--python", &*bare],
            "has no PyTorch: No module named 'torch'",
            "with --python; Debian's python3-torch computes on the CPU only",
        ),
        (
            ["--device", "cpu", "--python", "python4"],
            "there is no program python4",
            "or name it with --python",
        ),
        (
            ["--device", "cuda", "--python", "python3"],
            "was built without ROCm",
            "name the Python of another environment",
        ),
    ] {
        let said = ui.step(what, |step| report(&root, &rmcpctl, &words, step))?;
        let has = |member: &str, words: &str| {
            let text = said[member].as_str().unwrap_or_default();
            text.contains(words)
        };
        let good = said["status"] == 3 && has("error", what) && has("cure", cure);
        tally += told(ui, &format!("{said}, expected {what:?}"), good);
    }
    Ok(tally)
}

/// What the command reports, however it ends.
fn report(root: &Root, rmcpctl: &Path, words: &[&str], step: &Step) -> Result<Value> {
    // What it says beside the report, on standard error, comes whenever it likes.
    let file = project::target_dir().join("workloads/report.json");
    let mut command: Command = root.command(Path::new("/bin/sh"));
    command
        .args(["-c", "file=$1; shift; exec \"$@\" >\"$file\"", "sh"])
        .args([file.as_os_str(), rmcpctl.as_os_str()])
        .args(["--json", "workloads"])
        .args(words);
    let (status, said) = step.watch(&mut command)?;
    let report = fs::read_to_string(&file)?;
    serde_json::from_str(&report).with_context(|| {
        let words = words.join(" ");
        format!("rmcpctl workloads {words}: {status}: {said}{report}")
    })
}

fn workloads(report: &Value) -> Result<Vec<Value>> {
    let all = report["workloads"].as_array();
    Ok(all.context("a report without workloads")?.clone())
}

fn names(workloads: &[Value]) -> Vec<&Value> {
    workloads.iter().map(|workload| &workload["name"]).collect()
}

fn told(ui: &Ui, what: &str, good: bool) -> Tally {
    if !good {
        ui.note(format!("not as expected: {what}"));
    }
    Tally::one(good)
}
