// SPDX-License-Identifier: MIT OR Apache-2.0
//! How much CPU time the device's own thread has used, as the kernel counts it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// `USER_HZ`: the unit of times in `/proc`, 10 ms on every Linux that QEMU's KVM or TCG hosts run.
const TICK: Duration = Duration::from_millis(10);

/// A thread's meter; another thread may read it.
#[derive(Debug, Default)]
pub(crate) struct CpuMeter {
    task: OnceLock<PathBuf>,
    last: Mutex<Duration>,
}

impl CpuMeter {
    /// From now on the calling thread is meant.
    pub(crate) fn begin(&self) {
        if let Ok(task) = fs::read_link("/proc/thread-self") {
            // Set once: a device has one thread.
            let _ = self.task.set(Path::new("/proc").join(task).join("stat"));
        }
    }

    /// Its time so far; that of the last reading when the thread has ended. Zero where there is no `/proc`.
    pub(crate) fn read(&self) -> Duration {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let text = self
            .task
            .get()
            .and_then(|task| fs::read_to_string(task).ok());
        if let Some(now) = text.as_deref().and_then(used) {
            *last = now;
        }
        *last
    }
}

/// User and system time in a line of `/proc/…/stat`.
fn used(stat: &str) -> Option<Duration> {
    // The name stands in brackets and may hold anything; the third field is the first behind it.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u32>().ok();
    Some(TICK * ticks()?.saturating_add(ticks()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threads_own_time_is_measured() {
        let line = "7 (a) b) R 1 2 3 4 5 6 7 8 9 10 150 25 0 0 20 0 1 0 99 1 1";
        assert_eq!(used(line), Some(Duration::from_millis(1750)));
        let meter = CpuMeter::default();
        assert_eq!(meter.read(), Duration::ZERO);
        meter.begin();
        let mut n = 1_u64;
        while meter.read() < 2 * TICK {
            n = std::hint::black_box(n.wrapping_mul(3));
        }
        let other = std::thread::scope(|s| s.spawn(|| meter.read()).join().unwrap());
        assert!(other >= 2 * TICK, "{other:?}");
    }
}
