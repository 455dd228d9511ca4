"""`castor train`: a recipe, from files to weights, resuming by itself."""

import argparse
import hashlib
import json
import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from castor.cli import finetune
from castor.cli.flags import Verbs, add_verb, count, data_flag, mesh_sizes, set_flag

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from castor.checkpoint.bucket import Bucket
    from castor.train.job import Progress
    from castor.train.recipe import AnyRecipe, CodecRecipe, Recipe

MORE = """\
A run that was stopped or killed goes on from its last checkpoint, and ends with the weights that it
would have had. Ctrl-C and SIGTERM save first. A codec, and a model that learns from generated data
alone, is measured at the end; the model draws a picture too.

"""
PROBLEMS = 200  # of each benchmark at the end of a run, or pictures
MEASURED = {  # task of the playground: benchmark
    "shapes": "shapes",
    "charts": "charts",
    "digits": "digits",
    "sounds": "sounds",
    "speech": "speech",
    "motion": "clips",
    "sums": "sums",
    "draw": "draw",
}
IN_ORDER = "--xla_cpu_enable_concurrency_optimized_scheduler=false"  # of a CPU's devices
DRAW = "Draw a red square at the top right and a pink circle at the bottom left."


def add(verbs: Verbs) -> None:
    """The verb and its flags."""
    verb = add_verb(
        verbs,
        "train",
        run,
        what="train what a recipe says, resuming by itself",
        more=MORE + finetune.EPILOG,
    )
    verb.add_argument(
        "recipe", metavar="RECIPE", help="tiny, demo, codec, finetune, or a run's recipe.json"
    )
    data_flag(verb)
    verb.add_argument(
        "--out", metavar="RUN", type=Path, help="where the run is kept (default: runs/RECIPE)"
    )
    set_flag(verb)
    verb.add_argument(
        "--mesh",
        metavar="AXIS=N,...",
        type=mesh_sizes,
        help="share the run out over devices: rows by replica, fsdp or expert, heads by tensor, "
        "columns by sequence, such as fsdp=4,tensor=2",
    )
    verb.add_argument(
        "--hosts",
        metavar="I/N@HOST:PORT",
        nargs="?",
        const="",
        help="this is process I of N of one run over --mesh, and HOST:PORT is where process 0 can "
        "be reached; without a value, as Slurm, Kubernetes or MPI say",
    )
    verb.add_argument(
        "--keep",
        metavar="STEPS",
        type=count,
        default=0,
        help="keep the newest state in memory too, every so many steps, where neither the end of "
        "this process nor, among several hosts, that of its host reaches it; 0 = not (default)",
    )
    verb.add_argument(
        "--copy",
        metavar="URL",
        help="copy what is saved to a bucket too, such as s3://bucket/run (needs s3fs) or "
        "gs://bucket/run (gcsfs), and take the run up from there on a machine that does not have "
        "it",
    )
    finetune.add_flags(verb)
    verb.add_argument(
        "--limit",
        metavar="N",
        type=count,
        default=PROBLEMS,
        help=f"problems of each benchmark, or pictures, at the end; 0 = none (default: {PROBLEMS})",
    )


def run(arguments: argparse.Namespace) -> None:
    """Train, say where it is, and measure what can be measured without data."""
    from castor.fleet.beat import BEAT, pulsing

    beat = os.environ.get(BEAT)
    with pulsing(Path(beat)) if beat else nullcontext():
        _run(arguments, Path(beat or os.devnull))


