// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which kernel of the archive a target means, and what belongs to it. No version is written down: all
//! is read from the package lists.

use std::cmp::Ordering;
use std::process::Command;

use anyhow::{Context, Result};

use super::{Apt, Resolved, now};
use crate::target::Target;

/// Packages whose change asks for a new root file system, besides the kernel's compiler.
const TOOLS: &[&str] = &["rustc", "rust-src", "bindgen", "pahole", "qemu-system-x86"];

/// Asks for a target's kernel.
pub(super) fn ask(apt: &Apt, target: &Target, site: &str) -> Result<Resolved> {
    let one = |name: &str| -> Result<Stanza> {
        let found = apt.show(&[name])?.into_iter().next();
        found.with_context(|| format!("{} has no package {name}", target.suites.join(", ")))
    };
    let image = one(&target.image)?;
    let newest = release_of(&image.depends)
        .with_context(|| format!("{} depends on no kernel: {}", target.image, image.depends))?;
    let newest_headers = one(&headers_of(&newest))?;
    let newest_compiler = compiler_of(&newest, &newest_headers)?;
    let (release, headers) = match target.previous {
        false => (newest, newest_headers),
        true => {
            let offers = apt.offers(&["linux-image-", "linux-headers-", "linux-source-"])?;
            let suite = target.suites.last().map_or("", String::as_str);
            let flavour = target.image.trim_start_matches(IMAGE);
            let (release, version) = previous(&offers, suite, flavour, &newest_headers.version)?
                .with_context(|| {
                    format!(
                        "{suite} has no kernel before {newest} with headers and source of its very version any more; \
                         wait until it has a newer kernel, or choose another target"
                    )
                })?;
            let headers = one(&format!("{}={version}", headers_of(&release)))?;
            (release, headers)
        }
    };
    let compiler_package = compiler_of(&release, &headers)?;
    let root = if compiler_package == newest_compiler {
        target.family()
    } else {
        &target.name
    };
    let mut header_packages = vec![headers_of(&release)];
    let part =
        |name: &&str| name.starts_with("linux-headers-") || name.starts_with("linux-kbuild-");
    header_packages.extend(names(&headers.depends).filter(part).map(str::to_owned));
    let parts = ["binary", "modules", "base"].map(|part| format!("linux-{part}-{release}"));
    let split: Vec<_> = parts.iter().map(String::as_str).collect();
    let kernel_packages = if apt.show(&split)?.len() == split.len() {
        parts.to_vec()
    } else {
        vec![format!("{IMAGE}{release}")]
    };
    let tools: Vec<_> = TOOLS
        .iter()
        .copied()
        .chain([compiler_package.as_str()])
        .collect();
    let tools = apt
        .show(&tools)?
        .into_iter()
        .map(|package| (package.name, package.version))
        .collect();
    Ok(Resolved {
        asked: now(),
        site: site.to_owned(),
        root: root.to_owned(),
        source_package: source_of(&release)?,
        version: headers.version,
        release,
        kernel_packages,
        header_packages,
        compiler_package,
        tools,
    })
}

const IMAGE: &str = "linux-image-";

fn headers_of(release: &str) -> String {
    format!("linux-headers-{release}")
}

fn source_of(release: &str) -> Result<String> {
    let series = series_of(release).with_context(|| format!("{release} is no kernel release"))?;
    Ok(format!("linux-source-{series}"))
}

/// One version of a package that a suite has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    /// The package's name.
    pub name: String,
    /// The version.
    pub version: String,
    /// The suite.
    pub suite: String,
}

/// Reads the table of `apt-cache madison`.
pub(super) fn offers(text: &str) -> Vec<Offer> {
    let offer = |line: &str| {
        let mut columns = line.split('|').map(str::trim);
        let (name, version, place) = (columns.next()?, columns.next()?, columns.next()?);
        // `SITE SUITE/COMPONENT ARCHITECTURE Packages`
        let (suite, _) = place.split_whitespace().nth(1)?.rsplit_once('/')?;
        Some(Offer {
            name: name.to_owned(),
            version: version.to_owned(),
            suite: suite.to_owned(),
        })
    };
    text.lines().filter_map(offer).collect()
}

/// Release and version of the suite's last kernel older than `newest` that has headers and source of its very version.
fn previous(
    offers: &[Offer],
    suite: &str,
    flavour: &str,
    newest: &str,
) -> Result<Option<(String, String)>> {
    let mut kernels = Vec::new();
    for offer in offers.iter().filter(|offer| offer.suite == suite) {
        if let Some(release) = offer.name.strip_prefix(IMAGE) {
            if is_flavour(release, flavour) && compare(&offer.version, newest)? == Ordering::Less {
                kernels.push((release, offer.version.as_str()));
            }
        }
    }
    let mut best: Option<(&str, &str)> = None;
    for (release, version) in kernels {
        let there = |name: String| {
            offers
                .iter()
                .any(|offer| offer.name == name && offer.version == version)
        };
        let whole = there(headers_of(release)) && there(source_of(release)?);
        let later = match best {
            Some((_, best)) => compare(version, best)? == Ordering::Greater,
            None => true,
        };
        if whole && later {
            best = Some((release, version));
        }
    }
    Ok(best.map(|(release, version)| (release.to_owned(), version.to_owned())))
}

