// SPDX-License-Identifier: MIT OR Apache-2.0
//! Counting: what each runner's output says about passed and failed tests, and the sum over all.

use std::fmt;
use std::process::ExitStatus;

/// How many tests passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Tests that passed.
    pub passed: usize,
    /// Tests that failed, and runners that died.
    pub failed: usize,
}

impl Tally {
    /// One test with this outcome.
    pub fn one(passed: bool) -> Tally {
        if passed {
            Tally {
                passed: 1,
                failed: 0,
            }
        } else {
            Tally {
                passed: 0,
                failed: 1,
            }
        }
    }
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

/// All tallies of a check: on the host, and on each kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Everything.
    pub all: Tally,
    /// What of it belongs to a kernel, by the name that is printed.
    pub kernels: Vec<(String, Tally)>,
}

impl Sum {
    /// Adds what ran last: on the kernel that was begun last, or on none.
    pub fn add(&mut self, tally: Tally) {
        self.all += tally;
        if let Some((_, kernel)) = self.kernels.last_mut() {
            *kernel += tally;
        }
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.all)?;
        if self.kernels.len() > 1 {
            for (i, (name, tally)) in self.kernels.iter().enumerate() {
                write!(f, "{}{name}: {tally}", if i == 0 { " (" } else { "; " })?;
            }
            f.write_str(")")?;
        }
        Ok(())
    }
}

/// Adds up the `test result:` lines of cargo test and libtest-mimic. A runner that failed without
/// counting a failure, or ended without any count, is one failure more.
pub fn cargo_test(output: &str, ended_well: bool) -> Tally {
    let mut tally = Tally::default();
    let mut counted = false;
    for line in output.lines() {
        let Some(rest) = line.trim().strip_prefix("test result: ") else {
            continue;
        };
        let number = |word: &str| -> Option<usize> {
            let part = rest
                .split([';', '.'])
                .find_map(|part| part.trim().strip_suffix(word))?;
            part.trim().parse().ok()
        };
        if let (Some(passed), Some(failed)) = (number("passed"), number("failed")) {
            tally += Tally { passed, failed };
            counted = true;
        }
    }
    if !counted || (!ended_well && tally.failed == 0) {
        tally.failed += 1;
    }
    tally
}

/// The same for a program that was run.
pub fn of_program(output: &str, status: ExitStatus) -> Tally {
    cargo_test(output, status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "running 2 tests\ntest a ... ok\n\n\
        test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
        test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 7 filtered out; finished in 1.25s\n";

    #[test]
    fn results_are_added_up() {
        assert_eq!(
            cargo_test(TWO, false),
            Tally {
                passed: 5,
                failed: 1
            }
        );
    }

    #[test]
    fn a_runner_that_died_counts_as_failed() {
        let text = "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured\nerror: process didn't exit successfully";
        assert_eq!(
            cargo_test(text, false),
            Tally {
                passed: 2,
                failed: 1
            }
        );
    }

    #[test]
    fn a_runner_without_a_count_counts_as_failed() {
        assert_eq!(
            cargo_test("error: could not compile `x`", false),
            Tally {
                passed: 0,
                failed: 1
            }
        );
        assert_eq!(
            cargo_test("", true),
            Tally {
                passed: 0,
                failed: 1
            }
        );
    }

    #[test]
    fn an_empty_suite_is_a_count() {
        let text = "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        assert_eq!(cargo_test(text, true), Tally::default());
    }

    #[test]
    fn the_last_line_reads_as_promised() {
        assert_eq!(
            Tally {
                passed: 12,
                failed: 0
            }
            .to_string(),
            "12 passed, 0 failed"
        );
    }

    #[test]
    fn the_sum_names_several_kernels() {
        let mut sum = Sum::default();
        sum.add(Tally::one(true));
        sum.kernels.push(("a".into(), Tally::default()));
        sum.add(Tally::one(true));
        assert_eq!(sum.to_string(), "2 passed, 0 failed");
        sum.kernels.push(("b".into(), Tally::default()));
        sum.add(Tally::one(false));
        assert_eq!(
            sum.to_string(),
            "2 passed, 1 failed (a: 1 passed, 0 failed; b: 0 passed, 1 failed)"
        );
    }
}
