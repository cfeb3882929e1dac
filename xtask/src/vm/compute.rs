// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compute clients as ROCm makes them: a process whose address space KFD knows, with its buffers.
//!
//! The root of such an address space is learned as that of any client: work is submitted through the same DRM file, and
//! the emulated GPU sees which page directory it runs under.

use anyhow::{Result, anyhow};
use guest::kfd_uapi::{KfdFlags, SvmFlags};
use guest::proto::{
    Call, ClientId, DrmOpen, Failure, KfdAcquire, KfdAlloc, KfdFree, KfdHandle, KfdMap, KfdUnmap,
    ProcessEnd, ProcessId, ProcessStart, Request, Size, Submit, SvmDrop, SvmSet, Va, Within,
};
use guest::uapi::Domain;
use rdna_emu::PageDirectory;
use rdna_emu::tables::AddressSpace;

use super::Vm;

/// What buffers may be used for unless somebody says otherwise.
const ACCESS: KfdFlags = KfdFlags(KfdFlags::WRITABLE.0 | KfdFlags::EXECUTABLE.0);

/// A process with a compute address space on one GPU.
#[derive(Debug)]
pub struct Compute {
    process: ProcessId,
    client: ClientId,
}

/// A buffer of a compute client, with its place.
#[derive(Debug, Clone, Copy)]
pub struct KfdBuffer {
    /// KFD's name for it.
    pub handle: KfdHandle,
    /// Its address.
    pub va: Va,
    /// Its bytes.
    pub size: Size,
}

impl Vm {
    /// Starts a process that takes requests.
    pub fn process(&mut self) -> Result<ProcessId> {
        self.call(ProcessStart {})
    }

    /// Lets a process do what is asked; a failure is an error.
    pub fn within<C: Call>(&mut self, process: ProcessId, call: C) -> Result<C::Reply> {
        let request: Request = call.into();
        let name = request.name();
        self.attempt_request::<C>(process, request)?
            .map_err(|failure| {
                anyhow!(failure).context(format!("process {} failed at {name}", process.0))
            })
    }

    /// The same, and hands back the failure to be looked at.
    pub fn attempt_within<C: Call>(
        &mut self,
        process: ProcessId,
        call: C,
    ) -> Result<Result<C::Reply, Failure>> {
        self.attempt_request::<C>(process, call.into())
    }

    fn attempt_request<C: Call>(
        &mut self,
        process: ProcessId,
        request: Request,
    ) -> Result<Result<C::Reply, Failure>> {
        let reply = self.attempt(Within {
            process,
            request: Box::new(request),
        })?;
        Ok(match reply {
            Ok(value) => Ok(serde_json::from_value(value)?),
            Err(failure) => Err(failure),
        })
    }
}

impl Compute {
    /// Starts a process, opens the render node and makes its address space a compute one.
    pub fn open(vm: &mut Vm, node: &str) -> Result<Compute> {
        let process = vm.process()?;
        let client = vm.within(process, DrmOpen { node: node.into() })?;
        vm.within(process, KfdAcquire { client })?;
        Ok(Compute { process, client })
    }

    /// The process, to let it do more.
    #[must_use]
    pub fn process(&self) -> ProcessId {
        self.process
    }

    /// Its DRM client.
    #[must_use]
    pub fn client(&self) -> ClientId {
        self.client
    }

    /// A buffer that the GPU may read, write and execute; not mapped yet.
    pub fn alloc(&self, vm: &mut Vm, flags: KfdFlags, va: Va, size: Size) -> Result<KfdBuffer> {
        self.alloc_exactly(vm, flags | ACCESS, va, size)
    }

    /// A buffer with exactly these flags; not mapped yet.
    pub fn alloc_exactly(
        &self,
        vm: &mut Vm,
        flags: KfdFlags,
        va: Va,
        size: Size,
    ) -> Result<KfdBuffer> {
        let call = KfdAlloc {
            client: self.client,
            flags,
            va,
            size,
        };
        let handle = vm.within(self.process, call)?;
        Ok(KfdBuffer { handle, va, size })
    }

    /// Maps a buffer.
    pub fn map(&self, vm: &mut Vm, buffer: &KfdBuffer) -> Result<()> {
        let (client, handle) = (self.client, buffer.handle);
        vm.within(self.process, KfdMap { client, handle })
    }

    /// Unmaps a buffer.
    pub fn unmap(&self, vm: &mut Vm, buffer: &KfdBuffer) -> Result<()> {
        let (client, handle) = (self.client, buffer.handle);
        vm.within(self.process, KfdUnmap { client, handle })
    }

    /// Drops a buffer, which must be unmapped.
    pub fn free(&self, vm: &mut Vm, buffer: &KfdBuffer) -> Result<()> {
        let handle = buffer.handle;
        vm.within(self.process, KfdFree { handle })
    }

    /// Shares memory of the process with the GPU, or changes how.
    pub fn share(
        &self,
        vm: &mut Vm,
        va: Va,
        size: Size,
        flags: SvmFlags,
        prefetch: bool,
    ) -> Result<()> {
        let client = self.client;
        vm.within(
            self.process,
            SvmSet {
                client,
                va,
                size,
                flags,
                prefetch,
            },
        )
    }

    /// Ends the sharing and drops the memory.
    pub fn unshare(&self, vm: &mut Vm, va: Va) -> Result<()> {
        vm.within(self.process, SvmDrop { va })
    }

    /// The root of its page tables, as the emulated GPU `gpu` sees it when work runs.
    pub fn root(&self, vm: &mut Vm, gpu: usize) -> Result<PageDirectory> {
        let before = vm.gpu(gpu).submissions().len();
        let call = Submit {
            client: self.client,
            value: 0x600d_0000 | u32::try_from(before & 0xffff)?,
            domain: Domain::VRAM,
        };
        let value = call.value;
        let submitted = vm.within(self.process, call)?;
        vm.seen(gpu, before, value, &submitted)
    }

    /// Its whole address space.
    pub fn address_space(&self, vm: &mut Vm, gpu: usize) -> Result<AddressSpace> {
        let root = self.root(vm, gpu)?;
        Ok(vm.gpu(gpu).walk(root)?)
    }

    /// Ends the process; everything that it had is gone when this returns.
    pub fn close(self, vm: &mut Vm) -> Result<()> {
        let process = self.process;
        vm.call(ProcessEnd { process })
    }
}
