"""Weights in the forms that onnxruntime multiplies by: float32, or 8 or 4 bits in blocks of 32."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np

from castor.device.drawing import MICROSOFT, Drawing
from castor.models.quant import GROUP, Format, QTensor, Weight, dense, quantised

Precision = Literal["float32", "int8", "int4"]
PRECISIONS: tuple[Precision, ...] = ("float32", "int8", "int4")
BITS = {"int8": 8, "int4": 4}
INT8_ACTIVATIONS = 4  # MatMulNBits' accuracy_level: states are rounded to 8 bits, block by block
PIECE = 2**14  # rows of a table that are quantised at once


class Packed(NamedTuple):
    """A matrix [I, O] as MatMulNBits reads it; a table [V, D] is one of V columns."""

    codes: np.ndarray  # [O, I/32, bytes]; of two codes of 4 bits in a byte the first is the low one
    scales: np.ndarray  # [O, I/32] float32
    zeros: np.ndarray | None  # [O, bytes]
    bits: int
    inputs: int  # I; the last block may be longer than what is left of it


Form = np.ndarray | Packed


def form(weight: Weight, *, precision: Precision) -> Form:
    """A matrix to multiply by.

    What is quantised already is taken as it is, unless float32 is asked for.
    """
    if precision == "float32":
        return np.asarray(dense(weight), np.float32)
    if isinstance(weight, QTensor):
        return packed(weight)
    wide = np.asarray(weight, np.float32)
    whole = np.pad(wide, ((0, -len(wide) % GROUP), (0, 0)))
    found = packed(quantised(jnp.asarray(whole), format=Format(BITS[precision])))
    return found._replace(inputs=len(wide))


def table_form(table: Weight, *, precision: Precision) -> Form:
    """A table [V, D], for rows to be looked up in and for products with its transpose."""
    if precision == "float32" or (not isinstance(table, QTensor) and table.shape[1] % GROUP):
        return np.asarray(dense(table), np.float32)
    if isinstance(table, QTensor):
        return packed(table)
    format, parts = Format(BITS[precision]), list[Packed]()
    for at in range(0, table.shape[0], PIECE):
        piece = jnp.asarray(table[at : at + PIECE], jnp.float32)
        parts.append(packed(quantised(piece, format=format, by_row=True)))
    return _joined(parts)


def packed(weight: QTensor) -> Packed:
    """The same codes in the order that MatMulNBits reads."""

    def by_output(leaf: Any) -> np.ndarray:
        return np.asarray(leaf) if weight.by_row else np.asarray(leaf).T

    def as_bytes(leaf: Any) -> np.ndarray:
        """Codes, counted from the lowest one."""
        lowest = np.int8(-(2 ** (weight.bits - 1)))
        codes = (by_output(leaf).astype(np.int8) - lowest).view(np.uint8)
        if weight.bits == 8:
            return np.ascontiguousarray(codes)
        codes = np.pad(codes, ((0, 0), (0, codes.shape[1] % 2)))
        return codes[:, 0::2] | (codes[:, 1::2] << 4)

    scales = np.ascontiguousarray(by_output(weight.scales), np.float32)
    codes = as_bytes(weight.codes).reshape(*scales.shape, -1)
    zeros = None if weight.zeros is None else as_bytes(weight.zeros)
    return Packed(codes, scales, zeros, weight.bits, scales.shape[1] * GROUP)


def _joined(parts: Sequence[Packed]) -> Packed:
    codes, scales = (np.concatenate(arrays) for arrays in list(zip(*parts, strict=True))[:2])
    return parts[0]._replace(codes=codes, scales=scales)


def product(
    drawing: Drawing, x: str, matrix: Form, *, name: str, turned: bool = False, result: str = ""
) -> str:
    """x @ the matrix, or a table `turned`; the value is called `result`, if it is given."""
    if not isinstance(matrix, Packed):
        there = drawing.stored(name, matrix)
        there = drawing.node("Transpose", there) if turned else there
        return drawing.named(result, "MatMul", x, there)
    inputs = [
        drawing.stored(f"{name}.codes", matrix.codes),
        drawing.stored(f"{name}.scales", matrix.scales),
    ]
    if matrix.zeros is not None:
        inputs.append(drawing.stored(f"{name}.zeros", matrix.zeros))
    return drawing.named(
        result,
        "MatMulNBits",
        x,
        *inputs,
        domain=MICROSOFT,
        K=matrix.inputs,
        N=len(matrix.scales),
        bits=matrix.bits,
        block_size=GROUP,
        accuracy_level=INT8_ACTIVATIONS,
    )


def rows(drawing: Drawing, ids: str, table: Form, *, name: str) -> str:
    """A table's rows of these ids, from the bytes that products with it read."""
    if not isinstance(table, Packed):
        return drawing.node("Gather", drawing.stored(name, table), ids, axis=0)
    V = len(table.scales)
    points = () if table.zeros is None else (drawing.stored(f"{name}.zeros", table.zeros),)
    return drawing.node(
        "GatherBlockQuantized",
        drawing.stored(f"{name}.codes", table.codes.reshape(V, -1)),
        ids,
        drawing.stored(f"{name}.scales", table.scales),
        *points,
        domain=MICROSOFT,
        bits=table.bits,
        block_size=GROUP,
        gather_axis=0,
        quantize_axis=1,
    )
