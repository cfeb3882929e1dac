// SPDX-License-Identifier: MIT OR Apache-2.0
//! See `rmcpctl::fuzzing::doctor_code`.
#![no_main]

use rmcpctl::fuzzing;

libfuzzer_sys::fuzz_target!(init: fuzzing::write_seeds("doctor_code"), |data: &[u8]| fuzzing::doctor_code(data));
