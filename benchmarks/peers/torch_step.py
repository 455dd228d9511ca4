"""The peer of `step.py` and `train_step.py`: the same decoder and step in PyTorch.

    PEER benchmarks/peers/torch_step.py '{"layers": 8, "width": 256, ..., "compile": false}'

On a GPU if there is one. Float32 weights, bfloat16 autocast (not with "precision": "float32"),
PyTorch's fused attention, fused AdamW, clipped gradients; with "checkpoint" blocks are computed
again in the backward pass. For every line on standard input it takes a step, or "steps" of them,
and answers with the seconds of one and its peak memory.
"""

import json
import resource
import sys
import time
from importlib.metadata import version

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Norm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        wide = functional.rms_norm(x.float(), (x.shape[-1],), 1 + self.scale.float(), 1e-6)
        return wide.to(x.dtype)


class Block(nn.Module):
    def __init__(self, width: int, hidden: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.heads, self.head_width = heads, head_width
        self.wq = nn.Linear(width, heads * head_width, bias=False)
        self.wk = nn.Linear(width, head_width, bias=False)
        self.wv = nn.Linear(width, head_width, bias=False)
        self.wo = nn.Linear(heads * head_width, width, bias=False)
        self.gate = nn.Linear(width, hidden, bias=False)
        self.up = nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)
        self.attention_norm, self.mlp_norm = Norm(width), Norm(width)
        self.query_norm, self.key_norm = Norm(head_width), Norm(head_width)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        rows, length, _ = x.shape
        flat = self.attention_norm(x)

        def split(y: Tensor) -> Tensor:
            return y.view(rows, length, -1, self.head_width).transpose(1, 2)

        q = rotate(self.query_norm(split(self.wq(flat))), cos, sin)
        k = rotate(self.key_norm(split(self.wk(flat))), cos, sin)
        k, v = (y.expand(rows, self.heads, length, -1) for y in (k, split(self.wv(flat))))
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.wo(mixed.transpose(1, 2).reshape(rows, length, -1))
        flat = self.mlp_norm(x)
        return x + self.down(functional.gelu(self.gate(flat), approximate="tanh") * self.up(flat))


class Decoder(nn.Module):
    def __init__(self, shape: dict) -> None:
        super().__init__()
        width, head_width = shape["width"], shape["head_width"]
        parts = (width, shape["hidden"], shape["heads"], head_width)
        self.embedding = nn.Embedding(shape["vocab"], width)
        nn.init.normal_(self.embedding.weight, std=0.02)
        self.blocks = nn.ModuleList(Block(*parts) for _ in range(shape["layers"]))
        self.norm, self.checkpoint = Norm(width), shape.get("checkpoint", False)
        rates = 10_000.0 ** (-torch.arange(head_width // 2) / (head_width // 2))
        angles = torch.arange(shape["length"])[:, None] * rates
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        x = self.embedding(ids) * self.embedding.weight.shape[1] ** 0.5
        for block in self.blocks:
            if self.checkpoint:
                x = checkpoint(block, x, self.cos, self.sin, use_reentrant=False)
            else:
                x = block(x, self.cos, self.sin)
        scores = functional.linear(self.norm(x), self.embedding.weight).float()
        return functional.cross_entropy(scores.flatten(0, 1), targets.flatten())


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    left, right = x.float().chunk(2, dim=-1)
    return torch.cat([left * cos - right * sin, right * cos + left * sin], dim=-1).to(x.dtype)


def synchronise() -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def peak_memory_mb() -> float:
    if DEVICE == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    shape = json.loads(sys.argv[1])
    torch.manual_seed(0)
    model = Decoder(shape).to(DEVICE)
    forward = torch.compile(model) if shape["compile"] else model
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3, betas=(0.9, 0.98), fused=True)
    ids = torch.randint(0, shape["vocab"], (shape["rows"], shape["length"] + 1), device=DEVICE)
    narrow = shape.get("precision", "bfloat16") == "bfloat16"

    def step() -> None:
        with torch.autocast(DEVICE, torch.bfloat16, enabled=narrow):
            loss = forward(ids[:, :-1], ids[:, 1:])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    parameters = sum(p.numel() for p in model.parameters())
    print(json.dumps({"version": version("torch"), "parameters": parameters}), flush=True)
    steps = shape.get("steps", 1)
    for _ in sys.stdin:
        synchronise()
        began = time.perf_counter()
        for _ in range(steps):
            step()
        synchronise()
        seconds = (time.perf_counter() - began) / steps
        print(json.dumps({"seconds": seconds, "peak_memory_mb": peak_memory_mb()}), flush=True)


if __name__ == "__main__":
    main()
