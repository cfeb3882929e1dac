// SPDX-License-Identifier: MIT OR Apache-2.0
//! What PID 1 owes the machine: file systems at the start, power-off at the end.

use anyhow::Context;
use rustix::mount::{MountFlags, mount};
use rustix::system::{RebootCommand, reboot};

/// Mounts the kernel's own file systems where programs expect them.
pub(crate) fn mounts() -> anyhow::Result<()> {
    const WHERE: [(&str, &str); 7] = [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("devpts", "/dev/pts"),
        ("tmpfs", "/dev/shm"),
        ("debugfs", "/sys/kernel/debug"),
        ("tracefs", "/sys/kernel/tracing"),
    ];
    for (kind, target) in WHERE {
        std::fs::create_dir_all(target).with_context(|| format!("cannot make {target}"))?;
        mount(kind, target, kind, MountFlags::empty(), None)
            .with_context(|| format!("cannot mount {kind} on {target}"))?;
    }
    // What a shell's prompt shows.
    rustix::system::sethostname(b"rmcp").context("cannot set the host name")?;
    Ok(())
}

/// Writes everything back and switches the machine off; never returns.
pub(crate) fn power_off() -> ! {
    rustix::fs::sync();
    loop {
        // With CAP_SYS_BOOT, which PID 1 has, this does not return; if it ever did, trying again is all there is.
        if let Err(errno) = reboot(RebootCommand::PowerOff) {
            eprintln!("guest: power-off failed: {errno}");
        }
    }
}
