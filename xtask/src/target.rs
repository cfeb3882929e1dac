// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernels that xtask knows by name: data, in `targets.toml` beside this file.

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// One Debian suite's kernel and the toolchain that belongs to it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// What a person types.
    pub name: String,
    /// The target whose suites and settings it has.
    pub like: Option<String>,
    /// Whether it is the kernel before the newest one.
    #[serde(default)]
    pub previous: bool,
    /// The package that leads to the kernel.
    #[serde(default)]
    pub image: String,
    /// Suites that packages come from; the first one is the base of the root file system, the last one has the kernel.
    #[serde(default)]
    pub suites: Vec<String>,
    /// The release that the kernel comes from, as apt_preferences(5) writes it.
    #[serde(default)]
    pub pin: String,
    /// Whether the archive's own expiry date is to be believed.
    #[serde(default = "yes")]
    pub expires: bool,
    /// The option of its configuration for which it is refused, where that is known.
    pub refused: Option<String>,
}

fn yes() -> bool {
    true
}

/// The whole of `targets.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Targets {
    /// The target that is used when none is named.
    pub default: String,
    /// The package that leads to the newest kernel.
    pub image: String,
    /// Packages that come from the pinned release.
    pub pinned: String,
    /// Components of the archive.
    pub components: Vec<String>,
    /// What a root file system holds besides the base and the kernel's own compiler.
    pub packages: Vec<String>,
    /// The distribution whose programs run in the guest.
    pub userland: Programs,
    /// The targets.
    pub target: Vec<Target>,
}

/// Whose programs run in the guest, whatever its kernel is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Programs {
    /// The target whose suites they come from.
    pub target: String,
    /// Packages for the guest.
    pub packages: Vec<String>,
    /// Packages that only building our own programs takes.
    pub build: Vec<String>,
    /// Packages whose change asks for a new root file system, besides the former.
    pub watched: Vec<String>,
}

impl Targets {
    /// Reads the list that was compiled in.
    pub fn load() -> Result<Targets> {
        let mut targets: Targets = toml::from_str(include_str!("targets.toml"))
            .context("xtask/src/targets.toml is broken")?;
        let named = targets.clone();
        for target in &mut targets.target {
            if let Some(like) = &target.like {
                let family = named.find(like)?;
                target.suites = family.suites;
                target.pin = family.pin;
                target.expires = family.expires;
            }
            if target.image.is_empty() {
                target.image.clone_from(&named.image);
            }
        }
        Ok(targets)
    }

    /// The target of that name.
    pub fn find(&self, name: &str) -> Result<Target> {
        if let Some(target) = self.target.iter().find(|target| target.name == name) {
            return Ok(target.clone());
        }
        let names: Vec<_> = self
            .target
            .iter()
            .map(|target| target.name.as_str())
            .collect();
        bail!(
            "there is no target {name:?}; the targets are {}",
            names.join(", ")
        )
    }
}

impl Target {
    /// The name that targets with the same suites share.
    pub fn family(&self) -> &str {
        self.like.as_deref().unwrap_or(&self.name)
    }

    /// The suite that the root file system is made of.
    pub fn base(&self) -> &str {
        self.suites.first().map_or("", String::as_str)
    }
}

/// The target that a person named, or the one in the variable KERNEL, or the default.
pub fn chosen(name: &str) -> String {
    let variable = std::env::var("KERNEL").unwrap_or_default();
    match (name, variable.as_str()) {
        ("", "") => Targets::load().map_or_else(|_| String::new(), |targets| targets.default),
        ("", variable) => variable.to_owned(),
        (name, _) => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sound() {
        let targets = Targets::load().unwrap();
        let default = targets.find(&targets.default).unwrap();
        assert_eq!(default.refused, None);
        for target in &targets.target {
            assert!(!target.suites.is_empty(), "{} has no suite", target.name);
        }
    }

    #[test]
    fn a_target_like_another_has_its_suites() {
        let targets = Targets::load().unwrap();
        let previous = targets.find("trixie-backports-previous").unwrap();
        let family = targets.find("trixie-backports").unwrap();
        assert!(previous.previous && !family.previous);
        assert_eq!(previous.family(), family.family());
        assert_eq!(
            (previous.suites, previous.pin, previous.image),
            (family.suites, family.pin, family.image)
        );
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let error = Targets::load()
            .unwrap()
            .find("potato")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("potato") && error.contains("trixie-backports"),
            "{error}"
        );
    }
}
