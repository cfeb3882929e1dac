// SPDX-License-Identifier: MIT OR Apache-2.0
//! rmcp as Debian's users get it: `cargo test -p install-tests`, one topic per file.
//!
//! Everything happens in clean root file systems of the suite that `KERNEL` names. A part of a name as argument runs
//! the tests that match, as with any Rust test.

mod archive;
mod autopkgtest;
mod boot;
mod booted;
mod checkout;
mod interruptions;
mod kernels;
mod life;
mod machines;
mod packaging;
mod refusals;
mod secure_boot;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use machines::{Once, Stage, once};

/// A test: its name and what it does with what all of them share.
type Staged = (&'static str, fn(&Stage) -> anyhow::Result<()>);

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    let threads = arguments.test_threads.unwrap_or(usize::MAX);
    arguments.test_threads = Some(threads.min(cores()));
    let stage: Arc<Once<Stage>> = Arc::default();
    let trial = |(name, test): Staged| {
        let stage = Arc::clone(&stage);
        Trial::test(name, move || told(once(&stage, Stage::open).and_then(test)))
    };
    let tests = [
        boot::TESTS,
        secure_boot::TESTS,
        packaging::TESTS,
        life::TESTS,
        checkout::TESTS,
        kernels::TESTS,
        refusals::TESTS,
        interruptions::TESTS,
    ];
    // These take the time of all the others again; `make check-install` runs them.
    let dear = [archive::TESTS, autopkgtest::TESTS].concat();
    let dear = dear
        .into_iter()
        .map(|test| trial(test).with_ignored_flag(true));
    let tests = tests.concat().into_iter().map(trial);
    libtest_mimic::run(&arguments, tests.chain(dear).collect()).exit_code()
}

/// The compiler and the booted machines keep one core busy each; memory holds four of them.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(4))
}

/// A failure with all its causes.
fn told(result: anyhow::Result<()>) -> Result<(), Failed> {
    result.map_err(|error| format!("{error:#}").into())
}
