// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask fuzz`: builds the fuzz targets of `fuzz/` with the stable compiler and runs each for a while.
//!
//! A target is instrumented by LLVM's sanitizer coverage, which rustc's own `-C` flags switch on, and driven by
//! libFuzzer, which the crate `libfuzzer-sys` compiles; so neither nightly nor cargo-fuzz is needed, only a C++
//! compiler. What a run finds (the corpus) stays in the target folder for the next one.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::check::count::Tally;
use crate::host::{self, Need};
use crate::project;
use crate::ui::{Step, Ui};

/// libFuzzer is C++.
const NEEDS: &[Need] = &[Need {
    what: "c++",
    package: "g++",
}];

/// What cargo-fuzz passes too: edges counted in line, comparisons handed to libFuzzer.
const RUSTFLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares";
/// Named, so that build scripts and macros are not instrumented.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// Longest input in bytes; seconds that one may take on a busy machine; MiB that a target may use.
const LENGTH: u32 = 4096;
const PATIENCE: u32 = 30;
const MEMORY: u32 = 2048;

/// How one target fared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The target.
    pub target: String,
    /// Inputs executed.
    pub executions: u64,
    /// Places in the code that they reached.
    pub coverage: u64,
    /// Milliseconds.
    pub milliseconds: u128,
    /// Why it ended, when not by time, with the input's file.
    pub failure: Option<String>,
}

/// Fuzzes every target, or those named, for `seconds` each; prints the table. The tally counts targets.
pub fn run(seconds: u32, only: &[String], ui: &Ui, step: &Step) -> Result<Tally> {
    host::ensure(NEEDS, ui)?;
    let folder = project::target_dir().join("fuzz");
    let names = names()?;
    step.detail("building");
    build(&folder, step)?;
    let mut runs = Vec::new();
    for name in names {
        if only.is_empty() || only.contains(&name) {
            step.detail(name.clone());
            runs.push(one(&folder, &name, seconds, step)?);
        }
    }
    ui.note(table(&runs).trim_end());
    let mut tally = Tally::default();
    for run in &runs {
        if let Some(failure) = &run.failure {
            ui.note(format!("{}: {failure}", run.target));
        }
        tally += Tally::one(run.failure.is_none() && run.executions > 0);
    }
    Ok(tally)
}

/// The targets: one file each.
fn names() -> Result<Vec<String>> {
    let folder = project::checkout().join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        names.extend(stem.map(str::to_owned));
    }
    names.sort_unstable();
    Ok(names)
}

fn build(folder: &Path, step: &Step) -> Result<()> {
    let mut command = project::cargo();
    command
        .args(["build", "--release", "--bins", "--target", TRIPLE])
        .args(["--manifest-path", "fuzz/Cargo.toml"])
        .arg("--target-dir")
        .arg(folder)
        .env("RUSTFLAGS", RUSTFLAGS);
    step.run(&mut command)
        .context("the fuzz targets do not build")
        .map(drop)
}

