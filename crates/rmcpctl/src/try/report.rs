// SPDX-License-Identifier: MIT OR Apache-2.0
//! What was tried, as a report.

use super::counted::Counted;
use super::ladder::Step;
use super::verdict::{Stopped, Verdict};
use super::watch::Run;
use crate::pagetable::Mapped;
use serde::Serialize;

/// A step and its runs.
#[derive(Clone, Debug, Serialize)]
pub struct Tried {
    /// What it is.
    #[serde(flatten)]
    pub step: Step,
    /// Whether the others are compared with it.
    pub is_base: bool,
    /// For whose address spaces the policy was; none for a step without one.
    pub clients: Option<String>,
    /// Why it was not run.
    pub not_run: Option<String>,
    /// Its runs.
    pub runs: Vec<Run>,
    /// The median time of the runs that passed.
    pub seconds: Option<f64>,
    /// That, as a multiple of what the base's runs that passed took.
    pub slowdown: Option<f64>,
    /// What rmcp counted during all of them.
    pub counted: Option<Counted>,
}

impl Tried {
    /// Nothing was run yet.
    pub fn new(step: Step) -> Self {
        Self {
            step,
            is_base: false,
            clients: None,
            not_run: None,
            runs: Vec::new(),
            seconds: None,
            slowdown: None,
            counted: None,
        }
    }

    /// Its name, with what it sets where that is not the same.
    pub fn title(&self) -> String {
        let settings = self.step.settings();
        match settings.is_empty() || settings == self.step.name {
            true => self.step.name.clone(),
            false => format!("{} ({settings})", self.step.name),
        }
    }

    /// Adds the runs up.
    pub(super) fn sum(&mut self) {
        let mut times: Vec<f64> = self
            .runs
            .iter()
            .filter(|run| run.end.passed())
            .map(|run| run.seconds)
            .collect();
        times.sort_by(f64::total_cmp);
        self.seconds = match times.len() {
            0 => None,
            count if count % 2 == 1 => times.get(count / 2).copied(),
            count => Some(times[count / 2 - 1..=count / 2].iter().sum::<f64>() / 2.0),
        };
        let mut sum: Option<Counted> = None;
        for counted in self.runs.iter().filter_map(|run| run.counted.as_ref()) {
            sum.get_or_insert_default().add(counted);
        }
        self.counted = sum;
    }

    /// The largest of the page tables that were seen in any run.
    pub fn mapped(&self) -> Option<&Mapped> {
        let all = self.runs.iter().filter_map(|run| run.mapped.as_ref());
        all.max_by_key(|mapped| mapped.bytes())
    }
}

/// The report.
#[derive(Debug, Serialize)]
pub struct Trial {
    /// The command.
    pub command: Vec<String>,
    /// How often each step is run.
    pub repeat: u32,
    /// How many seconds a run may take.
    pub timeout: f64,
    /// The steps.
    pub steps: Vec<Tried>,
    /// Why the ladder was left before its end.
    pub stopped: Option<Stopped>,
    /// What the runs show.
    pub verdict: Verdict,
    /// The policy as it was found and is again, when it could be changed.
    pub policy: Option<String>,
    /// What else there is to know.
    pub notes: Vec<String>,
}
