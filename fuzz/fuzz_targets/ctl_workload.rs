// SPDX-License-Identifier: MIT OR Apache-2.0
//! See `rmcpctl::fuzzing::ctl_workload`.
#![no_main]

use rmcpctl::fuzzing;

libfuzzer_sys::fuzz_target!(init: fuzzing::write_seeds("ctl_workload"), |data: &[u8]| fuzzing::ctl_workload(data));
