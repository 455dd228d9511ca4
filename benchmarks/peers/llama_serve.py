"""The other peer of `benchmarks/serve.py`: llama.cpp's server over random weights.

    PEER benchmarks/peers/llama_serve.py '{"layers": 6, ..., "rows": 32, "positions": 256,
        "server": ".peers-llama/bin/llama-server"}'

Its architecture `gemma` has our shape, but for norms of queries and keys, which it lacks. Each line
{"weights": "f32", "cache": "f16", "threads": 2, "unified": "on", "flash": "off", "sampling": "on"}
on standard input starts the server with these settings, instead of the one before, and is answered
with its port when it listens. It ends with us.
"""

import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter, TokenType, quants
from gguf.constants import LlamaFileType

UNKNOWN, BEGIN, END = 0, 1, 2  # ids
TYPES = {
    "f32": (GGMLQuantizationType.F32, LlamaFileType.ALL_F32),
    "f16": (GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16),
    "bf16": (GGMLQuantizationType.BF16, LlamaFileType.MOSTLY_BF16),
}
START_S = 60


def tensors(shape: dict) -> dict:
    """All arrays, [out, in] each. The logit of the id that ends a reply is always 0, and so never
    the largest."""
    rng = np.random.default_rng(0)

    def matrix(out: int, into: int) -> np.ndarray:
        return rng.normal(0, into**-0.5, (out, into)).astype(np.float32)

    width, hidden = shape["width"], shape["hidden"]
    queries = shape["heads"] * shape["head_width"]
    keys = shape["kv_heads"] * shape["head_width"]
    embedding = matrix(shape["vocab"], width)
    embedding[END] = 0
    found = {"token_embd": embedding, "output_norm": np.ones(width, np.float32)}
    for layer in range(shape["layers"]):
        found |= {
            f"blk.{layer}.attn_norm": np.ones(width, np.float32),
            f"blk.{layer}.attn_q": matrix(queries, width),
            f"blk.{layer}.attn_k": matrix(keys, width),
            f"blk.{layer}.attn_v": matrix(keys, width),
            f"blk.{layer}.attn_output": matrix(width, queries),
            f"blk.{layer}.ffn_norm": np.ones(width, np.float32),
            f"blk.{layer}.ffn_gate": matrix(hidden, width),
            f"blk.{layer}.ffn_up": matrix(hidden, width),
            f"blk.{layer}.ffn_down": matrix(width, hidden),
        }
    return found


def describe(file: GGUFWriter, shape: dict) -> None:
    """The shape, and a vocabulary of made-up words: prompts come as ids."""
    file.add_context_length(shape["rows"] * shape["positions"])
    file.add_embedding_length(shape["width"])
    file.add_block_count(shape["layers"])
    file.add_feed_forward_length(shape["hidden"])
    file.add_head_count(shape["heads"])
    file.add_head_count_kv(shape["kv_heads"])
    file.add_key_length(shape["head_width"])
    file.add_value_length(shape["head_width"])
    file.add_layer_norm_rms_eps(1e-6)
    words = ["<unk>", "<s>", "</s>", "<0x0A>", *(f"\u2581w{i}" for i in range(4, shape["vocab"]))]
    kinds = [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL, TokenType.BYTE]
    file.add_tokenizer_model("llama")
    file.add_token_list(words)
    file.add_token_scores([-float(i) for i in range(len(words))])
    file.add_token_types(kinds + [TokenType.NORMAL] * (len(words) - len(kinds)))
    file.add_unk_token_id(UNKNOWN)
    file.add_bos_token_id(BEGIN)
    file.add_eos_token_id(END)
    file.add_add_bos_token(False)


def write(path: Path, shape: dict, weights: str) -> None:
    """A model file; all types hold the same weights, but for rounding."""
    kind, of_file = TYPES[weights]
    file = GGUFWriter(path, "gemma")
    describe(file, shape)
    file.add_file_type(of_file)
    for name, array in tensors(shape).items():
        held = kind if array.ndim == 2 else GGMLQuantizationType.F32
        file.add_tensor(f"{name}.weight", quants.quantize(array, held), raw_dtype=held)
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class Server:
    """One server at a time, over files in a folder."""

    def __init__(self, shape: dict, folder: Path) -> None:
        self.shape, self.folder = shape, folder
        self.process = None

    def start(self, wanted: dict) -> int:
        self.stop()
        path = self.folder / f"{wanted['weights']}.gguf"
        if not path.exists():
            write(path, self.shape, wanted["weights"])
        rows, port, threads = self.shape["rows"], free_port(), str(wanted["threads"])
        flags = ["--model", str(path), "--port", str(port), "--parallel", str(rows)]
        flags += ["--ctx-size", str(rows * self.shape["positions"]), "--fit", "off"]
        flags += ["--threads", threads, "--threads-batch", threads]
        flags += ["--threads-http", str(2 * rows), "--cache-ram", "0", "--log-verbosity", "1"]
        flags += ["--cache-type-k", wanted["cache"], "--cache-type-v", wanted["cache"]]
        flags += ["--flash-attn", wanted["flash"]]
        flags += ["--kv-unified" if wanted["unified"] == "on" else "--no-kv-unified"]
        flags += ["--backend-sampling"] if wanted["sampling"] == "on" else []
        self.process = subprocess.Popen(
            [self.shape["server"], *flags], stdin=subprocess.DEVNULL, stdout=sys.stderr
        )
        late = time.monotonic() + START_S
        while not self.listens(port):
            if self.process.poll() is not None or time.monotonic() > late:
                raise SystemExit(f"llama-server does not start with {flags}")
            time.sleep(0.05)
        return port

    def listens(self, port: int) -> bool:
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/health").status == 200
        except OSError:
            return False

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait()


def version(server: str) -> str:
    told = subprocess.run([server, "--version"], capture_output=True, text=True, check=True)
    return (told.stdout + told.stderr).partition("version: ")[2].partition("\n")[0]


def main() -> None:
    shape = json.loads(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        server = Server(shape, Path(folder))
        print(json.dumps({"versions": {"llama.cpp": version(shape["server"])}}), flush=True)
        try:
            for line in sys.stdin:
                print(json.dumps({"port": server.start(json.loads(line))}), flush=True)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
