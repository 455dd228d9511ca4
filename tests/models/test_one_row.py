"""One row on a GPU: its kernels give what plain products give. Here they are interpreted; those
marked gpu run them."""

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from castor.models import decoder, layers, one_query, one_row
from castor.models.attention import NOTHING, attend
from castor.models.block import init_block, project
from castor.models.cache import LayerCache, append, empty_cache
from castor.models.kernels import Machine, machine_here
from castor.models.layers import rms_norm, turns_of
from castor.models.one_row import Turned, suits, turned
from castor.models.quant import INT4, INT8, Format, dense, quantise, quantised
from castor.models.sizes import Layer, ModelConfig

HOPPER = Machine("cuda", (9, 0))
FORMATS = [None, INT8, INT4]
INPUTS, OUTPUTS = 1024, 256
STEPS = 2
LOCAL = Layer(window=16)
SHAPE = ModelConfig(
    layers=2,
    width=512,
    hidden=1024,
    heads=8,
    head_width=64,
    kv_heads=4,
    vocab=1024,
    context=1024,
    pattern=(LOCAL, Layer(rope_share=0.5)),
    post_norms=True,
    qk_norm=True,
)


def matrix(seed: int, outputs: int, format: Format | None) -> tuple[jax.Array, Turned]:
    """A matrix as it is, dense and in float32, and as the kernel has it."""
    w = 0.03 * jax.random.normal(jax.random.key(seed), (INPUTS, outputs))
    kept = w.astype(jnp.bfloat16) if format is None else quantised(w, format=format)
    rows = jax.tree.map(lambda x: x.swapaxes(0, 1), kept)
    return dense(kept).astype(jnp.float32), Turned(rows)


def row(dtype: Any = jnp.bfloat16) -> jax.Array:
    return jax.random.normal(jax.random.key(9), (1, INPUTS)).astype(dtype)


@pytest.mark.parametrize("format", FORMATS, ids=str)
def test_products_side_by_side_are_those_of_each(format: Format | None) -> None:
    pairs = [matrix(i, n * OUTPUTS, format) for i, n in enumerate((1, 2, 1))]
    found = one_row.one_row(row(), *(w for _, w in pairs), dtype=jnp.float32, interpret=True)
    plain = jnp.concatenate([row().astype(jnp.float32) @ w for w, _ in pairs], axis=1)
    np.testing.assert_allclose(found, plain, atol=2e-5)


@pytest.mark.parametrize("start", [0.0, 1.0])
@pytest.mark.parametrize("format", FORMATS, ids=str)
def test_norm_and_gate_are_those_of_the_layer(format: Format | None, start: float) -> None:
    (first, gate), (second, up) = (matrix(i, OUTPUTS, format) for i in range(2))
    norm = jax.random.normal(jax.random.key(5), (INPUTS,))
    run = partial(one_row.one_row, row(), norm=norm, start=start, dtype=jnp.float32)
    x = rms_norm(row(jnp.bfloat16).astype(jnp.float32), norm, start=start)
    np.testing.assert_allclose(run(up, interpret=True), x @ second, atol=5e-5)
    gated = run(gate, up, gated=True, interpret=True)
    np.testing.assert_allclose(gated, jax.nn.gelu(x @ first) * (x @ second), atol=1e-4)


def test_only_one_row_of_bfloat16_on_such_a_gpu_suits(monkeypatch: pytest.MonkeyPatch) -> None:
    _, w = matrix(0, OUTPUTS, None)
    assert not suits(row(), w)  # a CPU
    monkeypatch.setattr(one_row, "machine_here", lambda: HOPPER)
    assert suits(row(), w) and suits(row(), w, matrix(1, 2 * OUTPUTS, None)[1])
    assert not suits(row(), w, matrix(1, OUTPUTS, INT4)[1])  # of two forms
    assert not suits(row(jnp.float32), w)
    assert not suits(jnp.concatenate([row(), row()]), w)
    assert not suits(row(), w.rows)  # not turned
    assert not suits(row(), matrix(1, OUTPUTS, Format(4, symmetric=False))[1])
    assert not suits(row()[:, :96], Turned(w.rows[:, :96]))
    monkeypatch.setattr(one_row, "machine_here", lambda: Machine("cuda", (7, 5)))
    assert not suits(row(), w)


@pytest.mark.slow
@pytest.mark.parametrize("format", [INT4], ids=str)
def test_turned_models_say_the_same_of_many_rows(format: Format | None) -> None:
    model, config = small(format)
    ids, valid = jnp.arange(24, dtype=jnp.int32).reshape(2, 12), jnp.ones((2, 12), bool)
    cache = empty_cache(config, rows=2, room=64, dtype=jnp.bfloat16)
    said = [
        decoder.extend(one, ids, cache, config=config, valid=valid)[0].astype(jnp.float32)
        for one in (model, turned(model))
    ]
    np.testing.assert_allclose(*said, atol=0.06)


def small(format: Format | None) -> tuple[decoder.Model, ModelConfig]:
    """A model in bfloat16, its layers apart."""
    model = jax.jit(partial(decoder.init, SHAPE))(jax.random.key(0))
    model, config = decoder.unrolled(model, SHAPE)
    model = model if format is None else quantise(model, format=format)
    return in_type(model, jnp.bfloat16), config


