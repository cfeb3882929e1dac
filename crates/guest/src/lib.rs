// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the host and the guest share: the words they exchange and the kernel interface they name.
//!
//! The guest itself is the binary of this crate (`main.rs`): a static program that runs as PID 1 of the test VM.
//! This library holds the parts that the host needs as well: [`proto`], the requests and replies, and [`uapi`] and
//! [`kfd_uapi`], the constants and structures of amdgpu's and KFD's ioctls.

mod bytes;
pub mod kfd_uapi;
pub mod proto;
pub mod uapi;
