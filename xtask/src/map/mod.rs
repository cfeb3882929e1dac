// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask map`: draws an address space, before and after a policy.
//!
//! The mappings are the demo's. They are made under the stock driver and again, at the same addresses, with rmcp; each
//! time the whole address space is read back from the emulated GPU's memory ([`strips`] makes mappings of entries, and
//! [`svg`] a picture of mappings). Walks that were saved as JSON can be drawn without a VM.

pub mod strips;
pub mod svg;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rdna_emu::tables::{AddressSpace, diff};
use rdna_emu::{Chip, GpuVa};

use self::svg::Side;
use crate::kernel::Kernel;
use crate::module;
use crate::ui::Ui;
use crate::vm::actions::RENDER_NODE;
use crate::vm::initramfs::GuestFile;
use crate::vm::log::scan;
use crate::vm::mappings::{DEMO, Layout};
use crate::vm::{GpuOptions, Vm, VmOptions};

const RMCP: &str = "rmcp";

/// What to draw and where to.
#[derive(Debug, Clone)]
pub struct Options {
    /// The chip to be.
    pub gpu: Chip,
    /// rmcp's parameters.
    pub rmcp: String,
    /// The picture's file.
    pub out: PathBuf,
    /// A folder for the two walks as JSON: `before.json` and `after.json`.
    pub save: Option<PathBuf>,
}

/// The two walks.
#[derive(Debug, Clone)]
pub struct Walks {
    /// As stock wrote it.
    pub before: AddressSpace,
    /// Under the policy.
    pub after: AddressSpace,
}

/// Boots a VM, maps, and draws.
pub fn run(kernel: &Kernel, options: &Options, ui: &Ui) -> Result<()> {
    let rmcp = module::build(kernel, ui)?;
    let vm_options = VmOptions {
        gpus: vec![GpuOptions::from(options.gpu)],
        files: vec![GuestFile::module(&rmcp)?],
        name: "map".into(),
        ..VmOptions::default()
    };
    let mut vm = Vm::boot(kernel, vm_options, ui)?;
    let (walks, layout) = ui.step("map buffers under stock and under rmcp", |_| {
        vm.load_amdgpu()?;
        let layout = Layout::create(&mut vm, RENDER_NODE, DEMO)?;
        let walks = walks(&mut vm, &layout, &options.rmcp)?;
        if let Some(trouble) = scan(&vm.log_since(Default::default())?) {
            bail!("{trouble}");
        }
        if let Some(trouble) = vm.gpu_trouble() {
            bail!("{trouble}");
        }
        Ok((walks, layout))
    })?;
    vm.power_off()?;
    if let Some(folder) = &options.save {
        fs_err::create_dir_all(folder)?;
        for (name, walk) in [("before.json", &walks.before), ("after.json", &walks.after)] {
            fs_err::write(
                folder.join(name),
                serde_json::to_string_pretty(walk)? + "\n",
            )?;
        }
    }
    let titles = ["stock amdgpu".to_owned(), format!("rmcp {}", options.rmcp)];
    let names = |va: GpuVa| layout.owner(va.0).map(|placed| placed.mapping.name);
    let source = format!(
        "Read back from the page tables in an emulated {}'s memory; no real hardware was measured.",
        options.gpu
    );
    let picture = picture(&walks, titles, &source, &names);
    fs_err::write(&options.out, picture)?;
    ui.note(format!("wrote {}", options.out.display()));
    Ok(())
}

/// Maps `layout` under stock, then again at the same addresses with rmcp loaded; both address spaces. It stays mapped,
/// and rmcp loaded.
pub fn walks(vm: &mut Vm, layout: &Layout, rmcp: &str) -> Result<Walks> {
    layout.map(vm)?;
    let before = vm.address_space(layout.client, 0)?;
    layout.unmap(vm)?;
    vm.load(RMCP, rmcp)?;
    let state = vm.parameter(RMCP, "state")?;
    if !state.starts_with("armed") {
        bail!("rmcp {rmcp:?}: expected it to be armed, its state is {state:?}");
    }
    layout.map(vm)?;
    let after = vm.address_space(layout.client, 0)?;
    Ok(Walks { before, after })
}

