# SPDX-License-Identifier: MIT OR Apache-2.0
"""Compares nothing."""
step("nothing")
