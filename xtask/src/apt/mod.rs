// SPDX-License-Identifier: MIT OR Apache-2.0
//! Asks Debian's archive which kernel is the newest, and fetches packages from it.
//!
//! The mirror and its keyring are those of the machine's own apt; a state folder in the cache keeps
//! the machine's apt itself untouched and lets an ordinary user do the same as root.

mod choice;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use fs_err as fs;
use serde::{Deserialize, Serialize};

use crate::cache::Cache;
use crate::target::{Target, Targets};
use crate::ui::{Step, Ui};

pub use choice::Stanza;
pub(crate) use choice::not_whole;
use choice::{Offer, ask, offers, stanzas};

/// How long an answer of the archive is taken for granted.
pub(crate) const FRESH: Duration = Duration::from_secs(24 * 60 * 60);

/// How long package lists serve further targets of the same suites: one run's time.
const SHARED: Duration = Duration::from_secs(60 * 60);

/// What the archive had when it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// Seconds since 1970.
    pub asked: u64,
    /// The archive's address, from the machine's apt.
    pub site: String,
    /// Under which name its root file system is kept; kernels of one suite with one compiler share it.
    pub root: String,
    /// The kernel's release, as `uname -r` prints it.
    pub release: String,
    /// The version of the kernel's packages.
    pub version: String,
    /// The packages that hold its image, modules and base files.
    pub kernel_packages: Vec<String>,
    /// The packages with its headers.
    pub header_packages: Vec<String>,
    /// The package with its source.
    pub source_package: String,
    /// The package with the compiler it was built with.
    pub compiler_package: String,
    /// Versions of the toolchain's packages.
    pub tools: BTreeMap<String, String>,
}

/// The archive did not hand over a package.
#[derive(Debug)]
pub struct DownloadFailed(String);

impl std::fmt::Display for DownloadFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for DownloadFailed {}

/// The apt state of the targets that share their suites.
#[derive(Debug)]
pub struct Apt {
    dir: PathBuf,
}

impl Apt {
    /// Sets the state folder up; touches no network.
    pub fn new(targets: &Targets, target: &Target, site: &str, cache: &Cache) -> Result<Apt> {
        let apt = Apt {
            dir: cache.dir().join("apt").join(target.family()),
        };
        let mut config = state_config(&apt.dir)?;
        config.push_str(&format!(
            "Dir::Etc::SourceList \"{0}/sources.list\";\nDir::Etc::SourceParts \"/dev/null\";\n\
             Dir::Etc::Preferences \"{0}/preferences\";\nDir::Etc::PreferencesParts \"/dev/null\";\n",
            apt.dir.display()
        ));
        for option in options(target)? {
            config.push_str(&option);
            config.push_str(";\n");
        }
        fs::write(apt.dir.join("apt.conf"), config)?;
        fs::write(
            apt.dir.join("sources.list"),
            sources(targets, target, site).join("\n") + "\n",
        )?;
        fs::write(apt.dir.join("preferences"), preferences(targets, target))?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .arg("-c")
            .arg(self.dir.join("apt.conf"))
            .env("LC_ALL", "C.UTF-8");
        command
    }

    /// Fetches the package lists.
    pub fn update(&self, step: &Step) -> Result<()> {
        let whole = self.dir.join("updated");
        let _ = std::fs::remove_file(&whole);
        step.run(
            self.command("apt-get")
                .args(["update", "-o", "APT::Update::Error-Mode=any"]),
        )?;
        Ok(fs::write(whole, now().to_string())?)
    }

    /// Whether another target that shares the lists has fetched them a short while ago.
    fn is_fresh(&self) -> bool {
        let updated = std::fs::read_to_string(self.dir.join("updated"));
        let updated = updated.ok().and_then(|text| text.parse::<u64>().ok());
        updated.is_some_and(|updated| now().saturating_sub(updated) < SHARED.as_secs())
    }

    /// What is known about the version of each package that would be installed.
    pub fn show(&self, packages: &[&str]) -> Result<Vec<Stanza>> {
        let output = self
            .command("apt-cache")
            .args(["show", "--no-all-versions"])
            .args(packages)
            .output()?;
        Ok(stanzas(&String::from_utf8_lossy(&output.stdout)))
    }

