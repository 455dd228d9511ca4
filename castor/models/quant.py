"""Weights in 8 or 4 bits: what stands where a weight stood, and which weights it may stand for.

A group is 32 consecutive places along the dimension that a product sums over; it shares one scale.
In a matrix [I, O] that is down each column; in a table of rows [V, D], which is looked up and is
also the head, along each row. Symmetric codes are those of GGUF's Q4_0 and Q8_0 and, like the
asymmetric ones, of ONNX's MatMulNBits in blocks of 32.
"""

import re
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

GROUP = 32
# Tried for each group; the scale of least squared error is kept.
FACTORS = (*np.linspace(0.76, 1.16, 11), 8 / 7)

# The first pattern found in a path decides; what none names stays as it is: norms, biases, tables
# of positions, routers, depthwise kernels.
ROWS, COLUMNS = "rows", "columns"
TABLE: tuple[tuple[str, str], ...] = (
    (r"(^|\.)embedding$", ROWS),
    (r"\.(wq|wk|wv|wo|wqkv|gate|up|gate_up|down|projection)$", COLUMNS),
    (r"\.(first_up|first_down|last_up|last_down|mix_in|mix_out)$", COLUMNS),
    (r"\.(first|second|stem|mix|out)$", COLUMNS),
)


@dataclass(frozen=True)
class Format:
    """How many bits a code has, and whether each group has a zero point.

    Raises:
        ValueError: codes of that many bits are not kept.
    """

    bits: int = 4
    symmetric: bool = True

    def __post_init__(self) -> None:
        if self.bits not in (4, 8):
            raise ValueError(f"weights are kept in 4 or 8 bits, not in {self.bits}")

    @property
    def least(self) -> int:
        """The lowest code; that of 8 bits leaves one unused, as Q8_0 does."""
        return -127 if self.bits == 8 and self.symmetric else -(2 ** (self.bits - 1))

    @property
    def most(self) -> int:
        """The highest code."""
        return 2 ** (self.bits - 1) - 1

    def __str__(self) -> str:
        return f"int{self.bits}" + ("" if self.symmetric else " asymmetric")


INT4, INT8 = Format(4), Format(8)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class QTensor:
    """weight ≈ (codes - zeros) * scales; it has the shape of the weight and the scales' type.

    Scales have one entry for each group: [..., I/32, O] or, for a table of rows, [V, D/32]. Their
    values are those of float16, whatever their type. Stacked dimensions stand in front.
    """

    codes: Array  # [..., I, O], from -8 to 7 as int4 or from -128 to 127 as int8
    scales: Array
    zeros: Array | None = None  # like the scales, of the codes' type; None: all 0

    @property
    def shape(self) -> tuple[int, ...]:
        """The weight's."""
        return self.codes.shape

    @property
    def ndim(self) -> int:
        """The weight's."""
        return self.codes.ndim

    @property
    def size(self) -> int:
        """How many weights it stands for."""
        return self.codes.size

    @property
    def dtype(self) -> Any:
        """What `dense` gives."""
        return self.scales.dtype

    @property
    def bits(self) -> int:
        """Of each code."""
        return 4 if self.codes.dtype == jnp.int4 else 8

    @property
    def format(self) -> Format:
        """What it was made as."""
        return Format(self.bits, self.zeros is None)

    @property
    def by_row(self) -> bool:
        """Whether groups lie along the last dimension, so that rows can be looked up."""
        return self.scales.shape[-1] != self.codes.shape[-1]

    @property
    def axis(self) -> int:
        """The dimension that groups lie along: -1 in a table of rows, else -2."""
        return -1 if self.by_row else -2

    @property
    def stored_bytes(self) -> int:
        """In a file: packed codes, float16 scales, packed zero points."""
        points = 0 if self.zeros is None else self.zeros.size
        return (self.codes.size + points) * self.bits // 8 + self.scales.size * 2


Weight = Array | QTensor


def dense(w: Weight) -> Array:
    """The array a weight stands for: the only place that asks whether it is quantised."""
    if not isinstance(w, QTensor):
        return w
    axis = w.axis
    grouped = _grouped(w.codes, axis).astype(w.dtype)
    scales = jnp.expand_dims(w.scales, axis)
    if w.zeros is not None:
        grouped = grouped - jnp.expand_dims(w.zeros, axis).astype(w.dtype)
    return (grouped * scales).reshape(w.shape)


