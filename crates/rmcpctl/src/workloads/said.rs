// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a workload said of itself, line by line, and what that and its end come to.
//!
//! Its words are lines of JSON behind a mark, between whatever else PyTorch prints. They may be anything: a process that
//! crashes may have written anything before.

use crate::system::{Attended, End, clean};
use serde::{Deserialize, Serialize};

/// What its own lines begin with.
const MARK: &str = "rmcpctl: ";
/// Comparisons that failed of which more than their number is kept.
const KEPT: usize = 20;
/// Lines of its errors that are kept, and how long one may be.
const LINES: usize = 12;
const LONG: usize = 300;

/// A line.
#[derive(Debug, Default, Deserialize)]
struct Line {
    step: Option<String>,
    check: Option<String>,
    #[serde(default)]
    fine: bool,
    what: Option<String>,
    missing: Option<String>,
    torch: Option<Torch>,
    #[serde(default)]
    done: bool,
}

/// What PyTorch says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Torch {
    /// Its version.
    pub version: String,
    /// The version of ROCm that it was built with, if it was.
    pub rocm: Option<String>,
    /// The GPU that it computes on.
    pub gpu: Option<String>,
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It came to its end, and everything was as expected.
    Passed,
    /// Something was computed wrong.
    Wrong,
    /// Python ended it: an exception, or another exit status.
    Failed,
    /// A signal ended it.
    Crashed,
    /// It took too long.
    TimedOut,
    /// It ended as if all were well, but not at its end, or without having compared anything.
    EndedEarly,
}

/// A comparison that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Wrong {
    /// What was compared.
    pub check: String,
    /// What was found.
    pub what: String,
}

/// What came of a workload.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Told {
    /// How it went.
    pub outcome: Outcome,
    /// The same in words, when it did not pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Comparisons that were made.
    pub checks: u64,
    /// How many of them failed.
    pub failed: u64,
    /// The first of those.
    pub wrong: Vec<Wrong>,
    /// What it was doing last.
    pub step: Option<String>,
    /// The end of what it wrote to standard error, when it did not pass.
    pub errors: Vec<String>,
    /// Why PyTorch could not be loaded.
    #[serde(skip)]
    pub missing: Option<String>,
    /// What PyTorch is.
    #[serde(skip)]
    pub torch: Option<Torch>,
}

/// Reads what it wrote, and judges.
pub fn read(attended: &Attended) -> Told {
    let mut told = Told {
        outcome: Outcome::Passed,
        why: None,
        checks: 0,
        failed: 0,
        wrong: Vec::new(),
        step: None,
        errors: Vec::new(),
        missing: None,
        torch: None,
    };
    let mut done = false;
    for line in clean(&attended.out).lines() {
        let line = line.strip_prefix(MARK);
        let line = line.and_then(|line| serde_json::from_str::<Line>(line).ok());
        let Some(line) = line else { continue };
        if let Some(check) = line.check {
            told.checks += 1;
            if !line.fine {
                told.failed += 1;
                if told.wrong.len() < KEPT {
                    let what = short(&line.what.unwrap_or_default());
                    let check = short(&check);
                    told.wrong.push(Wrong { check, what });
                }
            }
        }
        told.step = line.step.map(|step| short(&step)).or(told.step);
        told.missing = line.missing.map(|why| short(&why)).or(told.missing);
        told.torch = line.torch.or(told.torch);
        done |= line.done;
    }
    let errors = clean(&attended.err);
    let errors: Vec<&str> = errors.lines().filter(|line| !line.is_empty()).collect();
    let last = errors.last().copied().unwrap_or_default();
    (told.outcome, told.why) = judge(attended, &told, done, last);
    if told.outcome != Outcome::Passed {
        let kept = errors.iter().skip(errors.len().saturating_sub(LINES));
        told.errors = kept.map(|line| short(line)).collect();
    }
    told
}

fn judge(attended: &Attended, told: &Told, done: bool, last: &str) -> (Outcome, Option<String>) {
    let during = match &told.step {
        Some(step) => format!(" in \"{step}\""),
        None => String::new(),
    };
    let (outcome, why) = match attended.ended {
        None => {
            let seconds = attended.time.as_secs();
            (
                Outcome::TimedOut,
                format!("it was not done after {seconds} s{during}, and was killed"),
            )
        }
        Some(End::Signal(number)) => (
            Outcome::Crashed,
            format!("{} ended it{during}", signal(number)),
        ),
        Some(End::Exit(0)) if told.missing.is_some() => {
            (Outcome::Failed, "it has no PyTorch".into())
        }
        Some(End::Exit(0)) if told.failed > 0 => (
            Outcome::Wrong,
            format!("{} of {} comparisons failed", told.failed, told.checks),
        ),
        Some(End::Exit(0)) if !done => (
            Outcome::EndedEarly,
            format!("it ended{during}, before it was done"),
        ),
        Some(End::Exit(0)) => return (Outcome::Passed, None),
        // An exception is told in the last line of its traceback.
        Some(End::Exit(1)) if !last.is_empty() => {
            (Outcome::Failed, format!("{}{during}", short(last)))
        }
        Some(End::Exit(status)) => (
            Outcome::Failed,
            format!("it ended with exit status {status}{during}"),
        ),
    };
    (outcome, Some(why))
}

