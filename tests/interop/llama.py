"""Small random models of the shapes that llama.cpp computes, and its server, where there is one."""

import json
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from castor.core.batch import Batch
from castor.models.decoder import Model, hidden, init, logits
from castor.models.sizes import ExpertsConfig, InputsConfig, Layer, ModelConfig, Stage
from castor.tokens.learn import learn
from castor.tokens.vocab import Vocab

SERVER = Path(__file__).parents[2] / ".peers-llama" / "llama-server"
TEXT = "The quick brown fox jumps over the lazy dog, while 12 other animals look on.\n\nWhy?\t"
START_S = 30
LOCAL = Layer(window=5)
SIZES: dict[str, Any] = {"width": 64, "hidden": 96, "heads": 4, "head_width": 16, "kv_heads": 2} | {
    "context": 128
}
GEMMA4: dict[str, Any] = {"norm_start": 0.0, "score_scale": 1.0, "value_norm": True} | {
    "post_norms": True,
    "layer_scale": True,
}
TIED4 = Layer(rope_share=0.5, rope_base=1e6, tied_values=True, blocks=False)
WHOLE4 = Layer(rope_base=1e6, rope_share=0.25, head_width=32, blocks=False)
READING = (
    Layer(window=5, hidden=192, blocks=False, keys_of=2),
    Layer(rope_base=1e6, rope_share=0.25, head_width=32, hidden=192, blocks=False, keys_of=3),
)
SHAPES: dict[str, dict[str, Any]] = {
    "gemma": {"layers": 3, "qk_norm": False, "kv_heads": 1},
    "gemma2": {"layers": 4, "qk_norm": False, "post_norms": True, "pattern": (LOCAL, Layer())}
    | {"score_cap": 20.0, "logit_cap": 10.0, "score_scale": 16**-0.5},
    "gemma3": {"layers": 6, "post_norms": True, "score_scale": 24**-0.5}
    | {"pattern": (LOCAL, LOCAL, Layer(rope_base=1e6, rope_factor=8.0))},
    "gemma3 whole": {"layers": 2, "post_norms": True, "score_scale": 0.25},
    "gemma4 shared": GEMMA4
    | {"layers": 6, "pattern": (Layer(window=5, blocks=False), WHOLE4)}
    | {"further": (Stage((Layer(window=5, blocks=False), WHOLE4)), Stage(READING))}
    | {"inputs": InputsConfig(8, 1), "logit_cap": 9.0},
    "gemma4 experts": GEMMA4
    | {
        "layers": 4,
        "pattern": (LOCAL, Layer(rope_share=0.5, rope_base=1e6, tied_values=True, blocks=False)),
    }
    | {"experts": ExpertsConfig(4, 2, 32)},
}


@cache
def spoken() -> Vocab:
    """A vocabulary of few words, with a few picture codes."""
    return learn([TEXT * 9], size=400, codes=16)


def shape(name: str, **changes: Any) -> ModelConfig:
    """One of SHAPES, for that vocabulary."""
    sizes = SIZES | SHAPES[name] | {"vocab": spoken().size} | changes
    if "inputs" in sizes:
        sizes["inputs"] = InputsConfig(sizes["inputs"].width, sizes["vocab"])
    return ModelConfig(**sizes)


def random_model(config: ModelConfig, seed: int = 0) -> Model:
    """Weights of which no norm is plain."""
    rng = np.random.default_rng(seed)

    def drawn(leaf: jax.ShapeDtypeStruct) -> jax.Array:
        is_vector = leaf.ndim < 2 + (leaf.shape[0] != config.vocab)
        wide = 0.3 if is_vector else leaf.shape[-2] ** -0.5
        return jnp.asarray(rng.normal(0, wide, leaf.shape), jnp.float32)

    shapes = jax.eval_shape(partial(init, config), jax.random.key(0))
    return jax.tree.map(drawn, shapes)


def scores(model: Model, config: ModelConfig, ids: list[int]) -> np.ndarray:
    """Log-probabilities of every next id, [T, V]."""
    tokens = np.array([ids], np.int32)
    ones, places = np.ones_like(tokens), np.arange(len(ids), dtype=np.int32)[None]
    batch = Batch(tokens, tokens, ones.astype(np.float32), ones, places, 0 * ones, ones, {})
    states = hidden(model, batch, config=config)
    return np.asarray(jax.nn.log_softmax(logits(model, states, cap=config.logit_cap)[0], -1))


def greedy(model: Model, config: ModelConfig, ids: list[int], count: int) -> list[int]:
    """The likeliest ids after some, all computed anew for each."""
    found = list(ids)
    for _ in range(count):
        padded = found + [0] * (len(ids) + count - len(found))
        found.append(int(_scores(model, config, tuple(padded))[len(found) - 1].argmax()))
    return found[len(ids) :]


def _scores(model: Model, config: ModelConfig, ids: tuple[int, ...]) -> jnp.ndarray:
    return jnp.asarray(scores(model, config, list(ids)))


@contextmanager
def served(path: Path) -> Iterator[str]:
    """The address of llama.cpp's server of a file; the test is skipped where it is not built."""
    if not SERVER.exists():
        pytest.skip(f"{SERVER.name} is not built; `make llama` does it")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    flags = ["--model", str(path), "--port", str(port), "--ctx-size", "128", "--parallel", "1"]
    flags += ["--threads", "1", "--cache-type-k", "f32", "--cache-type-v", "f32", "--fit", "off"]
    flags += ["--flash-attn", "off", "--log-verbosity", "1", "--no-warmup"]
    process = subprocess.Popen([SERVER, *flags], stdin=subprocess.DEVNULL)
    address, late = f"http://127.0.0.1:{port}", time.monotonic() + START_S
    try:
        while not _listens(address):
            assert process.poll() is None and time.monotonic() < late, "llama-server does not start"
            time.sleep(0.05)
        yield address
    finally:
        process.terminate()
        process.wait()


def asked(address: str, path: str, body: dict[str, Any]) -> Any:
    """What the server answers."""
    data = json.dumps(body).encode()
    request = urllib.request.Request(
        address + path, data, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as reply:
        return json.load(reply)


def _listens(address: str) -> bool:
    try:
        return urllib.request.urlopen(f"{address}/health").status == 200
    except OSError:
        return False
