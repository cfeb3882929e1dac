// SPDX-License-Identifier: MIT OR Apache-2.0
//! rmcp as Debian's users get it: `cargo test -p install-tests`, one topic per file.
//!
//! Everything happens in clean root file systems of the suite that `KERNEL` names. A part of a name as argument runs
//! the tests that match, as with any Rust test.

mod checkout;
mod interruptions;
mod kernels;
mod life;
mod machines;
mod packaging;
mod refusals;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use xtask::target;

/// A test: its name and what it does.
type Test = (&'static str, fn() -> anyhow::Result<()>);

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Most of them use both cores.
    arguments.test_threads = Some(1);
    let mut tests = [packaging::TESTS, life::TESTS, checkout::TESTS].concat();
    // What does not depend on the suite is shown on one of them.
    if target::chosen("") == kernels::BACKPORTS {
        tests.extend([kernels::TESTS, refusals::TESTS, interruptions::TESTS].concat());
    }
    let trials = tests
        .into_iter()
        .map(|(name, test)| {
            Trial::test(name, move || {
                test().map_err(|error| format!("{error:#}").into())
            })
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
