"""Which kernel computes attention: chosen by the device, exact wherever no other fits.

| device                             | what                                        | kernel |
|------------------------------------|---------------------------------------------|--------|
| NVIDIA GPU, compute capability 8.0 | not learned from; bfloat16 or float16, rows | cudnn  |
| or later                           | and keys of multiples of 64, heads of       |        |
|                                    | multiples of 8 up to 128, no cap, no mesh   |        |
| the same, 9.0 or later             | heads up to 256 too                         | cudnn  |
| the same, 9.x                      | learned from too: heads up to 128, no more  | cudnn  |
|                                    | than 2^31 scores                            |        |
| every other, CPU and TPU too       | everything                                  | exact  |

cuDNN's backward pass adds in an order of its own each time, unless it is told not to: programs that
learn are compiled so (`steady` in castor.train.programs), so that a run that resumes gives the same
bits. In that order it takes two bytes of memory for each score; other GPUs may refuse it, and none
was tried. Where rows are whole documents of text, cuDNN is told so and leaves out half of the
scores.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float

Kernel = Literal["exact", "cudnn"]
Implementation = Literal["cudnn", "xla"]

EVEN = 64  # rows and keys come in multiples of it; few rows gain nothing
WIDEST_HEAD, WIDEST_READ = 128, 256
OLDEST, HOPPER = (8, 0), (9, 0)
MOST_SCORES = 2**31


class Machine(NamedTuple):
    """The device that computes; `capability` is a CUDA device's, (0, 0) of others."""

    platform: str
    capability: tuple[int, int] = (0, 0)


def machine_here() -> Machine:
    """The first device that JAX has."""
    device = jax.devices()[0]
    told = re.fullmatch(r"(\d+)\.(\d+)", str(getattr(device, "compute_capability", "")))
    if told is None:  # AMD's GPUs have names instead
        return Machine(device.platform)
    return Machine("cuda", (int(told[1]), int(told[2])))


def kernel_for(
    machine: Machine,
    dtype: np.dtype,
    *,
    queries: int,
    keys: int,
    heads: int,
    head_width: int,
    cap: float | None,
    meshed: bool,
    learned: bool,
) -> Kernel:
    """The kernel for attention, whatever its mask is, and whether it is `learned` from; `heads` are
    those of all rows."""
    runs_there = machine.platform == "cuda" and machine.capability >= OLDEST
    narrow = dtype in (jnp.bfloat16, jnp.float16)
    even = not (queries % EVEN or keys % EVEN) and min(queries, keys) > 0
    widest = WIDEST_READ if machine.capability >= HOPPER and not learned else WIDEST_HEAD
    fits = not head_width % 8 and head_width <= widest
    plain = cap is None and not meshed
    is_hopper = machine.capability[0] == HOPPER[0]
    steady = not learned or (is_hopper and heads * queries * keys <= MOST_SCORES)
    return "cudnn" if runs_there and narrow and even and fits and plain and steady else "exact"


def fused(
    q: Float[Array, "B K G T H"],
    k: Float[Array, "B K S H"],
    v: Float[Array, "B K S H"],
    mask: Bool[Array, "B T S"],
    *,
    implementation: Implementation = "cudnn",
) -> Float[Array, "B K G T H"]:
    """Attention of scaled queries through what JAX ships; one that sees nothing gets zeros."""
    through = partial(_through, implementation)
    return _as_suits(mask, through, q, k, v)


def unfused(
    q: Float[Array, "B K G T H"],
    k: Float[Array, "B K S H"],
    v: Float[Array, "B K S H"],
    mask: Bool[Array, "B T S"],
    grad: Float[Array, "B K G T H"],
    *,
    implementation: Implementation = "cudnn",
) -> tuple[Array, Array, Array]:
    """The gradients of `fused` by queries, keys and values; its result is computed again."""

    def back(mask: Array | None, q: Array, k: Array, v: Array, grad: Array) -> tuple[Array, ...]:
        return jax.vjp(partial(_through, implementation, mask), q, k, v)[1](grad)

    dq, dk, dv = _as_suits(mask, back, q, k, v, grad)
    return dq, dk, dv


def _as_suits(
    mask: Bool[Array, "B T S"], computed: Callable[..., Array | tuple[Array, ...]], *given: Array
) -> Any:
    """`computed` of the mask and what is given; of None where each sees all up to itself."""
    B, T, S = mask.shape
    if T != S:
        return computed(mask, *given)
    whole = jnp.all(mask == jnp.tril(jnp.ones((T, T), bool))[None])
    return jax.lax.cond(whole, partial(computed, None), partial(computed, mask), *given)


def _through(
    implementation: Implementation, mask: Array | None, q: Array, k: Array, v: Array
) -> Float[Array, "B K G T H"]:
    B, K, G, T, H = q.shape
    mixed = jax.nn.dot_product_attention(
        q.transpose(0, 3, 1, 2, 4).reshape(B, T, K * G, H),
        k.swapaxes(1, 2),
        v.swapaxes(1, 2),
        mask=None if mask is None else mask[:, None],
        is_causal=mask is None,
        scale=1.0,
        implementation=implementation,
    )
    if mask is not None:
        mixed = jnp.where(mask.any(-1)[:, :, None, None], mixed, jnp.zeros_like(mixed))
    return mixed.reshape(B, T, K, G, H).transpose(0, 2, 3, 1, 4)
