"""Weights as GGUF packs them: blocks of 32 numbers, each with a float16 scale.

Invariant: codes that are there already are packed, never rounded again.
"""

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np
from gguf import GGMLQuantizationType as Kind
from gguf.constants import GGML_QUANT_SIZES

from castor.models.quant import GROUP, INT4, INT8, Format, QTensor, quantised

PART = 2**22  # weights that are rounded at a time
FORMATS: dict[Kind, Format] = {Kind.Q4_0: INT4, Kind.Q8_0: INT8}
FLOATS: dict[Kind, np.dtype] = {
    Kind.F32: np.dtype(np.float32),
    Kind.F16: np.dtype(np.float16),
    Kind.BF16: np.dtype(jnp.bfloat16),
}


def kind_of(weight: QTensor) -> Kind:
    """What holds the codes of a quantised weight.

    Raises:
        ValueError: nothing does.
    """
    if weight.zeros is None:
        return Kind.Q4_0 if weight.bits == 4 else Kind.Q8_0
    if weight.bits == 4:
        return Kind.Q4_1
    raise ValueError("GGUF has no 8-bit weights with zero points; quantise symmetrically")


def size_of(shape: tuple[int, ...], kind: Kind) -> int:
    """Bytes of an array."""
    block, held = GGML_QUANT_SIZES[kind]
    return int(np.prod(shape)) // block * held


def packed(array: np.ndarray, kind: Kind) -> np.ndarray:
    """An array [..., O, I] in the bytes of a kind."""
    if kind in FLOATS:
        wide = np.ascontiguousarray(array).astype(FLOATS[kind], copy=False)
        return wide.view(np.uint8)
    flat = array.reshape(-1, array.shape[-1])
    return np.concatenate([_blocks(*part) for part in _rounded(flat, FORMATS[kind])])


def repacked(weight: QTensor) -> np.ndarray:
    """A quantised weight that is no stack, in the bytes of its kind: rows [O, I] of blocks.

    Of asymmetric codes the offset is rounded to float16, which is all that GGUF keeps of it.
    """

    def theirs(array: object, kind: type[np.generic]) -> np.ndarray:
        held = np.asarray(array).astype(kind)
        held = held if weight.by_row else np.swapaxes(held, -1, -2)
        return held.reshape(-1, held.shape[-1])

    codes, scales = theirs(weight.codes, np.int8), theirs(weight.scales, np.float16)
    zeros = None if weight.zeros is None else theirs(weight.zeros, np.int8)
    return _blocks(codes, scales, weight.bits, zeros)


def _rounded(flat: np.ndarray, format: Format) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    rows = max(1, PART // flat.shape[-1])
    for start in range(0, len(flat), rows):
        part = jnp.asarray(flat[start : start + rows], jnp.float32)
        made = quantised(part, format=format, by_row=True)
        codes, scales = np.asarray(made.codes.astype(jnp.int8)), np.asarray(made.scales)
        yield codes, scales.astype(np.float16), format.bits


def _blocks(
    codes: np.ndarray, scales: np.ndarray, bits: int, zeros: np.ndarray | None = None
) -> np.ndarray:
    """Rows of codes as rows of bytes."""
    grouped = codes.reshape(*scales.shape, GROUP)
    heads = [scales]
    if zeros is not None:  # weight = code * scale + offset, of codes from 0
        least = -(zeros.astype(np.float32) + 8) * scales.astype(np.float32)
        heads.append(least.astype(np.float16))
    if bits == 4:  # of two codes in a byte the second is 16 places further on
        nibbles = (grouped + 8).astype(np.uint8)
        body = nibbles[..., : GROUP // 2] | nibbles[..., GROUP // 2 :] << 4
    else:
        body = grouped.view(np.uint8)
    start = np.stack(heads, axis=-1).astype("<f2").view(np.uint8)
    return np.concatenate([start, body], axis=-1).reshape(len(codes), -1)
