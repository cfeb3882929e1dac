// SPDX-License-Identifier: MIT OR Apache-2.0
//! One DRM client: an open render node, its buffers, and small SDMA programs to prove that a mapping carries data.

use guest::proto::{DrmFacts, GemVa, Handle, Size, Submitted, UsageBytes, Va, VaOperation};
use guest::uapi::{
    BoListEntry, BoListIn, CHUNK_ID_BO_HANDLES, CHUNK_ID_IB, CTX_OP_ALLOC, CsArgs, CsChunk,
    CsChunkIb, CtxArgs, DeviceInfo, Domain, DrmVersion, GemCloseArgs, GemCreateArgs, GemFlags,
    GemMmapArgs, GemUserptrArgs, GemVaArgs, HW_IP_COMPUTE, HW_IP_DMA, HW_IP_GFX, INFO_DEV_INFO,
    INFO_GTT_USAGE, INFO_VRAM_USAGE, InfoArgs, SyncobjCreateArgs, SyncobjDestroyArgs,
    SyncobjWaitArgs, USERPTR_FLAGS, VmFlags, WaitCsArgs,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};

use super::calls;
use super::memory::{Memory, PAGE};
use crate::fail::{Result, Tried, failure};

/// Where the indirect buffer is mapped: above everything that the host maps.
const IB_VA: Va = Va(0x7f_0000_0000);
/// Where the targets of SDMA writes are mapped, one per domain.
const TARGET_VA: Va = Va(0x7f_0100_0000);
/// Where nothing is ever mapped.
const NOTHING_VA: Va = Va(0x7e_ffff_f000);

/// Dwords of the indirect buffer.
pub(super) const PROGRAM: usize = PAGE / size_of::<u32>();
/// PACKET3_NOP of one dword in `nvd.h`.
const NOP: u32 = 0xffff_1000;

/// An open render node.
pub(crate) struct Client {
    node: File,
    submitter: Option<Submitter>,
    /// Memory behind userptr buffers; it must outlive them.
    memory: BTreeMap<Handle, Memory>,
    /// Buffers that do not belong to the address space for good: each submission names them, as Mesa and ROCm do.
    listed: BTreeSet<Handle>,
}

/// What a submission needs, made once.
struct Submitter {
    context: u32,
    program: Memory,
    vram: Memory,
    gtt: Memory,
}

impl Client {
    pub(crate) fn open(node: &str) -> Result<Self> {
        let node = OpenOptions::new()
            .read(true)
            .write(true)
            .open(node)
            .tried(|| format!("open {node}"))?;
        Ok(Self {
            node,
            submitter: None,
            memory: BTreeMap::new(),
            listed: BTreeSet::new(),
        })
    }

    /// The open node.
    pub(crate) fn node(&self) -> &File {
        &self.node
    }

    /// The node's minor number, by which KFD knows the GPU.
    pub(crate) fn minor(&self) -> Result<u32> {
        let stat = rustix::fs::fstat(&self.node).tried(|| "fstat of a render node".into())?;
        Ok(rustix::fs::minor(stat.st_rdev))
    }

    pub(crate) fn facts(&self) -> Result<DrmFacts> {
        let mut name = [0_u8; 32];
        let mut version = DrmVersion {
            name: address(&mut name),
            name_len: name.len() as u64,
            ..DrmVersion::default()
        };
        calls::version(&self.node, &mut version)?;
        let length = usize::try_from(version.name_len)
            .unwrap_or(name.len())
            .min(name.len());
        let mut device = DeviceInfo::default();
        self.info(INFO_DEV_INFO, &mut device)?;
        Ok(DrmFacts {
            driver: String::from_utf8_lossy(&name[..length]).into_owned(),
            version: (version.major, version.minor, version.patch),
            device_id: device.device_id,
            family: device.family,
            va: (Va(device.va_first), Va(device.va_max)),
            pte_fragment_size: device.pte_fragment_size,
        })
    }

    pub(crate) fn usage(&self) -> Result<UsageBytes> {
        let (mut vram, mut gtt) = (0_u64, 0_u64);
        self.info(INFO_VRAM_USAGE, &mut vram)?;
        self.info(INFO_GTT_USAGE, &mut gtt)?;
        Ok(UsageBytes {
            vram: Size(vram),
            gtt: Size(gtt),
        })
    }

    fn info<T: Copy>(&self, query: u32, into: &mut T) -> Result<()> {
        let size =
            u32::try_from(size_of::<T>()).map_err(|_| failure("an INFO reply of over 4 GiB"))?;
        calls::info(
            &self.node,
            &mut InfoArgs {
                pointer: address(into),
                size,
                query,
                ..InfoArgs::default()
            },
        )
    }

