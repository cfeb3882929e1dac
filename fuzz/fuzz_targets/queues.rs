// SPDX-License-Identifier: MIT OR Apache-2.0
//! See `rdna_emu::fuzzing::queues`.
#![no_main]

use rdna_emu::fuzzing;

libfuzzer_sys::fuzz_target!(init: fuzzing::write_seeds("queues"), |data: &[u8]| fuzzing::queues(data));
