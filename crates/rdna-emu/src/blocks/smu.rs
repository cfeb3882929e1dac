// SPDX-License-Identifier: MIT OR Apache-2.0
//! MP0 and MP1: the security processor, as far as "the boot firmware has finished", and the system
//! management unit's mailbox.
//!
//! Registers: `mp_11_0_offset.h`. The mailbox (`smu_cmn.c`): the argument in C2PMSG_82, then the
//! message in C2PMSG_66; the answer code appears in C2PMSG_90, a result in C2PMSG_82. Messages:
//! `smu_v11_0_ppsmc.h`. No power management is modelled: no feature is ever enabled, so the driver
//! says "dpm has been disabled" and goes on.

use super::Block;
use crate::bus::Bus;
use crate::chip::SmuVersions;
use crate::regs::{Reg, Token, Wiring, WiringError};
use crate::report::Access;

/// `MBOX_TOS_READY`-like flag of C2PMSG_33: the boot loader is done.
const BOOT_DONE: u32 = 1 << 31;
/// `SMU_RESP_OK`.
const OK: u32 = 1;
/// `SMU_RESP_UNKNOWN_CMD`.
const UNKNOWN_MESSAGE: u32 = 0xfe;

/// What a message does to the argument register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// Nothing: accepted.
    Accept,
    /// It holds the firmware's version afterwards.
    FirmwareVersion,
    /// It holds the interface's version afterwards.
    InterfaceVersion,
    /// It is zero afterwards: no feature, no frequency.
    Zero,
}

/// The messages that the driver sends: number, name (PPSMC_MSG_*), effect.
const MESSAGES: &[(u32, &str, Effect)] = &[
    (0x01, "TestMessage", Effect::Accept),
    (0x02, "GetSmuVersion", Effect::FirmwareVersion),
    (0x03, "GetDriverIfVersion", Effect::InterfaceVersion),
    (0x04, "SetAllowedFeaturesMaskLow", Effect::Accept),
    (0x05, "SetAllowedFeaturesMaskHigh", Effect::Accept),
    (0x06, "EnableAllSmuFeatures", Effect::Accept),
    (0x07, "DisableAllSmuFeatures", Effect::Accept),
    (0x08, "EnableSmuFeaturesLow", Effect::Accept),
    (0x09, "EnableSmuFeaturesHigh", Effect::Accept),
    (0x0a, "DisableSmuFeaturesLow", Effect::Accept),
    (0x0b, "DisableSmuFeaturesHigh", Effect::Accept),
    (0x0c, "GetEnabledSmuFeaturesLow", Effect::Zero),
    (0x0d, "GetEnabledSmuFeaturesHigh", Effect::Zero),
    (0x0e, "SetDriverDramAddrHigh", Effect::Accept),
    (0x0f, "SetDriverDramAddrLow", Effect::Accept),
    (0x10, "SetToolsDramAddrHigh", Effect::Accept),
    (0x11, "SetToolsDramAddrLow", Effect::Accept),
    (0x12, "TransferTableSmu2Dram", Effect::Accept),
    (0x13, "TransferTableDram2Smu", Effect::Accept),
    (0x16, "SetSystemVirtualDramAddrHigh", Effect::Accept),
    (0x17, "SetSystemVirtualDramAddrLow", Effect::Accept),
    (0x1e, "GetMinDpmFreq", Effect::Zero),
    (0x1f, "GetMaxDpmFreq", Effect::Zero),
    (0x20, "GetDpmFreqByIndex", Effect::Zero),
    (0x21, "OverridePcieParameters", Effect::Accept),
    (0x22, "SetMinDeepSleepDcefclk", Effect::Accept),
    (0x24, "SetWorkloadMask", Effect::Accept),
    (0x26, "GetVoltageByDpm", Effect::Zero),
    (0x29, "AllowGfxOff", Effect::Accept),
    (0x2a, "DisallowGfxOff", Effect::Accept),
    (0x32, "PrepareMp1ForUnload", Effect::Accept),
    (0x33, "PrepareMp1ForReset", Effect::Accept),
    (0x34, "PrepareMp1ForShutdown", Effect::Accept),
    (0x35, "SetPptLimit", Effect::Accept),
    (0x36, "GetPptLimit", Effect::Zero),
    (0x37, "ReenableAcDcInterrupt", Effect::Accept),
    (0x38, "NotifyPowerSource", Effect::Accept),
    (0x3a, "RunBtc", Effect::Accept),
    (0x40, "NumOfDisplays", Effect::Accept),
    (0x4e, "SetDriverDummyTableDramAddrHigh", Effect::Accept),
    (0x4f, "SetDriverDummyTableDramAddrLow", Effect::Accept),
    (0x50, "GetUMCFWWA", Effect::Zero),
];

/// See the module.
#[derive(Debug)]
pub(crate) struct Smu {
    versions: SmuVersions,
    argument: Reg,
    response: Reg,
}

impl Smu {
    /// Claims its registers.
    pub(crate) fn new(w: &mut Wiring<'_>, versions: SmuVersions) -> Result<Self, WiringError> {
        w.power_on("MP0_SMN_C2PMSG_33", BOOT_DONE)?;
        w.on_write("MP1_SMN_C2PMSG_66", 0)?;
        Ok(Self {
            versions,
            argument: w.reg("MP1_SMN_C2PMSG_82")?,
            response: w.power_on("MP1_SMN_C2PMSG_90", OK)?,
        })
    }
}

impl Block for Smu {
    fn written(&mut self, bus: &mut Bus, _token: Token, message: u32) {
        let argument = bus.regs.get(self.argument);
        let Some((_, name, effect)) = MESSAGES.iter().find(|(n, ..)| *n == message) else {
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
            Effect::FirmwareVersion => self.versions.firmware,
            Effect::InterfaceVersion => self.versions.interface,
            Effect::Zero => 0,
        };
        bus.journal
            .log(format_args!("SMU {name}({argument:#x}) = {result:#x}"));
        bus.regs.set(self.argument, result);
        bus.regs.set(self.response, OK);
    }
}