    pub(crate) fn create(
        &mut self,
        size: Size,
        alignment: Size,
        domain: Domain,
        flags: GemFlags,
    ) -> Result<Handle> {
        let mut args = GemCreateArgs {
            size_or_handle: size.0,
            alignment: alignment.0,
            domains: u64::from(domain.0),
            flags: flags.0,
        };
        calls::gem_create(&self.node, &mut args)?;
        // The reply's handle is the first of two words.
        let handle = Handle((args.size_or_handle & u64::from(u32::MAX)) as u32);
        if !flags.has(GemFlags::VM_ALWAYS_VALID) {
            self.listed.insert(handle);
        }
        Ok(handle)
    }

    pub(crate) fn userptr(&mut self, size: Size) -> Result<Handle> {
        let memory = Memory::anonymous(size)?;
        let mut args = GemUserptrArgs {
            addr: memory.address(),
            size: size.0,
            flags: USERPTR_FLAGS,
            handle: 0,
        };
        calls::gem_userptr(&self.node, &mut args)?;
        self.memory.insert(Handle(args.handle), memory);
        self.listed.insert(Handle(args.handle));
        Ok(Handle(args.handle))
    }

    pub(crate) fn close_buffer(&mut self, handle: Handle) -> Result<()> {
        calls::gem_close(
            &self.node,
            &mut GemCloseArgs {
                handle: handle.0,
                pad: 0,
            },
        )?;
        self.memory.remove(&handle);
        self.listed.remove(&handle);
        Ok(())
    }

    pub(crate) fn va(&self, request: &GemVa) -> Result<()> {
        let mut args = GemVaArgs {
            handle: request.handle.0,
            operation: match request.operation {
                VaOperation::Map => 1,
                VaOperation::Unmap => 2,
                VaOperation::Clear => 3,
                VaOperation::Replace => 4,
            },
            flags: request.flags.0,
            va: request.va.0,
            offset: request.offset.0,
            size: request.size.0,
            ..GemVaArgs::default()
        };
        calls::gem_va(&self.node, &mut args)
    }

    /// Waits until every update of the tables is done. GEM_VA hands out the fence of the last one; what it does here
    /// changes nothing: it clears a page in which nothing is ever mapped.
    pub(crate) fn settle(&self) -> Result<()> {
        let mut object = SyncobjCreateArgs::default();
        calls::syncobj_create(&self.node, &mut object)?;
        let mut clear = GemVaArgs {
            operation: 3,
            va: NOTHING_VA.0,
            size: PAGE as u64,
            timeline_syncobj_out: object.handle,
            ..GemVaArgs::default()
        };
        let mut handle = object.handle;
        let mut wait = SyncobjWaitArgs {
            handles: address(&mut handle),
            // As for submissions.
            timeout: i64::MAX,
            count: 1,
            ..SyncobjWaitArgs::default()
        };
        let result = calls::gem_va(&self.node, &mut clear)
            .and_then(|()| calls::syncobj_wait(&self.node, &mut wait));
        let mut object = SyncobjDestroyArgs {
            handle: object.handle,
            pad: 0,
        };
        calls::syncobj_destroy(&self.node, &mut object)?;
        result
    }

    /// Lets SDMA write `value` into a buffer in `domain` and reads it back.
    pub(crate) fn submit(&mut self, value: u32, domain: Domain) -> Result<Submitted> {
        let submitter = self.submitter()?;
        let (target, va) = match domain {
            Domain::VRAM => (&submitter.vram, TARGET_VA),
            Domain::GTT => (&submitter.gtt, Va(TARGET_VA.0 + PAGE as u64)),
            other => {
                return Err(failure(format!(
                    "cannot submit into domain {:#x}, only VRAM or GTT",
                    other.0
                )));
            }
        };
        target.write(0, !value);
        // SDMA WRITE linear: packet 2, address, dwords - 1, data; then NOPs up to a multiple of 8 dwords
        // (navi10_sdma_pkt_open.h).
        let program = [
            2,
            (va.0 & 0xffff_ffff) as u32,
            (va.0 >> 32) as u32,
            0,
            value,
            0,
            0,
            0,
        ];
        self.run(&program)?;
        let submitter = self.submitter()?;
        let target = match domain {
            Domain::VRAM => &submitter.vram,
            _ => &submitter.gtt,
        };
        Ok(Submitted {
            read: target.read(0),
            ib: IB_VA,
            target: va,
        })
    }

    /// What a submission needs.
    fn submitter(&mut self) -> Result<&Submitter> {
        if self.submitter.is_none() {
            self.submitter = Some(Submitter::new(self)?);
        }
        self.submitter
            .as_ref()
            .ok_or_else(|| failure("no submitter"))
    }

    /// Lets SDMA execute a program of at most [`PROGRAM`] dwords and waits until it is done.
    pub(super) fn run(&mut self, program: &[u32]) -> Result<()> {
        self.run_on(HW_IP_DMA, program)
    }

