// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the host and the guest share: the words they exchange and the kernel interface they name.
//!
//! The guest itself is the binary of this crate (`main.rs`): a static program that runs as PID 1 of the test VM.
//! This library holds the two parts that the host needs as well: [`proto`], the requests and replies, and [`uapi`],
//! the constants and structures of amdgpu's ioctls.

mod bytes;
pub mod proto;
pub mod uapi;
