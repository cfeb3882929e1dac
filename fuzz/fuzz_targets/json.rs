// SPDX-License-Identifier: MIT OR Apache-2.0
//! See `rdna_emu::fuzzing::json`.
#![no_main]

use rdna_emu::fuzzing;

libfuzzer_sys::fuzz_target!(init: fuzzing::write_seeds("json"), |data: &[u8]| fuzzing::json(data));
