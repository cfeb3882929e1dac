// SPDX-License-Identifier: GPL-2.0

//! The module's parameter lock: the kernel holds it whenever it calls us to read or write a parameter,
//! before the module's init function runs and after its exit too. So it guards what they are about.

use core::{cell::UnsafeCell, marker::PhantomData};
use kernel::bindings;

/// Proof that the module's parameter lock is held.
pub(super) struct Locked<'a>(PhantomData<&'a mut ()>);

impl Locked<'_> {
    /// Claims that it is held.
    ///
    /// # Safety
    ///
    /// It is, for as long as the result lives, and nobody else claims it meanwhile.
    pub(super) unsafe fn assume() -> Self {
        Self(PhantomData)
    }

    /// Takes the lock for the length of a call, which must not take it again.
    pub(super) fn with<R>(call: impl FnOnce(&mut Locked<'_>) -> R) -> R {
        // SAFETY: `__this_module` is this module. Taking the lock twice would hang, not more.
        unsafe { bindings::kernel_param_lock(&raw mut bindings::__this_module) };
        let result = call(&mut Locked(PhantomData));
        // SAFETY: taken above.
        unsafe { bindings::kernel_param_unlock(&raw mut bindings::__this_module) };
        result
    }
}

/// A value that the parameter lock guards.
pub(super) struct Guarded<T>(UnsafeCell<T>);

// SAFETY: reached only with the lock held, by copies.
unsafe impl<T: Copy + Send> Sync for Guarded<T> {}

impl<T: Copy> Guarded<T> {
    /// Wraps a value.
    pub(super) const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// Its value.
    pub(super) fn get(&self, _lock: &Locked<'_>) -> T {
        // SAFETY: the lock is held, so nobody writes.
        unsafe { *self.0.get() }
    }

    /// Replaces it.
    pub(super) fn set(&self, _lock: &mut Locked<'_>, value: T) {
        // SAFETY: the lock is held, so nobody reads or writes, and no reference is ever handed out.
        unsafe { *self.0.get() = value };
    }
}
