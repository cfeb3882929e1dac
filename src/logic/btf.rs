// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A reader for BTF, the kernel's compact type information.
//!
//! Reads what `/sys/kernel/btf/MODULE` and `/sys/kernel/btf/vmlinux` hold (layout:
//! `include/uapi/linux/btf.h`). A module's BTF is *split*: its type numbers and string offsets go on
//! where those of vmlinux end, so both are needed to follow a type.
//!
//! The bytes are not trusted: every offset is checked, every loop is bounded by the length of the
//! bytes, and nothing panics. Types have different lengths, so finding one by number means walking;
//! a small table of way marks, filled once, keeps the walk short.

use core::{fmt, num::NonZeroU32};

/// The number of a type. 0 is `void`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct TypeId(u32);

impl TypeId {
    /// `void`.
    pub const VOID: Self = Self(0);
}

/// An offset into the strings of a module and its base together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NameOffset(u32);

/// Why bytes are not BTF that this reader understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Shorter than a header.
    NoHeader,
    /// The first two bytes are not BTF's.
    Magic(u16),
    /// A version other than 1.
    Version(u8),
    /// The types or strings lie outside the bytes.
    Section,
    /// A kind of type that this reader does not know.
    Kind(u8),
    /// A type, or what follows it, is cut off.
    Cut,
    /// More types or strings than numbers.
    TooMany,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHeader => f.write_str("shorter than a BTF header"),
            Self::Magic(found) => write!(f, "starts with {found:#06x} instead of {MAGIC:#06x}"),
            Self::Version(found) => write!(f, "BTF version {found} instead of {VERSION}"),
            Self::Section => f.write_str("a section lies outside the file"),
            Self::Kind(kind) => write!(f, "unknown kind of type {kind}"),
            Self::Cut => f.write_str("a type is cut off"),
            Self::TooMany => f.write_str("too many types"),
        }
    }
}

const MAGIC: u16 = 0xeb9f;
const VERSION: u8 = 1;

/// Length of a header up to and including `str_len`; later fields are not needed.
const HEADER_LEN: usize = 24;
/// Bits of an integer's encoding.
const SIGNED: u32 = 1 << 0;
const BOOL: u32 = 1 << 2;

/// `struct btf_type`.
const TYPE_LEN: usize = 12;
/// `struct btf_param`.
const PARAM_LEN: usize = 8;
/// `struct btf_member`.
const MEMBER_LEN: usize = 12;
/// `struct btf_enum`.
const ENUMERATOR_LEN: usize = 8;

/// What kind of type it is, and what this reader needs of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An integer of so many bytes.
    Int {
        /// Size in bytes.
        bytes: u32,
        /// Whether it has a sign.
        signed: bool,
    },
    /// `bool`.
    Bool,
    /// A pointer.
    Pointer(TypeId),
    /// An array: of what, and how many.
    Array(TypeId, u32),
    /// `struct`, defined or only declared.
    Struct,
    /// `union`, defined or only declared.
    Union,
    /// `enum`.
    Enum,
    /// A name for another type, or a qualifier such as `const`.
    Alias(TypeId),
    /// A function; its prototype.
    Function(TypeId),
    /// A function's prototype.
    Prototype {
        /// What it returns.
        returns: TypeId,
        /// How many parameters it has.
        params: u32,
    },
    /// Anything else.
    Other,
}

/// One type.
#[derive(Clone, Copy, Debug)]
pub struct Type<'a> {
    kind: Kind,
    name: NameOffset,
    /// Whether members say how many bits they have.
    bitfields: bool,
    /// What follows the type.
    tail: &'a [u8],
}

impl Type<'_> {
    /// The kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }
}

/// A name. Printed with a `?` for every byte that is not visible ASCII.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Name<'a>(&'a [u8]);