    /// Every version that the suites have of the packages whose names begin so.
    fn offers(&self, prefixes: &[&str]) -> Result<Vec<Offer>> {
        let mut names = String::new();
        for prefix in prefixes {
            let output = self
                .command("apt-cache")
                .args(["pkgnames", prefix])
                .output()?;
            names += &String::from_utf8_lossy(&output.stdout);
        }
        let output = self
            .command("apt-cache")
            .arg("madison")
            .args(names.lines())
            .output()?;
        Ok(offers(&String::from_utf8_lossy(&output.stdout)))
    }

    /// Downloads packages (a name, or `name=version`) into a folder.
    pub fn download(&self, packages: &[String], dir: &Path, step: &Step) -> Result<()> {
        match step.run(
            self.command("apt-get")
                .arg("download")
                .args(packages)
                .current_dir(dir),
        ) {
            Ok(_) => Ok(()),
            Err(error) => Err(DownloadFailed(error.to_string()).into()),
        }
    }
}

/// The target's newest kernel: from the cache when asked within a day, else from the archive; without
/// network, what was last prepared.
pub fn resolve(
    targets: &Targets,
    target: &Target,
    refresh: bool,
    cache: &Cache,
    ui: &Ui,
) -> Result<(Apt, Resolved)> {
    let file = cache
        .dir()
        .join("apt")
        .join(&target.name)
        .join("resolved.json");
    if let Some(known) = known(target, cache) {
        let age = now().saturating_sub(known.asked);
        if !refresh && age < FRESH.as_secs() {
            ui.cached("ask for the newest kernel");
            return Ok((Apt::new(targets, target, &known.site, cache)?, known));
        }
    }
    let asked = ui.step("ask for the newest kernel", |step| {
        let site = site(cache, step)?;
        let apt = Apt::new(targets, target, &site, cache)?;
        if refresh || !apt.is_fresh() {
            apt.update(step)?;
        }
        let resolved = ask(&apt, target, &site)?;
        cache.write(&file, &serde_json::to_vec_pretty(&resolved)?)?;
        Ok((apt, resolved))
    });
    let Err(error) = asked else { return asked };
    let Some(last) = read(&prepared_file(target, cache)) else {
        return Err(error);
    };
    let days = now().saturating_sub(last.asked) / 86400;
    ui.note(format!(
        "the archive could not be asked ({}); going on with kernel {} from the cache, found {days} days ago",
        error.to_string().lines().last().unwrap_or_default(),
        last.release
    ));
    Ok((Apt::new(targets, target, &last.site, cache)?, last))
}

/// Remembers a kernel that was prepared to its end, for times without network.
pub fn remember(target: &Target, resolved: &Resolved, cache: &Cache) -> Result<()> {
    cache.write(
        &prepared_file(target, cache),
        &serde_json::to_vec_pretty(resolved)?,
    )
}

/// The archive's last answer, however old.
pub fn known(target: &Target, cache: &Cache) -> Option<Resolved> {
    read(
        &cache
            .dir()
            .join("apt")
            .join(&target.name)
            .join("resolved.json"),
    )
}

fn prepared_file(target: &Target, cache: &Cache) -> PathBuf {
    cache
        .dir()
        .join("apt")
        .join(&target.name)
        .join("prepared.json")
}

fn read(file: &Path) -> Option<Resolved> {
    serde_json::from_slice(&std::fs::read(file).ok()?).ok()
}

pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}

/// The lines of a sources.list for a target.
pub fn sources(targets: &Targets, target: &Target, site: &str) -> Vec<String> {
    let keyring = ["pgp", "gpg"]
        .map(|kind| format!("/usr/share/keyrings/debian-archive-keyring.{kind}"))
        .into_iter()
        .find(|file| Path::new(file).exists());
    let signed = keyring.map_or_else(String::new, |file| format!("[signed-by={file}] "));
    let components = targets.components.join(" ");
    target
        .suites
        .iter()
        .map(|suite| format!("deb {signed}{site} {suite} {components}"))
        .collect()
}

