"""Which kernel computes attention: chosen by the device, and exact wherever it is learned from.

| device                             | what                                        | kernel |
|------------------------------------|---------------------------------------------|--------|
| NVIDIA GPU, compute capability 8.0 | bfloat16 or float16, not learned from, rows | cudnn  |
| or later                           | and keys of multiples of 64, heads of       |        |
|                                    | multiples of 8 up to 128, no cap, no mesh   |        |
| every other, CPU and TPU too       | everything                                  | exact  |

Learning stays with the exact kernel of castor.models.attention: cuDNN's backward pass adds in an
order of its own each time, unless XLA is told to leave such kernels out
(`xla_gpu_exclude_nondeterministic_ops`), and a run that resumes must give the same bits.
"""

import re
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float

Kernel = Literal["exact", "cudnn"]
Implementation = Literal["cudnn", "xla"]

EVEN = 64  # rows and keys come in multiples of it; few rows gain nothing
WIDEST_HEAD = 128
OLDEST = (8, 0)


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
    head_width: int,
    cap: float | None,
    meshed: bool,
) -> Kernel:
    """The kernel for attention that nothing is learned from, whatever its mask is."""
    runs_there = machine.platform == "cuda" and machine.capability >= OLDEST
    narrow = dtype in (jnp.bfloat16, jnp.float16)
    even = not (queries % EVEN or keys % EVEN) and min(queries, keys) > 0
    fits = not head_width % 8 and head_width <= WIDEST_HEAD
    plain = cap is None and not meshed
    return "cudnn" if runs_there and narrow and even and fits and plain else "exact"


def fused(
    q: Float[Array, "B K G T H"],
    k: Float[Array, "B K S H"],
    v: Float[Array, "B K S H"],
    mask: Bool[Array, "B T S"],
    *,
    implementation: Implementation = "cudnn",
) -> Float[Array, "B K G T H"]:
    """Attention of scaled queries through what JAX ships; one that sees nothing gets zeros."""
    B, K, G, T, H = q.shape
    rows = q.transpose(0, 3, 1, 2, 4).reshape(B, T, K * G, H)
    mixed = jax.nn.dot_product_attention(
        rows,
        k.swapaxes(1, 2),
        v.swapaxes(1, 2),
        mask=mask[:, None],
        scale=1.0,
        implementation=implementation,
    )
    seen = jnp.where(mask.any(-1)[:, :, None, None], mixed, jnp.zeros_like(mixed))
    return seen.reshape(B, T, K, G, H).transpose(0, 2, 3, 1, 4)
