# SPDX-License-Identifier: MIT OR Apache-2.0
"""Crashes."""
step("fall")
os.abort()
