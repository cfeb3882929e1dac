// SPDX-License-Identifier: GPL-2.0

//! The switches as module parameters that can be written while the module runs.
//!
//! The kernel crate's `module!` has parameters for load time only, so these are the structures that
//! C's `module_param_cb` makes: one `kernel_param` each in the section `__param`, and two lines in
//! `.modinfo` for modinfo.
//!
//! The kernel cuts a written value at its first NUL byte and at 4096 bytes before we see it, and it
//! does not call us for an empty write.

use super::{param_lock::Locked, switches};
use crate::amdgpu::attachment;
use crate::logic::{
    device::Devices,
    fragment::FragmentSize,
    policy::{Policy, Scope},
    switch::{Clients, Enable, NoRetry, Strict, Switch},
    switches::Switches,
};
use core::{fmt::Write, marker::PhantomData};
use kernel::{bindings, error::from_result, page::PAGE_SIZE, prelude::*, str::Formatter};

/// One parameter.
trait Parameter: 'static {
    /// Writes what a reader of the file sees, without a newline.
    fn write(lock: &Locked<'_>, out: &mut Formatter<'_>) -> core::fmt::Result;

    /// Takes a value: `None` when an option has none (`rmcp.enable`).
    fn set(lock: &mut Locked<'_>, value: Option<&[u8]>) -> Result;
}

/// Logs a value that cannot be taken.
fn refuse(name: &str, value: Option<&[u8]>, expected: &str) -> Error {
    const SHOWN: usize = 32;
    let value = value.unwrap_or(b"");
    let shown = value.get(..SHOWN).unwrap_or(value).escape_ascii();
    let more = if value.len() > SHOWN { "..." } else { "" };
    pr_err!(
        "{name}: \"{}\"{more} is not valid, expected {expected}\n",
        format_args!("{shown}")
    );
    EINVAL
}

/// A switch that is a field of [`Switches`].
trait Field: Switch + Copy + 'static {
    /// The field.
    fn of(switches: &mut Switches) -> &mut Self;

    /// What the log is to say beside the change.
    fn warn(self) {}
}

/// Implements [`Field`].
macro_rules! field {
    ($type:ty, $field:ident) => {
        impl Field for $type {
            fn of(switches: &mut Switches) -> &mut Self {
                &mut switches.$field
            }
        }
    };
}

field!(Enable, enable);
field!(Policy, mtype);
field!(Scope, mtype_scope);
field!(Clients, clients);
field!(FragmentSize, fragment_size);
field!(Devices, devices);
field!(NoRetry, noretry);

impl Field for Strict {
    fn of(switches: &mut Switches) -> &mut Self {
        &mut switches.mtype_strict
    }

    fn warn(self) {
        if self.0 {
            pr_warn!(
                "mtype_strict=Y: with mtype=nc, buffers that ask for coherence do not get it; \
                 expect wrong data\n"
            );
        }
    }
}

/// The parameter of a switch.
struct SwitchParameter<S>(PhantomData<S>);

impl<S: Field> Parameter for SwitchParameter<S> {
    fn write(lock: &Locked<'_>, out: &mut Formatter<'_>) -> core::fmt::Result {
        write!(out, "{}", S::of(&mut switches::current(lock)))
    }

    fn set(lock: &mut Locked<'_>, value: Option<&[u8]>) -> Result {
        let Some(parsed) = value.and_then(S::parse) else {
            return Err(refuse(S::NAME, value, S::VALUES));
        };
        parsed.warn();
        let edit = &mut |all: &mut Switches| *S::of(all) = parsed;
        switches::change(lock, edit, S::NAME, &parsed);
        Ok(())
    }
}

/// The parameter `state`.
struct StateParameter;

impl Parameter for StateParameter {
    fn write(_lock: &Locked<'_>, out: &mut Formatter<'_>) -> core::fmt::Result {
        attachment::write_state(out)
    }

    fn set(_lock: &mut Locked<'_>, value: Option<&[u8]>) -> Result {
        Err(refuse("state", value, "nothing: it can only be read"))
    }
}

/// What the kernel calls to read a parameter.
///
/// # Safety
///
/// Only for the kernel's parameter code: `buffer` has `PAGE_SIZE` bytes, and the module's parameter
/// lock is held.
unsafe extern "C" fn get<P: Parameter>(
    buffer: *mut c_char,
    _param: *const bindings::kernel_param,
) -> c_int {
    // SAFETY: the caller's promise; sysfs hands out zeroed pages, and nobody else has this one.
    let page = unsafe { core::slice::from_raw_parts_mut(buffer.cast::<u8>(), PAGE_SIZE) };
    // SAFETY: the caller's promise.
    let lock = unsafe { Locked::assume() };
    from_result(|| {
        let mut out = Formatter::new(page);
        P::write(&lock, &mut out).map_err(|_| EOVERFLOW)?;
        out.write_str("\n").map_err(|_| EOVERFLOW)?;
        c_int::try_from(out.bytes_written()).map_err(|_| EOVERFLOW)
    })
}

