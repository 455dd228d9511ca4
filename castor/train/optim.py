"""Optimizers and schedules: the unions at the end are the lists of what a recipe may name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from castor.core.ranges import AMOUNT, COUNT, MEMORY, POSITIVE, SHARE
from castor.models.layers import turned
from castor.models.layout import apart

PLAIN = ("norm", "table", "embedding", "kernel", "position")  # leaves that are not matrix products


Rate = Callable[[Any], Array]  # how many steps were taken, to the learning rate of the next


@dataclass(frozen=True)
class WarmupStableDecay:
    """Linear warm-up, a plateau, linear decay to `floor` times the peak; shares of all steps.

    Paper: Hu et al. 2024, arXiv:2404.06395. The shares are [ours].
    """

    warmup: float = 0.03
    decay: float = 0.4
    floor: float = 0.02

    def __post_init__(self) -> None:
        SHARE.check(self, "warmup", "decay", "floor")

    def at(self, peak: float, steps: int) -> Rate:
        rise, fall = max(1.0, self.warmup * steps), max(1.0, self.decay * steps)

        def rate(count: Any) -> Array:
            done = jnp.asarray(count, jnp.float32)
            down = self.floor + (1 - self.floor) * jnp.clip((steps - done) / fall, 0.0, 1.0)
            return peak * jnp.minimum(jnp.minimum(1.0, (done + 1) / rise), down)

        return rate


@dataclass(frozen=True)
class Cosine:
    """Linear warm-up, then half a cosine down to `floor` times the peak.

    Paper: Loshchilov & Hutter 2016, arXiv:1608.03983.
    """

    warmup: float = 0.03
    floor: float = 0.1

    def __post_init__(self) -> None:
        SHARE.check(self, "warmup", "floor")

    def at(self, peak: float, steps: int) -> Rate:
        rise = max(1.0, self.warmup * steps)

        def rate(count: Any) -> Array:
            done = jnp.asarray(count, jnp.float32)
            along = jnp.clip((done - rise) / max(1.0, steps - rise), 0.0, 1.0)
            down = self.floor + (1 - self.floor) * 0.5 * (1 + jnp.cos(jnp.pi * along))
            return peak * jnp.minimum((done + 1) / rise, down)

        return rate


Schedule = WarmupStableDecay | Cosine


@dataclass(frozen=True)
class AdamW:
    """Loshchilov & Hutter 2017, arXiv:1711.05101; decay on matrices only."""

    peak_lr: float = 2e-3
    b1: float = 0.9
    b2: float = 0.98
    decay: float = 0.05
    clip: float = 1.0  # largest global norm of the gradient
    schedule: Schedule = WarmupStableDecay()

    def __post_init__(self) -> None:
        AMOUNT.check(self, "peak_lr", "decay")
        MEMORY.check(self, "b1", "b2")
        POSITIVE.check(self, "clip")

    def transform(self, steps: int) -> optax.GradientTransformation:
        rate = self.schedule.at(self.peak_lr, steps)
        return optax.chain(
            optax.clip_by_global_norm(self.clip),
            optax.scale_by_adam(self.b1, self.b2),
            optax.add_decayed_weights(self.decay, mask=matrices),
            optax.scale_by_learning_rate(rate),
        )


@dataclass(frozen=True)
class Adafactor:
    """Shazeer & Stern 2018, arXiv:1804.04235: factored second moments, so about half the memory."""

    peak_lr: float = 1e-2
    clip: float = 1.0
    schedule: Schedule = WarmupStableDecay()

    def __post_init__(self) -> None:
        AMOUNT.check(self, "peak_lr")
        POSITIVE.check(self, "clip")

    def transform(self, steps: int) -> optax.GradientTransformation:
        rate = self.schedule.at(self.peak_lr, steps)
        return optax.adafactor(rate, clipping_threshold=self.clip, multiply_by_parameter_scale=True)


@dataclass(frozen=True)
class Muon:
    """Orthogonalised momentum for matrices, AdamW for embeddings, norms and positions.

    Against AdamW at the same rate it halved the errors of small multimodal models at equal steps
    [ours]. Updates have the root mean square of AdamW's, so both parts share one rate.

    Paper: Jordan et al. 2024, "Muon"; Liu et al. 2025, arXiv:2502.16982, for the 0.2 √max(n, m).
    """

    peak_lr: float = 3e-3
    momentum: float = 0.95
    iterations: int = 5  # of Newton-Schulz
    decay: float = 0.05
    b1: float = 0.9  # of AdamW
    b2: float = 0.98
    clip: float = 1.0  # of AdamW's part
    schedule: Schedule = WarmupStableDecay()

    def __post_init__(self) -> None:
        AMOUNT.check(self, "peak_lr", "decay")
        MEMORY.check(self, "momentum", "b1", "b2")
        COUNT.check(self, "iterations")
        POSITIVE.check(self, "clip")

    def transform(self, steps: int) -> optax.GradientTransformation:
        rate = self.schedule.at(self.peak_lr, steps)
        muon = optax.chain(
            orthogonal_momentum(self.momentum, self.iterations),
            optax.add_decayed_weights(self.decay),
            optax.scale_by_learning_rate(rate),
        )
        adam = optax.chain(
            optax.clip_by_global_norm(self.clip),
            optax.scale_by_adam(self.b1, self.b2),
            optax.scale_by_learning_rate(rate),
        )

        def labels(tree: Any) -> Any:
            return jax.tree.map(lambda is_matrix: "muon" if is_matrix else "adam", matrices(tree))

        return optax.multi_transform({"muon": muon, "adam": adam}, labels)


Optimizer = AdamW | Adafactor | Muon


def matrices(tree: Any) -> Any:
    """For each leaf, whether it is a matrix product's weight (perhaps stacked over layers)."""

    def is_matrix(path: tuple[Any, ...], leaf: Array) -> bool:
        name = str(path[-1]).strip(".[]'\"") if path else ""
        wide = leaf.ndim >= 2 and min(leaf.shape[-2:]) > 16
        return wide and not any(word in name for word in PLAIN)

    return jax.tree_util.tree_map_with_path(is_matrix, tree)


