// SPDX-License-Identifier: MIT OR Apache-2.0
//! See `rdna_emu::fuzzing::config`.
#![no_main]

use rdna_emu::fuzzing;

libfuzzer_sys::fuzz_target!(init: fuzzing::write_seeds("config"), |data: &[u8]| fuzzing::config(data));
