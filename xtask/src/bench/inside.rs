// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can be told from rmcp.ko itself: how large it is, and what its hot path calls.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail};
use object::{Object, ObjectSection, SectionFlags, elf};
use serde::Serialize;

use super::listing::{Listing, Step};
use crate::kernel::Kernel;
use crate::ui::failure;

/// What runs for calls of the driver: everything that ftrace calls or sends tasks to, but for [`SET_UP`].
const HOT: &[&str] = &[
    "rmcp::hook::arguments::enter::<",
    "rmcp::hook::replacement::redirect::<",
    "rmcp::hook::replacement::run::<",
];

/// What runs when the driver sets up a device.
const SET_UP: &str = "rmcp::amdgpu::fragment::SetUpDevice>";

/// What runs once for a device that is met for the first time, and is not followed: it takes the lock of the list of
/// devices.
const ONCE: &[&str] = &[
    "rmcp::amdgpu::devices::learn",
    "rmcp::amdgpu::devices::arrives",
];

/// How the kernel is returned to; no function that is called.
const RETURN: &str = "__x86_return_thunk";

/// Parts of the names of what a hot path may not call: allocation, locks, sleeping, printing, copying.
const FORBIDDEN: &[&str] = &[
    "alloc", "kfree", "kvfree", "lock", "mutex", "sema", "down_", "up_", "wait", "sleep",
    "schedule", "printk", "memcpy", "memset",
];

/// Sizes and calls.
#[derive(Debug, Clone, Serialize)]
pub struct Inside {
    /// Bytes of code, without what is freed after init.
    pub text: u64,
    /// Bytes of data: read-only, writeable, zeroed.
    pub data: u64,
    /// Bytes of the kernel's tables about the module: how to unwind its stack, what to patch, its parameters.
    pub tables: u64,
    /// Bytes that are freed after init.
    pub init: u64,
    /// The functions of the hot path.
    pub hot: Vec<Hot>,
}

/// One entry into the module from the driver's calls.
#[derive(Debug, Clone, Serialize)]
pub struct Hot {
    /// Its name.
    pub name: String,
    /// Functions of the module that it can reach, itself included.
    pub functions: usize,
    /// Instructions of all of them, on every path.
    pub instructions: usize,
    /// What it can call outside of the module.
    pub calls: BTreeSet<String>,
    /// What it calls once for a device.
    pub once: BTreeSet<String>,
    /// Indirect calls and jumps, whose targets the listing does not tell.
    pub indirect: usize,
    /// Instructions that lock the bus.
    pub locked: usize,
}

impl Hot {
    /// What it may not do; empty when it keeps the rule.
    #[must_use]
    pub fn breaches(&self) -> Vec<String> {
        let forbidden = |name: &&String| FORBIDDEN.iter().any(|part| name.contains(part));
        let mut breaches: Vec<String> = self.calls.iter().filter(forbidden).cloned().collect();
        if self.indirect > 0 {
            breaches.push(format!("{} indirect calls", self.indirect));
        }
        if self.locked > 0 {
            breaches.push(format!("{} instructions that lock the bus", self.locked));
        }
        breaches
    }
}

impl Inside {
    /// What the module is made of.
    #[must_use]
    pub fn text_and_data(&self) -> u64 {
        self.text + self.data
    }

    /// All breaches of the hot path.
    #[must_use]
    pub fn breaches(&self) -> Vec<String> {
        self.hot.iter().flat_map(Hot::breaches).collect()
    }

    /// Looks at a built module.
    pub fn look(kernel: &Kernel, rmcp: &Path) -> Result<Inside> {
        let bytes = fs_err::read(rmcp)?;
        let file = object::File::parse(bytes.as_slice())
            .with_context(|| format!("{} is no ELF file", rmcp.display()))?;
        let mut inside = Inside {
            text: 0,
            data: 0,
            tables: 0,
            init: 0,
            hot: Vec::new(),
        };
        for section in file.sections() {
            let SectionFlags::Elf { sh_flags } = section.flags() else {
                bail!("{} is no ELF file", rmcp.display());
            };
            if sh_flags & u64::from(elf::SHF_ALLOC) == 0 {
                continue;
            }
            let name = section.name().unwrap_or_default();
            let part = if name.starts_with(".init") || name.starts_with(".exit") {
                &mut inside.init
            } else if sh_flags & u64::from(elf::SHF_EXECINSTR) != 0 {
                &mut inside.text
            } else if [".rodata", ".data", ".bss"]
                .iter()
                .any(|kind| name.starts_with(kind))
            {
                &mut inside.data
            } else {
                &mut inside.tables
            };
            *part += section.size();
        }
        let output = {
            let mut objdump = kernel.root.command("objdump");
            objdump
                .args([
                    "--disassemble",
                    "--reloc",
                    "--demangle",
                    "--no-show-raw-insn",
                ])
                .arg(rmcp);
            let output = objdump.output().context("cannot start objdump")?;
            if !output.status.success() {
                let told = String::from_utf8_lossy(&output.stderr).into_owned();
                bail!(failure(&objdump, output.status, &told));
            }
            String::from_utf8(output.stdout).context("objdump prints no text")?
        };
        inside.hot = hot(&Listing::parse(&output))?;
        Ok(inside)
    }
}

