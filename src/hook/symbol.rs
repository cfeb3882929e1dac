// SPDX-License-Identifier: GPL-2.0

//! Finding the entry of a function that is not exported.
//!
//! A kprobe may be asked for by symbol name, of a module too (`"module:name"`). One that is
//! registered *disabled* is looked up and checked like any other but never armed: no instruction is
//! changed, no handler can run, it conflicts with nobody, and it works while kprobes are switched
//! off. So a disabled kprobe is registered, read and dropped.

use super::bindings;
use kernel::{error::to_result, prelude::*};

/// The place at a function's entry where ftrace can call out: behind `endbr64`, if there is one.
///
/// # Invariants
///
/// `ip` was an ftrace location at a function's entry when the site was resolved. It stays one until
/// the module that holds the function is freed.
pub(crate) struct Site {
    ip: usize,
}

/// Why a function cannot be hooked.
pub(crate) enum ResolveError {
    /// There is no function of that name, or its module is not there.
    Absent,
    /// There is, but ftrace has no place at its entry.
    NotTraceable,
    /// The kernel refuses.
    Refused(Error),
}

impl Site {
    /// Looks up `name`, written as `"module:function"`.
    ///
    /// May sleep, for some milliseconds.
    pub(crate) fn resolve(name: &'static CStr) -> Result<Self, ResolveError> {
        let mut probe =
            KBox::new(bindings::kprobe::default(), GFP_KERNEL).map_err(|e| Refused(e.into()))?;
        probe.symbol_name = name.as_char_ptr();
        probe.flags = bindings::KPROBE_FLAG_DISABLED;
        let probe: *mut bindings::kprobe = &mut *probe;

        // SAFETY: `probe` is a zeroed kprobe with a symbol name that lives forever; it stays in
        // place until `unregister_kprobe` returns below.
        let registered = to_result(unsafe { bindings::register_kprobe(probe) });
        registered.map_err(|error| match error {
            ENOENT => ResolveError::Absent,
            EINVAL => ResolveError::NotTraceable,
            error => Refused(error),
        })?;

        // SAFETY: the kprobe lives; both fields were last written by `register_kprobe`.
        let (flags, ip) = unsafe { ((*probe).flags, (*probe).addr as usize) };

        // SAFETY: registered above, not unregistered yet.
        unsafe { bindings::unregister_kprobe(probe) };

        let needed = bindings::KPROBE_FLAG_FTRACE | bindings::KPROBE_FLAG_ON_FUNC_ENTRY;
        if flags & needed != needed {
            return Err(ResolveError::NotTraceable);
        }
        // INVARIANT: the kernel set FTRACE because `ip` is exactly an ftrace location, and
        // ON_FUNC_ENTRY because it belongs to the entry of the function.
        Ok(Self { ip })
    }

    /// The address, for ftrace.
    pub(super) fn ip(&self) -> c_ulong {
        self.ip
    }

    /// Where the function goes on behind the place where ftrace calls out.
    pub(super) fn body(&self) -> usize {
        /// Size of the call instruction, or of the NOP in its place.
        const CALL: usize = 5;
        self.ip + CALL
    }

    /// Whether the entry calls out at this moment, to whomever.
    ///
    /// # Safety
    ///
    /// The module that holds the function must not be freed during the call.
    pub(super) unsafe fn is_patched(&self) -> bool {
        /// First byte of the 5 byte NOP that x86-64 has at an entry nobody traces.
        const NOP: u8 = 0x0f;

        // SAFETY: by the type's invariants and the caller's promise `ip` is in the text of a live
        // module. Text may be patched meanwhile, hence volatile; a byte is never torn.
        let first = unsafe { core::ptr::with_exposed_provenance::<u8>(self.ip).read_volatile() };
        first != NOP
    }
}

use ResolveError::Refused;
