# SPDX-License-Identifier: MIT OR Apache-2.0
"""A training loop: the losses and the weights of a small network after each step against the same steps in float64."""
STEPS, RATE, MOMENTUM = 15, 0.05, 0.9
images = numbers(32, 1, 28, 28)
classes = torch.randint(0, 4, (32,))
# Something to learn: each class is brighter in another quarter.
for index, place in enumerate(classes.tolist()):
    images[index, 0, 14 * (place // 2) : 14 * (place // 2) + 14, 14 * (place % 2) : 14 * (place % 2) + 14] += 1
plain = [numbers(8, 1, 5, 5, scale=0.2, grad=True), numbers(8, scale=0.1, grad=True),
         numbers(16, 8, 3, 3, scale=0.1, grad=True), numbers(16, scale=0.1, grad=True),
         numbers(4, 16 * 36, scale=0.05, grad=True), numbers(4, scale=0.1, grad=True)]
ours = [to_device(t) for t in plain]


def scores(x, w, conv, product):
    """The network; it bends softly, so that no rounding decides where it bends."""
    x = torch.tanh(conv(x, w[0], w[1], stride=2))
    x = torch.tanh(conv(x, w[2], w[3], stride=2, padding=(1, 1)))
    return product(x.flatten(1), w[4], w[5])


speed = [torch.zeros_like(t) for t in plain]
wanted = []
for _ in range(STEPS):
    for weight in plain:
        weight.grad = None
    loss = plain_loss(scores(images, plain, plain_conv, lambda x, w, b: torch.einsum("nf,cf->nc", x, w) + b), classes)
    loss.backward()
    wanted.append(loss.detach())
    with torch.no_grad():
        for weight, own in zip(plain, speed):
            own.mul_(MOMENTUM).add_(weight.grad)
            weight.sub_(RATE * own)

x, labels = to_device(images), classes.to(DEVICE)
optimizer = torch.optim.SGD(ours, RATE, MOMENTUM)
found = []
for number in range(STEPS):
    step(f"step {number + 1} of {STEPS}")
    optimizer.zero_grad()
    loss = F.cross_entropy(scores(x, ours, F.conv2d, F.linear), labels)
    loss.backward()
    optimizer.step()
    found.append(loss.detach())
check("losses", torch.stack(found), torch.stack(wanted), 1e-3)
first, last = float(found[0]), float(found[-1])
demand("it learns", last < 0.7 * first, f"the loss was {first:.4g} and is {last:.4g}")
for index, (mine, theirs) in enumerate(zip(ours, plain)):
    check(f"weights {index} at the end", mine, theirs, 1e-2, norm=True)
