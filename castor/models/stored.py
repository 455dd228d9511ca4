"""Weights as the bytes of a safetensors file, each under its path, e.g. "decoder.blocks.0.wq".

Of a quantised weight the file holds `codes` (int8, or two of 4 bits in a byte, the first one low),
`scales` (float16) and, where there are any, `zeros` (like the codes, in one row). What is written
comes back exactly.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
from jax import Array
from jaxtyping import Int8, UInt8
from safetensors.numpy import save

from castor.models.quant import QTensor, Weight, is_quantised

DTYPES = {
    "F32": np.float32,
    "F16": np.float16,
    "BF16": jnp.bfloat16,
    "I8": np.int8,
    "U8": np.uint8,
}
CODES, SCALES, ZEROS = PARTS = (".codes", ".scales", ".zeros")


def named(tree: Any) -> dict[str, Any]:
    """The arrays by their paths."""
    paths = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(p, simple=True, separator="."): leaf for p, leaf in paths}


def packed(tree: Any, precision: str) -> bytes:
    """The file of a tree; what is not quantised is kept in a precision such as "float16"."""
    arrays: dict[str, np.ndarray] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_quantised):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        if isinstance(leaf, QTensor):
            arrays |= {name + part: array for part, array in _taken_apart(leaf).items()}
        else:
            arrays[name] = np.asarray(leaf).astype(jnp.dtype(precision))
    return save(arrays)


def unpacked(file: Path, make: Callable[[Array], Any], *, dtype: str | None = "float32") -> Any:
    """The tree that `make` would make of a key, with the file's weights: in `dtype`, in that of
    the file where it is None, or quantised.

    Raises:
        ValueError: the file has other weights than that tree.
    """
    wanted = jax.eval_shape(make, jax.random.key(0))
    found = _read(file, dtype)
    odd = sorted(named(wanted).keys() ^ found.keys())
    if odd:
        raise ValueError(f"{file} has other weights than its config.json describes, e.g. {odd[0]}")

    def weight(path: tuple[Any, ...], described: jax.ShapeDtypeStruct) -> Weight:
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        parts, shape = found[name], described.shape
        made = jnp.asarray(parts[""]) if "" in parts else _put_together(parts)
        if made.shape != shape:
            raise ValueError(f"{file}: {name} is {made.shape}, its config.json says {shape}")
        return made

    return jax.tree_util.tree_map_with_path(weight, wanted)


def _read(file: Path, dtype: str | None) -> dict[str, dict[str, np.ndarray]]:
    """The arrays of each weight, by their part of it: the whole, "", or those of a QTensor."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, array in safetensors.deserialize(file.read_bytes()):
        part = next((part for part in PARTS if name.endswith(part)), "")
        values = np.frombuffer(array["data"], DTYPES[array["dtype"]]).reshape(array["shape"])
        if dtype is not None and not name.endswith(PARTS):
            values = values.astype(jnp.dtype(dtype))
        elif part == SCALES:
            values = values.astype(np.float32)
        found.setdefault(name.removesuffix(part), {})[part] = values
    return found


def _taken_apart(w: QTensor) -> dict[str, np.ndarray]:
    codes, scales = np.asarray(w.codes).astype(np.int8), np.asarray(w.scales).astype(np.float16)
    parts = {CODES: halved(codes, axis=w.axis) if w.bits == 4 else codes, SCALES: scales}
    if w.zeros is not None:
        zeros = np.asarray(w.zeros).astype(np.int8)
        flat = np.pad(zeros.reshape(-1), (0, zeros.size % 2))
        parts[ZEROS] = halved(flat, axis=0) if w.bits == 4 else zeros
    return parts


def _put_together(parts: dict[str, np.ndarray]) -> QTensor:
    codes, scales, zeros = parts[CODES], parts[SCALES], parts.get(ZEROS)
    kind = jnp.int8 if codes.dtype == np.int8 else jnp.int4
    if kind == jnp.int4:
        codes = doubled(codes, axis=-2 if codes.shape[-1] == scales.shape[-1] else -1)
        if zeros is not None:
            zeros = doubled(zeros, axis=0)[: scales.size].reshape(scales.shape)
    return QTensor(
        jnp.asarray(codes, kind),
        jnp.asarray(scales),
        None if zeros is None else jnp.asarray(zeros, kind),
    )


def halved(codes: Int8[np.ndarray, "*shape"], *, axis: int) -> UInt8[np.ndarray, "*half"]:
    """Codes of 4 bits, two neighbours along an axis in a byte: the first one is the low half."""
    pairs = np.moveaxis(codes, axis, 0).view(np.uint8)
    return np.moveaxis(pairs[::2] & 15 | pairs[1::2] << 4, 0, axis)


def doubled(pairs: UInt8[np.ndarray, "*half"], *, axis: int) -> Int8[np.ndarray, "*shape"]:
    """The codes, from -8 to 7, that `halved` put into bytes."""
    first = np.moveaxis(pairs, axis, 0)
    both = np.stack([first << 4, first & 0xF0], axis=1).reshape(-1, *first.shape[1:])
    return np.moveaxis(both.view(np.int8) >> 4, 0, axis)
