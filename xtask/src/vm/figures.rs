// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a VM has cost so far: time, and CPU time of QEMU and of the emulated GPUs.

use anyhow::{Context, Result};
use serde::Serialize;
use std::fmt;
use std::time::Duration;

use super::Vm;

/// `USER_HZ`: times in `/proc` count in 10 ms.
const TICK: Duration = Duration::from_millis(10);

/// Since QEMU was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Figures {
    /// On the clock.
    pub elapsed: Duration,
    /// CPU time of QEMU, all threads: the guest.
    pub qemu: Duration,
    /// CPU time of the emulated GPUs' threads.
    pub gpus: Duration,
}

impl Figures {
    /// The emulated GPUs' part of all CPU time, in percent.
    #[must_use]
    pub fn percent(&self) -> f64 {
        let all = self.gpus + self.qemu;
        100.0 * self.gpus.as_secs_f64() / all.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.1} s since QEMU was started; CPU time: QEMU {:.1} s, emulated GPU {:.2} s ({:.1} % of both)",
            self.elapsed.as_secs_f64(),
            self.qemu.as_secs_f64(),
            self.gpus.as_secs_f64(),
            self.percent()
        )
    }
}

impl Vm {
    /// What it has cost so far.
    pub fn figures(&self) -> Result<Figures> {
        let path = format!("/proc/{}/stat", self.machine.pid());
        let stat = fs_err::read_to_string(&path)?;
        Ok(Figures {
            elapsed: self.began.elapsed(),
            qemu: used(&stat).with_context(|| format!("{path} says {stat:?}"))?,
            gpus: self.gpus.iter().map(rdna_emu::Gpu::cpu_time).sum(),
        })
    }
}

/// User and system time of a process: the 14th and 15th field, counted behind its name.
fn used(stat: &str) -> Option<Duration> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<u32>().ok();
    Some(TICK * ticks(11)?.saturating_add(ticks(12)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_behind_a_name_with_brackets() {
        let line = "7 (qemu (x)) S 1 7 7 0 -1 4194304 100 0 0 0 1800 200 0 0 20 0 5 0 1 1 1";
        assert_eq!(used(line), Some(Duration::from_secs(20)));
        let figures = Figures {
            elapsed: Duration::from_secs(24),
            qemu: Duration::from_secs(19),
            gpus: Duration::from_secs(1),
        };
        assert!((figures.percent() - 5.0).abs() < 1e-9);
    }
}
