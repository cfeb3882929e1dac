// SPDX-License-Identifier: MIT OR Apache-2.0
//! See `rdna_emu::fuzzing::history`.
#![no_main]

use rdna_emu::fuzzing;

libfuzzer_sys::fuzz_target!(init: fuzzing::write_seeds("history"), |data: &[u8]| fuzzing::history(data));