/// Whether a release is of this flavour and not of one whose name ends alike, such as `cloud-amd64`.
fn is_flavour(release: &str, flavour: &str) -> bool {
    let version = release
        .strip_suffix(flavour)
        .and_then(|rest| rest.strip_suffix('-'));
    version.is_some_and(|version| {
        version.split('-').enumerate().all(|(i, part)| match i {
            0 => part.starts_with(|c: char| c.is_ascii_digit()),
            _ => part
                .strip_prefix("rc")
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())),
        })
    })
}

/// What apt says when a suite, or a mirror's copy of it, does not fit together: the first reason among its output.
pub(crate) fn not_whole(output: &str) -> Option<&str> {
    let mut lines = output.lines().map(str::trim);
    lines.clone().find(|line| {
        [
            "unmet dependencies",
            "Unable to correct problems",
            "Unable to satisfy dependencies",
        ]
        .iter()
        .chain(&[
            "no installation candidate",
            "Unable to locate package",
            "404 ",
            "Hash Sum mismatch",
        ])
        .any(|sign| line.contains(sign))
    })?;
    // ` NAME : Depends: OTHER (= 1) but it is not going to be installed` says more than the line above it.
    lines
        .clone()
        .find(|line| line.contains(" but ") && line.contains("epends: "))
        .or_else(|| lines.find(|line| line.starts_with("E: ") || line.starts_with("Err:")))
}

/// The order of two Debian versions, by dpkg's own rules.
fn compare(left: &str, right: &str) -> Result<Ordering> {
    let holds = |relation: &str| -> Result<bool> {
        let status = Command::new("dpkg")
            .args(["--compare-versions", left, relation, right])
            .status()
            .context("cannot start dpkg")?;
        Ok(status.success())
    };
    Ok(if holds("lt")? {
        Ordering::Less
    } else if holds("gt")? {
        Ordering::Greater
    } else {
        Ordering::Equal
    })
}

/// The fields that we use of one package's description.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stanza {
    /// The package's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its dependencies, as written.
    pub depends: String,
}

pub(super) fn stanzas(text: &str) -> Vec<Stanza> {
    let mut all = Vec::new();
    for part in text.split("\n\n").filter(|part| !part.trim().is_empty()) {
        let field = |name: &str| {
            let line = part
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap_or_default().trim().to_owned()
        };
        all.push(Stanza {
            name: field("Package"),
            version: field("Version"),
            depends: field("Depends"),
        });
    }
    all
}

/// The names in a Depends field.
fn names(depends: &str) -> impl Iterator<Item = &str> {
    depends
        .split([',', '|'])
        .filter_map(|part| part.split_whitespace().next())
}

fn release_of(depends: &str) -> Option<String> {
    names(depends).find_map(|name| {
        let release = name.strip_prefix("linux-image-")?;
        release
            .starts_with(|c: char| c.is_ascii_digit())
            .then(|| release.to_owned())
    })
}

fn compiler_of(release: &str, headers: &Stanza) -> Result<String> {
    compiler_in(&headers.depends).with_context(|| {
        format!(
            "the headers of {release} name no compiler: {}",
            headers.depends
        )
    })
}

