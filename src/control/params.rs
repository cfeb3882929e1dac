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
use core::fmt::Write;
use kernel::{bindings, error::from_result, page::PAGE_SIZE, prelude::*, str::Formatter};

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
field!(Strict, mtype_strict);

/// What the functions behind all switches need to know of one.
struct Description {
    name: &'static str,
    values: &'static str,
    /// Writes what a reader of the file sees, without a newline.
    show: fn(&mut Switches, &mut Formatter<'_>) -> core::fmt::Result,
    /// Takes a value; `false` when it is none.
    put: fn(&mut Switches, &[u8]) -> bool,
}

impl Description {
    const fn of<S: Field>() -> Self {
        Self {
            name: S::NAME,
            values: S::VALUES,
            show: |switches, out| write!(out, "{}", S::of(switches)),
            put: |switches, text| match S::parse(text) {
                Some(value) => {
                    *S::of(switches) = value;
                    true
                }
                None => false,
            },
        }
    }

    /// The description of a switch.
    ///
    /// # Safety
    ///
    /// `param` is an [`Entry`] of this file that has [`SWITCH`] as its functions.
    unsafe fn behind<'a>(param: *const bindings::kernel_param) -> &'a Self {
        // SAFETY: the caller's promise; the macro below gives every such entry a description.
        unsafe { &*(*param).__bindgen_anon_1.arg.cast::<Self>() }
    }

