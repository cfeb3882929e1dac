// SPDX-License-Identifier: MIT OR Apache-2.0
//! The house rules that a program can check, each as a test of its own.
//!
//! A rule looks at one file, [`documented`] at several, and names what is wrong; rules never look at each other. Compilers,
//! clippy and rustfmt check the rest. `cargo xtask tidy` prints the findings, `cargo xtask check` counts.

mod documented;
mod rules;
mod safety;

use std::fmt;
use std::path::Path;

use anyhow::Result;
use fs_err as fs;
use walkdir::{DirEntry, WalkDir};

/// One text file of the checkout.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its name relative to the checkout, with `/`.
    pub name: String,
    /// What it holds.
    pub text: String,
}

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    name: String,
    line: usize,
    problem: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.name, self.line, self.problem)
    }
}

impl Source {
    fn finding(&self, line: usize, problem: impl Into<String>) -> Finding {
        Finding {
            name: self.name.clone(),
            line,
            problem: problem.into(),
        }
    }

    fn is_rust(&self) -> bool {
        self.name.ends_with(".rs")
    }

    /// The lines, counted from 1.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line))
    }
}

/// One house rule.
struct Rule {
    name: &'static str,
    check: fn(&Source) -> Vec<Finding>,
}

const RULES: &[Rule] = &[
    Rule {
        name: "every unsafe block has a SAFETY comment",
        check: safety::commented,
    },
    Rule {
        name: "unsafe stays in its rooms",
        check: safety::in_its_room,
    },
    Rule {
        name: "src/logic is pure",
        check: rules::pure_logic,
    },
    Rule {
        name: "files open with their licence",
        check: rules::licence,
    },
    Rule {
        name: "files open with what they are for",
        check: rules::opening,
    },
    Rule {
        name: "files are short",
        check: rules::short,
    },
    Rule {
        name: "no machine's path and no mirror's name",
        check: rules::portable,
    },
];

/// Every rule with what it found in the checkout.
pub fn check(top: &Path) -> Result<Vec<(&'static str, Vec<Finding>)>> {
    let sources = sources(top)?;
    let apply = |rule: &Rule| (rule.name, sources.iter().flat_map(rule.check).collect());
    let mut outcome: Vec<_> = RULES.iter().map(apply).collect();
    outcome.push((
        "refusals are listed with their cure",
        documented::refusals(&sources),
    ));
    Ok(outcome)
}

/// Every text file that we wrote.
pub(crate) fn sources(top: &Path) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for entry in WalkDir::new(top)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(ours)
    {
        let entry = entry?;
        if !entry.file_type().is_file() {
            continue;
        }
        let name = entry
            .path()
            .strip_prefix(top)?
            .to_string_lossy()
            .into_owned();
        if let Ok(text) = String::from_utf8(fs::read(entry.path())?) {
            sources.push(Source { name, text });
        }
    }
    Ok(sources)
}

/// Not what git keeps for itself, what was built, or what others wrote.
fn ours(entry: &DirEntry) -> bool {
    const ELSEWHERE: &[&str] = &[
        ".git",
        "target",
        "LICENSES",
        "Cargo.lock",
        "rmcp_bindings.rs",
    ];
    const BUILT: &[&str] = &[
        ".o",
        ".ko",
        ".mod",
        ".mod.c",
        ".cmd",
        ".rmeta",
        ".symvers",
        ".order",
        "_generated.rs",
        ".proptest-regressions",
    ];
    let name = entry.file_name().to_string_lossy();
    if BUILT.iter().any(|end| name.ends_with(end)) {
        return false;
    }
    match entry.depth() {
        0 => true,
        1 => !ELSEWHERE.contains(&&*name),
        // The fuzz targets have a lock file and, under cargo-fuzz, a target folder of their own.
        2 if name == "Cargo.lock" || name == "target" => false,
        _ => !name.starts_with('.') && name != "__pycache__",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_built_is_not_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "target/x.rs",
            ".git/x.rs",
            "src/x.rs",
            "src/x.mod.c",
            "src/.x.cmd",
            "crates/a/.b.rs",
            ".ci/run",
            "src/x_generated.rs",
        ] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        let names: Vec<_> = sources(dir.path())
            .unwrap()
            .into_iter()
            .map(|source| source.name)
            .collect();
        assert_eq!(names, [".ci/run", "src/x.rs"]);
    }

    #[test]
    fn a_finding_names_file_and_line() {
        let source = Source {
            name: "src/a.rs".into(),
            text: String::new(),
        };
        assert_eq!(
            source.finding(3, "too long").to_string(),
            "src/a.rs:3: too long"
        );
    }
}
