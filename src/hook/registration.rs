// SPDX-License-Identifier: GPL-2.0

//! An `ftrace_ops` that is registered for a few functions: what both kinds of hook are made of.
//!
//! Who uses it: [`super::arguments`] and [`super::replacement`].

use super::symbol::Site;
use core::{mem::ManuallyDrop, ptr::NonNull};
use kernel::{
    bindings,
    error::to_result,
    prelude::*,
    sync::atomic::{Atomic, Relaxed},
    types::Opaque,
};

/// What ftrace calls at the entry of a function.
pub(super) type Callback = unsafe extern "C" fn(
    ip: c_ulong,
    parent_ip: c_ulong,
    ops: *mut bindings::ftrace_ops,
    fregs: *mut bindings::ftrace_regs,
);

/// Why a hook could not be set.
pub(crate) enum ArmError {
    /// `kernel.ftrace_enabled` is 0.
    TracingOff,
    /// ftrace found an inconsistency earlier and has shut itself down for good.
    TracingDead,
    /// Somebody else decides where calls of the function go: a live patch, another owner of the
    /// instruction pointer, or a direct call.
    Taken,
    /// Anything else.
    Failed(Error),
}

/// Whether a hook could not be taken away; see [`Registration::remove`].
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

/// The registers that ftrace saved at a function's entry. Those that carry arguments, the stack
/// pointer and the instruction pointer are initialised.
///
/// # Safety
///
/// `fregs` is what ftrace handed to a [`Callback`] that is running.
#[inline(always)]
pub(super) unsafe fn saved_registers(
    fregs: *mut bindings::ftrace_regs,
) -> NonNull<bindings::pt_regs> {
    // On x86-64 `struct ftrace_regs` is an opaque name for `struct __arch_ftrace_regs`
    // (include/linux/ftrace_regs.h), whose only member is the pt_regs.
    let regs: *mut bindings::pt_regs = fregs
        .cast::<bindings::__arch_ftrace_regs>()
        .cast::<bindings::pt_regs>();
    // SAFETY: ftrace passes a pointer to registers on its own stack, never null.
    unsafe { NonNull::new_unchecked(regs) }
}

/// An ops that is registered. Dropping it takes it away, as [`Registration::remove`] does.
///
/// # Invariants
///
/// `ops` is registered with ftrace, with a filter that is not empty.
pub(super) struct Registration {
    ops: ManuallyDrop<Pin<KBox<Opaque<bindings::ftrace_ops>>>>,
}

// SAFETY: the ops is only handed to ftrace's functions, which take their own locks and may be called
// from any thread.
unsafe impl Send for Registration {}

impl Registration {
    /// Has `callback` called at the entry of each of the functions, and makes sure that it is so. On
    /// failure nothing stays behind.
    ///
    /// # Safety
    ///
    /// - The modules that hold the functions must not be freed during the call.
    /// - `callback` must be code of this module, must not sleep, and must do no harm at these
    ///   functions until the registration is gone.
    pub(super) unsafe fn new(
        callback: Callback,
        flags: u32,
        sites: &[Site],
    ) -> Result<Self, ArmError> {
        // SAFETY: passed on.
        let error = match unsafe { Self::register(callback, flags, sites) } {
            Err(ArmError::Failed(EBUSY)) => EBUSY,
            other => return other,
        };
        // Two things look alike: tracing is switched off, or an owner of the instruction pointer or
        // a direct call is in the way. A plain ops is only hindered by the former.
        if flags & bindings::FTRACE_OPS_FL_IPMODIFY == 0 {
            return Err(ArmError::TracingOff);
        }
        // SAFETY: as the caller promises; `watch` does nothing.
        match unsafe { Self::register(watch, 0, sites) } {
            Ok(_plain) => Err(ArmError::Taken),
            Err(ArmError::Failed(EBUSY)) => Err(ArmError::TracingOff),
            Err(ArmError::Failed(_)) => Err(ArmError::Failed(error)),
            Err(other) => Err(other),
        }
    }

