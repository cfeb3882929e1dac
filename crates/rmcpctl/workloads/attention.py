# SPDX-License-Identifier: MIT OR Apache-2.0
"""Attention forward and backward, with and without a mask, and with several heads."""


def plain_attention(q, k, v, causal):
    """By the formula."""
    scores = torch.einsum("bhqd,bhkd->bhqk", q, k) / math.sqrt(q.shape[-1])
    if causal:
        later = torch.arange(k.shape[2])[None, :] > torch.arange(q.shape[2])[:, None]
        scores = scores.masked_fill(later, -math.inf)
    return torch.einsum("bhqk,bhkd->bhqd", plain_softmax(scores), v)


for length, width, causal in [(128, 64, False), (128, 64, True), (197, 32, False)]:
    name = f"{length} words of {width}" + (", causal" if causal else "")
    q, k, v = (numbers(2, 4, length, width, grad=True) for _ in range(3))
    wanted = plain_attention(q, k, v, causal)
    push = numbers(*wanted.shape)
    wanted.backward(push)
    step(f"{name}, forward")
    inputs = [to_device(t) for t in (q, k, v)]
    found = F.scaled_dot_product_attention(*inputs, is_causal=causal)
    check(f"{name}, forward", found, wanted)
    step(f"{name}, backward")
    found.backward(to_device(push))
    for what, ours, theirs in zip(("queries", "keys", "values"), inputs, (q, k, v)):
        check(f"{name}, gradient of {what}", ours.grad, theirs.grad)

step("several heads in one layer")
layer = torch.nn.MultiheadAttention(96, 6, batch_first=True)
x = numbers(3, 50, 96)
weight, bias = layer.in_proj_weight.double(), layer.in_proj_bias.double()
parts = (torch.einsum("bld,ed->ble", x, weight) + bias).chunk(3, 2)
parts = [part.view(3, 50, 6, 16).transpose(1, 2) for part in parts]
joined = plain_attention(*parts, False).transpose(1, 2).reshape(3, 50, 96)
wanted = torch.einsum("bld,ed->ble", joined, layer.out_proj.weight.double()) + layer.out_proj.bias.double()
layer = layer.to(DEVICE)
x = to_device(x)
check("several heads in one layer", layer(x, x, x, need_weights=False)[0], wanted)
