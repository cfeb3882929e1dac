// SPDX-License-Identifier: MIT OR Apache-2.0
//! KFD: compute memory of this process, as ROCm's runtime asks for it.
//!
//! KFD knows one address space per process and GPU: the one of the DRM client that was handed to ACQUIRE_VM first. So
//! each compute client lives in a process of its own (see [`crate::process`]), and whoever wants to see work arrive
//! submits it through the same DRM client.

mod calls;
mod memory;
mod queues;

use guest::kfd_uapi::{
    AcquireVmArgs, AllocMemoryArgs, FreeMemoryArgs, KfdFlags, MapMemoryArgs, SVM_OP_GET_ATTR,
    SVM_OP_SET_ATTR, SvmArgs, SvmAttribute, SvmFlags, svm_attribute,
};
use guest::proto::{
    ClientId, GpuId, KfdAlloc, KfdAwait, KfdHandle, KfdPlace, KfdRead, KfdWrite, QueueId, Size,
    SvmChange, SvmQuery, SvmSet, Va,
};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use self::memory::Memory;
use self::queues::Queue;
use crate::drm::Client;
use crate::fail::{Result, Tried, failure};

const DEVICE: &str = "/dev/kfd";
/// One folder per node; CPUs are nodes too.
const NODES: &str = "/sys/class/kfd/kfd/topology/nodes";

/// How long memory may take to become what is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A GPU on which this process computes.
struct Gpu {
    id: GpuId,
    /// The DRM client's node, through which buffers are mapped.
    node: File,
}

/// A buffer of KFD.
struct Buffer {
    client: ClientId,
    size: Size,
    mmap_offset: u64,
    /// What is behind a user pointer, or how the CPU sees the buffer, from the first use on.
    cpu: Option<Memory>,
}

