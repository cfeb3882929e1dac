// SPDX-License-Identifier: MIT OR Apache-2.0
//! Suspend to idle and resume.

use crate::fail::Result;
use crate::files;

/// After which stage a suspend turns back.
const TEST: &str = "/sys/power/pm_test";
/// How long it waits there, in seconds.
const TEST_DELAY: &str = "/sys/module/suspend/parameters/pm_test_delay";
const STATE: &str = "/sys/power/state";
/// Whether the console goes to sleep as well; a panic on the way must be seen.
const CONSOLE_SLEEPS: &str = "/sys/module/printk/parameters/console_suspend";

/// Suspends and resumes. The virtio port must not be open (see [`crate::port::away`]).
///
/// `platform` turns back after every driver's last callback. QEMU's clock cannot wake the machine from the idle state
/// that would follow: the kernel drives its alarm by the HPET, which sleeps then.
pub(crate) fn suspend() -> Result<()> {
    set(CONSOLE_SLEEPS, "N")?;
    set(TEST_DELAY, "0")?;
    set(TEST, "platform")?;
    set(STATE, "freeze")
}

fn set(file: &str, value: &str) -> Result<()> {
    files::write(file, value.as_bytes()).map(drop)
}
