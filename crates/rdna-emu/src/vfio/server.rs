// SPDX-License-Identifier: MIT OR Apache-2.0
//! Serving one client: waits for messages, hands them to the device, lets its engines work between
//! them, and ends when the client leaves or the owner says so.

use super::wire::{self, Command, MAX_FDS, MAX_TRANSFER, Refusal, Request};
use crate::blocks::Step;
use crate::device::{Device, region};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How long a blocked engine waits for the next look at what it waits for.
const RETRY_NS: i64 = 2_000_000;
/// How long the device must be quiet before the log is flushed.
const QUIET_NS: i64 = 100_000_000;

/// `vfio_device_info.flags`: RESET, PCI.
const DEVICE_FLAGS: u32 = 1 << 0 | 1 << 1;
const IRQS: u32 = 5;
const MSI: u32 = 1;
/// `vfio_region_info.flags`: READ, WRITE, MMAP.
const READ: u32 = 1 << 0;
const WRITE: u32 = 1 << 1;
const MMAP: u32 = 1 << 2;
/// `vfio_irq_info.flags`: EVENTFD, MASKABLE, AUTOMASKED, NORESIZE.
const EVENTFD: u32 = 1 << 0;
const MASKABLE: u32 = 1 << 1;
const AUTOMASKED: u32 = 1 << 2;
const NORESIZE: u32 = 1 << 3;
/// `vfio_irq_set.flags`.
const DATA_EVENTFD: u32 = 1 << 2;
const ACTION_TRIGGER: u32 = 1 << 5;
/// `vfio_iommu_type1_dma_unmap.flags`.
const UNMAP_ALL: u32 = 1 << 1;

/// Why serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The client closed its connection.
    Disconnected,
    /// The owner asked for it.
    Stopped,
}

/// What the server needs of its owner.
#[derive(Debug)]
pub(crate) struct Server<'a> {
    /// Readable when the server shall end.
    pub(crate) stop: BorrowedFd<'a>,
    pub(crate) device: &'a Mutex<Device>,
}

/// A body to answer with; `true`: VRAM's file goes along.
type Answer = Result<(Vec<u8>, bool), Refusal>;

