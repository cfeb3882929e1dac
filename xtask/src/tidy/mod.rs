// SPDX-License-Identifier: MIT OR Apache-2.0
//! House rules as tests.
