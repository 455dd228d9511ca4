"""What a shape costs: its weights by name, and the arithmetic of a token; nothing is computed."""

from functools import partial
from math import prod
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh

from castor.core.batch import Batch
from castor.models import decoder
from castor.models.image_codec import CodecConfig, init_codec
from castor.models.layout import AXES, bytes_per_device, lengths
from castor.models.sizes import ModelConfig
from castor.train.flops import flops
from castor.train.optim import Optimizer

Shapes = dict[str, tuple[int, ...]]


def shapes_of(config: ModelConfig | CodecConfig) -> Shapes:
    """The shape of every weight by its path, e.g. "decoder.blocks.0.wq"."""
    paths = jax.tree_util.tree_leaves_with_path(_tree(config))
    names = (jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in paths)
    return {name: leaf.shape for name, (_, leaf) in zip(names, paths, strict=True)}


def grouped(shapes: Shapes) -> dict[str, int]:
    """Numbers of weights by the first two steps of their paths, e.g. "encoders.image"."""
    counts: dict[str, int] = {}
    for name, shape in shapes.items():
        group = ".".join(name.split(".")[:2])
        counts[group] = counts.get(group, 0) + prod(shape)
    return counts


def flops_per_token(config: ModelConfig, *, length: int) -> float:
    """Operations of a forward pass over a row of text, logits included, for each of its tokens."""
    ids = np.zeros((1, length), np.int32)
    batch = Batch(ids, ids, ids.astype(np.float32), ids, ids, ids, ids, {})

    def forward(model: decoder.Model, batch: Batch) -> jax.Array:
        states = decoder.hidden(model, batch, config=config)
        return decoder.logits(model, states, cap=config.logit_cap)

    return flops(forward, _tree(config), batch) / length


def bytes_on_each(
    config: ModelConfig | CodecConfig, *, mesh: dict[str, int], optimizer: Optimizer | None = None
) -> dict[str, int]:
    """Bytes on the fullest device of a mesh, which need not exist: of float32 weights and of their
    gradients, and of the moments of an optimizer if one is named."""
    over, tree = AbstractMesh(lengths(mesh), AXES), _tree(config)
    weights = bytes_per_device(tree, over)
    if optimizer is None:
        return {"weights": weights}
    moments = jax.eval_shape(optimizer.transform(1).init, tree)
    return {
        "weights": weights,
        "gradients": weights,
        "moments": bytes_per_device(moments, over),
    }


def _tree(config: ModelConfig | CodecConfig) -> Any:
    """The weights as shapes without values."""
    make = init_codec if isinstance(config, CodecConfig) else decoder.init
    return jax.eval_shape(partial(make, config), jax.random.key(0))
