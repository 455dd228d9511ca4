"""One training step: gradients of an objective, an update, and what the metrics need to know.

The step is one compiled function; it may take over the state's memory. A step whose gradient is not
finite changes nothing but the count of such steps; one whose loss is more than it may be, or whose
gradient is not the same on all replicas of a mesh, changes nothing at all.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jaxtyping import Float, Int, PRNGKeyArray

from castor.models.layout import everywhere, settled
from castor.train.corruption import NONE, Fault, Held, Sums, agree, compares, unknown, weighed
from castor.train.corruption import summed as summed_bits
from castor.train.objectives import Loss
from castor.train.programs import lean, steady

Objective = Callable[..., Loss]  # of what is learned, a batch and what is frozen


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """Everything that a run is made of between two steps; float32 throughout."""

    model: Any
    average: Any  # exponential moving average of the weights; empty if not asked for
    moments: Any
    key: PRNGKeyArray
    step: Int[Array, ""]
    skipped: Int[Array, ""]  # steps whose gradient was not finite


class StepMetrics(NamedTuple):
    """What one step tells: its loss sums, the norm of its gradient, and whether it counted."""

    loss: Loss
    gradient_norm: Float[Array, ""]
    finite: Array
    taken: Array  # whether the step was taken at all
    sums: Sums | None = None  # on a mesh with replicas: what each device holds of the gradient
    held: Held | None = None  # and of the weights


@runtime_checkable
class Step(Protocol):
    """A compiled step."""

    def __call__(
        self,
        state: TrainState,
        batch: Any,
        *,
        after: int = -1,
        limit: float = math.inf,
        fault: Fault = NONE,
        held: Sums | None = None,
    ) -> tuple[TrainState, StepMetrics]:
        """The state after a batch. It stays as it is if it is not the one `after` so many steps, or
        the loss is more than `limit` nats a target or not finite; on a mesh with replicas also if
        their gradients differ, or its weights from those that the step before left (`held.sums` of
        its metrics). -1, inf and None = whatever they are."""
        ...


def start(
    model: Any, transform: optax.GradientTransformation, *, key: Array, ema: float
) -> TrainState:
    """The state before step 0."""
    average = jax.tree.map(jnp.array, model) if ema else ()
    counts = jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32)  # two buffers: both are donated
    return TrainState(model, average, transform.init(model), key, *counts)


def make_step(
    objective: Objective,
    transform: optax.GradientTransformation,
    *,
    precision: str,
    accumulate: int = 1,
    ema: float = 0.0,
    frozen: tuple[Any, ...] = (),
    ready: Callable[[], None] = lambda: None,
    told: str = "",
    donate: bool = True,
) -> Step:
    """The compiled step. Batches are cut into `accumulate` parts along their rows.

    `precision` is the type of the forward and backward pass; weights and moments stay float32.
    `frozen` are trees that the objective is given too: they stay as they are and have no gradient.
    `ready` is as in `lean`; `told` too, of all of the above. To `donate` a state is to give its
    memory to the next one.
    """
    gradients = _gradients(objective, precision=precision, accumulate=accumulate)

    def step(
        state: TrainState,
        batch: Any,
        frozen: tuple[Any, ...],
        after: Array,
        limit: Array,
        fault: Array,
        held: Sums | None,
    ) -> tuple[TrainState, StepMetrics]:
        loss, slope = gradients(state.model, batch, frozen)
        count = jnp.maximum(loss.count, 1e-6)
        slope, left = jax.tree.map(lambda g: g / count, slope), None
        usual = jnp.isinf(limit) | (loss.nats / count <= limit)
        taken = usual & ((after < 0) | (after == state.step))
        slope, alike, sums, odd = _compared(state, slope, fault, held)
        finite = jnp.isfinite(norm := optax.tree.norm(slope)) & jnp.isfinite(loss.nats)
        fresh, taken = _moved(state, slope, transform, ema=ema), taken & alike
        kept = jax.tree.map(partial(jnp.where, finite & taken), fresh, state)
        skipped = jnp.where(taken & ~finite, state.skipped + 1, state.skipped)
        counts = jnp.where(taken, state.step + 1, state.step), skipped
        new = TrainState(kept.model, kept.average, kept.moments, kept.key, *counts)
        if held is not None:
            left = Held(jnp.where(taken, weighed(settled(new).model), held), odd)
        return settled(new), everywhere(StepMetrics(loss, norm, finite, taken, sums, left))

    given = (0,) if donate else ()
    jitted = jax.jit(step, donate_argnums=given, keep_unused=True, compiler_options=steady())
    program = lean(jitted, ready=ready, told=told)
    return _called(program, frozen)


def _called(program: Callable[..., Any], frozen: tuple[Any, ...]) -> Step:
    """The compiled step as it is called: numbers as arrays, so that none is compiled in."""

    def call(
        state: TrainState,
        batch: Any,
        *,
        after: int = -1,
        limit: float = math.inf,
        fault: Fault = NONE,
        held: Sums | None = None,
    ) -> tuple[TrainState, StepMetrics]:
        held = unknown() if held is None and compares() else held
        given = np.int32(after), np.float32(limit), np.array(fault, np.int32)
        return program(state, batch, frozen, *given, held)

    return call


class _Compared(NamedTuple):
    slope: Any  # as the devices hold it
    alike: Array  # whether all is as it should be
    sums: Sums | None = None  # of the gradient
    odd: Any = None  # the devices that hold other weights than the step before left


def _compared(state: TrainState, slope: Any, fault: Array, held: Sums | None) -> _Compared:
    if held is None:
        return _Compared(slope, jnp.bool_(True))
    slope, sums = summed_bits(slope, fault)
    odd = (held != 0).any() & (weighed(state.model) != held)
    return _Compared(slope, agree(sums) & ~odd.any(), sums, odd)


def _moved(
    state: TrainState, slope: Any, transform: optax.GradientTransformation, *, ema: float
) -> TrainState:
    """The state after an update; its counts are as before."""
    with jax.numpy_dtype_promotion("standard"):  # optax raises floats to integer powers
        change, moments = transform.update(slope, state.moments, state.model)
    model = optax.apply_updates(state.model, change)
    age = (state.step + 1).astype(jnp.float32)
    decay = jnp.minimum(ema, age / (age + 9))  # young averages are short
    average = jax.tree.map(
        lambda old, new: decay * old + (1 - decay) * new, state.average, model if ema else ()
    )
    key = jax.random.fold_in(state.key, 1)
    return TrainState(model, average, moments, key, state.step, state.skipped)


def _gradients(
    objective: Objective, *, precision: str, accumulate: int
) -> Callable[[Any, Any, tuple[Any, ...]], tuple[Loss, Any]]:
    """The loss and its gradient, summed over the parts of a batch."""

    def total(model: Any, batch: Any, frozen: tuple[Any, ...]) -> tuple[Float[Array, ""], Loss]:
        loss = objective(cast(model, precision), batch, *frozen)
        return loss.nats, loss

    def gradients(model: Any, batch: Any, frozen: tuple[Any, ...]) -> tuple[Loss, Any]:
        (_, loss), slope = jax.value_and_grad(total, has_aux=True)(model, batch, frozen)
        return loss, slope

    def summed(model: Any, batch: Any, frozen: tuple[Any, ...]) -> tuple[Loss, Any]:
        parts = jax.tree.map(lambda x: x.reshape(accumulate, -1, *x.shape[1:]), batch)
        shapes = jax.eval_shape(gradients, model, jax.tree.map(lambda x: x[0], parts), frozen)
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

        def add(sums: Any, part: Any) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, sums, gradients(model, part, frozen)), None

        return jax.lax.scan(add, zeros, parts)[0]

    return gradients if accumulate == 1 else summed


def cast(tree: Any, precision: str) -> Any:
    """The tree with its floating-point leaves in another precision."""
    dtype = jnp.dtype(precision)
    return jax.tree.map(
        lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree
    )