    /// As [`Registration::new`], with `Failed(EBUSY)` for whatever ftrace calls so.
    ///
    /// # Safety
    ///
    /// As for [`Registration::new`].
    unsafe fn register(callback: Callback, flags: u32, sites: &[Site]) -> Result<Self, ArmError> {
        if sites.is_empty() {
            // An ops with an empty filter would trace every function of the kernel.
            return Err(ArmError::Failed(EINVAL));
        }
        let ops = bindings::ftrace_ops {
            func: Some(callback),
            // PERMANENT only means: refuse rather than be registered without effect while
            // `kernel.ftrace_enabled` is 0, and refuse to switch it to 0 later.
            flags: (flags | bindings::FTRACE_OPS_FL_PERMANENT) as c_ulong,
            ..Default::default()
        };
        let ops = KBox::pin_init(Opaque::new(ops), GFP_KERNEL).map_err(ArmError::Failed)?;

        // SAFETY: `ops` is a fresh ops that stays in place.
        if let Err(error) = unsafe { set_filter(ops.get(), sites) } {
            // SAFETY: not registered.
            unsafe { bindings::ftrace_free_filter(ops.get()) };
            return Err(match error {
                ENODEV => ArmError::TracingDead,
                error => ArmError::Failed(error),
            });
        }
        // SAFETY: as above; the filter holds these addresses and no others. `callback` is code of
        // this module, which outlives the registration: see `remove`.
        if let Err(error) = to_result(unsafe { bindings::register_ftrace_function(ops.get()) }) {
            if error == ENODEV {
                // ftrace died on the way and may have left the ops in use.
                give_up(ops);
                return Err(ArmError::TracingDead);
            }
            // SAFETY: not registered.
            unsafe { bindings::ftrace_free_filter(ops.get()) };
            return Err(ArmError::Failed(error));
        }

        // INVARIANT: registered, with the addresses of `sites`.
        let registration = Self {
            ops: ManuallyDrop::new(ops),
        };
        // SAFETY: the caller keeps the modules that hold the functions.
        if sites.iter().all(|site| unsafe { site.is_patched() }) {
            Ok(registration)
        } else {
            Err(ArmError::TracingOff)
        }
    }

    /// Takes the ops away and waits until no task runs its callback any more. `false` when ftrace
    /// does not take it back: then this module stays for good.
    pub(super) fn remove(self) -> bool {
        ManuallyDrop::new(self).take_away()
    }

    /// What [`Registration::remove`] says. Must be called once.
    fn take_away(&mut self) -> bool {
        // SAFETY: taken once; nobody looks at `ops` afterwards.
        let ops = unsafe { ManuallyDrop::take(&mut self.ops) };

        // The module's code may be freed as soon as this returns. It returns only when no task is
        // in the callback any more: an ops outside the kernel image's own data, such as this one, is
        // FTRACE_OPS_FL_DYNAMIC (`__register_ftrace_function`), and for those `ftrace_shutdown`
        // ends in `synchronize_rcu_tasks_rude()` and `synchronize_rcu_tasks()`. The latter waits
        // for every task to have slept of its own will or returned to user space once; a callback
        // never sleeps, so a task that was in it, even one that was preempted there, has left it.
        //
        // SAFETY: by the type's invariants.
        let removed = to_result(unsafe { bindings::unregister_ftrace_function(ops.get()) });
        if let Err(error) = removed {
            pr_emerg!("ftrace does not take the hook back ({error:?}): reboot\n");
            give_up(ops);
            return false;
        }
        // SAFETY: not registered any more.
        unsafe { bindings::ftrace_free_filter(ops.get()) };
        true
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.take_away();
    }
}

/// Makes the addresses of `sites` the filter of `ops`.
///
/// # Safety
///
/// `ops` is not registered and stays in place.
unsafe fn set_filter(ops: *mut bindings::ftrace_ops, sites: &[Site]) -> Result {
    const ADD: c_int = 0;
    for (index, site) in sites.iter().enumerate() {
        let reset = c_int::from(index == 0);
        // SAFETY: the caller's promise.
        to_result(unsafe { bindings::ftrace_set_filter_ip(ops, site.ip(), ADD, reset) })?;
    }
    Ok(())
}

/// Leaves the ops where it is, for good, together with this module.
fn give_up(ops: Pin<KBox<Opaque<bindings::ftrace_ops>>>) {
    // Not freed: ftrace still points to it.
    let _leaked = ManuallyDrop::new(ops);
    STUCK.store(1, Relaxed);
    // SAFETY: `__this_module` is this module, whose code is running.
    unsafe { bindings::__module_get(&raw mut bindings::__this_module) };
}

/// A callback that does nothing.
///
/// # Safety
///
/// None; it is unsafe to be a [`Callback`].
unsafe extern "C" fn watch(
    _ip: c_ulong,
    _parent_ip: c_ulong,
    _ops: *mut bindings::ftrace_ops,
    _fregs: *mut bindings::ftrace_regs,
) {
}
