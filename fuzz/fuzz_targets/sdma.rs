// SPDX-License-Identifier: MIT OR Apache-2.0
//! See `rdna_emu::fuzzing::sdma`.
#![no_main]

use rdna_emu::fuzzing;

libfuzzer_sys::fuzz_target!(init: fuzzing::write_seeds("sdma"), |data: &[u8]| fuzzing::sdma(data));
