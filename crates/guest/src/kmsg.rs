// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's log, read record by record from `/dev/kmsg` and kept, so that the host can ask for any part of it.

use guest::proto::LogPart;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::OwnedFd;

use crate::fail::{Result, Tried, failure};

const KMSG: &str = "/dev/kmsg";

/// Every record since boot, as far as it was read.
pub(crate) struct Log {
    device: OwnedFd,
    /// Sequence number and text.
    records: Vec<(u64, String)>,
}

impl Log {
    pub(crate) fn open() -> Result<Self> {
        let device = rustix::fs::open(KMSG, OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty())
            .tried(|| format!("open {KMSG}"))?;
        Ok(Self {
            device,
            records: Vec::new(),
        })
    }

    /// Reads what is new, then returns everything from record `since` on.
    pub(crate) fn since(&mut self, since: u64) -> Result<LogPart> {
        let lost = self.catch_up()?;
        let from = self.records.partition_point(|(number, _)| *number < since);
        Ok(LogPart {
            lines: self.records[from..]
                .iter()
                .map(|(_, text)| text.clone())
                .collect(),
            next: self.records.last().map_or(0, |(number, _)| number + 1),
            lost,
        })
    }

    fn catch_up(&mut self) -> Result<u64> {
        // The kernel hands out one record per read and refuses a buffer that is too small for it.
        let mut buffer = [0_u8; 16 * 1024];
        let mut lost = 0;
        loop {
            match rustix::io::read(&self.device, &mut buffer) {
                Ok(length) => {
                    let (number, text) = parse(&buffer[..length])
                        .ok_or_else(|| failure(format!("{KMSG}: a record of an unknown form")))?;
                    if let Some((last, _)) = self.records.last() {
                        lost += number.saturating_sub(last + 1);
                    }
                    self.records.push((number, text));
                }
                // Records were overwritten; the next read continues with the oldest one left, and the gap is counted.
                Err(Errno::PIPE) => {}
                Err(Errno::AGAIN) => return Ok(lost),
                Err(errno) => return Err(errno).tried(|| format!("read {KMSG}")),
            }
        }
    }
}

/// `priority,sequence,microseconds,flags;text\n` and possibly ` KEY=value` lines, which are dropped.
fn parse(record: &[u8]) -> Option<(u64, String)> {
    let record = String::from_utf8_lossy(record);
    let (head, text) = record.split_once(';')?;
    let number = head.split(',').nth(1)?.parse().ok()?;
    Some((number, text.lines().next().unwrap_or_default().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_record_gives_its_number_and_its_first_line() {
        // The example of Documentation/ABI/testing/dev-kmsg.
        let record = b"6,416,1339070,-;NET: Registered protocol family 10\n SUBSYSTEM=net\n";
        assert_eq!(
            parse(record),
            Some((416, "NET: Registered protocol family 10".to_owned()))
        );
    }

    #[test]
    fn text_with_semicolons_stays_whole() {
        assert_eq!(
            parse(b"30,340,5690716,-;a; b;c\n"),
            Some((340, "a; b;c".to_owned()))
        );
    }

    #[test]
    fn noise_is_no_record() {
        assert_eq!(parse(b"hello"), None);
        assert_eq!(parse(b"6,x,1,-;hello\n"), None);
    }
}
