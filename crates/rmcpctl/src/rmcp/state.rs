// SPDX-License-Identifier: MIT OR Apache-2.0
//! The file `state`: what is hooked or why not, and each GPU.

use serde::Serialize;

/// The first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Headline {
    /// All that the switches ask for is in place.
    Armed,
    /// amdgpu is not loaded.
    Waiting,
    /// Nothing is wanted.
    Disabled,
    /// The driver does not fit.
    Refused,
    /// Words of another version of rmcp.
    Unknown,
}

/// What is said about one GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceLine {
    /// Its PCI address.
    pub address: String,
    /// All that is said.
    pub what: String,
}

/// What `state` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct State {
    /// The first line, as what it means.
    pub headline: Headline,
    /// The first line itself.
    pub said: String,
    /// The functions that are hooked.
    pub hooks: Vec<String>,
    /// A line for each GPU.
    pub devices: Vec<DeviceLine>,
    /// What becomes of the switch `noretry`.
    pub noretry: Option<String>,
}

impl State {
    /// Reads it. Lines that another version may add are left out.
    pub fn parse(text: &str) -> Self {
        let mut lines = text.lines();
        let said = lines.next().unwrap_or_default().to_owned();
        let headline = match said.split([' ', ':']).next() {
            Some("armed") => Headline::Armed,
            Some("waiting") => Headline::Waiting,
            Some("disabled") => Headline::Disabled,
            Some("refused") => Headline::Refused,
            _ => Headline::Unknown,
        };
        let mut state = Self {
            headline,
            said,
            hooks: Vec::new(),
            devices: Vec::new(),
            noretry: None,
        };
        for line in lines {
            if let Some(hooks) = line.strip_prefix("hooks: ") {
                state.hooks = hooks.split_whitespace().map(str::to_owned).collect();
            } else if let Some(rest) = line.strip_prefix("device ") {
                let device = rest.split_once(": ");
                state
                    .devices
                    .extend(device.map(|(address, what)| DeviceLine {
                        address: address.to_owned(),
                        what: what.to_owned(),
                    }));
            } else if let Some(what) = line.strip_prefix("noretry: ") {
                state.noretry = Some(what.to_owned());
            }
        }
        state
    }

    /// What it says about a GPU.
    pub fn device(&self, address: &str) -> Option<&str> {
        let line = self.devices.iter().find(|line| line.address == address);
        line.map(|line| line.what.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_armed_module_is_read_line_by_line() {
        let state = State::parse(
            "armed\nhooks: a b\ndevice 0000:03:00.0: GC 10.1.10, policy applies\n\
             something new\nnoretry: 0 was set before amdgpu's init\n",
        );
        assert_eq!(state.headline, Headline::Armed);
        assert_eq!(state.hooks, ["a", "b"]);
        assert_eq!(
            state.device("0000:03:00.0"),
            Some("GC 10.1.10, policy applies")
        );
        assert_eq!(state.device("0000:04:00.0"), None);
        let noretry = state.noretry.as_deref();
        assert_eq!(noretry, Some("0 was set before amdgpu's init"));
    }

    #[test]
    fn first_lines_have_a_meaning() {
        let headline = |text: &str| State::parse(text).headline;
        assert_eq!(headline("waiting for amdgpu"), Headline::Waiting);
        assert_eq!(headline("disabled (enable=N)"), Headline::Disabled);
        assert_eq!(headline("refused: out of memory"), Headline::Refused);
        assert_eq!(headline(""), Headline::Unknown);
    }
}
