"""Going on from a model that is there already: all of its weights, or adapters beside them.

Invariant: what `start` leads to is read and never written. A run of adapters keeps nothing but
those, and goes on only beside the very model that it began with.
"""

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from castor.checkpoint import (
    HEAD,
    MERGED,
    AdapterCheckpoint,
    Checkpoint,
    CodecCheckpoint,
    Origin,
    load_adapters,
    newest,
    write,
)
from castor.core.batch import Batch
from castor.core.content import Document, Media
from castor.core.recipe import to_json
from castor.data.source import Source
from castor.interop.folder import is_published, open_model
from castor.interop.peft import save_peft
from castor.models.decoder import Model
from castor.models.lora import Adapters, Lora, adapted, init_adapters, merged
from castor.models.modality import perceive
from castor.models.quant import formats
from castor.models.sizes import ModelConfig
from castor.tokens.render import Tokens, render
from castor.train.job import Job, once, text_job
from castor.train.objectives import Loss, next_token
from castor.train.prepare import picture_book
from castor.train.recipe import FineTune, Full, stored, variants
from castor.train.rows import rows_of
from castor.train.step import cast

PEFT = "peft"
LOOKED_AT = 64  # documents with media that say how many slots a row needs


def finetune_job(recipe: FineTune, *, data: Path, out: Path) -> Job:
    """Next-token prediction of what models say in documents, by a model that is there already.

    Raises:
        ValueError: `start` leads to no model, to one that cannot be learned so, or to another than
            the adapters in `out` are for; or a document is damaged or does not fit.
    """
    found, learned = opened(recipe), isinstance(recipe.tuning, Full)
    config, vocab, codec = found.config, found.vocab, found.codec
    if recipe.length > config.context:
        raise ValueError(
            f"length={recipe.length} is more than the {config.context} tokens of {recipe.start}"
        )
    origin = None if learned else origin_of(recipe, config, out=out)
    book = None
    if codec is not None:
        book = picture_book(recipe, CodecCheckpoint(*codec), data=data, out=out)
    draw = partial(render, vocab=vocab, see=partial(perceive, config=config), draw=book)
    sources = [part.source.open(data, "train") for part in recipe.mixture.parts]
    needed = slots_needed(sources, draw, length=recipe.length)
    rows = rows_of(
        replace(recipe, capacity=recipe.capacity or needed),
        config=config,
        vocab=vocab,
        book=book,
        data=data,
    )

    def checkpoint(weights: Any, step: int, loss: float | None) -> Checkpoint | AdapterCheckpoint:
        if origin is None:
            return replace(found, model=weights, recipe=to_json(recipe), step=step, loss=loss)
        return AdapterCheckpoint(weights, origin, to_json(recipe), step, loss)

    return text_job(
        recipe,
        out=out,
        config=config,
        vocab=vocab,
        rows=rows,
        objective=_objective(recipe, config),
        begin=_begin(recipe, found),
        checkpoint=checkpoint,
        frozen=() if learned else (found.model,),
        passes=3 if learned else 2,
    )


def opened(recipe: FineTune) -> Checkpoint:
    """The model that a run begins with, in the type that it is learned or held in.

    Raises:
        ValueError: there is none, it embeds texts, or all weights are to be learned and some are
            quantised.
    """
    dtype = "float32" if isinstance(recipe.tuning, Full) else recipe.precision
    start = stored(recipe.start)
    if not start.exists():
        raise ValueError(f"there is no model at {recipe.start}")
    found = open_model(start, dtype=dtype)
    if found.embedder is not None:
        raise ValueError(f"{recipe.start} embeds texts; only models that write some are tuned")
    if isinstance(recipe.tuning, Full) and (kinds := formats(found.model)):
        raise ValueError(
            f"the weights of {recipe.start} are {', '.join(kinds)} and cannot be learned; "
            "learn adapters beside them"
        )
    return replace(found, model=cast(found.model, dtype))


