# SPDX-License-Identifier: MIT OR Apache-2.0
"""Asks PyTorch what it is and whether it sees a GPU, before any workload runs."""
hip = getattr(torch.version, "hip", None)
facts = {"version": torch.__version__, "rocm": hip, "gpu": None}
if DEVICE == "cuda" and torch.cuda.is_available():
    facts["gpu"] = torch.cuda.get_device_name(0)
tell(torch=facts)
