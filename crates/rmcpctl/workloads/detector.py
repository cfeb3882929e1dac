# SPDX-License-Identifier: MIT OR Apache-2.0
"""One training step of a detector's backbone: strided convolutions, batch normalisation, a residual block, pooling of three
sizes, and a finer level joined to a coarser one."""


def layer(inputs, outputs, kernel):
    """Weights of a convolution with normalisation."""
    return [numbers(outputs, inputs, kernel, kernel, scale=(2 / (inputs * kernel * kernel)) ** 0.5, grad=True),
            (numbers(outputs, scale=0.1) + 1).detach().float().double().requires_grad_(), numbers(outputs, scale=0.1, grad=True)]


def plain_pool(x):
    """The largest of each 5 by 5."""
    x = F.pad(x, (2, 2, 2, 2), value=-math.inf)
    high, wide = x.shape[2] - 4, x.shape[3] - 4
    views = [x[:, :, row : row + high, column : column + wide] for row in range(5) for column in range(5)]
    return torch.stack(views).amax(0)


PLAIN = (plain_conv, plain_norm, lambda x: x / (1 + (-x).exp()), plain_pool,
         lambda x: x[:, :, :, None, :, None].expand(-1, -1, -1, 2, -1, 2).flatten(4, 5).flatten(2, 3))
TORCH = (F.conv2d, lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True), F.silu,
         lambda x: F.max_pool2d(x, 5, 1, 2), lambda x: F.interpolate(x, scale_factor=2.0, mode="nearest"))


def backbone(x, layers, ways):
    """Three levels of features."""
    conv, norm, bend, pool, grow = ways

    def one(x, index, stride=1):
        w, scale, shift = layers[index]
        return bend(norm(conv(x, w, stride=stride, padding=w.shape[2] // 2), scale, shift))

    fine = one(one(x, 0, 2), 1, 2)
    fine = fine + one(one(fine, 2), 3)
    coarse = one(fine, 4, 2)
    pooled = [coarse]
    for _ in range(3):
        pooled.append(pool(pooled[-1]))
    coarse = one(torch.cat(pooled, 1), 5)
    joined = one(torch.cat([grow(coarse), fine], 1), 6)
    return joined, coarse


layers = [layer(3, 8, 3), layer(8, 16, 3), layer(16, 16, 1), layer(16, 16, 3), layer(16, 32, 3), layer(128, 32, 1),
          layer(48, 16, 3)]
x = numbers(2, 3, 160, 160)
wanted = backbone(x, layers, PLAIN)
sum((level ** 2).mean() for level in wanted).backward()
step("forward")
ours = [[to_device(t) for t in layer] for layer in layers]
found = backbone(to_device(x), ours, TORCH)
check("fine level", found[0], wanted[0])
check("coarse level", found[1], wanted[1])
step("backward")
sum((level ** 2).mean() for level in found).backward()
for index, (mine, theirs) in enumerate(zip(ours, layers)):
    for what, a, b in zip(("weight", "scale", "shift"), mine, theirs):
        # Two values of a pool that are nearly the same may change places; a lost page is another matter.
        check(f"layer {index}, gradient of {what}", a.grad, b.grad, 2e-2, norm=True)
