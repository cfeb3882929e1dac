// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the module knows without asking the kernel: the meaning of the bits, the policy, the
//! switches' grammar, and a reader for the driver's type information.
//!
//! Nothing in here is `unsafe`, allocates, prints or calls the kernel, so the same files are also
//! compiled on the host (`crates/rmcp-logic`) and tested there.
//!
//! Words: a *request* is what a mapping asks of the driver (`vm_flags`); an *entry* is what the
//! driver writes into a GPU page table; the *policy* turns one request into another.

pub mod btf;
pub mod counters;
pub mod device;
pub mod fragment;
pub mod layout;
pub mod mtype;
pub mod policy;
pub mod prototype;
pub mod pte;
pub mod switch;
pub mod switches;
pub mod table;
