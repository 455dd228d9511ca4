"""One row at a time on an NVIDIA GPU, where memory sets the speed: decoding for one person.

Every id reads every weight once, so a product takes as long as its matrix takes to be read, as it
is kept: bfloat16, or codes of 8 or 4 bits that become numbers in registers. Kernels are Pallas's,
through Triton. A program has some outputs and all inputs, so that a matrix lies with its outputs
first (`Turned`) and nothing is added up between programs: the same bits each time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.experimental.pallas as pl
import jax.numpy as jnp
from jax import Array
from jax.experimental.pallas import triton
from jaxtyping import Float

from castor.models.kernels import OLDEST, machine_here
from castor.models.layout import mesh_in_use
from castor.models.quant import COLUMNS, GROUP, QTensor, chosen, dense, is_quantised
from castor.models.sizes import EPSILON

WARPS = 4
AT_ONCE = 5  # most tiles of a matrix that are on their way to a program


class Tile(NamedTuple):
    """What a program reads of a matrix at a time."""

    outputs: int
    inputs: int


TILES = {16: Tile(4, 512), 8: Tile(8, 512), 4: Tile(8, 512)}  # by the bits of a weight


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Turned:
    """A matrix [I, O] as rows of outputs; it stands where the matrix stood."""

    rows: Array | QTensor  # [O, I]

    @property
    def shape(self) -> tuple[int, ...]:
        """The matrix's."""
        return *self.rows.shape[:-2], self.rows.shape[-1], self.rows.shape[-2]

    def times(self, x: Float[Array, "R I"]) -> Float[Array, "R O"]:
        """x @ the matrix."""
        if suits(x, self):
            return one_row(x, self)
        return jnp.einsum("ri,oi->ro", x, dense(self.rows))


def suits(x: Float[Array, "R I"], *matrices: Any) -> bool:
    """Whether the kernels here are for these products: one row, on such a GPU alone, and matrices
    of one form."""
    if not runs_here(x.dtype) or len(x) != 1 or not all(map(_is_even, matrices)):
        return False
    return len({_bits(matrix.rows) for matrix in matrices}) == 1


def runs_here(dtype: Any) -> bool:
    """Whether any of the kernels are for values of that type on this machine."""
    machine = machine_here()
    there = machine.platform == "cuda" and machine.capability >= OLDEST
    return there and dtype == jnp.bfloat16 and mesh_in_use() is None


def _is_even(matrix: Any) -> bool:
    if not isinstance(matrix, Turned) or (bits := _bits(matrix.rows)) not in TILES:
        return False
    (outputs, inputs), tile = matrix.rows.shape, TILES[bits]
    return not (outputs % tile.outputs or inputs % tile.inputs)


def _bits(rows: Array | QTensor) -> int:
    """Of a weight; 0 where no kernel is for it."""
    if isinstance(rows, QTensor):
        return rows.bits if rows.zeros is None else 0
    return 16 if rows.dtype == jnp.bfloat16 else 0


