// SPDX-License-Identifier: MIT OR Apache-2.0
//! See `rmcpctl::fuzzing::ctl_saved`.
#![no_main]

use rmcpctl::fuzzing;

libfuzzer_sys::fuzz_target!(init: fuzzing::write_seeds("ctl_saved"), |data: &[u8]| fuzzing::ctl_saved(data));
