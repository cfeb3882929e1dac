// SPDX-License-Identifier: MIT OR Apache-2.0
//! See `rmcpctl::fuzzing::doctor_log`.
#![no_main]

use rmcpctl::fuzzing;

libfuzzer_sys::fuzz_target!(init: fuzzing::write_seeds("doctor_log"), |data: &[u8]| fuzzing::doctor_log(data));