fn compiler_in(depends: &str) -> Option<String> {
    let gcc = |name: &&str| {
        let digits = name
            .strip_prefix("gcc-")
            .or_else(|| name.strip_prefix("linux-compiler-gcc-"));
        digits.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    names(depends).find(gcc).map(str::to_owned)
}

/// `7.3` of `7.3.4+deb13-amd64`.
fn series_of(release: &str) -> Option<String> {
    let end = |text: &str| {
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len())
    };
    let (major, rest) = release.split_once('.')?;
    let minor = &rest[..end(rest)];
    (!major.is_empty() && end(major) == major.len() && !minor.is_empty())
        .then(|| format!("{major}.{minor}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_read_from_the_meta_package() {
        let depends = "linux-base-amd64 (= 7.3.4-1~bpo13+1), linux-image-7.3.4+deb13-amd64 (= 7.3.4-1~bpo13+1), \
                       linux-modules-amd64 (= 7.3.4-1~bpo13+1)";
        assert_eq!(release_of(depends).as_deref(), Some("7.3.4+deb13-amd64"));
        assert_eq!(release_of("linux-base (>= 4.12~)"), None);
    }

    #[test]
    fn the_compiler_is_read_from_the_headers() {
        let depends = "gcc-14-for-host, linux-base (>= 4.12~), linux-kbuild-7.3.4+deb13";
        assert_eq!(compiler_in(depends).as_deref(), Some("gcc-14-for-host"));
        assert_eq!(
            compiler_in("linux-compiler-gcc-12-x86 (>= 6)").as_deref(),
            Some("linux-compiler-gcc-12-x86")
        );
        assert_eq!(compiler_in("linux-base"), None);
    }

    #[test]
    fn the_series_is_read_from_the_release() {
        assert_eq!(series_of("7.3.4+deb13-amd64").as_deref(), Some("7.3"));
        assert_eq!(series_of("7.3-rc5-amd64").as_deref(), Some("7.3"));
        assert_eq!(series_of("6.12.107+deb13-amd64").as_deref(), Some("6.12"));
        assert_eq!(series_of("amd64"), None);
    }

    #[test]
    fn descriptions_are_read() {
        let text = "Package: a\nVersion: 1\nDepends: b, c (>= 2)\n\nPackage: d\nVersion: 2\n";
        let all = stanzas(text);
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].depends, "b, c (>= 2)");
        assert_eq!((all[1].name.as_str(), all[1].version.as_str()), ("d", "2"));
    }

    const MADISON: &str = "\
linux-image-7.3.4+deb13-amd64 | 7.3.4-1~bpo13+1 | http://d.invalid/debian trixie-backports/main amd64 Packages
linux-image-7.3.4+deb13-cloud-amd64 | 7.3.4-1~bpo13+1 | http://d.invalid/debian trixie-backports/main amd64 Packages
linux-image-7.2.9+deb13-amd64 | 7.2.9-1~bpo13+1 | http://d.invalid/debian trixie-backports/main amd64 Packages
linux-image-7.2.13+deb13-cloud-amd64 | 7.2.13-1~bpo13+1 | http://d.invalid/debian trixie-backports/main amd64 Packages
linux-image-7.2.13+deb13-amd64 | 7.2.13-1~bpo13+1 | http://d.invalid/debian trixie-backports/main amd64 Packages
linux-image-7.2.12+deb13-amd64 | 7.2.12-1~bpo13+1 | http://d.invalid/debian trixie-backports/main amd64 Packages
linux-image-6.12.117+deb13-amd64 | 6.12.117-1 | http://d.invalid/debian trixie/main amd64 Packages
linux-headers-7.2.12+deb13-amd64 | 7.2.12-1~bpo13+1 | http://d.invalid/debian trixie-backports/main amd64 Packages
linux-headers-7.2.13+deb13-amd64 | 7.2.13-1~bpo13+1 | http://d.invalid/debian trixie-backports/main amd64 Packages
linux-headers-7.2.9+deb13-amd64 | 7.2.9-1~bpo13+1 | http://d.invalid/debian trixie-backports/main amd64 Packages
linux-source-7.2 | 7.2.12-1~bpo13+1 | http://d.invalid/debian trixie-backports/main amd64 Packages
linux-source-7.2 | 7.2.9-1~bpo13+1 | http://d.invalid/debian trixie-backports/main amd64 Packages
";

    #[test]
    fn the_kernel_before_the_newest_is_a_whole_one() {
        let offers = offers(MADISON);
        assert_eq!(offers.len(), 12);
        let before = |suite, newest| previous(&offers, suite, "amd64", newest).unwrap();
        // 7.2.13 has lost its source, and the cloud flavour is another kernel; 7.2.9 sorts after 7.2.12 as text.
        assert_eq!(
            before("trixie-backports", "7.3.4-1~bpo13+1").unwrap(),
            ("7.2.12+deb13-amd64".into(), "7.2.12-1~bpo13+1".into())
        );
        assert_eq!(
            before("trixie-backports", "7.2.12-1~bpo13+1").unwrap().0,
            "7.2.9+deb13-amd64"
        );
        assert_eq!(before("trixie-backports", "7.2.9-1~bpo13+1"), None);
        assert_eq!(before("trixie", "7.3.4-1~bpo13+1"), None);
    }

    #[test]
    fn flavours_are_told_apart() {
        assert!(is_flavour("7.3.4+deb13-amd64", "amd64"));
        assert!(is_flavour("7.3-rc5-amd64", "amd64"));
        assert!(!is_flavour("7.3.4+deb13-rt-amd64", "amd64"));
        assert!(!is_flavour("7.3.4+deb13-amd64-unsigned", "amd64"));
        assert!(is_flavour("7.3.4+deb13-rt-amd64", "rt-amd64"));
        assert!(!is_flavour("amd64", "amd64"));
    }

    #[test]
    fn a_suite_that_does_not_fit_together_is_told_by_its_first_reason() {
        // As apt of trixie and of sid print it.
        let unmet = "Reading package lists...\nThe following packages have unmet dependencies:\n \
                     libclang-dev : Depends: libclang-21-dev (>= 1:21) but it is not installable\n\
                     E: Unable to correct problems, you have held broken packages.\n";
        assert_eq!(
            not_whole(unmet),
            Some("libclang-dev : Depends: libclang-21-dev (>= 1:21) but it is not installable")
        );
        let gone = "Ign:7 http://d.invalid/debian sid/main amd64 bc amd64 1.0\n\
                    Err:7 http://d.invalid/debian sid/main amd64 bc amd64 1.0\n  404  Not Found [IP: 192.0.2.1 80]\n";
        assert_eq!(
            not_whole(gone),
            Some("Err:7 http://d.invalid/debian sid/main amd64 bc amd64 1.0")
        );
        assert_eq!(not_whole("E: No space left on device\n"), None);
    }
}
