"""The peer of `benchmarks/finetune.py`: the same adapters on the same shape, by peft on the CPU.

    PEER benchmarks/peers/peft_finetune.py '{"layers": 18, "width": 640, ..., "dtype": "bfloat16"}'

A `gemma3_text` model of random weights in transformers, LoRA of peft, fused AdamW over the
adapters, clipped gradients; with "autocast", bfloat16 autocast over float32 weights. For every
line on standard input it takes one step and answers with the seconds and its peak memory.
"""

import json
import resource
import sys
import time
from contextlib import nullcontext
from importlib.metadata import version

import torch
from peft import LoraConfig, get_peft_model
from sizes import sizes
from transformers import Gemma3ForCausalLM, Gemma3TextConfig
from transformers.initialization import no_init_weights


def model_of(shape: dict) -> torch.nn.Module:
    """Random weights in the wanted type; none of them is ever held in another."""
    config = Gemma3TextConfig(
        **sizes(shape),
        query_pre_attn_scalar=shape["head_width"],
        sliding_window=shape["window"],
        max_position_embeddings=shape["length"],
    )
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, shape["dtype"]))
    with no_init_weights():
        model = Gemma3ForCausalLM(config)
    torch.set_default_dtype(before)
    model.tie_weights()
    for name, weight in model.named_parameters():
        torch.nn.init.zeros_(weight) if "norm" in name else torch.nn.init.normal_(weight, std=0.02)
    return model


def main() -> None:
    shape = json.loads(sys.argv[1])
    torch.manual_seed(0)
    lora = LoraConfig(
        r=shape["rank"],
        lora_alpha=shape["alpha"],
        target_modules=[
            *("q_proj", "k_proj", "v_proj", "o_proj"),
            *("gate_proj", "up_proj", "down_proj"),
        ],
        lora_dropout=0.0,
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(model_of(shape), lora)
    learned = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, 2e-4, fused=True)
    ids = torch.randint(0, shape["vocab"], (shape["rows"], shape["length"]))
    labels = ids.clone()
    labels[:, : int(shape["length"] * (1 - shape["learned"]))] = -100
    model.train()

    def step() -> None:
        autocast = torch.autocast("cpu", torch.bfloat16) if shape["autocast"] else nullcontext()
        with autocast:
            loss = model(input_ids=ids, labels=labels, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    print(
        json.dumps(
            {
                "versions": {n: version(n) for n in ("torch", "transformers", "peft")},
                "parameters": sum(p.numel() for p in model.parameters()) - sum(map(numel, learned)),
                "learned": sum(map(numel, learned)),
            }
        ),
        flush=True,
    )
    for _ in sys.stdin:
        began = time.perf_counter()
        step()
        seconds = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(json.dumps({"seconds": seconds, "peak_memory_mb": peak}), flush=True)


def numel(weight: torch.Tensor) -> int:
    return weight.numel()


if __name__ == "__main__":
    main()
