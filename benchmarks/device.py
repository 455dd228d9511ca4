"""A 4-bit model of Gemma-3-1B's shape on this CPU: ours under onnxruntime, beside llama.cpp's Q4_0.

    python benchmarks/device.py --llama .peers-llama/llama-bench [--rounds 7] [--threads 2]
        [--prompt 512] [--said 64] [--folder DIR]

Weights are random. Both sides decode alone from an empty cache, then read a prompt, each round in
processes of their own that take turns. Resident memory is what a process holds after both
(llama.cpp: at most), and, for ours, what of it is no page of a file. Prints one JSON object.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from castor.device.layout import WEIGHTS
from castor.device.runtime import Runtime
from castor.models.sizes import Layer, ModelConfig, Stage

LOCAL = Layer(window=512)
GEMMA_3_1B = ModelConfig(
    layers=26,
    width=1152,
    hidden=6912,
    heads=4,
    head_width=256,
    kv_heads=1,
    vocab=262_144,
    context=32_768,
    pattern=(*(LOCAL,) * 5, replace(LOCAL, rope_base=1_000_000.0, window=None)),
    further=(Stage((LOCAL, LOCAL)),),
    post_norms=True,
)
SEED, GROUP, SCALE = 0, 32, 0.0025
CHUNK = 256  # of our prompt, as `speaking` reads it


def main() -> None:
    flags = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = flags.add_argument
    add("--llama", metavar="BENCH", help="llama.cpp's llama-bench")
    add("--rounds", type=int, default=7)
    add("--threads", type=int, default=2)
    add("--prompt", type=int, default=512)
    add("--said", type=int, default=64)
    add("--folder", type=Path, help="where the models are, or are to be put")
    add("--ours", type=Path, help=argparse.SUPPRESS)  # a process of our side
    given = flags.parse_args()
    if given.ours is not None:
        print(json.dumps(measured(given.ours, given)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        print(json.dumps(compared(folder, given), indent=2))


def compared(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Both sides in turns."""
    from beside import conditions, spread  # here alone: it brings JAX, which a device does without

    ours, llama = folder / "int4", folder / "q4_0.gguf"
    if not ours.exists():
        write_ours(ours)
    if given.llama and not llama.exists():
        write_gguf(llama)
    rounds: list[dict[str, dict[str, float]]] = []
    for _ in range(given.rounds):
        found = {"ours": run_ours(ours, given)}
        if given.llama:
            found["llama"] = run_llama(llama, given)
        rounds.append(found)
    sides = {
        side: {
            name: spread([one[side][name] for one in rounds], digits=2) for name in rounds[0][side]
        }
        for side in rounds[0]
    }
    ratios = {
        name: spread([one["ours"][name] / one["llama"][name] for one in rounds], digits=3)
        for name in ("decoded_per_s", "read_per_s")
        if given.llama
    }
    files = {"ours": (ours / WEIGHTS).stat().st_size}
    files |= {"llama": llama.stat().st_size} if given.llama else {}
    return {
        "threads": given.threads,
        "prompt": given.prompt,
        "said": given.said,
        "rounds": given.rounds,
        "file_mb": {side: round(size / 1e6, 1) for side, size in files.items()},
        **sides,
        "ratio": ratios,
        "conditions": conditions("onnxruntime", "numpy", seed=SEED),
    }


def run_ours(folder: Path, given: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, __file__, "--ours", str(folder), "--threads", str(given.threads)]
    command += ["--prompt", str(given.prompt), "--said", str(given.said)]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def measured(folder: Path, given: argparse.Namespace) -> dict[str, float]:
    """What one process of ours does, all of a step included but for its text."""
    begun = time.perf_counter()
    runtime = Runtime(folder, threads=given.threads)
    loaded = time.perf_counter() - begun
    random = np.random.default_rng(SEED)
    row, ids = runtime.row(given.said + 2), random.integers(0, runtime.config.vocab, given.prompt)
    i = int(runtime.extend(row, runtime.embed(ids[:1])).logits[0].argmax())
    begun = time.perf_counter()
    for _ in range(given.said):
        i = int(runtime.extend(row, runtime.embed(np.array([i]))).logits[0].argmax())
    decoded = given.said / (time.perf_counter() - begun)
    row = runtime.row(given.prompt)
    runtime.extend(row, runtime.embed(ids[:CHUNK]))  # as llama-bench: once to warm up
    row.length, begun = 0, time.perf_counter()
    for at in range(0, given.prompt, CHUNK):
        asked = None if at + CHUNK >= given.prompt else []
        runtime.extend(row, runtime.embed(ids[at : at + CHUNK]), asked=asked)
    read = given.prompt / (time.perf_counter() - begun)
    return {"decoded_per_s": decoded, "read_per_s": read, "load_s": loaded, **resident()}


