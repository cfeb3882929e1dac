// SPDX-License-Identifier: GPL-2.0

//! Being told when modules come and go.

use core::{marker::PhantomData, ptr::NonNull};
use kernel::{bindings, error::to_result, prelude::*, types::Opaque};

/// What happens to a module.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// Its code and symbols are in place, its init function has not run yet.
    Coming,
    /// Its code is about to be freed: it is being unloaded, or its init function failed.
    Going,
}

/// Who is told.
pub(crate) trait Watch: 'static {
    /// Called for every module. May sleep. The module's loading or unloading waits meanwhile, so
    /// its code does not go away.
    fn module_event(module: &Module<'_>, event: Event);
}

/// A module that comes or goes.
///
/// # Invariants
///
/// The pointer is to a live `struct module` for as long as `'a`.
pub(crate) struct Module<'a> {
    module: NonNull<bindings::module>,
    _alive: PhantomData<&'a bindings::module>,
}

impl Module<'_> {
    /// Its name.
    pub(crate) fn name(&self) -> &CStr {
        // SAFETY: by the type's invariants; a name is terminated and stays as it is.
        unsafe {
            let name = &raw const (*self.module.as_ptr()).name;
            CStr::from_char_ptr(name.cast())
        }
    }

    /// The version that it calls itself, if it does.
    pub(crate) fn version(&self) -> Option<&CStr> {
        // SAFETY: by the type's invariants. The kernel has copied the text before the module is told
        // of, and frees it with the module.
        let version = unsafe { (*self.module.as_ptr()).version };
        // SAFETY: as above; the text is terminated.
        (!version.is_null()).then(|| unsafe { CStr::from_char_ptr(version) })
    }

    /// Whether it was built outside the kernel's tree.
    pub(crate) fn is_out_of_tree(&self) -> bool {
        // SAFETY: by the type's invariants; the kernel sets this bit before the module is told of.
        let taints = unsafe { (*self.module.as_ptr()).taints };
        taints & (1 << bindings::TAINT_OOT_MODULE) != 0
    }

    /// Sets one of its parameters that is an `int`, as an option at load time would. For a module that
    /// is coming: its own options are taken after this.
    ///
    /// # Errors
    ///
    /// `ENOENT` when it has no such parameter, `EINVAL` when that is no `int`.
    pub(crate) fn set_parameter(&self, name: &CStr, value: c_int) -> Result<IntParameter> {
        let module = self.module.as_ptr();
        // SAFETY: by the type's invariants; `kp` points to `num_kp` parameters, which stay as they
        // are.
        let parameters = unsafe {
            match usize::try_from((*module).num_kp) {
                Ok(count) if !(*module).kp.is_null() => {
                    core::slice::from_raw_parts((*module).kp, count)
                }
                _ => &[],
            }
        };
        let parameter = parameters.iter().find(|parameter| {
            // SAFETY: a parameter has a terminated name.
            (unsafe { CStr::from_char_ptr(parameter.name) }) == name
        });
        let parameter = parameter.ok_or(ENOENT)?;
        if !core::ptr::eq(parameter.ops, &raw const bindings::param_ops_int) {
            return Err(EINVAL);
        }
        // SAFETY: what `param_ops_int` works on is an `int`.
        let variable = unsafe { parameter.__bindgen_anon_1.arg }.cast::<c_int>();
        // SAFETY: as above. Nobody else has it: the files of a module that is coming are not there
        // yet, and its options are read later by the task that we are in.
        unsafe { variable.write_volatile(value) };
        // INVARIANT: as above.
        Ok(IntParameter { variable })
    }
}

/// A parameter of another module that is an `int`.
///
/// # Invariants
///
/// `variable` is the `int` behind it for as long as the module is there.
#[derive(Clone, Copy)]
pub(crate) struct IntParameter {
    variable: *const c_int,
}

// SAFETY: the module's variable belongs to no thread.
unsafe impl Send for IntParameter {}

impl IntParameter {
    /// Its value now.
    ///
    /// # Safety
    ///
    /// The module is there.
    pub(crate) unsafe fn get(self) -> c_int {
        // SAFETY: by the type's invariants. The module may write it at any time, whole.
        unsafe { self.variable.read_volatile() }
    }
}

/// As long as it lives, `W` is told.
///
/// # Invariants
///
/// `block` is registered.
pub(crate) struct Notifier<W: Watch> {
    block: Pin<KBox<Opaque<bindings::notifier_block>>>,
    _who: PhantomData<fn(W)>,
}

// SAFETY: the block is only handed to the kernel, which locks.
unsafe impl<W: Watch> Send for Notifier<W> {}
// SAFETY: nothing can be done with a shared reference.
unsafe impl<W: Watch> Sync for Notifier<W> {}

impl<W: Watch> Notifier<W> {
    /// Starts telling `W`.
    pub(crate) fn new() -> Result<Self> {
        let block = bindings::notifier_block {
            notifier_call: Some(notify::<W>),
            // Behind those of priority 0: one of them reads the module's type information.
            priority: -1,
            ..Default::default()
        };
        let block = KBox::pin_init(Opaque::new(block), GFP_KERNEL)?;
        // SAFETY: the block is pinned, and unregistered before it is freed.
        to_result(unsafe { bindings::register_module_notifier(block.get()) })?;
        // INVARIANT: just registered.
        Ok(Self {
            block,
            _who: PhantomData,
        })
    }
}

impl<W: Watch> Drop for Notifier<W> {
    fn drop(&mut self) {
        // SAFETY: by the type's invariants. The chain's lock is taken for writing, so no call is
        // running when this returns. It cannot fail for a block that is registered.
        unsafe { bindings::unregister_module_notifier(self.block.get()) };
    }
}

/// What the kernel calls.
///
/// # Safety
///
/// Only for the module notifier chain: `module` points to a `struct module`.
unsafe extern "C" fn notify<W: Watch>(
    _block: *mut bindings::notifier_block,
    state: c_ulong,
    module: *mut c_void,
) -> c_int {
    /// `NOTIFY_DONE`. An error at COMING would make the module's loading fail.
    const DONE: c_int = 0;

    let event = match u32::try_from(state) {
        Ok(bindings::module_state_MODULE_STATE_COMING) => Event::Coming,
        Ok(bindings::module_state_MODULE_STATE_GOING) => Event::Going,
        _ => return DONE,
    };
    let Some(module) = NonNull::new(module.cast()) else {
        return DONE;
    };
    // INVARIANT: the chain passes the module, which lives during the call.
    let module = Module {
        module,
        _alive: PhantomData,
    };
    W::module_event(&module, event);
    DONE
}
