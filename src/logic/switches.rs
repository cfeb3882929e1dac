// SPDX-License-Identifier: GPL-2.0 OR MIT

//! All switches together, and what they ask for.

use super::{
    device::{Devices, PciAddress},
    fragment::{Fragment, FragmentSize, Limits},
    policy::{Policy, Rules, Scope},
    switch::{Clients, Enable, NoRetry, Strict},
};
use core::fmt;

/// All switches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Switches {
    /// The switch `enable`.
    pub enable: Enable,
    /// The switch `mtype`.
    pub mtype: Policy,
    /// The switch `mtype_scope`.
    pub mtype_scope: Scope,
    /// The switch `clients`.
    pub clients: Clients,
    /// The switch `mtype_strict`.
    pub mtype_strict: Strict,
    /// The switch `fragment_size`.
    pub fragment_size: FragmentSize,
    /// The switch `devices`.
    pub devices: Devices,
    /// The switch `noretry`.
    pub noretry: NoRetry,
}

/// Why nothing is to be hooked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Idle {
    /// `enable=N`.
    Disabled,
    /// `mtype=keep` and `fragment_size=keep`: there is nothing to change.
    Keep,
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disabled => "enable=N",
            Self::Keep => "mtype=keep fragment_size=keep",
        })
    }
}

impl Switches {
    /// What a module loaded without options does.
    pub const DEFAULT: Self = Self {
        enable: Enable(true),
        mtype: Policy::Nc,
        mtype_scope: Scope::All,
        clients: Clients::All,
        mtype_strict: Strict(false),
        fragment_size: FragmentSize::AtMost(Fragment::DIRECTORY),
        devices: Devices::All,
        noretry: NoRetry::Keep,
    };

    /// Why nothing is to be hooked, if so.
    pub fn idle(&self) -> Option<Idle> {
        if !self.enable.0 {
            Some(Idle::Disabled)
        } else if self.mtype == Policy::Keep && self.fragment_size == FragmentSize::Keep {
            Some(Idle::Keep)
        } else {
            None
        }
    }

    /// Whether what asks for coherence does not get it.
    pub fn weakens_coherence(&self) -> bool {
        self.enable.0 && self.mtype == Policy::Nc && self.mtype_strict.0
    }

    /// What amdgpu is to be told about retry faults: the value of its parameter `noretry`.
    pub fn amdgpu_noretry(&self) -> Option<i32> {
        match self.noretry {
            _ if !self.enable.0 => None,
            NoRetry::Keep => None,
            NoRetry::Retry => Some(0),
            NoRetry::NoRetry => Some(1),
        }
    }

    /// The switches that hooks follow, as the log names them.
    pub fn in_force(&self) -> impl fmt::Display + '_ {
        InForce(self)
    }

    /// The memory type policy of one GPU.
    pub fn rules(&self, device: PciAddress) -> Rules {
        Rules {
            named: self.devices.include(device),
            mtype: self.mtype,
            scope: self.mtype_scope,
            strict: self.mtype_strict.0,
            compute_only: self.clients == Clients::Compute,
        }
    }

    /// The fragment policy of one GPU that had `before`.
    pub fn limits(&self, device: PciAddress, before: Limits) -> Limits {
        let size = if self.devices.include(device) {
            self.fragment_size
        } else {
            FragmentSize::Keep
        };
        before.followed_by(size, self.clients == Clients::Compute)
    }
}

struct InForce<'a>(&'a Switches);

impl fmt::Display for InForce<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Switches {
            mtype,
            mtype_scope,
            clients,
            mtype_strict,
            fragment_size,
            devices,
            ..
        } = self.0;
        write!(
            f,
            "mtype={mtype} mtype_scope={mtype_scope} clients={clients} \
             mtype_strict={mtype_strict} fragment_size={fragment_size} devices={devices}"
        )
    }
}
