"""What a GPU allows and what it refuses, by torch alone. The checks with `second` need two GPUs."""

import os
import sys
from typing import Any

import torch
from support.gpu_programs import print_results
from torch import nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention

CPU = torch.randn(2, 3, generator=torch.Generator().manual_seed(0))


def train_a_layer() -> list[str]:
    """Devices of what a training in fp16 has; the loss has to fall."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.1), nn.LayerNorm(4), nn.Linear(4, 2)).cuda()
    optimizer, scaler = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True), torch.amp.GradScaler("cuda")
    inputs, labels, losses = CPU.cuda(), torch.tensor([0, 1], device="cuda"), []
    for _ in range(8):
        with torch.autocast("cuda", torch.float16):
            logits = model(inputs)
            loss = cross_entropy(logits, labels)
        assert (logits.dtype, loss.dtype) == (torch.float16, torch.float32)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    return [str(value.device) for value in (inputs, loss, *model.parameters())]


def attend(mask: torch.Tensor) -> str:
    query = torch.randn(2, 2, 4, 8, device="cuda")
    return str(scaled_dot_product_attention(query, query, query, attn_mask=mask).device)


def exhaust_memory() -> None:
    torch.cuda.set_per_process_memory_fraction(0.001)
    try:
        torch.empty(torch.cuda.mem_get_info()[1] // 500, dtype=torch.uint8, device="cuda")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def measure_memory() -> dict[str, int]:
    before, free = torch.cuda.memory_allocated(), torch.cuda.mem_get_info()[0]
    torch.cuda.reset_peak_memory_stats()
    values = torch.empty(2**26, dtype=torch.uint8, device="cuda")
    held, taken = torch.cuda.memory_allocated() - before, free - torch.cuda.mem_get_info()[0]
    del values
    peak = torch.cuda.max_memory_allocated() - before
    return {"held": held, "taken": taken, "peak": peak, "after": torch.cuda.memory_allocated() - before}


def draw_numbers() -> dict[str, bool]:
    """Whether random numbers are equal: drawn with the same state of the GPU, with another, and by the CPU."""
    torch.manual_seed(0)
    states, cpu_state = torch.cuda.get_rng_state_all(), torch.get_rng_state()
    first, second = (torch.rand(100, device="cuda") for _ in range(2))
    cpu_changed = not torch.equal(cpu_state, torch.get_rng_state())
    torch.cuda.set_rng_state_all(states)
    again = torch.rand(100, device="cuda")
    return {"same": torch.equal(first, again), "other": torch.equal(first, second), "cpu_changed": cpu_changed}


def use_in_a_fork() -> None:
    """Raises the error of a process that is forked after CUDA has started."""
    torch.ones(1, device="cuda")
    reader, writer = os.pipe()
    if not os.fork():
        try:
            torch.ones(1).cuda()
        except RuntimeError as error:
            os.write(writer, str(error).encode())
        os._exit(0)
    os.close(writer)
    os.wait()
    raise RuntimeError(os.read(reader, 10000).decode())


def index_on_the_cpu() -> str:
    return str(torch.randn(5, 3, device="cuda")[torch.tensor([1, 2])].device)


def pin() -> list[Any]:
    pinned = torch.ones(3, 2**10).pin_memory()
    return [pinned.is_pinned(), pinned[1].is_pinned(), CPU.is_pinned(), pinned.cuda(non_blocking=True).sum().item()]


def use_the_second() -> list[str]:
    """Where `cuda` is while another GPU is the current one."""
    with torch.cuda.device(1):
        return [str(CPU.to("cuda").device), str(torch.ones(1, device="cuda:0").device), torch.cuda.current_device()]


CHECKS = {
    "train a layer": train_a_layer,
    "measure memory": measure_memory,
    "draw numbers": draw_numbers,
    "pin": pin,
    "index a GPU's tensor by the CPU's": index_on_the_cpu,
    "multiply by a number of the CPU": lambda: str((CPU.cuda() * torch.tensor(2.0)).device),
    "attend with a mask": lambda: attend(torch.ones(2, 1, 4, 4, dtype=torch.bool, device="cuda")),
    "inputs left on the CPU": lambda: nn.Linear(3, 4).cuda()(CPU),
    "weights left on the CPU": lambda: nn.Linear(3, 4)(CPU.cuda()),
    "tokens left on the CPU": lambda: nn.Embedding(5, 3).cuda()(torch.tensor([1])),
    "mask left on the CPU": lambda: attend(torch.ones(2, 1, 4, 4, dtype=torch.bool)),
    "labels left on the CPU": lambda: cross_entropy(CPU.cuda(), torch.tensor([0, 1])),
    "index a tensor of the CPU by a GPU's": lambda: CPU[torch.tensor([1], device="cuda")],
    "numpy of a GPU's tensor": lambda: CPU.cuda().numpy(),
    "pin a GPU's tensor": lambda: CPU.cuda().pin_memory(),
    "exhaust memory": exhaust_memory,
    "use it in a fork": use_in_a_fork,
    "use a GPU that is missing": lambda: CPU.to("cuda:99"),
}
SECOND = {
    "second: current": use_the_second,
    "second: add": lambda: CPU.to("cuda:0") + CPU.to("cuda:1"),
}

if __name__ == "__main__":
    print_results(SECOND if sys.argv[1:] else CHECKS)
