// SPDX-License-Identifier: GPL-2.0

//! Hooks into another module's functions, for any driver: nothing in here knows amdgpu.
//!
//! - [`symbol`] finds a function's entry without touching it.
//! - [`arguments`] runs our code at that entry, with the arguments in hand.
//! - [`replacement`] runs our function instead, which may call the driver's own.
//! - [`registration`] is what both are made of.
//! - [`percpu`] counts without being in the way.
//! - [`modules`] tells when modules come and go.
//!
//! All `unsafe` that hooking takes is in this folder. Who uses it: `crate::amdgpu` for the hooks,
//! `crate::control` for the coming and going.

pub(crate) mod arguments;
pub(crate) mod bindings;
pub(crate) mod modules;
pub(crate) mod percpu;
mod registration;
pub(crate) mod replacement;
pub(crate) mod symbol;