def rows(table: Weight, ids: Int[Array, "..."]) -> Float[Array, "..."]:
    """A table's rows of these ids, or the matrices of a stack; no others are made dense."""
    return dense(jax.tree.map(lambda leaf: leaf[ids], table))


def quantised(
    w: Float[Array, "... I O"],
    *,
    format: Format = INT4,
    by_row: bool = False,
    importance: Float[Array, "... I"] | None = None,
) -> QTensor:
    """A weight rounded to the nearest codes, with the scales that lose least.

    `importance` weighs the squared error of each input, e.g. by its mean square.

    Raises:
        ValueError: the dimension that groups lie along is no multiple of 32.
    """
    length = w.shape[-1 if by_row else -2]
    if length % GROUP:
        raise ValueError(f"a weight of shape {w.shape} has no groups of {GROUP} along {length}")
    if importance is None:
        importance = jnp.ones((*w.shape[:-2], length), jnp.float32)
    return _quantised(w, importance, format, by_row)


class Codes(NamedTuple):
    """Groups as codes, still in float32: [G, 32, O], and [G, O] of the other two."""

    codes: Array
    scales: Array
    zeros: Array


@partial(jax.jit, static_argnames=("format", "by_row"))
def _quantised(w: Array, importance: Array, format: Format, by_row: bool) -> QTensor:
    def one(given: tuple[Array, Array]) -> QTensor:
        matrix, weighed = given
        matrix = (matrix.T if by_row else matrix).astype(jnp.float32)
        found = best_codes(_grouped(matrix, -2), weighed.reshape(-1, GROUP, 1), format=format)
        made = as_tensor(found, format=format)
        return jax.tree.map(jnp.transpose, made) if by_row else made

    if w.ndim == 2:
        return one((w, importance))
    flat = w.reshape(-1, *w.shape[-2:]), importance.reshape(-1, importance.shape[-1])
    made = jax.lax.map(one, flat)
    return jax.tree.map(lambda leaf: leaf.reshape(*w.shape[:-2], *leaf.shape[1:]), made)


def as_tensor(found: Codes, *, format: Format) -> QTensor:
    """The codes of a matrix's groups, in the types that are kept."""
    kind = jnp.int4 if format.bits == 4 else jnp.int8
    codes = found.codes.astype(kind).reshape(-1, found.codes.shape[-1])
    return QTensor(codes, found.scales, None if format.symmetric else found.zeros.astype(kind))


def best_codes(
    groups: Float[Array, "G 32 O"], importance: Float[Array, "G 32 1"], *, format: Format
) -> Codes:
    """Of scales around those that reach each group's extremes, the ones that lose least."""
    span = format.most - format.least
    if format.symmetric:
        at = jnp.abs(groups).argmax(axis=1, keepdims=True)
        widest = jnp.take_along_axis(groups, at, axis=1)[:, 0] / format.least
        low = jnp.zeros_like(widest)
    else:
        low = jnp.minimum(groups.min(axis=1), 0)
        widest = (jnp.maximum(groups.max(axis=1), 0) - low) / span

    def tried(scales: Array) -> tuple[Array, Array, Array]:
        scales = as_float16(scales)
        zeros = jnp.round(format.least - _ratio(low, scales)) if not format.symmetric else low
        zeros = jnp.clip(zeros, format.least, format.most)
        codes = nearest(groups, scales[:, None], zeros[:, None], format=format)
        lost = groups - (codes - zeros[:, None]) * scales[:, None]
        return jnp.sum(importance * lost * lost, axis=1), scales, zeros

    def better(best: tuple[Array, Array, Array], factor: Array) -> tuple[Any, None]:
        new = tried(widest * factor)
        return jax.tree.map(partial(jnp.where, new[0] < best[0]), new, best), None

    first = tried(widest)
    (_, scales, zeros), _ = jax.lax.scan(better, first, jnp.asarray(FACTORS, jnp.float32))
    codes = nearest(groups, scales[:, None], zeros[:, None], format=format)
    return Codes(codes, scales, zeros)


def nearest(w: Array, scales: Array, zeros: Array, *, format: Format) -> Array:
    """The codes nearest to weights, still in float32; where the scale is 0, the zero point."""
    return jnp.clip(jnp.round(_ratio(w, scales)) + zeros, format.least, format.most)


def as_float16(x: Array) -> Array:
    """Values that float16 holds, in float32."""
    top = float(np.finfo(np.float16).max)
    return jnp.clip(x, -top, top).astype(jnp.float16).astype(jnp.float32)


