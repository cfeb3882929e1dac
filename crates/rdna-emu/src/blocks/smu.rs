// SPDX-License-Identifier: MIT OR Apache-2.0
//! MP0 and MP1: the security processor, as far as "the boot firmware has finished", and the system
//! management unit's mailbox.
//!
//! Registers: `mp_11_0_offset.h`. The mailbox (`smu_cmn.c`): the argument in C2PMSG_82, then the
//! message in C2PMSG_66; the answer code appears in C2PMSG_90, a result in C2PMSG_82. Which messages
//! there are is data of the chip. No power management is modelled: no feature is ever enabled, so the driver
//! says "dpm has been disabled" and goes on.

use super::Block;
use crate::bus::Bus;
use crate::chip::{self, Effect};
use crate::regs::{Reg, Token, Wiring, WiringError};
use crate::report::Access;

/// `MBOX_TOS_READY`-like flag of C2PMSG_33: the boot loader is done.
const BOOT_DONE: u32 = 1 << 31;
/// `SMU_RESP_OK`.
const OK: u32 = 1;
/// `SMU_RESP_UNKNOWN_CMD`.
const UNKNOWN_MESSAGE: u32 = 0xfe;

/// See the module.
#[derive(Debug)]
pub(crate) struct Smu {
    data: chip::Smu,
    argument: Reg,
    response: Reg,
}

impl Smu {
    /// Claims its registers.
    pub(crate) fn new(w: &mut Wiring<'_>, data: chip::Smu) -> Result<Self, WiringError> {
        w.power_on("MP0_SMN_C2PMSG_33", BOOT_DONE)?;
        w.on_write("MP1_SMN_C2PMSG_66", 0)?;
        for (name, value) in data.status {
            w.fixed(name, *value)?;
        }
        Ok(Self {
            data,
            argument: w.reg("MP1_SMN_C2PMSG_82")?,
            response: w.power_on("MP1_SMN_C2PMSG_90", OK)?,
        })
    }
}

impl Block for Smu {
    fn written(&mut self, bus: &mut Bus, _token: Token, message: u32) {
        let argument = bus.regs.get(self.argument);
        let known = self.data.messages.iter().find(|m| m.number == message);
        let Some(chip::Message { name, effect, .. }) = known else {
            let what = format!("SMU message {message:#x}");
            bus.journal.unknown(
                Access::Message,
                what,
                format_args!("argument {argument:#x}"),
            );
            bus.regs.set(self.response, UNKNOWN_MESSAGE);
            return;
        };
        let result = match effect {
            Effect::Accept => argument,
            Effect::FirmwareVersion => self.data.firmware,
            Effect::InterfaceVersion => self.data.interface,
            Effect::Zero => 0,
        };
        bus.journal
            .log(format_args!("SMU {name}({argument:#x}) = {result:#x}"));
        bus.regs.set(self.argument, result);
        bus.regs.set(self.response, OK);
    }
}
