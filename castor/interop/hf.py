"""Open weights as Hugging Face keeps them: a folder of config.json and safetensors, in and out.

Loading holds one tensor besides what it has loaded; weights of equal layers are stacked in place.
"""

import json
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from castor.core.files import folder_aside
from castor.interop.configs import FAMILIES, config_from, family_of
from castor.interop.describe import config_to
from castor.interop.encoders import name_in, tensors_of
from castor.interop.names import WHOLE, Tensors, is_dead, plain, sources
from castor.interop.tensors import Described, Place, bits, places, read_into, write_folder
from castor.models.decoder import Model, init
from castor.models.quant import QTensor, Weight, dense, is_quantised
from castor.models.sizes import ModelConfig

CONFIG = "config.json"
DTYPES = ("float32", "bfloat16", "float16")
SHARD = 5 * 10**9  # bytes of one file at most
ALIGNED = 64  # bytes: JAX takes an array that starts at a multiple as it is, others it copies


class Stack(NamedTuple):
    """One array of ours, and the tensors of theirs that it is stacked of."""

    array: Any  # or its shape
    names: list[str]
    stacked: int  # leading dimensions of ours that count tensors
    axes: tuple[int, ...] | None  # of a tensor, in the order of ours; None = as they lie
    shape: tuple[int, ...] | None = None  # of a tensor, where ours joins axes

    @property
    def theirs(self) -> tuple[int, ...]:
        """The shape of each tensor."""
        ours = self.array.shape[self.stacked :]
        if self.shape is not None or self.axes is None:
            return self.shape or ours
        return tuple(ours[self.axes.index(i)] for i in range(len(ours)))

    def flat(self, array: np.ndarray) -> np.ndarray:
        """An array of ours as the stack of what each tensor gives, in the order of names."""
        return array.reshape(len(self.names), *array.shape[self.stacked :])

    def ours(self, tensor: np.ndarray) -> np.ndarray:
        """A tensor as it lies in ours."""
        across = tensor if self.axes is None else tensor.transpose(self.axes)
        return across.reshape(self.array.shape[self.stacked :])

    def back(self, part: np.ndarray) -> np.ndarray:
        """What lies in ours as a tensor."""
        if self.axes is None:
            return part
        apart = part.reshape([self.theirs[axis] for axis in self.axes])
        return apart.transpose(np.argsort(self.axes))


def load_hf(folder: Path, *, dtype: str | None = None) -> tuple[Model, ModelConfig]:
    """The model of a folder, and its config; in the type of the file's embedding, or another.

    Raises:
        ValueError: the folder is none that we can read, and why, in one sentence.
    """
    if dtype not in (None, *DTYPES):
        raise ValueError(f"dtype={dtype!r} is none that weights may have: {', '.join(DTYPES)}")
    data = read_config(folder)
    config = shape_in(folder, data)
    held = {plain(name): place for name, place in places(folder).items()}
    bare = jax.eval_shape(partial(init, config), jax.random.key(0))
    weights = _weights(bare, config, data)
    _refuse_odd(folder, held, weights, config)
    wanted = jnp.dtype(held[WHOLE["decoder.embedding"]].dtype if dtype is None else dtype)
    leaves = [_stacked(weight, held, wanted) for weight in weights]
    return jax.tree.unflatten(jax.tree.structure(bare), leaves), config


def save_hf(
    folder: Path,
    model: Model,
    config: ModelConfig,
    *,
    precision: str | None = None,
    settings: Mapping[str, Any] | None = None,
    most_bytes: int = SHARD,
) -> None:
    """Write the model as a folder that transformers, vLLM and llama.cpp's converter read.

    Weights are cast to `precision` and made dense one tensor at a time; None = the embedding's
    type. `settings` are further entries of config.json, such as the ids that begin and end a text.

    Raises:
        ValueError: no class of Hugging Face's has such a decoder, or such encoders around it.
        OSError: it cannot be written; what was there before is untouched.
    """
    data = config_to(config)
    dtype = np.dtype(model.decoder.embedding.dtype if precision is None else precision).name
    tensors = {
        name_in(data, name): _described(weight, number, np.dtype(dtype))
        for weight in _weights(model, config, data)
        for number, name in enumerate(weight.names)
    }
    with folder_aside(folder) as aside:
        written = {**data, "dtype": dtype, "torch_dtype": dtype, **(settings or {})}
        (aside / CONFIG).write_text(json.dumps(written, indent=2) + "\n")
        write_folder(aside, tensors, most_bytes=most_bytes)