class MomentumState(NamedTuple):
    """The running gradient of each matrix."""

    momentum: Any


def orthogonal_momentum(momentum: float, iterations: int) -> optax.GradientTransformation:
    """Nesterov momentum whose matrices are replaced by their nearest orthogonal ones."""

    def init(params: Any) -> MomentumState:
        return MomentumState(jax.tree.map(jnp.zeros_like, params))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, MomentumState]:
        del params
        running = jax.tree.map(lambda m, g: momentum * m + g, state.momentum, updates)
        ahead = jax.tree.map(lambda m, g: momentum * m + g, running, updates)
        leaves, tree = jax.tree.flatten(ahead)
        return tree.unflatten(_orthogonal_all(leaves, iterations)), MomentumState(running)

    return optax.GradientTransformation(init, update)


def _orthogonal_all(leaves: list[Array], iterations: int) -> list[Array]:
    """Matrices of equal shape go through the iteration together."""
    flat = [x.reshape(-1, *x.shape[-2:]) for x in leaves]
    lying = [x if x.shape[1] <= x.shape[2] else x.transpose(0, 2, 1) for x in flat]
    groups: dict[tuple[int, ...], list[int]] = {}
    for i, x in enumerate(lying):
        groups.setdefault(x.shape[1:], []).append(i)
    done: dict[int, Array] = {}
    for (rows, columns), members in groups.items():
        stacked = jnp.concatenate([lying[i] for i in members])
        result = orthogonal(stacked, iterations) * (0.2 * max(rows, columns) ** 0.5)
        ends = [sum(lying[j].shape[0] for j in members[: k + 1]) for k in range(len(members))]
        for i, part in zip(members, jnp.split(result, ends[:-1]), strict=True):
            upright = part if flat[i].shape[1] <= flat[i].shape[2] else part.transpose(0, 2, 1)
            done[i] = upright.reshape(leaves[i].shape).astype(leaves[i].dtype)
    return [done[i] for i in range(len(leaves))]


def orthogonal(x: Array, iterations: int) -> Array:
    """Each matrix of [n, rows, columns], rows <= columns, with its singular values near 1.

    Quintic Newton-Schulz in bfloat16, one matrix after another: on a CPU a batched product of
    small matrices is slower than their two-dimensional products. On a mesh each device turns some
    of them whole.
    """
    a, b, c = 3.4445, -4.7750, 2.0315

    def one(m: Array) -> Array:
        m = (m / (jnp.linalg.norm(m) + 1e-7)).astype(jnp.bfloat16)
        for _ in range(iterations):
            square = m @ turned(m)
            m = a * m + (b * square + c * (square @ square)) @ m
        return m.astype(jnp.float32)

    return apart(lambda x: jax.lax.map(one, x), x)