/// An apt_preferences file that takes the kernel and QEMU from the pinned release, the rest from the base.
pub fn preferences(targets: &Targets, target: &Target) -> String {
    format!(
        "Package: {}\nPin: release {}\nPin-Priority: 900\n",
        targets.pinned, target.pin
    )
}

/// apt's settings for a target, among them the machine's own proxies.
pub fn options(target: &Target) -> Result<Vec<String>> {
    let mut options = vec![String::from("Acquire::Languages \"none\"")];
    if !target.expires {
        options.push("Acquire::Check-Valid-Until \"false\"".into());
    }
    let dump = Command::new("apt-config")
        .args(["dump", "--no-empty"])
        .output()
        .context("cannot start apt-config")?;
    for line in String::from_utf8_lossy(&dump.stdout).lines() {
        let proxy = ["Acquire::http::Proxy", "Acquire::https::Proxy"]
            .iter()
            .any(|name| line.starts_with(name));
        if proxy && !line.contains("Proxy-Auto-Detect") {
            options.push(line.trim_end_matches(';').to_owned());
        }
    }
    Ok(options)
}

/// Settings that keep apt inside a folder of ours, whatever the machine's settings say.
fn state_config(dir: &Path) -> Result<String> {
    for part in ["state/lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(dir.join(part))?;
    }
    fs::write(dir.join("status"), "")?;
    let dir = dir.display();
    Ok(format!(
        "#clear APT::Update;\n#clear APT::Default-Release;\n#clear DPkg::Pre-Invoke;\n#clear DPkg::Post-Invoke;\n\
         #clear Acquire::IndexTargets::deb::DEP-11;\n#clear Acquire::IndexTargets::deb::Contents-deb;\n\
         APT::Architecture \"amd64\";\n#clear APT::Architectures;\nAPT::Architectures {{ \"amd64\"; }};\n\
         APT::Sandbox::User \"root\";\nAcquire::Retries \"3\";\n\
         Dir::State \"{dir}/state\";\nDir::State::status \"{dir}/status\";\nDir::Cache \"{dir}/cache\";\n\
         Dir::Cache::pkgcache \"\";\nDir::Cache::srcpkgcache \"\";\n"
    ))
}

/// The Debian archive that the machine's apt uses.
pub(crate) fn site(cache: &Cache, step: &Step) -> Result<String> {
    let list = |config: Option<&Path>| -> Result<Option<String>> {
        let mut command = Command::new("apt-get");
        if let Some(config) = config {
            command.arg("-c").arg(config);
        }
        let output = command
            .args([
                "indextargets",
                "--format",
                "$(ORIGIN)|$(LABEL)|$(SITE)",
                "Created-By: Packages",
            ])
            .output()
            .context("cannot start apt-get")?;
        Ok(debian_site(&String::from_utf8_lossy(&output.stdout)))
    };
    if let Some(site) = list(None)? {
        return Ok(site);
    }
    // A fresh machine has no package lists yet, so its apt does not know what is Debian's. Ask with its
    // sources, but in a state folder of ours. A broken third-party source must not stop us.
    let dir = cache.dir().join("apt/machine");
    let config = dir.join("apt.conf");
    fs::create_dir_all(&dir)?;
    fs::write(&config, state_config(&dir)?)?;
    let _ = step.watch(Command::new("apt-get").arg("-c").arg(&config).arg("update"))?;
    match list(Some(&config))? {
        Some(site) => Ok(site),
        None => bail!(
            "this machine's apt has no source of Debian's archive; add one to /etc/apt/sources.list"
        ),
    }
}

fn debian_site(text: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let mut fields = line.split('|');
        let (origin, label, site) = (fields.next()?, fields.next()?, fields.next()?);
        (origin == "Debian" && label == "Debian" && !site.is_empty()).then(|| site.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_debians_own_archive_counts() {
        let text = "Other|Debian|http://other.invalid/x\nDebian|Debian-Security|http://d.invalid/sec\n\
                    Debian|Debian|http://d.invalid/debian\n";
        assert_eq!(
            debian_site(text).as_deref(),
            Some("http://d.invalid/debian")
        );
        assert_eq!(debian_site("||http://d.invalid/debian\n"), None);
    }
}
