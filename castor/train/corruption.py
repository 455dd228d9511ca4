"""Silent corruption: gradients that one device holds otherwise than its replicas do, and weights
that are no longer what the step before left.

Devices that differ in "replica" alone hold the same gradient, bit for bit. Before a step counts,
each sums up the bits of what it holds; where the sums differ nothing is changed, and the loop takes
the step again. What the second time is another sum belongs to the device that was wrong the first.
A device that computed its own share of a sum wrong, before it was added up, is not seen so.
"""

import math
from collections import Counter, deque
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Bool, Int32, UInt32

from castor.fleet.ledger import Ledger
from castor.models.layout import AXES, by_device, everywhere, mesh_in_use, shardings
from castor.train.programs import lean

if TYPE_CHECKING:
    from castor.train.step import StepMetrics

TRIES = 3  # of one step
FIRST, LATELY, SPREAD = 50, 100, 10  # steps to know what is usual, and deviations from it
STRIKES, WITHIN = 3, 1000  # a device that was wrong so often in so many steps is taken out
Sums = UInt32[Array | np.ndarray, "replica fsdp expert tensor sequence"]


class Fault(NamedTuple):
    """A bit that is to be turned in what a device holds of the first weight's gradient."""

    device: int  # by its place in the mesh, in the order of the axes
    word: int
    bit: int


NONE = Fault(-1, 0, 0)


class Held(NamedTuple):
    """Sums of the bits of the weights on each device, and whether they are what they should be."""

    sums: Sums  # after the step
    odd: Bool[Array, "replica fsdp expert tensor sequence"]  # before it, other than was left there


def unknown() -> Sums:
    """Of weights whose sums nobody has taken yet: zeros, everywhere on the mesh in use."""
    mesh = jax.sharding.get_mesh()
    zeros = np.zeros(tuple(mesh.shape[axis] for axis in AXES), np.uint32)
    return jax.make_array_from_callback(zeros.shape, NamedSharding(mesh, P()), lambda at: zeros[at])


def weighed(weights: Any) -> Sums:
    """The sum of the bits of the weights on each device."""
    return summed(weights, jnp.array(NONE, jnp.int32))[1]


def known(weights: Any, run: str = "") -> Sums | None:
    """The same, taken now, where the mesh in use has replicas that can be compared; `run` is the
    name of the run, if it has one."""
    return _everywhere_weighed(run)(weights) if compares() else None


@cache
def _everywhere_weighed(run: str) -> Callable[[Any], Sums]:
    def everyones(weights: Any) -> Sums:
        return everywhere(weighed(weights))

    return lean(jax.jit(everyones, keep_unused=True), told=run and f"{run} weighed")


def refuse_changed(wanted: Sums | None, found: Array | None) -> None:
    """Nothing, if the weights on the devices of this process are those of these sums.

    Raises:
        ValueError: they are not, on one that is named.
    """
    if wanted is None or found is None:
        return
    for part in found.addressable_shards:
        if np.any(np.asarray(part.data) != np.asarray(wanted)[part.index]):
            raise ValueError(f"the weights on {part.device} have changed since the step")


def compares() -> bool:
    """Whether the mesh in use has replicas that can be compared."""
    mesh = mesh_in_use()
    return mesh is not None and mesh.shape["replica"] > 1


def summed(tree: Any, fault: Int32[Array, "3"]) -> tuple[Any, Sums]:
    """The gradients as every device holds them, and the sum of each device's bits.

    One turned bit always changes a sum: a word counts by an odd factor modulo 2^32. A `fault` turns
    one before that.
    """
    mesh = mesh_in_use()
    assert mesh is not None
    leaves, shape = jax.tree.flatten(tree)
    specs = [place.spec for place in jax.tree.leaves(shardings(tree, mesh))]

    def part(fault: Array, *leaves: Array) -> tuple[list[Array], Array]:
        device, word, bit = fault
        here = device == jax.lax.axis_index(AXES)
        words = [_words(x) for x in leaves]
        first = next(i for i, x in enumerate(words) if x.size)
        turned = words[first] ^ jnp.where(
            here & (jnp.arange(words[first].size, dtype=jnp.int32) == word),
            jnp.uint32(1) << bit.astype(jnp.uint32),
            jnp.uint32(0),
        )
        words[first] = turned
        held = list(leaves)
        held[first] = jax.lax.bitcast_convert_type(turned, jnp.float32).reshape(held[first].shape)
        total = sum((_sum(x) for x in words), jnp.uint32(0))
        return held, total.reshape((1,) * len(AXES))

    held, sums = by_device(part, takes=(P(), *specs), gives=(specs, P(*AXES)))(fault, *leaves)
    return shape.unflatten(held), sums


