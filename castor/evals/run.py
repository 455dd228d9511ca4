"""Run a benchmark: the score, its interval, the controls beside it, and every transcript."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from castor.core.content import Media, Text
from castor.core.files import write_atomic
from castor.evals.benchmark import Benchmark, Mark, Problem
from castor.evals.controls import blank, shuffled
from castor.evals.metrics import Estimate, proportion, ratio
from castor.sample.engine import Engine

CHUNK = 64  # problems given to the engine at a time: often enough to report progress


@dataclass(frozen=True)
class Outcome:
    """The figures of one benchmark, ready for a table or for JSON."""

    name: str
    what: str
    unit: str
    better: str
    n: int
    score: Estimate
    shuffled: Estimate | None
    blank: Estimate | None
    seed: int

    def record(self) -> dict[str, Any]:
        """Plain data for JSON: estimates become [value, low, high]."""
        plain = {k: v for k, v in vars(self).items() if v is not None}
        return {k: list(v) if isinstance(v, Estimate) else v for k, v in plain.items()}


def run(
    engine: Engine,
    benchmark: Benchmark,
    *,
    data: Path,
    limit: int | None = None,
    seed: int = 0,
    transcripts: Path | None = None,
    report: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> Outcome:
    """Mark every problem (or `limit` of them, drawn by `seed`) and, where asked, the controls.

    `report` hears (stage, problems done, problems in all) after each chunk.

    Raises:
        ValueError: the data folder holds no problem of this benchmark.
    """
    problems = _drawn(benchmark.problems(data), limit, seed)
    if not problems:
        raise ValueError(f"{benchmark.name}: {data} holds no problem of the eval split")
    marks = _marked(engine, benchmark, problems, "score", report)
    outcome = Outcome(
        name=benchmark.name,
        what=benchmark.what,
        unit=benchmark.unit,
        better=benchmark.better,
        n=len(problems),
        score=estimate(marks, seed=seed),
        shuffled=None,
        blank=None,
        seed=seed,
    )
    if transcripts is not None:
        write_transcripts(transcripts / benchmark.name, problems, marks)
    if not benchmark.controls or len(problems) < 2:
        return outcome
    prompts = [p.prompt for p in problems]
    figures = {}
    for stage, swapped in (
        ("shuffled", shuffled(prompts, seed=seed)),
        ("blank", [blank(prompt) for prompt in prompts]),
    ):
        changed = [replace(p, prompt=s) for p, s in zip(problems, swapped, strict=True)]
        figures[stage] = estimate(_marked(engine, benchmark, changed, stage, report), seed=seed)
    return replace(outcome, **figures)


def estimate(marks: Sequence[Mark], *, seed: int) -> Estimate:
    """Right-or-wrong marks give a Wilson interval, as does one count alone; others a bootstrap."""
    if len(marks) == 1 and 0 <= marks[0].part <= marks[0].whole and marks[0].part % 1 == 0:
        return proportion(marks[0].part, int(marks[0].whole))
    if all(m.whole == 1 and m.part in (0, 1) for m in marks):
        return proportion(sum(m.part for m in marks), len(marks))
    return ratio([m.part for m in marks], [m.whole for m in marks], seed=seed)


def write_transcripts(folder: Path, problems: Sequence[Problem], marks: Sequence[Mark]) -> None:
    """One JSON line per problem; pictures that the model drew lie beside it as PNG files."""
    lines: list[str] = []
    for i, (problem, mark) in enumerate(zip(problems, marks, strict=True)):
        said = [] if mark.turn is None else list(mark.turn.parts)
        reply: list[str] = []
        for part in said:
            if isinstance(part, Media):
                name = f"{i:05d}-{len(reply)}.png"
                write_atomic(folder / name, part.data)
                reply.append(name)
            else:
                reply.append(part.text if isinstance(part, Text) else repr(part))
        asked = [
            p.text if isinstance(p, Text) else repr(p)
            for turn in problem.prompt.turns
            for p in turn.parts
        ]
        record = {
            "origin": problem.prompt.origin,
            "prompt": asked,
            "answer": problem.answer,
            "reply": reply,
            "part": mark.part,
            "whole": mark.whole,
        }
        lines.append(json.dumps(record, ensure_ascii=False))
    write_atomic(folder / "transcript.jsonl", "\n".join(lines).encode() + b"\n")


def _drawn(problems: list[Problem], limit: int | None, seed: int) -> list[Problem]:
    if limit is None or limit >= len(problems):
        return problems
    chosen = np.random.default_rng(seed).choice(len(problems), limit, replace=False)
    return [problems[i] for i in sorted(chosen)]


def _marked(
    engine: Engine,
    benchmark: Benchmark,
    problems: Sequence[Problem],
    stage: str,
    report: Callable[[str, int, int], None],
) -> list[Mark]:
    marks: list[Mark] = []
    for start in range(0, len(problems), CHUNK):
        marks += benchmark.protocol(engine, problems[start : start + CHUNK])
        report(f"{benchmark.name} {stage}", len(marks), len(problems))
    return marks