impl Server<'_> {
    /// The device, even if a thread panicked while it held it: its owner reports that.
    fn device(&self) -> MutexGuard<'_, Device> {
        self.device.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `fd` is readable; `None` after `timeout` nanoseconds.
    fn wait(&self, fd: BorrowedFd<'_>, timeout: Option<i64>) -> io::Result<Option<Ready>> {
        let timeout = timeout.map(|ns| Timespec {
            tv_sec: 0,
            tv_nsec: ns,
        });
        let mut fds = [
            PollFd::from_borrowed_fd(self.stop, PollFlags::IN),
            PollFd::from_borrowed_fd(fd, PollFlags::IN),
        ];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(0) | Err(rustix::io::Errno::INTR) => Ok(None),
            Ok(_) if !fds[0].revents().is_empty() => Ok(Some(Ready::Stop)),
            Ok(_) => Ok(Some(Ready::Message)),
            Err(e) => Err(e.into()),
        }
    }

    /// Accepts one client and serves it to its end.
    pub(crate) fn run(&self, listener: &UnixListener) -> io::Result<Ended> {
        loop {
            match self.wait(listener.as_fd(), None)? {
                Some(Ready::Stop) => return Ok(Ended::Stopped),
                Some(Ready::Message) => break,
                None => {}
            }
        }
        let (stream, _) = listener.accept()?;
        self.device().bus.journal.log(format_args!("CONNECTED"));
        let ended = self.serve(&stream);
        let mut device = self.device();
        device.bus.journal.log(format_args!("ENDED {ended:?}"));
        device.bus.journal.flush();
        ended
    }

    /// Serves one client to its end.
    pub(crate) fn serve(&self, stream: &UnixStream) -> io::Result<Ended> {
        let mut timeout = None;
        loop {
            match self.wait(stream.as_fd(), timeout)? {
                Some(Ready::Stop) => return Ok(Ended::Stopped),
                Some(Ready::Message) => {
                    let Some(request) = wire::receive(stream)? else {
                        return Ok(Ended::Disconnected);
                    };
                    if request.is_command() {
                        timeout = self.handle(stream, request)?;
                    }
                }
                None => timeout = self.work(&mut self.device(), true),
            }
        }
    }

    /// Lets the engines work; how long to wait for a message afterwards.
    fn work(&self, device: &mut Device, quiet: bool) -> Option<i64> {
        match device.run() {
            Step::Worked => Some(0),
            Step::Blocked => Some(RETRY_NS),
            Step::Idle if device.bus.journal.dirty() && !quiet => Some(QUIET_NS),
            Step::Idle => {
                if device.bus.journal.dirty() {
                    device.bus.journal.flush();
                }
                None
            }
        }
    }

    fn handle(&self, stream: &UnixStream, mut request: Request) -> io::Result<Option<i64>> {
        let mut device = self.device();
        let answer = self.answer(&mut device, &mut request);
        if let Err(refusal) = &answer {
            let command = request.command();
            device
                .bus
                .journal
                .log(format_args!("REFUSED {command:?}: {refusal:?}"));
        }
        if request.wants_reply() {
            match &answer {
                Ok((body, with_vram)) => {
                    let fd = with_vram.then(|| device.bus.memory.vram_file());
                    wire::reply(stream, &request, Ok(body), fd)?;
                }
                Err(refusal) => wire::reply(stream, &request, Err(*refusal), None)?,
            }
        }
        Ok(self.work(&mut device, false))
    }

    fn answer(&self, device: &mut Device, request: &mut Request) -> Answer {
        let plain = |body| Ok((body, false));
        match request.command() {
            Command::Version => plain(version()),
            Command::DmaMap => {
                let (offset, iova, size) = (request.u64(8)?, request.u64(16)?, request.u64(24)?);
                // Ranges without a file (ROMs) cannot be reached by DMA.
                if let Some(file) = request.fds.pop() {
                    device.bus.memory.map_dma(file, offset, iova, size)?;
                }
                plain(Vec::new())
            }
            Command::DmaUnmap => {
                let (flags, iova, size) = (request.u32(4)?, request.u64(8)?, request.u64(16)?);
                if flags & UNMAP_ALL != 0 {
                    device.bus.memory.unmap_all();
                } else {
                    device.bus.memory.unmap_dma(iova, size);
                }
                plain(request.body[..24].to_vec())
            }
            Command::GetInfo => plain(words(&[16, DEVICE_FLAGS, region::COUNT, IRQS])),
            Command::GetRegionInfo => region_info(device, request.u32(8)?),
            Command::GetIrqInfo => plain(irq_info(request.u32(8)?)),
            Command::SetIrqs => set_irqs(device, request).map(|()| (Vec::new(), false)),
            Command::RegionRead => {
                let (offset, region, count) = access(request, 0)?;
                let mut body = request.body[..16].to_vec();
                body.resize(16 + count, 0);
                device.region_read(region, offset, &mut body[16..]);
                plain(body)
            }
            Command::RegionWrite => {
                let (offset, region, count) = access(request, 0)?;
                let data = request.body.get(16..16 + count).ok_or(Refusal::INVALID)?;
                device.region_write(region, offset, data);
                plain(request.body[..16].to_vec())
            }
            Command::RegionWriteMulti => {
                write_multi(device, request)?;
                plain(request.body[..8].to_vec())
            }
            Command::Reset => {
                device.reset();
                plain(Vec::new())
            }
            Command::Other(_) => Err(Refusal::UNSUPPORTED),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Ready {
    Stop,
    Message,
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

/// Version 0.0 and what the server can do, as JSON that ends with a zero byte.
fn version() -> Vec<u8> {
    let mut json = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        json,
        "{{\"capabilities\":{{\"max_msg_fds\":{MAX_FDS},\"max_data_xfer_size\":{MAX_TRANSFER},\
         \"write_multiple\":true}}}}"
    );
    let mut body = vec![0; 4];
    body.extend_from_slice(json.as_bytes());
    body.push(0);
    body
}

/// Offset, region and count of an access described at byte `at`.
fn access(request: &Request, at: usize) -> Result<(u64, u32, usize), Refusal> {
    let count = usize::try_from(request.u32(at + 12)?).unwrap_or(usize::MAX);
    if count > MAX_TRANSFER {
        return Err(Refusal::INVALID);
    }
    Ok((request.u64(at)?, request.u32(at + 8)?, count))
}

/// Several small writes: their number, then 24 bytes each: offset, region, count, 8 bytes of data.
fn write_multi(device: &mut Device, request: &Request) -> Result<(), Refusal> {
    let count = usize::try_from(request.u64(0)?).unwrap_or(usize::MAX);
    if count > request.body.len() / 24 {
        return Err(Refusal::INVALID);
    }
    for i in 0..count {
        let at = 8 + 24 * i;
        let (offset, region, bytes) = access(request, at)?;
        let data = request.body.get(at + 16..at + 16 + bytes.min(8));
        device.region_write(region, offset, data.ok_or(Refusal::INVALID)?);
        device.run();
    }
    Ok(())
}

fn region_info(device: &Device, index: u32) -> Answer {
    let size = device.region_size(index);
    let flags = match index {
        _ if size == 0 => 0,
        region::VRAM => READ | WRITE | MMAP,
        region::ROM => READ,
        _ => READ | WRITE,
    };
    let mut body = words(&[32, flags, index, 0]);
    body.extend_from_slice(&size.to_le_bytes());
    body.extend_from_slice(&0_u64.to_le_bytes());
    Ok((body, index == region::VRAM))
}

/// INTx (which is never raised, but QEMU asks for it) and MSI have one vector each.
fn irq_info(index: u32) -> Vec<u8> {
    let (flags, count) = match index {
        0 => (EVENTFD | MASKABLE | AUTOMASKED, 1),
        MSI => (EVENTFD | NORESIZE, 1),
        _ => (0, 0),
    };
    words(&[16, flags, index, count])
}

fn set_irqs(device: &mut Device, request: &mut Request) -> Result<(), Refusal> {
    let (flags, index, count) = (request.u32(4)?, request.u32(8)?, request.u32(16)?);
    if index >= IRQS {
        return Err(Refusal::INVALID);
    }
    if index == MSI && flags & ACTION_TRIGGER != 0 {
        let fd: Option<OwnedFd> = request.fds.pop();
        let on = fd.is_some() && flags & DATA_EVENTFD != 0 && count > 0;
        device
            .bus
            .journal
            .log(format_args!("MSI {}", if on { "on" } else { "off" }));
        device.bus.msi = fd.filter(|_| on);
    }
    Ok(())
}
