// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Where the members of the driver's structs are.
//!
//! rmcp reads a few members of structs that no header outside the driver declares. Where they are is
//! read from the type information of the driver that runs, and their types are compared, so that
//! another layout is found and another struct is refused.

use super::btf::{Btf, Kind, Type, TypeId};
use core::fmt;

/// What a member has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `bool`.
    Bool,
    /// An unsigned integer of so many bytes.
    Unsigned(u32),
    /// A pointer to this struct.
    PointerTo(&'static str),
    /// A pointer to an unsigned integer of so many bytes.
    PointerToUnsigned(u32),
    /// This struct itself.
    Struct(&'static str),
    /// A table of `u32` with a row for each value of an enum. The offset is that of one row.
    ///
    /// pahole 1.30 writes a table as a list of the same length, and 1.32 (of Debian's forky and
    /// sid) as an array of rows.
    Row {
        /// The enum.
        of: &'static str,
        /// The row's name in it.
        named: &'static str,
        /// The name in it that stands for the number of rows.
        rows: &'static str,
    },
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("bool"),
            Self::Unsigned(bytes) => write!(f, "u{}", u64::from(*bytes) * 8),
            Self::PointerTo(name) => write!(f, "struct {name} *"),
            Self::PointerToUnsigned(bytes) => write!(f, "u{} *", u64::from(*bytes) * 8),
            Self::Struct(name) => write!(f, "struct {name}"),
            Self::Row { of, named, rows } => {
                write!(f, "u32 [{rows}][] with a row {named} of enum {of}")
            }
        }
    }
}

/// A member that is relied on.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// The struct.
    pub of: &'static str,
    /// The member.
    pub name: &'static str,
    /// What it has to be.
    pub shape: Shape,
}

/// The type information has no such member.
#[derive(Clone, Copy, Debug)]
pub struct Unlike(Member);

impl fmt::Display for Unlike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Member { of, name, shape } = self.0;
        write!(
            f,
            "struct {of} of this amdgpu has no member {name} that is `{shape}`"
        )
    }
}

impl Member {
    /// Its offset in bytes.
    ///
    /// # Errors
    ///
    /// When there is no such struct or member, when its type is another, and when the module has
    /// several structs of that name that differ in it.
    pub fn offset(&self, btf: &Btf<'_>) -> Result<usize, Unlike> {
        let mut offsets = btf
            .named(self.of)
            .filter(|found| btf.is_defined(found))
            .map(|found| self.offset_in(btf, &found));
        let first = offsets.next().flatten().ok_or(Unlike(*self))?;
        if offsets.all(|other| other == Some(first)) {
            Ok(first)
        } else {
            Err(Unlike(*self))
        }
    }

    fn offset_in<'a>(&self, btf: &Btf<'a>, found: &Type<'a>) -> Option<usize> {
        let (id, bits) = btf.member(found, self.name)?;
        let within = self.shape.matches(btf, id)?;
        if bits % 8 != 0 {
            return None;
        }
        usize::try_from(bits / 8).ok()?.checked_add(within)
    }
}

impl Shape {
    /// `None` when the type is another; otherwise how far into the member the offset is to point.
    fn matches(self, btf: &Btf<'_>, id: TypeId) -> Option<usize> {
        let kind = btf.peel(id)?.kind();
        let named = |id, name| {
            let target = btf.peel(id)?;
            (target.kind() == Kind::Struct && btf.name(&target).is(name)).then_some(0)
        };
        let is_unsigned = |kind, bytes| {
            kind == Kind::Int {
                bytes,
                signed: false,
            }
        };
        match (self, kind) {
            (Self::Bool, Kind::Bool) => Some(0),
            (Self::Unsigned(bytes), kind) if is_unsigned(kind, bytes) => Some(0),
            (Self::PointerTo(name), Kind::Pointer(to)) => named(to, name),
            (Self::PointerToUnsigned(bytes), Kind::Pointer(to)) => {
                is_unsigned(btf.peel(to)?.kind(), bytes).then_some(0)
            }
            (Self::Struct(name), Kind::Struct) => named(id, name),
            (Self::Row { of, named, rows }, Kind::Array(element, count)) => {
                let value = |name| btf.named(of).find_map(|found| btf.enumerator(&found, name));
                let (row, rows) = (value(named)?, value(rows)?);
                let (cell, in_row) = match btf.peel(element)?.kind() {
                    Kind::Array(cell, in_row) if count == rows => (btf.peel(cell)?.kind(), in_row),
                    cell if count.checked_rem(rows)? == 0 => (cell, count / rows),
                    _ => return None,
                };
                let is_table = is_unsigned(cell, 4) && in_row > 0 && row < rows;
                let bytes = row.checked_mul(in_row)?.checked_mul(4)?;
                is_table.then_some(usize::try_from(bytes).ok()?)
            }
            _ => None,
        }
    }
}
