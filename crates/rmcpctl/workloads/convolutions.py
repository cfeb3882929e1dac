# SPDX-License-Identifier: MIT OR Apache-2.0
"""Convolutions forward and backward, in shapes that are known to make trouble and others."""
SHAPES = [
    # images, channels, height, width, outputs, kernel, options
    (4, 3, 42, 42, 16, 3, {"padding": 1}),
    (2, 16, 42, 42, 32, 5, {"padding": 2, "stride": 2}),
    (2, 32, 43, 41, 32, 1, {}),
    (2, 16, 56, 56, 16, 3, {"padding": 1, "groups": 4}),
    (2, 8, 64, 64, 16, 3, {"padding": 1}),
    (1, 4, 128, 128, 8, 3, {"padding": 2, "dilation": 2}),
    (1, 3, 224, 224, 16, 7, {"padding": 3, "stride": 2}),
]
for images, channels, height, width, outputs, kernel, options in SHAPES:
    more = "".join(f", {name} {value}" for name, value in options.items())
    name = f"{kernel}x{kernel} on {images}x{channels}x{height}x{width}{more}"
    x = numbers(images, channels, height, width, grad=True)
    w = numbers(outputs, channels // options.get("groups", 1), kernel, kernel, scale=0.1, grad=True)
    b = numbers(outputs, grad=True)
    wanted = plain_conv(x, w, b, **options)
    push = numbers(*wanted.shape)
    wanted.backward(push)
    step(f"{name}, forward")
    inputs = [to_device(t) for t in (x, w, b)]
    found = F.conv2d(*inputs, **options)
    check(f"{name}, forward", found, wanted)
    step(f"{name}, backward")
    found.backward(to_device(push))
    for what, ours, theirs in zip(("input", "weight", "bias"), inputs, (x, w, b)):
        check(f"{name}, gradient of {what}", ours.grad, theirs.grad)
