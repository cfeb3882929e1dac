// SPDX-License-Identifier: MIT OR Apache-2.0
//! The test VM: a stock kernel, the emulated GPU and the guest program.
