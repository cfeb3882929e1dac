# SPDX-License-Identifier: MIT OR Apache-2.0
"""What every workload begins with: how it says what it does and what came of it, and a second way to compute things.

`rmcpctl workloads` puts this text before that of the workload and gives both to Python as one script, whose only argument
is the device. Everything that a workload has to say is a line of JSON. Expected values are computed on the CPU in float64,
by formulas that use none of the operators under test.
"""
import json
import math
import os
import sys

# A folder "torch" in the current folder is not the one that is meant.
sys.path[:] = [place for place in sys.path if place]

DEVICE = sys.argv[1] if len(sys.argv) > 1 else "cpu"


def tell(**what):
    """One line, written at once: what follows may be a crash."""
    os.write(1, ("\nrmcpctl: " + json.dumps(what) + "\n").encode())


try:
    import torch
    import torch.nn.functional as F
except ImportError as error:
    tell(missing=str(error))
    sys.exit(0)


def settle():
    """Waits until the device has done what it was given, so that an error belongs to the step that caused it."""
    if DEVICE == "cuda" and torch.cuda.is_available():
        torch.cuda.synchronize()


def step(name):
    """Says what comes next."""
    settle()
    tell(step=name)


def to_device(tensor):
    """A float32 copy on the device whose gradient is wanted."""
    return tensor.detach().to(DEVICE, torch.float32, copy=True).requires_grad_(tensor.requires_grad)


def numbers(*shape, scale=1.0, grad=False):
    """Random numbers that float32 holds exactly, as float64 on the CPU."""
    return (torch.randn(*shape, dtype=torch.float32) * scale).double().requires_grad_(grad)


def check(name, actual, expected, allowed=1e-3, norm=False):
    """Compares; the error is the largest difference, or the norm of all, against the size of what was expected."""
    settle()
    actual = actual.detach().to("cpu", torch.float64)
    expected = expected.detach().to("cpu", torch.float64)
    if actual.shape != expected.shape:
        tell(check=name, fine=False, what=f"the shape is {tuple(actual.shape)}, expected {tuple(expected.shape)}")
        return
    finite = bool(torch.isfinite(actual).all())
    if not finite:
        count = int((~torch.isfinite(actual)).sum())
        tell(check=name, fine=False, what=f"{count} of {actual.numel()} values are not finite")
        return
    difference = (actual - expected).abs().flatten()
    if norm:
        error = float(difference.norm() / expected.norm().clamp(min=1e-30))
    else:
        error = float(difference.max() / expected.abs().max().clamp(min=1e-30))
    if error <= allowed:
        tell(check=name, fine=True, error=error)
        return
    worst = int(difference.argmax())
    far = int((difference > allowed * expected.abs().max()).sum())
    found, wanted = float(actual.flatten()[worst]), float(expected.flatten()[worst])
    tell(
        check=name,
        fine=False,
        error=error,
        what=f"{far} of {actual.numel()} values are off; value {worst} is {found:.6g}, expected {wanted:.6g}",
    )


def same(name, actual, expected):
    """Compares bit for bit."""
    settle()
    actual = actual.detach().to("cpu")
    if actual.shape == expected.shape and torch.equal(actual, expected):
        tell(check=name, fine=True, error=0.0)
        return
    what = f"the shape is {tuple(actual.shape)}, expected {tuple(expected.shape)}"
    if actual.shape == expected.shape:
        wrong = (actual != expected).flatten().nonzero().flatten()
        first = int(wrong[0])
        found, wanted = actual.flatten()[first].item(), expected.flatten()[first].item()
        what = f"{len(wrong)} of {actual.numel()} values differ; the first is value {first}: {found}, expected {wanted}"
    tell(check=name, fine=False, what=what)


def demand(name, holds, what):
    """Something that is no comparison of tensors."""
    tell(check=name, fine=True) if holds else tell(check=name, fine=False, what=what)


def plain_conv(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """A convolution as the sum over the kernel's places, each a product of matrices."""
    if isinstance(padding, int):
        padding = (padding, padding)
    x = F.pad(x, (padding[1], padding[1], padding[0], padding[0]))
    outputs, inputs, high, wide = weight.shape
    tall = (x.shape[2] - dilation * (high - 1) - 1) // stride + 1
    broad = (x.shape[3] - dilation * (wide - 1) - 1) // stride + 1
    parts = []
    for group in range(groups):
        of_x = x[:, group * inputs : (group + 1) * inputs]
        own = weight[group * (outputs // groups) : (group + 1) * (outputs // groups)]
        total = 0
        for row in range(high):
            for column in range(wide):
                top, left = row * dilation, column * dilation
                rows = slice(top, top + stride * (tall - 1) + 1, stride)
                columns = slice(left, left + stride * (broad - 1) + 1, stride)
                piece = of_x[:, :, rows, columns]
                total = total + torch.einsum("nchw,oc->nohw", piece, own[:, :, row, column])
        parts.append(total)
    total = torch.cat(parts, 1)
    return total if bias is None else total + bias.view(1, -1, 1, 1)


def plain_norm(x, weight, bias, eps=1e-5):
    """Batch normalisation while training."""
    mean = x.mean((0, 2, 3), keepdim=True)
    spread = ((x - mean) ** 2).mean((0, 2, 3), keepdim=True)
    return (x - mean) / (spread + eps) ** 0.5 * weight.view(1, -1, 1, 1) + bias.view(1, -1, 1, 1)


def plain_softmax(x):
    """Softmax over the last axis."""
    powers = (x - x.max(-1, keepdim=True).values).exp()
    return powers / powers.sum(-1, keepdim=True)


def plain_loss(scores, classes):
    """Cross entropy."""
    rows = torch.arange(len(classes))
    return -plain_softmax(scores)[rows, classes].log().mean()


torch.manual_seed(20)
