// SPDX-License-Identifier: MIT OR Apache-2.0
//! Everything that `cargo xtask` does, as a library, so that the VM scenarios in `tests/` can use it too.
//!
//! The order of use: a [`target`] names a Debian suite; [`kernel::prepare`] turns it into a
//! [`kernel::Kernel`] in the [`cache`]; [`module::build`] builds rmcp.ko for that kernel inside its
//! [`root::Root`]; [`vm`] boots the two together with an emulated GPU; [`demo`] and [`check`] judge.

pub mod apt;
pub mod bench;
pub mod cache;
pub mod check;
pub mod demo;
pub mod disk;
pub mod fuzz;
pub mod guest_bin;
pub mod host;
pub mod installed;
pub mod kernel;
pub mod map;
pub mod metadata;
pub mod module;
pub mod package;
pub mod programs;
pub mod project;
pub mod qemu;
pub mod root;
pub mod suitable;
pub mod target;
pub mod tidy;
pub mod ui;
pub mod userland;
pub mod visit;
pub mod vm;
pub mod workloads;
