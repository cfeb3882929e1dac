// SPDX-License-Identifier: MIT OR Apache-2.0
//! The checks, one topic a file. Each is pure: what was read goes in, findings come out.
//!
//! A sentence here may say "does", "is", "has" only of what was read or what its source says; what is our reading of a
//! source is said to be. Nothing is recommended that nobody has shown to help.

mod bus;
mod driver;
mod environment;
mod gpus;
mod libraries;
mod log;

use super::check::Check;

const OVERRIDE: &str = "https://github.com/AUTOMATIC1111/stable-diffusion-webui/issues/9283";
const NO_GFX1010: &str = "https://github.com/pytorch/pytorch/issues/132570";

/// All of them, in the order in which they are shown.
pub const TABLE: &[Check] = &[
    Check {
        id: "gpu",
        title: "GPU and generation",
        why: "rmcp's switches are for RDNA1 and RDNA2; most of what follows is about their chips",
        sources: &["kgd2kfd_probe() in kfd_device.c"],
        look: gpus::generation,
    },
    Check {
        id: "rocm-sees-it",
        title: "ROCm sees the GPU",
        why: "without a node of KFD no ROCm program can use it",
        sources: &["kgd2kfd_device_init() in kfd_device.c"],
        look: gpus::node,
    },
    Check {
        id: "access",
        title: "device nodes and groups",
        why: "a user needs to read and write /dev/kfd and the GPU's render node; distributions give them to groups \
              (render, video)",
        sources: &[
            "https://rocm.docs.amd.com/projects/install-on-linux/en/latest/install/prerequisites.html",
        ],
        look: gpus::access,
    },
    Check {
        id: "override",
        title: "HSA_OVERRIDE_GFX_VERSION",
        why: "it makes ROCm load code for another chip. RDNA1 cannot run RDNA2's; RDNA2's chips share theirs",
        sources: &[OVERRIDE, "https://github.com/ROCm/rocBLAS/issues/1339"],
        look: environment::overrides,
    },
    Check {
        id: "pytorch",
        title: "code for this GPU in PyTorch",
        why: "without it PyTorch ends with \"invalid device function\", or somebody sets an override",
        sources: &[NO_GFX1010],
        look: libraries::torch,
    },
    Check {
        id: "rocblas",
        title: "kernels for this GPU in rocBLAS",
        why: "without them rocBLAS ends with \"Cannot read TensileLibrary\", or falls back to slow ones",
        sources: &[
            "https://github.com/ROCm/rocBLAS/issues/1339",
            "https://github.com/ROCm/rocBLAS/issues/1331",
        ],
        look: libraries::tensile,
    },
    Check {
        id: "rocm-version",
        title: "version of ROCm",
        why: "some versions are known to have no kernels for gfx101x",
        sources: &["https://github.com/ROCm/legacy-rocm-build/issues/2527"],
        look: libraries::version,
    },
    Check {
        id: "atomics",
        title: "PCIe atomics and compute firmware",
        why: "KFD leaves out a GPU without PCIe atomics when its compute firmware (MEC) is too old to do without",
        sources: &[
            "kfd_device_info_init() and kgd2kfd_device_init() in kfd_device.c",
            "pci_enable_atomic_ops_to_root()",
        ],
        look: bus::atomics,
    },
    Check {
        id: "bar",
        title: "large BAR",
        why: "with a small one the CPU reaches 256 MiB of video memory only, and KFD makes no CPU-visible video memory",
        sources: &["kfd_ioctl_alloc_memory_of_gpu() in kfd_chardev.c"],
        look: bus::bar,
    },
    Check {
        id: "options",
        title: "options of amdgpu",
        why: "some that circulate do nothing on these chips, others change what a failure looks like",
        sources: &["amdgpu_drv.c"],
        look: driver::options,
    },
    Check {
        id: "driver",
        title: "the kernel's amdgpu, or amdgpu-dkms",
        why: "the two are different drivers; a result on one says nothing of the other",
        sources: &["Documentation/admin-guide/tainted-kernels.rst"],
        look: driver::origin,
    },
    Check {
        id: "xnack",
        title: "XNACK",
        why: "managed memory that migrates on a fault needs it, and these chips never have it",
        sources: &["kfd_process_xnack_mode() in kfd_process.c"],
        look: environment::xnack,
    },
    Check {
        id: "environment",
        title: "other variables of ROCm and MIOpen",
        why: "they change what a job does, and so what a test of it shows",
        sources: &["https://rocm.docs.amd.com/en/docs-5.7.0/how_to/system_debugging.html"],
        look: environment::others,
    },
    Check {
        id: "faults",
        title: "page faults of the GPU",
        why: "each says which address could not be reached, by what and for whom",
        sources: &[
            "Documentation/gpu/amdgpu/debugging.rst",
            "gmc_v10_0_process_interrupt()",
        ],
        look: log::faults,
    },
    Check {
        id: "hangs",
        title: "hangs, resets, and words of ROCm's runtime",
        why: "after a reset or a hang, results of the same boot are not to be trusted",
        sources: &["amdgpu_job_timedout(), amdgpu_device_gpu_recover()"],
        look: log::events,
    },
    Check {
        id: "logs",
        title: "logs that were read",
        why: "no fault in a log that could not be read is no good news",
        sources: &[],
        look: log::places,
    },
];