/// Draws two walks that were saved as JSON.
pub fn redraw(before: &Path, after: &Path, out: &Path, ui: &Ui) -> Result<()> {
    let walks = Walks {
        before: load(before)?,
        after: load(after)?,
    };
    let titles = [before, after].map(|file| {
        file.file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    });
    fs_err::write(
        out,
        picture(&walks, titles, "Drawn from saved walks.", &|_| None),
    )?;
    ui.note(format!("wrote {}", out.display()));
    Ok(())
}

fn load(file: &Path) -> Result<AddressSpace> {
    let text = fs_err::read_to_string(file)?;
    serde_json::from_str(&text).with_context(|| format!("{} is no walk", file.display()))
}

/// The picture of two walks; `source` is a sentence about where they come from.
#[must_use]
pub fn picture(
    walks: &Walks,
    titles: [String; 2],
    source: &str,
    names: strips::Names<'_>,
) -> String {
    let [before, after] = titles;
    let side = |title, walk| Side {
        title,
        strips: strips::strips(walk, names),
    };
    let (before, after) = (side(before, &walks.before), side(after, &walks.after));
    let found = diff(&walks.before, &walks.after);
    let note = format!(
        "{source} {} entries before, {} after, {} changed.",
        walks.before.entries.len(),
        walks.after.entries.len(),
        found.changed.len()
    );
    svg::draw("One process's GPU address space", &note, &before, &after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdna_emu::PageDirectory;
    use rdna_emu::tables::{Entry, Kind, Level};

    fn space(entries: &[(u64, Level, u64)]) -> AddressSpace {
        let entry = |&(va, level, raw): &(u64, Level, u64)| Entry::decode(GpuVa(va), level, raw);
        AddressSpace {
            root: PageDirectory(1),
            entries: entries.iter().filter_map(entry).collect(),
        }
    }

    /// Page by page: what the picture says at each address is what the entry there says.
    #[test]
    fn the_picture_shows_what_the_walk_says() {
        use Level::{Pdb0, Ptb};
        let before = space(&[
            (0x10_0000_0000, Ptb, 0x0000_0000_0ffd_0271),
            (0x10_0000_1000, Ptb, 0x0000_0000_0ffd_1271),
            (0x10_0000_2000, Ptb, 0x0002_0000_0ffd_2071),
            (0x10_0800_0000, Pdb0, 0x0040_0000_0fc0_04f1),
            (0x10_0900_0000, Ptb, 0x0088_0000_0000_0206),
        ]);
        let after = space(&[
            (0x10_0000_0000, Ptb, 0x0003_0000_0ffd_0271),
            (0x10_0800_0000, Pdb0, 0x0043_0000_0fc0_04f1),
        ]);
        let walks = Walks { before, after };
        let titles = ["before & <after>".to_owned(), "after".to_owned()];
        let picture = picture(&walks, titles, "test", &|_| None);
        assert!(picture.contains("before &amp; &lt;after&gt;"));
        let shown = svg::shown(&picture);
        for (side, walk) in [("before", &walks.before), ("after", &walks.after)] {
            let mine: Vec<_> = shown.iter().filter(|piece| piece.0 == side).collect();
            let total: u64 = mine.iter().map(|piece| piece.2).sum();
            let mapped: u64 = walk.entries.iter().map(|entry| entry.span().bytes()).sum();
            assert_eq!(total, mapped, "{side}");
            for entry in &walk.entries {
                let covering =
                    |piece: &&&svg::Shown| (piece.1..piece.1 + piece.2).contains(&entry.va.0);
                let piece = mine.iter().find(covering).unwrap();
                match entry.kind {
                    Kind::Prt => assert_eq!((piece.3.as_str(), piece.4), ("PRT", None)),
                    _ => assert_eq!(
                        (piece.3.clone(), piece.4),
                        (entry.mtype().to_string(), Some(entry.fragment()))
                    ),
                }
            }
        }
    }
}
