"""Which kernel is chosen when, and that each gives what the exact one gives."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from castor.models import attention
from castor.models.attention import attend, causal
from castor.models.kernels import (
    Implementation,
    Machine,
    fused,
    kernel_for,
    machine_here,
    unfused,
)
from castor.train.programs import steady

B, T, K, G, H = 2, 64, 2, 2, 16
HOPPER = Machine("cuda", (9, 0))
SUITS: dict[str, Any] = {
    "dtype": jnp.dtype(jnp.bfloat16),
    "queries": 128,
    "keys": 192,
    "heads": 32,
    "head_width": 64,
    "cap": None,
    "meshed": False,
    "learned": False,
}


@pytest.mark.parametrize("machine", [HOPPER, Machine("cuda", (8, 0)), Machine("cuda", (12, 0))])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_cudnn_is_chosen_where_it_fits(machine: Machine, dtype: Any) -> None:
    assert kernel_for(machine, **{**SUITS, "dtype": jnp.dtype(dtype)}) == "cudnn"


@pytest.mark.parametrize("changed", [{"learned": True}, {"head_width": 256}], ids=str)
def test_it_learns_and_reads_wide_heads_too(changed: dict[str, Any]) -> None:
    assert kernel_for(HOPPER, **{**SUITS, **changed}) == "cudnn"


@pytest.mark.parametrize(
    "changed",
    [
        {"machine": Machine("cpu")},
        {"machine": Machine("tpu")},
        {"machine": Machine("gpu")},
        {"machine": Machine("cuda", (7, 5))},
        {"dtype": jnp.dtype(jnp.float32)},
        {"queries": 130},
        {"queries": 1},
        {"keys": 100},
        {"head_width": 20},
        {"head_width": 264},
        {"head_width": 256, "learned": True},
        {"machine": Machine("cuda", (8, 0)), "learned": True},
        {"machine": Machine("cuda", (12, 0)), "learned": True},
        {"queries": 32_768, "keys": 32_768, "learned": True},
        {"head_width": 256, "machine": Machine("cuda", (8, 0))},
        {"cap": 50.0},
        {"meshed": True},
    ],
    ids=str,
)
def test_all_else_is_exact(changed: dict[str, Any]) -> None:
    machine = changed.get("machine", HOPPER)
    given = {**SUITS, **{k: v for k, v in changed.items() if k != "machine"}}
    assert kernel_for(machine, **given) == "exact"


class Card:
    """A device as JAX describes it."""

    platform = "gpu"

    def __init__(self, capability: str) -> None:
        self.compute_capability = capability


def test_the_machine_is_what_its_first_device_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine_here() == Machine("cpu")
    monkeypatch.setattr(jax, "devices", lambda: [Card("12.0")])
    assert machine_here() == Machine("cuda", (12, 0))
    monkeypatch.setattr(jax, "devices", lambda: [Card("gfx90a")])
    assert machine_here() == Machine("gpu")


def packed(dtype: Any = jnp.float32, *, whole: bool = False) -> tuple[jax.Array, ...]:
    """Queries, keys, values and the mask of rows of two documents, a picture, and padding; or of
    rows that are a `whole` document of text."""
    draw = np.random.default_rng(0)
    q = draw.normal(size=(B, T, K * G, H))
    k, v = draw.normal(size=(2, B, T, K, H))
    segments = np.ones((B, T), np.int32)
    blocks = np.zeros((B, T), np.int32)
    if not whole:
        segments[0, 20:50], segments[0, 50:] = 2, 0
        blocks[1, 8:24] = 1
    mask = causal(jnp.asarray(segments), jnp.asarray(blocks))
    return *(jnp.asarray(x, dtype) for x in (q, k, v)), mask


def through(implementation: Implementation, q: Any, k: Any, v: Any, mask: Any) -> jax.Array:
    """As `attend` has it, with rows first."""
    scaled = (q * jnp.asarray(H**-0.5, q.dtype)).reshape(B, T, K, G, H).transpose(0, 2, 3, 1, 4)
    mixed = fused(scaled, k.swapaxes(1, 2), v.swapaxes(1, 2), mask, implementation=implementation)
    return mixed.transpose(0, 3, 1, 2, 4).reshape(B, T, K * G, H)


@pytest.mark.parametrize("whole", [False, True])
def test_what_jax_ships_gives_what_the_exact_kernel_gives(whole: bool) -> None:
    q, k, v, mask = packed(whole=whole)
    found = through("xla", q, k, v, mask)
    np.testing.assert_allclose(found, attend(q, k, v, mask=mask), atol=2e-6)
    assert whole or not np.asarray(found[0, 50:]).any()  # padding sees nothing


@pytest.mark.parametrize("whole", [False, True])
def test_its_gradients_are_those_of_the_exact_kernel(whole: bool) -> None:
    q, k, v, mask = packed(whole=whole)
    grad = jnp.asarray(np.random.default_rng(1).normal(size=(B, K, G, T, H)), jnp.float32)
    turned = q.reshape(B, T, K, G, H).transpose(0, 2, 3, 1, 4), k.swapaxes(1, 2), v.swapaxes(1, 2)

    def exact(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        return attention._attend(q, k, v, mask, None, False)

    found = unfused(*turned, mask, grad, implementation="xla")
    for ours, theirs in zip(found, jax.vjp(exact, *turned)[1](grad), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_where_a_gpu_has_its_own_kernel_a_cpu_stays_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v, mask = packed(jnp.bfloat16)
    before = np.asarray(jax.jit(attend)(q, k, v, mask=mask)).view(np.uint16)
    traced: list[str] = []

    def stand_in(q: jax.Array, *_: jax.Array) -> jax.Array:
        traced.append("fused")
        return jnp.zeros_like(q)

    monkeypatch.setattr(attention, "machine_here", lambda: HOPPER)
    monkeypatch.setattr(attention, "fused", stand_in)
    again = jax.jit(lambda *x: attend(*x, mask=mask))(q, k, v)
    assert traced == ["fused"]
    np.testing.assert_array_equal(np.asarray(again).view(np.uint16), before)


def test_what_is_learned_from_has_it_on_a_gpu_too(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v, mask = packed(jnp.bfloat16)

    def loss(q: jax.Array) -> jax.Array:
        return attend(q, k, v, mask=mask).astype(jnp.float32).sum()

    exact = np.asarray(jax.jit(jax.grad(loss))(q), np.float32)
    monkeypatch.setattr(attention, "machine_here", lambda: HOPPER)
    monkeypatch.setattr(attention, "fused", lambda q, *_: jax.lax.bessel_i1e(q))
    monkeypatch.setattr(attention, "unfused", lambda q, k, v, *_: (jax.lax.lgamma(q), k, v))
    for learned in (loss, jax.checkpoint(loss)):
        traced = jax.jit(jax.grad(learned)).trace(q)
        assert "lgamma" in traced.lower(lowering_platforms=("cuda",)).as_text()
        np.testing.assert_allclose(jax.jit(jax.grad(learned))(q), exact, atol=1e-6)  # on a CPU


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_cudnn_gives_what_the_exact_kernel_gives(dtype: Any) -> None:
    assert machine_here().platform == "cuda"
    q, k, v, mask = packed(dtype)
    found = np.asarray(jax.jit(attend)(q, k, v, mask=mask), np.float32)
    exact = attend(*(x.astype(jnp.float32) for x in (q, k, v)), mask=mask)
    np.testing.assert_allclose(found, exact, atol=0.03)
    assert not found[0, 50:].any()
    program = jax.jit(attend).lower(q, k, v, mask=mask).as_text()
    assert "__cudnn$fmha" in program


@pytest.mark.gpu
@pytest.mark.parametrize("whole", [False, True])
def test_cudnn_learns_what_the_exact_kernel_learns_and_the_same_each_time(whole: bool) -> None:
    assert machine_here().platform == "cuda"
    q, k, v, mask = packed(jnp.bfloat16, whole=whole)
    grad = jnp.asarray(np.random.default_rng(1).normal(size=q.shape), jnp.bfloat16)

    def back(q: jax.Array, k: jax.Array, v: jax.Array, grad: jax.Array) -> Any:
        return jax.vjp(lambda *x: attend(*x, mask=mask), q, k, v)[1](grad)

    learned = jax.jit(back, compiler_options=steady())
    found = [np.asarray(x, np.float32) for x in learned(q, k, v, grad)]
    wide = (x.astype(jnp.float32) for x in (q, k, v, grad))
    for ours, theirs in zip(found, jax.jit(back)(*wide), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=0.06)
    for again in (learned(q, k, v, grad) for _ in range(5)):
        for first, second in zip(found, again, strict=True):
            np.testing.assert_array_equal(first, np.asarray(second, np.float32))
