// SPDX-License-Identifier: MIT OR Apache-2.0
//! For which chips a library has code: the bundles of code objects in its section `.hip_fatbin`.
//!
//! Formats: [Clang Offload Bundler](https://clang.llvm.org/docs/ClangOffloadBundler.html), plain bundles and the
//! compressed ones ("CCOB", versions 1 to 3). Only the lists of entries are read and, where a bundle is compressed, only
//! its beginning is unpacked. A file may be of any content: every size is checked, and every loop has an end.

use super::gfx::Gfx;
use crate::system::Places;
use object::elf::{ELFCLASS64, ELFDATA2LSB, ELFMAG, FileHeader64, SHT_STRTAB, SectionHeader64};
use object::endian::LittleEndian;
use object::pod::{from_bytes, slice_from_all_bytes};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Read;

/// Limits: sections of a file, bytes of their names, bundles, entries of a bundle, bytes of a list of entries, bytes that
/// are read of a compressed bundle, and places that are looked at for the next bundle.
const SECTIONS: usize = 1 << 12;
const NAMES: usize = 1 << 20;
const BUNDLES: u32 = 20_000;
const ENTRIES: u64 = 256;
const LIST: usize = 64 << 10;
const PACKED: usize = 256 << 10;
const STEPS: u32 = 1 << 20;
/// Where a bundle may begin: the section's alignment.
const ALIGNMENT: u64 = 4096;

const PLAIN: &[u8; 24] = b"__CLANG_OFFLOAD_BUNDLE__";
const COMPRESSED: &[u8; 4] = b"CCOB";

type Le = LittleEndian;

/// The chips a file has code for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Code {
    /// How many bundles there are.
    pub bundles: u32,
    /// Of these, how many have an entry for a chip.
    #[serde(serialize_with = "by_name")]
    pub chips: BTreeMap<Gfx, u32>,
    /// Bundles whose list could not be read, and why the first could not.
    pub unread: u32,
    /// The reason.
    pub why: Option<String>,
}

fn by_name<S: serde::Serializer>(chips: &BTreeMap<Gfx, u32>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(chips.iter().map(|(gfx, count)| (gfx.to_string(), count)))
}

/// Reads a library.
///
/// # Errors
///
/// One sentence, when it is no library of 64 bits, or has no code for GPUs.
pub fn read(file: &dyn Places) -> Result<Code, String> {
    let (start, size) = fatbin(file)?;
    let mut code = Code::default();
    let end = start
        .checked_add(size)
        .ok_or("the section is larger than a file can be")?;
    let (mut at, mut steps) = (start, 0);
    while at < end && code.bundles < BUNDLES && steps < STEPS {
        steps += 1;
        let next = match bundle(file, at, end) {
            Ok(None) => at + 1,
            Ok(Some(bundle)) => {
                code.bundles += 1;
                for chip in bundle.chips {
                    *code.chips.entry(chip).or_default() += 1;
                }
                if let Err(why) = bundle.list {
                    code.unread += 1;
                    code.why.get_or_insert(why);
                }
                bundle.end.max(at + 1)
            }
            Err(why) => {
                code.why.get_or_insert(why);
                break;
            }
        };
        // Bundles begin where the section's alignment says, counted from its beginning.
        at = (next - start)
            .checked_next_multiple_of(ALIGNMENT)
            .and_then(|offset| start.checked_add(offset))
            .unwrap_or(end);
    }
    match code.bundles {
        0 => Err(code
            .why
            .unwrap_or("its section .hip_fatbin holds no bundle".into())),
        _ => Ok(code),
    }
}

fn unread(what: &str) -> impl Fn(crate::system::Refusal) -> String + '_ {
    move |refusal| format!("{what} could not be read: {refusal}")
}

