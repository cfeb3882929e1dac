// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads a kernel log for signs of trouble.
//!
//! A scenario passes only when nothing in the guest's log between its begin and its end matches. The words are those
//! that the kernel itself prints: `kernel/panic.c`, `lib/bug.c`, `arch/x86/mm/fault.c`, `mm/kasan/report.c`,
//! `kernel/locking/lockdep.c`, `lib/refcount.c`, `kernel/hung_task.c`, `kernel/watchdog.c`.

use std::fmt;

/// Words that never stand in the log of a healthy kernel.
const TROUBLE: &[&str] = &[
    "------------[ cut here ]------------",
    "WARNING:",
    "BUG:",
    "kernel BUG at",
    "Oops",
    "Call Trace:",
    "KASAN:",
    "KFENCE:",
    "UBSAN:",
    "general protection fault",
    "unable to handle",
    "Unable to handle",
    "Kernel panic",
    "possible recursive locking",
    "possible circular locking",
    "inconsistent lock state",
    "suspicious RCU usage",
    "bad unlock balance",
    "refcount_t:",
    "list_add corruption",
    "list_del corruption",
    "soft lockup",
    "hard LOCKUP",
    "detected stall",
    "self-detected stall",
    "blocked for more than",
    "still has locks held",
    "Missing ENDBR",
    "kernel tried to execute",
    "Objects remaining in",
    "scheduling while atomic",
    "sleeping function called from",
];

/// A line of the log that tells of trouble.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The words that matched.
    pub words: &'static str,
    /// The line and what followed it, for the report.
    pub excerpt: String,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the guest's kernel log has \"{}\":\n{}",
            self.words, self.excerpt
        )
    }
}

/// How many lines from the first bad one on are shown.
const EXCERPT: usize = 25;

/// The first trouble in these lines.
#[must_use]
pub fn scan<L: AsRef<str>>(lines: &[L]) -> Option<Trouble> {
    lines.iter().enumerate().find_map(|(at, line)| {
        let words = TROUBLE
            .iter()
            .find(|words| line.as_ref().contains(*words))?;
        let excerpt: Vec<_> = lines[at..]
            .iter()
            .take(EXCERPT)
            .map(AsRef::as_ref)
            .collect();
        Some(Trouble {
            words,
            excerpt: excerpt.join("\n"),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One line each as the kernel prints it.
    #[test]
    fn every_kind_of_trouble_is_seen() {
        for line in [
            "------------[ cut here ]------------",
            "WARNING: CPU: 1 PID: 93 at kernel/trace/ftrace.c:2240 ftrace_bug+0x18c/0x2a0",
            "WARNING: kernel/kprobes.c:1234 at foo+0x1/0x2, CPU#1: insmod/123",
            "BUG: kernel NULL pointer dereference, address: 0000000000000000",
            "BUG: unable to handle page fault for address: ffffffffc0a2b000",
            "BUG: KASAN: use-after-free in foo+0x1/0x2",
            "Oops: 0010 [#1] SMP NOPTI",
            "Oops: Oops: 0000 [#1] PREEMPT SMP",
            "Oops: general protection fault, probably for non-canonical address 0x1: 0000 [#1]",
            "Call Trace:",
            "kernel BUG at mm/slub.c:553!",
            "Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100",
            "WARNING: possible circular locking dependency detected",
            "refcount_t: underflow; use-after-free.",
            "list_del corruption. prev->next should be ffff, but was 0000",
            "watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [rmmod:120]",
            "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
            "INFO: task rmmod:71 blocked for more than 120 seconds.",
            "BUG rmcp_cache (Tainted: G OE): Objects remaining in rmcp_cache on __kmem_cache_shutdown()",
            "traps: Missing ENDBR: gmc_v10_0_get_vm_pte+0x0/0x80 [amdgpu]",
            "BUG: sleeping function called from invalid context at kernel/locking/mutex.c:580",
        ] {
            assert!(scan(&["before", line, "after"]).is_some(), "missed: {line}");
        }
    }

    /// Lines of a healthy boot of Debian's 7.3.4 with amdgpu, and of rmcp's refusals.
    #[test]
    fn a_healthy_log_is_left_in_peace() {
        for line in [
            "rmcp: loading out-of-tree module taints kernel.",
            "rmcp: module verification failed: signature and/or required key missing - tainting kernel",
            "rmcp: armed: mtype=nc",
            "rmcp: bad value for mtype; valid are keep, nc, uc",
            "amdgpu 0000:01:00.0: amdgpu: Fetched VBIOS from ROM BAR",
            "Spectre V2 : WARNING-free since 2018",
            "debugging options: none",
            "acpi PNP0A08:00: _OSC: platform does not support [LTR]",
            "[drm] Initialized amdgpu 3.64.0 for 0000:01:00.0 on minor 0",
            "rcu: \tRCU restricting CPUs from NR_CPUS=8192 to nr_cpu_ids=2.",
        ] {
            assert_eq!(scan(&[line]), None, "fired on: {line}");
        }
    }

    #[test]
    fn the_excerpt_starts_at_the_bad_line_and_ends() {
        let mut lines = vec!["good".to_owned(), "Call Trace:".to_owned()];
        lines.extend((0..100).map(|n| format!("line {n}")));
        let trouble = scan(&lines).unwrap();
        assert!(trouble.excerpt.starts_with("Call Trace:\nline 0\n"));
        assert_eq!(trouble.excerpt.lines().count(), EXCERPT);
    }
}
