# SPDX-License-Identifier: MIT OR Apache-2.0
"""Computes what is no number."""
check("a root", torch.full((3,), -1.0, device=DEVICE).sqrt(), torch.ones(3))
