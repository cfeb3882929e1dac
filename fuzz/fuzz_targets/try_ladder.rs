// SPDX-License-Identifier: MIT OR Apache-2.0
//! See `rmcpctl::fuzzing::try_ladder`.
#![no_main]

use rmcpctl::fuzzing;

libfuzzer_sys::fuzz_target!(init: fuzzing::write_seeds("try_ladder"), |data: &[u8]| fuzzing::try_ladder(data));
