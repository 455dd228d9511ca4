"""Counted arithmetic against arithmetic done by hand."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from castor.core.batch import Batch
from castor.models import decoder
from castor.models.sizes import ModelConfig
from castor.train import flops as module
from castor.train.flops import flops, peak_flops


def test_a_product_counts_two_per_multiplication() -> None:
    a, b = jnp.ones((3, 5)), jnp.ones((5, 7))
    assert flops(jnp.matmul, a, b) == 2 * 3 * 5 * 7
    assert flops(lambda a, b: jnp.einsum("ij,jk->ik", a, b) + 1, a, b) == 2 * 3 * 5 * 7


def test_batched_products_and_convolutions_count() -> None:
    a, b = jnp.ones((4, 3, 5)), jnp.ones((4, 5, 7))
    assert flops(jnp.matmul, a, b) == 4 * 2 * 3 * 5 * 7
    image, kernel = jnp.ones((1, 8, 8, 3)), jnp.ones((3, 3, 3, 6))
    convolve = partial(
        jax.lax.conv_general_dilated,
        window_strides=(1, 1),
        padding="SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    assert flops(convolve, image, kernel) == 2 * (8 * 8 * 6) * (3 * 3 * 3)


def test_a_scan_counts_with_its_length_and_a_branch_with_its_costliest() -> None:
    a = jnp.ones((4, 4))
    scanned = flops(lambda a: jax.lax.scan(lambda x, _: (x @ a, None), a, length=6), a)
    assert scanned == 6 * 2 * 4**3
    branched = flops(lambda a: jax.lax.cond(a[0, 0] > 0, lambda: a @ a @ a, lambda: a @ a), a)
    assert branched == 2 * 2 * 4**3


def test_a_decoder_costs_two_per_weight_and_token_and_its_attention() -> None:
    config = ModelConfig(layers=3, width=32, hidden=64, heads=2, head_width=16, vocab=64)
    B, T = 2, 24
    zeros = np.zeros((B, T), np.int32)
    batch = Batch(zeros, zeros, zeros.astype(np.float32), zeros, zeros, zeros, zeros, {})
    shapes = jax.eval_shape(partial(decoder.init, config), jax.random.key(0))
    weights = sum(x.size for x in jax.tree.leaves(shapes.decoder.blocks) if x.ndim == 3)
    attention = 3 * 2 * B * 2 * T * T * 32
    assert flops(partial(decoder.hidden, config=config), shapes, batch) == pytest.approx(
        2 * weights * B * T + attention, rel=0.01
    )


def test_the_peak_is_a_rate_that_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(np.arange(0, 1000, 0.5).tolist())
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(clock))
    assert peak_flops("float32", least_s=0.1) == 2 * 512**3 / 0.5
