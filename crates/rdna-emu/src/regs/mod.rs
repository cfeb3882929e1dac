// SPDX-License-Identifier: MIT OR Apache-2.0
//! The register file: every register the chip has, by name, with its value and what happens when
//! it is touched.
//!
//! Words: a *register* is a dword address ([`Reg`]) that a table names. A register that no block
//! claims is plain storage: the driver programs it, nothing here depends on it. An address that no
//! table names is unknown. Blocks claim registers through [`Wiring`] when the device is built.

mod table;

use crate::chip::{Ip, Spec};
use std::collections::HashMap;
use std::fmt;
use thiserror::Error;

/// Dwords in the register BAR.
pub(crate) const DWORDS: usize = (512 << 10) / 4;

/// The dword address of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Reg(pub(crate) u32);

impl Reg {
    /// The register `n` dwords further on.
    pub(crate) const fn plus(self, n: u32) -> Self {
        Self(self.0.wrapping_add(n))
    }
}

impl fmt::Display for Reg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#07x}", self.0)
    }
}

/// What a block calls one of the registers it claimed.
pub(crate) type Token = u16;

/// Who hears about an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The memory controller, which every engine needs while it runs.
    Gmc,
    /// The block with this number.
    Block(u8),
}

/// What a read gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadRule {
    /// What was written last.
    Stored,
    /// Always the same.
    Fixed(u32),
    /// What was written last, with these bits set: status bits that are always up.
    Or(u32),
    /// The owner is asked.
    Ask,
}

#[derive(Debug)]
struct Cell {
    name: &'static str,
    ip: Ip,
    read: ReadRule,
    hook: Option<(Owner, Token)>,
}

/// No register: index 0 of `by_address`.
const NONE: u16 = 0;

/// All registers of a chip.
#[derive(Debug)]
pub(crate) struct RegisterFile {
    values: Vec<u32>,
    by_address: Vec<u16>,
    cells: Vec<Cell>,
    by_name: HashMap<&'static str, Reg>,
    reset: Vec<(Reg, u32)>,
    blocks: Vec<(u32, Ip, usize)>,
}

/// A register that a block needs and the chip's tables lack.
#[derive(Debug, Error)]
pub(crate) enum WiringError {
    #[error("the register {0} is in none of the chip's tables; add it with the regtable example")]
    NoSuchRegister(String),
    #[error("line {line:?} of the {ip:?} table: {problem}")]
    BadTable {
        ip: Ip,
        line: String,
        problem: &'static str,
    },
}

impl RegisterFile {
    /// The registers of `spec`, all zero and unclaimed.
    pub(crate) fn new(spec: &Spec) -> Result<Self, WiringError> {
        let mut file = Self {
            values: vec![0; DWORDS],
            by_address: vec![NONE; DWORDS],
            cells: Vec::new(),
            by_name: HashMap::new(),
            reset: Vec::new(),
            blocks: Vec::new(),
        };
        for table in spec.registers {
            let bases = spec.bases(table.ip).unwrap_or(&[]);
            for entry in table::parse(table.ip, table.text, bases) {
                let (name, reg) = entry?;
                file.add(table.ip, name, reg);
            }
        }
        for (alias, name) in spec.aliases {
            if let Some(reg) = file.find(name) {
                file.by_name.insert(alias, reg);
            }
        }
        for block in spec.ips {
            for (i, base) in block.bases.iter().enumerate() {
                if !file.blocks.iter().any(|(b, ..)| b == base) {
                    file.blocks.push((*base, block.ip, i));
                }
            }
        }
        file.blocks.sort_by_key(|(base, ..)| *base);
        Ok(file)
    }

    fn add(&mut self, ip: Ip, name: &'static str, reg: Reg) {
        self.by_name.entry(name).or_insert(reg);
        let Some(slot) = self.by_address.get_mut(reg.0 as usize) else {
            return;
        };
        if *slot == NONE {
            self.cells.push(Cell {
                name,
                ip,
                read: ReadRule::Stored,
                hook: None,
            });
            *slot = u16::try_from(self.cells.len()).unwrap_or(NONE);
        }
    }

    fn cell(&self, reg: Reg) -> Option<&Cell> {
        let index = *self.by_address.get(reg.0 as usize)?;
        self.cells.get(usize::from(index).checked_sub(1)?)
    }

    fn cell_mut(&mut self, reg: Reg) -> Option<&mut Cell> {
        let index = *self.by_address.get(reg.0 as usize)?;
        self.cells.get_mut(usize::from(index).checked_sub(1)?)
    }

    /// The register called `name`.
    pub(crate) fn find(&self, name: &str) -> Option<Reg> {
        self.by_name.get(name).copied()
    }

