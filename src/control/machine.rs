// SPDX-License-Identifier: GPL-2.0

//! Brings the hook in line with the switches, whenever either a switch or the driver changes.
//!
//! # Locks
//!
//! [`MACHINE`] guards everything but the switches themselves. It is taken
//!
//! - inside the module notifier chain's lock, when the driver comes or goes;
//! - inside the module's parameter lock, when a switch is written or `state` is read;
//! - with no lock held, in [`Control::start`] and when [`Control`] is dropped.
//!
//! Inside it the kernel takes its locks for kprobes, ftrace and text, and those of the files of
//! sysfs. None of these is held by anyone who waits for [`MACHINE`]. The notifier is registered and
//! unregistered without it, because that takes the chain's lock.
//!
//! Holding [`MACHINE`] also keeps the driver's code in memory, once the notifier is registered: the
//! driver is freed only after its GOING event was delivered, and that waits for the lock. (A driver
//! whose GOING event has passed is not found any more: the look-up fails from then on.)
//!
//! # Switches
//!
//! They are one word, written under the kernel's parameter lock, and are there before the machine
//! starts (options at load time) and after it has stopped.

use crate::amdgpu::{mtype::MtypeHook, NotArmed, Presence, Refusal, MODULE};
use crate::hook::{
    arguments,
    modules::{Event, Notifier, Watch},
};
use crate::logic::{
    policy::Policy,
    switch::{Idle, Switch, Switches, Wanted},
};
use core::fmt::Write;
use kernel::{
    prelude::*,
    sync::atomic::{Acquire, Atomic, Full, Relaxed},
};

static SWITCHES: Atomic<u32> = Atomic::new(Switches::DEFAULT.to_word());

/// Not 0 once [`MACHINE`] may be locked.
static READY: Atomic<u32> = Atomic::new(0);

/// Where things stand.
enum Hook {
    /// The module's init function has not come to it yet.
    Starting,
    /// Nothing is wanted.
    Idle(Idle),
    /// The driver is not there.
    Waiting,
    /// In place.
    Armed(MtypeHook),
    /// The driver does not fit.
    Refused(Refusal),
    /// The module is on its way out: nothing is to be hooked any more.
    Stopped,
}

kernel::sync::global_lock! {
    // SAFETY: `start` initialises it before `READY` is set and before the notifier exists; nothing
    // else locks it.
    unsafe(uninit) static MACHINE: Mutex<Hook> = Hook::Starting;
}

/// The switches as they are.
pub(crate) fn switches() -> Switches {
    Switches::from_word(SWITCHES.load(Relaxed))
}

/// Changes the switches and applies them. The caller holds the module's parameter lock, so that no
/// other change comes in between.
pub(crate) fn change(edit: impl FnOnce(&mut Switches)) {
    let mut switches = switches();
    edit(&mut switches);
    // `Full` on both sides, here and in `start`: either we see that the machine runs, or it sees
    // the new switches.
    SWITCHES.xchg(switches.to_word(), Full);
    if READY.load(Acquire) != 0 {
        MACHINE.lock().follow(Presence::Unknown);
    }
}

/// Writes one line that says where things stand.
pub(crate) fn write_state(out: &mut impl Write) -> core::fmt::Result {
    if READY.load(Acquire) == 0 {
        return out.write_str("disabled (starting)");
    }
    match &*MACHINE.lock() {
        Hook::Starting => out.write_str("disabled (starting)"),
        Hook::Idle(why) => write!(out, "disabled ({})", describe(*why)),
        Hook::Waiting => out.write_str("waiting for amdgpu"),
        Hook::Armed(_) => out.write_str("armed"),
        Hook::Refused(why) => write!(out, "refused: {}", why.as_str()),
        Hook::Stopped => out.write_str("disabled (unloading)"),
    }
}

fn describe(why: Idle) -> &'static str {
    match why {
        Idle::Disabled => "enable=N",
        Idle::Keep => "mtype=keep",
    }
}

impl Hook {
    /// Does what the switches want.
    fn follow(&mut self, presence: Presence) {
        match (switches().wanted(), &mut *self) {
            (_, Self::Stopped) => {}
            (Wanted::Nothing(why), _) => {
                self.disarm(describe(why));
                *self = Self::Idle(why);
            }
            (Wanted::Mtype(policy), Self::Armed(hook)) => {
                if hook.policy() != policy {
                    hook.set_policy(policy);
                    pr_info!("switched: mtype={}\n", policy.as_str());
                }
            }
            (Wanted::Mtype(policy), _) => *self = Self::arm(policy, presence),
        }
    }

    fn arm(policy: Policy, presence: Presence) -> Self {
        // SAFETY: we are called with `MACHINE` locked, and after the notifier was registered, which
        // keeps the driver's code (see the module's documentation).
        match unsafe { MtypeHook::arm(policy, presence) } {
            Ok(hook) => {
                let (function, mtype) = (MtypeHook::FUNCTION, policy.as_str());
                pr_info!("armed: {function}, mtype={mtype}\n");
                Self::Armed(hook)
            }
            Err(NotArmed::Absent) => Self::Waiting,
            Err(NotArmed::Refused(why)) => {
                pr_warn!("refused: {}\n", why.as_str());
                Self::Refused(why)
            }
        }
    }

    /// Takes the hook away, if there is one.
    fn disarm(&mut self, why: &str) {
        if let Self::Armed(_) = self {
            *self = Self::Waiting;
            pr_info!("disarmed: {why}\n");
        }
    }
}

/// As long as it lives, the hook follows the switches and the driver.
pub(crate) struct Control {
    // Dropped after `drop` has run.
    _notifier: Notifier<Control>,
}

impl Watch for Control {
    fn module_event(name: &CStr, event: Event) {
        if name != MODULE {
            return;
        }
        let mut hook = MACHINE.lock();
        match (event, &*hook) {
            (_, Hook::Stopped) => {}
            (Event::Coming, _) => hook.follow(Presence::Coming),
            (Event::Going, Hook::Armed(_) | Hook::Refused(_)) => {
                hook.disarm("amdgpu is going");
                *hook = Hook::Waiting;
            }
            (Event::Going, _) => {}
        }
    }
}

impl Control {
    /// Starts. Must be called once, from the module's init function.
    pub(crate) fn start() -> Result<Self> {
        // SAFETY: this is the only place, and it runs once.
        unsafe { MACHINE.init() };
        let notifier = Notifier::new()?;
        READY.xchg(1, Full);
        MACHINE.lock().follow(Presence::Unknown);
        Ok(Self {
            _notifier: notifier,
        })
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        {
            let mut hook = MACHINE.lock();
            hook.disarm("rmcp is going");
            *hook = Hook::Stopped;
        }
        if arguments::is_stuck() {
            pr_emerg!("ftrace still calls this module: unloading waits until reboot\n");
            arguments::park();
        }
    }
}
