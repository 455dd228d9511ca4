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
from castor.interop.names import WHOLE, is_dead, plain, sources
from castor.interop.tensors import Described, Place, bits, places, read_into, write_folder
from castor.models.decoder import Model, init
from castor.models.sizes import ModelConfig

CONFIG = "config.json"
DTYPES = ("float32", "bfloat16", "float16")
SHARD = 5 * 10**9  # bytes of one file at most
ALIGNED = 64  # bytes: JAX takes an array that starts at a multiple as it is, others it copies


class Weight(NamedTuple):
    """One array of ours, and the tensors of theirs that it is stacked of."""

    array: Any  # or its shape
    names: list[str]
    is_whole: bool  # it is one tensor, not a stack of them
    is_table: bool  # it is looked up by id, and lies as it does in theirs

    @property
    def is_turned(self) -> bool:
        """Whether its matrices lie the other way round in theirs."""
        return not self.is_table and self.array.ndim - (not self.is_whole) > 1

    @property
    def theirs(self) -> tuple[int, ...]:
        """The shape of each tensor."""
        shape = self.array.shape if self.is_whole else self.array.shape[1:]
        return (*shape[:-2], shape[-1], shape[-2]) if self.is_turned else shape


def load_hf(folder: Path, *, dtype: str | None = None) -> tuple[Model, ModelConfig]:
    """The decoder of a folder, and its config; in the type of the file's embedding, or another.

    Encoders of pictures and sound are left out.

    Raises:
        ValueError: the folder is none that we can read, and why, in one sentence.
    """
    if dtype not in (None, *DTYPES):
        raise ValueError(f"dtype={dtype!r} is none that weights may have: {', '.join(DTYPES)}")
    data = read_config(folder)
    try:
        config, table = config_from(data), FAMILIES[family_of(data)].names
    except ValueError as error:
        raise ValueError(f"{folder / CONFIG}: {error}") from None
    held = {plain(name): place for name, place in places(folder).items()}
    bare = jax.eval_shape(partial(init, config), jax.random.key(0))
    weights = _weights(bare, config, table)
    _refuse_odd(folder, held, weights, config)
    wanted = jnp.dtype(held[WHOLE["decoder.embedding"]].dtype if dtype is None else dtype)
    leaves = [_stacked(weight, held, wanted) for weight in weights]
    return jax.tree.unflatten(jax.tree.structure(bare), leaves), config


def save_hf(
    folder: Path,
    model: Model,
    config: ModelConfig,
    *,
    settings: Mapping[str, Any] | None = None,
    most_bytes: int = SHARD,
) -> None:
    """Write the decoder as a folder that transformers, vLLM and llama.cpp's converter read.

    `settings` are further entries of config.json, such as the ids that begin and end a text.

    Raises:
        ValueError: no class of Hugging Face's has such a decoder, or the model has encoders.
        OSError: it cannot be written; what was there before is untouched.
    """
    if model.encoders:
        raise ValueError(f"the encoders of {', '.join(sorted(model.encoders))} cannot be written")
    data = config_to(config)
    table = FAMILIES[family_of(data)].names
    before = "" if data["architectures"][0].endswith("TextModel") else "model."
    tensors = {
        f"{before}{name}": _described(weight, group)
        for weight in _weights(model, config, table)
        for group, name in enumerate(weight.names)
    }
    dtype = np.dtype(model.decoder.embedding.dtype).name
    with folder_aside(folder) as aside:
        written = {**data, "dtype": dtype, "torch_dtype": dtype, **(settings or {})}
        (aside / CONFIG).write_text(json.dumps(written, indent=2) + "\n")
        write_folder(aside, tensors, most_bytes=most_bytes)


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


def _weights(tree: Any, config: ModelConfig, table: Mapping[str, str]) -> list[Weight]:
    """Every array of a model, or its shape, and where it comes from."""
    found = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        found.append(Weight(leaf, sources(name, config, table), name in WHOLE, "embedding" in name))
    return found


def _refuse_odd(
    folder: Path, held: dict[str, Place], weights: list[Weight], config: ModelConfig
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


def _stacked(weight: Weight, held: dict[str, Place], dtype: Any) -> Array:
    """A weight on the device, of the tensors of its layers."""
    out = _aligned(weight.array.shape, dtype)
    for group, name in enumerate(weight.names):
        place, here = held[name], out if weight.is_whole else out[group]
        if not weight.is_turned and place.dtype == dtype:
            read_into(place, here)
            continue
        read = np.empty(place.shape, place.dtype)
        read_into(place, read)
        across = np.swapaxes(read, -1, -2) if weight.is_turned else read
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


def _described(weight: Weight, group: int) -> Described:
    def make() -> np.ndarray:
        mine = np.asarray(weight.array)
        mine = mine if weight.is_whole else mine[group]
        return np.swapaxes(mine, -1, -2) if weight.is_turned else mine

    return Described(weight.theirs, np.dtype(weight.array.dtype), make)
