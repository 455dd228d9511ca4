"""`castor eval`: a model's scores on held-out data, each with its interval and its controls."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from castor.cli.flags import (
    Verbs,
    add_verb,
    count,
    count_from_one,
    data_flag,
    device_flags,
    model_flag,
)

if TYPE_CHECKING:
    from castor.evals.run import Outcome
    from castor.sample.engine import Engine

MORE = """\
Without a name, every benchmark is run whose data is there. Scores stand beside those of the same
model with the media shuffled between examples, and with blank ones. --list names all benchmarks."""


def add(verbs: Verbs) -> None:
    """The verb and its flags."""
    verb = add_verb(verbs, "eval", run, what="measure a model on held-out data", more=MORE)
    verb.add_argument("benchmarks", metavar="BENCH", nargs="*", help="names of benchmarks")
    model_flag(verb)
    device_flags(verb)
    data_flag(verb)
    verb.add_argument(
        "--limit",
        metavar="N",
        type=count_from_one,
        help="at most N problems of each, drawn by --seed",
    )
    verb.add_argument("--seed", metavar="N", type=count, default=0, help="default: 0")
    verb.add_argument(
        "--json", action="store_true", help="print JSON: figures, model, machine, seed"
    )
    verb.add_argument(
        "--transcripts", metavar="DIR", type=Path, help="keep every question and answer there"
    )
    verb.add_argument("--list", action="store_true", help="name the benchmarks and stop")


def run(arguments: argparse.Namespace) -> None:
    """Measure, then print one table or one JSON object.

    Raises:
        ValueError: there is no such benchmark, or no data for one that was named.
    """
    from castor.cli.answering import SHIPPED, load_engine
    from castor.cli.machine import about
    from castor.cli.screen import table
    from castor.evals.report import HEADS, as_json, rows
    from castor.evals.suite import SUITE

    if arguments.list:
        table(("benchmark", "what"), [(b.name, b.what) for b in SUITE.values()])
        return
    unknown = [name for name in arguments.benchmarks if name not in SUITE]
    if unknown:
        raise ValueError(f"there is no benchmark {unknown[0]!r}; there is {', '.join(SUITE)}")
    found, engine = load_engine(arguments.model, device=arguments.device, threads=arguments.threads)
    outcomes = scores(
        engine,
        arguments.benchmarks or list(SUITE),
        data=arguments.data,
        limit=arguments.limit,
        seed=arguments.seed,
        transcripts=arguments.transcripts,
        skip=not arguments.benchmarks,
    )
    if arguments.json:
        where = {"model": str(arguments.model or SHIPPED.name), "step": str(found.step)}
        print(as_json(outcomes, about=where | about() | {"seed": str(arguments.seed)}))
    else:
        table(HEADS, rows(outcomes))


def scores(
    engine: "Engine",
    names: Sequence[str],
    *,
    data: Path,
    limit: int | None,
    seed: int,
    transcripts: Path | None = None,
    skip: bool = False,
) -> list["Outcome"]:
    """An outcome for each name; with `skip`, what cannot be measured is told and left out.

    Raises:
        ValueError: a benchmark has no data and `skip` is off.
    """
    from castor.cli.screen import progress
    from castor.evals.run import run as measure
    from castor.evals.suite import SUITE

    outcomes: list[Outcome] = []
    missing: list[str] = []
    with progress("reading") as report:
        for name in names:
            try:
                outcomes.append(
                    measure(
                        engine,
                        SUITE[name],
                        data=data,
                        limit=limit,
                        seed=seed,
                        transcripts=transcripts,
                        report=report,
                    )
                )
            except (ValueError, OSError) as error:
                if not skip:
                    raise
                missing.append(f"{name}: {error}")
    for line in missing:
        print(f"castor: left out {line}", file=sys.stderr)
    return outcomes
