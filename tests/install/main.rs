// SPDX-License-Identifier: MIT OR Apache-2.0
//! rmcp as Debian's users get it: `cargo test -p install-tests`, one topic per file.
//!
//! Everything happens in clean root file systems of the suite that `KERNEL` names. A part of a name as argument runs
//! the tests that match, as with any Rust test.

mod archive;
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
use std::sync::{Arc, OnceLock};

use libtest_mimic::{Arguments, Failed, Trial};
use machines::Stage;

/// A test that stands for itself: its name and what it does.
type Test = (&'static str, fn() -> anyhow::Result<()>);
/// One of those that share packages and machines.
type Staged = (&'static str, fn(&Stage) -> anyhow::Result<()>);

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Most of them use both cores.
    arguments.test_threads = Some(1);
    // These come first: they take the cache's lock, which the stage of the others holds to the end.
    let alone: Vec<Test> = [boot::TESTS, secure_boot::TESTS].concat();
    let staged = [
        packaging::TESTS,
        life::TESTS,
        checkout::TESTS,
        kernels::TESTS,
        refusals::TESTS,
        interruptions::TESTS,
    ]
    .concat();
    let stage: Arc<OnceLock<Result<Stage, String>>> = Arc::default();
    let alone = alone
        .into_iter()
        .map(|(name, test)| Trial::test(name, move || told(test())));
    let trial = |(name, test): Staged| {
        let stage = Arc::clone(&stage);
        Trial::test(name, move || {
            let stage = stage.get_or_init(|| Stage::open().map_err(|error| format!("{error:#}")));
            told(test(stage.as_ref()?))
        })
    };
    let staged = staged.into_iter().map(trial);
    // These take the time of all the others again; `make check-install` runs them.
    let dear = archive::TESTS
        .iter()
        .map(|&test| trial(test).with_ignored_flag(true));
    libtest_mimic::run(&arguments, alone.chain(staged).chain(dear).collect()).exit_code()
}

/// A failure with all its causes.
fn told(result: anyhow::Result<()>) -> Result<(), Failed> {
    result.map_err(|error| format!("{error:#}").into())
}
