"""`castor show`: values under the names of --set, weights, arithmetic, mixtures and checkpoints."""

from math import prod
from pathlib import Path

import jax
import pytest

from castor.cli import main
from castor.cli.screen import in_bytes, in_words, seconds
from castor.cli.weights import flops_per_token, grouped, shapes_of
from castor.models.decoder import init
from castor.models.sizes import TINY


def shown(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(["show", *argv]) == 0
    return capsys.readouterr().out


def test_a_recipe_shows_values_mixture_weights_and_digest(capsys) -> None:
    text = shown(capsys, "tiny")
    for piece in ("optimizer.peak_lr", "playground/shapes", "decoder.blocks", "digest "):
        assert piece in text


def test_set_changes_what_is_shown(capsys) -> None:
    assert "model.width" in shown(capsys, "tiny", "--set", "model.width=96", "--set", "steps=7")
    text = shown(capsys, "tiny", "--set", "steps=7")
    assert "\n7 steps of " in text


def test_a_field_alone_can_be_shown(capsys) -> None:
    assert shown(capsys, "tiny", "optimizer").startswith("Muon\n  peak_lr: ")
    assert "playground/sums" in shown(capsys, "tiny", "mixture")
    assert shown(capsys, "tiny", "mixture.parts.0.share").strip() == "0.16"
    assert shown(capsys, "tiny", "capacity.image").strip() == "96"
    assert shown(capsys, "tiny", "start").strip() == "None"


def test_a_field_of_a_size_or_of_a_checkpoints_recipe_can_be_shown(untrained: Path, capsys) -> None:
    assert shown(capsys, "TINY", "image").startswith("ImageConfig\n  patch: 8\n")
    assert shown(capsys, str(untrained), "optimizer").startswith("Muon\n  peak_lr: ")


def test_a_size_can_be_shown_weight_by_weight(capsys) -> None:
    text = shown(capsys, "TINY", "--tree")
    assert "decoder.blocks.0.wq" in text
    assert "[2, 64, 64]" in text


def test_a_checkpoint_shows_its_step_and_vocabulary(untrained: Path, capsys) -> None:
    text = shown(capsys, str(untrained))
    assert f"{untrained / 'step_000003'}: tiny, step 3, " in text
    assert "1,000 picture codes" in text


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["tny"], "there is no recipe 'tny'; there is tiny, demo"),
        (["tiny", "optimiser"], "Recipe has nothing at 'optimiser'; it has name, steps, "),
        (["tiny", "mixture.parts.99"], "Recipe.mixture.parts has nothing at '99'; it has 0 to 8"),
        (["tiny", "mixture.parts.x"], "Recipe.mixture.parts has nothing at 'x'; it has 0 to 8"),
        (["tiny", "capacity.video"], "Recipe.capacity has nothing at 'video'; it has image, audio"),
        (["tiny", "steps.x"], "Recipe.steps has nothing at 'x'; it is 2200"),
        (["TINY", "--set", "width=8"], "--set changes a recipe, and TINY is a size; leave --set"),
        (["tiny", "--set", "optimiser=AdamW"], "Recipe has no field 'optimiser'; it has ["),
    ],
)
def test_what_is_not_there_is_refused(argv: list[str], message: str, capsys) -> None:
    assert main(["show", *argv]) == 1
    assert message in capsys.readouterr().err


def test_changes_of_a_checkpoint_are_refused(untrained: Path, capsys) -> None:
    assert main(["show", str(untrained), "optimizer", "--set", "steps=9"]) == 1
    assert f"{untrained} is a checkpoint; leave --set out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "recipe.json is no JSON (Expecting"),
        (b"\x89PNG", "recipe.json is no JSON ('utf-8' codec"),
        (b"5", "recipe.json holds no recipe: that is a JSON object, not 5"),
        (b'"length"', "recipe.json holds no recipe: that is a JSON object, not 'length'"),
    ],
)
def test_a_damaged_recipe_file_is_refused(
    content: bytes, message: str, tmp_path: Path, capsys
) -> None:
    (tmp_path / "recipe.json").write_bytes(content)
    assert main(["show", str(tmp_path)]) == 1
    assert message in capsys.readouterr().err


def test_shapes_are_those_of_the_weights() -> None:
    sizes = [leaf.size for leaf in jax.tree.leaves(init(TINY, jax.random.key(0)))]
    shapes = shapes_of(TINY)
    assert sum(sizes) == sum(map(prod, shapes.values())) == sum(grouped(shapes).values())


def test_a_token_costs_at_least_two_operations_for_each_weight_of_a_matrix() -> None:
    matrices = [
        s for n, s in shapes_of(TINY).items() if n.startswith("decoder.") and "norm" not in n
    ]
    least = 2 * sum(map(prod, matrices))
    assert least < flops_per_token(TINY, length=16) < 2 * least


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (in_bytes(999), "999 B"),
        (in_bytes(24_000_000), "24.0 MB"),
        (in_words(1_800_000_000), "1.80G"),
        (in_words(7), "7"),
        (seconds(48), "48 s"),
        (seconds(900), "15 min"),
        (seconds(9000), "2.5 h"),
    ],
)
def test_numbers_are_written_for_people(text: str, expected: str) -> None:
    assert text == expected
