# SPDX-License-Identifier: MIT OR Apache-2.0
"""Raises an exception."""
step("raise")
raise ValueError("on purpose")