/// Place and size of `.hip_fatbin`.
fn fatbin(file: &dyn Places) -> Result<(u64, u64), String> {
    let mut buffer = [0; 64];
    file.read_at(0, &mut buffer).map_err(unread("its header"))?;
    let (header, _) =
        from_bytes::<FileHeader64<Le>>(&buffer).map_err(|()| "its header is cut off")?;
    let ident = header.e_ident;
    if (ident.magic, ident.class, ident.data) != (ELFMAG, ELFCLASS64, ELFDATA2LSB) {
        return Err("it is no ELF file of 64 bits".into());
    }
    let count = usize::from(header.e_shnum.get(LittleEndian));
    if header.e_shentsize.get(LittleEndian) != 64 || count == 0 || count > SECTIONS {
        return Err(format!(
            "it has {count} sections, expected 1 to {SECTIONS} of 64 bytes"
        ));
    }
    let mut table = vec![0; count * 64];
    file.read_at(header.e_shoff.get(LittleEndian), &mut table)
        .map_err(unread("its list of sections"))?;
    let sections = slice_from_all_bytes::<SectionHeader64<Le>>(&table);
    let sections = sections.map_err(|()| "its list of sections is cut off")?;
    let strings = sections
        .get(usize::from(header.e_shstrndx.get(LittleEndian)))
        .filter(|section| section.sh_type.get(LittleEndian) == SHT_STRTAB)
        .ok_or("its sections have no names")?;
    let size = usize::try_from(strings.sh_size.get(LittleEndian)).unwrap_or(usize::MAX);
    let mut names = vec![0; size.min(NAMES)];
    file.read_at(strings.sh_offset.get(LittleEndian), &mut names)
        .map_err(unread("the names of its sections"))?;
    let named = |section: &&SectionHeader64<Le>| {
        let at = usize::try_from(section.sh_name.get(LittleEndian)).unwrap_or(usize::MAX);
        let name = names.get(at..).unwrap_or_default();
        name.starts_with(b".hip_fatbin\0")
    };
    let section = sections.iter().find(named);
    let section = section.ok_or("it has no section .hip_fatbin, so no code for GPUs")?;
    Ok((
        section.sh_offset.get(LittleEndian),
        section.sh_size.get(LittleEndian),
    ))
}

/// A bundle that was found.
struct Bundle {
    /// The chips in its list, each once.
    chips: Vec<Gfx>,
    /// Whether its list could be read.
    list: Result<(), String>,
    /// Where it ends, as far as that is known.
    end: u64,
}

/// The bundle at `at`, if there is one.
fn bundle(file: &dyn Places, at: u64, end: u64) -> Result<Option<Bundle>, String> {
    let mut magic = [0; 24];
    let part = usize::try_from(end - at).map_or(24, |room| room.min(24));
    file.read_at(at, &mut magic[..part])
        .map_err(unread("its code"))?;
    if magic == *PLAIN {
        let mut list = vec![0; room(at, end, LIST)];
        file.read_at(at, &mut list).map_err(unread("a bundle"))?;
        let listed = entries(&list);
        let (chips, length, list) = listed.unwrap_or_else(|why| (Vec::new(), 0, Err(why)));
        let end = at.saturating_add(length);
        return Ok(Some(Bundle { chips, list, end }));
    }
    if !magic.starts_with(COMPRESSED) {
        return Ok(None);
    }
    let Some(head) = Head::of(&magic, |bytes| file.read_at(at, bytes).is_ok()) else {
        return Ok(Some(Bundle {
            chips: Vec::new(),
            list: Err("a compressed bundle has a version that is not known".into()),
            end: at,
        }));
    };
    let start = at.saturating_add(head.length);
    // Version 1 does not say where it ends.
    let bundle_end = head
        .size
        .map_or(end, |size| at.saturating_add(size).min(end));
    let mut packed = vec![0; room(start, bundle_end, PACKED)];
    file.read_at(start, &mut packed)
        .map_err(unread("a compressed bundle"))?;
    let list = head.unpack(&packed).and_then(|list| entries(&list));
    let (chips, _, list) = list.unwrap_or_else(|why| (Vec::new(), 0, Err(why)));
    let end = head.size.map_or(at, |size| at.saturating_add(size));
    Ok(Some(Bundle { chips, list, end }))
}