impl Name<'_> {
    /// Longer names are printed cut off; the kernel's own limit for a symbol is 512.
    const PRINTED: usize = 64;

    /// Whether this is `text`.
    pub fn is(&self, text: &str) -> bool {
        self.0 == text.as_bytes()
    }
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("(anonymous)");
        }
        for &byte in self.0.iter().take(Self::PRINTED) {
            let shown = if byte.is_ascii_graphic() { byte } else { b'?' };
            fmt::Write::write_char(f, char::from(shown))?;
        }
        if self.0.len() > Self::PRINTED {
            f.write_str("...")?;
        }
        Ok(())
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(four.try_into().ok()?))
}

/// How many way marks a [`Section`] has.
const MARKS: u32 = 64;

/// The types and strings of one file.
struct Section<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    count: u32,
    /// Type `n * stride` starts at `marks[n]`.
    marks: [u32; MARKS as usize],
    stride: NonZeroU32,
}

impl<'a> Section<'a> {
    /// A file without types: the base of vmlinux itself.
    const EMPTY: Self = Self {
        types: &[],
        strings: &[],
        count: 0,
        marks: [0; MARKS as usize],
        stride: NonZeroU32::MIN,
    };

    fn new(file: &'a [u8]) -> Result<Self, Error> {
        let header = file.get(..HEADER_LEN).ok_or(Error::NoHeader)?;
        let field = |at| u32_at(header, at).ok_or(Error::NoHeader);
        let first = field(0)?;
        let magic = (first & 0xffff) as u16;
        if magic != MAGIC {
            return Err(Error::Magic(magic));
        }
        let version = ((first >> 16) & 0xff) as u8;
        if version != VERSION {
            return Err(Error::Version(version));
        }
        let header_len = field(4)?;
        let part = |offset: u32, len: u32| {
            let from = usize::try_from(header_len.checked_add(offset)?).ok()?;
            file.get(from..from.checked_add(usize::try_from(len).ok()?)?)
        };
        let mut section = Self {
            types: part(field(8)?, field(12)?).ok_or(Error::Section)?,
            strings: part(field(16)?, field(20)?).ok_or(Error::Section)?,
            ..Self::EMPTY
        };
        section.count = section.count_types()?;
        section.set_marks()?;
        Ok(section)
    }

    fn count_types(&self) -> Result<u32, Error> {
        let (mut at, mut count) = (0, 0u32);
        while at < self.types.len() {
            at = self.end_of(at)?;
            count = count.checked_add(1).ok_or(Error::TooMany)?;
        }
        Ok(count)
    }

    fn set_marks(&mut self) -> Result<(), Error> {
        self.stride = NonZeroU32::MIN.saturating_add(self.count / MARKS);
        let mut at = 0;
        for index in 0..self.count {
            if index % self.stride == 0 {
                let mark = usize::try_from(index / self.stride).map_err(|_| Error::TooMany)?;
                let offset = u32::try_from(at).map_err(|_| Error::TooMany)?;
                *self.marks.get_mut(mark).ok_or(Error::TooMany)? = offset;
            }
            at = self.end_of(at)?;
        }
        Ok(())
    }

    fn info(&self, at: usize) -> Result<(u8, usize), Error> {
        let info = u32_at(self.types, at.saturating_add(4)).ok_or(Error::Cut)?;
        // 7 bits of kind and 24 of length; older kernels use fewer of each and leave the rest 0.
        let kind = ((info >> 24) & 0x7f) as u8;
        let vlen = usize::try_from(info & 0xff_ffff).map_err(|_| Error::Cut)?;
        Ok((kind, vlen))
    }

    /// Where the type that starts at `at` ends. Greater than `at`, at most `types.len()`.
    fn end_of(&self, at: usize) -> Result<usize, Error> {
        let (kind, vlen) = self.info(at)?;
        let each = match kind {
            1 | 14 | 17 => return self.within(at, 4), // int, var, decl_tag
            3 => return self.within(at, 12),          // array
            4 | 5 | 15 | 19 => 12,                    // struct, union, datasec, enum64
            6 | 13 => PARAM_LEN,                      // enum, func_proto
            2 | 7..=12 | 16 | 18 => 0, // ptr, fwd, typedef, qualifiers, func, float, type_tag
            _ => return Err(Error::Kind(kind)),
        };
        self.within(at, vlen.checked_mul(each).ok_or(Error::Cut)?)
    }

