// SPDX-License-Identifier: GPL-2.0

//! C types and functions that `kernel::bindings` does not have.
//!
//! Made by bindgen at build time from `bindings_helper.h`; see `Kbuild`, which says what is taken
//! and where the file goes.

#![allow(
    clippy::all,
    clippy::cast_lossless,
    clippy::ptr_as_ptr,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    unused_imports
)]

include!(concat!(env!("RMCP_OBJ"), "/src/hook/bindings_generated.rs"));
