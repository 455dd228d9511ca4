"""Small folders as others publish models: random weights, a whole tokenizer."""

import json
from pathlib import Path

import jax

from castor.interop.hf import save_hf
from castor.models.decoder import init
from castor.models.sizes import Layer, ModelConfig
from castor.tokens.proto import bpe_model
from castor.tokens.vocab import Vocab
from tests.tokens.families import pieces

SMALL = ModelConfig(
    layers=2,
    width=32,
    hidden=64,
    heads=4,
    head_width=8,
    vocab=640,
    context=256,
    post_norms=True,
    score_scale=8**-0.5,
    pattern=(Layer(window=16), Layer(rope_base=1e6)),
)


def published(path: Path, ours: Vocab, *, dtype: str = "bfloat16") -> Path:
    """A gemma3_text folder that can be talked with."""
    model = jax.jit(init, static_argnums=0)(SMALL, jax.random.key(0))
    save_hf(path, jax.tree.map(lambda x: x.astype(dtype), model), SMALL)
    (path / "tokenizer.model").write_bytes(bpe_model(pieces("gemma", ours)))
    made = {"do_sample": True, "temperature": 0.7, "top_k": 64, "top_p": 0.95, "eos_token_id": 1}
    (path / "generation_config.json").write_text(json.dumps(made))
    return path
