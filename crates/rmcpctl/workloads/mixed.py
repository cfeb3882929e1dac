# SPDX-License-Identifier: MIT OR Apache-2.0
"""Mixed precision: a training step in half precision (bfloat16 on the CPU), with scaled gradients on a GPU."""
HALF = torch.float16 if DEVICE == "cuda" else torch.bfloat16
x = numbers(8, 16, 42, 42)
w = numbers(32, 16, 3, 3, scale=0.08, grad=True)
v = numbers(10, 32, scale=0.2, grad=True)
classes = torch.randint(0, 10, (8,))
features = torch.tanh(plain_conv(x, w, padding=1)).mean((2, 3))
wanted = torch.einsum("nf,cf->nc", features, v)
plain_loss(wanted, classes).backward()

step("forward")
inputs = [to_device(t) for t in (x, w, v)]
# What scales the gradients has had two names.
scale = getattr(torch.amp, "GradScaler", None) or (lambda device, enabled: torch.cuda.amp.GradScaler(enabled=enabled))
scaler = scale(DEVICE, enabled=DEVICE == "cuda")
optimizer = torch.optim.SGD(inputs[1:], 0.1)
with torch.autocast(DEVICE, dtype=HALF):
    found = F.linear(torch.tanh(F.conv2d(inputs[0], inputs[1], padding=1)).mean((2, 3)), inputs[2])
    loss = F.cross_entropy(found, classes.to(DEVICE))
demand("it is computed in half precision", found.dtype == HALF, f"it is computed in {found.dtype}")
check("forward", found, wanted, 5e-2, norm=True)
step("backward")
scaler.scale(loss).backward()
scaler.unscale_(optimizer)
check("gradient of the convolution", inputs[1].grad, w.grad, 1e-1, norm=True)
check("gradient of the product", inputs[2].grad, v.grad, 1e-1, norm=True)
step("step")
before = inputs[2].detach().clone()
scaler.step(optimizer)
scaler.update()
check("step", inputs[2], before.cpu().double() - 0.1 * inputs[2].grad.cpu().double(), 1e-5)
