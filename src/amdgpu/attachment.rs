// SPDX-License-Identifier: GPL-2.0

//! Whether rmcp is attached to the driver, kept in line with what is wanted and with the driver's
//! coming and going.
//!
//! # Locks
//!
//! [`ATTACHMENT`] guards everything here. It is taken
//!
//! - inside the module notifier chain's lock, when a module comes or goes;
//! - inside the module's parameter lock, when a switch is written or `state` is read.
//!
//! Inside it the kernel takes its locks for kprobes, ftrace and text, those of the files of sysfs, and
//! those of single PCI devices, the latter only if they are free. None of these is held by anyone who
//! waits for [`ATTACHMENT`]. The notifier is registered and unregistered without it, because that takes
//! the chain's lock.
//!
//! Holding [`ATTACHMENT`] also keeps the driver's code in memory, once the notifier is registered:
//! the driver is freed only after its GOING event was delivered, and that waits for the lock. From
//! that event until the next COMING the driver is not looked for.

use super::{
    devices,
    hooks::Hooks,
    noretry::{self, Told},
    origin::Origin,
    survey::{self, Found},
    Blame, NotArmed, Presence, Refusal, MODULE,
};
use crate::hook::{
    arguments,
    modules::{Event, Module, Notifier, Watch},
};
use crate::logic::{
    device::Devices,
    switches::{Idle, Switches},
};
use core::fmt::{self, Write};
use kernel::{
    prelude::*,
    sync::atomic::{Acquire, Atomic, Full},
};

/// Not 0 once [`ATTACHMENT`] may be locked.
static READY: Atomic<u32> = Atomic::new(0);

/// What the lock guards.
struct Attachment {
    stand: Stand,
    driver: Presence,
    /// Where the driver comes from; asked for once for each time that it is there.
    origin: Option<Origin>,
    switches: Switches,
    told: Told,
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
    Armed(Hooks),
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
        origin: None,
        switches: Switches::DEFAULT,
        told: Told::NotYet,
    };
}

/// Does what is wanted from now on, if the module's init function has come that far; `change` is what
/// the user has written. The caller holds the module's parameter lock.
pub(crate) fn follow(switches: &Switches, change: fmt::Arguments<'_>) {
    if READY.load(Acquire) != 0 {
        ATTACHMENT.lock().follow(switches, Some(change));
    }
}

/// Does what is wanted for the first time, and from now on whenever that changes. The caller holds the
/// module's parameter lock, and [`Attached::prepare`] was called.
pub(crate) fn begin(switches: &Switches) {
    READY.xchg(1, Full);
    ATTACHMENT.lock().follow(switches, None);
}

/// Writes where things stand: a line that says it all, then one fact per line.
pub(crate) fn write_state(out: &mut impl Write) -> fmt::Result {
    if READY.load(Acquire) == 0 {
        return out.write_str("disabled (starting)");
    }
    ATTACHMENT.lock().write_state(out)
}

impl Attachment {
    /// Does what is wanted.
    fn follow(&mut self, switches: &Switches, change: Option<fmt::Arguments<'_>>) {
        let news = self.switches != *switches;
        self.switches = *switches;
        match (switches.idle(), &mut self.stand) {
            (_, Stand::Stopped) => {}
            (Some(why), _) => {
                self.disarm(format_args!("{why}"));
                self.stand = Stand::Idle(why);
            }
            (None, Stand::Armed(_)) if !news => {}
            (None, Stand::Armed(hooks)) => {
                // SAFETY: we are called with `ATTACHMENT` locked (see the module's documentation).
                match unsafe { hooks.follow(switches, self.driver) } {
                    Ok(()) => {
                        if let Some(change) = change {
                            pr_info!("switched: {change}\n");
                        }
                    }
                    Err(why) => {
                        // All or nothing: no policy that is half of what was asked for.
                        self.disarm(format_args!("not all that is needed can be hooked"));
                        self.settle(why);
                    }
                }
            }
            (None, _) => self.arm(),
        }
    }

    fn arm(&mut self) {
        if self.driver == Presence::Gone {
            self.stand = Stand::Waiting;
            return;
        }
        // SAFETY: we are called with `ATTACHMENT` locked, after the notifier was registered, and the
        // driver's last event was not GOING. That keeps its code (see the module's documentation).
        match unsafe { Hooks::arm(&self.switches, self.driver) } {
            Ok(hooks) => {
                self.origin.get_or_insert_with(Origin::of_loaded);
                let in_force = self.switches.in_force();
                pr_info!("armed: {}\n", format_args!("{hooks}, {in_force}"));
                self.stand = Stand::Armed(hooks);
            }
            Err(why) => self.settle(why),
        }
    }

    /// The hooks could not be set.
    fn settle(&mut self, why: NotArmed) {
        self.stand = match why {
            NotArmed::Absent => Stand::Waiting,
            NotArmed::Refused(why) => {
                let why = self.name_outsider(why);
                // Said once, also when it is found again and again.
                if !matches!(&self.stand, Stand::Refused(last) if last.as_str() == why.as_str()) {
                    pr_warn!("refused: {}\n", why.as_str());
                }
                Stand::Refused(why)
            }
        };
    }

