// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the runs show, in words that claim no more. Pure: reports in, sentences out.

use super::report::Tried;
use super::watch::Ended;
use serde::Serialize;

/// The answer in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Runs fail under what the others are compared with, and all runs of some other step passed.
    SomeStepsPass,
    /// Every run of every step failed.
    AlwaysFails,
    /// Every run of every step passed.
    NeverFails,
    /// It passes always without a setting, and fails under some.
    FailsUnderSettings,
    /// It sometimes fails, also under each other step, or some fail less often.
    SometimesFails,
    /// There is nothing to compare.
    Incomplete,
}

/// The answer and what it rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// In a word.
    pub answer: Answer,
    /// In sentences.
    pub sentences: Vec<String>,
}

/// Why the ladder was left before its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "why")]
pub enum Stopped {
    /// The kernel's log tells of a GPU that hung or was reset.
    GpuHung {
        /// The first such line.
        line: String,
    },
    /// A process does not die.
    Stuck,
    /// We were asked to end.
    Asked,
    /// A switch could not be written.
    Switches {
        /// Why.
        what: String,
    },
}

/// "1 run" or "5 runs".
fn runs(number: usize) -> String {
    match number {
        1 => "1 run".into(),
        number => format!("{number} runs"),
    }
}

fn joined(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// The probability that all failures of a comparison fall on its first side although both sides fail alike (Fisher's
/// exact test, one-sided): `failed` of `first` runs failed, none of `second`.
fn by_chance(first: usize, failed: usize, second: usize) -> f64 {
    // Numbers of runs are far below 2^52.
    let ratio = |i| (first - i) as f64 / (first + second - i) as f64;
    (0..failed).map(ratio).product()
}

/// Counts of a step.
struct Tally<'a> {
    step: &'a Tried,
    all: usize,
    failed: usize,
}

impl<'a> Tally<'a> {
    fn of(step: &'a Tried) -> Option<Self> {
        let counting = step.runs.iter().filter(|run| run.end.counts());
        let (mut all, mut failed) = (0, 0);
        for run in counting {
            all += 1;
            failed += usize::from(!run.end.passed());
        }
        (all > 0).then_some(Self { step, all, failed })
    }

    fn passed(&self) -> usize {
        self.all - self.failed
    }

    fn name(&self) -> String {
        self.step.title()
    }
}

/// Judges.
pub fn judge(steps: &[Tried], stopped: Option<&Stopped>) -> Verdict {
    let tallies: Vec<Tally<'_>> = steps.iter().filter_map(Tally::of).collect();
    let mut sentences = Vec::new();
    let answer = answer(&tallies, &mut sentences);
    if tallies.len() > 1 || answer != Answer::Incomplete {
        sentences.extend(alike(&tallies));
    }
    sentences.extend(faults_in_passing(&tallies));
    sentences.extend(unmet(&tallies));
    sentences.extend(stopped.map(said));
    Verdict { answer, sentences }
}

