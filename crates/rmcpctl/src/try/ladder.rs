// SPDX-License-Identifier: MIT OR Apache-2.0
//! A ladder: the steps under which a command is run, as data. rmcpctl-try(8) describes the file.

use crate::set::{Wanted, parse_words};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;
use toml::Spanned;

/// The one that is taken when no other is named.
pub const DEFAULT: &str = include_str!("ladder.toml");
/// The most bytes of a file.
pub const LARGEST: usize = 64 << 10;
/// The most steps, and the longest name of one.
const STEPS: usize = 64;
const NAME: usize = 40;

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What it is called in the report.
    pub name: String,
    /// Switches that it sets; those that it does not name are as without a policy.
    pub switches: Vec<Wanted>,
    /// What it adds to the command's environment.
    pub environment: Vec<(String, String)>,
}

impl Step {
    /// Whether it needs no switch: the driver is as if rmcp were not there.
    pub fn is_neutral(&self) -> bool {
        let names = |name: &str| self.switches.iter().find(|wanted| wanted.name == name);
        let keeps = |name| names(name).is_none_or(|wanted| wanted.value == "keep");
        names("enable").is_some_and(|wanted| wanted.value == "N")
            || keeps("mtype") && keeps("fragment_size")
    }

    /// Whether it changes nothing at all: what the others are compared with.
    pub fn is_stock(&self) -> bool {
        self.is_neutral() && self.environment.is_empty()
    }

    /// What it sets, in words.
    pub fn settings(&self) -> String {
        let switches = self
            .switches
            .iter()
            .map(|w| format!("{}={}", w.name, w.value));
        let environment = self
            .environment
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        switches.chain(environment).collect::<Vec<_>>().join(" ")
    }
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    step: Vec<Spanned<WrittenStep>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenStep {
    name: Spanned<String>,
    switches: Option<Spanned<String>>,
    #[serde(default)]
    environment: BTreeMap<String, Spanned<String>>,
}

/// The number of the line in which a place is, from 1 on.
fn line(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|&byte| byte == b'\n').count()
}

/// Reads a ladder.
///
/// # Errors
///
/// One sentence that begins with the line.
pub fn parse(text: &str) -> Result<Vec<Step>, String> {
    let wrong =
        |span: Range<usize>, what: String| format!("line {}: {what}", line(text, span.start));
    if text.len() > LARGEST {
        return Err(format!("larger than {LARGEST} bytes"));
    }
    let written: Written = toml::from_str(text).map_err(|error| {
        let what = error.message().replace('\n', ", ");
        match error.span() {
            Some(span) => wrong(span, what),
            None => what,
        }
    })?;
    if written.step.is_empty() {
        return Err("there is no [[step]]".into());
    }
    let mut steps: Vec<Step> = Vec::new();
    for step in written.step {
        let span = step.span();
        let step = step.into_inner();
        if steps.len() == STEPS {
            return Err(wrong(span, format!("more than {STEPS} steps")));
        }
        let at = step.name.span();
        let name = step.name.into_inner();
        if name.trim() != name || name.is_empty() || name.chars().count() > NAME {
            let what = format!("a name has 1 to {NAME} characters, without a space at either end");
            return Err(wrong(at, what));
        }
        if name.chars().any(char::is_control) {
            return Err(wrong(at, "a control character in a name".into()));
        }
        if steps.iter().any(|known| known.name == name) {
            return Err(wrong(at, format!("two steps are called {name:?}")));
        }
        let switches = match step.switches {
            Some(words) => switches(words.get_ref()).map_err(|what| wrong(words.span(), what))?,
            None => Vec::new(),
        };
        let mut environment = Vec::new();
        for (name, value) in step.environment {
            let at = value.span();
            let value = value.into_inner();
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                let what = format!("{name:?} cannot be in an environment with this value");
                return Err(wrong(at, what));
            }
            environment.push((name, value));
        }
        steps.push(Step {
            name,
            switches,
            environment,
        });
    }
    Ok(steps)
}

fn switches(words: &str) -> Result<Vec<Wanted>, String> {
    let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
    let wanted = parse_words(&words).map_err(|failure| failure.to_string())?;
    match wanted.iter().find(|wanted| wanted.at_load_only()) {
        Some(wanted) => Err(format!(
            "{} can only be given when rmcp is loaded, not in a step",
            wanted.name
        )),
        None => Ok(wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> String {
        parse(text).unwrap_err()
    }

    /// As issue 6 lists them.
    #[test]
    fn the_usual_ladder_has_the_steps_that_were_asked_for() {
        let steps = parse(DEFAULT).unwrap();
        let settings: Vec<String> = steps.iter().map(Step::settings).collect();
        assert_eq!(
            settings,
            [
                "",
                "HSA_DISABLE_CACHE=1",
                "mtype=nc fragment_size=9",
                "mtype=uc mtype_scope=system",
                "mtype=uc",
                "fragment_size=4",
                "fragment_size=0",
                "mtype=uc fragment_size=4",
                "mtype=uc fragment_size=0",
            ]
        );
        let neutral: Vec<bool> = steps.iter().map(Step::is_neutral).collect();
        assert_eq!(neutral[..3], [true, true, false]);
        assert!(steps[0].is_stock() && !steps[1].is_stock());
    }

    #[test]
    fn what_keeps_everything_is_neutral() {
        for (switches, neutral) in [
            ("mtype=keep fragment_size=keep", true),
            ("enable=N mtype=uc", true),
            ("clients=compute", true),
            ("fragment_size=31", false),
        ] {
            let text = format!("[[step]]\nname = \"a\"\nswitches = \"{switches}\"\n");
            assert_eq!(parse(&text).unwrap()[0].is_neutral(), neutral, "{switches}");
        }
    }

    #[test]
    fn a_bad_file_is_named_with_its_line() {
        let step = "[[step]]\nname = \"a\"\n";
        for (text, expected) in [
            (String::new(), "there is no [[step]]"),
            (
                format!("{step}switches = \"mtype=rw\"\n"),
                "line 3: \"rw\" is no value of mtype; expected keep, nc or uc",
            ),
            (
                format!("{step}switches = \"noretry=0\"\n"),
                "line 3: noretry can only be given when rmcp is loaded",
            ),
            (
                format!("{step}switches = \"mtype=uc mtype=nc\"\n"),
                "line 3: mtype is given twice",
            ),
            (
                format!("{step}swiches = \"\"\n"),
                "line 3: unknown field `swiches`",
            ),
            (
                format!("{step}\n{step}"),
                "line 5: two steps are called \"a\"",
            ),
            ("[[step]]\n".into(), "line 1: missing field `name`"),
            ("[[step]]\nname = \"\"\n".into(), "line 2: a name has"),
            (
                "[[step]]\nname = \"a\\u001b\"\n".into(),
                "line 2: a control character",
            ),
            (
                format!("{step}environment = {{ \"A=B\" = \"\" }}\n"),
                "line 3: \"A=B\" cannot be",
            ),
            (format!("{step}environment = 4\n"), "line 3: invalid type"),
            ("\n\nname = \n".into(), "line 3: "),
        ] {
            assert!(
                said(&text).starts_with(expected),
                "{text:?}: {}",
                said(&text)
            );
        }
        let many: String = (0..65)
            .map(|n| format!("[[step]]\nname = \"{n}\"\n"))
            .collect();
        assert!(
            said(&many).starts_with("line 129: more than 64 steps"),
            "{}",
            said(&many)
        );
        assert_eq!(said(&" ".repeat(LARGEST + 1)), "larger than 65536 bytes");
    }
}
