// SPDX-License-Identifier: MIT OR Apache-2.0
//! The transport against a client made of plain system calls, through the public interface.

use crate::{Chip, Gpu, Options};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use tempfile::TempDir;

struct Client {
    stream: UnixStream,
    gpu: Gpu,
    _dir: TempDir,
}

/// Error number, body, descriptors.
type Reply = (u32, Vec<u8>, Vec<OwnedFd>);

impl Client {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gpu.sock");
        let gpu = Gpu::start(Options::new(Chip::Navi10, &path)).unwrap();
        let stream = UnixStream::connect(path).unwrap();
        Self {
            stream,
            gpu,
            _dir: dir,
        }
    }

    fn send(&mut self, command: u16, flags: u32, body: &[u8], fd: Option<BorrowedFd<'_>>) {
        let mut message = Vec::new();
        message.extend_from_slice(&7_u16.to_le_bytes());
        message.extend_from_slice(&command.to_le_bytes());
        let size = u32::try_from(16 + body.len()).unwrap();
        for word in [size, flags, 0] {
            message.extend_from_slice(&word.to_le_bytes());
        }
        message.extend_from_slice(body);
        let fds = fd.map(|fd| [fd]);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if let Some(fds) = &fds {
            assert!(ancillary.push(SendAncillaryMessage::ScmRights(fds)));
        }
        let part = [IoSlice::new(&message)];
        let sent = sendmsg(&self.stream, &part, &mut ancillary, SendFlags::empty());
        assert_eq!(sent, Ok(message.len()));
    }

    fn receive(&mut self) -> Reply {
        let mut header = [0; 16];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut part = [IoSliceMut::new(&mut header)];
        let flags = RecvFlags::empty();
        let got = recvmsg(&self.stream, &mut part, &mut ancillary, flags).unwrap();
        assert_eq!(got.bytes, 16);
        let fds = ancillary
            .drain()
            .flat_map(|m| match m {
                RecvAncillaryMessage::ScmRights(fds) => fds.collect(),
                _ => Vec::new(),
            })
            .collect();
        assert_eq!(header[0], 7, "the message's own number");
        let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap());
        let mut body = vec![0; usize::try_from(word(4)).unwrap() - 16];
        self.stream.read_exact(&mut body).unwrap();
        (word(12), body, fds)
    }

    fn call(&mut self, command: u16, body: &[u8]) -> Reply {
        self.send(command, 0, body, None);
        self.receive()
    }
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

/// A region access: offset, region, count, data.
fn access(offset: u32, region: u32, data: &[u8], count: u32) -> Vec<u8> {
    let mut body = words(&[offset, 0, region, count]);
    body.extend_from_slice(data);
    body
}

#[test]
fn the_vram_region_comes_with_its_file_and_others_without() {
    let mut c = Client::new();
    let (error, body, fds) = c.call(5, &words(&[32, 0, 0, 0, 0, 0, 0, 0]));
    assert_eq!((error, fds.len()), (0, 1));
    assert_eq!(body[4..8], [7, 0, 0, 0]);
    assert_eq!(body[16..24], (256_u64 << 20).to_le_bytes());
    let stat = rustix::fs::fstat(&fds[0]).unwrap();
    assert_eq!(stat.st_size, 256 << 20);
    // What the client puts into the file is what the device reads.
    rustix::io::pwrite(&fds[0], b"seen", 0x1000).unwrap();
    let (_, body, _) = c.call(9, &access(0x1000, 0, &[], 4));
    assert_eq!(body[16..], *b"seen");
    let (_, body, fds) = c.call(5, &words(&[32, 0, 5, 0, 0, 0, 0, 0]));
    assert_eq!((body[4], fds.len()), (3, 0));
}

#[test]
fn writes_without_reply_are_in_order_with_reads() {
    let mut c = Client::new();
    // SCRATCH_REG0 is dword 0xc040.
    let offset = 0xc040 * 4;
    for value in 1..100_u32 {
        c.send(
            10,
            1 << 4,
            &access(offset, 5, &value.to_le_bytes(), 4),
            None,
        );
    }
    let (error, body, _) = c.call(9, &access(offset, 5, &[], 4));
    assert_eq!((error, &body[16..]), (0, &[99, 0, 0, 0][..]));
}

#[test]
fn several_writes_in_one_message_all_arrive() {
    let mut c = Client::new();
    let mut body = 2_u64.to_le_bytes().to_vec();
    for (offset, value) in [(0xc040 * 4, 5_u64), (0xc041 * 4, 6)] {
        body.extend(access(offset, 5, &value.to_le_bytes(), 4));
    }
    assert_eq!(c.call(15, &body).0, 0);
    let (_, body, _) = c.call(9, &access(0xc040 * 4, 5, &[], 8));
    assert_eq!(body[16..], [5, 0, 0, 0, 6, 0, 0, 0]);
}

#[test]
fn guest_memory_with_and_without_file_is_accepted_and_closed_files_do_not_matter() {
    let mut c = Client::new();
    let map = |iova: u32| words(&[32, 3, 0, 0, iova, 0, 0x1000, 0]);
    c.send(2, 0, &map(0x1000), None);
    assert_eq!(c.receive().0, 0);
    let file = tempfile::tempfile().unwrap();
    file.set_len(0x1000).unwrap();
    c.send(2, 0, &map(0x2000), Some(file.as_fd()));
    drop(file);
    assert_eq!(c.receive().0, 0);
    assert_eq!(c.call(3, &words(&[24, 0, 0x2000, 0, 0x1000, 0])).0, 0);
}

#[test]
fn unknown_commands_and_short_bodies_are_refused_and_the_stream_stays_in_step() {
    let mut c = Client::new();
    assert_eq!(c.call(99, &[1, 2, 3]).0, 38);
    assert_eq!(c.call(9, &[0; 3]).0, 22);
    assert_eq!(c.call(9, &access(0, 5, &[], u32::MAX)).0, 22);
    let mut huge = u64::MAX.to_le_bytes().to_vec();
    huge.extend([0; 24]);
    assert_eq!(c.call(15, &huge).0, 22);
    assert_eq!(c.call(13, &[]).0, 0);
    assert_eq!(c.gpu.failure(), None);
}

#[test]
fn a_client_that_leaves_is_no_failure() {
    let c = Client::new();
    c.stream.shutdown(std::net::Shutdown::Both).unwrap();
    c.gpu.wait().unwrap();
    assert!(c.gpu.disconnected());
    assert_eq!(c.gpu.failure(), None);
}

#[test]
fn a_broken_message_is_a_failure_with_its_reason() {
    let mut c = Client::new();
    // A size below the header's.
    c.stream.write_all(&words(&[0x0009_0007, 3, 0, 0])).unwrap();
    assert!(c.gpu.wait().is_err());
    let why = c.gpu.failure().unwrap();
    assert!(why.contains("3 bytes") && !why.contains('\n'), "{why}");
}

#[test]
fn a_device_without_a_client_stops_at_once_and_leaves_no_socket() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gpu.sock");
    for _ in 0..2 {
        let gpu = Gpu::start(Options::new(Chip::Navi10, &path)).unwrap();
        assert!(path.exists());
        gpu.stop();
        assert!(!path.exists());
    }
    std::fs::write(&path, "not a socket").unwrap();
    let error = Gpu::start(Options::new(Chip::Navi10, &path)).unwrap_err();
    assert!(error.to_string().contains("no socket"), "{error}");
}
