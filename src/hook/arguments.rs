// SPDX-License-Identifier: GPL-2.0

//! Argument hooks: our code runs at the entry of a function and may change its arguments.
//!
//! A plain `ftrace_ops` that asks for the arguments only. It neither moves the instruction pointer
//! nor wants all registers, so any number of tracers, probes and live patches can share the function
//! with it. The function itself runs as ever, with the arguments that we leave behind.

use super::symbol::Site;
use core::{mem::ManuallyDrop, ptr::NonNull};
use kernel::{
    bindings,
    error::to_result,
    prelude::*,
    sync::atomic::{Atomic, Relaxed},
    types::Opaque,
};

/// What runs at the entry of a hooked function.
pub(crate) trait EditArguments: 'static {
    /// Called for every call of the function, on any CPU, in the caller's context, also with
    /// interrupts off. Must be quick: no lock, no allocation, no printing, no sleeping.
    fn edit(arguments: &mut Arguments);
}

/// The arguments of the call that is about to happen.
///
/// # Invariants
///
/// `regs` points to the registers that ftrace saved at the entry of a function; those that carry
/// arguments are initialised, and are loaded again from there before the function runs.
pub(crate) struct Arguments {
    regs: NonNull<bindings::pt_regs>,
}

impl Arguments {
    /// The fourth argument, which must be a 32 bit integer.
    #[inline(always)]
    pub(crate) fn fourth(&self) -> u32 {
        // SAFETY: by the type's invariants. x86-64 passes the fourth integer argument in rcx.
        let cx = unsafe { (&raw const (*self.regs.as_ptr()).cx).read() };
        // The upper half of the register means nothing for a 32 bit argument.
        cx as u32
    }

