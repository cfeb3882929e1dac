# SPDX-License-Identifier: MIT OR Apache-2.0
"""Memory under stress: blocks of many sizes are allocated, filled, freed in another order and allocated again, and what is
still there must be what was written."""
import random

chance = random.Random(7)
BUDGET = 96 << 20
if DEVICE == "cuda":
    BUDGET = min(1 << 30, torch.cuda.mem_get_info()[0] // 2)


def written(seed, words):
    """A block of numbers, made on the device in 32 bits, which wrap."""
    counting = torch.arange(words, dtype=torch.int32, device=DEVICE)
    return counting * 1_664_525 + (seed % (1 << 31))


def wanted(seed, words):
    """The same, in 64 bits on the CPU."""
    value = (torch.arange(words, dtype=torch.int64) * 1_664_525 + (seed % (1 << 31))) & 0xFFFF_FFFF
    return torch.where(value >= 1 << 31, value - (1 << 32), value).to(torch.int32)


blocks = {}
taken = number = 0
for turn in range(5):
    step(f"turn {turn + 1}: allocate")
    while True:
        words = int(2 ** chance.uniform(10, 21))
        if taken + 4 * words > BUDGET:
            break
        number += 1
        blocks[number] = written(number * 2_654_435_761, words)
        taken += 4 * words
    step(f"turn {turn + 1}: compare {len(blocks)} blocks")
    good = {seed: torch.equal(block.cpu(), wanted(seed * 2_654_435_761, len(block))) for seed, block in blocks.items()}
    wrong = [seed for seed in blocks if not good[seed]]
    for seed in wrong[:5]:
        same(f"turn {turn + 1}, block {seed}", blocks[seed], wanted(seed * 2_654_435_761, len(blocks[seed])))
    demand(f"turn {turn + 1}, all blocks", not wrong, f"{len(wrong)} of {len(blocks)} blocks are not as they were written")
    step(f"turn {turn + 1}: free half of them")
    for seed in chance.sample(sorted(blocks), len(blocks) // 2):
        taken -= 4 * len(blocks.pop(seed))
    if DEVICE == "cuda" and turn % 2:
        torch.cuda.empty_cache()