/// KFD as this process sees it.
#[derive(Default)]
pub(crate) struct Kfd {
    device: Option<File>,
    /// The GPU of each DRM client whose address space is the process's.
    gpus: BTreeMap<ClientId, Gpu>,
    /// Memory behind user pointers must outlive them.
    buffers: BTreeMap<KfdHandle, Buffer>,
    /// What is behind shared ranges, by their address.
    shared: BTreeMap<Va, Memory>,
    queues: BTreeMap<QueueId, Queue>,
    /// The process's doorbells on each GPU, from the first queue on.
    doorbells: BTreeMap<GpuId, Memory>,
    /// Whether the process has an event page.
    event_page: bool,
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
        let node = client
            .node()
            .try_clone()
            .tried(|| "duplicate a render node".into())?;
        self.gpus.insert(id, Gpu { id: gpu, node });
        Ok(gpu)
    }

    /// The numbers of the GPU's node in the topology.
    pub(crate) fn node(&self, client: ClientId) -> Result<BTreeMap<String, u64>> {
        let wanted = self.gpu(client)?;
        let folder = nodes()?
            .into_iter()
            .find(|folder| gpu_id(folder).is_ok_and(|id| id == wanted))
            .ok_or_else(|| failure(format!("no node of GPU {}", wanted.0)))?;
        let number = |line: &str| {
            let (name, value) = line.split_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        let id = ("gpu_id".to_owned(), u64::from(wanted.0));
        let numbers = properties(&folder);
        Ok(numbers.lines().filter_map(number).chain([id]).collect())
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
        let buffer = Buffer {
            client: request.client,
            size: request.size,
            mmap_offset: args.mmap_offset,
            cpu: user,
        };
        self.buffers.insert(handle, buffer);
        Ok(handle)
    }

    pub(crate) fn free(&mut self, handle: KfdHandle) -> Result<()> {
        calls::free(self.device()?, &mut FreeMemoryArgs { handle: handle.0 })?;
        self.buffers.remove(&handle);
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

    /// Sets any attributes of a range of this process's memory.
    pub(crate) fn change(&self, request: &SvmChange) -> Result<()> {
        self.attributes(
            request.va,
            request.size,
            SVM_OP_SET_ATTR,
            &request.attributes,
        )
        .map(drop)
    }

    /// Asks for attributes of a range.
    pub(crate) fn query(&self, request: &SvmQuery) -> Result<Vec<(u32, u32)>> {
        self.attributes(
            request.va,
            request.size,
            SVM_OP_GET_ATTR,
            &request.attributes,
        )
    }

    /// One call for each attribute.
    fn attributes(
        &self,
        va: Va,
        size: Size,
        op: u32,
        attributes: &[(u32, u32)],
    ) -> Result<Vec<(u32, u32)>> {
        let mut found = Vec::new();
        for (kind, value) in attributes {
            let mut args = SvmArgs {
                start_addr: va.0,
                size: size.0,
                op,
                nattr: 1,
                ..SvmArgs::default()
            };
            args.attrs[0] = SvmAttribute {
                kind: *kind,
                value: *value,
            };
            calls::svm(self.device()?, &mut args)?;
            found.push((args.attrs[0].kind, args.attrs[0].value));
        }
        Ok(found)
    }

    pub(crate) fn write(&mut self, request: &KfdWrite) -> Result<()> {
        let (memory, offset) = self.place(request.place)?;
        memory.write(offset, &request.data.0)
    }

    pub(crate) fn read(&mut self, request: &KfdRead) -> Result<Vec<u8>> {
        let (memory, offset) = self.place(request.place)?;
        let size = usize::try_from(request.size.0).map_err(|_| failure("too much to read"))?;
        let mut out = vec![0; size];
        memory.read(offset, &mut out)?;
        Ok(out)
    }

    /// The GPU tells nobody when it has written: look again and again.
    pub(crate) fn wait(&mut self, request: &KfdAwait) -> Result<()> {
        let (memory, offset) = self.place(request.place)?;
        let begin = Instant::now();
        loop {
            let found = memory.read_u32(offset)?;
            if found == request.value {
                return Ok(());
            }
            if begin.elapsed() > PATIENCE {
                return Err(failure(format!(
                    "{:?} holds {found:#x}, expected {:#x}",
                    request.place, request.value
                )));
            }
            std::thread::yield_now();
        }
    }

    /// The memory at a place, and how far into it.
    fn place(&mut self, place: KfdPlace) -> Result<(&Memory, usize)> {
        let (memory, offset) = match place {
            KfdPlace::Buffer(handle, offset) => (self.cpu(handle)?, offset.0),
            KfdPlace::Shared(va) => {
                let below = self.shared.range(..=va).next_back();
                let (begin, memory) = below.ok_or_else(|| failure(format!("nothing at {va}")))?;
                (memory, va.0 - begin.0)
            }
        };
        let offset = usize::try_from(offset).map_err(|_| failure("too far"))?;
        Ok((memory, offset))
    }

    /// A buffer as the CPU sees it.
    fn cpu(&mut self, handle: KfdHandle) -> Result<&Memory> {
        let buffer = self
            .buffers
            .get_mut(&handle)
            .ok_or_else(|| failure(format!("no buffer {:#x}", handle.0)))?;
        let memory = match buffer.cpu.take() {
            Some(memory) => memory,
            None => {
                let gpu = self.gpus.get(&buffer.client);
                let gpu = gpu.ok_or_else(|| failure("the buffer's client is gone"))?;
                Memory::device(&gpu.node, buffer.mmap_offset, buffer.size)?
            }
        };
        Ok(buffer.cpu.insert(memory))
    }

    fn device(&self) -> Result<&File> {
        self.device
            .as_ref()
            .ok_or_else(|| failure("KFD is not open: no client was handed to it"))
    }

    fn gpu(&self, client: ClientId) -> Result<GpuId> {
        self.gpus
            .get(&client)
            .map(|gpu| gpu.id)
            .ok_or_else(|| failure(format!("DRM client {} is no compute client", client.0)))
    }
}

/// The nodes of the topology.
fn nodes() -> Result<Vec<PathBuf>> {
    let listing = fs::read_dir(NODES).tried(|| format!("list {NODES}"))?;
    listing
        .map(|node| Ok(node.tried(|| format!("list {NODES}"))?.path()))
        .collect()
}

/// A node's properties; those of a GPU that KFD cannot use are not readable.
fn properties(node: &Path) -> String {
    fs::read_to_string(node.join("properties")).unwrap_or_default()
}

fn gpu_id(node: &Path) -> Result<GpuId> {
    let file = node.join("gpu_id");
    let text = fs::read_to_string(&file).tried(|| format!("read {}", file.display()))?;
    text.trim()
        .parse()
        .map(GpuId)
        .map_err(|_| failure(format!("{}: no number: {text}", file.display())))
}

/// KFD's number of the GPU whose render node has this minor number.
fn gpu_of(minor: u32) -> Result<GpuId> {
    let wanted = format!("drm_render_minor {minor}");
    for node in nodes()? {
        if properties(&node).lines().any(|line| line == wanted) {
            return gpu_id(&node);
        }
    }
    Err(failure(format!(
        "KFD has no GPU with render node {minor} in {NODES}"
    )))
}
