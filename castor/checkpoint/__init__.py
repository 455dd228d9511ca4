"""A directory that is a model: weights, shape, vocabulary, picture codec, recipe and run state.

Invariant: a directory named step_* is whole. It is written aside and renamed when complete, its
`config.json` holds the digest of every other file, and nothing that does not match is ever loaded.
"""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from castor.checkpoint.digests import digest, digests
from castor.checkpoint.state import read_state, ready
from castor.checkpoint.state import (
    write_state as write_state,
)  # whoever writes one looks for it here
from castor.core.files import folder_aside
from castor.core.recipe import from_json, to_json
from castor.models.decoder import Model, init
from castor.models.heads import Embedder
from castor.models.image_codec import Codec, CodecConfig, init_codec
from castor.models.lora import Adapters, Lora, init_adapters
from castor.models.quant import formats
from castor.models.sizes import ModelConfig
from castor.models.stored import packed, unpacked
from castor.tokens.vocab import OURS, Vocab, digest_of

FORMAT = 1
HEAD, WEIGHTS, CODEC = "config.json", "weights.safetensors", "codec.safetensors"
VOCAB, RECIPE, STATE = "vocab.model", "recipe.json", "state"
ADAPTERS, MERGED = "adapters.safetensors", "merged"


@dataclass(frozen=True)
class Checkpoint:
    """A model and all that it takes to use it, with the place of its run that it comes from."""

    model: Model  # float32, or with weights that are quantised
    config: ModelConfig
    vocab: Vocab
    codec: tuple[Codec, CodecConfig] | None = None
    recipe: dict[str, Any] = field(default_factory=dict)  # as JSON; empty if unknown
    step: int = 0
    loss: float | None = None  # on held-out data, if it was measured; lower is better
    embedder: Embedder | None = None  # of a model that embeds and writes nothing


@dataclass(frozen=True)
class CodecCheckpoint:
    """A picture codec alone, with the place of its run that it comes from."""

    codec: Codec  # float32
    config: CodecConfig
    recipe: dict[str, Any] = field(default_factory=dict)
    step: int = 0
    loss: float | None = None


@dataclass(frozen=True)
class Origin:
    """The model that adapters were learned beside, and how."""

    start: str  # its path
    digest: str  # of its files
    config: ModelConfig
    lora: Lora


@dataclass(frozen=True)
class AdapterCheckpoint:
    """Adapters alone, with the place of their run that they come from."""

    adapters: Adapters  # float32
    origin: Origin
    recipe: dict[str, Any] = field(default_factory=dict)
    step: int = 0
    loss: float | None = None


AnyCheckpoint = Checkpoint | CodecCheckpoint | AdapterCheckpoint


@dataclass(frozen=True)
class VocabHead:
    """Which vocabulary the weights were trained with."""

    digest: str
    codes: int
    dialogue: str = OURS
    size: int | None = None  # None: as many ids as the vocabulary has, in whole tiles

    @property
    def options(self) -> dict[str, Any]:
        """What makes a Vocab of the bytes of its model."""
        return {"codes": self.codes, "dialogue": self.dialogue, "size": self.size}


@dataclass(frozen=True)
class Head:
    """What `config.json` says of a model, a codec or both, or of adapters.

    Raises:
        ValueError: something is missing.
    """

    castor: int
    step: int
    loss: float | None
    files: dict[str, str]  # digests by path
    model: ModelConfig | None = None
    vocab: VocabHead | None = None
    codec: CodecConfig | None = None
    adapters: Origin | None = None
    quantised: tuple[str, ...] = ()  # formats of the model's weights, e.g. "int4"

    def __post_init__(self) -> None:
        if (self.model is None) != (self.vocab is None):
            raise ValueError("it names a model without its vocabulary, or the other way round")
        if self.model is None and self.codec is None and self.adapters is None:
            raise ValueError("it names neither a model nor a codec")
        model = () if self.model is None else (WEIGHTS, VOCAB)
        codec = () if self.codec is None else (CODEC,)
        adapters = () if self.adapters is None else (ADAPTERS,)
        for name in (*model, *codec, *adapters, RECIPE):
            if name not in self.files:
                raise ValueError(f"it has no digest of {name}")


@dataclass(frozen=True)
class Keep:
    """Which checkpoints of a run stay: the newest ones, and those of the lowest held-out loss."""

    last: int = 2
    best: int = 1

    def __post_init__(self) -> None:
        if self.last < 1 or self.best < 0:
            raise ValueError(f"keep.last={self.last} must be 1 or more, keep.best={self.best} 0")


def save(run: Path, checkpoint: AnyCheckpoint, *, state: Any = None, **shared: Any) -> Path:
    """Write `run`/step_N, whole or not at all, and give its path.

    `state` is any tree of arrays: what a run needs, besides, to go on as if never stopped. `shared`
    is as in `write`.

    Raises:
        OSError: it cannot be written; what was there before is untouched.
    """
    path = place(run, checkpoint.step)
    write(path, checkpoint, state=state, **shared)
    return path


