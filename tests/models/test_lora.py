"""Adapters: at first nothing, then what adding them to the weights would be."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from castor.core.batch import Batch
from castor.models.decoder import Model, hidden, init
from castor.models.layers import Factor, product
from castor.models.lora import Adapted, Lora, Target, adapted, init_adapters, merged
from castor.models.quant import INT8, densed, quantise
from castor.models.sizes import Layer, ModelConfig, Stage

KEY = jax.random.key(0)
PLAIN = ModelConfig(layers=2, width=32, hidden=64, heads=2, head_width=16, vocab=64)
MIXED = replace(  # what the open families have: windows, tied values, keys of another layer
    PLAIN,
    layers=4,
    pattern=(Layer(window=4),),
    further=(Stage((Layer(tied_values=True), Layer(keys_of=2)), 1),),
    post_norms=True,
)
SHAPES = pytest.mark.parametrize("config", [PLAIN, MIXED], ids=["plain", "mixed"])


def batch(seed: int = 0) -> Batch:
    tokens = np.random.default_rng(seed).integers(0, 64, (2, 8)).astype(np.int32)
    zeros, ones = np.zeros_like(tokens), np.ones(tokens.shape, np.float32)
    positions = np.broadcast_to(np.arange(8, dtype=np.int32), tokens.shape)
    return Batch(tokens, tokens, ones, zeros + 1, positions, zeros, zeros, {})


def random(tree: Any, seed: int = 1) -> Any:
    """A tree of that shape in which nothing is zero."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda x: jnp.asarray(0.1 * rng.standard_normal(x.shape).astype(np.float32)), tree
    )


def states(model: Model, config: ModelConfig) -> Any:
    return jax.jit(partial(hidden, config=config))(model, batch())


@SHAPES
def test_fresh_adapters_change_nothing(config: ModelConfig) -> None:
    model, lora = init(config, KEY), Lora(rank=4)
    tuned = adapted(model, init_adapters(config, lora, KEY), scale=lora.scale)
    np.testing.assert_array_equal(states(tuned, config), states(model, config))


@SHAPES
def test_beside_the_weights_or_added_to_them_is_the_same(config: ModelConfig) -> None:
    model, lora = init(config, KEY), Lora(rank=4, alpha=2.0)
    adapters = random(init_adapters(config, lora, KEY))
    beside = states(adapted(model, adapters, scale=lora.scale), config)
    added = states(merged(model, adapters, scale=lora.scale), config)
    np.testing.assert_allclose(beside, added, rtol=2e-4, atol=2e-5)
    assert float(jnp.abs(beside - states(model, config)).max()) > 1e-2


@pytest.mark.parametrize(
    ("targets", "names"),
    [
        (("attention",), {"wq", "wk", "wv", "wo"}),
        (("mlp",), {"gate", "up", "down"}),
        (("mlp", "attention"), {"wq", "wk", "wv", "wo", "gate", "up", "down"}),
    ],
)
def test_only_what_is_targeted_has_adapters(targets: tuple[Target, ...], names: set[str]) -> None:
    (entry,) = init_adapters(PLAIN, Lora(targets=targets), KEY)
    assert set(entry) == names


def test_a_layer_without_a_weight_has_no_adapters_for_it() -> None:
    first, tied, reader = init_adapters(MIXED, Lora(), KEY)
    assert "wv" in first and "wv" not in tied and "wk" in tied
    assert not {"wk", "wv"} & set(reader)


def test_stacked_layers_each_have_their_own() -> None:
    (entry,) = init_adapters(PLAIN, Lora(rank=3), KEY)
    assert entry["gate"].a.shape == (2, 32, 3) and entry["gate"].b.shape == (2, 3, 64)
    assert not np.array_equal(entry["gate"].a[0], entry["gate"].a[1])
    assert not np.array_equal(entry["gate"].a, entry["up"].a)


def test_merging_keeps_the_type_and_all_else() -> None:
    model = jax.tree.map(lambda x: x.astype(jnp.bfloat16), init(PLAIN, KEY))
    after = merged(model, random(init_adapters(PLAIN, Lora(), KEY)), scale=1.0)
    assert {x.dtype for x in jax.tree.leaves(after)} == {jnp.dtype(jnp.bfloat16)}
    assert after.decoder.embedding is model.decoder.embedding


@pytest.mark.parametrize(
    "format", [None, pytest.param(INT8, marks=pytest.mark.slow)], ids=["dense", "int8"]
)
def test_gradients_are_those_of_the_sum(format: Any) -> None:
    model, lora = init(PLAIN, KEY), Lora(rank=4)
    model = model if format is None else quantise(model, format=format)
    adapters = random(init_adapters(PLAIN, lora, KEY))

    def loss(make: Any, model: Model, adapters: Any) -> Any:
        return jnp.sum(hidden(make(model, adapters, scale=0.5), batch(), config=PLAIN) ** 2)

    beside = jax.jit(jax.grad(partial(loss, adapted), argnums=1))(model, adapters)
    added = jax.jit(jax.grad(partial(loss, merged), argnums=1))(densed(model), adapters)
    for one, other in zip(jax.tree.leaves(beside), jax.tree.leaves(added), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-3, atol=2e-3)


def test_weights_beside_which_adapters_learn_have_no_gradient() -> None:
    """The backward pass of a frozen weight is one product, not two."""
    x, weight = jnp.ones((8, 16)), jnp.ones((16, 32))
    narrow = Adapted(weight, jnp.ones((16, 2)), jnp.ones((2, 32)), 1.0)
    assert isinstance(narrow, Factor)

    def loss(a: Any) -> Any:
        return product(x, replace(narrow, a=a)).sum()

    text = str(jax.make_jaxpr(jax.grad(loss))(narrow.a))
    assert "f32[16,32] = dot_general" not in text and "f32[32,16] = dot_general" not in text


def test_the_full_product_is_never_written_out() -> None:
    x, narrow = (
        jnp.ones((8, 16)),
        Adapted(jnp.ones((16, 32)), jnp.ones((16, 2)), jnp.ones((2, 32)), 1),
    )
    made = jax.make_jaxpr(product)(x, narrow)
    assert "f32[16,32] =" not in str(made)
    np.testing.assert_allclose(product(x, narrow), np.full((8, 32), 16 + 32.0))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"rank": 0}, "Lora.rank=0 must be 1 or more"),
        ({"alpha": 0.0}, "Lora.alpha=0.0 must be above 0"),
        ({"targets": ()}, r"targets=\(\) must name attention or mlp, each once"),
        ({"targets": ("mlp", "mlp")}, "must name attention or mlp, each once"),
    ],
)
def test_adapters_that_make_no_sense_are_refused(fields: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        Lora(**fields)
