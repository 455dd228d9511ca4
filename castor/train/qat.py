"""Learning weights that are good after rounding: the rounded model imitates the float one.

Forward passes see every weight as `quantise` would give it; gradients pass the rounding as if it
were not there. What is learned is therefore what is used, up to the precision of the passes.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from castor.core.batch import Batch
from castor.models import decoder
from castor.models.decoder import Model
from castor.models.quant import ALL_INT4, ROWS, Formats, chosen, dense, quantised
from castor.models.sizes import ModelConfig
from castor.train.objectives import CHUNK, SOURCES, Loss
from castor.train.optim import AdamW, Cosine
from castor.train.step import cast, make_step, start

PEAK_LR = 6e-4  # of AdamW [ours]: better than 3e-4 at the demo, docs/LOG.md


class _Learned(NamedTuple):
    """Positions of a batch: states of both models, the next id, and what it counts."""

    mine: Float[Array, "R D"]
    theirs: Float[Array, "R D"]
    targets: Int[Array, " R"]
    weights: Float[Array, " R"]


def rounded(model: Model, *, formats: Formats = ALL_INT4) -> Model:
    """The model with the values that its weights have once quantised, and their own gradients.

    Paper: Bengio et al. 2013, arXiv:1308.3432 (straight-through); Jacob et al. 2017,
    arXiv:1712.05877, for training so.
    """

    def through(path: tuple[Any, ...], w: Array) -> Array:
        kind = chosen(path, w)
        if kind is None:
            return w
        still = jax.lax.stop_gradient(w)
        made = quantised(still, format=formats.of(path), by_row=kind == ROWS)
        return w + (dense(made) - still)

    return jax.tree_util.tree_map_with_path(through, model)


def imitation(
    model: Model,
    batch: Batch,
    teacher: Model,
    *,
    config: ModelConfig,
    precision: str = "float32",
    formats: Formats = ALL_INT4,
    labels: float = 0.0,
) -> Loss:
    """How far the rounded model's next ids are from the teacher's, in nats, where ids are learned;
    for a share of it, `labels`, how far they are from the targets.

    Paper: Hinton et al. 2015, arXiv:1503.02531.
    """
    student = cast(rounded(model, formats=formats), precision)
    teacher = cast(teacher, precision)
    mine, theirs = (_flat(one, batch, config) for one in (student, teacher))
    learned = _Learned(
        mine,
        jax.lax.stop_gradient(theirs),
        *(jnp.asarray(x).reshape(-1) for x in (batch.targets, batch.weights)),
    )
    apart = _divergence(student, teacher, learned, cap=config.logit_cap, labels=labels)
    zeros = jnp.zeros(SOURCES, jnp.float32)
    return Loss(apart, learned.weights.sum(), zeros, zeros, zeros)


def _flat(model: Model, batch: Batch, config: ModelConfig) -> Float[Array, "R D"]:
    return decoder.hidden(model, batch, config=config).reshape(-1, config.width)


def _divergence(
    student: Model, teacher: Model, learned: _Learned, *, cap: float | None, labels: float
) -> Float[Array, ""]:
    """Kullback-Leibler from teacher to student, and from targets for a share of `labels`, chunk by
    chunk: never are all logits held, and chunks of positions of weight 0 cost nothing."""

    def apart(given: _Learned) -> Array:
        told = jax.nn.log_softmax(decoder.logits(teacher, given.theirs, cap=cap))
        said = jax.nn.log_softmax(decoder.logits(student, given.mine, cap=cap))
        far = jnp.sum(jnp.exp(told) * (told - said), axis=-1)
        missed = -jnp.take_along_axis(said, given.targets[:, None], axis=-1)[:, 0]
        return jnp.sum(given.weights * ((1 - labels) * far + labels * missed))

    @jax.checkpoint
    def one(total: Array, given: _Learned) -> tuple[Array, None]:
        counts = jnp.any(given.weights > 0)
        return total + jax.lax.cond(counts, apart, lambda _: jnp.float32(0), given), None

    first = jnp.argsort(learned.weights <= 0, stable=True)
    chunk = min(CHUNK, len(first))
    short = -len(first) % chunk
    parts = jax.tree.map(
        lambda x: jnp.pad(x[first], ((0, short), *((0, 0),) * (x.ndim - 1))).reshape(
            -1, chunk, *x.shape[1:]
        ),
        learned,
    )
    return jax.lax.scan(one, jnp.float32(0), parts)[0]


def tuned(
    model: Model,
    batches: Iterable[Batch],
    *,
    config: ModelConfig,
    steps: int,
    begin: Model | None = None,
    peak_lr: float = PEAK_LR,
    formats: Formats = ALL_INT4,
    labels: float = 0.0,
    report: Callable[[int, float], None] = lambda done, nats: None,
) -> Model:
    """Float weights to be quantised, after that many steps of imitating the model; for a share of
    `labels`, of learning the data's own targets.

    They `begin` as other weights than the model's own where those are better once rounded.
    `report` hears how many steps are done and the last one's loss, in nats per learned id.

    Raises:
        ValueError: the loss is no longer finite.
    """
    objective = partial(imitation, config=config, formats=formats, labels=labels)
    transform = AdamW(peak_lr, decay=0.0, schedule=Cosine(floor=0.02)).transform(steps)
    own = jax.tree.map(jnp.array, model if begin is None else begin)  # the step takes them over
    state = start(own, transform, key=jax.random.key(0), ema=0.0)
    step = make_step(objective, transform, precision="float32", frozen=(model,))
    for done, batch in enumerate(batches, start=1):
        state, metrics = step(state, batch)
        nats = float(metrics.loss.nats / jnp.maximum(metrics.loss.count, 1e-6))
        if not bool(metrics.finite):
            raise ValueError(f"step {done} of --qat gave a loss that is not finite")
        report(done, nats)
    return state.model
