"""Any model on disk as a Checkpoint: one of ours, or a Hugging Face folder as it was published."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax

from castor.checkpoint import HEAD, Checkpoint, load
from castor.interop.heads import load_heads
from castor.interop.hf import load_hf, read_config, shape_in
from castor.interop.tokenizer import vocabulary
from castor.models.decoder import init

GENERATION = "generation_config.json"
KNOBS = ("temperature", "top_k", "top_p", "repetition_penalty")  # that Sampling has, too


def open_model(
    path: Path, *, dtype: str | None = "float32", dialogue: str | None = None
) -> Checkpoint:
    """The model of a checkpoint, of a run's newest one or of a Hugging Face folder.

    `dtype` is of its weights; None = as they are stored. `dialogue` is one of `DIALOGUES`, where a
    folder's own is not to be used. The recipe of a folder holds its name and how its makers sample.

    Raises:
        ValueError: there is none, it is damaged, or of a kind that we do not read.
    """
    if not is_published(path):
        return load(path, dtype=dtype)
    model, _ = load_hf(path, dtype=dtype)
    return replace(outline(path, dialogue=dialogue), model=model)


def outline(path: Path, *, dialogue: str | None = None) -> Checkpoint:
    """A Hugging Face folder's model, but the shapes of its weights and not the weights.

    Raises:
        ValueError: as `open_model`, but for what is wrong with the weights.
    """
    data = read_config(path)
    config = shape_in(path, data)
    shapes = jax.eval_shape(partial(init, config), jax.random.key(0))
    vocab = vocabulary(path, kind=data["model_type"], size=config.vocab, dialogue=dialogue)
    recipe = {"name": path.resolve().name, "sampling": sampling(path)}
    return Checkpoint(shapes, config, vocab, recipe=recipe, embedder=load_heads(path))


def is_published(path: Path) -> bool:
    """Whether a folder is of Hugging Face's kind.

    Raises:
        ValueError: it is a GGUF, which is only written here.
    """
    if path.suffix == ".gguf" or (path.is_dir() and _only_gguf(path)):
        raise ValueError(
            f"{path} is a GGUF; Castor writes those but reads Hugging Face folders (config.json "
            "and safetensors) and its own checkpoints"
        )
    try:
        data = json.loads((path / HEAD).read_text())
    except (OSError, ValueError):
        return False
    return isinstance(data, dict) and "castor" not in data and "model_type" in data


def sampling(path: Path) -> dict[str, Any]:
    """How the makers of a folder's model sample, in the names of `Sampling`.

    Raises:
        ValueError: its generation_config.json is none.
    """
    file = path / GENERATION
    if not file.is_file():
        return {}
    try:
        told = json.loads(file.read_text())
        if not isinstance(told, dict):
            raise ValueError("no object")
    except ValueError as error:
        raise ValueError(f"{file} is not JSON ({error})") from None
    if told.get("do_sample") is False:
        return {"temperature": 0.0}
    return {knob: told[knob] for knob in KNOBS if isinstance(told.get(knob), int | float)}


def _only_gguf(path: Path) -> bool:
    return any(path.glob("*.gguf")) and not (path / HEAD).exists()
