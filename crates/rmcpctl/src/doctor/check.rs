// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a check is: an entry of a table, and a pure function from what was read to findings.

use super::machine::Machine;
use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Could not be found out.
    Unknown,
    /// Worth knowing.
    Note,
    /// Known to make jobs fail, or a failure itself.
    Problem,
}

impl Level {
    /// The word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Note => "note",
            Self::Problem => "problem",
        }
    }
}

/// One thing that a check says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was read and what it says, in a sentence.
    pub what: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
    /// Where this one is known from, if from elsewhere than the whole check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<&'static str>,
}

impl Finding {
    fn new(level: Level, what: impl Into<String>) -> Self {
        Self {
            level,
            what: what.into(),
            cure: None,
            source: None,
        }
    }

    /// It is as it should be.
    pub fn ok(what: impl Into<String>) -> Self {
        Self::new(Level::Ok, what)
    }

    /// It is worth knowing.
    pub fn note(what: impl Into<String>) -> Self {
        Self::new(Level::Note, what)
    }

    /// It is wrong.
    pub fn problem(what: impl Into<String>) -> Self {
        Self::new(Level::Problem, what)
    }

    /// It could not be found out; the sentence says why.
    pub fn unknown(why: impl Into<String>) -> Self {
        Self::new(Level::Unknown, why)
    }

    /// What to do about it.
    #[must_use]
    pub fn cure(mut self, cure: impl Into<String>) -> Self {
        self.cure = Some(cure.into());
        self
    }

    /// Where it is known from.
    #[must_use]
    pub fn source(mut self, source: &'static str) -> Self {
        self.source = Some(source);
        self
    }
}

/// An entry of the table.
pub struct Check {
    /// Its name, for `--only` and for programs.
    pub id: &'static str,
    /// What it is about.
    pub title: &'static str,
    /// Why it matters.
    pub why: &'static str,
    /// Where that is known from.
    pub sources: &'static [&'static str],
    /// Looks at a machine.
    pub look: fn(&Machine) -> Vec<Finding>,
}