def resident() -> dict[str, float]:
    """This process's memory in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    kb = {
        name: int(value.split()[0])
        for name, value in (
            line.split(":", 1) for line in lines if line.startswith(("VmRSS", "RssAnon"))
        )
    }
    return {"resident_mb": kb["VmRSS"] * 1.024e-3, "anonymous_mb": kb["RssAnon"] * 1.024e-3}


def run_llama(file: Path, given: argparse.Namespace) -> dict[str, float]:
    command = [given.llama, "-m", str(file), "-t", str(given.threads), "-r", "1", "-o", "json"]
    command += ["-p", str(given.prompt), "-n", str(given.said)]
    with tempfile.NamedTemporaryFile("w+") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL)
        most = 0
        while process.poll() is None:
            most = max(most, _resident_of(process.pid))
            time.sleep(0.02)
        out.seek(0)
        found = json.load(out)
    rates = {("read" if one["n_prompt"] else "decoded") + "_per_s": one["avg_ts"] for one in found}
    return {**rates, "resident_mb": most / 1e6}


def _resident_of(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * 4096


def write_ours(folder: Path) -> None:
    """The graphs of random weights."""
    import ml_dtypes

    from castor.device.stored import keep
    from castor.models.block import Block
    from castor.models.decoder import Decoder, Model
    from castor.models.quant import QTensor

    random, config = np.random.default_rng(SEED), GEMMA_3_1B
    D, F, V, H = config.width, config.hidden, config.vocab, config.head_width
    queries, keys = config.heads * H, config.kv_heads * H

    def codes(*sides: int, by_row: bool = False) -> Any:
        made: Any = random.integers(-8, 8, sides, np.int8).astype(ml_dtypes.int4)
        groups = [*sides]
        groups[-1 if by_row else -2] //= GROUP
        scales: Any = np.full(groups, SCALE, np.float32)
        return QTensor(made, scales)

    def block(repeats: int) -> Any:
        def norm(width: int) -> Any:
            return np.zeros((repeats, width), np.float32)

        attention = codes(repeats, D, queries), codes(repeats, D, keys), codes(repeats, D, keys)
        feed = codes(repeats, D, F), codes(repeats, D, F), codes(repeats, F, D)
        return Block(
            norm(D),
            *attention,
            *(norm(H), norm(H), codes(repeats, queries, D), norm(D)),
            *feed,
            *(norm(D), norm(D)),
        )

    blocks = tuple(block(repeats) for _, repeats in config.entries)
    final: Any = np.zeros(D, np.float32)
    model = Model(Decoder(codes(V, D, by_row=True), blocks, final), {})
    keep(model, config=config, folder=folder, precision="int4")


def write_gguf(file: Path) -> None:
    """The same shape in llama.cpp's format; it has no vocabulary."""
    import gguf

    random, config = np.random.default_rng(SEED), GEMMA_3_1B
    D, F, H = config.width, config.hidden, config.head_width
    writer = gguf.GGUFWriter(str(file), "gemma3")
    writer.add_context_length(config.context)
    writer.add_embedding_length(D)
    writer.add_block_count(config.layers)
    writer.add_feed_forward_length(F)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.kv_heads)
    writer.add_key_length(H)
    writer.add_value_length(H)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_sliding_window(512)
    writer.add_rope_freq_base(1e6)
    writer.add_vocab_size(config.vocab)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)
    writer.add_tokenizer_model("no_vocab")

    def matrix(name: str, outputs: int, inputs: int) -> None:
        blocks = np.empty((outputs, inputs // GROUP, 18), np.uint8)
        blocks[..., :2] = np.full((1, 1, 1), SCALE, np.float16).view(np.uint8)
        blocks[..., 2:] = random.integers(0, 256, (*blocks.shape[:2], 16), np.uint8)
        kind = gguf.GGMLQuantizationType.Q4_0
        writer.add_tensor(f"{name}.weight", blocks.reshape(outputs, -1), raw_dtype=kind)

    def norms(*names: str, width: int) -> None:
        for name in names:
            writer.add_tensor(f"{name}.weight", np.ones(width, np.float32))

    matrix("token_embd", config.vocab, D)
    norms("output_norm", width=D)
    for i in range(config.layers):
        at = f"blk.{i}"
        matrix(f"{at}.attn_q", config.heads * H, D)
        matrix(f"{at}.attn_k", config.kv_heads * H, D)
        matrix(f"{at}.attn_v", config.kv_heads * H, D)
        matrix(f"{at}.attn_output", D, config.heads * H)
        matrix(f"{at}.ffn_gate", F, D)
        matrix(f"{at}.ffn_up", F, D)
        matrix(f"{at}.ffn_down", D, F)
        norms(f"{at}.attn_q_norm", f"{at}.attn_k_norm", width=H)
        around = ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm")
        norms(*(f"{at}.{name}" for name in around), width=D)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
