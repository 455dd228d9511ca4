"""`castor quantise`: what it writes and tells, and what it refuses."""

import json
from pathlib import Path

import pytest

from castor.checkpoint import load
from castor.cli import main
from castor.models.quant import formats


def test_a_quantised_model_is_written_with_its_errors(
    untrained: Path, tmp_path: Path, capsys
) -> None:
    out = tmp_path / "small"
    assert main(["quantise", str(untrained), "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["format"] == "int4"
    assert told["bytes"] == (out / "weights.safetensors").stat().st_size
    assert {one["name"] for one in told["errors"]} > {"decoder.embedding", "decoder.blocks.0.wq"}
    assert formats(load(out).model) == ("int4",)
    assert json.loads((out / "config.json").read_text())["quantised"] == ["int4"]


def test_the_table_has_a_row_for_each_layer(untrained: Path, tmp_path: Path, capsys) -> None:
    argv = ["quantise", str(untrained), "--out", str(tmp_path / "small"), "--asymmetric"]
    assert main([*argv, "--embedding", "int8"]) == 0
    shown = capsys.readouterr().out
    assert "decoder.blocks.0: error over the weights' own size" in shown
    assert "bytes each" in shown
    assert formats(load(tmp_path / "small").model) == ("int4 asymmetric", "int8 asymmetric")


def test_both_models_are_measured(untrained: Path, tmp_path: Path, capsys) -> None:
    argv = ["quantise", str(untrained), "--out", str(tmp_path / "small"), "--data", str(tmp_path)]
    assert main([*argv, "--eval", "sums", "--limit", "2"]) == 0
    shown = capsys.readouterr().out
    assert "points" in shown
    assert "sums" in shown


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--qat", "3"], "--qat learns from data; name its folder with --data"),
        (["--labels", "0.5"], "--labels is a share of what --qat learns; give --qat STEPS as well"),
        (["--eval", "sums"], "--eval measures on held-out data; name its folder with --data"),
        (["--data", ".", "--eval", "nothing"], "there is no benchmark 'nothing'; there is"),
        (["--calibrate", "nowhere"], "there is no folder nowhere"),
    ],
    ids=lambda x: x[0] if isinstance(x, list) else "",
)
def test_what_cannot_be_done_is_refused_and_nothing_written(
    untrained: Path, tmp_path: Path, capsys, flags: list[str], sentence: str
) -> None:
    assert main(["quantise", str(untrained), "--out", str(tmp_path / "small"), *flags]) == 1
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "small").exists()


def test_a_folder_of_other_things_and_a_quantised_model_are_refused(
    untrained: Path, tmp_path: Path, capsys
) -> None:
    (tmp_path / "notes.md").write_text("keep me")
    for out, sentence in (
        (tmp_path, "holds notes.md, which is no part of a model; name another"),
        (tmp_path / "notes.md", "notes.md is a file; name a folder"),
    ):
        assert main(["quantise", str(untrained), "--out", str(out)]) == 1
        assert sentence in capsys.readouterr().err
    small = tmp_path / "small"
    assert main(["quantise", str(untrained), "--out", str(small)]) == 0
    assert main(["quantise", str(small), "--out", str(tmp_path / "again")]) == 1
    assert "the weights are int4 already; start from the float" in capsys.readouterr().err