def place(run: Path, step: int) -> Path:
    """Where a run keeps the checkpoint of a step."""
    return run / f"step_{step:06d}"


def step_of(path: Path) -> int:
    """The step of a checkpoint of a run, by its name."""
    return int(path.name.removeprefix("step_"))


def write(
    path: Path,
    checkpoint: AnyCheckpoint,
    *,
    state: Any = None,
    precision: str = "float32",
    processes: int = 1,
    announce: Callable[[Path], None] = lambda aside: None,
) -> None:
    """Write a checkpoint to a directory of any name; in float16 or bfloat16 it takes half the room.

    Quantised weights are written as they are. Where several `processes` hold the state, each of the
    others calls `write_state` with STATE in the announced directory, at the same time.

    Raises:
        ValueError: it holds heads of embeddings, for which a checkpoint has no place.
        OSError: it cannot be written; what was there before is untouched.
    """
    head: dict[str, Any] = {"castor": FORMAT, "step": checkpoint.step, "loss": checkpoint.loss}
    if isinstance(checkpoint, Checkpoint) and checkpoint.embedder is not None:
        raise ValueError("a checkpoint keeps no heads of embeddings; use the folder as it is")
    codec = checkpoint.codec if isinstance(checkpoint, Checkpoint) else None
    if isinstance(checkpoint, CodecCheckpoint):
        codec = checkpoint.codec, checkpoint.config
    with folder_aside(path) as folder:
        announce(folder)
        if isinstance(checkpoint, Checkpoint):
            head["model"] = to_json(checkpoint.config)
            vocab = checkpoint.vocab
            size = None if vocab.dialogue.name == OURS else vocab.size
            told = VocabHead(vocab.digest, len(vocab.codes), vocab.dialogue.name, size)
            head["vocab"] = to_json(told)
            if quantised := formats(checkpoint.model):
                head["quantised"] = quantised
            (folder / WEIGHTS).write_bytes(packed(checkpoint.model, precision))
            (folder / VOCAB).write_bytes(vocab.model)
        if isinstance(checkpoint, AdapterCheckpoint):
            head["adapters"] = to_json(checkpoint.origin)
            (folder / ADAPTERS).write_bytes(packed(checkpoint.adapters, "float32"))
        if codec is not None:
            head["codec"] = to_json(codec[1])
            (folder / CODEC).write_bytes(packed(codec[0], precision))
        (folder / RECIPE).write_text(_text(checkpoint.recipe))
        if state is not None:
            write_state(folder / STATE, state, processes=processes)
        head["files"] = digests(folder)
        (folder / HEAD).write_text(_text(head))


def load(path: Path, *, dtype: str | None = "float32") -> Checkpoint:
    """The model in a checkpoint, in the newest checkpoint of a run, or of its merged adapters.

    `dtype` is of its weights, unless they are quantised; None = as they are stored.

    Raises:
        ValueError: there is none, or it is damaged; the reason is told and, where there is one,
            the newest good checkpoint of the same run.
    """
    folder, head = _opened(path)
    config, codec = head.model, head.codec
    if head.adapters is not None:
        if folder != path and (path / MERGED).exists():
            return load(path / MERGED, dtype=dtype)
        raise ValueError(
            f"{folder} holds adapters for {head.adapters.start} and no model; its run writes one "
            f"to {folder.parent / MERGED} when it ends"
        )
    if config is None or head.vocab is None:
        raise ValueError(f"{folder} holds a codec but no model")
    vocab = Vocab.load(folder / VOCAB, **head.vocab.options)
    if vocab.size != config.vocab:
        raise ValueError(f"{folder}: the model has {config.vocab} ids, its vocabulary {vocab.size}")
    return Checkpoint(
        model=unpacked(folder / WEIGHTS, partial(init, config), dtype=dtype),
        config=config,
        vocab=vocab,
        codec=None if codec is None else (_load_codec(folder, codec), codec),
        recipe=json.loads((folder / RECIPE).read_text()),
        step=head.step,
        loss=head.loss,
    )


def load_codec(path: Path) -> CodecCheckpoint:
    """The picture codec in a checkpoint, or in the newest checkpoint of a run.

    Raises:
        ValueError: there is none, or it is damaged, as in `load`.
    """
    folder, head = _opened(path)
    config = head.codec
    if config is None:
        raise ValueError(f"{folder} holds no codec")
    recipe = json.loads((folder / RECIPE).read_text())
    return CodecCheckpoint(_load_codec(folder, config), config, recipe, head.step, head.loss)


