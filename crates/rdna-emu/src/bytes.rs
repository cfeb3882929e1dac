// SPDX-License-Identifier: MIT OR Apache-2.0
//! Building little-endian tables byte by byte: used for the discovery table, the VBIOS and PCI
//! configuration space.

/// A block of bytes that fields are put into. Fields past its end are a mistake of this crate and
/// are left out; the tests of the tables would show it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl Bytes {
    /// `len` zeros.
    pub(crate) fn zeroed(len: usize) -> Self {
        Self(vec![0; len])
    }

    /// Puts `data` at `at`.
    pub(crate) fn put(&mut self, at: usize, data: &[u8]) {
        if let Some(place) = self.0.get_mut(at..at + data.len()) {
            place.copy_from_slice(data);
        }
    }

    pub(crate) fn put_u16(&mut self, at: usize, value: u16) {
        self.put(at, &value.to_le_bytes());
    }

    pub(crate) fn put_u32(&mut self, at: usize, value: u32) {
        self.put(at, &value.to_le_bytes());
    }

    /// Appends.
    pub(crate) fn push(&mut self, data: &[u8]) -> &mut Self {
        self.0.extend_from_slice(data);
        self
    }

    pub(crate) fn push_u16(&mut self, value: u16) -> &mut Self {
        self.push(&value.to_le_bytes())
    }

    pub(crate) fn push_u32(&mut self, value: u32) -> &mut Self {
        self.push(&value.to_le_bytes())
    }

    /// The sum of all bytes, in 16 bits.
    pub(crate) fn sum(&self) -> u16 {
        sum(&self.0)
    }
}

/// The sum of `bytes`, in 16 bits.
pub(crate) fn sum(bytes: &[u8]) -> u16 {
    bytes
        .iter()
        .fold(0, |sum: u16, b| sum.wrapping_add(u16::from(*b)))
}