    fn within(&self, at: usize, tail: usize) -> Result<usize, Error> {
        at.checked_add(TYPE_LEN)
            .and_then(|end| end.checked_add(tail))
            .filter(|&end| end <= self.types.len())
            .ok_or(Error::Cut)
    }

    /// The type at `at`, and where it ends.
    fn read(&self, at: usize) -> Result<(Type<'a>, usize), Error> {
        let end = self.end_of(at)?;
        let whole = self.types.get(at..end).ok_or(Error::Cut)?;
        let (name, last) = (
            u32_at(whole, 0).ok_or(Error::Cut)?,
            u32_at(whole, 8).ok_or(Error::Cut)?,
        );
        let tail = whole.get(TYPE_LEN..).ok_or(Error::Cut)?;
        let (kind, vlen) = self.info(at)?;
        let to = TypeId(last);
        let kind_flag = u32_at(whole, 4).ok_or(Error::Cut)? >> 31 != 0;
        let kind = match kind {
            1 => {
                let encoding = u32_at(tail, 0).ok_or(Error::Cut)? >> 24;
                match encoding & BOOL {
                    0 => Kind::Int {
                        bytes: last,
                        signed: encoding & SIGNED != 0,
                    },
                    _ => Kind::Bool,
                }
            }
            2 => Kind::Pointer(to),
            3 => Kind::Array(
                TypeId(u32_at(tail, 0).ok_or(Error::Cut)?),
                u32_at(tail, 8).ok_or(Error::Cut)?,
            ),
            4 => Kind::Struct,
            5 => Kind::Union,
            6 => Kind::Enum,
            7 if kind_flag => Kind::Union,
            7 => Kind::Struct,
            8..=11 | 18 => Kind::Alias(to),
            12 => Kind::Function(to),
            13 => Kind::Prototype {
                returns: to,
                params: u32::try_from(vlen).map_err(|_| Error::Cut)?,
            },
            _ => Kind::Other,
        };
        let found = Type {
            kind,
            name: NameOffset(name),
            bitfields: kind_flag,
            tail,
        };
        Ok((found, end))
    }

    /// The type with this index, counted from 0.
    fn nth(&self, index: u32) -> Option<Type<'a>> {
        if index >= self.count {
            return None;
        }
        let mark = *self.marks.get(usize::try_from(index / self.stride).ok()?)?;
        let mut at = usize::try_from(mark).ok()?;
        for _ in 0..index % self.stride {
            at = self.end_of(at).ok()?;
        }
        self.read(at).ok().map(|(found, _)| found)
    }
}

/// A module's types together with those they are split from.
pub struct Btf<'a> {
    base: Section<'a>,
    own: Section<'a>,
}

impl<'a> Btf<'a> {
    /// Reads the types of `vmlinux` itself, or of anything else that stands alone.
    ///
    /// # Errors
    ///
    /// When the bytes are no BTF that this reader understands.
    pub fn new(file: &'a [u8]) -> Result<Self, Error> {
        Ok(Self {
            base: Section::EMPTY,
            own: Section::new(file)?,
        })
    }

    /// Reads the types of a module, split from `base`.
    ///
    /// # Errors
    ///
    /// When the bytes of either are no BTF that this reader understands.
    pub fn split(base: &'a [u8], module: &'a [u8]) -> Result<Self, Error> {
        Ok(Self {
            base: Section::new(base)?,
            own: Section::new(module)?,
        })
    }