def load_adapters(path: Path) -> AdapterCheckpoint:
    """The adapters in a checkpoint, or in the newest checkpoint of a run.

    Raises:
        ValueError: there are none, or they are damaged, as in `load`.
    """
    folder, head = _opened(path)
    origin = head.adapters
    if origin is None:
        raise ValueError(f"{folder} holds no adapters")
    adapters = unpacked(folder / ADAPTERS, partial(init_adapters, origin.config, origin.lora))
    recipe = json.loads((folder / RECIPE).read_text())
    return AdapterCheckpoint(adapters, origin, recipe, head.step, head.loss)


def resume[T](run: Path, *, fresh: T) -> T:
    """The state beside the weights of a run's newest checkpoint; `fresh` where there is none yet.

    It must be a tree of arrays like those of `fresh`.

    Raises:
        ValueError: there are only weights (an export), or they are damaged, as in `load`.
    """
    ready()
    if newest(run) is None:
        return fresh
    folder, _ = _opened(run)
    if not (folder / STATE).exists():
        raise ValueError(f"{folder} holds weights only, no state to go on from")
    return read_state(folder / STATE, fresh=fresh)


def checkpoints(run: Path) -> list[Path]:
    """The checkpoints of a run, by step."""
    found = run.glob("step_*") if run.is_dir() else ()
    numbered = {int(p.name[5:]): p for p in found if re.fullmatch(r"step_\d+", p.name)}
    return [numbered[step] for step in sorted(numbered)]


def newest(path: Path) -> Path | None:
    """The checkpoint that a path means: itself, or the newest of a run; None if there is none."""
    if (path / HEAD).exists():
        return path
    return next(iter(reversed(checkpoints(path))), None)


def prune(run: Path, keep: Keep) -> list[Path]:
    """Remove what `keep` does not name, and give what was removed."""
    found = checkpoints(run)
    heads = {path: json.loads((path / HEAD).read_text()) for path in found}
    ranked = sorted((h["loss"], -h["step"], p) for p, h in heads.items() if h["loss"] is not None)
    kept = {*found[-keep.last :], *(path for _, _, path in ranked[: keep.best])}
    removed = [path for path in found if path not in kept]
    for path in removed:  # by another name first: half of one is none
        shutil.rmtree(path.rename(path.with_name(f".old.{path.name}")))
    return removed


def sweep(run: Path) -> None:
    """Remove folders that a killed process left half written."""
    for pattern in (".step_*", ".old.step_*"):
        for path in run.glob(pattern):
            shutil.rmtree(path)


def set_aside(run: Path) -> list[str]:
    """Rename the newest checkpoints of a run that are damaged, up to one that is whole, and say
    what was wrong with each."""
    told = []
    while (folder := newest(run)) is not None and (reason := damage(folder)) is not None:
        aside = folder.with_name(f"damaged_{folder.name}")
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
        told.append(f"{folder}: {reason}; it is {aside.name} now")
    return told


def damage(folder: Path) -> str | None:
    """Why a directory cannot be loaded, in half a sentence; None if it can.

    Every byte is read. This guards against accidents, not against someone who rewrites
    `config.json` too.
    """
    if folder.is_file():
        return f"it is a file; name the directory that holds {HEAD}"
    if not folder.is_dir():
        return "there is no such directory"
    try:
        data = json.loads((folder / HEAD).read_text())
        version = data.get("castor") if isinstance(data, dict) else None
        if isinstance(version, int) and version != FORMAT:
            return f"it is of format {version}, and this version of Castor reads {FORMAT}"
        head = from_json(Head, data)
    except FileNotFoundError:
        return f"it has no {HEAD}, so it is no checkpoint of Castor's"
    except ValueError as error:
        return f"its {HEAD} is not one that Castor wrote ({error})"
    for name, wanted in head.files.items():
        file = folder / name
        if not file.exists():
            return f"{name} is missing"
        if name == VOCAB and head.vocab is not None:
            found = digest_of(file.read_bytes(), **head.vocab.options)
            if found != head.vocab.digest:
                return (
                    f"{name} is another vocabulary ({found}) than the one that the weights "
                    f"were trained with ({head.vocab.digest})"
                )
        if digest(file) != wanted:
            return f"{name} is not what was saved (truncated or changed)"
    return None


def _opened(path: Path) -> tuple[Path, Head]:
    """The folder that a path means, found whole, and its head."""
    folder = newest(path) or path
    reason = damage(folder)
    if reason is None:
        return folder, from_json(Head, json.loads((folder / HEAD).read_text()))
    others = (p for p in reversed(checkpoints(folder.parent)) if p != folder and not damage(p))
    good = next(others, None)
    advice = f"; the newest good checkpoint beside it is {good}" if good else ""
    raise ValueError(f"{folder} cannot be loaded: {reason}{advice}")


def _load_codec(folder: Path, config: CodecConfig) -> Codec:
    return unpacked(folder / CODEC, partial(init_codec, config))


def _text(data: Any) -> str:
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"