/// How many bytes there are from `at` to `end`, and no more than `most`.
fn room(at: u64, end: u64, most: usize) -> usize {
    usize::try_from(end.saturating_sub(at)).map_or(most, |room| room.min(most))
}

/// The header of a compressed bundle.
struct Head {
    length: u64,
    size: Option<u64>,
    zstd: bool,
}

impl Head {
    fn of(magic: &[u8; 24], read: impl Fn(&mut [u8]) -> bool) -> Option<Self> {
        let short = |at: usize| u16::from_le_bytes([magic[at], magic[at + 1]]);
        let mut long = [0; 16];
        let (length, size) = match short(4) {
            1 => (20, None),
            2 => {
                let size = [magic[8], magic[9], magic[10], magic[11]];
                (24, Some(u64::from(u32::from_le_bytes(size))))
            }
            3 if read(&mut long) => {
                let size = long[8..].try_into().ok()?;
                (32, Some(u64::from_le_bytes(size)))
            }
            _ => return None,
        };
        // llvm::compression::Format: Zlib, Zstd.
        let zstd = match short(6) {
            0 => false,
            1 => true,
            _ => return None,
        };
        Some(Self { length, size, zstd })
    }

    /// The beginning of what is packed.
    fn unpack(&self, packed: &[u8]) -> Result<Vec<u8>, String> {
        let mut list = Vec::new();
        let most = u64::try_from(LIST).unwrap_or(u64::MAX);
        let read = if self.zstd {
            let stream = ruzstd::decoding::StreamingDecoder::new(packed);
            let stream = stream.map_err(|error| format!("a bundle cannot be unpacked: {error}"))?;
            stream.take(most).read_to_end(&mut list)
        } else {
            flate2::read::ZlibDecoder::new(packed)
                .take(most)
                .read_to_end(&mut list)
        };
        // The end of what was read is not the end of what is packed; what came before it is good.
        match read {
            Err(error) if list.is_empty() => Err(format!("a bundle cannot be unpacked: {error}")),
            _ => Ok(list),
        }
    }
}

/// Chips, where the last entry ends, and whether the list is whole.
type Listed = (Vec<Gfx>, u64, Result<(), String>);

/// A list of entries: their number, then for each offset, size, length of its name, name.
fn entries(bundle: &[u8]) -> Result<Listed, String> {
    let mut rest = bundle
        .strip_prefix(PLAIN)
        .ok_or("what was packed is no bundle")?;
    let count = word(&mut rest).ok_or("a bundle ends before its list")?;
    if count > ENTRIES {
        return Err(format!("a bundle claims {count} entries"));
    }
    let (mut chips, mut end) = (Vec::new(), 0_u64);
    for _ in 0..count {
        let mut next = || {
            let (offset, size) = (word(&mut rest)?, word(&mut rest)?);
            let length = usize::try_from(word(&mut rest)?).ok()?;
            let name = rest.get(..length)?;
            rest = rest.get(length..)?;
            Some((offset, size, name))
        };
        let Some((offset, size, name)) = next() else {
            return Ok((chips, end, Err("a bundle's list is cut off".into())));
        };
        end = end.max(offset.saturating_add(size));
        if let Some(gfx) = chip(name) {
            if !chips.contains(&gfx) {
                chips.push(gfx);
            }
        }
    }
    Ok((chips, end, Ok(())))
}

fn word(rest: &mut &[u8]) -> Option<u64> {
    let (word, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u64::from_le_bytes(*word))
}

/// `hipv4-amdgcn-amd-amdhsa--gfx90a:xnack-`: the chip.
fn chip(name: &[u8]) -> Option<Gfx> {
    let name = std::str::from_utf8(name).ok()?;
    let at = name.find("gfx")?;
    Gfx::find(name.get(at..)?).map(|(gfx, _)| gfx)
}