def in_type(model: Any, dtype: Any) -> Any:
    def cast(x: jax.Array) -> jax.Array:
        return x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x

    return jax.tree.map(cast, model)


def said_by(model: decoder.Model, config: ModelConfig, steps: int = STEPS) -> jax.Array:
    """Logits of some steps, one id at a time, after a prompt."""
    dtype = model.decoder.final_norm.dtype
    cache = empty_cache(config, rows=1, room=64, dtype=dtype)
    ids, valid = jnp.arange(20, dtype=jnp.int32)[None], jnp.ones((1, 20), bool)
    _, cache = decoder.extend(model, ids, cache, config=config, valid=valid)
    found = []
    for i in range(steps):
        one = jnp.array([[7 * i + 3]], jnp.int32)
        states, cache = decoder.extend(model, one, cache, config=config, valid=valid[:, :1])
        found.append(decoder.logits(model, states[:, 0]))
    return jnp.stack(found)


@pytest.mark.slow
@pytest.mark.parametrize("format", [None, INT8], ids=str)
def test_a_model_says_with_the_kernels_what_it_says_without(
    monkeypatch: pytest.MonkeyPatch, format: Format | None
) -> None:
    model, config = small(format)
    exact = said_by(in_type(model, jnp.float32), config)
    plain = said_by(model, config)
    called: list[str] = []

    def interpreted(function: Any) -> Any:
        def call(*given: Any, **more: Any) -> Any:
            called.append(function.__name__)
            return function(*given, **more, interpret=True)

        return call

    monkeypatch.setattr(one_row, "machine_here", lambda: HOPPER)
    row_kernel, query_kernel = map(interpreted, (one_row.one_row, one_query.attend_new))
    for module in (one_row, one_query, layers, decoder):
        monkeypatch.setattr(module, "one_row", row_kernel)
    monkeypatch.setattr(one_query, "attend_new", query_kernel)
    found = said_by(turned(model), config)
    assert called.count("one_row") == STEPS * (4 * SHAPE.layers + 1)  # the table is the head
    assert called.count("attend_new") == STEPS * SHAPE.layers
    off = [float(jnp.abs(one - exact).max()) for one in (found, plain)]
    assert off[0] < 1.2 * off[1] < 0.1


@pytest.mark.parametrize(("at", "window"), [(0, None), (31, None), (32, 8), (63, None), (63, 20)])
@pytest.mark.parametrize("normed", [False, True])
def test_attention_is_that_of_the_layer_and_changes_one_column(
    normed: bool, at: int, window: int | None
) -> None:
    K, G, S, H = 2, 3, 64, 32
    layer = Layer(rope_share=0.5)
    config = replace(
        SHAPE, width=64, hidden=64, heads=K * G, head_width=H, kv_heads=K, qk_norm=normed
    )
    block = jax.tree.map(lambda x: x + 0.1, init_block(config, layer, jax.random.key(1)))
    held = LayerCache(*jax.random.normal(jax.random.key(2), (2, K, S, H)))
    x, where = jax.random.normal(jax.random.key(3), (1, 1, 64)), jnp.array([at], jnp.int32)
    turns = turns_of(where[:, None], H, base=100.0, share=0.5)
    columns = jnp.arange(S)[None, None]
    mask = (columns <= at) & (columns > at - (window or S))
    q, own = project(block, x, turns, config=config, layer=layer)
    assert own is not None
    after = append(held, *own, at=where)
    seen = attend(q, *after.by_row(K), mask=mask)
    flat = rms_norm(x[0], block.attention_norm, start=config.norm_start)
    assert block.wk is not None and block.wv is not None
    joined = jnp.concatenate([flat @ w for w in (block.wq, block.wk, block.wv)], axis=1)[0]
    mixed, k, v = one_query.attend_new(
        joined,
        held.k,
        held.v,
        jnp.where(mask[0, 0], 0.0, NOTHING),
        turns.cos.reshape(-1),
        turns.sin.reshape(-1),
        where,
        norms=(block.query_norm, block.key_norm) if normed else (),
        start=config.norm_start,
        scale=H**-0.5,
        interpret=True,
    )
    np.testing.assert_allclose(mixed.reshape(-1), seen.reshape(-1), atol=3e-6)
    for ours, theirs, before in ((k, after.k, held.k), (v, after.v, held.v)):
        np.testing.assert_allclose(ours, theirs, atol=3e-6)
        np.testing.assert_array_equal(np.delete(ours, at, 1), np.delete(before, at, 1))


@pytest.mark.gpu
@pytest.mark.parametrize("format", FORMATS, ids=str)
def test_the_kernels_of_a_gpu_say_it_too(format: Format | None) -> None:
    assert machine_here().platform == "cuda"
    model, config = small(format)
    exact, plain = said_by(in_type(model, jnp.float32), config), said_by(model, config)
    seen = jax.jit(lambda m: said_by(m, config)).lower(turned(model))
    assert "one_row" in seen.as_text() and "attend_new" in seen.as_text()
    found = said_by(turned(model), config)
    off = [float(jnp.abs(one - exact).max()) for one in (found, plain)]
    assert off[0] < 1.2 * off[1] < 0.1
