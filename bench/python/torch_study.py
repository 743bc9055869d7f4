"""The training of `study train` in PyTorch, one thread: for each line `depth steps` of standard input, steps a second."""

import sys
import time

import torch

torch.set_num_threads(1)
WIDTH, SAMPLES = 32, 128


def network(depth: int) -> torch.nn.Module:
    layers: list[torch.nn.Module] = []
    for i in range(depth):
        layers.append(torch.nn.Linear(WIDTH, WIDTH, bias=False))
        if i < depth - 1:
            layers.append(torch.nn.ReLU())
    return torch.nn.Sequential(*layers)


for line in sys.stdin:
    depth, steps = map(int, line.split())
    torch.manual_seed(0)
    model = network(depth)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    x, y = torch.randn(SAMPLES, WIDTH), torch.randn(SAMPLES, WIDTH)
    start = time.perf_counter()
    for _ in range(steps):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
    print(steps / (time.perf_counter() - start), flush=True)
