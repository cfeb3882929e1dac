// SPDX-License-Identifier: GPL-2.0

//! The switches as module parameters that can be written while the module runs.
//!
//! The kernel crate's `module!` has parameters for load time only, so these are the structures that
//! C's `module_param_cb` makes: one `kernel_param` each in the section `__param`, and two lines in
//! `.modinfo` for modinfo.
//!
//! The kernel cuts a written value at its first NUL byte and at 4096 bytes before we see it, and it
//! does not call us for an empty write.

use super::switches;
use crate::amdgpu::attachment;
use crate::logic::{
    policy::Policy,
    switch::{Enable, Switch},
};
use core::fmt::Write;
use kernel::{bindings, error::from_result, page::PAGE_SIZE, prelude::*, str::Formatter};

/// One parameter.
trait Parameter: 'static {
    /// Its name.
    const NAME: &'static str;

    /// Writes what a reader of the file sees, without a newline.
    fn write(out: &mut Formatter<'_>) -> core::fmt::Result;

    /// Takes a value: `None` when an option has none (`rmcp.enable`). The parameter lock is held.
    fn set(value: Option<&[u8]>) -> Result;
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

/// Parses a switch.
fn parse<S: Switch>(name: &str, value: Option<&[u8]>) -> Result<S> {
    value
        .and_then(S::parse)
        .ok_or_else(|| refuse(name, value, S::VALUES))
}

struct EnableParameter;

impl Parameter for EnableParameter {
    const NAME: &'static str = "enable";

    fn write(out: &mut Formatter<'_>) -> core::fmt::Result {
        out.write_str(switches::current().enable.as_str())
    }

    fn set(value: Option<&[u8]>) -> Result {
        let enable: Enable = parse(Self::NAME, value)?;
        switches::change(|all| all.enable = enable);
        Ok(())
    }
}

struct MtypeParameter;

impl Parameter for MtypeParameter {
    const NAME: &'static str = "mtype";

    fn write(out: &mut Formatter<'_>) -> core::fmt::Result {
        out.write_str(switches::current().mtype.as_str())
    }

    fn set(value: Option<&[u8]>) -> Result {
        let mtype: Policy = parse(Self::NAME, value)?;
        switches::change(|all| all.mtype = mtype);
        Ok(())
    }
}

struct StateParameter;

impl Parameter for StateParameter {
    const NAME: &'static str = "state";

    fn write(out: &mut Formatter<'_>) -> core::fmt::Result {
        attachment::write_state(out)
    }

    fn set(value: Option<&[u8]>) -> Result {
        Err(refuse(Self::NAME, value, "nothing: it can only be read"))
    }
}

/// What the kernel calls to read a parameter.
///
/// # Safety
///
/// Only for the kernel's parameter code: `buffer` has `PAGE_SIZE` bytes.
unsafe extern "C" fn get<P: Parameter>(
    buffer: *mut c_char,
    _param: *const bindings::kernel_param,
) -> c_int {
    // SAFETY: the caller's promise; sysfs hands out zeroed pages, and nobody else has this one.
    let page = unsafe { core::slice::from_raw_parts_mut(buffer.cast::<u8>(), PAGE_SIZE) };
    from_result(|| {
        let mut out = Formatter::new(page);
        P::write(&mut out).map_err(|_| EOVERFLOW)?;
        out.write_str("\n").map_err(|_| EOVERFLOW)?;
        c_int::try_from(out.bytes_written()).map_err(|_| EOVERFLOW)
    })
}

/// What the kernel calls to set a parameter: at load time and when the file is written.
///
/// # Safety
///
/// Only for the kernel's parameter code: `value` is null or a terminated string.
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
    from_result(|| P::set(value).map(|()| 0))
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
    EnableParameter,
    "enable",
    0o644,
    "bool",
    "Whether amdgpu is hooked at all: Y or N (default Y)"
);
parameter!(
    MTYPE,
    MtypeParameter,
    "mtype",
    0o644,
    "text",
    "Memory type of new GPU mappings: keep = as asked for, nc = non-coherent except where uncached was asked for, uc = uncached (default nc)"
);
parameter!(
    STATE,
    StateParameter,
    "state",
    0o444,
    "text",
    "What is hooked, or why not; read only"
);
