// SPDX-License-Identifier: MIT OR Apache-2.0
//! KFD: compute memory of this process, as ROCm's runtime asks for it.
//!
//! KFD knows one address space per process and GPU: the one of the DRM client that was handed to ACQUIRE_VM first. So
//! each compute client lives in a process of its own (see [`crate::process`]), and whoever wants to see work arrive
//! submits it through the same DRM client.

mod calls;
mod memory;

use guest::kfd_uapi::{
    AcquireVmArgs, AllocMemoryArgs, FreeMemoryArgs, KfdFlags, MapMemoryArgs, SVM_OP_SET_ATTR,
    SvmArgs, SvmAttribute, SvmFlags, svm_attribute,
};
use guest::proto::{ClientId, GpuId, KfdAlloc, KfdHandle, SvmSet, Va};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;

use self::memory::Memory;
use crate::drm::Client;
use crate::fail::{Result, Tried, failure};

const DEVICE: &str = "/dev/kfd";
/// One folder per node; CPUs are nodes too.
const NODES: &str = "/sys/class/kfd/kfd/topology/nodes";

/// KFD as this process sees it.
#[derive(Default)]
pub(crate) struct Kfd {
    device: Option<File>,
    /// The GPU of each DRM client whose address space is the process's.
    gpus: BTreeMap<ClientId, GpuId>,
    /// What is behind user pointers; it must outlive them.
    user: BTreeMap<KfdHandle, Memory>,
    /// What is behind shared ranges, by their address.
    shared: BTreeMap<Va, Memory>,
}

impl Kfd {
    /// ACQUIRE_VM: the client's address space becomes this process's compute address space on its GPU.
    pub(crate) fn acquire(&mut self, id: ClientId, client: &Client) -> Result<GpuId> {
        if self.device.is_none() {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .open(DEVICE)
                .tried(|| format!("open {DEVICE}"))?;
            self.device = Some(file);
        }
        let gpu = gpu_of(client.minor()?)?;
        let drm_fd = u32::try_from(client.node().as_raw_fd())
            .map_err(|_| failure("a negative file descriptor"))?;
        calls::acquire_vm(
            self.device()?,
            &mut AcquireVmArgs {
                drm_fd,
                gpu_id: gpu.0,
            },
        )?;
        self.gpus.insert(id, gpu);
        Ok(gpu)
    }

    pub(crate) fn alloc(&mut self, request: &KfdAlloc) -> Result<KfdHandle> {
        let gpu = self.gpu(request.client)?;
        let user = request
            .flags
            .has(KfdFlags::USERPTR)
            .then(|| Memory::anywhere(request.size))
            .transpose()?;
        let mut args = AllocMemoryArgs {
            va_addr: request.va.0,
            size: request.size.0,
            mmap_offset: user.as_ref().map_or(0, Memory::address),
            gpu_id: gpu.0,
            flags: request.flags.0,
            ..AllocMemoryArgs::default()
        };
        calls::alloc(self.device()?, &mut args)?;
        let handle = KfdHandle(args.handle);
        self.user.extend(user.map(|memory| (handle, memory)));
        Ok(handle)
    }

    pub(crate) fn free(&mut self, handle: KfdHandle) -> Result<()> {
        calls::free(self.device()?, &mut FreeMemoryArgs { handle: handle.0 })?;
        self.user.remove(&handle);
        Ok(())
    }

    pub(crate) fn map(&self, client: ClientId, handle: KfdHandle) -> Result<()> {
        self.on_gpu(client, handle, calls::map)
    }

    pub(crate) fn unmap(&self, client: ClientId, handle: KfdHandle) -> Result<()> {
        self.on_gpu(client, handle, calls::unmap)
    }

    fn on_gpu(
        &self,
        client: ClientId,
        handle: KfdHandle,
        call: fn(&File, &mut MapMemoryArgs) -> Result<()>,
    ) -> Result<()> {
        let mut gpu = self.gpu(client)?.0;
        let mut args = MapMemoryArgs {
            handle: handle.0,
            device_ids: std::ptr::from_mut(&mut gpu).expose_provenance() as u64,
            n_devices: 1,
            n_success: 0,
        };
        call(self.device()?, &mut args)
    }

    /// Makes a range of the process's memory, at an address that is free, and sets its attributes.
    pub(crate) fn share(&mut self, request: &SvmSet) -> Result<()> {
        let gpu = self.gpu(request.client)?;
        let attribute = |kind, value| SvmAttribute { kind, value };
        let location = if request.prefetch { gpu.0 } else { 0 };
        let args = &mut SvmArgs {
            start_addr: request.va.0,
            size: request.size.0,
            op: SVM_OP_SET_ATTR,
            nattr: 4,
            attrs: [
                attribute(svm_attribute::SET_FLAGS, request.flags.0),
                // What is not asked for, coherence above all, is on by default.
                attribute(svm_attribute::CLR_FLAGS, SvmFlags::ALL.0 & !request.flags.0),
                attribute(svm_attribute::ACCESS, gpu.0),
                attribute(svm_attribute::PREFETCH_LOC, location),
            ],
        };
        if let Entry::Vacant(place) = self.shared.entry(request.va) {
            place.insert(Memory::at(request.va, request.size)?);
        }
        calls::svm(self.device()?, args)
    }

    /// Unmaps a shared range from the process, and so from the GPU.
    pub(crate) fn unshare(&mut self, va: Va) -> Result<()> {
        let gone = self.shared.remove(&va);
        gone.map(drop)
            .ok_or_else(|| failure(format!("nothing is shared at {va}")))
    }

    fn device(&self) -> Result<&File> {
        self.device
            .as_ref()
            .ok_or_else(|| failure("KFD is not open: no client was handed to it"))
    }

    fn gpu(&self, client: ClientId) -> Result<GpuId> {
        self.gpus
            .get(&client)
            .copied()
            .ok_or_else(|| failure(format!("DRM client {} is no compute client", client.0)))
    }
}

/// KFD's number of the GPU whose render node has this minor number.
fn gpu_of(minor: u32) -> Result<GpuId> {
    let nodes = fs::read_dir(NODES).tried(|| format!("list {NODES}"))?;
    for node in nodes {
        let folder = node.tried(|| format!("list {NODES}"))?.path();
        // The properties of a GPU that KFD cannot use are not readable; it is not the one.
        let properties = fs::read_to_string(folder.join("properties")).unwrap_or_default();
        if properties
            .lines()
            .any(|line| line == format!("drm_render_minor {minor}"))
        {
            let file = folder.join("gpu_id");
            let text = fs::read_to_string(&file).tried(|| format!("read {}", file.display()))?;
            return text
                .trim()
                .parse()
                .map(GpuId)
                .map_err(|_| failure(format!("{}: no number: {text}", file.display())));
        }
    }
    Err(failure(format!(
        "KFD has no GPU with render node {minor} in {NODES}"
    )))
}
