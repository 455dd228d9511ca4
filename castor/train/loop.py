"""The loop: all the steps of a job, what is written and measured between them, and its end.

Invariant: a run that was stopped or killed at any moment and then resumed ends with the same
weights, bit for bit, as one that never was. What it needs for that is in its checkpoints.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from castor.checkpoint import newest, place, resume, step_of, sweep
from castor.checkpoint.bucket import Bucket
from castor.core.recipe import digest
from castor.fleet.ledger import Ledger, ledger_of
from castor.fleet.team import Team
from castor.models.layout import (
    everywhere,
    in_use,
    made,
    mesh_in_use,
    placed,
    rows_here,
    shard,
    shard_rows,
)
from castor.train.corruption import known
from castor.train.course import Course
from castor.train.curves import draw_curves
from castor.train.interruption import stoppable
from castor.train.job import Job, Progress, Report
from castor.train.memory import Kept, Memory, Nowhere, keeping
from castor.train.meter import Meter, peak_of
from castor.train.metrics import NOTHING, Log, Sums, Tally, shared
from castor.train.objectives import Loss
from castor.train.programs import lean
from castor.train.recipe import FineTune, Run
from castor.train.saver import Saver
from castor.train.step import Step, TrainState, cast, make_step, start

METRICS, CURVES = "metrics.jsonl", "curves.png"
Measure = Callable[[TrainState, Callable[[], None]], Sums]  # of a state, with signs of life


class Means(NamedTuple):
    """What a job is trained with."""

    report: Report
    mesh: Mesh | None  # None = one device
    kept: Kept | None  # None = not in memory
    bucket: Bucket | None  # None = not copied; only the first process has one
    team: Team


def fit(job: Job, means: Means) -> Path:
    """Take all the steps of a job that its newest checkpoint, or what is kept in memory, has not
    taken."""
    run, out, (report, mesh, kept, bucket, team) = job.run, job.out, means
    peak = peak_of(run, out, team)  # of this process alone, so before the mesh is in use
    with (
        stoppable() as asked,
        Ledger(out / ledger_of(team.process)) as ledger,
        Saver(out, run.keep, team, full=kept and kept.tell, bucket=bucket) as saver,
        keeping(job, kept, team, ledger) as memory,
        in_use(mesh),
    ):
        ledger.happened("started")
        team.after_first("swept", partial(sweep, out))
        job = replace(job, told=_telling(job, team))
        named = memory.run and f"{memory.run} {digest(run)} {digest(job.config)}"
        state, step = _begin(job, memory, team, ledger, named)
        first = int(state.step)
        log = Log(out / METRICS, start=first, team=team)
        meter = Meter(job, ledger, team, first=first, peak=peak)
        measure = _measure(job, team, named)
        if isinstance(run, FineTune) and run.eval_every and not first:
            _note(log, job, 0, measure(state, partial(report, Progress(job.stage, 0, run.steps))))
        written = partial(_written, job, log, meter, measure, saver)
        if first and not place(out, first).exists():  # it was kept: is anything due there?
            written(first, state, lambda: None, ends=first == run.steps)
        rows, held = rows_here(run.rows), known(state.model, memory.run)
        course = Course(lambda start: job.batches(start, rows), first=first)
        for n, batch in meter.timed(course):
            saver.check()
            given = {"after": n - 1, "limit": meter.limit(n), "fault": memory.fault(state)}
            with ledger.timed("compile") if n == first + 1 else nullcontext():
                state, metrics = step(state, shard_rows(batch, rows=run.rows), held=held, **given)
            held = metrics.held and metrics.held.sums
            memory.put(n, state, held)
            again = meter.add(metrics, batch)
            (alive := partial(report, meter.progress(n)))()
            ends = n == run.steps or team.ends(n, asked())
            if again is None and (ends or _is_due(run, n)):
                again = meter.land()
            if again is not None:
                if spoilt := meter.spoilt:
                    state, held = memory.instead(state, spoilt)
                    again = _back(int(state.step), meter, log) + 1
                course.back(again)
                continue
            if ends or n % run.log_every == 0:
                log.add(meter.record(n, state))
            written(n, state, alive, ends=ends)
            if ends:
                break
        with meter.aside("checkpoint"):
            saver.wait(partial(report, meter.progress(run.steps)))
        if team.first:
            draw_curves(out / METRICS, out / CURVES, title=run.name)
        memory.clear()
        ledger.happened("ended")
    return place(out, run.steps)


def _written(
    job: Job,
    log: Log,
    meter: Meter,
    measure: Measure,
    saver: Saver,
    n: int,
    state: TrainState,
    alive: Callable[[], None],
    *,
    ends: bool,
) -> None:
    """Measure and save the state after step n where that is due."""
    run, loss = job.run, None
    if n == run.steps or (run.eval_every and n % run.eval_every == 0):
        with meter.aside("evaluation"):
            loss = _note(log, job, n, measure(state, alive))
    if ends or n % run.save_every == 0:
        with meter.aside("checkpoint"):
            saver.save(job, n, loss, state, alive)


def _back(step: int, meter: Meter, log: Log) -> int:
    meter.back(step)
    log.back(step)
    return step


def _begin(
    job: Job, memory: Memory | Nowhere, team: Team, ledger: Ledger, named: str
) -> tuple[TrainState, Step]:
    """The state to go on from, and the step that it is taken on by, whose program has that name."""
    run = job.run
    transform = run.optimizer.transform(run.steps)
    key = jax.random.key(run.seed)
    begin = partial(start, transform=transform, ema=run.ema)
    with ledger.timed("restore"):
        memory.leave_out(job.out)
        stored = newest(job.out)
        shapes = jax.eval_shape(lambda key: begin(job.begin(key), key=key), key)
        state = memory.newest(placed(shapes), after=0 if stored is None else step_of(stored))
        if state is None and stored is not None:
            state = resume(job.out, fresh=placed(shapes))
        if state is None:
            state = _begun(begin, job.begin(key), key)
    step = make_step(
        job.objective,
        transform,
        precision=run.precision,
        accumulate=run.accumulate,
        ema=run.ema,
        frozen=shard(job.frozen),
        ready=partial(team.wait, "compiled"),
        told=named and f"{named} step",
        donate=not memory.run,  # what is being put is looked at while the next step is taken
    )
    return state, step


def _telling(job: Job, team: Team) -> Callable[[Any], Tally]:
    """What this process's rows tell, if no process before it has the same ones."""
    here = rows_here(job.run.rows)
    first = team.everyones("rows", str(here)).index(str(here))
    return job.told if first == team.process else lambda batch: NOTHING


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


def _note(log: Log, job: Job, n: int, held_out: Sums) -> float | None:
    """Log what was measured on held-out data, if there is any, and give the loss."""
    if not held_out.steps:
        return None
    log.add({"step": n, "held_out": {"loss": held_out.loss, **job.numbers(held_out)}})
    return held_out.loss


def _measure(job: Job, team: Team, named: str) -> Measure:
    """A function that adds up the losses of all held-out batches, with a sign of life at each."""
    rows = job.run.rows
    batches = cache(lambda: list(job.held_out(rows_here(rows))))
    frozen = shard(job.frozen)

    def loss(model: Any, batch: Any, frozen: tuple[Any, ...]) -> Loss:
        return everywhere(job.objective(cast(model, job.run.precision), batch, *frozen))

    told, ready = named and f"{named} held out", partial(team.wait, "compiled")
    program = lean(jax.jit(loss, keep_unused=True), ready=ready, told=told)

    def measure(state: TrainState, alive: Callable[[], None]) -> Sums:
        sums = Sums()
        for batch in batches():
            alive()
            found = program(job.used(state), shard_rows(batch, rows=rows), frozen)
            sums.add(found, job.told(batch))
        return shared(sums, team)

    return measure
