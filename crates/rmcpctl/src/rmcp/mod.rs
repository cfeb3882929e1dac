// SPDX-License-Identifier: MIT OR Apache-2.0
//! The module rmcp as its files tell of it: switches, state, counters; rmcp(4) says what is in them.

mod counters;
mod state;

pub use counters::{Counters, Device};
pub use state::{DeviceLine, Headline, State};

use crate::system::{Found, System};
use rmcp_logic::logic::switches::Switches;

/// The module's folder in sysfs.
pub const MODULE: &str = "sys/module/rmcp";
/// Its switches.
pub const PARAMETERS: &str = "sys/module/rmcp/parameters";
/// Its counters.
pub const COUNTERS: &str = "sys/kernel/debug/rmcp/counters";

/// Whether the module is loaded.
pub fn is_loaded(system: &System) -> bool {
    system.exists(PARAMETERS)
}

/// What `state` says.
///
/// # Errors
///
/// When it cannot be read.
pub fn state(system: &System) -> Found<State> {
    let text = system.text(&format!("{PARAMETERS}/state"))?;
    Ok(State::parse(&text))
}

/// The counters, which only root may read.
///
/// # Errors
///
/// When they cannot be read.
pub fn counters(system: &System) -> Found<Counters> {
    system.text(COUNTERS).map(|text| Counters::parse(&text))
}

/// A switch and its value, both as the module has them.
pub type Setting = (&'static str, String);

/// The names of all switches, in the order in which rmcp(4) has them.
pub const NAMES: [&str; 8] = [
    "enable",
    "mtype",
    "mtype_scope",
    "clients",
    "mtype_strict",
    "fragment_size",
    "devices",
    "noretry",
];

/// The values of all switches.
///
/// # Errors
///
/// When one cannot be read.
pub fn settings(system: &System) -> Found<Vec<Setting>> {
    NAMES
        .into_iter()
        .map(|name| Ok((name, system.text(&format!("{PARAMETERS}/{name}"))?)))
        .collect()
}

/// What a module loaded without options does.
pub fn defaults() -> Vec<Setting> {
    let all = Switches::DEFAULT;
    let values = [
        all.enable.to_string(),
        all.mtype.to_string(),
        all.mtype_scope.to_string(),
        all.clients.to_string(),
        all.mtype_strict.to_string(),
        all.fragment_size.to_string(),
        all.devices.to_string(),
        all.noretry.to_string(),
    ];
    NAMES.into_iter().zip(values).collect()
}
