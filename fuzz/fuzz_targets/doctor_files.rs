// SPDX-License-Identifier: MIT OR Apache-2.0
//! See `rmcpctl::fuzzing::doctor_files`.
#![no_main]

use rmcpctl::fuzzing;

libfuzzer_sys::fuzz_target!(init: fuzzing::write_seeds("doctor_files"), |data: &[u8]| fuzzing::doctor_files(data));
