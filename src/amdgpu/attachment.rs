// SPDX-License-Identifier: GPL-2.0

//! Whether rmcp is attached to the driver, kept in line with what is wanted and with the driver's
//! coming and going.
//!
//! # Locks
//!
//! [`ATTACHMENT`] guards everything here. It is taken
//!
//! - inside the module notifier chain's lock, when the driver comes or goes;
//! - inside the module's parameter lock, when a switch is written or `state` is read;
//! - with no lock held, in [`Attached::start`] and when [`Attached`] is dropped.
//!
//! Inside it the kernel takes its locks for kprobes, ftrace and text, and those of the files of
//! sysfs. None of these is held by anyone who waits for [`ATTACHMENT`]. The notifier is registered
//! and unregistered without it, because that takes the chain's lock.
//!
//! Holding [`ATTACHMENT`] also keeps the driver's code in memory, once the notifier is registered:
//! the driver is freed only after its GOING event was delivered, and that waits for the lock. From
//! that event until the next COMING the driver is not looked for.

use super::{mtype::MtypeHook, NotArmed, Presence, Refusal, MODULE};
use crate::hook::{
    arguments,
    modules::{Event, Notifier, Watch},
};
use crate::logic::{
    policy::Policy,
    switch::{Idle, Switch, Wanted},
};
use core::{fmt::Write, marker::PhantomData};
use kernel::{
    prelude::*,
    sync::atomic::{Acquire, Atomic, Full},
};

/// Who says what is wanted.
pub(crate) trait Source: 'static {
    /// What is wanted at this moment. Called with [`ATTACHMENT`] locked.
    fn wanted() -> Wanted;
}

/// Not 0 once [`ATTACHMENT`] may be locked.
static READY: Atomic<u32> = Atomic::new(0);

/// What the lock guards.
struct Attachment {
    stand: Stand,
    driver: Presence,
}

/// Where things stand.
enum Stand {
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
    unsafe(uninit) static ATTACHMENT: Mutex<Attachment> = Attachment {
        stand: Stand::Starting,
        driver: Presence::Unknown,
    };
}

/// Does what is wanted now, if the module's init function has come that far. The caller has changed
/// what is wanted before, with a full barrier: either we see that the module is ready, or its init
/// function sees the change.
pub(crate) fn follow<S: Source>() {
    if READY.load(Acquire) != 0 {
        ATTACHMENT.lock().follow(S::wanted());
    }
}

/// Writes one line that says where things stand.
pub(crate) fn write_state(out: &mut impl Write) -> core::fmt::Result {
    if READY.load(Acquire) == 0 {
        return out.write_str("disabled (starting)");
    }
    match &ATTACHMENT.lock().stand {
        Stand::Starting => out.write_str("disabled (starting)"),
        Stand::Idle(why) => write!(out, "disabled ({})", describe(*why)),
        Stand::Waiting => out.write_str("waiting for amdgpu"),
        Stand::Armed(_) => out.write_str("armed"),
        Stand::Refused(why) => write!(out, "refused: {}", why.as_str()),
        Stand::Stopped => out.write_str("disabled (unloading)"),
    }
}

fn describe(why: Idle) -> &'static str {
    match why {
        Idle::Disabled => "enable=N",
        Idle::Keep => "mtype=keep",
    }
}

impl Attachment {
    /// Does what is wanted.
    fn follow(&mut self, wanted: Wanted) {
        match (wanted, &mut self.stand) {
            (_, Stand::Stopped) => {}
            (Wanted::Nothing(why), _) => {
                self.disarm(describe(why));
                self.stand = Stand::Idle(why);
            }
            (Wanted::Mtype(policy), Stand::Armed(hook)) => {
                if hook.policy() != policy {
                    hook.set_policy(policy);
                    pr_info!("switched: mtype={}\n", policy.as_str());
                }
            }
            (Wanted::Mtype(policy), _) => self.stand = self.arm(policy),
        }
    }

    fn arm(&self, policy: Policy) -> Stand {
        if self.driver == Presence::Gone {
            return Stand::Waiting;
        }
        // SAFETY: we are called with `ATTACHMENT` locked, after the notifier was registered, and the
        // driver's last event was not GOING. That keeps its code (see the module's documentation).
        match unsafe { MtypeHook::arm(policy, self.driver) } {
            Ok(hook) => {
                let (function, mtype) = (MtypeHook::FUNCTION, policy.as_str());
                pr_info!("armed: {function}, mtype={mtype}\n");
                Stand::Armed(hook)
            }
            Err(NotArmed::Absent) => Stand::Waiting,
            Err(NotArmed::Refused(why)) => {
                pr_warn!("refused: {}\n", why.as_str());
                Stand::Refused(why)
            }
        }
    }

    /// Takes the hook away, if there is one.
    fn disarm(&mut self, why: &str) {
        if let Stand::Armed(_) = self.stand {
            self.stand = Stand::Waiting;
            pr_info!("disarmed: {why}\n");
        }
    }

    /// The driver goes.
    fn lose(&mut self) {
        self.driver = Presence::Gone;
        self.disarm("amdgpu is going");
        if let Stand::Refused(_) = self.stand {
            self.stand = Stand::Waiting;
        }
    }
}

/// As long as it lives, the hook follows what `S` wants, and the driver.
pub(crate) struct Attached<S: Source> {
    // Dropped after `drop` has run.
    _notifier: Notifier<Self>,
    _source: PhantomData<fn(S)>,
}

impl<S: Source> Watch for Attached<S> {
    fn module_event(name: &CStr, event: Event) {
        if name != MODULE {
            return;
        }
        let mut attachment = ATTACHMENT.lock();
        match event {
            Event::Coming => {
                attachment.driver = Presence::There;
                attachment.follow(S::wanted());
            }
            Event::Going => attachment.lose(),
        }
    }
}

impl<S: Source> Attached<S> {
    /// Starts. Must be called once, from the module's init function.
    pub(crate) fn start() -> Result<Self> {
        // SAFETY: this is the only place, and it runs once.
        unsafe { ATTACHMENT.init() };
        let notifier = Notifier::new()?;
        READY.xchg(1, Full);
        follow::<S>();
        Ok(Self {
            _notifier: notifier,
            _source: PhantomData,
        })
    }
}

impl<S: Source> Drop for Attached<S> {
    fn drop(&mut self) {
        {
            let mut attachment = ATTACHMENT.lock();
            attachment.disarm("rmcp is going");
            attachment.stand = Stand::Stopped;
        }
        if arguments::is_stuck() {
            pr_emerg!("ftrace still calls this module: unloading waits until reboot\n");
            arguments::park();
        }
    }
}
