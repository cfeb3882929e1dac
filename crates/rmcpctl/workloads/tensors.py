# SPDX-License-Identifier: MIT OR Apache-2.0
"""Basic tensor operations: arithmetic, matrix products, sums, sorting, indexing."""
step("arithmetic")
a, b = numbers(257, 263), numbers(257, 263)
x, y = to_device(a), to_device(b)
check("sum of two", x + y, a + b, 1e-6)
check("product of two", x * y, a * b, 1e-6)


def each(function, tensor):
    """Computed by Python, number by number."""
    values = [function(value) for value in tensor.flatten().tolist()]
    return torch.tensor(values, dtype=torch.float64).view_as(tensor)


check("exp", x.exp(), each(math.exp, a), 1e-5)
check("sqrt of squares", (x * x + 1).sqrt(), each(lambda value: math.hypot(value, 1), a), 1e-5)

step("matrix products")
for rows, inner, columns in [(42, 42, 42), (129, 257, 65), (512, 384, 256)]:
    a, b = numbers(rows, inner), numbers(inner, columns)
    wanted = (a.unsqueeze(2) * b.unsqueeze(0)).sum(1) if rows < 500 else torch.einsum("ij,jk->ik", a, b)
    check(f"{rows}x{inner} by {inner}x{columns}", to_device(a) @ to_device(b), wanted, 1e-4)
a, b = numbers(8, 33, 17), numbers(8, 17, 29)
check("batch of products", torch.bmm(to_device(a), to_device(b)), (a.unsqueeze(3) * b.unsqueeze(1)).sum(2), 1e-4)

step("sums")
a = numbers(1000, 1000)
x = to_device(a)
check("sum of a million", x.sum(), torch.tensor(math.fsum(a.flatten().tolist())), 1e-2)
check("sums of rows", x.sum(1), torch.tensor([math.fsum(row) for row in a.tolist()]), 1e-4)
check("largest of columns", x.amax(0), torch.tensor([max(c) for c in a.t().tolist()]), 0.0)
total, running = 0.0, []
for value in a[0].tolist():
    total += value
    running.append(total)
check("running sum", x[0].cumsum(0), torch.tensor(running), 1e-4)
check("softmax", torch.softmax(x, 1), plain_softmax(a), 1e-4)

step("sorting and indexing")
a = torch.randperm(100_003)
x = a.to(DEVICE)
same("sort", x.sort().values, torch.arange(100_003))
places = [0] * 100_003
for place, value in enumerate(a.tolist()):
    places[value] = place
same("places of a permutation", x.argsort(), torch.tensor(places))
same("every third, backwards", x.flip(0)[::3], torch.tensor(a.tolist()[::-1][::3]))
same("choice", torch.where(x % 2 == 0, x, -x), torch.tensor([v if v % 2 == 0 else -v for v in a.tolist()]))
table = torch.zeros(1000, dtype=torch.int64, device=DEVICE).index_add_(0, x % 1000, torch.ones_like(x))
counts = [0] * 1000
for value in a.tolist():
    counts[value % 1000] += 1
same("histogram", table, torch.tensor(counts))
turned = x[:99_990].view(330, 3, 101)[:, 0].t().contiguous()
same("transposed and made contiguous", turned, torch.tensor(a.tolist()[:99_990]).view(330, 303)[:, :101].t())