def origin_of(recipe: FineTune, config: ModelConfig, *, out: Path) -> Origin:
    """What the run's adapters are for.

    Raises:
        ValueError: those that are in `out` already are for another model.
    """
    assert isinstance(recipe.tuning, Lora)
    here = Origin(recipe.start, digest_of(stored(recipe.start)), config, recipe.tuning)
    if newest(out) is not None:
        _refuse_another(load_adapters(out).origin, here.digest, out)
    return here


def digest_of(path: Path) -> str:
    """Twelve hexadecimal digits that name the model in a checkpoint, a run or a folder of Hugging
    Face's. A checkpoint's config.json has the digests of its other files."""
    whole = path / MERGED
    folder = whole if whole.exists() else newest(path) or path
    total = hashlib.sha256((folder / HEAD).read_bytes())
    if is_published(folder):
        for file in sorted(folder.glob("*.safetensors")):
            with file.open("rb") as stream:
                total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()[:12]


def merge(run: Path) -> Path:
    """Write the whole model of a run's newest adapters to `run`/merged, and give that path.

    It has the type of the model that the adapters are for. Where that is a Hugging Face folder,
    they are written to `run`/peft too.

    Raises:
        ValueError: there are none, they are damaged, or that model is no longer what it was.
    """
    tuned, out = load_adapters(run), run / MERGED
    start, lora = stored(tuned.origin.start), tuned.origin.lora
    _refuse_another(tuned.origin, digest_of(start), run)
    found = open_model(start, dtype=None)
    model = merged(found.model, tuned.adapters, scale=lora.scale)
    whole = replace(found, model=model, recipe=tuned.recipe, step=tuned.step, loss=tuned.loss)
    if is_published(start):
        save_peft(run / PEFT, tuned.adapters, tuned.origin, start=start)
    write(out, whole, precision=np.dtype(model.decoder.final_norm.dtype).name)
    return out


def slots_needed(
    sources: list[Source], draw: Callable[[Document], Tokens], *, length: int
) -> dict[str, int]:
    """How many slots of each kind a row of that length needs; every document is read once.

    Raises:
        ValueError: a document cannot be read, has nothing that a model said, or its media cannot
            be seen; the message says where it stands.
    """
    most, total, tokens, left = Counter[str](), Counter[str](), 0, LOOKED_AT
    for document in (
        s.document(i, np.random.default_rng(0)) for s in sources for i in range(len(s))
    ):
        if not any(turn.role in ("model", "page") and turn.parts for turn in document.turns):
            raise ValueError(f"{document.origin}: no turn of the model says anything to learn")
        if not left or not any(isinstance(p, Media) for turn in document.turns for p in turn.parts):
            continue
        try:
            drawn = draw(document)
        except ValueError as error:
            raise ValueError(f"{document.origin}: {error}") from None
        here = Counter[str]()
        for _, signal in drawn.signals:
            here[signal.kind] += len(signal.places)
        most, total = most | here, total + here
        tokens, left = tokens + len(drawn.ids), left - 1
    return {kind: min(length, max(n, length * total[kind] // tokens)) for kind, n in most.items()}


def tuned_next_token(
    adapters: Adapters, batch: Batch, model: Model, *, lora: Lora, **settings: Any
) -> Loss:
    """`next_token` of a model with adapters beside its weights."""
    return next_token(adapted(model, adapters, scale=lora.scale), batch, **settings)


def _objective(recipe: FineTune, config: ModelConfig) -> Callable[..., Loss]:
    settings = {"config": config, **variants(recipe)}
    if isinstance(recipe.tuning, Full):
        return partial(next_token, **settings)
    return partial(tuned_next_token, lora=recipe.tuning, **settings)


def _begin(recipe: FineTune, found: Checkpoint) -> Callable[[Array], Any]:
    if isinstance(recipe.tuning, Full):
        return lambda key: jax.tree.map(jnp.array, found.model)  # a step takes its memory over
    return once(partial(init_adapters, found.config, recipe.tuning))


def _refuse_another(origin: Origin, digest: str, out: Path) -> None:
    if origin.digest != digest:
        raise ValueError(
            f"the adapters in {out} are for another model ({origin.digest}) than "
            f"{origin.start} now holds ({digest})"
        )
