// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rules about files as a whole: licence, opening words, length, purity, portability.

use super::{Finding, Source};

/// The longest that a source file may be, in lines.
const LONGEST: usize = 500;

fn is_code(source: &Source) -> bool {
    let ends = [
        ".rs", ".c", ".h", ".sh", ".toml", "/run", "Kbuild", "Makefile",
    ];
    ends.iter().any(|end| source.name.ends_with(end))
}

/// The licences that a file may have, by its room.
fn licences(name: &str) -> &'static [&'static str] {
    if name.starts_with("src/logic/") {
        &["GPL-2.0 OR MIT"]
    } else if name == "rmcp.rs"
        || name.starts_with("src/")
        || name.starts_with("tests/kmod/")
        || name == "Kbuild"
    {
        &["GPL-2.0"]
    } else {
        &["MIT OR Apache-2.0", "GPL-2.0 OR MIT", "GPL-2.0"]
    }
}

/// Every source file says its licence in its first two lines, and it is its room's.
pub(super) fn licence(source: &Source) -> Vec<Finding> {
    if !is_code(source) {
        return Vec::new();
    }
    let tag = concat!("SPDX-", "License-Identifier:");
    let said = source
        .text
        .lines()
        .take(2)
        .find_map(|line| line.split_once(tag));
    let Some((_, said)) = said else {
        return vec![source.finding(1, format!("no {tag} in the first two lines"))];
    };
    let said = said.trim().trim_end_matches("*/").trim();
    let allowed = licences(&source.name);
    if allowed.contains(&said) {
        return Vec::new();
    }
    vec![source.finding(
        1,
        format!("the licence is {said}, expected {}", allowed.join(" or ")),
    )]
}

/// Every Rust file opens with `//!`: what it is for.
pub(super) fn opening(source: &Source) -> Vec<Finding> {
    if !source.is_rust() {
        return Vec::new();
    }
    let first = source.lines().find(|(_, line)| {
        let line = line.trim();
        !line.is_empty() && (!line.starts_with("//") || line.starts_with("//!"))
    });
    match first {
        Some((_, line)) if line.starts_with("//! ") => Vec::new(),
        other => vec![source.finding(
            other.map_or(1, |(line, _)| line),
            "the file does not open with `//!` and what it is for",
        )],
    }
}

/// Files stay under 500 lines.
pub(super) fn short(source: &Source) -> Vec<Finding> {
    let ends = [".rs", ".c", ".h", ".sh"];
    let length = source.text.lines().count();
    if !ends.iter().any(|end| source.name.ends_with(end)) || length < LONGEST {
        return Vec::new();
    }
    vec![source.finding(
        length,
        format!("{length} lines; split it, {LONGEST} is the limit"),
    )]
}

/// src/logic uses no unsafe, no kernel, no heap, no standard library.
pub(super) fn pure_logic(source: &Source) -> Vec<Finding> {
    if !source.name.starts_with("src/logic/") || !source.is_rust() {
        return Vec::new();
    }
    let words = [
        "unsafe",
        "kernel::",
        "alloc::",
        "std::",
        "extern crate",
        "Box<",
        "Vec<",
        "String",
    ];
    let mut findings = Vec::new();
    for (number, line) in source.lines() {
        let code = line.split("//").next().unwrap_or_default();
        for word in words.iter().filter(|word| has_word(code, word)) {
            findings.push(source.finding(
                number,
                format!("`{word}` in src/logic, which uses nothing outside core"),
            ));
        }
    }
    findings
}

/// Whether a word stands in the code with no letter before it (so that `GpuVec<` is not `Vec<`).
fn has_word(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        let letter = |c: char| c.is_alphanumeric() || c == '_';
        !code[..at].ends_with(letter)
            && (!word.ends_with(letter) || !code[at + word.len()..].starts_with(letter))
    })
}

