"""The peer of `benchmarks/open_weights.py`: Gemma 3 in transformers on a GPU, random weights.

    PEER benchmarks/peers/hf_gpu.py '{"layers": 34, "width": 2560, ...}'

For each line {"static": false} it reads a prompt, then generates after a shorter one, and answers
with the seconds of both: of the prompt, and of one id. With a static cache `generate` compiles the
model. The first run of each kind is a warm-up.
"""

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version

import torch
from sizes import sizes
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def made(shape: dict) -> Gemma3ForCausalLM:
    """The model; every sixth layer looks at all that lies before."""
    kinds = ("sliding_attention", "full_attention")
    config = Gemma3TextConfig(
        **sizes(shape),
        layer_types=[kinds[i % 6 == 5] for i in range(shape["layers"])],
        sliding_window=shape["window"],
        max_position_embeddings=shape["context"],
        eos_token_id=None,
    )
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(DEVICE):
        return Gemma3ForCausalLM(config).eval()


def seconds(call: Callable[[], object]) -> float:
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    call()
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def main() -> None:
    shape = json.loads(sys.argv[1])
    model = made(shape)
    names = ("torch", "transformers")
    print(json.dumps({"versions": {name: version(name) for name in names}}), flush=True)
    long, short = (
        torch.randint(4, shape["vocab"], (1, shape[name]), device=DEVICE)
        for name in ("prompt", "past")
    )

    def generate(new: int, static: bool) -> None:
        more = {"cache_implementation": "static"} if static else {}
        out = model.generate(
            short,
            attention_mask=torch.ones_like(short),
            do_sample=False,
            min_new_tokens=new,
            max_new_tokens=new,
            **more,
        )
        assert out.shape[1] == shape["past"] + new

    for line in sys.stdin:
        static = json.loads(line)["static"]
        with torch.inference_mode():
            read = seconds(lambda: model(long, use_cache=True, logits_to_keep=1))
            one = seconds(partial(generate, 1, static))
            more = seconds(partial(generate, 1 + shape["said"], static))
        told = {"id": (more - one) / shape["said"], "prompt": read}
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
