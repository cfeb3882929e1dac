// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `status` reports, and where each fact is read.

use super::Reading;
use super::pending::{self, Pending};
use crate::fail::{Failure, Status};
use crate::gpu::{self, Driver, Generation, Gpu};
use crate::rmcp::{self, Headline, State};
use crate::system::{Refusal, System};
use serde::Serialize;
use std::collections::BTreeMap;

/// The whole.
#[derive(Debug, Serialize)]
pub(super) struct Overview {
    /// The kernel's release.
    pub(super) kernel: Option<String>,
    /// The driver; none when it is not loaded.
    pub(super) amdgpu: Option<Driver>,
    /// The module; none when it is not loaded.
    pub(super) rmcp: Option<Module>,
    /// Every AMD GPU, by PCI address.
    pub(super) gpus: Vec<Card>,
    /// What is asked for and not in force yet.
    pub(super) pending: Vec<Pending>,
    /// What this user could not read, and who can.
    pub(super) unread: Vec<Unread>,
}

/// rmcp as it is.
#[derive(Debug, Serialize)]
pub(super) struct Module {
    pub(super) version: Option<String>,
    pub(super) state: State,
    pub(super) switches: Vec<Switch>,
}

/// A switch.
#[derive(Debug, Serialize)]
pub(super) struct Switch {
    pub(super) name: &'static str,
    pub(super) value: String,
    pub(super) default: String,
}

/// A GPU, and what rmcp has to do with it.
#[derive(Debug, Serialize)]
pub(super) struct Card {
    #[serde(flatten)]
    pub(super) gpu: Gpu,
    /// Whether the policy is for it, when that is known.
    pub(super) policy: Option<bool>,
    /// The same in words.
    pub(super) policy_said: String,
    /// Counters by name, as in debugfs.
    pub(super) counters: Option<BTreeMap<String, u64>>,
    /// What was added in each second, of those that only grow.
    pub(super) rates: Option<BTreeMap<String, f64>>,
}

/// Something that was not read.
#[derive(Debug, Serialize)]
pub(super) struct Unread {
    pub(super) what: &'static str,
    pub(super) why: String,
    pub(super) cure: Option<&'static str>,
}

impl Overview {
    pub(super) fn read(system: &System, before: Option<&Reading>) -> Result<Self, Failure> {
        let gpus = gpu::all(system).map_err(|refusal| {
            let what = format!("the PCI devices cannot be listed: {refusal}");
            Failure::new(Status::Missing, what).cure("mount sysfs at /sys")
        })?;
        let rmcp = module(system)?;
        let mut unread = Vec::new();
        let now = match &rmcp {
            Some(_) => now(system, &mut unread),
            None => None,
        };
        let pending = match &rmcp {
            Some(module) => pending::all(system, module, &gpus),
            None => Vec::new(),
        };
        let card = |gpu: Gpu| card(gpu, rmcp.as_ref(), before, now.as_ref());
        Ok(Self {
            kernel: system.text("proc/sys/kernel/osrelease").ok(),
            amdgpu: gpu::driver(system),
            gpus: gpus.into_iter().map(card).collect(),
            rmcp,
            pending,
            unread,
        })
    }
}

fn module(system: &System) -> Result<Option<Module>, Failure> {
    if !rmcp::is_loaded(system) {
        return Ok(None);
    }
    let unreadable = |refusal: Refusal| {
        let what = format!("{} cannot be read: {refusal}", rmcp::PARAMETERS);
        Failure::new(Status::Failed, what).cure("look again, the module may be going")
    };
    let switches = rmcp::settings(system).map_err(unreadable)?;
    let described = switches.into_iter().zip(rmcp::defaults());
    Ok(Some(Module {
        version: system.text(&format!("{}/version", rmcp::MODULE)).ok(),
        state: rmcp::state(system).map_err(unreadable)?,
        switches: described
            .map(|((name, value), (_, default))| Switch {
                name,
                value,
                default,
            })
            .collect(),
    }))
}

fn now(system: &System, unread: &mut Vec<Unread>) -> Option<Reading> {
    match rmcp::counters(system) {
        Ok(counters) => Some(Reading {
            time: system.host().now(),
            counters,
        }),
        Err(refusal) => {
            let cure = match refusal {
                Refusal::Denied if system.host().is_root() => {
                    Some("the kernel is locked down; the switches work")
                }
                Refusal::Denied => Some("ask as root"),
                Refusal::Missing => Some("mount debugfs at /sys/kernel/debug"),
                _ => None,
            };
            unread.push(Unread {
                what: "the counters",
                why: refusal.to_string(),
                cure,
            });
            None
        }
    }
}

fn card(gpu: Gpu, rmcp: Option<&Module>, before: Option<&Reading>, now: Option<&Reading>) -> Card {
    let (policy, policy_said) = policy(&gpu, rmcp);
    let counted = |reading: Option<&Reading>| {
        let device = reading?.counters.device(&gpu.address)?;
        Some(device.counts.clone())
    };
    let counters = counted(now);
    let rates = match (counted(before), &counters, before, now) {
        (Some(then), Some(counts), Some(before), Some(now)) => rates(
            &then,
            counts,
            now.time.saturating_sub(before.time).as_secs_f64(),
        ),
        _ => None,
    };
    Card {
        gpu,
        policy,
        policy_said,
        counters,
        rates,
    }
}

/// What grew, for each second. A counter that went back was reset in between and has no rate.
fn rates(
    before: &BTreeMap<String, u64>,
    now: &BTreeMap<String, u64>,
    seconds: f64,
) -> Option<BTreeMap<String, f64>> {
    if seconds <= 0.0 {
        return None;
    }
    let rate = |(name, &count): (&String, &u64)| {
        let then = before.get(name).copied().unwrap_or(0);
        // Counts stay far below 2^52, where a float has each integer.
        let grown = count.checked_sub(then)? as f64;
        (!name.ends_with(" largest")).then(|| (name.clone(), grown / seconds))
    };
    Some(now.iter().filter_map(rate).collect())
}

/// Whether rmcp's policy is for a GPU.
fn policy(gpu: &Gpu, rmcp: Option<&Module>) -> (Option<bool>, String) {
    let no = |said: &str| (Some(false), said.to_owned());
    if gpu.generation == Generation::Other {
        return no("not RDNA1/2, left alone");
    }
    let Some(Module { state, .. }) = rmcp else {
        return no("rmcp is not loaded");
    };
    if let Some(said) = state.device(&gpu.address) {
        // After the version of the graphics core, which stands among the facts already.
        let what = said.rsplit_once(", ").map_or(said, |(_, what)| what);
        let applies = match what {
            "policy applies" => Some(true),
            "busy, look again" => None,
            _ => Some(false),
        };
        let what = if what == "look again" { said } else { what };
        return (applies, what.to_owned());
    }
    match state.headline {
        Headline::Armed => no("amdgpu does not drive it"),
        Headline::Unknown => (None, state.said.clone()),
        _ => no(&state.said),
    }
}
