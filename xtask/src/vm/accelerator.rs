// SPDX-License-Identifier: MIT OR Apache-2.0
//! KVM where it works, else TCG.
//!
//! That `/dev/kvm` is there and opens says little: on some machines the first guest instructions that need emulation
//! end in an internal error, or nothing happens at all. So KVM is tried by booting. Where that failed and the same boot
//! worked under TCG, a note is left for as long as the host runs, and later boots go to TCG at once.

use std::fmt;
use std::fs::OpenOptions;
use std::path::PathBuf;
use std::time::Duration;

use fs_err as fs;

use crate::project;
use crate::qemu::Qemu;

/// How QEMU runs the guest's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accelerator {
    /// On the host's CPU.
    Kvm,
    /// Translated.
    Tcg,
    /// Translated, on one CPU whose clock goes on by 1 ns with each instruction.
    Counting,
}

impl Accelerator {
    /// What to try, in order.
    pub(crate) fn candidates(qemu: &Qemu) -> &'static [Accelerator] {
        let present = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/kvm")
            .is_ok();
        let failed = fs::read_to_string(note()).is_ok_and(|text| text == stamp(qemu));
        if present && !failed {
            &[Self::Kvm, Self::Tcg]
        } else {
            &[Self::Tcg]
        }
    }

    /// The only one that counts instructions.
    pub(crate) fn counting() -> &'static [Accelerator] {
        &[Self::Counting]
    }

    /// Leaves the note that KVM does not work here.
    pub(crate) fn note_failure(qemu: &Qemu) {
        // Without the note the next boot only tries again.
        let _ = fs::write(note(), stamp(qemu));
    }

    /// QEMU's words for it.
    pub(crate) fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Kvm => &["-accel", "kvm", "-cpu", "host", "-smp", "2"],
            Self::Tcg => &["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2"],
            // One CPU: the instructions of all CPUs drive one clock. `sleep=on`: while the guest waits for the
            // emulated GPU, which runs outside, its clock goes with the host's; with `off` it would jump to the
            // driver's next timeout at once.
            Self::Counting => &[
                "-accel",
                "tcg,thread=single",
                "-icount",
                "shift=0,align=off,sleep=on",
                "-cpu",
                "max",
                "-smp",
                "1",
            ],
        }
    }

    /// How many times longer than usual the guest takes for something.
    pub(crate) fn patience(self) -> u32 {
        match self {
            Self::Kvm | Self::Tcg => 1,
            Self::Counting => 5,
        }
    }

    /// How long a boot may take: under TCG on a busy machine, or until a silent KVM is given up.
    pub(crate) fn boot_limit(self) -> Duration {
        self.patience()
            * Duration::from_secs(match self {
                Self::Kvm => 20,
                Self::Tcg | Self::Counting => 240,
            })
    }
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kvm => "KVM",
            Self::Tcg => "TCG",
            Self::Counting => "TCG, counting instructions",
        })
    }
}

fn note() -> PathBuf {
    project::target_dir().join("vm/kvm-does-not-work")
}

/// Holds for one run of the host and one QEMU.
fn stamp(qemu: &Qemu) -> String {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    format!("{boot}{}\n", qemu.version())
}
