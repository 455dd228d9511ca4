"""Recipes: what may change when a run resumes, and numbers that are refused."""

from dataclasses import replace
from pathlib import Path

import pytest

from castor.checkpoint import Keep
from castor.core.recipe import digest, from_json, override, pretty, to_json
from castor.data.mixture import Mixture, Part
from castor.data.playground import Playground
from castor.models.sizes import TINY
from castor.train.optim import AdamW, Cosine, Muon
from castor.train.recipe import CodecRecipe, Recipe, StoredVocab, differences, stored

SUMS = Mixture((Part(Playground("sums"), 1.0),))
RUN = Recipe(name="tiny", model=TINY, steps=10, rows=2, length=32, mixture=SUMS)


def test_a_recipe_survives_json_and_changes_by_text() -> None:
    changed = override(override(RUN, "optimizer=AdamW"), "optimizer.schedule=Cosine")
    assert changed.optimizer == AdamW(schedule=Cosine())
    assert from_json(Recipe, to_json(changed)) == changed
    assert override(RUN, "mixture.parts.0.source.languages=en,de").mixture.names == (
        "playground/sums/en+de",
    )
    assert digest(changed) != digest(RUN) and "peak_lr: 0.002" in pretty(changed)


def test_what_changes_nothing_learned_may_differ_on_resuming() -> None:
    free = replace(RUN, save_every=7, log_every=3, workers=4, keep=Keep(last=9))
    assert differences(RUN, free) == []
    nested = replace(RUN, codec=CodecRecipe(name="c", steps=5, rows=2, mixture=SUMS))
    later = replace(nested, codec=replace(nested.codec, save_every=1))
    assert differences(nested, later) == []


def test_differences_are_told_in_words() -> None:
    assert differences(RUN, replace(RUN, steps=20)) == ["steps is 10 and not 20"]
    told = differences(RUN, replace(RUN, optimizer=Muon(peak_lr=0.5), vocab=StoredVocab("v")))
    assert told[0] == "optimizer.peak_lr is 0.003 and not 0.5"
    assert "vocab is LearnVocab and not StoredVocab" in told
    assert "vocab.path is absent and not v" in told


def test_a_path_leads_from_here_or_else_beside_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (stored("castor/weights/demo") / "config.json").is_file()
    (tmp_path / "castor/weights/demo").mkdir(parents=True)
    assert stored("castor/weights/demo").resolve() == tmp_path / "castor/weights/demo"
    assert stored(str(tmp_path)) == tmp_path


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("steps=0", "steps=0 must be 1 or more"),
        ("save_every=0", "save_every=0 must be 1 or more"),
        ("accumulate=3", "rows=2 cannot be cut into accumulate=3"),
        ("ema=1", "ema=1.0 must be 0"),
        ("eval_every=-1", r"eval_every=-1 must be 0 \(never\) or more"),
        ("precision=int8", "Recipe.precision takes bfloat16 or float32; got 'int8'"),
        ("optimizer=Lion", "Recipe.optimizer takes AdamW or Adafactor or Muon; got 'Lion'"),
        ("path=x", "Recipe has no field 'path'; it has"),
        ("rows=1e12", "Recipe.rows=1000000000000 must be from 1 to 65,536"),
        ("seed=-1", "Recipe.seed=-1 must be from 0 to 4,294,967,295"),
        ("workers=-1", "Recipe.workers=-1 must be from 0 to 256"),
        ("workers=1e6", "Recipe.workers=1000000 must be from 0 to 256"),
        ("z_loss=-1", "Recipe.z_loss=-1.0 must be 0 or more"),
        ("capacity.image=-1", "Recipe.capacity={'image': -1} must each be 0 or more"),
        ("length=-3", "Recipe.length=-3 must be 8 or more, for text to find room"),
        ("length=129", "length=129 is more than model.context=128; lower it, or raise model"),
        ("model.context=31", "length=32 is more than model.context=31"),
        ("vocab.size=1e12", "LearnVocab.size=1000000000000 must be from 324 to 1,048,576"),
        ("vocab.size=323", "LearnVocab.size=323 must be from 324"),
        ("vocab.characters=0", "LearnVocab.characters=0 must be 1 or more"),
    ],
)
def test_a_number_out_of_range_is_refused(change: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        override(RUN, change)


def test_a_batch_that_no_memory_holds_is_refused() -> None:
    longer = replace(RUN, model=replace(TINY, context=2**20), rows=16, length=2**20)
    with pytest.raises(ValueError, match="rows=32 of length=1048576 are 33,554,432 tokens in one"):
        replace(longer, rows=32)


def test_a_codec_that_rewards_errors_is_refused() -> None:
    with pytest.raises(ValueError, match="CodecRecipe.absolute=-0.1 must be 0 or more"):
        CodecRecipe(name="c", steps=5, rows=2, mixture=SUMS, absolute=-0.1)


def test_every_recipe_of_the_package_survives_json() -> None:
    from castor.recipes import RECIPES

    for recipe in RECIPES.values():
        assert from_json(type(recipe), to_json(recipe)) == recipe
        assert Path(recipe.name).parts