    /// Lets the graphics ring skip eight dwords.
    pub(crate) fn gfx_nothing(&mut self) -> Result<()> {
        self.run_on(HW_IP_GFX, &[NOP; 8])
    }

    /// Lets a compute ring skip eight dwords.
    pub(crate) fn compute_nothing(&mut self) -> Result<()> {
        self.run_on(HW_IP_COMPUTE, &[NOP; 8])
    }

    fn run_on(&mut self, engine: u32, program: &[u32]) -> Result<()> {
        let mut buffers: Vec<BoListEntry> = self
            .listed
            .iter()
            .map(|handle| BoListEntry {
                handle: handle.0,
                priority: 0,
            })
            .collect();
        let submitter = self.submitter()?;
        for (index, dword) in program.iter().enumerate() {
            submitter.program.write(index, *dword);
        }
        let context = submitter.context;
        let mut ib = CsChunkIb {
            va: IB_VA.0,
            bytes: size_of_val(program) as u32,
            ip_type: engine,
            ..CsChunkIb::default()
        };
        let mut list = BoListIn {
            operation: u32::MAX,
            list_handle: u32::MAX,
            number: buffers.len() as u32,
            info_size: size_of::<BoListEntry>() as u32,
            info: buffers.as_mut_ptr().expose_provenance() as u64,
        };
        let mut chunks = vec![CsChunk {
            id: CHUNK_ID_IB,
            length_dw: (size_of::<CsChunkIb>() / 4) as u32,
            data: address(&mut ib),
        }];
        if !buffers.is_empty() {
            chunks.push(CsChunk {
                id: CHUNK_ID_BO_HANDLES,
                length_dw: (size_of::<BoListIn>() / 4) as u32,
                data: address(&mut list),
            });
        }
        let mut pointers: Vec<u64> = chunks.iter_mut().map(address).collect();
        let mut cs = CsArgs {
            ctx_and_list_or_fence: u64::from(context),
            num_chunks: pointers.len() as u32,
            flags: 0,
            chunks: pointers.as_mut_ptr().expose_provenance() as u64,
        };
        calls::cs(&self.node, &mut cs)?;
        let mut wait = WaitCsArgs {
            fence_or_status: cs.ctx_and_list_or_fence,
            // No limit of our own: amdgpu's lockup timeout ends a hung ring, and the host watches the clock.
            timeout: i64::MAX as u64,
            ip_type: engine,
            ctx_id: context,
            ..WaitCsArgs::default()
        };
        calls::wait_cs(&self.node, &mut wait)?;
        if wait.fence_or_status != 0 {
            return Err(failure("WAIT_CS came back before the submission was done"));
        }
        Ok(())
    }

    /// A buffer's bytes, as this process sees them; `used` looks at them while they are there.
    pub(super) fn with_bytes<T>(
        &self,
        handle: Handle,
        size: Size,
        used: impl FnOnce(&Memory) -> T,
    ) -> Result<T> {
        if let Some(memory) = self.memory.get(&handle) {
            return Ok(used(memory));
        }
        self.mapped(handle, size).map(|memory| used(&memory))
    }

    fn mapped(&self, handle: Handle, size: Size) -> Result<Memory> {
        let mut offset = GemMmapArgs {
            handle_or_offset: u64::from(handle.0),
        };
        calls::gem_mmap(&self.node, &mut offset)?;
        Memory::device(&self.node, offset.handle_or_offset, size)
    }

    /// A page in `domain`, mapped at `va` for the GPU and into this process.
    fn page(&mut self, domain: Domain, va: Va) -> Result<Memory> {
        let size = Size(PAGE as u64);
        let flags = GemFlags::VM_ALWAYS_VALID | GemFlags::CPU_ACCESS_REQUIRED;
        let handle = self.create(size, Size(0), domain, flags)?;
        let mut args = GemVaArgs {
            handle: handle.0,
            operation: 1,
            flags: VmFlags::RWX.0,
            va: va.0,
            size: size.0,
            ..GemVaArgs::default()
        };
        calls::gem_va(&self.node, &mut args)?;
        self.mapped(handle, size)
    }
}

impl Submitter {
    fn new(client: &mut Client) -> Result<Self> {
        let mut context = CtxArgs {
            op_or_id: CTX_OP_ALLOC,
            ..CtxArgs::default()
        };
        calls::ctx(&client.node, &mut context)?;
        Ok(Self {
            context: context.op_or_id,
            program: client.page(Domain::GTT, IB_VA)?,
            vram: client.page(Domain::VRAM, TARGET_VA)?,
            gtt: client.page(Domain::GTT, Va(TARGET_VA.0 + PAGE as u64))?,
        })
    }
}

/// The address of a value that a system call is going to read or write.
fn address<T>(value: &mut T) -> u64 {
    std::ptr::from_mut(value).expose_provenance() as u64
}
