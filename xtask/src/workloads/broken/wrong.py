# SPDX-License-Identifier: MIT OR Apache-2.0
"""Computes something wrong: one page of a million numbers is lost."""
x = numbers(1000, 1000)
lost = to_device(x)
check("whole", lost, x, 1e-6)
lost.flatten()[4096:5120] = 0
check("with a page lost", lost, x, 1e-3)
