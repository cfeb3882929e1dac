// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Does a function of the driver look the way our hook expects?
//!
//! A hook that edits "the fourth argument" is right for one prototype only, and the driver's
//! internal functions change without notice. So the prototype that the running driver was compiled
//! with is read from its type information and compared, never its version.

use super::btf::{Btf, Kind, Type, TypeId};
use core::fmt;

/// What a parameter has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Param {
    /// A pointer to this struct.
    Struct(&'static str),
    /// An unsigned integer of so many bytes.
    Unsigned(u32),
    /// A pointer to an unsigned integer of so many bytes.
    PointerToUnsigned(u32),
}

/// What a function has to return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returns {
    /// Nothing.
    Nothing,
    /// An `int`.
    Int,
}

impl fmt::Display for Param {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Struct(name) => write!(f, "struct {name} *"),
            Self::Unsigned(bytes) => write_int(f, false, *bytes),
            Self::PointerToUnsigned(bytes) => {
                write_int(f, false, *bytes)?;
                f.write_str(" *")
            }
        }
    }
}

/// A function: what it takes and what it returns.
#[derive(Clone, Copy, Debug)]
pub struct Prototype {
    /// Its name.
    pub name: &'static str,
    /// What it returns.
    pub returns: Returns,
    /// Its parameters.
    pub params: &'static [Param],
}

impl fmt::Display for Prototype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.returns {
            Returns::Nothing => "void (",
            Returns::Int => "s32 (",
        })?;
        for (index, param) in self.params.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            param.fmt(f)?;
        }
        f.write_str(")")
    }
}

/// Why a prototype cannot be relied on.
pub enum Mismatch<'a, 'b> {
    /// The type information has no such function.
    Missing(&'static str),
    /// It has, but with another prototype.
    Different {
        /// What the hook was written for.
        expected: &'a Prototype,
        /// What the driver has.
        found: Found<'b>,
    },
}

impl fmt::Display for Mismatch<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(name) => {
                write!(f, "the type information (BTF) does not describe {name}")
            }
            Self::Different { expected, found } => {
                write!(f, "{} is `{found}`, expected `{expected}`", expected.name)
            }
        }
    }
}

impl Prototype {
    /// Compares with every function of this name in `btf`.
    ///
    /// # Errors
    ///
    /// When there is none, or one differs.
    pub fn check<'b>(&self, btf: &'b Btf<'b>) -> Result<(), Mismatch<'_, 'b>> {
        let mut any = false;
        for prototype in btf.functions(self.name) {
            any = true;
            if !self.matches(btf, prototype) {
                return Err(Mismatch::Different {
                    expected: self,
                    found: Found { btf, prototype },
                });
            }
        }
        if any {
            Ok(())
        } else {
            Err(Mismatch::Missing(self.name))
        }
    }

    fn matches(&self, btf: &Btf<'_>, id: TypeId) -> bool {
        let Some(found) = btf.get(id) else {
            return false;
        };
        let Kind::Prototype { returns, params } = found.kind() else {
            return false;
        };
        self.returns.matches(btf, returns)
            && usize::try_from(params) == Ok(self.params.len())
            && (0..params)
                .zip(self.params)
                .all(|(index, param)| param.matches(btf, &found, index))
    }
}

impl Returns {
    fn matches(self, btf: &Btf<'_>, id: TypeId) -> bool {
        match self {
            Self::Nothing => id == TypeId::VOID,
            Self::Int => btf.peel(id).is_some_and(|found| {
                found.kind()
                    == Kind::Int {
                        bytes: 4,
                        signed: true,
                    }
            }),
        }
    }
}

impl Param {
    fn matches(&self, btf: &Btf<'_>, prototype: &Type<'_>, index: u32) -> bool {
        let Some(found) = btf.param(prototype, index).and_then(|id| btf.peel(id)) else {
            return false;
        };
        let target = match found.kind() {
            Kind::Pointer(to) => btf.peel(to),
            _ => None,
        };
        let unsigned = |of: &Type<'_>, size| {
            of.kind()
                == Kind::Int {
                    bytes: size,
                    signed: false,
                }
        };
        match *self {
            Self::Struct(name) => {
                target.is_some_and(|to| to.kind() == Kind::Struct && btf.name(&to).is(name))
            }
            Self::Unsigned(bytes) => unsigned(&found, bytes),
            Self::PointerToUnsigned(bytes) => target.is_some_and(|to| unsigned(&to, bytes)),
        }
    }
}

/// A prototype as the driver has it, printed as in C.
pub struct Found<'b> {
    btf: &'b Btf<'b>,
    prototype: TypeId,
}

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// More than any function that we look at has.
        const SHOWN: u32 = 10;

        let Some(prototype) = self.btf.get(self.prototype) else {
            return f.write_str("no prototype");
        };
        let Kind::Prototype { returns, params } = prototype.kind() else {
            return f.write_str("no prototype");
        };
        self.write_type(f, returns)?;
        f.write_str(" (")?;
        for index in 0..params.min(SHOWN) {
            if index > 0 {
                f.write_str(", ")?;
            }
            match self.btf.param(&prototype, index) {
                Some(id) => self.write_type(f, id)?,
                None => f.write_str("?")?,
            }
        }
        if params > SHOWN {
            f.write_str(", ...")?;
        }
        f.write_str(")")
    }
}

impl Found<'_> {
    fn write_type(&self, f: &mut fmt::Formatter<'_>, id: TypeId) -> fmt::Result {
        if id == TypeId::VOID {
            return f.write_str("void");
        }
        let Some(found) = self.btf.peel(id) else {
            return f.write_str("?");
        };
        match found.kind() {
            Kind::Pointer(to) => {
                self.write_plain(f, to)?;
                f.write_str(" *")
            }
            _ => self.write_plain(f, id),
        }
    }

    /// Like `write_type`, without following pointers.
    fn write_plain(&self, f: &mut fmt::Formatter<'_>, id: TypeId) -> fmt::Result {
        if id == TypeId::VOID {
            return f.write_str("void");
        }
        let Some(found) = self.btf.peel(id) else {
            return f.write_str("?");
        };
        match found.kind() {
            Kind::Int { bytes, signed } => write_int(f, signed, bytes),
            Kind::Struct => write!(f, "struct {}", self.btf.name(&found)),
            Kind::Union => write!(f, "union {}", self.btf.name(&found)),
            Kind::Enum => write!(f, "enum {}", self.btf.name(&found)),
            Kind::Bool => f.write_str("bool"),
            Kind::Pointer(_) => f.write_str("(pointer)"),
            _ => f.write_str("(other)"),
        }
    }
}

/// The kernel's short names: `u32`, `s64`.
fn write_int(f: &mut fmt::Formatter<'_>, signed: bool, bytes: u32) -> fmt::Result {
    let sign = if signed { 's' } else { 'u' };
    write!(f, "{sign}{}", u64::from(bytes) * 8)
}
