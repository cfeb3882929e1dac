// SPDX-License-Identifier: MIT OR Apache-2.0
//! Settings for later starts: a file of our own in modprobe.d.
//!
//! modprobe sorts all its files by name, and of two options of one name the later wins. `rmcpctl.conf` comes after
//! `rmcp.conf` and `rmcp-dkms.conf`, which packages and people use, and belongs to no package, so that none asks about it.
//! (`rmcp-local.conf` would come before `rmcp.conf` and lose.)

use super::wanted::{Wanted, parse_word};
use crate::fail::{Failure, Status};
use crate::system::{Refusal, System};
use serde::Serialize;
use std::collections::BTreeMap;

/// The file.
pub const FILE: &str = "etc/modprobe.d/rmcpctl.conf";
/// Its first line, by which we know it again.
const MARK: &str = "# Written by rmcpctl; `rmcpctl reset` deletes it. Names and values: rmcp(4).";
/// Where modprobe looks; of files with one name, that in the first folder counts.
const FOLDERS: [&str; 5] = [
    "etc/modprobe.d",
    "run/modprobe.d",
    "usr/local/lib/modprobe.d",
    "usr/lib/modprobe.d",
    "lib/modprobe.d",
];

/// What shall become of the file.
pub(super) enum Change<'a> {
    /// These are added to what is in it.
    Add(&'a [Wanted]),
    /// It goes.
    Remove,
}

/// What is kept for later starts.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// The file.
    pub file: String,
    /// What it says now, as modprobe's options; none when there is no such file.
    pub options: Option<String>,
    /// What it said before.
    pub before: Option<String>,
    /// Whether it changed.
    pub changed: bool,
    /// Options in other files that win over it, since these come later.
    pub overruled: Vec<String>,
}

/// What is going to be done.
pub(super) struct Plan {
    content: Option<String>,
    kept: Kept,
}

/// Looks at what is there.
pub(super) fn plan(system: &System, change: &Change<'_>) -> Result<Plan, Failure> {
    let mut options = BTreeMap::new();
    let before = match system.text(FILE) {
        Ok(text) => Some(text),
        Err(Refusal::Missing) => None,
        Err(refusal) => return Err(unreadable(FILE, &refusal)),
    };
    let mut said = None;
    if let Some(text) = &before {
        let old = own_options(text)?;
        said = Some(words(&old));
        options.extend(old.into_iter().map(|wanted| (wanted.name, wanted.value)));
    }
    let content = match change {
        Change::Remove => None,
        Change::Add(wanted) => {
            let new = wanted.iter().map(|one| (one.name, one.value.clone()));
            options.extend(new);
            let all: Vec<Wanted> = options
                .into_iter()
                .map(|(name, value)| Wanted { name, value })
                .collect();
            Some(words(&all))
        }
    };
    let overruled = match &content {
        Some(_) => overruled(system, content.as_deref().unwrap_or_default()),
        None => Vec::new(),
    };
    Ok(Plan {
        kept: Kept {
            file: format!("/{FILE}"),
            changed: said != content,
            options: content.clone(),
            before: said,
            overruled,
        },
        content: content.map(|options| format!("{MARK}\noptions rmcp {options}\n")),
    })
}

impl Plan {
    /// Does it.
    pub(super) fn carry_out(self, system: &System) -> Result<Kept, Failure> {
        let done = match &self.content {
            _ if !self.kept.changed => Ok(()),
            Some(content) => system.files().replace(FILE, content.as_bytes()),
            None => system.files().remove(FILE),
        };
        match done {
            Ok(()) => Ok(self.kept),
            Err(Refusal::Denied) => Err(Failure::new(
                Status::Denied,
                format!("/{FILE} may not be written"),
            )
            .cure("ask as root")),
            Err(Refusal::Missing) => Err(Failure::new(
                Status::Missing,
                "/etc/modprobe.d is not there".to_owned(),
            )
            .cure("install kmod")),
            Err(refusal) => Err(Failure::new(
                Status::Failed,
                format!("/{FILE} could not be written: {refusal}"),
            )),
        }
    }
}

fn words(options: &[Wanted]) -> String {
    let word = |Wanted { name, value }: &Wanted| format!("{name}={value}");
    options.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn unreadable(path: &str, refusal: &Refusal) -> Failure {
    Failure::new(Status::Failed, format!("/{path} cannot be read: {refusal}"))
}

/// The options in our own file, which must look as we write it.
fn own_options(text: &str) -> Result<Vec<Wanted>, Failure> {
    let foreign = || {
        let what = format!("/{FILE} is not as rmcpctl writes it, so it is left as it is");
        Failure::new(Status::Failed, what).cure("move it away, or edit it by hand")
    };
    let mut lines = text.lines();
    let (mark, options) = (lines.next(), lines.next());
    let options = options.and_then(|line| line.strip_prefix("options rmcp "));
    if mark != Some(MARK) || lines.next().is_some() {
        return Err(foreign());
    }
    options
        .ok_or_else(foreign)?
        .split(' ')
        .map(|word| parse_word(word).map_err(|_| foreign()))
        .collect()
}

/// Options of rmcp in one file of modprobe.d: the words behind `options rmcp`, in order. A backslash at its end continues
/// a line.
pub fn options(text: &str) -> Vec<String> {
    let joined = text.replace("\\\n", "");
    joined
        .lines()
        .map(str::split_whitespace)
        .filter_map(|mut words| {
            let ours = words.next() == Some("options") && words.next() == Some("rmcp");
            ours.then_some(words)
        })
        .flatten()
        .map(str::to_owned)
        .collect()
}

/// Every file of modprobe.d that counts, in the order in which modprobe reads them.
pub fn files(system: &System) -> Vec<String> {
    let mut found = BTreeMap::new();
    for folder in FOLDERS.iter().rev() {
        let names = system.list(folder).unwrap_or_default();
        let conf = names.into_iter().filter(|name| name.ends_with(".conf"));
        found.extend(conf.map(|name| (name.clone(), format!("{folder}/{name}"))));
    }
    found.into_values().collect()
}

/// What later files say about the same switches.
fn overruled(system: &System, ours: &str) -> Vec<String> {
    let names: Vec<&str> = ours
        .split(' ')
        .filter_map(|word| word.split('=').next())
        .collect();
    let mut found = Vec::new();
    let later = files(system)
        .into_iter()
        .filter(|path| name_of(path) > name_of(FILE));
    for path in later {
        let Ok(text) = system.text(&path) else {
            continue;
        };
        let same = |word: &String| names.contains(&word.split('=').next().unwrap_or_default());
        for word in options(&text).into_iter().filter(same) {
            found.push(format!("{word} in /{path}"));
        }
    }
    // The kernel command line comes last of all.
    let line = system.text("proc/cmdline").unwrap_or_default();
    for word in line.split_whitespace() {
        let name = word.strip_prefix("rmcp.").and_then(|w| w.split('=').next());
        if name.is_some_and(|name| names.contains(&name)) {
            found.push(format!("{word} on the kernel command line"));
        }
    }
    found
}

fn name_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_found_wherever_modprobe_finds_them() {
        let text = "# options rmcp mtype=nc\nblacklist rmcp\noptions  rmcp\tmtype=uc \\\n  clients=compute\n\
                    options rmcp2 enable=0\noptions rmcp enable=1";
        assert_eq!(options(text), ["mtype=uc", "clients=compute", "enable=1"]);
        assert!(options("options rmcp").is_empty());
    }
}
