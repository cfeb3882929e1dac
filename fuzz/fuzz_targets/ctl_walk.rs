// SPDX-License-Identifier: MIT OR Apache-2.0
//! See `rmcpctl::fuzzing::ctl_walk`.
#![no_main]

use rmcpctl::fuzzing;

libfuzzer_sys::fuzz_target!(init: fuzzing::write_seeds("ctl_walk"), |data: &[u8]| fuzzing::ctl_walk(data));