def _run(arguments: argparse.Namespace, beat: Path) -> None:
    from castor.cli.live import Live
    from castor.cli.screen import aside
    from castor.fleet.beat import beating
    from castor.fleet.team import Team
    from castor.train.loop import CURVES
    from castor.train.memory import Kept
    from castor.train.recipe import CodecRecipe, FineTune
    from castor.train.run import take_up, train

    recipe, data = asked(arguments)
    out = out_of(arguments)
    mesh = _mesh(arguments.mesh, arguments.hosts)
    kept = Kept(every=arguments.keep, tell=aside.print) if arguments.keep else None
    where = {"data": data, "out": out, "mesh": mesh, "kept": kept}
    with _together(out, beat, debug=arguments.debug), _copied(arguments.copy, out) as bucket:
        if bucket is not None and beat == Path(os.devnull):  # else who supervises it did
            bucket.refuse()
            take_up(recipe, bucket, out)
        if not Team().first:
            train(recipe, report=beating(beat, place=_place), **where)
            return
        with _machine_noted(out, out / "codec"), Live() as live:
            report = beating(beat, live.show, place=_place)
            checkpoint = train(recipe, report=report, bucket=bucket, **where)
    print(f"wrote {checkpoint}; its curves are {out / CURVES}")
    if bucket is not None:
        bucket.finish(out)
    if isinstance(recipe, FineTune):
        finetune.tell(out)
        print(f"go on with: castor chat --model {out}")
        return
    if isinstance(recipe, CodecRecipe):
        if arguments.limit:
            measure_codec(recipe, checkpoint, data=arguments.data, limit=arguments.limit)
        return
    if arguments.limit:
        measure(recipe, checkpoint, out=out, limit=arguments.limit)
    print(f"go on with: castor chat --model {out}")


def _place(progress: "Progress") -> tuple[str, int]:
    return progress.stage, progress.done


@contextmanager
def _together(out: Path, beat: Path, *, debug: bool) -> Iterator[None]:
    """End at once when the block fails in one of several processes, which the others wait for, and
    go apart when it has ended in all of them."""
    import jax

    from castor.cli import sentence
    from castor.fleet.quarantine import name
    from castor.fleet.team import Team
    from castor.train.corruption import Faulty

    several = Team().processes > 1
    try:
        yield
    except (ValueError, OSError, RuntimeError) as error:
        if isinstance(error, Faulty):
            name(out, error.devices)
        if not several:
            raise
        if debug:
            traceback.print_exc()
        print(f"castor: {sentence(error)}", file=sys.stderr, flush=True)
        os._exit(1)  # without waiting for the others
    if beat.is_file():  # what comes now takes no steps
        beat.unlink()
    if several:
        jax.distributed.shutdown()


@contextmanager
def _copied(address: str | None, out: Path) -> "Iterator[Bucket | None]":
    """The bucket that a run is copied to, by the first of its processes; at once when it is told to
    end, as it may be started again elsewhere."""
    from castor.checkpoint.bucket import Bucket
    from castor.cli.screen import aside
    from castor.fleet.team import Team

    bucket = Bucket(address, aside.print) if address is not None and Team().first else None
    try:
        yield bucket
    except SystemExit:
        if bucket is not None:
            bucket.finish(out)
        raise


def asked(arguments: argparse.Namespace) -> tuple["AnyRecipe", Path]:
    """The recipe and the folder of its data."""
    from castor.cli.recipes import chosen

    if arguments.recipe == finetune.NAME:
        return finetune.asked(arguments), finetune.folder_of(arguments)
    finetune.refuse(arguments)
    return chosen(arguments.recipe, arguments.set), arguments.data


def out_of(arguments: argparse.Namespace) -> Path:
    """The run's folder.

    Raises:
        ValueError: it is named by the address of a bucket.
    """
    if arguments.out is not None and re.match(r"[a-z][a-z0-9+.-]+:/", str(arguments.out)):
        raise ValueError(
            f"--out {(given := str(arguments.out).replace(':/', '://', 1))} is the address of a "
            f"bucket, and a run is kept in a folder: name one, and give --copy {given} too"
        )
    return arguments.out or Path("runs") / asked(arguments)[0].name.replace("/", "_")


