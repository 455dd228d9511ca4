"""Ring attention: the keys of a row go round the devices that share it out, a part on each at a
time. None holds them all; what it does with one part and the passing on of the next are beside each
other.

Paper: Liu et al. 2023, arXiv:2310.01889.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

Arrays = tuple[Array, ...]
Part = Callable[[Arrays, Array], Arrays]  # of some keys, and what the queries may see of them


def mixed_around(
    part: Part, keys: Arrays, mask: Bool[Array, "B T S"], *, axis: str
) -> tuple[Float[Array, "B K G T H"], Float[Array, "B K G T"]]:
    """What the queries of a device get from all keys, and the logarithms of their total powers.

    `keys` [B, K, s, ...] are those of this device, `mask` tells of the keys of all; `part` gives
    both of a part of them, in float32.
    """
    devices, here = jax.lax.axis_size(axis), jax.lax.axis_index(axis)
    mixed, totals = part(keys, _seen(mask, keys, here))
    for turn in range(1, devices):
        keys = _passed_on(keys, axis)
        more, others = part(keys, _seen(mask, keys, (here - turn) % devices))
        both = jnp.logaddexp(totals, others)
        mixed, more = (
            x * jnp.exp(t - both)[..., None] for x, t in ((mixed, totals), (more, others))
        )
        mixed, totals = mixed + more, both
    return mixed, totals


def unmixed_around(part: Part, keys: Arrays, mask: Bool[Array, "B T S"], *, axis: str) -> Arrays:
    """The gradients of the queries and keys of a device, in float32: `part` gives those of a part
    of the keys [B, K, G, s, ...], which go round with it and are added up over G."""
    devices, here = jax.lax.axis_size(axis), jax.lax.axis_index(axis)
    of_queries, *of_keys = part(keys, _seen(mask, keys, here))
    sums = _passed_on(_by_head(of_keys), axis)
    for turn in range(1, devices):
        keys = _passed_on(keys, axis)
        more, *others = part(keys, _seen(mask, keys, (here - turn) % devices))
        of_queries = of_queries + more
        sums = _passed_on(tuple(map(jnp.add, sums, _by_head(others))), axis)
    return of_queries, *sums


def _seen(mask: Bool[Array, "B T S"], keys: Arrays, device: Array) -> Bool[Array, "B T s"]:
    s = keys[0].shape[2]
    return jax.lax.dynamic_slice_in_dim(mask, device * s, s, axis=2)


def _passed_on(arrays: Arrays, axis: str) -> Arrays:
    devices = jax.lax.axis_size(axis)
    ring = [(device, (device + 1) % devices) for device in range(devices)]
    return tuple(jax.lax.ppermute(x, axis, ring) for x in arrays)


def _by_head(gradients: list[Array]) -> Arrays:
    return tuple(x.sum(2, keepdims=True) for x in gradients)
