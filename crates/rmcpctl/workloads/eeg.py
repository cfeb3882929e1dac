# SPDX-License-Identifier: MIT OR Apache-2.0
"""The pattern of EEG networks: a convolution over all electrodes at once, whose axis is then dropped, and one over time."""
for trials, electrodes, samples in [(16, 64, 128), (8, 64, 1000)]:
    name = f"{trials} trials of {electrodes} electrodes, {samples} samples"
    x = numbers(trials, 1, electrodes, samples, grad=True)
    w = numbers(32, 1, electrodes, 1, scale=0.1, grad=True)
    b = numbers(32, grad=True)
    v = numbers(16, 32, 7, scale=0.1, grad=True)
    spatial = torch.einsum("ncht,och->not", x, w.squeeze(3)) + b.view(1, -1, 1)
    taps = torch.stack([spatial[:, :, shift : samples - 6 + shift] for shift in range(7)], 3)
    wanted = torch.einsum("notk,pok->npt", taps, v)
    push = numbers(*wanted.shape)
    wanted.backward(push)
    step(f"{name}, forward")
    layer = torch.nn.Conv2d(1, 32, (electrodes, 1)).to(DEVICE)
    with torch.no_grad():
        layer.weight.copy_(w)
        layer.bias.copy_(b)
    inputs = [to_device(t) for t in (x, v)]
    squeezed = layer(inputs[0]).squeeze(2)
    check(f"{name}, squeezed", squeezed, spatial)
    found = F.conv1d(squeezed, inputs[1])
    check(f"{name}, over time", found, wanted)
    step(f"{name}, backward")
    found.backward(to_device(push))
    check(f"{name}, gradient of input", inputs[0].grad, x.grad)
    check(f"{name}, gradient of electrodes' weights", layer.weight.grad, w.grad)
    check(f"{name}, gradient of bias", layer.bias.grad, b.grad)
    check(f"{name}, gradient over time", inputs[1].grad, v.grad)
