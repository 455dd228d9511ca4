"""The heads of an embedding model as sentence-transformers keeps them, beside its decoder.

A folder's modules.json names a backbone, mean pooling, dense layers and a normalisation, in this
order; each dense layer has a folder of its own.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from castor.core.files import folder_aside
from castor.interop.tensors import Described, places, read_into, write_folder
from castor.models.heads import Embedder, Heads

MODULES, PROMPTS, CONFIG = "modules.json", "config_sentence_transformers.json", "config.json"
BACKBONE, POOLING, DENSE, NORMALISE = "Transformer", "Pooling", "Dense", "Normalize"
TYPES = "sentence_transformers.models."
IDENTITY = "torch.nn.modules.linear.Identity"
TENSOR = "linear.weight"
SHARD = 5 * 10**9
PUBLISHED = {  # some of the prompts of EmbeddingGemma
    "query": "task: search result | query: ",
    "document": "title: none | text: ",
}


def load_heads(folder: Path) -> Embedder | None:
    """The heads of a folder, in float32; None if it has no modules.json, and so no heads.

    Raises:
        ValueError: they are none that we compute, or a file of theirs is damaged.
    """
    if not (folder / MODULES).is_file():
        return None
    modules = [(str(of.get("type")), str(of.get("path"))) for of in _listed(folder / MODULES)]
    kinds = [kind.rsplit(".", 1)[-1] for kind, _ in modules]
    for _, path in modules[1:]:
        if Path(path).name != path:
            raise ValueError(f"{folder / MODULES} names {path}, which is not beside it")
    within = len(kinds) - 3
    if kinds != [BACKBONE, POOLING, *[DENSE] * within, NORMALISE]:
        raise ValueError(
            f"{folder / MODULES} lists {', '.join(kinds)}; we compute {BACKBONE}, {POOLING}, "
            f"any {DENSE}, {NORMALISE}"
        )
    width = _pooled(folder / modules[1][1] / CONFIG)
    matrices: list[np.ndarray] = []
    for _, path in modules[2:-1]:
        matrices.append(_matrix(folder / path, width))
        width = matrices[-1].shape[1]
    prompts: dict[str, Any] = {}
    if (folder / PROMPTS).is_file():
        prompts = _object(folder / PROMPTS).get("prompts") or {}
    return Embedder(Heads(tuple(map(jnp.asarray, matrices))), prompts)


def save_heads(folder: Path, embedder: Embedder) -> None:
    """Write the heads into a folder that holds their decoder, as `save_hf` left it.

    Raises:
        ValueError: there are no matrices, so nothing says how wide the decoder is.
        OSError: it cannot be written.
    """
    matrices = embedder.heads.matrices
    if not matrices:
        raise ValueError("heads without a matrix cannot be written")
    paths = ["", f"1_{POOLING}", *(f"{i}_{DENSE}" for i, _ in enumerate(matrices, start=2))]
    paths.append(f"{len(paths)}_{NORMALISE}")
    kinds = [BACKBONE, POOLING, *[DENSE] * len(matrices), NORMALISE]
    with folder_aside(folder / paths[1]) as aside:
        _write(aside / CONFIG, _pooling(matrices[0].shape[0]))
    for path, weights in zip(paths[2:-1], matrices, strict=True):
        lying = np.asarray(weights).T
        inputs, outputs = weights.shape
        with folder_aside(folder / path) as aside:
            settings = {"in_features": inputs, "out_features": outputs, "bias": False}
            _write(aside / CONFIG, settings | {"activation_function": IDENTITY})
            told = Described(lying.shape, lying.dtype, lambda lying=lying: lying)
            write_folder(aside, {TENSOR: told}, most_bytes=SHARD)
    pairs = enumerate(zip(paths, kinds, strict=True))
    listed = [
        {"idx": i, "name": str(i), "path": path, "type": TYPES + kind} for i, (path, kind) in pairs
    ]
    _write(folder / PROMPTS, {"prompts": embedder.prompts, "similarity_fn_name": "cosine"})
    _write(folder / MODULES, listed)


def _pooling(width: int) -> dict[str, Any]:
    """The settings of mean pooling."""
    modes = ("cls_token", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")
    off = {f"pooling_mode_{mode}": False for mode in modes}
    on = {"pooling_mode_mean_tokens": True, "include_prompt": True}
    return {"word_embedding_dimension": width, **off, **on}


def _pooled(file: Path) -> int:
    """How wide states are that are pooled, by their mean alone."""
    data = _object(file)
    modes = sorted(key for key, on in data.items() if key.startswith("pooling_mode_") and on)
    if modes != ["pooling_mode_mean_tokens"] or data.get("include_prompt") is False:
        raise ValueError(f"{file}: {modes}; we pool by the mean of a prompt and its text alone")
    return _count(file, data, "word_embedding_dimension")


def _matrix(folder: Path, width: int) -> np.ndarray:
    file = folder / CONFIG
    data = _object(file)
    activation = str(data.get("activation_function", ""))
    if data.get("bias") is not False or activation.rsplit(".", 1)[-1] != "Identity":
        raise ValueError(
            f"{file}: bias={data.get('bias')!r} and activation_function={activation!r}; we compute "
            "dense layers without either"
        )
    inputs, outputs = (_count(file, data, name) for name in ("in_features", "out_features"))
    if inputs != width:
        raise ValueError(f"{file}: in_features={inputs}, but {width} come in")
    held = places(folder)
    if set(held) != {TENSOR} or held[TENSOR].shape != (outputs, inputs):
        found = {name: list(place.shape) for name, place in held.items()}
        raise ValueError(f"{folder} holds {found}; its {CONFIG} says {[outputs, inputs]}")
    read = np.empty((outputs, inputs), held[TENSOR].dtype)
    read_into(held[TENSOR], read)
    return np.ascontiguousarray(read.T, np.float32)


def _count(file: Path, data: Mapping[str, Any], name: str) -> int:
    if type(data.get(name)) is not int or data[name] < 1:
        raise ValueError(f"{file}: {name}={data.get(name)!r} must be a whole number, 1 or more")
    return data[name]


def _object(file: Path) -> dict[str, Any]:
    data = _json(file)
    if not isinstance(data, dict):
        raise ValueError(f"{file} is no JSON object")
    return data


def _listed(file: Path) -> list[dict[str, Any]]:
    data = _json(file)
    if not isinstance(data, list) or not all(isinstance(of, dict) for of in data):
        raise ValueError(f"{file} is no list of JSON objects")
    return data


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text())
    except FileNotFoundError:
        raise ValueError(f"{file} is missing, which {MODULES} needs") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not JSON ({error})") from None


def _write(file: Path, data: Any) -> None:
    file.write_text(json.dumps(data, indent=2) + "\n")
