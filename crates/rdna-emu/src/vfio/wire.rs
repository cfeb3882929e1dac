// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages of vfio-user: the 16-byte header, bodies as little-endian fields, file descriptors.
//!
//! The header is received on its own, and exactly: descriptors travel with its first byte, and a
//! longer read could pick up those of the next message.

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recv, recvmsg, sendmsg,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// Bytes of the header.
const HEADER: usize = 16;
/// The longest message that is accepted, and what is announced as the longest data transfer.
pub(super) const MAX_TRANSFER: usize = 1 << 20;
const MAX_MESSAGE: usize = MAX_TRANSFER + 4096;
/// Descriptors of a message.
pub(super) const MAX_FDS: usize = 8;

const TYPE_MASK: u32 = 0xf;
const TYPE_COMMAND: u32 = 0;
const TYPE_REPLY: u32 = 1;
const NO_REPLY: u32 = 1 << 4;
const ERROR: u32 = 1 << 5;

/// Commands, `enum vfio_user_command`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Version,
    DmaMap,
    DmaUnmap,
    GetInfo,
    GetRegionInfo,
    GetIrqInfo,
    SetIrqs,
    RegionRead,
    RegionWrite,
    Reset,
    RegionWriteMulti,
    Other(u16),
}

impl From<u16> for Command {
    fn from(number: u16) -> Self {
        match number {
            1 => Self::Version,
            2 => Self::DmaMap,
            3 => Self::DmaUnmap,
            4 => Self::GetInfo,
            5 => Self::GetRegionInfo,
            7 => Self::GetIrqInfo,
            8 => Self::SetIrqs,
            9 => Self::RegionRead,
            10 => Self::RegionWrite,
            13 => Self::Reset,
            15 => Self::RegionWriteMulti,
            other => Self::Other(other),
        }
    }
}

/// A message from the client.
#[derive(Debug)]
pub(super) struct Request {
    id: u16,
    number: u16,
    flags: u32,
    pub(super) body: Vec<u8>,
    pub(super) fds: Vec<OwnedFd>,
}

impl Request {
    pub(super) fn command(&self) -> Command {
        Command::from(self.number)
    }

    /// Not an answer to something that the server asked (it never asks).
    pub(super) fn is_command(&self) -> bool {
        self.flags & TYPE_MASK == TYPE_COMMAND
    }

    pub(super) fn wants_reply(&self) -> bool {
        self.flags & NO_REPLY == 0
    }

    fn field<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.body.get(at..at + N)?.try_into().ok()
    }

    /// The field at byte `at` of the body; an error when the body is too short.
    pub(super) fn u32(&self, at: usize) -> Result<u32, Refusal> {
        self.field(at)
            .map(u32::from_le_bytes)
            .ok_or(Refusal::INVALID)
    }

    /// As `u32`.
    pub(super) fn u64(&self, at: usize) -> Result<u64, Refusal> {
        self.field(at)
            .map(u64::from_le_bytes)
            .ok_or(Refusal::INVALID)
    }
}

/// An errno for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal(u32);

impl Refusal {
    pub(super) const INVALID: Self = Self(22);
    pub(super) const UNSUPPORTED: Self = Self(38);
}

impl From<io::Error> for Refusal {
    fn from(e: io::Error) -> Self {
        let errno = e.raw_os_error().and_then(|n| u32::try_from(n).ok());
        errno.map_or(Self::INVALID, Self)
    }
}

/// Receives one message; `None` when the client has gone.
pub(super) fn receive(stream: &UnixStream) -> io::Result<Option<Request>> {
    let mut header = [0; HEADER];
    let mut fds = Vec::new();
    let mut got = 0;
    while got < HEADER {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut part = [IoSliceMut::new(&mut header[got..])];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let n = match recvmsg(stream, &mut part, &mut ancillary, flags) {
            Ok(message) => message.bytes,
            Err(rustix::io::Errno::INTR) => continue,
            Err(rustix::io::Errno::CONNRESET) => 0,
            Err(e) => return Err(e.into()),
        };
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        match (n, got) {
            (0, 0) => return Ok(None),
            (0, _) => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ => got += n,
        }
    }
    let u16_at = |i: usize| u16::from_le_bytes([header[i], header[i + 1]]);
    let u32_at = |i: usize| u32::from(u16_at(i)) | u32::from(u16_at(i + 2)) << 16;
    let size = usize::try_from(u32_at(4)).unwrap_or(usize::MAX);
    if !(HEADER..=MAX_MESSAGE).contains(&size) {
        return Err(io::Error::other(format!(
            "a message of {size} bytes (command {}); expected {HEADER} to {MAX_MESSAGE}",
            u16_at(2)
        )));
    }
    let mut body = vec![0; size - HEADER];
    let mut got = 0;
    while got < body.len() {
        match recv(stream, &mut body[got..], RecvFlags::empty()) {
            Ok((_, 0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok((_, n)) => got += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(Some(Request {
        id: u16_at(0),
        number: u16_at(2),
        flags: u32_at(8),
        body,
        fds,
    }))
}

/// Answers `request` with a body, or with an error; `fd` goes along.
pub(super) fn reply(
    stream: &UnixStream,
    request: &Request,
    answer: Result<&[u8], Refusal>,
    fd: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let (body, flags, error) = match answer {
        Ok(body) => (body, TYPE_REPLY, 0),
        Err(Refusal(errno)) => (&[][..], TYPE_REPLY | ERROR, errno),
    };
    let size = u32::try_from(HEADER + body.len()).unwrap_or(u32::MAX);
    let mut message = Vec::with_capacity(HEADER + body.len());
    message.extend_from_slice(&request.id.to_le_bytes());
    message.extend_from_slice(&request.number.to_le_bytes());
    for word in [size, flags, error] {
        message.extend_from_slice(&word.to_le_bytes());
    }
    message.extend_from_slice(body);
    let fds = fd.map(|fd| [fd]);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if let Some(fds) = &fds {
        ancillary.push(SendAncillaryMessage::ScmRights(fds));
    }
    let mut sent = 0;
    while sent < message.len() {
        let part = [IoSlice::new(&message[sent..])];
        match sendmsg(stream.as_fd(), &part, &mut ancillary, SendFlags::NOSIGNAL) {
            Ok(n) => {
                sent += n;
                ancillary.clear();
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}
