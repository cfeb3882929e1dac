// SPDX-License-Identifier: MIT OR Apache-2.0
//! Makes or extends a register table of this crate from one of AMD's `*_offset.h` headers.
//!
//! `regtable [--hub PREFIX] HEADER TABLE [NAME]...`: looks up every register that TABLE names already and every
//! NAME (without the leading `mm`) in HEADER, and writes TABLE anew. A name that the header lacks
//! is an error. With `--hub GC` (or `MM`) registers that the header calls `VM_*` or `MC_VM_*` get
//! the prefix in TABLE: headers before GFX10 give both hubs' registers the same names. The headers lie in a kernel's source: `drivers/gpu/drm/amd/include/asic_reg`.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (hub, args) = match &args[..] {
        [option, hub, rest @ ..] if option == "--hub" => (hub.as_str(), rest),
        all => ("", all),
    };
    let [header, table, names @ ..] = args else {
        eprintln!("usage: regtable [--hub PREFIX] HEADER TABLE [NAME]...");
        return ExitCode::FAILURE;
    };
    match run(Path::new(header), Path::new(table), names, hub) {
        Ok(count) => {
            println!("{table}: {count} registers");
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("regtable: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(header: &Path, table: &Path, names: &[String], hub: &str) -> Result<usize, Box<dyn Error>> {
    let text = std::fs::read_to_string(header)?;
    let offsets: BTreeMap<String, _> = offsets(&text)
        .into_iter()
        .map(|(name, place)| (renamed(name, hub), place))
        .collect();
    let old = std::fs::read_to_string(table).unwrap_or_default();
    let mut wanted: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    wanted.extend(
        old.lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_ascii_whitespace().next()),
    );
    let mut rows = Vec::new();
    for name in wanted {
        let (offset, index) = offsets
            .get(name)
            .ok_or_else(|| format!("{name} is not in {}", header.display()))?;
        rows.push((*index, *offset, name));
    }
    rows.sort_unstable();
    let source = header
        .components()
        .rev()
        .take(2)
        .map(|c| c.as_os_str().to_string_lossy())
        .collect::<Vec<_>>();
    let mut text = format!(
        "# {} of AMD's register headers (MIT): name, dword offset, base index.\n",
        source.iter().rev().cloned().collect::<Vec<_>>().join("/")
    );
    for (index, offset, name) in &rows {
        text.push_str(&format!("{name} {offset:#06x} {index}\n"));
    }
    std::fs::write(table, text)?;
    Ok(rows.len())
}

/// The name in the table.
fn renamed(name: &str, hub: &str) -> String {
    if name.starts_with("VM_") || name.starts_with("MC_VM_") {
        format!("{hub}{name}")
    } else {
        name.to_owned()
    }
}

/// Every register of the header: offset and base index.
fn offsets(header: &str) -> BTreeMap<&str, (u32, u32)> {
    let mut indices = BTreeMap::new();
    let mut offsets = BTreeMap::new();
    for line in header.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some("#define"), Some(name), Some(value)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let Some(name) = name.strip_prefix("mm") else {
            continue;
        };
        let value = match value.strip_prefix("0x") {
            Some(hex) => u32::from_str_radix(hex, 16),
            None => value.parse(),
        };
        let Ok(value) = value else {
            continue;
        };
        match name.strip_suffix("_BASE_IDX") {
            Some(register) => indices.insert(register, value),
            None => offsets.insert(name, value),
        };
    }
    offsets
        .into_iter()
        .map(|(name, offset)| (name, (offset, indices.get(name).copied().unwrap_or(0))))
        .collect()
}
