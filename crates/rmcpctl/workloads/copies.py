# SPDX-License-Identifier: MIT OR Apache-2.0
"""Copies between host and device, compared byte for byte: sizes on either side of pages and fragments, pinned and not."""
import random

chance = random.Random(3)
KIB, MIB = 1 << 10, 1 << 20
SIZES = [1, 3, 4 * KIB - 1, 4 * KIB, 4 * KIB + 1, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 2 * MIB - 1, 2 * MIB, 2 * MIB + 1,
         16 * MIB + 5]
for size in SIZES:
    step(f"{size} bytes")
    content = torch.frombuffer(bytearray(chance.getrandbits(8 * size).to_bytes(size, "little")), dtype=torch.uint8)
    there = content.to(DEVICE, copy=True)
    same(f"{size} bytes there and back", there.to("cpu", copy=True), content)
    again = torch.empty_like(there)
    again.copy_(there)
    same(f"{size} bytes within the device", again, content)
    if size > 8:
        part = there[3 : size - 2].clone()
        same(f"{size} bytes, a part of them", part, content[3 : size - 2])
        there[1 : size - 4].copy_(part)
        moved = content.clone()
        moved[1 : size - 4] = content[3 : size - 2]
        same(f"{size} bytes, a part written elsewhere", there, moved)
    if DEVICE == "cuda":
        pinned = content.pin_memory()
        there = pinned.to(DEVICE, non_blocking=True)
        back = torch.empty_like(pinned).pin_memory()
        back.copy_(there, non_blocking=True)
        torch.cuda.synchronize()
        same(f"{size} bytes from and to pinned memory", back, content)
