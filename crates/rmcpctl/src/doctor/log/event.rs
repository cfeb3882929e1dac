// SPDX-License-Identifier: MIT OR Apache-2.0
//! What else a log tells of a GPU that failed: rings that hung, resets, and what ROCm's runtime says for itself.
//!
//! The words are those of the functions named beside each. A line is one event at most, of the first kind that fits.

use super::fault::device;
use super::lines::{Boot, Line};
use serde::Serialize;

/// The most events that are kept, the newest.
pub const KEEP: usize = 500;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A ring did not finish its job in time.
    RingTimeout,
    /// It did after the waves were killed.
    SoftRecovery,
    /// The ring alone was reset.
    RingReset,
    /// The whole GPU was reset, or that was tried.
    GpuReset,
    /// A ring could not be reset alone.
    RingResetFailed,
    /// A reset of the whole GPU failed.
    ResetFailed,
    /// A reset lost what was in video memory.
    VramLost,
    /// KFD could not take a process's queues off the GPU.
    ComputeHang,
    /// The command processor met something that it cannot execute.
    IllegalCommand,
    /// KFD leaves the GPU out.
    RejectedAtomics,
    /// ROCr: an address outside the aperture.
    ApertureViolation,
    /// ROCr: a page fault of the GPU.
    MemoryFault,
    /// ROCr: the GPU hangs.
    HwException,
    /// ROCr: an instruction that this GPU does not have.
    IllegalInstruction,
    /// HIP: no code for this GPU.
    NoCode,
    /// rocBLAS: no library of kernels for this GPU.
    NoTensile,
    /// MIOpen: a kernel or its build failed.
    MiopenError,
}

/// How a kind is recognised and what it means.
pub struct Known {
    /// The kind.
    pub kind: Kind,
    /// Words of which each must be in the line.
    words: &'static [&'static str],
    /// One sentence.
    pub meaning: &'static str,
    /// Where the words come from.
    pub source: &'static str,
}

const fn known(
    kind: Kind,
    words: &'static [&'static str],
    meaning: &'static str,
    source: &'static str,
) -> Known {
    Known {
        kind,
        words,
        meaning,
        source,
    }
}

const RESET: &str = "the whole GPU was reset: every process's work on it was lost, the cause is in the lines before";

