"""Small folders as others publish models: random weights, a whole tokenizer."""

import json
from dataclasses import replace
from pathlib import Path

import jax

from castor.interop.heads import save_heads
from castor.interop.hf import save_hf
from castor.models.decoder import init
from castor.models.heads import Embedder, init_heads
from castor.models.sizes import Layer, ModelConfig
from castor.tokens.proto import bpe_model
from castor.tokens.vocab import Vocab
from tests.tokens.families import pieces

SMALL = ModelConfig(
    layers=2,
    width=32,
    hidden=64,
    heads=4,
    head_width=16,
    vocab=640,
    context=256,
    post_norms=True,
    score_scale=16**-0.5,
    pattern=(Layer(window=16), Layer(rope_base=1e6)),
)


def embedding(path: Path, ours: Vocab) -> Path:
    """A folder of the same family that sees ahead and has heads, as sentence-transformers lays
    EmbeddingGemma out."""
    ahead = tuple(replace(layer, ahead=True) for layer in SMALL.pattern)
    published(path, ours, dtype="float32", config=replace(SMALL, pattern=ahead))
    prompts = {
        "query": "task: search result | query: ",
        "document": "title: none | text: ",
        "Clustering": "task: clustering | query: ",
    }
    save_heads(path, Embedder(init_heads((32, 64, 32), jax.random.key(1)), prompts))
    return path


def published(
    path: Path, ours: Vocab, *, dtype: str = "bfloat16", config: ModelConfig = SMALL
) -> Path:
    """A gemma3_text folder that can be talked with."""
    model = jax.jit(init, static_argnums=0)(config, jax.random.key(0))
    save_hf(path, jax.tree.map(lambda x: x.astype(dtype), model), config)
    (path / "tokenizer.model").write_bytes(bpe_model(pieces("gemma", ours)))
    made = {"do_sample": True, "temperature": 0.7, "top_k": 64, "top_p": 0.95, "eos_token_id": 1}
    (path / "generation_config.json").write_text(json.dumps(made))
    return path
