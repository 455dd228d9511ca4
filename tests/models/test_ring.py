"""Attention whose keys go round the devices of a row gives what one device gives."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from castor.models.attention import attend
from castor.models.layout import in_use, mesh_of

B, T, N, H = 2, 32, 4, 8


def inputs(K: int, dtype: Any = np.float32) -> list[jax.Array]:
    """Queries, keys, values and a mask under which some queries see nothing, nor most of a part."""
    random = np.random.default_rng(0)
    shapes = (B, T, N, H), (B, T, K, H), (B, T, K, H)
    arrays = [jnp.asarray(random.normal(size=shape), dtype) for shape in shapes]
    mask = np.tril(random.random((B, T, T)) < 0.6)
    mask[0, 3] = False
    mask[1, :, 8:16] = False
    return [*arrays, jnp.asarray(mask)]


def learned(arrays: list[jax.Array], *, ring: bool, cap: float | None = None) -> Any:
    """What attention gives, and the gradients of a function of it."""
    *given, mask = arrays

    def found(q: jax.Array, k: jax.Array, v: jax.Array) -> tuple[jax.Array, jax.Array]:
        mixed = attend(q, k, v, mask=mask, cap=cap, ring=ring)
        slopes = jnp.sin(jnp.arange(mixed.size, dtype=jnp.float32)).reshape(mixed.shape)
        return (mixed.astype(jnp.float32) * slopes).sum(), mixed

    return jax.jit(jax.grad(found, argnums=(0, 1, 2), has_aux=True))(*given)


@pytest.mark.parametrize(
    ("sizes", "K", "cap"),
    [
        ({"sequence": 8}, 1, None),
        ({"sequence": 4, "tensor": 2}, 2, 3.0),
        ({"sequence": 2, "tensor": 4}, 2, None),  # the heads of a group are shared out
        ({"fsdp": 2, "sequence": 4}, 4, None),
    ],
    ids=str,
)
def test_a_ring_gives_what_one_device_gives(
    sizes: dict[str, int], K: int, cap: float | None
) -> None:
    arrays = inputs(K)
    wanted = learned(arrays, ring=True, cap=cap)
    with in_use(mesh_of(sizes)):
        found = learned(arrays, ring=True, cap=cap)
        again = learned(arrays, ring=True, cap=cap)
    for one, other, same in zip(*map(jax.tree.leaves, (wanted, found, again)), strict=True):
        np.testing.assert_allclose(other, one, atol=2e-6)
        np.testing.assert_array_equal(other, same)


def test_without_a_mesh_a_ring_changes_no_bit() -> None:
    for dtype in (np.float32, jnp.bfloat16):
        ring, plain = (learned(inputs(2, dtype), ring=on) for on in (True, False))
        for one, other in zip(*map(jax.tree.leaves, (ring, plain)), strict=True):
            assert one.dtype == other.dtype == dtype
            np.testing.assert_allclose(
                one.astype(np.float32), other.astype(np.float32), atol=1e-6, rtol=2e-2
            )


def test_in_bfloat16_a_ring_rounds_once_as_all_at_once_does() -> None:
    arrays = inputs(2, jnp.bfloat16)
    exact = learned([x.astype(jnp.float32) for x in arrays[:3]] + arrays[3:], ring=False)
    with in_use(mesh_of({"sequence": 8})):
        ring, gathered = (learned(arrays, ring=on) for on in (True, False))
    for one, other, true in zip(*map(jax.tree.leaves, (ring, gathered, exact)), strict=True):
        far, usual = (np.abs(np.asarray(x, np.float32) - true).max() for x in (one, other))
        assert far <= 1.5 * usual


@pytest.mark.parametrize("ring", [True, False])
def test_in_a_ring_no_device_gathers_the_keys(ring: bool) -> None:
    arrays = inputs(2)
    with in_use(mesh_of({"sequence": 8})):
        given = [
            jax.device_put(x, jax.sharding.NamedSharding(jax.sharding.get_mesh(), place))
            for x, place in zip(
                arrays, [jax.sharding.PartitionSpec(None, "sequence")] * 4, strict=True
            )
        ]

        def found(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array) -> jax.Array:
            return (attend(q, k, v, mask=mask, ring=ring) ** 2).sum()

        program = jax.jit(jax.grad(found, argnums=(0, 1, 2))).lower(*given).compile().as_text()
    assert ("collective-permute(" in program or "collective-permute-start(" in program) == ring
    assert ("all-gather(" in program or "all-gather-start(" in program) != ring