/// A signal by its name, if it is one that ends crashed programs.
fn signal(number: i32) -> String {
    let name = match number {
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        15 => "SIGTERM",
        _ => return format!("signal {number}"),
    };
    format!("signal {number} ({name})")
}

fn short(text: &str) -> String {
    match text.char_indices().nth(LONG) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn attended(ended: Option<End>, out: &str, err: &str) -> Attended {
        Attended {
            ended,
            out: out.into(),
            err: err.into(),
            time: Duration::from_secs(90),
        }
    }

    fn outcome(ended: Option<End>, out: &str, err: &str) -> (Outcome, String) {
        let told = read(&attended(ended, out, err));
        (told.outcome, told.why.unwrap_or_default())
    }

    const STEP: &str = "rmcpctl: {\"step\": \"forward\"}\n";
    const GOOD: &str = "rmcpctl: {\"check\": \"sum\", \"fine\": true, \"error\": 1e-9}\n";
    const BAD: &str =
        "rmcpctl: {\"check\": \"sum\", \"fine\": false, \"error\": 0.5, \"what\": \"9 of 10\"}\n";
    const DONE: &str = "rmcpctl: {\"done\": true}\n";

    #[test]
    fn what_came_to_its_end_with_nothing_wrong_has_passed() {
        let noise = "warning: rmcpctl: {}\nrmcpctl: no JSON\n";
        let out = [noise, STEP, GOOD, GOOD, DONE].concat();
        let told = read(&attended(Some(End::Exit(0)), &out, "a warning\n"));
        assert_eq!(
            (told.outcome, told.checks, told.failed),
            (Outcome::Passed, 2, 0)
        );
        assert_eq!((told.why, told.errors), (None, vec![]));
    }

    #[test]
    fn a_wrong_result_is_told_with_what_was_compared() {
        let out = [STEP, GOOD, BAD, DONE].concat();
        let told = read(&attended(Some(End::Exit(0)), &out, ""));
        assert_eq!(told.outcome, Outcome::Wrong);
        assert_eq!(told.why.as_deref(), Some("1 of 2 comparisons failed"));
        let wrong = Wrong {
            check: "sum".into(),
            what: "9 of 10".into(),
        };
        assert_eq!(told.wrong, [wrong]);
    }

    #[test]
    fn how_it_ended_comes_before_what_it_said() {
        let out = [STEP, GOOD, BAD, DONE].concat();
        let cases = [
            (
                Some(End::Signal(6)),
                Outcome::Crashed,
                "signal 6 (SIGABRT) ended it in \"forward\"",
            ),
            (
                None,
                Outcome::TimedOut,
                "it was not done after 90 s in \"forward\", and was killed",
            ),
            (
                Some(End::Exit(1)),
                Outcome::Failed,
                "RuntimeError: HIP error in \"forward\"",
            ),
            (
                Some(End::Exit(3)),
                Outcome::Failed,
                "it ended with exit status 3 in \"forward\"",
            ),
        ];
        for (ended, expected, why) in cases {
            let err = "Traceback\n  line 3\nRuntimeError: HIP error\n";
            assert_eq!(outcome(ended, &out, err), (expected, why.to_owned()));
        }
    }

    #[test]
    fn an_end_that_is_not_the_end_is_no_success() {
        let (early, why) = outcome(Some(End::Exit(0)), &[STEP, GOOD].concat(), "");
        assert_eq!(early, Outcome::EndedEarly);
        assert_eq!(why, "it ended in \"forward\", before it was done");
    }

    #[test]
    fn endless_words_are_cut() {
        let long = "x".repeat(5000);
        let bad = format!("rmcpctl: {{\"check\": \"{long}\", \"what\": \"{long}\"}}\n");
        let told = read(&attended(
            Some(End::Exit(1)),
            &bad.repeat(100),
            &format!("{long}\n").repeat(100),
        ));
        assert_eq!(
            (told.failed, told.wrong.len(), told.errors.len()),
            (100, KEPT, LINES)
        );
        let longest = told
            .wrong
            .iter()
            .map(|wrong| wrong.check.chars().count())
            .max();
        assert_eq!(longest, Some(LONG + 1));
    }
}
