// SPDX-License-Identifier: GPL-2.0

//! Argument hooks: our code runs at the entry of functions and may change their arguments.
//!
//! A plain `ftrace_ops` that asks for the arguments only. It neither moves the instruction pointer
//! nor wants all registers, so any number of tracers, probes and live patches can share the function
//! with it. The function itself runs as ever, with the arguments that we leave behind.

pub(crate) use super::registration::{is_stuck, park, ArmError};
use super::registration::{saved_registers, Registration};
use super::symbol::Site;
use core::{arch::asm, mem::offset_of, ptr::NonNull};
use kernel::{bindings, prelude::*};

/// What runs at the entry of a hooked function.
pub(crate) trait EditArguments: 'static {
    /// Called for every call of the function, on any CPU, in the caller's context, also with
    /// interrupts off. Must be quick: no lock, no allocation, no printing, no sleeping.
    fn edit(arguments: Arguments);
}

/// The arguments of the call that is about to happen, each as the 64 bits that carry it: of a
/// smaller integer, the upper bits mean nothing.
///
/// # Invariants
///
/// `regs` points to the registers that ftrace saved at the entry of a function; those that carry
/// arguments and the stack pointer are initialised, and the former are loaded again from there
/// before the function runs.
pub(crate) struct Arguments {
    regs: NonNull<bindings::pt_regs>,
}

impl Arguments {
    /// Where the register of the `N`th argument is saved, in bytes from the beginning of the registers.
    const fn register_offset<const N: usize>() -> usize {
        const {
            assert!(
                1 <= N && N <= 6,
                "x86-64 passes six integers or pointers in registers"
            );
        }
        match N {
            1 => offset_of!(bindings::pt_regs, di),
            2 => offset_of!(bindings::pt_regs, si),
            3 => offset_of!(bindings::pt_regs, dx),
            4 => offset_of!(bindings::pt_regs, cx),
            5 => offset_of!(bindings::pt_regs, r8),
            _ => offset_of!(bindings::pt_regs, r9),
        }
    }

    /// Where the register of the `N`th argument is saved.
    #[inline(always)]
    fn register_place<const N: usize>(&self) -> *mut u64 {
        // On x86-64 an unsigned long has 64 bits.
        self.regs
            .as_ptr()
            .wrapping_byte_add(Self::register_offset::<N>())
            .cast()
    }

    /// The `N`th argument, which must be one of the first six and no floating point number or
    /// structure.
    #[inline(always)]
    pub(crate) fn register<const N: usize>(&self) -> u64 {
        // SAFETY: by the type's invariants.
        unsafe { self.register_place::<N>().read() }
    }

    /// Replaces the `N`th argument; see [`Arguments::register`].
    #[inline(always)]
    pub(crate) fn set_register<const N: usize>(&mut self, value: u64) {
        // SAFETY: by the type's invariants.
        unsafe { self.register_place::<N>().write(value) };
    }

    /// Flips bits of the `N`th argument; see [`Arguments::register`].
    #[inline(always)]
    pub(crate) fn flip_register<const N: usize>(&mut self, bits: u64) {
        // In one instruction, although the compiler may have the argument at hand.
        // SAFETY: by the type's invariants.
        unsafe {
            asm!(
                "xor qword ptr [{regs} + {place}], {bits}",
                regs = in(reg) self.regs.as_ptr(),
                place = const { Self::register_offset::<N>() },
                bits = in(reg) bits,
                options(nostack),
            );
        }
    }

    /// Where the `N`th argument is on the stack.
    #[inline(always)]
    fn stack_place<const N: usize>(&self) -> *mut u64 {
        const {
            assert!(
                N >= 7,
                "x86-64 passes the first six integers or pointers in registers"
            );
        }
        // SAFETY: by the type's invariants.
        let stack = unsafe { (&raw const (*self.regs.as_ptr()).sp).read() };
        // At a function's entry the stack pointer is at the return address; the seventh argument
        // lies above it.
        core::ptr::with_exposed_provenance_mut::<u64>(stack).wrapping_add(N - 6)
    }

    /// The `N`th argument, which must be the seventh or a later one, with all before it integers or
    /// pointers. The function must have that many.
    #[inline(always)]
    pub(crate) fn stack<const N: usize>(&self) -> u64 {
        // SAFETY: whoever arms the hook promises that the function has this argument; it is on the
        // stack of the task that calls.
        unsafe { self.stack_place::<N>().read() }
    }

    /// Replaces the `N`th argument; see [`Arguments::stack`].
    #[inline(always)]
    pub(crate) fn set_stack<const N: usize>(&mut self, value: u64) {
        // SAFETY: as in `stack`. The place belongs to the function that is called: it may change
        // its arguments, so its caller does not rely on them.
        unsafe { self.stack_place::<N>().write(value) };
    }
}

/// What ftrace calls. Rust functions are compiled without ftrace entries, so that it cannot recurse.
///
/// # Safety
///
/// Only for ftrace, from an ops without `FTRACE_OPS_FL_SAVE_REGS` or with it.
unsafe extern "C" fn enter<E: EditArguments>(
    _ip: c_ulong,
    _parent_ip: c_ulong,
    _ops: *mut bindings::ftrace_ops,
    fregs: *mut bindings::ftrace_regs,
) {
    // SAFETY: ftrace has just passed it.
    let regs = unsafe { saved_registers(fregs) };
    // INVARIANT: `ftrace_caller` and `ftrace_regs_caller` both save the registers of arguments
    // before the call and restore them after it, and fill in the stack pointer.
    E::edit(Arguments { regs });
}

/// An argument hook that is in place. Dropping it takes it away and waits until no task runs its
/// code any more.
pub(crate) struct ArgumentHook {
    _registration: Registration,
}

impl ArgumentHook {
    /// Sets the hook at each of the functions, of which there must be one at least, and makes sure
    /// that it took effect. On failure nothing stays behind.
    ///
    /// # Safety
    ///
    /// - The modules that hold the functions must not be freed during the call.
    /// - `E::edit` must fit the prototype of each function.
    pub(crate) unsafe fn arm<E: EditArguments>(sites: &[Site]) -> Result<Self, ArmError> {
        // SAFETY: the first promise is passed on. `enter` is code of this module; `edit` does not
        // sleep and fits the functions.
        let _registration = unsafe { Registration::new(enter::<E>, 0, sites)? };
        Ok(Self { _registration })
    }
}
