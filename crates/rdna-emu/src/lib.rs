// SPDX-License-Identifier: MIT OR Apache-2.0
//! An emulated RDNA GPU: a vfio-user device that the unmodified amdgpu driver accepts, whose page
//! tables can be read back at any time.
//!
//! ```no_run
//! use rdna_emu::{Chip, Gpu, Options};
//!
//! let gpu = Gpu::start(Options::new(Chip::Navi10, "gpu.sock"))?;
//! // … QEMU connects with -device vfio-user-pci, the guest loads amdgpu and submits work …
//! for submission in gpu.submissions() {
//!     let space = gpu.walk(submission.root)?;
//!     println!("{} entries below {}", space.entries.len(), submission.root);
//! }
//! # Ok::<(), rdna_emu::Error>(())
//! ```
//!
//! What is modelled, what is not, and where each register comes from: see the crate's README.

mod blocks;
mod bus;
mod bytes;
mod chip;
mod clock;
mod cpu;
mod device;
mod discovery;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod gpu;
mod inject;
mod journal;
mod mem;
mod pci;
mod regs;
mod report;
mod spaces;
pub mod tables;
mod trace;
mod units;
mod vbios;
mod vfio;

pub use blocks::gmc::{Hub, Mistake};
pub use chip::Chip;
pub use clock::Clock;
pub use gpu::{Error, Gpu, Options};
pub use inject::{Engine, FaultKind, Injection};
pub use report::{Access, DeviceFault, PageFault, Submission, TlbReport, TlbUse, Unknown};
pub use spaces::{SeenSpace, Sighting, SpaceState};
pub use trace::{LogFormat, Trace, TraceKind};
pub use units::{ByteSize, GpuVa, PageDirectory, Pasid, Vmid};
