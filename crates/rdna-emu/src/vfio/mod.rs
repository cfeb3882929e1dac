// SPDX-License-Identifier: MIT OR Apache-2.0
//! The vfio-user transport: a server for one client (QEMU's `vfio-user-pci`), written here rather
//! than taken from the crate `vfio_user` 0.1.7, for these reasons: its `Server::run` cannot be
//! stopped or asked whether engines have work, while a device must end when its owner drops it;
//! after a command it does not know it leaves the body in the stream and loses step; it lacks
//! REGION_WRITE_MULTI, with which QEMU batches register writes; and its replies to region reads
//! take two system calls, which register polling feels.
//!
//! Protocol: QEMU's `docs/interop/vfio-user.rst`.

mod server;
#[cfg(test)]
mod tests;
mod wire;

pub(crate) use server::{Ended, Server};
