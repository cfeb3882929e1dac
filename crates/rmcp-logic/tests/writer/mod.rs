// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Writes small BTF files from the layout in the kernel's `include/uapi/linux/btf.h`, for the tests of the reader.

// Each test uses a part of it.
#![allow(dead_code)]

pub(crate) const INT: u32 = 1;
pub(crate) const PTR: u32 = 2;
pub(crate) const ARRAY: u32 = 3;
pub(crate) const STRUCT: u32 = 4;
pub(crate) const ENUM: u32 = 6;
pub(crate) const FWD: u32 = 7;
pub(crate) const TYPEDEF: u32 = 8;
pub(crate) const CONST: u32 = 10;
pub(crate) const FUNC: u32 = 12;
pub(crate) const FUNC_PROTO: u32 = 13;

/// Writes a BTF file; type numbers and string offsets start where `base` ends.
pub(crate) struct Writer {
    pub(crate) types: Vec<u8>,
    pub(crate) strings: Vec<u8>,
    pub(crate) next: u32,
    pub(crate) string_base: u32,
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self {
            types: Vec::new(),
            strings: vec![0],
            next: 1,
            string_base: 0,
        }
    }

    pub(crate) fn split_from(base: &Self) -> Self {
        Self {
            types: Vec::new(),
            strings: Vec::new(),
            next: base.next,
            string_base: base.string_base + u32::try_from(base.strings.len()).unwrap(),
        }
    }

    pub(crate) fn string(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let at = self.string_base + u32::try_from(self.strings.len()).unwrap();
        self.strings.extend(text.as_bytes());
        self.strings.push(0);
        at
    }

    pub(crate) fn add(&mut self, name: &str, kind: u32, vlen: u32, last: u32, tail: &[u32]) -> u32 {
        let name = self.string(name);
        for word in [name, kind << 24 | vlen, last].iter().chain(tail) {
            self.types.extend(word.to_le_bytes());
        }
        self.next += 1;
        self.next - 1
    }

    pub(crate) fn unsigned(&mut self, name: &str, bytes: u32) -> u32 {
        self.add(name, INT, 0, bytes, &[bytes * 8])
    }

    pub(crate) fn signed(&mut self, name: &str, bytes: u32) -> u32 {
        self.add(name, INT, 0, bytes, &[(1 << 24) | (bytes * 8)])
    }

    pub(crate) fn pointer(&mut self, to: u32) -> u32 {
        self.add("", PTR, 0, to, &[])
    }

    /// A struct with two members, so that there is something to step over.
    pub(crate) fn structure(&mut self, name: &str) -> u32 {
        self.add(name, STRUCT, 2, 16, &[0, 1, 0, 0, 1, 64])
    }

    /// A struct with these members: name, type and offset in bits.
    pub(crate) fn with_members(&mut self, name: &str, members: &[(&str, u32, u32)]) -> u32 {
        let tail: Vec<u32> = members
            .iter()
            .flat_map(|&(name, ty, bits)| [self.string(name), ty, bits])
            .collect();
        let count = u32::try_from(members.len()).unwrap();
        self.add(name, STRUCT, count, 4096, &tail)
    }

    pub(crate) fn boolean(&mut self) -> u32 {
        self.add("_Bool", INT, 0, 1, &[(4 << 24) | 8])
    }

    pub(crate) fn array(&mut self, of: u32, index: u32, count: u32) -> u32 {
        self.add("", ARRAY, 0, 0, &[of, index, count])
    }

    /// An enum with these names and numbers.
    pub(crate) fn enumeration(&mut self, name: &str, values: &[(&str, u32)]) -> u32 {
        let tail: Vec<u32> = values
            .iter()
            .flat_map(|&(name, value)| [self.string(name), value])
            .collect();
        let count = u32::try_from(values.len()).unwrap();
        self.add(name, ENUM, count, 4, &tail)
    }

    pub(crate) fn pointer_to_struct(&mut self, name: &str) -> u32 {
        let to = self.structure(name);
        self.pointer(to)
    }

    pub(crate) fn function(&mut self, name: &str, returns: u32, params: &[u32]) -> u32 {
        let tail: Vec<u32> = params.iter().flat_map(|&param| [0, param]).collect();
        let count = u32::try_from(params.len()).unwrap();
        let prototype = self.add("", FUNC_PROTO, count, returns, &tail);
        self.add(name, FUNC, 0, prototype, &[])
    }

    pub(crate) fn file(&self) -> Vec<u8> {
        let (types, strings) = (self.types.len(), self.strings.len());
        let mut file = vec![0x9f, 0xeb, 1, 0];
        for word in [24, 0, types, types, strings] {
            file.extend(u32::try_from(word).unwrap().to_le_bytes());
        }
        file.extend(&self.types);
        file.extend(&self.strings);
        file
    }
}