/// The hot functions of a listing, with all that they reach.
fn hot(listing: &Listing) -> Result<Vec<Hot>> {
    let names = || listing.functions.keys();
    let roots = names()
        .filter(|name| HOT.iter().any(|hot| name.starts_with(hot)))
        .filter(|name| !name.ends_with(SET_UP));
    let found: Vec<Hot> = roots.map(|name| follow(listing, name)).collect();
    if found.is_empty() {
        bail!("rmcp.ko has none of the functions {HOT:?}; where has the hot path gone?");
    }
    Ok(found)
}

fn follow(listing: &Listing, root: &str) -> Hot {
    let functions: &BTreeMap<String, Vec<Step>> = &listing.functions;
    let mut hot = Hot {
        name: root.to_owned(),
        functions: 0,
        instructions: 0,
        calls: BTreeSet::new(),
        once: BTreeSet::new(),
        indirect: 0,
        locked: 0,
    };
    let mut seen = BTreeSet::new();
    let mut left = vec![root];
    while let Some(name) = left.pop() {
        if !seen.insert(name) {
            continue;
        }
        if ONCE.contains(&name) {
            hot.once.insert(name.to_owned());
            continue;
        }
        let Some(steps) = functions.get(name) else {
            hot.calls.insert(name.to_owned());
            continue;
        };
        hot.functions += 1;
        hot.instructions += steps.len();
        for step in steps {
            match step {
                Step::Plain => {}
                Step::Locked => hot.locked += 1,
                Step::Indirect => hot.indirect += 1,
                Step::To(target) if target == RETURN => {}
                Step::To(target) => left.push(target),
            }
        }
    }
    hot
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(functions: &[(&str, &[Step])]) -> Listing {
        let functions = functions
            .iter()
            .map(|(name, steps)| ((*name).to_owned(), steps.to_vec()));
        Listing {
            functions: functions.collect(),
        }
    }

    fn to(name: &str) -> Step {
        Step::To(name.into())
    }

    const ENTER: &str = "rmcp::hook::arguments::enter::<rmcp::amdgpu::Some>";

    #[test]
    fn what_is_reached_through_others_counts() {
        let listing = listing(&[
            (ENTER, &[Step::Plain, to("inner"), to(RETURN)]),
            (
                "inner",
                &[to("inner"), to("__kmalloc_noprof"), Step::Locked],
            ),
            ("other", &[to("mutex_lock")]),
        ]);
        let found = hot(&listing).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].functions, found[0].instructions), (2, 6));
        assert_eq!(
            found[0].breaches(),
            ["__kmalloc_noprof", "1 instructions that lock the bus"]
        );
    }

    #[test]
    fn what_runs_once_for_a_device_is_told_apart() {
        let listing = listing(&[
            (ENTER, &[to(ONCE[0]), to(RETURN)]),
            (ONCE[0], &[to("spin_lock")]),
        ]);
        let found = hot(&listing).unwrap();
        assert!(found[0].breaches().is_empty());
        assert_eq!(Vec::from_iter(&found[0].once), [ONCE[0]]);
    }

    #[test]
    fn a_clean_path_has_no_breaches() {
        let listing = listing(&[(ENTER, &[Step::Plain, to(RETURN)])]);
        let found = hot(&listing).unwrap();
        assert!(found[0].breaches().is_empty() && found[0].calls.is_empty());
    }

    #[test]
    fn a_hot_path_that_is_not_found_is_an_error() {
        assert!(hot(&listing(&[("rmcp::hook::arguments::leave", &[])])).is_err());
    }
}