    /// Replaces the fourth argument, which must be a 32 bit integer.
    #[inline(always)]
    pub(crate) fn set_fourth(&mut self, value: u32) {
        // SAFETY: as in `fourth`.
        unsafe { (&raw mut (*self.regs.as_ptr()).cx).write(value as c_ulong) };
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
    // On x86-64 `struct ftrace_regs` is an opaque name for `struct __arch_ftrace_regs`
    // (include/linux/ftrace_regs.h), whose only member is the pt_regs.
    let regs: *mut bindings::pt_regs = fregs
        .cast::<bindings::__arch_ftrace_regs>()
        .cast::<bindings::pt_regs>();
    // SAFETY: ftrace passes a pointer to registers on its own stack, never null.
    let regs = unsafe { NonNull::new_unchecked(regs) };
    // INVARIANT: `ftrace_caller` and `ftrace_regs_caller` both save the registers of arguments
    // before the call and restore them after it.
    E::edit(&mut Arguments { regs });
}

/// Why a hook could not be set.
pub(crate) enum ArmError {
    /// `kernel.ftrace_enabled` is 0.
    TracingOff,
    /// ftrace found an inconsistency earlier and has shut itself down for good.
    TracingDead,
    /// Anything else.
    Failed(Error),
}

/// An argument hook that is in place. Dropping it takes it away.
///
/// # Invariants
///
/// `ops` is registered with ftrace, with a filter of exactly one address.
pub(crate) struct ArgumentHook {
    ops: ManuallyDrop<Pin<KBox<Opaque<bindings::ftrace_ops>>>>,
}

// SAFETY: the ops is only handed to ftrace's functions, which take their own locks and may be called
// from any thread.
unsafe impl Send for ArgumentHook {}

/// Whether a hook could not be taken away; see [`ArgumentHook::drop`].
static STUCK: Atomic<u32> = Atomic::new(0);

/// Whether ftrace still calls into this module although the hook was given up. Then the module's
/// code must stay where it is.
pub(crate) fn is_stuck() -> bool {
    STUCK.load(Relaxed) != 0
}

/// Keeps the calling task here for good, without using the CPU.
pub(crate) fn park() -> ! {
    loop {
        // SAFETY: only called where sleeping is fine.
        unsafe { bindings::msleep(60_000) };
    }
}

impl ArgumentHook {
    /// Sets the hook and makes sure that it took effect. On failure nothing stays behind.
    ///
    /// # Safety
    ///
    /// - The module that holds the function must not be freed during the call.
    /// - `E::edit` must fit the function's prototype.
    pub(crate) unsafe fn arm<E: EditArguments>(site: &Site) -> Result<Self, ArmError> {
        let ops = bindings::ftrace_ops {
            func: Some(enter::<E>),
            // PERMANENT only means: refuse rather than be registered without effect while
            // `kernel.ftrace_enabled` is 0, and refuse to switch it to 0 later.
            flags: bindings::FTRACE_OPS_FL_PERMANENT as c_ulong,
            ..Default::default()
        };
        let ops = KBox::pin_init(Opaque::new(ops), GFP_KERNEL).map_err(ArmError::Failed)?;

        // SAFETY: `ops` is a fresh, zero-initialised ops that stays in place.
        let filtered = unsafe { bindings::ftrace_set_filter_ip(ops.get(), site.ip(), 0, 1) };
        // An ops whose filter could not be set must not be registered: it would trace every
        // function of the kernel.
        let registered = to_result(filtered).and_then(|()| {
            // SAFETY: as above; the filter holds one address. `enter` is code of this module, which
            // outlives the registration: see `drop`.
            to_result(unsafe { bindings::register_ftrace_function(ops.get()) })
        });
        if let Err(error) = registered {
            if error == ENODEV {
                // ftrace died on the way and may have left the ops in use.
                Self::give_up(ops);
                return Err(ArmError::TracingDead);
            }
            // SAFETY: not registered.
            unsafe { bindings::ftrace_free_filter(ops.get()) };
            return Err(match error {
                EBUSY => ArmError::TracingOff,
                error => ArmError::Failed(error),
            });
        }

        // INVARIANT: registered, with one address.
        let hook = Self {
            ops: ManuallyDrop::new(ops),
        };
        // SAFETY: the caller keeps the module that holds the function.
        if unsafe { site.is_patched() } {
            Ok(hook)
        } else {
            Err(ArmError::TracingOff)
        }
    }

    /// Leaves the ops where it is, for good, together with this module.
    fn give_up(ops: Pin<KBox<Opaque<bindings::ftrace_ops>>>) {
        // Not freed: ftrace still points to it.
        let _leaked = ManuallyDrop::new(ops);
        STUCK.store(1, Relaxed);
        // SAFETY: `__this_module` is this module, whose code is running.
        unsafe { bindings::__module_get(&raw mut bindings::__this_module) };
    }
}

impl Drop for ArgumentHook {
    /// Takes the hook away and waits until no CPU runs its code any more.
    fn drop(&mut self) {
        // SAFETY: taken once; nobody looks at `ops` after `drop`.
        let ops = unsafe { ManuallyDrop::take(&mut self.ops) };

        // The module's code may be freed as soon as this returns. It returns only when no task is
        // in `enter` any more: an ops outside the kernel image's own data, such as this one, is
        // FTRACE_OPS_FL_DYNAMIC (`__register_ftrace_function`), and for those `ftrace_shutdown`
        // ends in `synchronize_rcu_tasks_rude()` and `synchronize_rcu_tasks()`. The latter waits
        // for every task to have slept of its own will or returned to user space once; `enter`
        // never sleeps, so a task that was in it, even one that was preempted there, has left it.
        //
        // SAFETY: by the type's invariants.
        let removed = to_result(unsafe { bindings::unregister_ftrace_function(ops.get()) });
        if let Err(error) = removed {
            pr_emerg!("ftrace does not take the hook back ({error:?}): reboot\n");
            return Self::give_up(ops);
        }
        // SAFETY: not registered any more.
        unsafe { bindings::ftrace_free_filter(ops.get()) };
    }
}