def shape_in(folder: Path, data: Mapping[str, Any]) -> ModelConfig:
    """The shape that a folder's config.json describes.

    Raises:
        ValueError: it is of a family, or has an option, that we do not know.
    """
    try:
        return config_from(data)
    except ValueError as error:
        raise ValueError(f"{folder / CONFIG}: {error}") from None


def read_config(folder: Path) -> dict[str, Any]:
    """What config.json says.

    Raises:
        ValueError: there is none, or it is no JSON object.
    """
    if folder.is_file():
        raise ValueError(f"{folder} is a file; name the folder that holds {CONFIG}")
    try:
        data = json.loads((folder / CONFIG).read_text())
    except FileNotFoundError:
        raise ValueError(f"{folder} has no {CONFIG}, so it is no Hugging Face model") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{folder / CONFIG} is not JSON ({error})") from None
    if not isinstance(data, dict):
        raise ValueError(f"{folder / CONFIG} is no JSON object")
    return data


def _weights(tree: Any, config: ModelConfig, data: Mapping[str, Any]) -> list[Stack]:
    """Every array of a model, or its shape, and where it comes from."""
    table = FAMILIES[family_of(data)].names
    encoders = tensors_of(config, data.get("model_type", ""))
    found = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_quantised):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        if name in encoders:
            found.append(_of_encoder(leaf, encoders[name]))
            continue
        stacked = 0 if name in WHOLE else 1
        count = leaf.ndim - stacked
        turned = count > 1 and "embedding" not in name  # a table is looked up by id
        axes = (*range(count - 2), count - 1, count - 2) if turned else None
        found.append(Stack(leaf, sources(name, config, table), stacked, axes))
    return found


def _of_encoder(leaf: Any, of: Tensors) -> Stack:
    layers = leaf.shape[0] if "{}" in of.names[0] else 1
    names = [name.format(i) for i in range(layers) for name in of.names]
    stacked = ("{}" in of.names[0]) + (len(of.names) > 1)
    return Stack(leaf, names, stacked, of.axes, of.shape)


def _refuse_odd(
    folder: Path, held: dict[str, Place], weights: list[Stack], config: ModelConfig
) -> None:
    """Raise a ValueError unless the folder holds exactly the tensors of the config."""
    known = {name for weight in weights for name in weight.names}
    odd = sorted(name for name in held.keys() - known if not is_dead(name, config))
    if odd:
        raise ValueError(f"{folder} holds {odd[0]}, which its {CONFIG} has no place for")
    for weight in weights:
        for name in weight.names:
            if name not in held:
                raise ValueError(f"{folder} lacks {name}, which its {CONFIG} describes")
            if held[name].shape != weight.theirs:
                found, wanted = list(held[name].shape), list(weight.theirs)
                raise ValueError(f"{folder}: {name} is {found}, its {CONFIG} says {wanted}")


def _stacked(weight: Stack, held: dict[str, Place], dtype: Any) -> Array:
    """A weight on the device, of the tensors of its layers."""
    out = _aligned(weight.array.shape, dtype)
    parts = weight.flat(out)
    for number, name in enumerate(weight.names):
        place, here = held[name], parts[number, ...]
        if weight.axes is None and place.dtype == dtype:
            read_into(place, here)
            continue
        read = np.empty(place.shape, place.dtype)
        read_into(place, read)
        across = weight.ours(read)
        if place.dtype == dtype:
            bits(here)[...] = bits(across)
        else:
            here[...] = across.astype(dtype)
    return jax.device_put(out, may_alias=True)


def _aligned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    size = math.prod(shape) * np.dtype(dtype).itemsize
    room = np.empty(size + ALIGNED, np.uint8)
    start = -room.ctypes.data % ALIGNED
    return room[start : start + size].view(dtype).reshape(shape)


def _described(weight: Stack, number: int, dtype: np.dtype[Any]) -> Described:
    stack = weight.array.shape[: weight.stacked]
    at = tuple(int(i) for i in np.unravel_index(number, stack)) if stack else ()

    return Described(weight.theirs, dtype, lambda: weight.back(cast(weight.array, dtype, at)))


def cast(leaf: Weight, dtype: np.dtype[Any], at: tuple[int, ...] = ()) -> np.ndarray:
    """A weight, or that at a place in a stack, dense and of a type; the rest is not copied."""
    if isinstance(leaf, QTensor):
        part = np.asarray(dense(jax.tree.map(lambda array: array[at], leaf)))
    else:
        part = np.asarray(np.asarray(leaf)[at])
    return np.asarray(part, dtype)
