// SPDX-License-Identifier: MIT OR Apache-2.0
//! A rule about what a user can read: each sentence that an installation can refuse with stands in docs/install.md, with its
//! cure. What differs from case to case is `%s` there.

use super::{Finding, Source};

/// Where the sentences are listed.
const LIST: &str = "docs/install.md";

/// Where they come from: the file, and what stands before a sentence's opening quote.
const SPEAKERS: &[(&str, &[&str])] = &[
    (
        "kernel-rust-metadata/kernel-rust-metadata",
        &[
            "fail \"$NONE\" ",
            "fail \"$NO_RUST\" ",
            "fail \"$MISSING\" ",
            "fail \"$MISMATCH\" ",
            "fail \"$SPACE\" ",
            "fail \"$BUILD\" ",
            "broke ",
        ],
    ),
    ("dkms/build", &["refuse 1 ", "refuse 6 ", "refuse 10 "]),
    ("dkms.conf", &["echo \"rmcp: "]),
    ("debian/settle", &["echo \"rmcp: "]),
    ("Kbuild", &["$(error rmcp: "]),
];

/// Finds the sentences that are not listed.
pub(super) fn refusals(sources: &[Source]) -> Vec<Finding> {
    let find = |name: &str| sources.iter().find(|source| source.name == name);
    let Some(list) = find(LIST) else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    for (name, marks) in SPEAKERS {
        let Some(speaker) = find(name) else { continue };
        for (line, text) in speaker.lines() {
            for mark in *marks {
                let Some((_, rest)) = text.split_once(mark) else {
                    continue;
                };
                let rest = rest.strip_prefix('"').unwrap_or(rest);
                let sentence = plain(rest, if *name == "Kbuild" { ')' } else { '"' });
                let says_something = sentence.chars().any(char::is_whitespace);
                if says_something && !list.text.contains(&format!("`{sentence}`")) {
                    findings.push(speaker.finding(
                        line,
                        format!("{LIST} does not list `{sentence}` with its cure"),
                    ));
                }
            }
        }
    }
    findings
}

/// The sentence up to its end, with `%s` for each `$name`, `${…}` and `$(…)`.
fn plain(text: &str, end: char) -> String {
    let mut sentence = String::new();
    let mut rest = text.chars().peekable();
    while let Some(letter) = rest.next() {
        match letter {
            _ if letter == end => break,
            '\\' => sentence.extend(rest.next()),
            '$' => {
                sentence.push_str("%s");
                match rest.peek() {
                    Some('(' | '{') => {
                        let mut depth = 0;
                        for letter in rest.by_ref() {
                            match letter {
                                '(' | '{' => depth += 1,
                                ')' | '}' => depth -= 1,
                                _ => {}
                            }
                            if depth == 0 {
                                break;
                            }
                        }
                    }
                    Some('*' | '@' | '0'..='9') => drop(rest.next()),
                    _ => {
                        while rest
                            .next_if(|letter| letter.is_alphanumeric() || *letter == '_')
                            .is_some()
                        {}
                    }
                }
            }
            _ => sentence.push(letter),
        }
    }
    sentence
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(list: &str, name: &str, text: &str) -> usize {
        let source = |name: &str, text: &str| Source {
            name: name.into(),
            text: text.into(),
        };
        refusals(&[source(LIST, list), source(name, text)]).len()
    }

    #[test]
    fn a_refusal_is_listed_with_what_differs_left_out() {
        let script =
            r#"fail "$MISSING" "no \"$what\" in ${dir:-/x} ($(head -n 1 "$log")); make it""#;
        let tool = "kernel-rust-metadata/kernel-rust-metadata";
        assert_eq!(
            found("| `no \"%s\" in %s (%s); make it` | so |", tool, script),
            0
        );
        assert_eq!(
            found("| `no \"%s\" in %s; make it` | so |", tool, script),
            1
        );
        assert_eq!(found("", "dkms/build", "refuse 1 \"There is no $x.\""), 1);
        assert_eq!(
            found(
                "",
                "dkms/build",
                "refuse \"$status\" \"$(tail -n 1 \"$said\")\""
            ),
            0
        );
        let error = "$(error rmcp: this kernel lacks $(rmcp-missing); use another)";
        assert_eq!(
            found("`this kernel lacks %s; use another`", "Kbuild", error),
            0
        );
        assert_eq!(found("", "Kbuild", error), 1);
    }
}
