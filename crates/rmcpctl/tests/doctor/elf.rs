// SPDX-License-Identifier: MIT OR Apache-2.0
//! Libraries with code for GPUs, written by another library than the one that reads them, or by hand.

use object::write::{Object, SectionId};
use object::{Architecture, BinaryFormat, Endianness, SectionKind};

/// A list of entries as clang-offload-bundler writes it: the host's empty one, then a code object of 64 bytes per chip.
pub(crate) fn bundle(chips: &[&str]) -> Vec<u8> {
    let mut names = vec!["host-x86_64-unknown-linux-gnu-".to_owned()];
    names.extend(
        chips
            .iter()
            .map(|chip| format!("hipv4-amdgcn-amd-amdhsa--{chip}")),
    );
    let list: usize = 32 + names.iter().map(|name| 24 + name.len()).sum::<usize>();
    let mut bytes = b"__CLANG_OFFLOAD_BUNDLE__".to_vec();
    bytes.extend((names.len() as u64).to_le_bytes());
    for (number, name) in names.iter().enumerate() {
        let size = if number == 0 { 0_u64 } else { 64 };
        let offset = list as u64 + 64 * number.saturating_sub(1) as u64;
        bytes.extend(offset.to_le_bytes());
        bytes.extend(size.to_le_bytes());
        bytes.extend((name.len() as u64).to_le_bytes());
        bytes.extend(name.as_bytes());
    }
    bytes.resize(list + 64 * chips.len(), 0x7f);
    bytes
}

/// Zlib-compressed, in the version's form; version 1 has no size of its own.
pub(crate) fn compressed(bundle: &[u8], version: u16) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bundle).unwrap();
    packed(&encoder.finish().unwrap(), bundle.len(), version, 0)
}

/// The same with zstd.
pub(crate) fn zstd(bundle: &[u8], version: u16) -> Vec<u8> {
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    packed(
        &ruzstd::encoding::compress_to_vec(bundle, level),
        bundle.len(),
        version,
        1,
    )
}

fn packed(data: &[u8], uncompressed: usize, version: u16, method: u16) -> Vec<u8> {
    let mut bytes = b"CCOB".to_vec();
    bytes.extend(version.to_le_bytes());
    bytes.extend(method.to_le_bytes());
    match version {
        1 => bytes.extend((uncompressed as u32).to_le_bytes()),
        2 => {
            bytes.extend((24 + data.len() as u32).to_le_bytes());
            bytes.extend((uncompressed as u32).to_le_bytes());
        }
        _ => {
            bytes.extend((32 + data.len() as u64).to_le_bytes());
            bytes.extend((uncompressed as u64).to_le_bytes());
        }
    }
    bytes.extend([0x5a; 8]);
    bytes.extend(data);
    bytes
}

/// Bundles one behind the other, each where the section's alignment says.
pub(crate) fn aligned(bundles: &[Vec<u8>]) -> Vec<u8> {
    let mut all = Vec::new();
    for bundle in bundles {
        all.resize(all.len().next_multiple_of(4096), 0);
        all.extend(bundle);
    }
    all
}

fn section(object: &mut Object<'_>, name: &str, data: &[u8]) -> SectionId {
    let id = object.add_section(
        Vec::new(),
        name.as_bytes().to_vec(),
        SectionKind::ReadOnlyData,
    );
    object.append_section_data(id, data, 4096);
    id
}

/// A library whose `.hip_fatbin` holds this.
pub(crate) fn with_fatbin(data: &[u8]) -> Vec<u8> {
    let mut object = Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
    section(&mut object, ".text", &[0x90; 100]);
    section(&mut object, ".hipFatBinSegment", &[0; 24]);
    section(&mut object, ".hip_fatbin", data);
    object.write().unwrap()
}

/// A library without code for GPUs.
pub(crate) fn plain() -> Vec<u8> {
    let mut object = Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
    section(&mut object, ".text", &[0x90; 100]);
    object.write().unwrap()
}
