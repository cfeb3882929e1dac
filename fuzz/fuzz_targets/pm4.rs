// SPDX-License-Identifier: MIT OR Apache-2.0
//! See `rdna_emu::fuzzing::pm4`.
#![no_main]

use rdna_emu::fuzzing;

libfuzzer_sys::fuzz_target!(init: fuzzing::write_seeds("pm4"), |data: &[u8]| fuzzing::pm4(data));