    /// Says whose driver it is that rmcp does not know, if it is not the kernel's own.
    fn name_outsider(&mut self, why: Refusal) -> Refusal {
        let origin = self.origin.get_or_insert_with(Origin::of_loaded);
        match origin.outsider() {
            Some(outsider) if why.blame == Blame::Driver => Refusal::unknown(fmt!(
                "{}; this amdgpu was {}: to use the kernel's own, remove its package, such as \
                 amdgpu-dkms, and reboot",
                why.as_str(),
                format_args!("{outsider}"),
            )),
            _ => why,
        }
    }

    /// Takes the hooks away, if there are any.
    fn disarm(&mut self, why: fmt::Arguments<'_>) {
        if let Stand::Armed(_) = self.stand {
            self.stand = Stand::Waiting;
            pr_info!("disarmed: {why}\n");
        }
    }

    /// The driver comes.
    fn come(&mut self, driver: &Module<'_>) {
        self.meet(driver);
        self.told = noretry::tell(driver, &self.switches);
        let switches = self.switches;
        self.follow(&switches, None);
    }

    /// The driver is there.
    fn meet(&mut self, driver: &Module<'_>) {
        self.driver = Presence::There;
        self.origin = Some(Origin::of(driver));
    }

    /// The driver goes.
    fn lose(&mut self) {
        self.driver = Presence::Gone;
        self.origin = None;
        self.told = Told::NotYet;
        self.disarm(format_args!("amdgpu is going"));
        if let Stand::Refused(_) = self.stand {
            self.stand = Stand::Waiting;
        }
    }

    /// Another module goes: it may be the one that was in the way.
    fn retry(&mut self) {
        if matches!(&self.stand, Stand::Refused(why) if why.blame == Blame::User) {
            self.arm();
        }
    }

    fn write_state(&self, out: &mut impl Write) -> fmt::Result {
        match &self.stand {
            Stand::Starting => out.write_str("disabled (starting)")?,
            Stand::Idle(why) => write!(out, "disabled ({why})")?,
            Stand::Waiting => out.write_str("waiting for amdgpu")?,
            Stand::Armed(hooks) => {
                write!(out, "armed\nhooks: {hooks}")?;
                if let Some(outsider) = self.origin.as_ref().and_then(Origin::outsider) {
                    write!(out, "\ndriver: {outsider}")?;
                }
                self.write_devices(out)?;
            }
            Stand::Refused(why) => write!(out, "refused: {}", why.as_str())?,
            Stand::Stopped => out.write_str("disabled (unloading)")?,
        }
        // SAFETY: what the driver was told is forgotten when it goes, with this lock held.
        unsafe { noretry::write_state(out, &self.switches, self.told) }
    }

    fn write_devices(&self, out: &mut impl Write) -> fmt::Result {
        let devices = &self.switches.devices;
        let mut met = KVec::new();
        let mut result = Ok(());
        // SAFETY: hooks are in place, so the layout is known; `ATTACHMENT` is locked, which keeps the
        // driver.
        unsafe {
            survey::each(|address, found| {
                let may_be_ours = match found {
                    Found::Busy => true,
                    Found::Driven(_, version) => version.is_rdna1_or_2(),
                };
                if may_be_ours {
                    // Too little memory means a line too much below.
                    let _ = met.push(address, GFP_KERNEL);
                }
                let line = match found {
                    Found::Busy => write!(out, "\ndevice {address}: busy, look again"),
                    Found::Driven(_, version) => {
                        let fate = if !version.is_rdna1_or_2() {
                            "not RDNA1/2, left alone"
                        } else if !devices.include(address) {
                            "not named in devices, left alone"
                        } else if !devices::has_room(address) {
                            "left alone, there are too many GPUs"
                        } else {
                            "policy applies"
                        };
                        write!(out, "\ndevice {address}: {version}, {fate}")
                    }
                };
                result = result.and(line);
            });
        }
        result?;
        if let Devices::Named(list) = devices {
            for address in list.iter().filter(|address| !met.contains(address)) {
                write!(
                    out,
                    "\ndevice {address}: named, no RDNA1/2 GPU is present there"
                )?;
            }
        }
        Ok(())
    }
}

/// As long as it lives, the hooks follow the switches and the driver.
pub(crate) struct Attached {
    // Dropped after `drop` has run.
    _notifier: Notifier<Self>,
}

impl Watch for Attached {
    fn module_event(module: &Module<'_>, event: Event) {
        let is_driver = module.name() == MODULE;
        if !is_driver && event == Event::Coming {
            return;
        }
        let mut attachment = ATTACHMENT.lock();
        match event {
            // Between `prepare` and `begin` it is not known yet what is wanted.
            Event::Coming if matches!(attachment.stand, Stand::Starting) => {
                attachment.meet(module);
            }
            Event::Coming => attachment.come(module),
            Event::Going if is_driver => attachment.lose(),
            Event::Going => attachment.retry(),
        }
    }
}

impl Attached {
    /// Is told of the driver's coming and going from now on. Must be called once, from the module's
    /// init function, after `devices::Counters` were made and before [`begin`].
    pub(crate) fn prepare() -> Result<Self> {
        // SAFETY: this is the only place, and it runs once.
        unsafe { ATTACHMENT.init() };
        Ok(Self {
            _notifier: Notifier::new()?,
        })
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        {
            let mut attachment = ATTACHMENT.lock();
            attachment.disarm(format_args!("rmcp is going"));
            attachment.stand = Stand::Stopped;
        }
        if arguments::is_stuck() {
            pr_emerg!("ftrace still calls this module: unloading waits until reboot\n");
            arguments::park();
        }
    }
}