/// All that is looked for.
pub const KNOWN: &[Known] = &[
    known(
        Kind::SoftRecovery,
        &["ring ", " timeout, but soft recovered"],
        "a job did not end in time and its waves were killed: a kernel that does not end, or waits for what never comes",
        "amdgpu_job_timedout()",
    ),
    known(
        Kind::RingTimeout,
        &["ring ", " timeout, signaled seq="],
        "a job did not end in time: a kernel that does not end, a wait for what never comes, or a GPU that stopped",
        "amdgpu_job_timedout()",
    ),
    known(
        Kind::RingReset,
        &["Ring ", " reset succeeded"],
        "the hung ring alone was reset, others kept working; the client that hung it gets no more work done",
        "amdgpu_job_timedout()",
    ),
    known(
        Kind::RingResetFailed,
        &["Ring ", " reset failed"],
        "the hung ring could not be reset alone",
        "amdgpu_job_timedout()",
    ),
    known(
        Kind::ResetFailed,
        &["GPU reset(", " failed with error"],
        "the GPU did not come back: reboot before you believe any further result",
        "amdgpu_device_gpu_recover()",
    ),
    known(
        Kind::GpuReset,
        &["GPU reset begin!"],
        RESET,
        "amdgpu_device_gpu_recover()",
    ),
    known(
        Kind::GpuReset,
        &["GPU reset(", " succeeded!"],
        RESET,
        "amdgpu_device_gpu_recover()",
    ),
    known(
        Kind::VramLost,
        &["VRAM is lost due to GPU reset!"],
        "what was in video memory is gone: the desktop and every GPU program must be started anew",
        "amdgpu_device_gpu_recover()",
    ),
    known(
        Kind::ComputeHang,
        &["qcm fence wait loop timeout expired"],
        "KFD's scheduler on the GPU does not answer: a compute kernel cannot be preempted, and a reset follows",
        "amdkfd_fence_wait_timeout()",
    ),
    known(
        Kind::ComputeHang,
        &["unrecoverable state due to an unsuccessful queues preemption"],
        "a compute kernel could not be taken off the GPU, and a reset follows",
        "unmap_queues_cpsch()",
    ),
    known(
        Kind::IllegalCommand,
        &["Illegal ", " in command stream"],
        "the command processor met what it cannot execute: a broken command buffer, or memory that changed under it",
        "gfx_v10_0_priv_reg_irq() and its siblings",
    ),
    known(
        Kind::RejectedAtomics,
        &["skipped device ", "PCI rejects atomics"],
        "KFD leaves this GPU out: ROCm does not see it",
        "kgd2kfd_device_init()",
    ),
    known(
        Kind::ApertureViolation,
        &["HSA_STATUS_ERROR_MEMORY_APERTURE_VIOLATION"],
        "a kernel used an address outside what a pointer can be (code 0x29); it is no page fault, and no page-table entry \
         was looked at. Code for another chip is the best-documented cause on RDNA1",
        "https://github.com/AUTOMATIC1111/stable-diffusion-webui/issues/9283",
    ),
    known(
        Kind::MemoryFault,
        &["Memory access fault by GPU node"],
        "a page fault of the GPU; the kernel's log has address, access and client of it",
        "ROCr, VMFaultHandler",
    ),
    known(
        Kind::HwException,
        &["HW Exception by GPU node"],
        "the GPU hung or was reset while the program used it; the kernel's log says which",
        "ROCr, HwExceptionHandler",
    ),
    known(
        Kind::IllegalInstruction,
        &["HSA_STATUS_ERROR_ILLEGAL_INSTRUCTION"],
        "a kernel has an instruction that this GPU lacks: it is code for another chip",
        "https://llvm.org/docs/AMDGPUUsage.html#processors",
    ),
    known(
        Kind::NoTensile,
        &["TensileLibrary"],
        "rocBLAS has no kernels for this GPU",
        "https://github.com/ROCm/rocBLAS/issues/1339",
    ),
    known(
        Kind::NoCode,
        &["hipErrorNoBinaryForGpu"],
        "the program or a library was not built for this GPU",
        "https://github.com/pytorch/pytorch/issues/132570",
    ),
    known(
        Kind::NoCode,
        &["HIP error: invalid device function"],
        "the program or a library was not built for this GPU",
        "https://github.com/pytorch/pytorch/issues/132570",
    ),
    known(
        Kind::MiopenError,
        &["MIOpen Error:"],
        "MIOpen could not build or run a convolution kernel",
        "https://github.com/ROCm/MIOpen/issues/2522",
    ),
];

/// A line that says that something happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    /// The boot it is of.
    pub boot: Boot,
    /// Seconds since that boot.
    pub time: Option<String>,
    /// The GPU's PCI address.
    pub device: Option<String>,
    /// What happened.
    pub kind: Kind,
    /// The line, at most 300 characters of it.
    pub text: String,
}

fn recognise(text: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| {
        let mut rest = Some(text);
        // In this order.
        known.words.iter().all(|word| {
            rest = rest
                .and_then(|rest| rest.split_once(word))
                .map(|(_, rest)| rest);
            rest.is_some()
        })
    })
}

/// What is known of a kind.
pub fn about(kind: Kind) -> &'static Known {
    let known = KNOWN.iter().find(|known| known.kind == kind);
    known.unwrap_or(&KNOWN[0])
}

/// Every event in a log, in its order; of more than [`KEEP`] the newest.
pub fn events(lines: &[Line]) -> Vec<Event> {
    let found = lines.iter().rev().filter_map(|line| {
        let known = recognise(&line.text)?;
        let (device, text) = device(&line.text);
        Some(Event {
            boot: line.boot,
            time: line.time.clone(),
            device: device.map(str::to_owned),
            kind: known.kind,
            text: text.trim().chars().take(300).collect(),
        })
    });
    let mut found: Vec<_> = found.take(KEEP).collect();
    found.reverse();
    found
}

/// How many messages of `function` the kernel left out since there were too many.
pub fn suppressed(lines: &[Line], function: &str) -> u64 {
    let counts = lines.iter().filter_map(|line| {
        let (_, rest) = line.text.split_once(function)?;
        let number = rest
            .strip_prefix(": ")?
            .strip_suffix(" callbacks suppressed")?;
        number.parse::<u64>().ok()
    });
    counts.fold(0, u64::saturating_add)
}
