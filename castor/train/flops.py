"""How much arithmetic a function asks for, and how much this machine can do: measured, not quoted.

Only matrix products and convolutions are counted, each multiplication and addition as one.
"""

import time
from collections.abc import Callable, Iterator
from math import prod
from typing import Any

import jax
import jax.numpy as jnp


def flops(function: Callable[..., Any], *arguments: Any) -> int:
    """Floating-point operations of one call, read from its trace; nothing is computed.

    Scans count with their length. A loop whose length is only known at run time counts once.
    """
    return _count(jax.make_jaxpr(function)(*arguments).jaxpr)


def peak_flops(precision: str, *, least_s: float = 0.05) -> float:
    """Operations per second of the fastest of several square matrix products on this device.

    Of random numbers: a GPU at its limit of power multiplies ones a tenth faster than these.
    """
    size, best = 512, 0.0
    product = jax.jit(jnp.matmul)
    while True:
        a = jax.random.normal(jax.random.key(0), (size, size), jnp.dtype(precision))
        product(a, a).block_until_ready()
        times = []
        for _ in range(4):
            start = time.perf_counter()
            product(a, a).block_until_ready()
            times.append(time.perf_counter() - start)
        best = max(best, 2 * size**3 / min(times))
        if min(times) > least_s or size >= 16384:
            return best
        size *= 2


def _count(jaxpr: Any) -> int:
    return sum(_of(equation) for equation in jaxpr.eqns)


def _of(equation: Any) -> int:
    name, parameters = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = parameters["dimension_numbers"]
        left, out = equation.invars[0].aval.shape, equation.outvars[0].aval.shape
        return 2 * prod(out) * prod(left[axis] for axis in contracted)
    if name == "conv_general_dilated":
        kernel, out = equation.invars[1].aval.shape, equation.outvars[0].aval.shape
        channels_out = kernel[parameters["dimension_numbers"].rhs_spec[0]]
        return 2 * prod(out) * prod(kernel) // channels_out
    counts = [_count(inner) for inner in _inside(parameters)]
    if name == "cond":
        return max(counts, default=0)
    return sum(counts) * (parameters["length"] if name == "scan" else 1)


def _inside(parameters: dict[str, Any]) -> Iterator[Any]:
    """The traces within an equation's parameters."""
    for value in parameters.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            inner = getattr(item, "jaxpr", item)
            if hasattr(inner, "eqns"):
                yield inner
