"""`castor train finetune`, from files to a model that answers, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from castor.checkpoint import load
from castor.cli import main
from castor.cli.finetune import tell
from castor.cli.recipes import chosen
from castor.core.media import png
from castor.models.lora import Lora
from castor.recipes.finetune import finetune
from castor.train import meter
from castor.train.recipe import FineTune, Full

SHORT = ("steps=2", "rows=1", "length=96", "workers=0", "eval_batches=1", "precision=float32")


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Eight questions about one picture that lies beside them."""
    folder = tmp_path / "pets"
    folder.mkdir()
    (folder / "cat.png").write_bytes(png(np.full((16, 16, 3), 99, np.uint8)))
    asked = [{"fileData": {"fileUri": "cat.png"}}, {"text": "What is this?"}]
    lines = [
        {
            "contents": [
                {"role": "user", "parts": asked},
                {"role": "model", "parts": [{"text": f"Cat number {i}."}]},
            ]
        }
        for i in range(8)
    ]
    (folder / "pets.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def settings(*changes: str) -> list[str]:
    return [word for change in changes for word in ("--set", change)]


@pytest.mark.slow
def test_pictures_and_words_become_a_model_that_answers(
    untrained: Path, pets: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meter, "peak_flops", lambda precision: 1e12)
    out = tmp_path / "run"
    argv = ["train", "finetune", "--start", str(untrained), "--data", str(pets), "--out", str(out)]
    assert main([*argv, "--rank", "2", "--targets", "mlp", *settings(*SHORT)]) == 0
    shown = capsys.readouterr().out
    assert f"wrote {out / 'merged'}" in shown
    assert "held-out loss: " in shown and f"castor chat --model {out}" in shown
    assert (out / "machine.json").exists()
    tuned = load(out)
    assert tuned.step == 2 and tuned.codec is not None
    assert main(["generate", "Hi", "--model", str(out), "--max-tokens", "2"]) == 0
    found = chosen(str(out))
    assert isinstance(found, FineTune) and found.tuning == Lora(2, targets=("mlp",))
    assert main(["train", str(out), "--data", str(tmp_path), "--out", str(out)]) == 0
    assert main(["show", str(out)]) == 0
    assert "adapters" in capsys.readouterr().out
    assert main(["export", str(out), str(tmp_path / "shipped")]) == 0
    card = (tmp_path / "shipped/README.md").read_text()
    assert f"began with | `{untrained}`" in card and "adapters of rank 2" in card


@pytest.mark.parametrize(
    ("flags", "tuning"),
    [
        ([], Lora()),
        (["--rank", "4", "--alpha", "8", "--targets", "attention"], Lora(4, 8.0, ("attention",))),
        (["--full"], Full()),
    ],
)
def test_flags_say_what_is_learned(
    flags: list[str], tuning: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[FineTune, Path]] = []

    def train(recipe: FineTune, *, data: Path, out: Path, report: Any, **where: None) -> Path:
        del out, report
        asked.append((recipe, data))
        return tmp_path

    monkeypatch.setattr("castor.train.run.train", train)
    where = ["--data", str(tmp_path / "mine"), "--out", str(tmp_path / "out")]
    assert main(["train", "finetune", "--start", "there", *where, *flags]) == 0
    assert asked == [(finetune("there", "mine", tuning), tmp_path)]


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["finetune"], "goes on from a model: name it with --start MODEL"),
        (
            ["finetune", "--start", "nowhere"],
            "there is no model at nowhere",
        ),
        (["finetune", "--start", "x", "--full", "--rank", "2"], "leave --rank out"),
        (["finetune", "--start", "x", "--targets", "head"], "takes attention or mlp; got 'head'"),
        (["finetune", "--start", "x", "--alpha", "-1"], "Lora.alpha=-1.0 must be above 0"),
        (["tiny", "--rank", "2"], "--rank is for castor train finetune, not for tiny"),
        (["tiny", "--full"], "--full is for castor train finetune, not for tiny"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(
    argv: list[str], sentence: str, tmp_path: Path, capsys: Any
) -> None:
    assert main(["train", *argv, "--out", str(tmp_path / "run")]) == 1
    told = capsys.readouterr().err
    assert sentence in told.splitlines()[-1]  # above it may stand a bar


def test_without_held_out_lines_it_says_so(tmp_path: Path, capsys: Any) -> None:
    tell(tmp_path)
    assert capsys.readouterr().out == "nothing was held out to measure on\n"