    /// Takes a value: `None` when an option has none (`rmcp.enable`).
    fn set(&self, lock: &mut Locked<'_>, value: Option<&[u8]>) -> Result {
        let before = switches::current(lock);
        let mut switches = before;
        if !value.is_some_and(|value| (self.put)(&mut switches, value)) {
            return Err(refuse(self.name, value, self.values));
        }
        if switches.weakens_coherence() && !before.weakens_coherence() {
            pr_warn!(
                "mtype=nc with mtype_strict=Y: buffers that ask for coherence do not get it; \
                 expect wrong data\n"
            );
        }
        let mut text = [0; PRINTED];
        let mut out = Formatter::new(&mut text);
        (self.show)(&mut switches, &mut out).map_err(|_| EOVERFLOW)?;
        let length = out.bytes_written();
        let text = text.get(..length).unwrap_or(&[]);
        switches::change(lock, switches, self.name, text.escape_ascii());
        Ok(())
    }
}

/// More than any switch prints: [`Devices`] of 16 addresses, each with a comma.
const PRINTED: usize = 256;

/// Writes what a reader of a parameter sees, and a newline.
///
/// # Safety
///
/// `buffer` has `PAGE_SIZE` bytes.
unsafe fn print(
    buffer: *mut c_char,
    write: impl FnOnce(&mut Formatter<'_>) -> core::fmt::Result,
) -> c_int {
    // SAFETY: the caller's promise; sysfs hands out zeroed pages, and nobody else has this one.
    let page = unsafe { core::slice::from_raw_parts_mut(buffer.cast::<u8>(), PAGE_SIZE) };
    from_result(|| {
        let mut out = Formatter::new(page);
        write(&mut out).map_err(|_| EOVERFLOW)?;
        out.write_str("\n").map_err(|_| EOVERFLOW)?;
        c_int::try_from(out.bytes_written()).map_err(|_| EOVERFLOW)
    })
}

/// The text of a value. `None` when an option has none.
///
/// # Safety
///
/// `value` is null or a terminated string that lives as long as `'a`.
unsafe fn text<'a>(value: *const c_char) -> Option<&'a [u8]> {
    // SAFETY: not null, hence by the caller's promise a string.
    (!value.is_null()).then(|| unsafe { CStr::from_char_ptr(value) }.to_bytes())
}

/// What the kernel calls to read a switch.
///
/// # Safety
///
/// Only for the kernel's parameter code: `buffer` has `PAGE_SIZE` bytes, `param` is that of a switch,
/// and the module's parameter lock is held.
unsafe extern "C" fn get_switch(
    buffer: *mut c_char,
    param: *const bindings::kernel_param,
) -> c_int {
    // SAFETY: the caller's promises.
    let (description, lock) = unsafe { (Description::behind(param), Locked::assume()) };
    // SAFETY: the caller's promise.
    unsafe {
        print(buffer, |out| {
            (description.show)(&mut switches::current(&lock), out)
        })
    }
}

/// What the kernel calls to set a switch: at load time and when the file is written.
///
/// # Safety
///
/// Only for the kernel's parameter code: `value` is null or a terminated string, `param` is that of a
/// switch, and the module's parameter lock is held.
unsafe extern "C" fn set_switch(
    value: *const c_char,
    param: *const bindings::kernel_param,
) -> c_int {
    // SAFETY: the caller's promises.
    let (description, mut lock) = unsafe { (Description::behind(param), Locked::assume()) };
    // SAFETY: the caller's promise.
    let value = unsafe { text(value) };
    from_result(|| description.set(&mut lock, value).map(|()| 0))
}

/// What the kernel calls to read `state`.
///
/// # Safety
///
/// Only for the kernel's parameter code: `buffer` has `PAGE_SIZE` bytes.
unsafe extern "C" fn get_state(
    buffer: *mut c_char,
    _param: *const bindings::kernel_param,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { print(buffer, |out| attachment::write_state(out)) }
}

/// What the kernel calls to set `state`, which cannot be.
///
/// # Safety
///
/// Only for the kernel's parameter code: `value` is null or a terminated string.
unsafe extern "C" fn set_state(
    value: *const c_char,
    _param: *const bindings::kernel_param,
) -> c_int {
    // SAFETY: the caller's promise.
    let value = unsafe { text(value) };
    refuse("state", value, "nothing: it can only be read").to_errno()
}

const fn functions(
    get: unsafe extern "C" fn(*mut c_char, *const bindings::kernel_param) -> c_int,
    set: unsafe extern "C" fn(*const c_char, *const bindings::kernel_param) -> c_int,
) -> bindings::kernel_param_ops {
    bindings::kernel_param_ops {
        // Without it the kernel refuses an option without a value before we can say what is expected.
        flags: bindings::KERNEL_PARAM_OPS_FL_NOARG,
        set: Some(set),
        get: Some(get),
        free: None,
    }
}

/// The functions behind every switch.
static SWITCH: bindings::kernel_param_ops = functions(get_switch, set_switch);
/// The functions behind `state`.
static READ_STATE: bindings::kernel_param_ops = functions(get_state, set_state);

/// An entry of the section `__param`.
#[repr(transparent)]
struct Entry(bindings::kernel_param);

// SAFETY: nobody writes to an entry.
unsafe impl Sync for Entry {}

/// Defines the statics of one parameter: `$ops` are its functions, `$description` what they need,
/// `$mode` is for its file, `$kind` and `$text` are for modinfo.
macro_rules! parameter {
    ($entry:ident, $name:literal, $mode:literal, $kind:literal, $text:literal) => {
        parameter!(
            $entry,
            READ_STATE,
            core::ptr::null_mut(),
            $name,
            $mode,
            $kind,
            $text
        );
    };
    ($entry:ident, $switch:ty, $name:literal, $mode:literal, $kind:literal, $text:literal) => {
        parameter!(
            $entry,
            SWITCH,
            {
                static DESCRIPTION: Description = Description::of::<$switch>();
                // The kernel hands it back to us, and nobody writes to it.
                (&raw const DESCRIPTION).cast_mut().cast()
            },
            $name,
            $mode,
            $kind,
            $text
        );
    };
    ($entry:ident, $ops:ident, $argument:expr, $name:literal, $mode:literal, $kind:literal, $text:literal) => {
        #[link_section = "__param"]
        #[used(compiler)]
        static $entry: Entry = Entry(bindings::kernel_param {
            name: concat!($name, "\0").as_ptr().cast(),
            mod_: &raw mut bindings::__this_module,
            ops: &raw const $ops,
            perm: $mode,
            level: -1,
            flags: 0,
            __bindgen_anon_1: bindings::kernel_param__bindgen_ty_1 { arg: $argument },
        });

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
    Enable,
    "enable",
    0o644,
    "bool",
    "Whether amdgpu is hooked at all: Y or N (default Y)"
);
parameter!(
    MTYPE,
    Policy,
    "mtype",
    0o644,
    "text",
    "Memory type of new GPU mappings: keep = as asked for, nc = non-coherent except where coherence was asked for, uc = uncached (default nc)"
);
parameter!(
    MTYPE_SCOPE,
    Scope,
    "mtype_scope",
    0o644,
    "text",
    "Mappings that mtype is for: all, vram or system (default all)"
);
parameter!(
    CLIENTS,
    Clients,
    "clients",
    0o644,
    "text",
    "Whose mappings are touched: all, or compute = only those of ROCm's compute VMs (default all)"
);
parameter!(
    MTYPE_STRICT,
    Strict,
    "mtype_strict",
    0o644,
    "bool",
    "Whether mtype=nc is also for what asks for coherence, which can corrupt data: Y or N (default N)"
);
parameter!(
    FRAGMENT_SIZE,
    FragmentSize,
    "fragment_size",
    0o644,
    "text",
    "Upper limit of fragments as a power of two of 4 KiB: keep, or 0 to 31; 4 is 64 KiB, 9 is 2 MiB (default 9)"
);
parameter!(
    DEVICES,
    Devices,
    "devices",
    0o644,
    "text",
    "GPUs that are touched: all, or up to 16 PCI addresses such as 0000:03:00.0 separated by commas (default all)"
);
parameter!(
    NORETRY,
    NoRetry,
    "noretry",
    0o444,
    "text",
    "Sets amdgpu's option noretry before its init: keep, 0 or 1 (default keep)"
);
parameter!(
    STATE,
    "state",
    0o444,
    "text",
    "What is hooked, or why not, and for which GPUs; read only"
);
