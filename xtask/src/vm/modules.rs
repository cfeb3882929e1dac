// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kernel modules as the distribution ships them: which ones a module needs, in which order, and their content.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use fs_err as fs;

/// depmod's list: for each module the modules that it needs.
#[derive(Debug, Default)]
pub struct Dependencies(BTreeMap<String, Vec<String>>);

impl Dependencies {
    /// Reads `modules.dep` of a kernel's module folder.
    pub fn read(modules: &Path) -> Result<Dependencies> {
        let file = modules.join("modules.dep");
        let text = fs::read_to_string(&file).with_context(|| {
            format!(
                "{} has no depmod lists; run depmod -b on it",
                modules.display()
            )
        })?;
        Ok(Self::parse(&text))
    }

    /// Lines of `path: path path …`, relative to the folder.
    fn parse(text: &str) -> Dependencies {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        Dependencies(
            text.lines()
                .filter_map(|line| line.split_once(':'))
                .map(|(module, needs)| (module.trim().to_owned(), words(needs)))
                .collect(),
        )
    }

    /// Everything that `name` needs and `name` itself last, each after all of its own needs.
    pub fn order(&self, name: &str) -> Result<Vec<String>> {
        let Some(path) = self.0.keys().find(|path| module_name(path) == name) else {
            bail!("modules.dep knows no module {name}");
        };
        let mut order = Vec::new();
        self.visit(path, &mut BTreeSet::new(), &mut order)?;
        Ok(order)
    }

    fn visit(
        &self,
        path: &str,
        seen: &mut BTreeSet<String>,
        order: &mut Vec<String>,
    ) -> Result<()> {
        if !seen.insert(path.to_owned()) {
            return Ok(());
        }
        let needs = self
            .0
            .get(path)
            .with_context(|| format!("modules.dep names {path} only as a need"))?;
        for need in needs {
            self.visit(need, seen, order)?;
        }
        order.push(path.to_owned());
        Ok(())
    }
}

/// `kernel/drivers/gpu/drm/drm_exec.ko.xz` is called `drm_exec`; the kernel writes `-` as `_`.
#[must_use]
pub fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split_once(".ko")
        .map_or(file, |(name, _)| name)
        .replace('-', "_")
}

/// A module's content, decompressed.
pub fn content(path: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(path)?;
    match path.extension().and_then(|kind| kind.to_str()) {
        Some("ko") => Ok(bytes),
        Some("xz") => {
            let mut plain = Vec::new();
            liblzma::read::XzDecoder::new_multi_decoder(bytes.as_slice())
                .read_to_end(&mut plain)
                .with_context(|| format!("{} is no sound xz file", path.display()))?;
            Ok(plain)
        }
        _ => bail!("{}: expected a module as .ko or .ko.xz", path.display()),
    }
}

/// The file of a module below a kernel's module folder.
pub fn find(modules: &Path, name: &str) -> Result<PathBuf> {
    let order = Dependencies::read(modules)?.order(name)?;
    Ok(modules.join(order.last().context("an empty order")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "\
kernel/a/top.ko.xz: kernel/b/mid-one.ko.xz kernel/b/low.ko.xz
kernel/b/mid-one.ko.xz: kernel/b/low.ko.xz
kernel/b/low.ko.xz:
kernel/b/other.ko.xz: kernel/missing.ko.xz
";

    #[test]
    fn needs_come_first_and_once() {
        let order = Dependencies::parse(SAMPLE).order("top").unwrap();
        assert_eq!(
            order,
            [
                "kernel/b/low.ko.xz",
                "kernel/b/mid-one.ko.xz",
                "kernel/a/top.ko.xz"
            ]
        );
    }

    #[test]
    fn names_are_the_kernels() {
        assert_eq!(module_name("kernel/b/mid-one.ko.xz"), "mid_one");
        assert_eq!(module_name("rmcp.ko"), "rmcp");
    }

    #[test]
    fn unknown_modules_are_named() {
        let list = Dependencies::parse(SAMPLE);
        assert!(
            list.order("nothing")
                .unwrap_err()
                .to_string()
                .contains("nothing")
        );
        assert!(
            list.order("other")
                .unwrap_err()
                .to_string()
                .contains("kernel/missing.ko.xz")
        );
    }
}
