"""The peer of `benchmarks/decode.py`: Hugging Face `generate` on the CPU, random weights.

    PEER benchmarks/peers/hf_decode.py '{"layers": 6, "width": 192, ...}'

Reads a line {"rows": 1, "dtype": "float32", "threads": 2} at a time, decodes greedily, answers with
the seconds that it took. The first run of each kind is a warm-up that the other side throws away.
"""

import json
import sys
import time
from importlib.metadata import version

import torch
from sizes import sizes
from transformers import GemmaConfig, GemmaForCausalLM


def main() -> None:
    shape = json.loads(sys.argv[1])
    torch.manual_seed(0)
    config = GemmaConfig(
        **sizes(shape),
        eos_token_id=None,
    )
    model = GemmaForCausalLM(config).eval()
    models = {"float32": model, "bfloat16": GemmaForCausalLM(config).eval().bfloat16()}
    versions = {name: version(name) for name in ("torch", "transformers")}
    print(json.dumps({"versions": versions}), flush=True)
    for line in sys.stdin:
        wanted = json.loads(line)
        torch.set_num_threads(wanted["threads"])
        prompt = torch.randint(4, shape["vocab"], (wanted["rows"], shape["prompt"]))
        began = time.perf_counter()
        with torch.inference_mode():
            out = models[wanted["dtype"]].generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                do_sample=False,
                min_new_tokens=shape["new"],
                max_new_tokens=shape["new"],
            )
        seconds = time.perf_counter() - began
        assert out.shape == (wanted["rows"], shape["prompt"] + shape["new"])
        print(json.dumps({"seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
