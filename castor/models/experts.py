"""A mixture of experts beside a dense feed-forward layer, after Gemma 4.

Every token is computed; none is dropped because an expert is full.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Float32, Int, PRNGKeyArray

from castor.models.layers import gelu, matrix, rms_norm
from castor.models.quant import dense, rows
from castor.models.sizes import ModelConfig


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Experts:
    """One layer's E experts, their router, and the norms that part them from the dense layer."""

    norm: Array  # [D], of what they read
    post_norm: Array  # [D], of what they give
    dense_post_norm: Array  # [D], of what the dense layer gives
    router_scale: Array  # [D]
    router: Array  # [D, E]
    factors: Array  # [E], of each expert's share
    gate_up: Array  # [E, D, 2F]
    down: Array  # [E, F, D]


def init_experts(config: ModelConfig, key: PRNGKeyArray) -> Experts | None:
    """Fresh float32 weights of one layer; None where there are no experts."""
    if config.experts is None:
        return None
    D, E, F = config.width, config.experts.count, config.experts.hidden
    router, gate_up, down = jax.random.split(key, 3)
    ones, scale = partial(jnp.ones, dtype=jnp.float32), (2 * config.layers) ** -0.5
    norm = (1 - config.norm_start) * ones(D)
    return Experts(
        norm,
        norm,
        norm,
        router_scale=ones(D),
        router=matrix(router, D, E),
        factors=ones(E),
        gate_up=matrix(gate_up, E, D, 2 * F),
        down=matrix(down, E, F, D, scale=scale),
    )


def mixed(
    experts: Experts, x: Float[Array, "R D"], *, chosen: int, start: float
) -> Float[Array, "R D"]:
    """What each token's experts give, by their shares, under its norm.

    A few tokens read the matrices of their experts alone; many are sorted by expert.
    Paper: Shazeer et al. 2017, arXiv:1701.06538.
    """
    shares, which = _routed(experts, x, chosen=chosen)
    read = rms_norm(x, experts.norm, start=start)
    few = which.size <= experts.factors.shape[0]
    given = (_few if few else _many)(experts, read, which)  # [R, chosen, D]
    summed = (given.astype(jnp.float32) * shares[:, :, None]).sum(1)
    return rms_norm(summed.astype(x.dtype), experts.post_norm, start=start)


def _routed(
    experts: Experts, x: Float[Array, "R D"], *, chosen: int
) -> tuple[Float32[Array, "R chosen"], Int[Array, "R chosen"]]:
    """Shares of the likeliest experts, which add up to 1 before each expert's factor."""
    D = x.shape[1]
    scale = (experts.router_scale * jnp.asarray(D**-0.5, x.dtype))[None]
    scores = jnp.dot(rms_norm(x, None) * scale, experts.router)
    best, which = jax.lax.top_k(jax.nn.softmax(scores.astype(jnp.float32), axis=-1), chosen)
    shares = best / best.sum(-1, keepdims=True)
    return shares * experts.factors.astype(jnp.float32)[which], which


def _few(experts: Experts, x: Float[Array, "R D"], which: Int[Array, "R k"]) -> Array:
    opened = _opened(jnp.einsum("rd,rkdf->rkf", x, rows(experts.gate_up, which)))
    return jnp.einsum("rkf,rkfd->rkd", opened, rows(experts.down, which))


def _many(experts: Experts, x: Float[Array, "R D"], which: Int[Array, "R k"]) -> Array:
    order = jnp.argsort(which.reshape(-1))
    counts = jnp.bincount(which.reshape(-1), length=experts.factors.shape[0]).astype(jnp.int32)
    opened = _opened(jax.lax.ragged_dot(x[order // which.shape[1]], dense(experts.gate_up), counts))
    given = jax.lax.ragged_dot(opened, dense(experts.down), counts)
    return jnp.zeros_like(given).at[order].set(given).reshape(*which.shape, x.shape[1])


def _opened(both: Float[Array, "... FF"]) -> Float[Array, "... F"]:
    gate, up = jnp.split(both, 2, axis=-1)
    return gelu(gate) * up