    /// A type by number. `None` for `void` and for numbers that there are not.
    pub fn get(&self, id: TypeId) -> Option<Type<'a>> {
        let index = id.0.checked_sub(1)?;
        match index.checked_sub(self.base.count) {
            Some(own) => self.own.nth(own),
            None => self.base.nth(index),
        }
    }

    /// A type by number, with its names and qualifiers peeled off. `None` for `void`, for numbers
    /// that there are not, and when there are implausibly many.
    pub fn peel(&self, mut id: TypeId) -> Option<Type<'a>> {
        const DEEPEST: usize = 32;
        for _ in 0..DEEPEST {
            let found = self.get(id)?;
            match found.kind {
                Kind::Alias(to) => id = to,
                _ => return Some(found),
            }
        }
        None
    }

    fn string(&self, offset: NameOffset) -> Option<&'a [u8]> {
        let offset = usize::try_from(offset.0).ok()?;
        let rest = match offset.checked_sub(self.base.strings.len()) {
            Some(own) => self.own.strings.get(own..)?,
            None => self.base.strings.get(offset..)?,
        };
        rest.get(..rest.iter().position(|&byte| byte == 0)?)
    }

    /// The name of a type. Empty when it has none.
    pub fn name(&self, of: &Type<'a>) -> Name<'a> {
        Name(self.string(of.name).unwrap_or(&[]))
    }

    /// Whether this name is there. Cheaper than comparing [`Btf::name`] for many types, because
    /// it never looks for the end of a string.
    fn is_named(&self, offset: NameOffset, name: &str) -> bool {
        let Ok(offset) = usize::try_from(offset.0) else {
            return false;
        };
        let rest = match offset.checked_sub(self.base.strings.len()) {
            Some(own) => self.own.strings.get(own..),
            None => self.base.strings.get(offset..),
        };
        rest.and_then(|rest| rest.strip_prefix(name.as_bytes()))
            .is_some_and(|rest| rest.first() == Some(&0))
    }

    /// The types of this name that the module itself has.
    pub fn named<'b>(&'b self, name: &'b str) -> impl Iterator<Item = Type<'a>> + 'b {
        let mut at = 0;
        core::iter::from_fn(move || {
            while at < self.own.types.len() {
                let (found, end) = self.own.read(at).ok()?;
                at = end;
                if self.is_named(found.name, name) {
                    return Some(found);
                }
            }
            None
        })
    }

    /// The functions of this name that the module itself has, as their prototypes' numbers.
    pub fn functions<'b>(&'b self, name: &'b str) -> impl Iterator<Item = TypeId> + 'b {
        self.named(name).filter_map(|found| match found.kind {
            Kind::Function(prototype) => Some(prototype),
            _ => None,
        })
    }

    /// A struct's member of this name: its type and its offset in bits. `None` also when it is a
    /// bit field.
    pub fn member(&self, of: &Type<'a>, name: &str) -> Option<(TypeId, u32)> {
        if of.kind != Kind::Struct {
            return None;
        }
        of.tail.chunks_exact(MEMBER_LEN).find_map(|member| {
            if !self.is_named(NameOffset(u32_at(member, 0)?), name) {
                return None;
            }
            let offset = u32_at(member, 8)?;
            let is_bitfield = of.bitfields && offset >> 24 != 0;
            (!is_bitfield).then_some((TypeId(u32_at(member, 4)?), offset))
        })
    }

    /// Whether a struct is defined here and not only declared.
    pub fn is_defined(&self, of: &Type<'a>) -> bool {
        of.kind == Kind::Struct && !of.tail.is_empty()
    }

    /// The number that an enum gives to this name.
    pub fn enumerator(&self, of: &Type<'a>, name: &str) -> Option<u32> {
        if of.kind != Kind::Enum {
            return None;
        }
        of.tail.chunks_exact(ENUMERATOR_LEN).find_map(|entry| {
            let named = self.is_named(NameOffset(u32_at(entry, 0)?), name);
            named.then_some(u32_at(entry, 4)?)
        })
    }

    /// The type of one parameter of a prototype, counted from 0.
    pub fn param(&self, prototype: &Type<'a>, index: u32) -> Option<TypeId> {
        let Kind::Prototype { params, .. } = prototype.kind else {
            return None;
        };
        if index >= params {
            return None;
        }
        let at = usize::try_from(index).ok()?.checked_mul(PARAM_LEN)?;
        u32_at(prototype.tail, at.checked_add(4)?).map(TypeId)
    }
}
