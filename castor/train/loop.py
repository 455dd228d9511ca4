"""The loop: from a recipe and a folder of data to a checkpoint, through any interruption.

Invariant: a run that was stopped or killed at any moment and then resumed ends with the same
weights, bit for bit, as one that never was. What it needs for that is in its checkpoints.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from castor.checkpoint import (
    HEAD,
    MERGED,
    VOCAB,
    load_codec,
    newest,
    place,
    prune,
    resume,
    save,
    sweep,
)
from castor.core.files import write_atomic
from castor.core.recipe import from_json, to_json
from castor.fleet.ledger import LEDGER, Ledger
from castor.models.layout import in_use, made, mesh_in_use, refuse, shard, shard_rows
from castor.models.lora import Lora
from castor.train.course import Course
from castor.train.curves import draw_curves
from castor.train.finetune import finetune_job, merge
from castor.train.interruption import alone, stoppable
from castor.train.job import Job, Progress, Report, codec_job, model_job
from castor.train.meter import Meter
from castor.train.metrics import Log, Sums
from castor.train.objectives import Loss
from castor.train.prepare import picture_book, vocabulary
from castor.train.recipe import (
    AnyRecipe,
    CodecRecipe,
    FineTune,
    Recipe,
    Run,
    StoredCodec,
    differences,
    stored,
)
from castor.train.step import TrainState, cast, make_step, start

RECIPE, METRICS, CURVES = "recipe.json", "metrics.jsonl", "curves.png"


def train(
    recipe: AnyRecipe,
    *,
    data: Path,
    out: Path,
    report: Report = lambda _: None,
    mesh: Mesh | None = None,
) -> Path:
    """Do all of a run that is not done yet, and give the path of its last checkpoint.

    A model's run first makes its codec (in `out`/codec), its vocabulary and the codes of the
    pictures that it learns to draw. One of adapters ends with the whole model in `out`/merged, and
    gives that. SIGTERM and Ctrl-C save before they end the process. A run may go on with another
    `mesh` than it began with; None = one device.

    Raises:
        ValueError: `out` holds a run of another recipe, or one that is under way or damaged; or
            data is missing or does not fit; or the mesh does not divide rows, their length or the
            model's heads.
    """
    if mesh is not None:
        fits(recipe, mesh.shape)
    out.mkdir(parents=True, exist_ok=True)
    with alone(out), in_use(mesh):
        _settle(recipe, out)
        done = place(out, recipe.steps)
        done = done if done.exists() else _fitted(recipe, data=data, out=out, report=report)
        if isinstance(recipe, FineTune) and isinstance(recipe.tuning, Lora):
            whole = out / MERGED
            return whole if (whole / HEAD).exists() else merge(out)
        return done


def _fitted(recipe: AnyRecipe, *, data: Path, out: Path, report: Report) -> Path:
    if isinstance(recipe, FineTune):
        report(Progress("model", 0, recipe.steps))
        return fit(finetune_job(recipe, data=data, out=out), report=report)
    if isinstance(recipe, CodecRecipe):
        report(Progress("codec", 0, recipe.steps))
        return fit(codec_job(recipe, data=data, out=out), report=report)
    codec = book = None
    if isinstance(recipe.codec, CodecRecipe):
        codec = load_codec(train(recipe.codec, data=data, out=out / "codec", report=report))
    elif isinstance(recipe.codec, StoredCodec):
        codec = load_codec(stored(recipe.codec.path))
    report(Progress("vocabulary", 0, 0))
    vocab = vocabulary(recipe, data=data, out=out, codes=codec.config.codes if codec else 0)
    if codec is not None:
        report(Progress("pictures", 0, 0))
        book = picture_book(recipe, codec, data=data, out=out)
    report(Progress("model", 0, recipe.steps))
    job = model_job(recipe, vocab=vocab, codec=codec, book=book, data=data, out=out)
    return fit(job, report=report)


def fit(job: Job, *, report: Report) -> Path:
    """Take all the steps of a job that its newest checkpoint has not taken."""
    run, out = job.run, job.out
    with stoppable() as asked_to_stop, Ledger(out / LEDGER) as ledger:
        ledger.happened("started")
        sweep(out)
        transform = run.optimizer.transform(run.steps)
        key = jax.random.key(run.seed)
        begin = partial(start, transform=transform, ema=run.ema)
        with ledger.timed("restore"):
            state = resume(out, fresh=_begun(begin, job.begin(key), key))
        first = int(state.step)
        log, meter = Log(out / METRICS, start=first), Meter(job, ledger, first=first)
        measure = _measure(job)
        step = make_step(
            job.objective,
            transform,
            precision=run.precision,
            accumulate=run.accumulate,
            ema=run.ema,
            frozen=shard(job.frozen),
        )
        if isinstance(run, FineTune) and run.eval_every and not first:
            _note(log, job, 0, measure(state))
        course = Course(job.batches, first=first)
        for n, batch in meter.timed(course):
            with ledger.timed("compile") if n == first + 1 else nullcontext():
                state, metrics = step(state, shard_rows(batch), after=n - 1)
            again = meter.add(metrics, batch)
            report(meter.progress(n))
            ends = n == run.steps or asked_to_stop()
            if again is None and (ends or _is_due(run, n)):
                again = meter.land()
            if again is not None:
                course.back(again)
                continue
            if ends or n % run.log_every == 0:
                log.add(meter.record(n, state))
            loss = None
            if n == run.steps or (run.eval_every and n % run.eval_every == 0):
                with meter.aside("evaluation"):
                    loss = _note(log, job, n, measure(state))
            if ends or n % run.save_every == 0:
                with meter.aside("checkpoint"):
                    save(out, job.checkpoint(_in_use(job, state), n, loss), state=state)
                    prune(out, run.keep)
            if ends:
                break
        draw_curves(out / METRICS, out / CURVES, title=run.name)
        ledger.happened("ended")
    return place(out, run.steps)


def _is_due(run: Run, n: int) -> bool:
    """Whether something is written or measured after a step."""
    return any(
        every and n % every == 0 for every in (run.log_every, run.eval_every, run.save_every)
    )


def _begun(begin: Callable[..., TrainState], model: Any, key: Any) -> TrainState:
    """The state before step 0, made where it belongs."""
    if mesh_in_use() is None:
        return begin(model, key=key)
    return made(lambda model, key: begin(model, key=key), shard(model), key)


def fits(recipe: AnyRecipe, mesh: Mapping[str, int]) -> None:
    """Say what a mesh does not divide, of the recipe and of its codec's.

    Raises:
        ValueError: rows, their length or the model's heads cannot be shared out.
    """
    rows = recipe.rows // recipe.accumulate
    if isinstance(recipe, CodecRecipe):
        refuse(mesh, rows=rows)
        return
    heads = recipe.model.heads if isinstance(recipe, Recipe) else None
    refuse(mesh, rows=rows, length=recipe.length, heads=heads)
    if isinstance(recipe, Recipe) and isinstance(recipe.codec, CodecRecipe):
        fits(recipe.codec, mesh)


def _note(log: Log, job: Job, n: int, held_out: Sums) -> float | None:
    """Log what was measured on held-out data, if there is any, and give the loss."""
    if not held_out.steps:
        return None
    log.add({"step": n, "held_out": {"loss": held_out.loss, **job.numbers(held_out)}})
    return held_out.loss


def _settle(recipe: AnyRecipe, out: Path) -> None:
    """Write the recipe into a new run's folder; in an old one, compare.

    Until there is a checkpoint nothing is lost by beginning anew: a start that failed does not tie
    the folder to what made it fail.
    """
    path = out / RECIPE
    if path.exists():
        other = differences(from_json(type(recipe), json.loads(path.read_text())), recipe)
        if not other:
            return
        if newest(out) is not None:
            more = f" (and {len(other) - 1} more)" if len(other) > 1 else ""
            raise ValueError(f"{out} holds a run whose {other[0]}{more}; name another folder")
        (out / VOCAB).unlink(missing_ok=True)
    write_atomic(path, (json.dumps(to_json(recipe), indent=1) + "\n").encode())


def _in_use(job: Job, state: TrainState) -> object:
    """The weights that are measured and used: the averaged ones, if there are any."""
    return state.average if job.run.ema else state.model


def _measure(job: Job) -> Callable[[TrainState], Sums]:
    """A function that adds up the losses of all held-out batches."""
    batches = cache(lambda: list(job.held_out()))
    frozen = shard(job.frozen)

    @jax.jit
    def loss(model: Any, batch: Any, frozen: tuple[Any, ...]) -> Loss:
        return job.objective(cast(model, job.run.precision), batch, *frozen)

    def measure(state: TrainState) -> Sums:
        sums = Sums()
        for batch in batches():
            sums.add(loss(_in_use(job, state), shard_rows(batch), frozen), job.told(batch))
        return sums

    return measure
