"""Quantised weights: how near they are, and that they may stand wherever a weight stood."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, PartitionSpec

from castor.core.batch import Batch
from castor.models.cache import empty_cache
from castor.models.decoder import extend, hidden, init, logits, unrolled
from castor.models.layers import lookup, product
from castor.models.layout import AXES, placement, shardings
from castor.models.quant import (
    INT4,
    INT8,
    Format,
    Formats,
    QTensor,
    dense,
    densed,
    errors,
    formats,
    is_quantised,
    quantise,
    quantised,
)
from castor.models.sizes import TINY, ExpertsConfig, ModelConfig
from castor.sample.decode import weights_in

FORMATS = (INT4, INT8, Format(4, symmetric=False), Format(8, symmetric=False))
EACH = pytest.mark.parametrize("form", FORMATS, ids=str)
CONFIG = ModelConfig(layers=3, width=32, hidden=64, heads=2, head_width=16, vocab=64)
EXPERTS = ModelConfig(
    layers=2,
    width=32,
    hidden=64,
    heads=2,
    head_width=16,
    vocab=64,
    experts=ExpertsConfig(count=4, chosen=2, hidden=32),
)


def weight(*shape: int, seed: int = 0) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape, jnp.float32) * 0.1


def batch() -> Batch:
    tokens = np.random.default_rng(0).integers(0, 64, (2, 8)).astype(np.int32)
    zeros, ones = np.zeros_like(tokens), np.ones(tokens.shape, np.float32)
    positions = np.broadcast_to(np.arange(8, dtype=np.int32), tokens.shape)
    return Batch(tokens, tokens, ones, zeros + 1, positions, zeros, zeros, {})


@EACH
def test_a_weight_within_the_range_is_off_by_half_a_step_at_most(form: Format) -> None:
    w = weight(96, 40)
    made = quantised(w, format=form)
    scales = jnp.repeat(jnp.abs(made.scales), 32, axis=0)
    codes = made.codes.astype(jnp.int32)
    inside = (codes > form.least) & (codes < form.most)
    off = jnp.abs(dense(made) - w)
    assert bool(jnp.all(jnp.where(inside, off <= scales * 0.5001, True)))


@pytest.mark.parametrize(
    ("form", "most"), list(zip(FORMATS, (0.09, 0.007, 0.085, 0.006), strict=True)), ids=str
)
def test_normal_weights_lose_what_their_bits_allow(form: Format, most: float) -> None:
    w = weight(256, 64)
    off = jnp.linalg.norm(dense(quantised(w, format=form)) - w) / jnp.linalg.norm(w)
    assert float(off) < most


def test_searched_scales_lose_less_than_those_that_reach_the_peak() -> None:
    w = weight(128, 64)
    peak = jnp.abs(w.reshape(4, 32, 64)).max(1, keepdims=True) / 7
    plain = (jnp.round(w.reshape(4, 32, 64) / peak) * peak).reshape(w.shape)
    assert float(jnp.sum((dense(quantised(w)) - w) ** 2)) < float(jnp.sum((plain - w) ** 2)) * 0.9


@EACH
def test_codes_are_what_the_formats_of_others_hold(form: Format) -> None:
    made = quantised(weight(64, 8), format=form)
    assert made.codes.dtype == (jnp.int4 if form.bits == 4 else jnp.int8)
    codes = np.asarray(made.codes).astype(int)
    assert codes.min() >= form.least
    assert codes.max() <= form.most
    scales = np.asarray(made.scales)
    np.testing.assert_array_equal(scales, scales.astype(np.float16))
    assert made.scales.shape == (2, 8)
    assert made.format == form
    assert (made.zeros is None) == form.symmetric


@EACH
def test_groups_of_zeros_stay_zero(form: Format) -> None:
    assert not bool(dense(quantised(jnp.zeros((32, 4), jnp.float32), format=form)).any())


@EACH
def test_a_numpy_loop_gives_the_same_weight(form: Format) -> None:
    made = quantised(weight(64, 3), format=form)
    codes, scales = np.asarray(made.codes).astype(np.float32), np.asarray(made.scales)
    zeros = np.zeros_like(scales) if made.zeros is None else np.asarray(made.zeros).astype(int)
    slow = [
        [(codes[i, o] - zeros[i // 32, o]) * scales[i // 32, o] for o in range(3)]
        for i in range(64)
    ]
    np.testing.assert_allclose(dense(made), np.array(slow, np.float32), rtol=1e-6)


@EACH
def test_a_table_of_rows_is_its_transpose_by_columns(form: Format) -> None:
    table = weight(12, 64)
    made, turned = quantised(table, format=form, by_row=True), quantised(table.T, format=form)
    assert made.by_row
    assert not turned.by_row
    assert made.scales.shape == (12, 2)
    np.testing.assert_array_equal(dense(made), dense(turned).T)


def test_a_stack_is_quantised_matrix_by_matrix() -> None:
    stack = weight(2, 3, 32, 8)
    made = quantised(stack)
    assert made.shape == stack.shape
    np.testing.assert_array_equal(dense(made)[1, 2], dense(quantised(stack[1, 2])))


def test_what_is_important_loses_less() -> None:
    w, many = weight(64, 64), jnp.where(jnp.arange(64) % 8 == 0, 100.0, 1.0)
    off = [(dense(made) - w)[::8] for made in (quantised(w, importance=many), quantised(w))]
    assert float(jnp.sum(off[0] ** 2)) < float(jnp.sum(off[1] ** 2))


@EACH
def test_products_and_lookups_are_those_of_the_dense_weight(form: Format) -> None:
    x, made = weight(5, 64, seed=1), quantised(weight(64, 24), format=form)
    np.testing.assert_array_equal(jax.jit(product)(x, made), jax.jit(product)(x, dense(made)))
    table, ids = quantised(weight(9, 32), format=form, by_row=True), jnp.array([[3, 8], [3, 0]])
    np.testing.assert_array_equal(lookup(table, ids), dense(table)[ids])


@pytest.mark.parametrize(
    "config",
    [CONFIG, pytest.param(EXPERTS, marks=pytest.mark.slow)],
    ids=["plain", "experts"],
)
def test_a_quantised_model_computes_what_its_dense_weights_do(config: ModelConfig) -> None:
    model = init(config, jax.random.key(0))
    made = quantise(model)
    states = jax.jit(partial(hidden, config=config))(made, batch())
    wanted = jax.jit(partial(hidden, config=config))(densed(made), batch())
    np.testing.assert_allclose(states, wanted, atol=2e-5)
    np.testing.assert_allclose(logits(made, states), logits(densed(made), wanted), atol=2e-5)


@pytest.mark.slow
def test_decoding_and_unrolled_layers_take_quantised_weights() -> None:
    made = weights_in(quantise(init(CONFIG, jax.random.key(0))), "float32")
    tokens = jnp.asarray(batch().tokens)
    cache = empty_cache(CONFIG, rows=2, room=8, dtype=jnp.float32)
    valid = jnp.ones((2, 8), bool)
    states, _ = extend(made, tokens, cache, config=CONFIG, valid=valid)
    np.testing.assert_allclose(states, hidden(made, batch(), config=CONFIG), atol=2e-5)
    flat, config = unrolled(made, CONFIG)
    np.testing.assert_allclose(hidden(flat, batch(), config=config), states, atol=2e-5)


def test_another_precision_changes_scales_and_keeps_codes() -> None:
    made = weights_in(quantise(init(CONFIG, jax.random.key(0))), "bfloat16")
    table = made.decoder.embedding
    assert (table.codes.dtype, table.dtype) == (jnp.int4, jnp.bfloat16)
    assert hidden(made, batch(), config=CONFIG).dtype == jnp.bfloat16


def test_which_weights_are_quantised() -> None:
    model = init(EXPERTS, jax.random.key(0))
    made = jax.eval_shape(quantise, model)
    leaves = jax.tree_util.tree_leaves_with_path(made, is_leaf=is_quantised)
    stay = {str(path[-1]) for path, leaf in leaves if not isinstance(leaf, QTensor)}
    norms = {".attention_norm", ".query_norm", ".key_norm", ".mlp_norm", ".final_norm"}
    assert stay == norms | {
        ".norm",
        ".post_norm",
        ".dense_post_norm",
        ".router",
        ".router_scale",
        ".factors",
    }
    assert made.decoder.embedding.by_row
    assert made.decoder.blocks[0].experts.gate_up.shape == (2, 4, 32, 64)


def test_narrow_weights_and_convolutions_stay() -> None:
    @jax.tree_util.register_dataclass
    @dataclass(frozen=True)
    class Stem:
        first: jax.Array
        wq: jax.Array
        down: jax.Array

    made = quantise(Stem(weight(3, 3, 32, 8), weight(48, 32), weight(64, 8)))
    kinds = [isinstance(leaf, QTensor) for leaf in (made.first, made.wq, made.down)]
    assert kinds == [False, False, True]


def test_the_embedding_may_have_another_format() -> None:
    made = quantise(init(CONFIG, jax.random.key(0)), formats=Formats(embedding=INT8))
    assert made.decoder.embedding.format == INT8
    assert made.decoder.blocks[0].wq.format == INT4
    assert formats(made) == ("int4", "int8")
    assert formats(densed(made)) == ()


def test_what_reads_signals_may_have_another_format() -> None:
    made = quantise(init(TINY, jax.random.key(0)), formats=Formats(INT4, encoders=INT8))
    assert formats(made.encoders) == ("int8",)
    assert formats(made.decoder) == ("int4",)


def test_what_makes_keys_and_values_may_have_another_format() -> None:
    made = quantise(init(CONFIG, jax.random.key(0)), formats=Formats(INT4, keys=INT8))
    block = made.decoder.blocks[0]
    assert (block.wk.format, block.wv.format, block.wq.format) == (INT8, INT8, INT4)


def test_errors_are_told_for_every_layer() -> None:
    model = init(CONFIG, jax.random.key(0))
    found = errors(model, quantise(model))
    down = [lost for lost in found if lost.name == "decoder.blocks.0.down"]
    assert [lost.layer for lost in down] == [0, 1, 2]
    w, made = model.decoder.blocks[0].down[1], quantise(model).decoder.blocks[0].down
    off = jnp.linalg.norm(dense(made)[1] - w) / jnp.linalg.norm(w)
    assert down[1].relative == pytest.approx(float(off), rel=1e-4)
    assert all(lost.format == INT4 and 0 < lost.relative < 0.12 for lost in found)


def test_codes_and_scales_lie_where_the_weight_would() -> None:
    model = jax.eval_shape(quantise, init(CONFIG, jax.random.key(0)))
    places = shardings(model, AbstractMesh((1, 2, 1, 2, 1), AXES)).decoder.blocks[0]
    whole = PartitionSpec(None, "fsdp", "tensor")
    assert placement(".decoder.blocks[0].wq.codes", (3, 32, 32)) == whole
    assert places.wq.codes.spec == whole
    assert places.wq.scales.spec == PartitionSpec(None, None, "tensor")  # one group is not cut


def test_what_cannot_be_kept_is_refused() -> None:
    with pytest.raises(ValueError, match="kept in 4 or 8 bits, not in 3"):
        Format(3)
    with pytest.raises(ValueError, match=r"shape \(48, 8\) has no groups of 32 along 48"):
        quantised(weight(48, 8))


def test_stored_bytes_are_codes_and_scales_and_zero_points() -> None:
    assert quantised(weight(64, 10)).stored_bytes == 64 * 10 // 2 + 2 * 10 * 2
    made = quantised(weight(64, 10), format=Format(4, symmetric=False))
    assert made.stored_bytes == 64 * 10 // 2 + 2 * 10 * 2 + 2 * 10 // 2