def _mesh(sizes: dict[str, int] | None, hosts: str | None) -> "Mesh | None":
    """The devices of a mesh, those of all hosts; a CPU is as many as are asked for.

    Raises:
        ValueError: there are fewer, or hosts do not find together or have not equally many.
    """
    if sizes is None:
        if hosts is not None:
            raise ValueError("--hosts shares a run out over a mesh: give --mesh, such as fsdp=8")
        return None
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {IN_ORDER}"
    import jax

    from castor.fleet.team import alone, join, seat
    from castor.models.layout import mesh_of, told

    devices, processes = prod(sizes.values()), 1
    if hosts is not None:
        processes = join(seat(hosts) if hosts else None)
    if devices % processes:
        raise ValueError(f"--mesh {told(sizes)} cannot be shared out over {processes} hosts")
    with suppress(ValueError, RuntimeError):  # JAX counted its devices before
        if hosts is None:
            join(alone())
        jax.config.update("jax_num_cpu_devices", devices // processes)
    if processes > 1 and jax.device_count() != devices:
        raise ValueError(
            f"the {processes} hosts have {jax.device_count()} devices, and --mesh {told(sizes)} "
            f"is of {devices}: share the run out over all of them"
        )
    if jax.default_backend() == "cpu":
        # What JAX reads back exchanges in no order: castor.train.programs keeps programs instead.
        jax.config.update("jax_enable_compilation_cache", False)
        if kept := jax.config.jax_compilation_cache_dir:
            flags = hashlib.sha256(os.environ["XLA_FLAGS"].encode()).hexdigest()[:12]
            jax.config.update("jax_compilation_cache_dir", str(Path(kept) / flags))
    return mesh_of(sizes)


@contextmanager
def _machine_noted(*runs: Path) -> Iterator[None]:
    """Write what it was trained on into each run that has a new checkpoint when the block ends,
    however it ends."""
    from castor.checkpoint import newest
    from castor.cli.machine import MACHINE, about
    from castor.core.files import write_atomic

    before = [newest(run) for run in runs]
    try:
        yield
    finally:
        for run, was in zip(runs, before, strict=True):
            if newest(run) != was:
                write_atomic(run / MACHINE, (json.dumps(about(), indent=1) + "\n").encode())


def measure_codec(recipe: "CodecRecipe", checkpoint: Path, *, data: Path, limit: int) -> None:
    """How close held-out pictures of each source come back, and how many codes they use."""
    from itertools import islice

    import numpy as np

    from castor.checkpoint import load_codec
    from castor.cli.screen import table
    from castor.core.media import open_image
    from castor.evals.reconstruction import through
    from castor.train.prepare import pictures_of

    found = load_codec(checkpoint)
    rows = []
    for part in recipe.mixture.parts:
        held_out = islice(pictures_of(part, data, "eval"), limit)
        pictures = [open_image(picture.data, picture.mime) for picture in held_out]
        if pictures:
            back = through(found.codec, np.stack(pictures), config=found.config)
            used = f"{back.used} of {found.config.codes}"
            figures = (f"{np.mean(back.psnr_db):.1f}", used, f"{back.perplexity:.0f}")
            rows.append((part.source.name, str(len(pictures)), *figures))
    table(("held out", "pictures", "PSNR in dB", "codes used", "perplexity"), rows)


def measure(recipe: "Recipe", checkpoint: Path, *, out: Path, limit: int) -> None:
    """The scores on the generated tasks that the recipe learns from alone, and a drawn picture."""
    from castor.cli.answering import load_engine
    from castor.cli.evaluate import scores
    from castor.cli.screen import table
    from castor.core.content import Document
    from castor.core.files import write_atomic
    from castor.data.playground import Playground
    from castor.evals.protocols import DRAWING
    from castor.evals.report import HEADS, rows

    sources = [part.source for part in recipe.mixture.parts]
    if not all(isinstance(source, Playground) for source in sources):
        return
    _, engine = load_engine(checkpoint)
    names = [n for s in sources if (n := MEASURED.get(getattr(s, "task", ""))) is not None]
    table(HEADS, rows(scores(engine, names, data=Path("data"), limit=limit, seed=0)))
    if engine.codec is None:
        return
    (reply,) = engine.reply([Document.of(DRAW)], DRAWING)
    for part in reply.turn.parts:
        write_atomic(out / "drawn.png", getattr(part, "data", b""))
        print(f"{DRAW} {out / 'drawn.png'}")
