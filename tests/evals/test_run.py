import json
from pathlib import Path

import numpy as np
import pytest

from castor.core.content import Document, Media, Text, Turn
from castor.core.media import ppm
from castor.evals.benchmark import Benchmark, Mark, Problem
from castor.evals.controls import media_of
from castor.evals.metrics import Estimate
from castor.evals.report import HEADS, as_json, from_json, markdown, rows
from castor.evals.run import Outcome, estimate, run
from castor.sample.engine import Engine


def picture(shade: int) -> Media:
    return Media("image/x-portable-pixmap", ppm(np.full((8, 8, 3), shade, np.uint8)))


def problems(data: Path) -> list[Problem]:
    """Twenty grey pictures, half of them light: what a model that sees can tell."""
    return [
        Problem(Document.of(picture(200 if i % 2 else 40), "light?"), "yes" if i % 2 else "no")
        for i in range(20)
    ]


def sees(engine: Engine, problems: list[Problem]) -> list[Mark]:
    """A perfect eye in place of the engine: it looks at nothing but the picture."""
    marks = []
    for problem in problems:
        (medium,) = media_of(problem.prompt)
        light = medium.data[-1] > 100
        marks.append(Mark(float(("yes" if light else "no") == problem.answer), 1))
    return marks


def guesses(engine: Engine, problems: list[Problem]) -> list[Mark]:
    return [Mark(float(p.answer == "yes"), 1, Turn("model", (Text("yes"),))) for p in problems]


EYE = Benchmark("eye", problems, sees, what="light or dark", controls=True)
GUESS = Benchmark("guess", problems, guesses, what="light or dark", controls=True)


def test_a_model_that_sees_falls_to_chance_without_its_inputs(engine: Engine, tmp_path: Path):
    outcome = run(engine, EYE, data=tmp_path)
    assert outcome.score.value == 1
    assert outcome.shuffled is not None and 0.1 < outcome.shuffled.value < 0.9
    assert outcome.blank is not None and outcome.blank.value == 0.5


def test_a_model_that_guesses_scores_the_same_without_its_inputs(engine: Engine, tmp_path: Path):
    outcome = run(engine, GUESS, data=tmp_path)
    assert outcome.shuffled == outcome.blank == outcome.score


def test_a_limit_draws_the_same_problems_for_the_same_seed(engine: Engine, tmp_path: Path):
    first, again = (run(engine, GUESS, data=tmp_path, limit=7, seed=3) for _ in range(2))
    assert first == again
    assert first.n == 7


def test_progress_is_reported_for_the_score_and_each_control(engine: Engine, tmp_path: Path):
    heard: list[tuple[str, int, int]] = []
    run(engine, EYE, data=tmp_path, report=lambda *step: heard.append(step))
    assert heard == [("eye score", 20, 20), ("eye shuffled", 20, 20), ("eye blank", 20, 20)]


def test_transcripts_hold_every_question_and_answer(engine: Engine, tmp_path: Path):
    run(engine, GUESS, data=tmp_path, transcripts=tmp_path)
    lines = (tmp_path / "guess/transcript.jsonl").read_text().splitlines()
    first = json.loads(lines[0])
    assert len(lines) == 20
    assert first["answer"] == "no"
    assert first["reply"] == ["yes"]
    assert first["prompt"][1] == "light?"


def test_drawn_pictures_are_kept_beside_the_transcript(engine: Engine, tmp_path: Path):
    def draws(engine: Engine, problems: list[Problem]) -> list[Mark]:
        return [Mark(1, 1, Turn("model", (picture(9),))) for _ in problems]

    run(engine, Benchmark("art", problems, draws, what=""), data=tmp_path, transcripts=tmp_path)
    line = json.loads((tmp_path / "art/transcript.jsonl").read_text().splitlines()[3])
    assert (tmp_path / "art" / line["reply"][0]).read_bytes() == picture(9).data


def test_no_problem_at_all_is_refused(engine: Engine, tmp_path: Path):
    empty = Benchmark("empty", lambda data: [], sees, what="")
    with pytest.raises(ValueError, match="holds no problem of the eval split"):
        run(engine, empty, data=tmp_path)


def test_right_or_wrong_has_a_wilson_interval_and_the_rest_a_bootstrap():
    right = estimate([Mark(1, 1)] * 3 + [Mark(0, 1)], seed=0)
    assert right.value == 0.75 and right.low == pytest.approx(0.3006, abs=1e-3)
    errors = estimate([Mark(2, 10), Mark(4, 10)], seed=0)
    assert errors == Estimate(0.3, 0.2, 0.4)


OUTCOME = Outcome(
    name="fsdd",
    what="spoken digits",
    unit="share",
    better="higher",
    n=200,
    score=Estimate(0.945, 0.904, 0.969),
    shuffled=Estimate(0.1, 0.066, 0.149),
    blank=None,
    seed=0,
)
BITS = Outcome("books", "books", "bits/byte", "lower", 9, Estimate(1.9, 1.85, 1.95), None, None, 0)


def test_tables_show_shares_in_percent_and_other_figures_with_their_unit():
    assert rows([OUTCOME, BITS]) == [
        ("fsdd", "94.5 %", "90.4 to 96.9", "200", "10.0 %", "", "spoken digits"),
        ("books", "1.90 bits/byte", "1.85 to 1.95", "9", "", "", "books"),
    ]


def test_markdown_has_a_line_for_each_outcome_under_its_heads():
    lines = markdown([OUTCOME, BITS]).splitlines()
    assert lines[0] == "| " + " | ".join(HEADS) + " |"
    assert set(lines[1]) <= set("| -")
    assert len(lines) == 4


def test_json_says_what_was_measured_with_what():
    record = json.loads(as_json([OUTCOME], about={"model": "demo", "seed": "0"}))
    assert record["model"] == "demo"
    assert record["outcomes"][0]["score"] == [0.945, 0.904, 0.969]
    assert "blank" not in record["outcomes"][0]


def test_outcomes_come_back_from_json():
    outcomes = [OUTCOME, BITS]
    assert from_json(json.loads(as_json(outcomes, about={}))) == outcomes
