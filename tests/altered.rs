// SPDX-License-Identifier: MIT OR Apache-2.0
//! Copies of the real amdgpu.ko that differ in a few bytes, to see rmcp refuse a driver that it does not know.
//!
//! The copy is made in the guest from a list of patches that is worked out here: the signature is cut off (a changed
//! module would fail its check), and names or types are changed in the symbol table, in BTF or in .modinfo. The code
//! stays the same, so the driver works as ever.
//!
//! BTF: `Documentation/bpf/btf.rst`. A module's BTF continues vmlinux's: its types are numbered and its strings are
//! addressed after those of vmlinux.

use anyhow::{Context, Result, bail};
use guest::proto::{Bytes, Patch, PatchFile, Size};
use object::{Object, ObjectSection};
use std::ops::Range;
use xtask::vm::Vm;
use xtask::vm::initramfs::AMDGPU;
use xtask::vm::modules;

use crate::stage::Stage;

/// What ends a signed module (`include/linux/module_signature.h`).
const SIGNATURE_MARK: &[u8] = b"~Module signature appended~\n";
/// Length of `struct module_signature`, whose last 4 bytes are the signature's length, big-endian.
const SIGNATURE_INFO: usize = 12;

/// How a copy differs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Alteration {
    /// The function is called something else, in the symbol table and in BTF.
    Renamed(&'static str),
    /// The function's fourth parameter has the type of its fifth, in BTF.
    OtherPrototype(&'static str),
    /// The function takes the first parameter, a pointer to this struct, and the last parameter, in BTF.
    ShorterPrototype(&'static str, &'static str),
    /// The member of a struct is called something else, in BTF.
    OtherMember(&'static str),
    /// There is no BTF: its section is called something else.
    NoTypeInfo,
    /// It does not say that it belongs to the kernel's tree, and has a version, as AMD's amdgpu-dkms.
    Outside(&'static str),
}

/// Makes the altered copy in the guest, as a module of the name given (which is its file's name; the module inside is
/// still amdgpu).
pub(crate) fn make(stage: &mut Stage, name: &str, alterations: &[Alteration]) -> Result<()> {
    let original = modules::content(&modules::find(&stage.kernel.modules, AMDGPU)?)?;
    let length = unsigned_length(&original)?;
    let elf = object::File::parse(&*original).context("amdgpu.ko is no ELF file")?;
    let mut patches = Vec::new();
    for alteration in alterations {
        let within = |name| section(&elf, name);
        match *alteration {
            Alteration::Renamed(function) => {
                for name in [".strtab", ".BTF"] {
                    patches.extend(rename(&original, within(name)?, function)?);
                }
            }
            Alteration::OtherMember(member) => {
                patches.extend(rename(&original, within(".BTF")?, member)?);
            }
            Alteration::NoTypeInfo => {
                patches.extend(rename(&original, within(".shstrtab")?, ".BTF")?);
            }
            Alteration::Outside(version) => {
                patches.extend(leave_tree(&original, within(".modinfo")?, version)?);
            }
            Alteration::OtherPrototype(_) | Alteration::ShorterPrototype(..) => {
                let vmlinux = stage
                    .call(guest::proto::ReadFile {
                        path: "/sys/kernel/btf/vmlinux".into(),
                    })?
                    .0;
                let place = within(".BTF")?;
                let types = Types::parse(&vmlinux, &original[place.clone()])?;
                let changed = match *alteration {
                    Alteration::ShorterPrototype(function, of) => types.shorten(function, of)?,
                    Alteration::OtherPrototype(function) => vec![types.retype(function)?],
                    _ => Vec::new(),
                };
                patches.extend(changed.into_iter().map(|patch| Patch {
                    offset: patch.offset + place.start as u64,
                    ..patch
                }));
            }
        }
    }
    let (from, to) = (Vm::module_path(AMDGPU), Vm::module_path(name));
    stage.call(PatchFile {
        from,
        to,
        length: Size(length as u64),
        patches,
    })
}

fn section(elf: &object::File<'_>, name: &str) -> Result<Range<usize>> {
    let section = elf
        .section_by_name(name)
        .with_context(|| format!("amdgpu.ko has no section {name}"))?;
    let (start, length) = section
        .file_range()
        .with_context(|| format!("{name} takes no room in the file"))?;
    let start = usize::try_from(start)?;
    Ok(start..start + usize::try_from(length)?)
}

fn unsigned_length(module: &[u8]) -> Result<usize> {
    let Some(rest) = module.strip_suffix(SIGNATURE_MARK) else {
        bail!("amdgpu.ko is not signed; Debian's is");
    };
    let info = rest
        .len()
        .checked_sub(SIGNATURE_INFO)
        .context("amdgpu.ko is too short")?;
    let signature = u32::from_be_bytes(rest[rest.len() - 4..].try_into()?);
    info.checked_sub(signature as usize)
        .context("the signature is longer than amdgpu.ko")
}

/// Changes the last letter of every string that ends in `name`: linkers share the tails of strings.
fn rename(file: &[u8], range: Range<usize>, name: &str) -> Result<Vec<Patch>> {
    let wanted = [name.as_bytes(), b"\0"].concat();
    let found: Vec<_> = file[range.clone()]
        .windows(wanted.len())
        .enumerate()
        .filter(|(_, window)| *window == wanted)
        .map(|(at, _)| Patch {
            offset: (range.start + at + name.len() - 1) as u64,
            bytes: Bytes(b"X".to_vec()),
        })
        .collect();
    if found.is_empty() {
        bail!("amdgpu.ko does not hold the string {name}");
    }
    Ok(found)
}

/// Writes over the mark of the kernel's tree, and puts a version in the place of a firmware's name.
fn leave_tree(file: &[u8], range: Range<usize>, version: &str) -> Result<Vec<Patch>> {
    let find = |wanted: &[u8]| {
        let mut entries = file[range.clone()].split(|byte| *byte == 0);
        let entry = entries
            .find(|entry| entry.starts_with(wanted))
            .with_context(|| format!("no {} in .modinfo", String::from_utf8_lossy(wanted)))?;
        let start = entry.as_ptr().addr() - file.as_ptr().addr();
        anyhow::Ok(start..start + entry.len())
    };
    let (tree, firmware) = (find(b"intree=Y")?, find(b"firmware=")?);
    let mut text = format!("version={version}").into_bytes();
    if text.len() > firmware.len() {
        bail!("the version {version} has no room in .modinfo");
    }
    text.resize(firmware.len(), 0);
    Ok(vec![
        Patch {
            offset: tree.start as u64,
            bytes: Bytes(b"xntree=Y".to_vec()),
        },
        Patch {
            offset: firmware.start as u64,
            bytes: Bytes(text),
        },
    ])
}

/// The type information of the module, which continues vmlinux's. Offsets of patches are relative to it.
struct Types<'a> {
    base: Btf,
    own: Btf,
    module: &'a [u8],
}

impl<'a> Types<'a> {
    /// `struct btf_param`: name, type.
    const PARAMETER: usize = 8;
    const POINTER: u32 = 2;
    const STRUCT: u32 = 4;
    const FUNC: u32 = 12;
    const FUNC_PROTO: u32 = 13;

    fn parse(vmlinux: &[u8], module: &'a [u8]) -> Result<Self> {
        Ok(Self {
            base: Btf::parse(vmlinux).context("vmlinux's BTF")?,
            own: Btf::parse(module).context("amdgpu's BTF")?,
            module,
        })
    }

    /// The offset of the own type of this kind that `is_it`.
    fn find(&self, of: u32, is_it: impl Fn(usize) -> bool) -> Option<usize> {
        let types = self.own.types.iter().copied();
        types
            .filter(|at| kind(self.module, *at) == of)
            .find(|at| is_it(*at))
    }

    fn is_called(&self, at: usize, wanted: &str) -> bool {
        let name = word(self.module, at) as usize;
        let strings = &self.module[self.own.strings.clone()];
        let local = name.checked_sub(self.base.strings.len());
        let text = local.and_then(|at| strings.get(at..)).unwrap_or_default();
        text.split(|byte| *byte == 0).next() == Some(wanted.as_bytes())
    }

    /// The number of the own type at an offset. Types count from 1; 0 is void.
    fn number(&self, at: usize) -> Option<u32> {
        let index = self.own.types.iter().position(|own| *own == at)?;
        u32::try_from(self.base.types.len() + 1 + index).ok()
    }

    /// Where a function says which prototype it has, and where that is.
    fn prototype(&self, function: &str) -> Result<(usize, usize)> {
        let at = self
            .find(Self::FUNC, |at| self.is_called(at, function))
            .with_context(|| format!("amdgpu's BTF has no function {function}"))?;
        let prototype = (word(self.module, at + 8) as usize)
            .checked_sub(self.base.types.len() + 1)
            .and_then(|index| self.own.types.get(index))
            .context("the prototype is not among amdgpu's own types")?;
        if self.parameters(*prototype) != Some(5) {
            bail!("{function} does not have 5 parameters");
        }
        Ok((at + 8, *prototype))
    }

    fn parameters(&self, at: usize) -> Option<u32> {
        (kind(self.module, at) == Self::FUNC_PROTO).then(|| word(self.module, at + 4) & 0xffff)
    }

    /// Where the type of a parameter is.
    fn parameter(prototype: usize, index: usize) -> usize {
        prototype + 12 + index * Self::PARAMETER + 4
    }

    /// Gives the fourth parameter of `function` the type of the fifth.
    fn retype(&self, function: &str) -> Result<Patch> {
        let (_, prototype) = self.prototype(function)?;
        let [fourth, fifth] = [3, 4].map(|index| Self::parameter(prototype, index));
        Ok(Patch {
            offset: fourth as u64,
            bytes: Bytes(self.module[fifth..fifth + 4].to_vec()),
        })
    }

    /// Gives `function` three parameters: the first it has, a pointer to the struct `of`, and the last it has. The
    /// prototype of some other function is changed to these for it, since its own has no place for fewer.
    fn shorten(&self, function: &str, of: &str) -> Result<Vec<Patch>> {
        let (says, prototype) = self.prototype(function)?;
        let returns_nothing = |at| word(self.module, at + 8) == 0;
        let other = self
            .find(Self::FUNC_PROTO, |at| {
                self.parameters(at) == Some(3) && returns_nothing(at)
            })
            .context("no prototype of 3 parameters")?;
        let named = self
            .find(Self::STRUCT, |at| self.is_called(at, of))
            .and_then(|at| self.number(at))
            .with_context(|| format!("amdgpu's BTF has no struct {of}"))?;
        let pointer = self
            .find(Self::POINTER, |at| word(self.module, at + 8) == named)
            .and_then(|at| self.number(at))
            .with_context(|| format!("nothing points to struct {of}"))?;
        let types = [
            word(self.module, Self::parameter(prototype, 0)),
            pointer,
            word(self.module, Self::parameter(prototype, 4)),
        ];
        let number = self.number(other).context("no number")?;
        let write = |at: usize, value: u32| Patch {
            offset: at as u64,
            bytes: Bytes(value.to_le_bytes().to_vec()),
        };
        let parameters = types.into_iter().enumerate();
        let mut patches: Vec<_> = parameters
            .map(|(index, value)| write(Self::parameter(other, index), value))
            .collect();
        patches.push(write(says, number));
        Ok(patches)
    }
}

/// Where the types and strings of a BTF blob are.
struct Btf {
    /// Offset of each type, in order of its number.
    types: Vec<usize>,
    strings: Range<usize>,
}

impl Btf {
    fn parse(blob: &[u8]) -> Result<Self> {
        /// Bytes behind the 12 common ones: fixed, and for each member.
        const fn tail(kind: u32) -> Option<(usize, usize)> {
            Some(match kind {
                1 | 14 | 17 => (4, 0),
                2 | 7..=12 | 16 | 18 => (0, 0),
                3 => (12, 0),
                4 | 5 | 15 | 19 => (0, 12),
                6 | 13 => (0, 8),
                _ => return None,
            })
        }
        if blob.get(..2) != Some(&0xeb9f_u16.to_le_bytes()) || blob.len() < 24 {
            bail!("no BTF");
        }
        let header = word(blob, 4) as usize;
        let part = |at: usize| {
            let start = header + word(blob, at) as usize;
            start..start + word(blob, at + 4) as usize
        };
        let (all, strings) = (part(8), part(16));
        let mut types = Vec::new();
        let mut at = all.start;
        while at < all.end {
            types.push(at);
            let (fixed, each) =
                tail(kind(blob, at)).with_context(|| format!("unknown kind {}", kind(blob, at)))?;
            at += 12 + fixed + each * (word(blob, at + 4) & 0x00ff_ffff) as usize;
        }
        Ok(Self { types, strings })
    }
}

fn word(blob: &[u8], at: usize) -> u32 {
    blob.get(at..at + 4)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u32::from_le_bytes)
}

/// Bits 30:24 of the second word.
fn kind(blob: &[u8], at: usize) -> u32 {
    (word(blob, at + 4) >> 24) & 0x7f
}