    /// The name of `reg`, or the block it seems to belong to and its offset there.
    pub(crate) fn describe(&self, reg: Reg) -> String {
        if let Some(cell) = self.cell(reg) {
            return format!("{:?}.{}", cell.ip, cell.name);
        }
        let below = self.blocks.partition_point(|(base, ..)| *base <= reg.0);
        match below.checked_sub(1).and_then(|i| self.blocks.get(i)) {
            Some((base, ip, index)) => {
                format!("{ip:?}[{index}]+{:#06x} (dword {reg})", reg.0 - base)
            }
            None => format!("dword {reg}"),
        }
    }

    /// Whether a table names it.
    pub(crate) fn knows(&self, reg: Reg) -> bool {
        self.cell(reg).is_some()
    }

    /// What is stored, without any rule.
    pub(crate) fn get(&self, reg: Reg) -> u32 {
        self.values.get(reg.0 as usize).copied().unwrap_or(0)
    }

    /// Two registers as one number.
    pub(crate) fn pair(&self, low: Reg, high: Reg) -> u64 {
        u64::from(self.get(low)) | u64::from(self.get(high)) << 32
    }

    /// Stores without telling anybody.
    pub(crate) fn set(&mut self, reg: Reg, value: u32) {
        if let Some(slot) = self.values.get_mut(reg.0 as usize) {
            *slot = value;
        }
    }

    /// What a read of `reg` gives as far as rules decide it; `Err` names who must be asked.
    pub(crate) fn read(&self, reg: Reg) -> Result<u32, (Owner, Token)> {
        let stored = self.get(reg);
        let Some(cell) = self.cell(reg) else {
            return Ok(stored);
        };
        match (cell.read, cell.hook) {
            (ReadRule::Fixed(value), _) => Ok(value),
            (ReadRule::Or(bits), _) => Ok(stored | bits),
            (ReadRule::Ask, Some(hook)) => Err(hook),
            (ReadRule::Stored | ReadRule::Ask, _) => Ok(stored),
        }
    }

    /// Who wants to hear of a write to `reg`.
    pub(crate) fn hook(&self, reg: Reg) -> Option<(Owner, Token)> {
        self.cell(reg).and_then(|c| c.hook)
    }

    /// Puts every register to its power-on value.
    pub(crate) fn reset(&mut self) {
        self.values.fill(0);
        for i in 0..self.reset.len() {
            let (reg, value) = self.reset[i];
            self.set(reg, value);
        }
    }
}

/// How a block claims its registers while the device is built.
#[derive(Debug)]
pub(crate) struct Wiring<'a> {
    regs: &'a mut RegisterFile,
    owner: Owner,
}

impl<'a> Wiring<'a> {
    /// Claims for `owner`.
    pub(crate) fn new(regs: &'a mut RegisterFile, owner: Owner) -> Self {
        Self { regs, owner }
    }

    /// The register called `name`; the block reads or writes it itself.
    pub(crate) fn reg(&self, name: &str) -> Result<Reg, WiringError> {
        self.regs
            .find(name)
            .ok_or_else(|| WiringError::NoSuchRegister(name.to_owned()))
    }

    fn edit(&mut self, name: &str, f: impl FnOnce(&mut Cell)) -> Result<Reg, WiringError> {
        let reg = self.reg(name)?;
        if let Some(cell) = self.regs.cell_mut(reg) {
            f(cell);
        }
        Ok(reg)
    }

    /// The block hears of every write to `name`, as `token`.
    pub(crate) fn on_write(&mut self, name: &str, token: Token) -> Result<Reg, WiringError> {
        let owner = self.owner;
        self.edit(name, |c| c.hook = Some((owner, token)))
    }

    /// The block is asked for the value of `name` and hears of writes, as `token`.
    pub(crate) fn on_access(&mut self, name: &str, token: Token) -> Result<Reg, WiringError> {
        let owner = self.owner;
        self.edit(name, |c| {
            c.hook = Some((owner, token));
            c.read = ReadRule::Ask;
        })
    }

    /// `name` always reads as `value`.
    pub(crate) fn fixed(&mut self, name: &str, value: u32) -> Result<Reg, WiringError> {
        self.edit(name, |c| c.read = ReadRule::Fixed(value))
    }

    /// `bits` of `name` always read as set.
    pub(crate) fn always_set(&mut self, name: &str, bits: u32) -> Result<Reg, WiringError> {
        self.edit(name, |c| c.read = ReadRule::Or(bits))
    }

    /// `name` holds `value` after power-on and reset.
    pub(crate) fn power_on(&mut self, name: &str, value: u32) -> Result<Reg, WiringError> {
        let reg = self.reg(name)?;
        self.regs.reset.push((reg, value));
        Ok(reg)
    }
}