def agree(sums: Sums) -> Bool[Array, ""]:
    """Whether all replicas hold the same."""
    return (jnp.asarray(sums) == jnp.asarray(sums)[:1]).all()


def unlike(first: Sums, again: Sums) -> list[int]:
    """The devices that held something else the first time, by their places in the mesh."""
    return np.flatnonzero(np.asarray(first) != np.asarray(again)).tolist()


class Faulty(ValueError):
    """Devices that were wrong again and again."""

    def __init__(self, devices: list[int]) -> None:
        super().__init__(
            f"the devices {devices} were wrong {STRIKES} times in {WITHIN} steps: go on without "
            "them, on a mesh with fewer replicas, and have that hardware looked at"
        )
        self.devices = devices  # by their places in the mesh


class Doubts:
    """Steps that are taken again before they count: the replicas did not agree about the gradient,
    weights have changed, or the loss is far from what it was lately, or not finite."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._seen: list[Sums] = []
        self._losses: deque[float] = deque(maxlen=LATELY)  # nats a target
        self._odd: tuple[int, float] | None = None  # the step that is taken again, and its loss
        self._wrong: list[tuple[int, int]] = []  # step and device
        self.spoilt: list[int] = []  # devices whose weights have changed by themselves

    def limit(self, number: int) -> float:
        """The most that the loss of a step may be before it is taken again; inf = whatever it is,
        as that of one that was taken before."""
        if self._odd is not None and self._odd[0] == number:
            return math.inf
        if len(self._losses) < FIRST:
            return float(np.finfo(np.float32).max)
        return float(np.mean(self._losses) + SPREAD * np.std(self._losses))

    def about(self, number: int, metrics: "StepMetrics") -> bool:
        """Whether a step must be taken again, from other weights if some are `spoilt`. When it has
        been, the ledger names the devices that were wrong before, or says that the loss was.

        Raises:
            ValueError: the replicas did not agree `TRIES` times.
            Faulty: a device was wrong `STRIKES` times.
        """
        if metrics.held is not None and np.any(metrics.held.odd):
            self.spoilt = np.flatnonzero(metrics.held.odd).tolist()
            self._seen, self._odd = [], None  # of a step that others may come before now
            self._named("weights", number, self.spoilt)
            return True
        loss = float(metrics.loss.nats) / max(float(metrics.loss.count), 1e-6)
        if metrics.taken:
            self._settled(number, loss, metrics.sums)
        elif metrics.sums is None or agree(metrics.sums):
            self._odd = number, loss
        else:
            self._disagreed(number, np.asarray(metrics.sums))
        return not metrics.taken

    def _settled(self, number: int, loss: float, sums: Sums | None) -> None:
        if self._odd is not None and not np.array_equal(self._odd[1], loss, equal_nan=True):
            self._ledger.happened("detected", what="loss", step=number, was=repr(self._odd[1]))
        self._odd = None
        if math.isfinite(loss):
            self._losses.append(loss)
        seen, self._seen = self._seen, []
        for before in seen:
            assert sums is not None
            self._named("gradient", number, unlike(before, sums))

    def _disagreed(self, number: int, sums: Sums) -> None:
        self._seen.append(sums)
        if len(self._seen) == TRIES:
            raise ValueError(
                f"{TRIES} times the replicas did not agree about the gradient of step {number}: "
                "take the hardware out that differs from its replicas, of the devices "
                f"{_differing(sums)}"
            )

    def _named(self, what: str, number: int, devices: list[int]) -> None:
        self._ledger.happened("detected", what=what, step=number, devices=devices)
        lately = [wrong for wrong in self._wrong if wrong[0] > number - WITHIN]
        self._wrong = lately + [(number, device) for device in devices]
        strikes = Counter(device for _, device in self._wrong)
        if faulty := sorted(device for device, often in strikes.items() if often >= STRIKES):
            self._ledger.happened("detected", what="device", step=number, devices=faulty)
            raise Faulty(faulty)


def _differing(sums: Sums) -> list[int]:
    """The devices that are not what most of their replicas are, or all where there is no most."""
    held = np.asarray(sums)
    alike = (held[None] == held[:, None]).sum(axis=0)  # replicas that hold what each one holds
    most = alike.max(axis=0)
    return np.flatnonzero((alike < most) | (2 * most <= len(held))).tolist()


def _words(x: Array) -> UInt32[Array, " n"]:
    return jax.lax.bitcast_convert_type(x.astype(jnp.float32), jnp.uint32).reshape(-1)


def _sum(words: UInt32[Array, " n"]) -> UInt32[Array, ""]:
    factors = 2 * jnp.arange(words.size, dtype=jnp.uint32) + 1
    return jnp.sum(words * factors, dtype=jnp.uint32)
