"""Small models whose weights are all at work, in the shapes of families."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from castor.core.batch import Slots
from castor.device.runtime import Runtime
from castor.device.stored import keep
from castor.device.weights import Precision
from castor.models.cache import empty_cache
from castor.models.decoder import Model, extend, init, logits
from castor.models.signals import AudioConfig, ImageConfig
from castor.models.sizes import TINY, InputsConfig, Layer, ModelConfig, Stage

SMALL = ModelConfig(
    layers=2, width=64, hidden=96, heads=4, head_width=32, vocab=192, context=64, qk_norm=False
)
LOCAL = Layer(window=8)
GEMMA_2 = replace(
    SMALL,
    kv_heads=2,
    pattern=(LOCAL, Layer()),
    post_norms=True,
    score_cap=5.0,
    logit_cap=3.0,
    score_scale=0.3,
)
GEMMA_3 = replace(
    SMALL,
    layers=4,
    kv_heads=2,
    qk_norm=True,
    pattern=(LOCAL, LOCAL, Layer(rope_base=1e6, rope_factor=8.0)),
    further=(Stage((LOCAL,)),),
    post_norms=True,
    score_scale=0.2,
)
GEMMA_4 = replace(
    SMALL,
    qk_norm=True,
    kv_heads=2,
    pattern=(LOCAL, Layer(rope_share=0.25, head_width=64, kv_heads=1, tied_values=True)),
    post_norms=True,
    value_norm=True,
    layer_scale=True,
    norm_start=0.0,
    score_scale=1.0,
    logit_cap=30.0,
)
GLOBAL = Layer(rope_base=1e6, rope_share=0.25, head_width=64)
SHARING = replace(
    GEMMA_4,
    layers=6,
    pattern=(LOCAL, GLOBAL),
    further=(
        Stage((replace(LOCAL, hidden=64), GLOBAL)),
        Stage((replace(LOCAL, keys_of=2, hidden=192), replace(GLOBAL, keys_of=3, hidden=192))),
    ),
    inputs=InputsConfig(16, 192),
)
SIGHTED = replace(
    GEMMA_3,
    image=ImageConfig(stem=(), pool=2, halo=0, layers=2, width=64, heads=4),
    audio=AudioConfig(channels=(8, 8), layers=2, width=64, heads=4, slots=64),
)
FAMILIES = {
    "ours": replace(TINY, context=64),
    "gemma": SMALL,
    "gemma2": GEMMA_2,
    "gemma3": GEMMA_3,
    "gemma3 that sees": SIGHTED,
    "gemma4 without sharing": GEMMA_4,
    "gemma4 that shares": SHARING,
    "gemma4 that shares and sees": replace(SHARING, image=SIGHTED.image),
}


def lively(config: ModelConfig) -> Model:
    """Random weights, norms included, so that leaving one out shows."""
    random = np.random.default_rng(0)
    shapes = jax.eval_shape(partial(init, config), jax.random.key(0))

    def fill(leaf: jax.ShapeDtypeStruct) -> jax.Array:
        wide = leaf.shape[-2] if len(leaf.shape) > 2 or max(leaf.shape) > 128 else 25
        return jnp.asarray(random.standard_normal(leaf.shape) * wide**-0.5, jnp.float32)

    return jax.tree.map(fill, shapes)


def runtime(model: Model, config: ModelConfig, folder: Path, precision: Precision) -> Runtime:
    keep(model, config=config, folder=folder, precision=precision)
    return Runtime(folder, threads=1)


def reference(
    model: Model,
    ids: np.ndarray,
    config: ModelConfig,
    *,
    blocks: np.ndarray | None = None,
    media: dict[str, Slots] | None = None,
) -> np.ndarray:
    """The logits of every position, as `decoder.extend` gives them."""
    cache = empty_cache(config, rows=1, room=64, dtype=jnp.float32)
    states, _ = extend(
        model,
        jnp.asarray(ids[None], jnp.int32),
        cache,
        config=config,
        valid=jnp.ones((1, len(ids)), bool),
        blocks=None if blocks is None else jnp.asarray(blocks[None]),
        media=media,
    )
    return np.asarray(logits(model, states, cap=config.logit_cap))[0]


def ids_for(config: ModelConfig, count: int = 23) -> np.ndarray:
    return np.random.default_rng(1).integers(0, config.vocab, count).astype(np.int32)
