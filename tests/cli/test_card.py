"""The model card: every figure in it is one of the run's records."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from castor.checkpoint import Checkpoint, load
from castor.cli.answering import SHIPPED
from castor.cli.card import BEGIN, END, NAME, card, filled
from castor.cli.machine import MACHINE
from castor.core.recipe import override, to_json
from castor.data.mixture import Mixture, Stage
from castor.evals.metrics import Estimate
from castor.evals.report import as_json
from castor.evals.run import Outcome
from castor.recipes import RECIPES
from castor.train.recipe import CodecRecipe, Recipe, name_of

MACHINERY = {"processor": "Abacus", "cores": "2", "devices": "1 x cpu", "jax": "0.12"}
SUMS = Outcome("sums", "arithmetic", "share", "higher", 9, Estimate(0.5, 0.4, 0.6), None, None, 3)


@pytest.fixture
def found(untrained: Path) -> Checkpoint:
    return load(untrained)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run's folder with an hour of steps in its metrics."""
    lines = [{"step": 10, "seconds": 1800.0}, {"step": 20, "seconds": 1800.0}, {"step": 20}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / MACHINE).write_text(json.dumps(MACHINERY))
    return tmp_path


def test_a_card_says_how_the_model_was_made(found: Checkpoint, run: Path) -> None:
    text = card(found, run=run, scores=None)
    assert text.startswith("# tiny\n")
    assert name_of(RECIPES["tiny"]) in text
    where = "Abacus, 2 cores, jax 0.12 |"
    assert f"{RECIPES['tiny'].steps:,} steps of 2,048 tokens, 60 minutes on {where}" in text
    assert "codec" in text and text.count("Abacus") == 1  # nobody says where that was made
    assert "castor train tiny" in text
    assert "What it scores" not in text


def test_a_card_says_what_was_set(found: Checkpoint, run: Path) -> None:
    def again(recipe: Recipe | CodecRecipe) -> str:
        text = card(replace(found, recipe=to_json(recipe)), run=run, scores=None)
        return next(line for line in text.splitlines() if line.startswith("| again"))

    tiny = RECIPES["tiny"]
    assert "`castor train tiny --data DIR --out RUN`" in again(replace(tiny, log_every=3))
    longer = override(replace(tiny, steps=9_000), "model.width=256")
    assert "train tiny --set steps=9000 --set model.width=256 --data" in again(longer)
    stem = override(replace(tiny, start="a b"), "model.image.stem=8,16")
    assert "--set model.image.stem=8,16 --set start='a b' --data" in again(stem)
    fewer = replace(tiny, mixture=replace(tiny.mixture, parts=tiny.mixture.parts[:1]))
    assert "train recipe.json --data" in again(fewer)
    assert "train recipe.json --data" in again(replace(tiny, name="my own"))


def test_shares_of_the_sources_add_up(found: Checkpoint, run: Path) -> None:
    rows = [line.split(" | ") for line in card(found, run=run, scores=None).splitlines()]
    shares = [float(row[1][:-2]) for row in rows if row[0].startswith("| playground/")]
    assert len(shares) == len(RECIPES["tiny"].mixture.parts)
    assert sum(shares) == pytest.approx(100, abs=0.3)


def test_shares_are_those_of_the_whole_run(found: Checkpoint, run: Path) -> None:
    tiny = RECIPES["tiny"]
    first, second = tiny.mixture.parts[:2]
    early = Stage(0.75, {first.source.name: 1.0, second.source.name: 0.0})
    parts = (replace(first, share=0.4), replace(second, share=0.6))
    staged = replace(tiny, steps=100, mixture=Mixture(parts, stages=(early,)))
    text = card(replace(found, recipe=to_json(staged)), run=run, scores=None)
    assert f"| {first.source.name} | 85.0 % |" in text  # 3/4 of all of it, and 1/4 of 0.4
    assert f"| {second.source.name} | 15.0 % |" in text


def test_what_may_not_be_shipped_is_named(found: Checkpoint, run: Path) -> None:
    closed = replace(found, recipe=to_json(RECIPES["demo_research"]))
    assert "**Not to be shipped**: cifar10" in card(closed, run=run, scores=None)
    opened = replace(found, recipe=to_json(RECIPES["demo"]))
    assert "Not to be shipped" not in card(opened, run=run, scores=None)


def test_scores_stand_between_marks_with_the_machine_they_are_from(
    found: Checkpoint, run: Path
) -> None:
    scores = run / "scores.json"
    scores.write_text(as_json([SUMS], about=MACHINERY | {"seed": "3"}))
    text = card(found, run=run, scores=scores)
    assert BEGIN in text and END in text
    assert "| sums | 50.0 % | 40.0 to 60.0 | 9 |" in text
    marked = text[text.index(BEGIN) : text.index(END)]
    assert "Trained: 60 minutes on Abacus, 2 cores, jax 0.12. Scored: Abacus" in marked
    assert "jax 0.12, seed 3." in marked


def test_scores_of_another_form_are_refused(found: Checkpoint, run: Path) -> None:
    scoreless = SUMS.record()
    del scoreless["score"]
    one_without = json.dumps({"outcomes": [scoreless]})
    for content in ("no json", "{}", '{"outcomes": [{"name": 3}]}', one_without):
        (run / "scores.json").write_text(content)
        with pytest.raises(ValueError, match="scores.json is not what `castor eval --json` prints"):
            card(found, run=run, scores=run / "scores.json")


def test_the_readme_shows_the_scores_of_the_shipped_model() -> None:
    page = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    shipped = (SHIPPED / NAME).read_text(encoding="utf-8")
    assert filled(page, shipped) == page
    with pytest.raises(ValueError):
        filled("a page without marks", shipped)
