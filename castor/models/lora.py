"""Low-rank adapters: a narrow product beside each chosen weight of a decoder, learned in its place.

They are a tree of their own. The model's arrays are never changed: they are read where they lie.
Paper: Hu et al. 2021, arXiv:2106.09685.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, PRNGKeyArray

from castor.core.ranges import COUNT, POSITIVE
from castor.models.decoder import Model, init
from castor.models.layers import matrix, product
from castor.models.quant import Weight, dense
from castor.models.sizes import ModelConfig

Target = Literal["attention", "mlp"]
WEIGHTS: dict[Target, tuple[str, ...]] = {  # of a block
    "attention": ("wq", "wk", "wv", "wo"),
    "mlp": ("gate", "up", "down"),
}


@dataclass(frozen=True)
class Lora:
    """Which weights have adapters, how narrow those are, and how much what they add counts.

    Raises:
        ValueError: a number is out of its range, or `targets` names nothing or something twice.
    """

    rank: int = 16
    alpha: float = 32.0  # what adapters give is multiplied by alpha / rank
    targets: tuple[Target, ...] = ("attention", "mlp")

    def __post_init__(self) -> None:
        COUNT.check(self, "rank")
        POSITIVE.check(self, "alpha")
        if not self.targets or len(set(self.targets)) < len(self.targets):
            raise ValueError(f"targets={self.targets} must name {' or '.join(WEIGHTS)}, each once")

    @property
    def scale(self) -> float:
        """What the product of the two narrow matrices is multiplied by."""
        return self.alpha / self.rank


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Pair:
    """The two narrow matrices of one weight, stacked over layers as that weight is."""

    a: Array  # [repeats, I, r]
    b: Array  # [repeats, r, O]


Adapters = tuple[dict[str, Pair], ...]  # by weight, for each entry of a Decoder's blocks


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Adapted:
    """What stands in the place of a weight: weight + scale * a @ b, which is never written out."""

    weight: Weight  # [I, O]
    a: Array  # [I, r]
    b: Array  # [r, O]
    scale: float = field(metadata={"static": True})

    def times(self, x: Float[Array, "R I"]) -> Float[Array, "R O"]:
        """x @ weight + scale * (x @ a) @ b."""
        narrow = product(x, self.a) * jnp.asarray(self.scale, x.dtype)
        return product(x, self.weight) + product(narrow, self.b)


def init_adapters(config: ModelConfig, lora: Lora, key: PRNGKeyArray) -> Adapters:
    """Fresh float32 adapters: `a` is random and `b` zero, so at first they change nothing."""
    shapes = jax.eval_shape(partial(init, config), key).decoder.blocks
    names = [name for target in lora.targets for name in WEIGHTS[target]]
    return tuple(
        {
            name: _pair(jax.random.fold_in(key, len(names) * entry + i), weight.shape, lora.rank)
            for i, name in enumerate(names)
            if (weight := getattr(block, name)) is not None
        }
        for entry, block in enumerate(shapes)
    )


def adapted(model: Model, adapters: Adapters, *, scale: float) -> Model:
    """The model with adapters beside their weights; nothing is copied. `scale` is Lora's."""

    def beside(weight: Weight, pair: Pair) -> Adapted:
        return Adapted(weight, pair.a, pair.b, scale)

    return _each(model, adapters, beside)


def merged(model: Model, adapters: Adapters, *, scale: float) -> Model:
    """The model with adapters added to their weights, in those weights' type.

    Weights that are quantised become dense.
    """

    def added(weight: Weight, pair: Pair) -> Array:
        wide = dense(weight).astype(jnp.float32)
        return (wide + scale * jnp.einsum("lir,lro->lio", pair.a, pair.b)).astype(weight.dtype)

    return _each(model, adapters, added)


def _pair(key: PRNGKeyArray, shape: tuple[int, ...], rank: int) -> Pair:
    groups, inner, outer = shape
    return Pair(matrix(key, groups, inner, rank), jnp.zeros((groups, rank, outer), jnp.float32))


def _each(model: Model, adapters: Adapters, change: Callable[[Any, Pair], Any]) -> Model:
    blocks = tuple(
        replace(block, **{n: change(getattr(block, n), pair) for n, pair in pairs.items()})
        for block, pairs in zip(model.decoder.blocks, adapters, strict=True)
    )
    return replace(model, decoder=replace(model.decoder, blocks=blocks))