fn answer(tallies: &[Tally<'_>], sentences: &mut Vec<String>) -> Answer {
    let Some(base) = tallies.iter().find(|tally| tally.step.is_base) else {
        sentences.push("No run says anything.".into());
        return Answer::Incomplete;
    };
    let others: Vec<&Tally<'_>> = tallies.iter().filter(|tally| !tally.step.is_base).collect();
    let name = base.name();
    let under = format!("{} of {} failed under {name}", base.failed, runs(base.all));
    if others.is_empty() {
        sentences.push(format!("{under}; no other step was run to compare with."));
        return Answer::Incomplete;
    }
    let failing: Vec<&&Tally<'_>> = others.iter().filter(|tally| tally.failed > 0).collect();
    let count =
        |tally: &&Tally<'_>| format!("{} of {} under {}", tally.failed, tally.all, tally.name());
    if base.failed == 0 {
        if failing.is_empty() {
            let total: usize = tallies.iter().map(|tally| tally.all).sum();
            sentences.push(format!(
                "None of {} failed, {} of them under {name}: the failure did not come, so nothing can be said about what it \
                 depends on.",
                runs(total),
                base.all
            ));
            return Answer::NeverFails;
        }
        let failing: Vec<String> = failing.iter().map(|tally| count(tally)).collect();
        sentences.push(format!("{under}, {}.", joined(&failing)));
        return Answer::FailsUnderSettings;
    }
    let passing: Vec<&&Tally<'_>> = others.iter().filter(|tally| tally.failed == 0).collect();
    if !passing.is_empty() {
        let passed: Vec<String> = passing
            .iter()
            .map(|tally| {
                format!(
                    "{} of {} passed with {}",
                    tally.passed(),
                    tally.all,
                    tally.name()
                )
            })
            .collect();
        sentences.push(format!("{under}, {}.", joined(&passed)));
        let fewest = passing.iter().map(|tally| tally.all).min().unwrap_or(0);
        sentences.push(chance(base, fewest));
        return Answer::SomeStepsPass;
    }
    if tallies.iter().all(|tally| tally.passed() == 0) {
        let rest = match others.len() {
            1 => "the other step".to_owned(),
            number => format!("the {number} other steps"),
        };
        sentences.push(format!(
            "{under}, and so did every run of {rest}: these runs do not show that any setting tried makes a difference; \
             `rmcpctl doctor` looks for other causes."
        ));
        return Answer::AlwaysFails;
    }
    let others: Vec<String> = others.iter().map(count).collect();
    sentences.push(format!(
        "{under}, {}: no step passed in all its runs.",
        joined(&others)
    ));
    Answer::SometimesFails
}

/// How easily the split would come by chance.
fn chance(base: &Tally<'_>, second: usize) -> String {
    let probability = by_chance(base.all, base.failed, second);
    let often = (1.0 / probability).round();
    let end = match probability {
        p if p > 0.01 => "; repeat the steps more often (--repeat) before you rely on it",
        _ => "; what the setting changes to bring that about is not shown",
    };
    format!(
        "If the setting made no difference, so clear a split between {} and {} would still come up once in about {often} \
         comparisons{end}.",
        base.all, second
    )
}

/// Whether all failures are one.
fn alike(tallies: &[Tally<'_>]) -> Option<String> {
    let mut ends: Vec<Ended> = tallies
        .iter()
        .flat_map(|tally| &tally.step.runs)
        .map(|run| run.end)
        .filter(|end| end.counts() && !end.passed())
        .collect();
    let total = ends.len();
    ends.dedup();
    match (ends.as_slice(), total) {
        ([], _) | (_, 1) => None,
        ([Ended::Timeout], _) => Some(format!(
            "None of the {total} that failed ended by itself: each was killed when its time was over (--timeout)."
        )),
        ([Ended::Exit { status: 127 }], _) => Some(format!(
            "Each of the {total} that failed ended with exit 127, which is how a shell says that it found no command."
        )),
        ([end], _) => Some(format!(
            "Each of the {total} that failed ended with {}.",
            end.words()
        )),
        _ => {
            ends.sort_by_key(|end| end.words());
            ends.dedup();
            let words: Vec<String> = ends.iter().map(|end| end.words()).collect();
            Some(format!(
                "Not all failed in the same way: {}.",
                joined(&words)
            ))
        }
    }
}

fn faults_in_passing(tallies: &[Tally<'_>]) -> Option<String> {
    let with = |tally: &Tally<'_>| {
        let passed = tally.step.runs.iter().filter(|run| run.end.passed());
        let faulty = passed.filter(|run| run.faults.unwrap_or(0) > 0).count();
        (faulty > 0).then(|| format!("{faulty} of {} under {}", tally.passed(), tally.name()))
    };
    let found: Vec<String> = tallies.iter().filter_map(with).collect();
    (!found.is_empty()).then(|| {
        format!(
            "The kernel logged GPU faults during runs that passed ({}): exit 0 alone is no proof of right results.",
            joined(&found)
        )
    })
}

/// Steps whose policy was for nothing that was mapped.
fn unmet(tallies: &[Tally<'_>]) -> Option<String> {
    let unmet = tallies.iter().filter(|tally| {
        let counted = tally.step.counted.as_ref();
        !tally.step.step.is_neutral() && counted.is_some_and(|counted| !counted.met())
    });
    let names: Vec<String> = unmet.map(Tally::name).collect();
    (!names.is_empty()).then(|| {
        format!(
            "No mapping that was made while it ran came under the policy of {}: these runs say nothing about it.",
            joined(&names)
        )
    })
}

fn said(stopped: &Stopped) -> String {
    match stopped {
        Stopped::GpuHung { line } => format!(
            "Stopped, since the GPU hung: {line:?}. Reboot before you believe any further result; what hung it is in the \
             kernel's log, see `rmcpctl doctor`."
        ),
        Stopped::Stuck => "Stopped, since a process does not die from SIGKILL: it waits in the kernel, most likely for the \
                           GPU. Reboot before you go on."
            .into(),
        Stopped::Asked => "Stopped, since it was asked to end.".into(),
        Stopped::Switches { what } => format!("Stopped, since a switch could not be set: {what}."),
    }
}

#[cfg(test)]
mod tests {
    use super::by_chance;

    /// One over the number of ways to choose: 3 failures among 6 runs are these 3 in 1 of C(6, 3) = 20, 5 among 10 in 1 of
    /// 252; 1 failure of 4 beside 4 that pass is among the first four in half of all cases.
    #[test]
    fn the_chance_is_fishers() {
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        near(by_chance(3, 3, 3), 1.0 / 20.0);
        near(by_chance(5, 5, 5), 1.0 / 252.0);
        near(by_chance(4, 1, 4), 0.5);
        // 2 of 3 failed, none of 2: C(3,2) / C(5,2).
        near(by_chance(3, 2, 2), 0.3);
    }
}