def _ratio(x: Array, scales: Array) -> Array:
    return jnp.where(scales == 0, 0, x / jnp.where(scales == 0, 1, scales))


def _grouped(x: Array, axis: int) -> Array:
    """With the dimension at an axis cut into groups: [..., G, 32, O], or [..., G, 32]."""
    split = x.shape[axis] // GROUP, GROUP
    after = x.shape[x.ndim + axis + 1 :]
    return x.reshape(*x.shape[: x.ndim + axis], *split, *after)


def placed(path: str) -> str | None:
    """How groups lie in the weight at a path such as ".decoder.embedding"; None: it stays."""
    return next((kind for pattern, kind in TABLE if re.search(pattern, path)), None)


@dataclass(frozen=True)
class Formats:
    """The formats of a model's weights; None = as its layers."""

    layers: Format = INT4
    embedding: Format | None = None  # tables of rows
    encoders: Format | None = None  # what reads signals
    keys: Format | None = None  # what makes keys and values, small where heads share them

    def of(self, path: tuple[Any, ...]) -> Format:
        """That of the weight at a path."""
        name = jax.tree_util.keystr(path)
        other = None
        if placed(name) == ROWS:
            other = self.embedding
        elif name.startswith(".encoders"):
            other = self.encoders
        elif name.endswith((".wk", ".wv")):
            other = self.keys
        return other or self.layers


ALL_INT4 = Formats()


def quantise(model: Any, *, format: Format = INT4, formats: Formats | None = None) -> Any:
    """The model with the weights that TABLE names rounded to nearest; small and odd ones stay.

    `formats` are given where not all weights have one `format`.
    """
    formats = formats or Formats(format)

    def stand_in(path: tuple[Any, ...], leaf: Array) -> Weight:
        kind = chosen(path, leaf)
        if kind is None:
            return leaf
        return quantised(leaf, format=formats.of(path), by_row=kind == ROWS)

    return jax.tree_util.tree_map_with_path(stand_in, model)


def chosen(path: tuple[Any, ...], leaf: Any) -> str | None:
    """How groups lie in a leaf of a model that can be quantised; None where it cannot."""
    name = jax.tree_util.keystr(path)
    kind = placed(name)
    axis = -1 if kind == ROWS else -2
    if kind is None or leaf.ndim < 2 or not leaf.size or leaf.shape[axis] % GROUP:
        return None
    convolved = leaf.ndim > 2 and bool(re.search(r"\.(first|second)$", name))
    return None if convolved else kind


def weight_count(tree: Any) -> int:
    """How many weights a tree stands for; the scales of quantised ones are none."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree, is_leaf=is_quantised))


def is_quantised(leaf: Any) -> bool:
    """For `is_leaf`: a QTensor counts as one leaf."""
    return isinstance(leaf, QTensor)


def densed(model: Any) -> Any:
    """The model with every weight dense."""
    return jax.tree.map(dense, model, is_leaf=is_quantised)


class Lost(NamedTuple):
    """What one matrix of one layer lost."""

    name: str  # e.g. "decoder.blocks.0.wq"
    layer: int  # its place in the stack; 0 where nothing is stacked
    format: Format
    relative: float  # root mean square of the error over that of the weight


def errors(model: Any, quantised: Any) -> list[Lost]:
    """The error of every quantised weight, layer by layer."""
    found = []
    pairs = zip(
        jax.tree_util.tree_leaves_with_path(model),
        jax.tree.leaves(quantised, is_leaf=is_quantised),
        strict=True,
    )
    for (path, before), after in pairs:
        if isinstance(after, QTensor):
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            shares = np.asarray(_relative(before, after)).reshape(-1)
            found += [Lost(name, i, after.format, float(x)) for i, x in enumerate(shares)]
    return found


@jax.jit
def _relative(before: Array, after: QTensor) -> Array:
    wide = before.astype(jnp.float32)
    lost = jnp.sum((wide - dense(after).astype(jnp.float32)) ** 2, axis=(-2, -1))
    return jnp.sqrt(lost / jnp.maximum(jnp.sum(wide**2, axis=(-2, -1)), 1e-30))


def formats(model: Any) -> tuple[str, ...]:
    """What the quantised weights of a model are, e.g. ("int4", "int8"); empty if it has none."""
    leaves = jax.tree.leaves(model, is_leaf=is_quantised)
    return tuple(sorted({str(leaf.format) for leaf in leaves if isinstance(leaf, QTensor)}))
