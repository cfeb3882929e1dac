// SPDX-License-Identifier: MIT OR Apache-2.0
//! Copies of the real amdgpu.ko that differ in a few bytes, to see rmcp refuse a driver that it does not know.
//!
//! The copy is made in the guest from a list of patches that is worked out here: the signature is cut off (a changed
//! module would fail its check), and either the function's name is changed in the symbol and BTF strings, or one
//! parameter's type in the function's BTF prototype. The code stays the same, so the driver works as ever.
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
    Renamed,
    /// The function's fourth parameter has the type of its fifth, in BTF.
    OtherPrototype,
}

/// Makes the altered copy in the guest, as a module of the name given (which is its file's name; the module inside is
/// still amdgpu).
pub(crate) fn make(
    stage: &mut Stage,
    name: &str,
    alteration: Alteration,
    function: &str,
) -> Result<()> {
    let original = modules::content(&modules::find(&stage.kernel.modules, AMDGPU)?)?;
    let length = unsigned_length(&original)?;
    let elf = object::File::parse(&*original).context("amdgpu.ko is no ELF file")?;
    let btf = section(&elf, ".BTF")?;
    let patches = match alteration {
        Alteration::Renamed => {
            let mut patches = Vec::new();
            for range in [section(&elf, ".strtab")?, section(&elf, ".BTF")?] {
                patches.extend(rename(&original, range, function)?);
            }
            patches
        }
        Alteration::OtherPrototype => {
            let vmlinux = stage
                .call(guest::proto::ReadFile {
                    path: "/sys/kernel/btf/vmlinux".into(),
                })?
                .0;
            let offset = btf.start;
            let patch = retype(&vmlinux, &original[btf], function)?;
            vec![Patch {
                offset: patch.offset + offset as u64,
                ..patch
            }]
        }
    };
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

/// Gives the fourth parameter of `function` the type of the fifth; the offset is relative to the module's BTF.
fn retype(vmlinux: &[u8], module: &[u8], function: &str) -> Result<Patch> {
    const FUNC: u32 = 12;
    const FUNC_PROTO: u32 = 13;
    /// `struct btf_param`: name, type.
    const PARAMETER: usize = 8;
    let base = Btf::parse(vmlinux).context("vmlinux's BTF")?;
    let own = Btf::parse(module).context("amdgpu's BTF")?;
    let strings = &module[own.strings.clone()];
    let is_function = |name: u32| {
        let local = (name as usize).checked_sub(base.strings.len());
        let text = local.and_then(|at| strings.get(at..)).unwrap_or_default();
        text.split(|byte| *byte == 0).next() == Some(function.as_bytes())
    };
    let function = own
        .types
        .iter()
        .find(|at| kind(module, **at) == FUNC && is_function(word(module, **at)))
        .with_context(|| format!("amdgpu's BTF has no function {function}"))?;
    // Types count from 1; 0 is void.
    let prototype = (word(module, function + 8) as usize)
        .checked_sub(base.types.len() + 1)
        .and_then(|index| own.types.get(index))
        .context("the prototype is not among amdgpu's own types")?;
    let parameters = word(module, prototype + 4) & 0xffff;
    if kind(module, *prototype) != FUNC_PROTO || parameters != 5 {
        bail!(
            "expected a prototype of 5 parameters, found kind {} with {parameters}",
            kind(module, *prototype)
        );
    }
    let parameter = |index: usize| prototype + 12 + index * PARAMETER + 4;
    let (fourth, fifth) = (parameter(3), parameter(4));
    Ok(Patch {
        offset: fourth as u64,
        bytes: Bytes(module[fifth..fifth + 4].to_vec()),
    })
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
