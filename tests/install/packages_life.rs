// SPDX-License-Identifier: MIT OR Apache-2.0
//! The package's life.

use libtest_mimic::Failed;

use super::Test;
use super::machines::{Stage, kernels};

pub(crate) const TESTS: &[Test] = &[("ready", ready)];

fn ready() -> Result<(), Failed> {
    let stage = Stage::open()?;
    let machine = stage.ready()?;
    println!("{:?}", kernels(&machine, &stage)?);
    Ok(())
}
