// SPDX-License-Identifier: MIT OR Apache-2.0
//! See `rmcpctl::fuzzing::try_record`.
#![no_main]

use rmcpctl::fuzzing;

libfuzzer_sys::fuzz_target!(init: fuzzing::write_seeds("try_record"), |data: &[u8]| fuzzing::try_record(data));
