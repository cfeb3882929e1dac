// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rules about unsafe code: where it may stand, and that each block says why it is sound.

use super::{Finding, Source};

/// Where the kernel side may be unsafe.
const ROOMS: &[&str] = &["src/hook/", "src/amdgpu/", "src/control/param"];

/// What a line does with `unsafe`, comments and literals left out.
fn unsafe_word(line: &str) -> Option<&str> {
    let code = code_of(line);
    code.match_indices("unsafe").find_map(|(at, word)| {
        let letter = |c: char| c.is_alphanumeric() || c == '_';
        let rest = &line[at + word.len()..];
        (!code[..at].ends_with(letter) && !rest.starts_with(letter)).then_some(rest)
    })
}

/// The part of a line before `//`, with the inside of string literals blanked.
fn code_of(line: &str) -> String {
    let (mut code, mut literal, mut escaped) = (String::new(), false, false);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        if literal {
            literal = escaped || c != '"';
            escaped = !escaped && c == '\\';
            code.extend(std::iter::repeat_n(' ', c.len_utf8()));
        } else if c == '/' && chars.peek() == Some(&'/') {
            break;
        } else {
            literal = c == '"' && !code.ends_with('\'');
            code.push(c);
        }
    }
    code
}

/// Whether it opens something that needs a proof: a block, or an `unsafe impl`. An `unsafe fn`, a trait
/// or a function type states a contract instead.
fn needs_proof(rest: &str) -> bool {
    let rest = rest.trim_start();
    rest.starts_with('{') || rest.starts_with("impl") || rest.is_empty()
}

/// Every unsafe block has its proof, a comment, above its statement.
pub(super) fn commented(source: &Source) -> Vec<Finding> {
    if !source.is_rust() {
        return Vec::new();
    }
    let lines: Vec<&str> = source.text.lines().collect();
    let mut findings = Vec::new();
    for (number, line) in source.lines() {
        if unsafe_word(line).is_some_and(needs_proof) && !proved(&lines, number - 1) {
            findings.push(source.finding(number, "unsafe without a `// SAFETY:` comment above it"));
        }
    }
    findings
}

/// How a proof begins.
const PROOF: &str = "// SAFETY:";

/// Looks upward from the line with `unsafe`, over the rest of its own statement, for the comment.
fn proved(lines: &[&str], at: usize) -> bool {
    if lines[at].contains(PROOF) {
        return true;
    }
    let mut in_comment = false;
    for line in lines[..at].iter().rev() {
        let text = line.trim();
        if text.starts_with("//") {
            in_comment = true;
            if text.starts_with(PROOF) {
                return true;
            }
            continue;
        }
        let code = code_of(text);
        let code = code.trim_end();
        // Past the comment, or past the beginning of the statement: no proof belongs to us any more.
        let attribute = text.starts_with("#[");
        if in_comment || code.is_empty() || (code.ends_with([';', '}', '{', ',']) && !attribute) {
            return false;
        }
    }
    false
}

/// Unsafe code of the kernel side stays in the rooms that are made for it.
pub(super) fn in_its_room(source: &Source) -> Vec<Finding> {
    let kernel_side = source.name == "rmcp.rs" || source.name.starts_with("src/");
    if !source.is_rust() || !kernel_side || ROOMS.iter().any(|room| source.name.starts_with(room)) {
        return Vec::new();
    }
    let found = source
        .lines()
        .filter(|(_, line)| unsafe_word(line).is_some());
    found
        .map(|(line, _)| source.finding(line, format!("unsafe outside of {}", ROOMS.join(", "))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(rule: fn(&Source) -> Vec<Finding>, name: &str, text: &str) -> Vec<usize> {
        rule(&Source {
            name: name.into(),
            text: text.into(),
        })
        .iter()
        .map(|finding| finding.line)
        .collect()
    }

    /// No line at all.
    const NONE: [usize; 0] = [];

    fn unproved(text: &str) -> Vec<usize> {
        lines(commented, "src/hook/a.rs", text)
    }

    #[test]
    fn a_block_with_its_proof_is_good() {
        assert_eq!(
            unproved("// SAFETY: it is aligned.\nlet x = unsafe { y() };\n"),
            NONE
        );
        assert_eq!(
            unproved("// SAFETY: two\n// lines.\nlet x =\n    unsafe { y() };\n"),
            NONE
        );
        assert_eq!(
            unproved("    // SAFETY: no state.\n    unsafe impl Send for A {}\n"),
            NONE
        );
        assert_eq!(
            unproved("// SAFETY: a.\n#[allow(x)]\nunsafe { y() }\n"),
            NONE
        );
    }

    #[test]
    fn a_block_without_its_proof_is_found() {
        assert_eq!(unproved("let x = unsafe { y() };\n"), [1]);
        assert_eq!(
            unproved("// SAFETY: for a.\na();\nlet x = unsafe { y() };\n"),
            [3]
        );
        assert_eq!(
            unproved("// SAFETY: for one.\nunsafe { a() };\nunsafe { b() };\n"),
            [3]
        );
        assert_eq!(unproved("// It is fine.\nunsafe impl Sync for A {}\n"), [2]);
        assert_eq!(
            unproved("// SAFETY: of the arm above.\nA => unsafe { a() },\nB => unsafe { b() },\n"),
            [3]
        );
    }

    #[test]
    fn words_and_contracts_are_no_blocks() {
        assert_eq!(
            unproved("// unsafe { }\nlet text = \"unsafe { }\";\nfn not_unsafe() {}\n"),
            NONE
        );
        assert_eq!(
            unproved("pub unsafe fn a() {}\ntype F = unsafe extern \"C\" fn();\n"),
            NONE
        );
        assert_eq!(unproved("#![deny(unsafe_op_in_unsafe_fn)]\n"), NONE);
    }

    #[test]
    fn unsafe_outside_of_its_rooms_is_found() {
        let text = &["// x.", "unsafe { y() };", ""].join("\n");
        for good in [
            "src/hook/a.rs",
            "src/amdgpu/b.rs",
            "src/control/params.rs",
            "crates/guest/src/a.rs",
        ] {
            assert_eq!(lines(in_its_room, good, text), NONE, "{good}");
        }
        for bad in ["src/control/state.rs", "src/logic/pte.rs", "rmcp.rs"] {
            assert_eq!(lines(in_its_room, bad, text), [2], "{bad}");
        }
    }
}