/// No absolute path of somebody's machine, no host name of a mirror or registry.
pub(super) fn portable(source: &Source) -> Vec<Finding> {
    // Put together here, so that this file does not break its own rule.
    let words = [
        concat!("/wo", "rk/"),
        concat!("/tmp", "/k/"),
        concat!("/ho", "me/"),
        concat!("/ro", "ot/"),
        concat!("deb.", "debian.org"),
        concat!("security.", "debian.org"),
        concat!("snapshot.", "debian.org"),
        concat!("crates", ".io"),
        concat!("static.", "rust-lang.org"),
        concat!("pypi", ".org"),
    ];
    let mut findings = Vec::new();
    for (number, line) in source.lines() {
        for word in words.iter().filter(|word| line.contains(**word)) {
            findings.push(source.finding(
                number,
                format!("`{word}` belongs to one machine or network"),
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str, text: &str) -> Source {
        Source {
            name: name.into(),
            text: text.into(),
        }
    }

    fn count(rule: fn(&Source) -> Vec<Finding>, name: &str, text: &str) -> usize {
        rule(&source(name, text)).len()
    }

    const TAG: &str = concat!("// SPDX-", "License-Identifier: ");

    #[test]
    fn the_licence_is_the_rooms() {
        assert_eq!(
            count(
                licence,
                "xtask/src/a.rs",
                &format!("{TAG}MIT OR Apache-2.0\n")
            ),
            0
        );
        assert_eq!(
            count(licence, "src/hook/a.rs", &format!("{TAG}GPL-2.0\n")),
            0
        );
        assert_eq!(
            count(licence, "src/logic/a.rs", &format!("{TAG}GPL-2.0 OR MIT\n")),
            0
        );
        assert_eq!(
            count(
                licence,
                "tests/kmod/a.h",
                &format!("/* {} GPL-2.0 */\n", &TAG[3..].trim())
            ),
            0
        );
        assert_eq!(count(licence, "README.md", "# rmcp\n"), 0);

        assert_eq!(count(licence, "xtask/src/a.rs", "//! What it is for.\n"), 1);
        assert_eq!(
            count(
                licence,
                "src/hook/a.rs",
                &format!("{TAG}MIT OR Apache-2.0\n")
            ),
            1
        );
        assert_eq!(
            count(licence, "src/logic/a.rs", &format!("{TAG}GPL-2.0\n")),
            1
        );
        assert_eq!(
            count(licence, "a.sh", &format!("#!/bin/sh\n\n# {}", &TAG[3..])),
            1
        );
    }

    #[test]
    fn a_file_opens_with_its_purpose() {
        assert_eq!(
            count(opening, "a.rs", "// SPDX\n\n//! What it is for.\nuse x;\n"),
            0
        );
        assert_eq!(count(opening, "a.c", "int x;\n"), 0);
        assert_eq!(
            count(opening, "a.rs", "// SPDX\nuse x;\n//! Too late.\n"),
            1
        );
        assert_eq!(count(opening, "a.rs", "// SPDX\n"), 1);
        assert_eq!(count(opening, "a.rs", "// SPDX\n//!\n"), 1);
    }

    #[test]
    fn a_long_file_is_found() {
        assert_eq!(count(short, "a.rs", &"x\n".repeat(499)), 0);
        assert_eq!(count(short, "a.md", &"x\n".repeat(900)), 0);
        assert_eq!(count(short, "a.rs", &"x\n".repeat(500)), 1);
    }

    #[test]
    fn impure_logic_is_found() {
        assert_eq!(
            count(
                pure_logic,
                "src/logic/a.rs",
                "use core::fmt; // not std::fmt\nstruct MyVec<T>(T);\n"
            ),
            0
        );
        assert_eq!(
            count(pure_logic, "src/hook/a.rs", "use kernel::prelude::*;\n"),
            0
        );
        assert_eq!(
            count(pure_logic, "src/logic/a.rs", "use kernel::prelude::*;\n"),
            1
        );
        assert_eq!(
            count(pure_logic, "src/logic/a.rs", "let x = unsafe { y() };\n"),
            1
        );
        assert_eq!(
            count(
                pure_logic,
                "src/logic/a.rs",
                "let x: Vec<u8> = std::vec![];\n"
            ),
            2
        );
    }

    #[test]
    fn a_machines_path_is_found() {
        assert_eq!(
            count(portable, "a.md", "see /usr/src and /lib/modules\n"),
            0
        );
        assert_eq!(
            count(portable, "a.md", concat!("cd /ho", "me/anna/rmcp\n")),
            1
        );
        assert_eq!(
            count(portable, "a.sh", concat!("wget deb.", "debian.org\n")),
            1
        );
    }
}