def one_row(
    x: Float[Array, "1 I"],
    *matrices: Any,
    norm: Float[Array, " I"] | None = None,
    start: float = 1.0,
    gated: bool = False,
    dtype: Any = None,
    interpret: bool = False,
) -> Float[Array, "1 O"]:
    """x times matrices (`Turned`), side by side, added up in float32, in x's type or another.

    With a `norm` of rms_norm(x, norm, start=start); if it is `gated` of two matrices
    gelu(x @ first) * (x @ second).
    """
    rows = [matrix.rows for matrix in matrices]
    bits = _bits(rows[0])
    tile, inputs = TILES[bits], rows[0].shape[1]
    counts = [r.shape[0] // tile.outputs for r in rows][: 1 if gated else None]
    norms = [] if norm is None else [norm]
    arrays = [part for r in rows for part in _parts(r)]
    how = _How(tuple(counts), tile, inputs // tile.inputs, bits, norm is not None, start, gated)
    made = pl.pallas_call(
        partial(_kernel, how=how),
        grid=(sum(counts),),
        in_specs=[whole(a.shape) for a in (x[0], *norms, *arrays)],
        out_specs=pl.BlockSpec((tile.outputs,), lambda i: (i,)),
        out_shape=jax.ShapeDtypeStruct((sum(counts) * tile.outputs,), dtype or x.dtype),
        compiler_params=triton.CompilerParams(num_warps=WARPS, num_stages=2),
        interpret=interpret,
        name=f"one_row_{bits}",
    )(x[0], *norms, *arrays)
    return made[None]


def whole(shape: tuple[int, ...]) -> pl.BlockSpec:
    """All of an array, for every program."""
    return pl.BlockSpec(shape, lambda *_: (0,) * len(shape))


def _parts(rows: Array | QTensor) -> tuple[Array, ...]:
    """What a kernel reads: values, or codes, as bytes, and scales. Two codes of 4 bits are one
    byte, the first in its lower half."""
    if not isinstance(rows, QTensor):
        return (rows,)
    if rows.bits == 8:
        return rows.codes, rows.scales
    pairs = rows.codes.reshape(rows.shape[0], -1, 2)
    return jax.lax.bitcast_convert_type(pairs, jnp.int8), rows.scales


class _How(NamedTuple):
    """What is compiled into a kernel."""

    counts: tuple[int, ...]  # programs of each matrix
    tile: Tile
    turns: int  # tiles along the inputs
    bits: int
    normed: bool
    start: float
    gated: bool


def _kernel(x_ref: Any, *refs: Any, how: _How) -> None:
    *given, out_ref = refs
    norm_ref = given.pop(0) if how.normed else None
    each = 1 if how.bits == 16 else 2
    matrices = [tuple(given[i : i + each]) for i in range(0, len(given), each)]
    read = partial(_inputs, x_ref, norm_ref, _root(x_ref, how) if how.normed else None, how=how)
    i, first = pl.program_id(0), 0
    if how.gated:
        gate, up = _sums(matrices, i, read, how=how)
        out_ref[...] = (jax.nn.gelu(gate, approximate=True) * up).astype(out_ref.dtype)
        return
    for count, matrix in zip(how.counts, matrices, strict=True):

        @pl.when((i >= first) & (i < first + count))
        def _(matrix: Any = matrix, first: int = first) -> None:
            (made,) = _sums([matrix], i - first, read, how=how)
            out_ref[...] = made.astype(out_ref.dtype)

        first += count


def _root(x_ref: Any, how: _How) -> Array:
    """One over the root mean square of x."""
    wide = how.tile.inputs

    def add(t: Array, total: Array) -> Array:
        x = x_ref[pl.ds(t * wide, wide)].astype(jnp.float32)
        return total + x * x

    squares = jax.lax.fori_loop(0, how.turns, add, jnp.zeros(wide, jnp.float32))
    return jax.lax.rsqrt(squares.sum() / (how.turns * wide) + EPSILON)


def _inputs(
    x_ref: Any, norm_ref: Any, root: Array | None, t: Array, step: int, first: int, *, how: _How
) -> Array:
    """A tile's inputs in float32, under the norm: every `step`-th from `first` on."""
    wide = how.tile.inputs
    at = pl.ds(t * wide + first, wide // step, stride=step)
    x = x_ref[at].astype(jnp.float32)
    if root is None:
        return x
    return x * root * (norm_ref[at].astype(jnp.float32) + how.start)


def _sums(
    of: list[tuple[Any, ...]], block: Array, read: Callable[..., Array], *, how: _How
) -> list[Array]:
    """The products of the block's outputs, for each matrix."""
    tile, bits = how.tile, how.bits
    here = pl.ds(block * tile.outputs, tile.outputs)
    at_once = max(n for n in range(1, AT_ONCE + 1) if how.turns % n == 0)

    def turn(t: Array, added: tuple[Array, ...]) -> tuple[Array, ...]:
        those = [t * at_once + n for n in range(at_once)]
        tiles = [[_tile(refs, here, n, tile, bits) for refs in of] for n in those]
        for n, pair in zip(those, tiles, strict=True):
            xs = [read(n, 2, 0), read(n, 2, 1)] if bits == 4 else [read(n, 1, 0)]
            added = tuple(map(jnp.add, added, [_times(xs, one, bits) for one in pair]))
        return added

    wide = tile.inputs if bits == 16 else tile.inputs // GROUP
    zeros = tuple(jnp.zeros((tile.outputs, wide), jnp.float32) for _ in of)
    return [x.sum(1) for x in jax.lax.fori_loop(0, how.turns // at_once, turn, zeros)]


def _tile(refs: tuple[Any, ...], here: Any, t: Array, tile: Tile, bits: int) -> tuple[Array, ...]:
    wide = tile.inputs // 2 if bits == 4 else tile.inputs
    values = refs[0][here, pl.ds(t * wide, wide)]
    if bits == 16:
        return (values,)
    groups = tile.inputs // GROUP
    return values, refs[1][here, pl.ds(t * groups, groups)]


def _times(xs: list[Array], tile: tuple[Array, ...], bits: int) -> Array:
    """The products of a tile, those of a group of codes added up: [outputs, inputs or groups]."""
    values = tile[0]
    if bits == 16:
        return values.astype(jnp.float32) * xs[0][None]
    if bits == 8:
        made = values.astype(jnp.float32) * xs[0][None]
    else:
        wide = values.astype(jnp.int32)
        low, high = ((wide << 28) >> 28).astype(jnp.float32), (wide >> 4).astype(jnp.float32)
        made = low * xs[0][None] + high * xs[1][None]
    grouped = made.reshape(len(made), -1, GROUP // len(xs))
    return grouped.sum(2) * tile[1].astype(jnp.float32)


def turned(model: Any) -> Any:
    """The model with the matrices of its layers as `Turned` ones, for a machine that has kernels
    for them; those of experts and of what reads signals stay."""

    def stand_in(path: tuple[Any, ...], leaf: Any) -> Any:
        name = jax.tree_util.keystr(path)
        inner = leaf.codes if isinstance(leaf, QTensor) else leaf
        if not name.startswith(".decoder.blocks") or ".experts" in name or inner.ndim != 3:
            return leaf
        return Turned(_swapped(leaf)) if chosen(path, inner) == COLUMNS else leaf

    return jax.tree_util.tree_map_with_path(stand_in, model, is_leaf=is_quantised)


@jax.jit
def _swapped(leaf: Any) -> Any:
    return jax.tree.map(lambda x: x.swapaxes(-1, -2), leaf)
