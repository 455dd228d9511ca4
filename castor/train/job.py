"""What the loop is given: a model or a picture codec to learn, in the same few functions."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
from jax import Array

from castor.checkpoint import AnyCheckpoint, Checkpoint, CodecCheckpoint, load
from castor.core.recipe import to_json
from castor.data.mixture import Mixture
from castor.data.pictures import PictureBook
from castor.models import decoder
from castor.models.image_codec import CodecConfig, init_codec, reconstruct
from castor.models.layout import made
from castor.models.quant import formats
from castor.models.sizes import ModelConfig
from castor.tokens.vocab import Vocab
from castor.train.flops import flops
from castor.train.metrics import (
    Sums,
    Tally,
    next_token_numbers,
    reconstruction_numbers,
    tally,
)
from castor.train.objectives import Pictures, next_token, reconstruction
from castor.train.prepare import Gallery, pictures_of
from castor.train.recipe import CodecRecipe, FineTune, Recipe, Run, stored, variants
from castor.train.rows import Rows, rows_of
from castor.train.step import Objective, TrainState


@dataclass(frozen=True)
class Progress:
    """Where a run stands; `total` is 0 where it is not known."""

    stage: str  # "vocabulary", "codec", "pictures" or "model"
    done: int
    total: int
    numbers: dict[str, float] = field(default_factory=dict)  # e.g. "loss", "tokens/s"
    seconds_left: float | None = None


Report = Callable[[Progress], None]


@dataclass(frozen=True)
class Job:
    """One thing to learn. The loop does not know what it is."""

    run: Run
    out: Path
    stage: str
    config: ModelConfig | CodecConfig  # of what is learned, or has adapters beside it
    objective: Objective
    begin: Callable[[Array], Any]  # a key to the first weights
    batches: Callable[[int, range], Iterator[Any]]  # from a step on; some rows of each
    held_out: Callable[[range], Iterable[Any]]  # some rows of the batches to measure the loss on
    told: Callable[[Any], Tally]  # of a batch
    numbers: Callable[[Sums], dict[str, Any]]
    forward: Callable[[Any], int]  # operations of a batch's forward pass, but not of its targets
    per_target: int  # and of each learned position
    checkpoint: Callable[[Any, int, float | None], AnyCheckpoint]
    frozen: tuple[Any, ...] = ()  # trees that the objective is given too
    passes: int = 3  # forward passes that a step takes as long as; 2 of them are the backward one

    def used(self, state: TrainState) -> Any:
        """The weights that are measured and used: the averaged ones, if there are any."""
        return state.average if self.run.ema else state.model


def model_job(
    recipe: Recipe,
    *,
    vocab: Vocab,
    codec: CodecCheckpoint | None,
    book: PictureBook | None,
    data: Path,
    out: Path,
) -> Job:
    """Next-token prediction over a mixture.

    Raises:
        ValueError: a source cannot be opened, or does not fit into the rows.
    """
    config = replace(recipe.model, vocab=vocab.size)
    rows = rows_of(recipe, config=config, vocab=vocab, book=book, data=data)

    def checkpoint(model: Any, step: int, loss: float | None) -> Checkpoint:
        painter = None if codec is None else (codec.codec, codec.config)
        return Checkpoint(model, config, vocab, painter, to_json(recipe), step, loss)

    return text_job(
        recipe,
        out=out,
        config=config,
        vocab=vocab,
        rows=rows,
        objective=partial(next_token, config=config, **variants(recipe)),
        begin=partial(_first_weights, recipe.start, config, vocab),
        checkpoint=checkpoint,
    )


def text_job(
    recipe: Recipe | FineTune,
    *,
    config: ModelConfig,
    vocab: Vocab,
    rows: Rows,
    **more: Any,
) -> Job:
    """A Job that learns ids, whatever is learned of the model; `more` are its other fields."""
    return Job(
        run=recipe,
        stage="model",
        config=config,
        batches=rows.training,
        held_out=rows.held_out,
        told=partial(tally, vocab=vocab),
        numbers=partial(next_token_numbers, names=recipe.mixture.names),
        forward=partial(
            _flops, partial(decoder.hidden, config=config), partial(decoder.init, config)
        ),
        per_target=2 * config.vocab * config.width,
        **more,
    )


def codec_job(recipe: CodecRecipe, *, data: Path, out: Path) -> Job:
    """Reconstruction of the pictures that a mixture draws.

    Raises:
        ValueError: a source cannot be opened, or draws pictures of another size.
    """
    config = recipe.model
    gallery = partial(Gallery, data=data, side=config.side, rows=recipe.rows, seed=recipe.seed)
    training = gallery(recipe.mixture, split="train")

    def held_out(rows: range) -> Iterator[Pictures]:
        if _draws(recipe.mixture, data):
            measured = gallery(recipe.mixture, split="eval")
            yield from measured.iterate(range(recipe.eval_batches), rows)

    def told(batch: Pictures) -> Tally:
        return Tally(len(batch.pixels), 0, Sums().source_bytes, {})

    def forward(codec: Any, batch: Pictures) -> Any:
        return reconstruct(codec, batch.pixels, config=config)

    def checkpoint(codec: Any, step: int, loss: float | None) -> CodecCheckpoint:
        return CodecCheckpoint(codec, config, to_json(recipe), step, loss)

    return Job(
        run=recipe,
        out=out,
        stage="codec",
        config=config,
        objective=partial(reconstruction, config=config, absolute=recipe.absolute),
        begin=once(partial(init_codec, config)),
        batches=lambda start, rows: training.iterate(range(start, recipe.steps), rows),
        held_out=held_out,
        told=told,
        numbers=partial(reconstruction_numbers, names=recipe.mixture.names),
        forward=partial(_flops, forward, partial(init_codec, config)),
        per_target=0,
        checkpoint=checkpoint,
    )


def _flops(forward: Callable[..., Any], make: Callable[[Array], Any], batch: Any) -> int:
    return flops(forward, jax.eval_shape(make, jax.random.key(0)), batch)


def once(make: Callable[[Array], Any]) -> Callable[[Array], Any]:
    """The function compiled in a hurry: a quarter of the seconds, for what is called once."""
    return partial(made, make, xla_backend_optimization_level=0)


def _draws(mixture: Mixture, data: Path) -> bool:
    """Whether any held-out document draws a picture."""
    return any(True for part in mixture.parts for _ in pictures_of(part, data, "eval"))


def _first_weights(start: str | None, config: ModelConfig, vocab: Vocab, key: Array) -> Any:
    """Fresh ones, or those of the checkpoint that a recipe starts from.

    Raises:
        ValueError: that checkpoint has another vocabulary or shape, or its weights are quantised.
    """
    if start is None:
        return once(partial(decoder.init, config))(key)
    found = load(stored(start))
    if found.vocab.digest != vocab.digest:
        raise ValueError(
            f"start={start} has another vocabulary ({found.vocab.digest}) than this run "
            f'({vocab.digest}); --set \'vocab={{"kind": "StoredVocab", "path": "{start}"}}\''
        )
    if found.config != config:
        raise ValueError(f"start={start} has another shape: {found.config} and not {config}")
    if kinds := formats(found.model):
        raise ValueError(
            f"the weights of start={start} are {', '.join(kinds)} and cannot be learned; start "
            "from the float model, or learn adapters with finetune"
        )
    return found.model
