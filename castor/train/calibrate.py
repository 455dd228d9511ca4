"""Rounding weights by what goes into them: second moments of inputs, and codes that suit them.

A product's error is e' H e for each output, where e is the error of the weight's column and H the
second moments of its inputs. Every weight is rounded in three ways, and the one of least error is
kept: it is never worse than rounding to nearest, by that measure.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from castor.checkpoint import Checkpoint, CodecCheckpoint
from castor.core.batch import Batch
from castor.core.recipe import from_json
from castor.data.folders import Jsonl
from castor.data.mixture import Mixture, Part
from castor.models import decoder
from castor.models.decoder import Model
from castor.models.quant import (
    ALL_INT4,
    COLUMNS,
    GROUP,
    ROWS,
    Codes,
    Format,
    Formats,
    QTensor,
    Weight,
    as_tensor,
    best_codes,
    chosen,
    dense,
    nearest,
    quantised,
)
from castor.models.sizes import ModelConfig
from castor.train.objectives import cross_entropy
from castor.train.prepare import picture_book
from castor.train.recipe import FineTune, Recipe
from castor.train.rows import rows_of

DAMP = 0.01  # of the mean second moment, added to each: as Frantar et al.
LENGTH = 512  # tokens of a row of documents, at most
HEAD = ".decoder.embedding"
MOST = 3.0  # times what another part counts, at most [ours]
Moments = dict[str, Array]  # by the path of a weight; [..., I, I], stacked as the weight is


def batches_of(
    found: Checkpoint, *, data: Path, aside: Path, steps: int, rows: int = 8
) -> Iterator[Batch]:
    """Batches of what a model learned from, other ones than in its own run; of the .jsonl files in
    `data` where nobody knows what that was. Every part comes as often as any other, and counts as
    much, or up to three times as much if it counted for more then: what is left out is unlearned.

    `aside` is a folder for the codes of pictures.

    Raises:
        ValueError: the data is not there, or it is not known what the model learned from and there
            are no such files.
    """
    recipe = _recipe(found, data)
    if isinstance(recipe, FineTune):
        data = data.resolve().parent
    whole = {"rows": rows, "groups": 1, "accumulate": 1, "workers": 0}
    mixture = Mixture(tuple(map(_even, recipe.mixture.parts)), balance="parts")
    recipe = replace(recipe, mixture=mixture, steps=steps, seed=recipe.seed + 1, **whole)
    book = None
    if found.codec is not None:
        book = picture_book(recipe, CodecCheckpoint(*found.codec), data=data, out=aside)
    made = rows_of(recipe, config=found.config, vocab=found.vocab, book=book, data=data)
    return islice(made.training(0, range(rows)), steps)


def _even(part: Part) -> Part:
    return replace(part, share=1.0, emphasis=min(max(part.emphasis, 1.0), MOST))


def _recipe(found: Checkpoint, data: Path) -> Recipe | FineTune:
    try:
        return from_json(Recipe, found.recipe)
    except ValueError:
        if not any(data.rglob("*.jsonl")):
            raise ValueError(
                f"what this model learned from is not known, and {data} holds no .jsonl file"
            ) from None
    own = Mixture((Part(Jsonl(data.resolve().name), 1.0),))
    length = min(LENGTH, found.config.context)
    return FineTune(name="calibrate", start="", mixture=own, steps=1, rows=1, length=length)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Watched:
    """What stands in the place of a weight so that the gradient of `sums` is its input moments."""

    weight: Array  # [I, O]
    sums: Array  # [I, I], of any values

    @property
    def shape(self) -> tuple[int, ...]:
        """The weight's."""
        return self.weight.shape

    def times(self, x: Float[Array, "R I"]) -> Float[Array, "R O"]:
        """x @ weight."""
        return _watched(x, self.weight, self.sums)


@jax.custom_vjp
def _watched(x: Array, weight: Array, sums: Array) -> Array:
    return x @ weight


def _watched_forward(x: Array, weight: Array, sums: Array) -> tuple[Array, tuple[Array, Array]]:
    return x @ weight, (x, weight)


def _watched_backward(kept: tuple[Array, Array], given: Array) -> tuple[Array, Array, Array]:
    """Rows that no target depends on (padding, slots that are not used) do not count."""
    x, weight = kept
    used = jnp.where(jnp.any(given != 0, axis=1, keepdims=True), x, 0)
    sums = jnp.dot(used.T, used, preferred_element_type=jnp.float32)
    return given @ weight.T, jnp.zeros_like(weight), sums


_watched.defvjp(_watched_forward, _watched_backward)


def moments(model: Model, batches: Iterable[Batch], *, config: ModelConfig) -> Moments:
    """Sums of the outer products of the inputs of every weight that a product takes, and of the
    head. Experts have none: their products are others."""
    sums = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(_none, model))
    add = jax.jit(partial(_added, config=config), donate_argnums=0)
    for batch in batches:
        sums = add(sums, model, batch)
    return sums


def _none(model: Model) -> Moments:
    found: Moments = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(model):
        name = jax.tree_util.keystr(path)
        if name == HEAD:
            found[name] = jnp.zeros((leaf.shape[1], leaf.shape[1]), jnp.float32)
        elif chosen(path, leaf) == COLUMNS and ".experts." not in name:
            found[name] = jnp.zeros((*leaf.shape[:-1], leaf.shape[-2]), jnp.float32)
    return found