/// What the kernel calls to set a parameter: at load time and when the file is written.
///
/// # Safety
///
/// Only for the kernel's parameter code: `value` is null or a terminated string, and the module's
/// parameter lock is held.
unsafe extern "C" fn set<P: Parameter>(
    value: *const c_char,
    _param: *const bindings::kernel_param,
) -> c_int {
    let value = if value.is_null() {
        None
    } else {
        // SAFETY: not null, hence by the caller's promise a string that lives during the call.
        Some(unsafe { CStr::from_char_ptr(value) }.to_bytes())
    };
    // SAFETY: the caller's promise.
    let mut lock = unsafe { Locked::assume() };
    from_result(|| P::set(&mut lock, value).map(|()| 0))
}

/// The functions of one parameter.
struct Ops<P>(P);

impl<P: Parameter> Ops<P> {
    const OPS: bindings::kernel_param_ops = bindings::kernel_param_ops {
        // Without it the kernel refuses an option without a value before we can say what is
        // expected.
        flags: bindings::KERNEL_PARAM_OPS_FL_NOARG,
        set: Some(set::<P>),
        get: Some(get::<P>),
        free: None,
    };
}

/// An entry of the section `__param`.
#[repr(transparent)]
struct Entry(bindings::kernel_param);

// SAFETY: nobody writes to an entry.
unsafe impl Sync for Entry {}

/// Defines the statics of one parameter: `$mode` for its file, `$kind` and `$text` for modinfo.
macro_rules! parameter {
    ($entry:ident, $parameter:ty, $name:literal, $mode:literal, $kind:literal, $text:literal) => {
        #[link_section = "__param"]
        #[used(compiler)]
        static $entry: Entry = {
            static OPS: bindings::kernel_param_ops = Ops::<$parameter>::OPS;
            Entry(bindings::kernel_param {
                name: concat!($name, "\0").as_ptr().cast(),
                mod_: &raw mut bindings::__this_module,
                ops: &raw const OPS,
                perm: $mode,
                level: -1,
                flags: 0,
                __bindgen_anon_1: bindings::kernel_param__bindgen_ty_1 {
                    arg: core::ptr::null_mut(),
                },
            })
        };

        const _: () = {
            const LINES: &[u8] = concat!(
                "parmtype=",
                $name,
                ":",
                $kind,
                "\0parm=",
                $name,
                ":",
                $text,
                "\0"
            )
            .as_bytes();

            #[link_section = ".modinfo"]
            #[used(compiler)]
            static MODINFO: [u8; LINES.len()] = match LINES.first_chunk() {
                Some(lines) => *lines,
                None => [0; LINES.len()],
            };
        };
    };
}

parameter!(
    ENABLE,
    SwitchParameter<Enable>,
    "enable",
    0o644,
    "bool",
    "Whether amdgpu is hooked at all: Y or N (default Y)"
);
parameter!(
    MTYPE,
    SwitchParameter<Policy>,
    "mtype",
    0o644,
    "text",
    "Memory type of new GPU mappings: keep = as asked for, nc = non-coherent except where coherence was asked for, uc = uncached (default nc)"
);
parameter!(
    MTYPE_SCOPE,
    SwitchParameter<Scope>,
    "mtype_scope",
    0o644,
    "text",
    "Mappings that mtype is for: all, vram or system (default all)"
);
parameter!(
    CLIENTS,
    SwitchParameter<Clients>,
    "clients",
    0o644,
    "text",
    "Whose mappings are touched: all, or compute = only those of ROCm's compute VMs (default all)"
);
parameter!(
    MTYPE_STRICT,
    SwitchParameter<Strict>,
    "mtype_strict",
    0o644,
    "bool",
    "Whether mtype=nc is also for what asks for coherence, which can corrupt data: Y or N (default N)"
);
parameter!(
    FRAGMENT_SIZE,
    SwitchParameter<FragmentSize>,
    "fragment_size",
    0o644,
    "text",
    "Upper limit of fragments as a power of two of 4 KiB: keep, or 0 to 31; 4 is 64 KiB, 9 is 2 MiB (default 9)"
);
parameter!(
    DEVICES,
    SwitchParameter<Devices>,
    "devices",
    0o644,
    "text",
    "GPUs that are touched: all, or PCI addresses such as 0000:03:00.0 separated by commas (default all)"
);
parameter!(
    NORETRY,
    SwitchParameter<NoRetry>,
    "noretry",
    0o444,
    "text",
    "Sets amdgpu's option noretry before its init: keep, 0 or 1 (default keep)"
);
parameter!(
    STATE,
    StateParameter,
    "state",
    0o444,
    "text",
    "What is hooked, or why not, and for which GPUs; read only"
);
