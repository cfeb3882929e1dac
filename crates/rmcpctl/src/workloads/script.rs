// SPDX-License-Identifier: MIT OR Apache-2.0
//! The scripts that workloads are: which there are, what each is about, and the text that Python gets.
//!
//! Ours are part of the program, so that a copy of it works on any machine, and so that they and what reads their words are
//! always of one version. Python reads a script on its standard input: nothing is written to disk.

use crate::fail::{Failure, Status};
use crate::system::clean;
use std::path::Path;

/// What each begins with.
const COMMON: &str = include_str!("../../workloads/common.py");
/// Asks PyTorch what it is.
const PROBE: &str = include_str!("../../workloads/probe.py");
/// How each ends. One that does not get there has not come to its end.
const END: &str = "\nsettle()\ntell(done=True)\n";
/// The largest script that is taken from a folder.
const LARGEST: u64 = 1 << 20;

/// Ours, in the order in which they run: what needs least comes first.
const OWN: &[(&str, &str)] = &[
    ("tensors", include_str!("../../workloads/tensors.py")),
    ("copies", include_str!("../../workloads/copies.py")),
    ("memory", include_str!("../../workloads/memory.py")),
    (
        "convolutions",
        include_str!("../../workloads/convolutions.py"),
    ),
    ("eeg", include_str!("../../workloads/eeg.py")),
    ("attention", include_str!("../../workloads/attention.py")),
    ("detector", include_str!("../../workloads/detector.py")),
    ("training", include_str!("../../workloads/training.py")),
    ("mixed", include_str!("../../workloads/mixed.py")),
];

/// A workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Workload {
    /// Its name, which is that of its file.
    pub(super) name: String,
    /// What it is about, in its own words.
    pub(super) about: String,
    text: String,
}

impl Workload {
    fn new(name: &str, text: &str) -> Self {
        Self {
            name: name.to_owned(),
            about: about(text),
            text: text.to_owned(),
        }
    }

    /// What asks PyTorch what it is.
    pub(super) fn probe() -> Self {
        Self::new("start", PROBE)
    }

    /// The whole script.
    pub(super) fn script(&self) -> String {
        format!("{COMMON}\n{}{END}", self.text)
    }
}

/// Ours.
pub(super) fn own() -> Vec<Workload> {
    OWN.iter()
        .map(|(name, text)| Workload::new(name, text))
        .collect()
}

/// Those in a folder, by name.
pub(super) fn of_folder(folder: &Path) -> Result<Vec<Workload>, Failure> {
    let wrong = |path: &Path, what: &dyn std::fmt::Display| {
        Failure::new(Status::Usage, format!("{}: {what}", path.display()))
            .cure("--from takes a folder of workloads, files that end in .py")
    };
    let entries = std::fs::read_dir(folder).map_err(|error| wrong(folder, &error))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| wrong(folder, &error))?.path();
        let python = path.extension().is_some_and(|extension| extension == "py");
        let name = path.file_stem().and_then(|name| name.to_str());
        let Some(name) = name.filter(|_| python) else {
            continue;
        };
        let size = std::fs::metadata(&path).map_err(|error| wrong(&path, &error))?;
        if !size.is_file() || size.len() > LARGEST {
            return Err(wrong(&path, &"not a file of at most 1 MiB"));
        }
        let text = std::fs::read(&path).map_err(|error| wrong(&path, &error))?;
        let text = String::from_utf8(text).map_err(|error| wrong(&path, &error))?;
        found.push(Workload::new(&clean(name.as_bytes()), &text));
    }
    if found.is_empty() {
        return Err(wrong(folder, &"holds no workload"));
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// The text between the first two pairs of three quotes, on one line.
fn about(text: &str) -> String {
    let text = text.split("\"\"\"").nth(1).unwrap_or_default();
    let words: Vec<&str> = text.split_whitespace().collect();
    clean(words.join(" ").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_workload_of_ours_says_what_it_is_about() {
        for workload in own() {
            assert!(workload.about.ends_with('.'), "{workload:?}");
            assert!(workload.text.contains("step("), "{}", workload.name);
            assert!(
                workload.script().contains("tell(done=True)"),
                "{}",
                workload.name
            );
        }
    }

    #[test]
    fn every_file_beside_ours_is_run() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/workloads");
        let mut files: Vec<String> = of_folder(Path::new(folder))
            .unwrap()
            .into_iter()
            .map(|workload| workload.name)
            .filter(|name| name != "common" && name != "probe")
            .collect();
        let mut names: Vec<String> = own().into_iter().map(|workload| workload.name).collect();
        names.sort();
        files.sort();
        assert_eq!(names, files);
    }

    #[test]
    fn a_folder_without_workloads_is_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let said = of_folder(folder.path()).unwrap_err().to_string();
        assert!(said.contains("holds no workload; --from takes"), "{said}");
        let said = of_folder(Path::new("/not/there")).unwrap_err().to_string();
        assert!(said.contains("/not/there: No such file"), "{said}");
    }
}