def _added(sums: Moments, model: Model, batch: Batch, *, config: ModelConfig) -> Moments:
    weights = jnp.asarray(batch.weights).reshape(-1)
    table = model.decoder.embedding

    def loss(watching: Moments) -> tuple[Array, Array]:
        def stand_in(path: tuple[Any, ...], leaf: Array) -> Array | Watched:
            name = jax.tree_util.keystr(path)
            return Watched(leaf, watching[name]) if name in watching and name != HEAD else leaf

        watched = jax.tree_util.tree_map_with_path(stand_in, model)
        states = decoder.hidden(watched, batch, config=config).reshape(-1, table.shape[1])
        targets = jnp.asarray(batch.targets).reshape(-1)
        nats, _ = cross_entropy(states, table, targets, weights, 0.0, config.logit_cap)
        return nats, states

    seen, states = jax.grad(loss, has_aux=True)(sums)
    learned = jnp.where(weights[:, None] > 0, states, 0)
    seen[HEAD] = learned.T @ learned
    return jax.tree.map(jnp.add, sums, seen)


def calibrated(
    model: Model,
    inputs: Moments,
    *,
    formats: Formats = ALL_INT4,
    report: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Model:
    """The model as `quantise` gives it, but with the codes that suit the inputs of each product.

    Raises:
        ValueError: a second moment is not finite.
    """
    paths = jax.tree_util.tree_leaves_with_path(model)
    total = sum(chosen(path, leaf) is not None for path, leaf in paths)
    done = 0

    def stand_in(path: tuple[Any, ...], leaf: Array) -> Weight:
        nonlocal done
        name, kind = jax.tree_util.keystr(path), chosen(path, leaf)
        if kind is None:
            return leaf
        report(name, done, total)
        done += 1
        by_row = kind == ROWS
        wanted = formats.of(path)
        if name not in inputs:
            return quantised(leaf, format=wanted, by_row=by_row)
        if not bool(jnp.isfinite(inputs[name]).all()):
            raise ValueError(f"the inputs of {name[1:]} are not finite")
        moment = _of_lookups_too(inputs[name]) if by_row else inputs[name]
        return suited(leaf, moment, format=wanted, by_row=by_row)

    return jax.tree_util.tree_map_with_path(stand_in, model)


def _of_lookups_too(moment: Array) -> Array:
    """A table that is the head is looked up as well: there every error counts alike."""
    mean = jnp.trace(moment) / len(moment)
    return moment / jnp.where(mean > 0, mean, 1) + jnp.eye(len(moment), dtype=moment.dtype)


@partial(jax.jit, static_argnames=("format", "by_row"))
def suited(
    w: Float[Array, "... I O"], inputs: Float[Array, "... _ _"], *, format: Format, by_row: bool
) -> QTensor:
    """A weight in the codes of least error over its inputs: of three ways the best one."""

    def one(given: tuple[Array, Array]) -> QTensor:
        matrix, moment = given
        matrix = matrix.T if by_row else matrix
        moment = damped(moment)
        ways = (
            quantised(matrix, format=format),
            quantised(matrix, format=format, importance=jnp.diag(moment)),
            compensated(matrix, moment, format=format),
        )
        best = ways[0]
        for way in ways[1:]:
            keep = error(matrix, way, moment) < error(matrix, best, moment)
            best = jax.tree.map(partial(jnp.where, keep), way, best)
        return jax.tree.map(jnp.transpose, best) if by_row else best

    if w.ndim == 2:
        return one((w, inputs))
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[-2:]), (w, inputs))
    made = jax.lax.map(one, flat)
    return jax.tree.map(lambda leaf: leaf.reshape(*w.shape[:-2], *leaf.shape[1:]), made)


def error(w: Float[Array, "I O"], made: QTensor, moment: Float[Array, "I I"]) -> Float[Array, ""]:
    """The squared error of all outputs over the inputs of these moments."""
    lost = w - dense(made)
    return jnp.sum(lost * (moment @ lost))


def damped(moment: Float[Array, "I I"]) -> Float[Array, "I I"]:
    """Moments that can be inverted, of mean 1 on the diagonal."""
    mean = jnp.trace(moment) / len(moment)
    scaled = moment / jnp.where(mean > 0, mean, 1)
    return scaled + DAMP * jnp.eye(len(moment), dtype=moment.dtype)


def compensated(w: Float[Array, "I O"], moment: Float[Array, "I I"], *, format: Format) -> QTensor:
    """Input by input, each one's rounding made up for by the weights of the inputs to come.

    Paper: Frantar et al. 2022, arXiv:2210.17323, with scales that are found when a group's turn
    comes, weighed by the second moments (as the squares of activations in Lin et al. 2023,
    arXiv:2306.00978).
    """
    upper = jnp.linalg.cholesky(jnp.linalg.inv(moment)).T
    spread = jnp.diag(upper)

    def group(left: Array, at: Array) -> tuple[Array, Codes]:
        start = at * GROUP
        block = jax.lax.dynamic_slice_in_dim(left, start, GROUP)
        rows = jax.lax.dynamic_slice_in_dim(upper, start, GROUP)  # [32, I]
        square = jax.lax.dynamic_slice_in_dim(rows, start, GROUP, axis=1)
        weighed = jax.lax.dynamic_slice_in_dim(spread, start, GROUP) ** -2.0
        found = best_codes(block[None], weighed[None, :, None], format=format)
        scales, zeros = found.scales[0], found.zeros[0]

        def row(i: Array, carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
            block, codes, lost = carry
            code = nearest(block[i], scales, zeros, format=format)
            off = (block[i] - (code - zeros) * scales) / square[i, i]
            block = block - square[i][:, None] * off[None]
            return block, codes.at[i].set(code), lost.at[i].set(off)

        empty = jnp.zeros_like(block)
        _, codes, lost = jax.lax.fori_loop(0, GROUP, row, (block, empty, empty))
        return left - rows.T @ lost, Codes(codes, scales, zeros)

    _, found = jax.lax.scan(group, w, jnp.arange(len(w) // GROUP, dtype=jnp.int32))
    return as_tensor(found, format=format)
