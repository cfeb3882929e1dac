// SPDX-License-Identifier: MIT OR Apache-2.0
//! Did the policy reach this process? What its entries say, held against the switches as they are now.

use super::entry::{Entry, Kind, Level, Mtype};
use super::saved::Walk;
use crate::rmcp::{self, Headline};
use crate::system::System;
use rmcp_logic::logic::fragment::FragmentSize;
use rmcp_logic::logic::policy::{Policy, Scope};
use rmcp_logic::logic::switch::{Clients, Strict, Switch};
use serde::Serialize;

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Answer {
    /// Every entry that the policy is for is as it says.
    Reached,
    /// Some are and some are not.
    Partly,
    /// None is.
    NotReached,
    /// The policy is not for this process, or there is none.
    NotMeant,
    /// It is, but stock amdgpu would have written the same.
    SameAsStock,
}

/// The answer, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Verdict {
    pub(super) answer: Answer,
    pub(super) why: String,
    /// Entries that are as the policy says, of those that it is for.
    pub(super) fitting: u64,
    pub(super) judged: u64,
}

/// What the switches ask for, of one GPU.
pub(super) struct Rules {
    mtype: Policy,
    scope: Scope,
    strict: bool,
    limit: Option<u8>,
    compute_only: bool,
}

impl Rules {
    /// The rules for a GPU, or why there are none.
    pub(super) fn of(system: &System, gpu: &str) -> Result<Self, String> {
        let state = rmcp::state(system).map_err(|_| "rmcp is not loaded".to_owned())?;
        if state.headline != Headline::Armed {
            return Err(format!("rmcp is {}", state.said));
        }
        let said = state.device(gpu).unwrap_or("amdgpu does not drive it");
        if !said.ends_with("policy applies") {
            return Err(format!("rmcp leaves this GPU alone: {said}"));
        }
        fn value<T: Switch>(all: &[rmcp::Setting]) -> Option<T> {
            let (_, value) = all.iter().find(|(name, _)| *name == T::NAME)?;
            T::from_value(value.as_bytes())
        }
        let all = rmcp::settings(system).map_err(|refusal| refusal.to_string())?;
        let rules = || {
            Some(Self {
                mtype: value(&all)?,
                scope: value(&all)?,
                strict: value::<Strict>(&all)?.0,
                limit: match value(&all)? {
                    FragmentSize::AtMost(limit) => Some(limit.log2_pages()),
                    FragmentSize::Keep => None,
                },
                compute_only: value::<Clients>(&all)? == Clients::Compute,
            })
        };
        rules().ok_or_else(|| "the switches have values that this command does not know".into())
    }

    /// Whether an entry is as the policy says; none when it is not for it.
    fn fits(&self, entry: &Entry) -> Option<bool> {
        if entry.kind() != Some(Kind::Leaf) {
            return None;
        }
        let meant = match self.scope {
            Scope::All => true,
            Scope::Vram => !entry.system(),
            Scope::System => entry.system(),
        };
        let mtype = match self.mtype {
            Policy::Keep => None,
            _ if !meant => None,
            Policy::Uc => Some(entry.mtype() == Mtype::Uc),
            // What asked for coherence stays uncached.
            Policy::Nc if self.strict => Some(entry.mtype() == Mtype::Nc),
            Policy::Nc => Some(matches!(entry.mtype(), Mtype::Nc | Mtype::Uc)),
        };
        let fragment = self
            .limit
            .map(|limit| entry.fragment() <= limit && (limit >= 9 || entry.level == Level::Ptb));
        match (mtype, fragment) {
            (None, None) => None,
            (mtype, fragment) => Some(mtype.unwrap_or(true) && fragment.unwrap_or(true)),
        }
    }
}

/// The verdict on one walk. `compute` says whether the process uses KFD, which `clients=compute` asks for.
pub(super) fn judge(rules: &Result<Rules, String>, walk: &Walk, compute: bool) -> Verdict {
    let not_meant = |why: &str| Verdict {
        answer: Answer::NotMeant,
        why: why.to_owned(),
        fitting: 0,
        judged: 0,
    };
    let rules = match rules {
        Ok(rules) => rules,
        Err(why) => return not_meant(why),
    };
    if rules.compute_only && !compute {
        return not_meant("clients=compute, and this process does not use KFD");
    }
    let (mut judged, mut fitting) = (0, 0);
    for fits in walk.entries.iter().filter_map(|entry| rules.fits(entry)) {
        judged += 1;
        fitting += u64::from(fits);
    }
    if judged == 0 {
        return not_meant("nothing is mapped that the policy is for");
    }
    // Only uncached entries cannot come from stock, and those only where nothing asked for it.
    let distinct = rules.mtype == Policy::Uc || rules.limit.is_some_and(|limit| limit < 9);
    let (answer, why) = match fitting {
        0 => (
            Answer::NotReached,
            "no entry is as the switches say: it was mapped before; start the program anew".into(),
        ),
        _ if fitting < judged => (
            Answer::Partly,
            format!(
                "{} of {judged} entries are not as the switches say: they were mapped before, start the program anew",
                judged - fitting
            ),
        ),
        _ if distinct => (
            Answer::Reached,
            format!("all {judged} entries are as the switches say"),
        ),
        _ => (
            Answer::SameAsStock,
            format!(
                "all {judged} entries are as the switches say; stock amdgpu may have written the same, the counters tell what was changed"
            ),
        ),
    };
    Verdict {
        answer,
        why,
        fitting,
        judged,
    }
}