fn one(folder: &Path, name: &str, seconds: u32, step: &Step) -> Result<Run> {
    let corpus = folder.join("corpus").join(name);
    let artifacts = folder.join("artifacts").join(name);
    fs_err::create_dir_all(&corpus)?;
    fs_err::create_dir_all(&artifacts)?;
    let mut command = Command::new(folder.join(TRIPLE).join("release").join(name));
    command
        .env("RDNA_EMU_SEEDS", &corpus)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-max_len={LENGTH}"))
        .arg(format!("-timeout={PATIENCE}"))
        .arg(format!("-rss_limit_mb={MEMORY}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg("-print_final_stats=1")
        .arg(&corpus);
    let begin = Instant::now();
    let (status, output) = step.watch(&mut command)?;
    let mut run = read(name, status, &output, &artifacts);
    run.milliseconds = begin.elapsed().as_millis();
    Ok(run)
}

/// What libFuzzer printed.
fn read(name: &str, status: ExitStatus, output: &str, artifacts: &Path) -> Run {
    let last = |word: &str| {
        let mut words = output.split_ascii_whitespace();
        let mut found = None;
        while let Some(one) = words.next() {
            if one == word {
                found = words.next().and_then(|number| number.parse().ok());
            }
        }
        found
    };
    let failure = (!status.success()).then(|| {
        let mut lines = output.lines();
        let why = lines
            .find(|line| line.contains("panicked at") || line.contains("ERROR: libFuzzer"))
            .unwrap_or("no word");
        // A panic's place is followed by its message.
        let message = lines.next().filter(|_| why.contains("panicked at"));
        let why = [Some(why), message]
            .map(Option::unwrap_or_default)
            .join(" ");
        let newest: Option<PathBuf> = output
            .lines()
            .find_map(|line| line.split("Test unit written to ").nth(1))
            .map(PathBuf::from);
        let input = newest.unwrap_or_else(|| artifacts.to_path_buf());
        let why = why.trim_end();
        format!("{status}: {why}; the input is {}", project::shown(&input))
    });
    Run {
        target: name.to_owned(),
        executions: last("stat::number_of_executed_units:").unwrap_or(0),
        coverage: last("cov:").unwrap_or(0),
        milliseconds: 0,
        failure,
    }
}

/// The table that is printed.
#[must_use]
pub fn table(runs: &[Run]) -> String {
    let mut text = String::from("target      executions   coverage    seconds   outcome\n");
    let (mut executions, mut milliseconds) = (0, 0);
    for run in runs {
        executions += run.executions;
        milliseconds += run.milliseconds;
        let outcome = if run.failure.is_some() {
            "FAILED"
        } else {
            "ok"
        };
        line(
            &mut text,
            &run.target,
            run.executions,
            &run.coverage.to_string(),
            run.milliseconds,
            outcome,
        );
    }
    line(&mut text, "all", executions, "", milliseconds, "");
    text
}

fn line(
    text: &mut String,
    name: &str,
    executions: u64,
    coverage: &str,
    milliseconds: u128,
    outcome: &str,
) {
    let (whole, tenth) = (milliseconds / 1000, milliseconds % 1000 / 100);
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{name:<10} {executions:>11} {coverage:>10} {whole:>8}.{tenth}   {outcome}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    const GOOD: &str = "#2\tINITED cov: 812 ft: 900 corp: 6/1b\n#4096\tpulse  cov: 1033 ft: 1402\n\
                        stat::number_of_executed_units: 5021\nstat::average_exec_per_sec: 502\n";

    #[test]
    fn executions_and_coverage_are_read() {
        let run = read("sdma", ExitStatus::from_raw(0), GOOD, Path::new("x"));
        assert_eq!(
            (run.executions, run.coverage, &run.failure),
            (5021, 1033, &None)
        );
        let text = table(&[
            run.clone(),
            Run {
                milliseconds: 10_250,
                ..run
            },
        ]);
        assert!(
            text.contains("sdma              5021       1033       10.2   ok"),
            "{text}"
        );
        assert!(
            text.contains("all              10042                  10.2"),
            "{text}"
        );
    }

    #[test]
    fn a_panic_is_told_with_its_input() {
        let output = "thread '<unnamed>' panicked at src/a.rs:1:2:\nindex out of bounds\n==1== ERROR: libFuzzer: deadly signal\n\
                      artifact_prefix='t/'; Test unit written to t/crash-1\n";
        let run = read("cp", ExitStatus::from_raw(77 << 8), output, Path::new("t"));
        let failure = run.failure.unwrap();
        assert!(
            failure.contains("a.rs:1:2: index out of bounds; the input")
                && failure.ends_with("the input is t/crash-1"),
            "{failure}"
        );
    }

    #[test]
    fn every_target_of_the_crate_has_its_file() {
        let text = fs_err::read_to_string(project::checkout().join("fuzz/Cargo.toml")).unwrap();
        let names = names().unwrap();
        assert!(names.len() >= 8, "{names:?}");
        for name in names {
            assert!(text.contains(&format!("name = \"{name}\"")), "{name}");
        }
    }
}
