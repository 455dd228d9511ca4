"""`castor export` in other people's formats, with a model that has learned nothing."""

import json
from pathlib import Path

import pytest

from castor.cli import main
from castor.cli.answering import SHIPPED


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["export", *words]) == 1
    return capsys.readouterr().err


def test_a_folder_for_transformers_has_all_that_it_asks_for(
    untrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "hf"
    for _ in range(2):  # what an export wrote, another may replace
        assert main(["export", str(untrained), str(out), "--format", "hf", "--text-only"]) == 0
    assert f"wrote {out} (" in capsys.readouterr().out
    config = json.loads((out / "config.json").read_text())
    assert (config["model_type"], config["dtype"]) == ("qwen3", "bfloat16")
    assert json.loads((out / "generation_config.json").read_text())["eos_token_id"] == [8, 1]
    assert {file.name for file in out.iterdir()} >= {"tokenizer.json", "chat_template.jinja"}


@pytest.mark.parametrize("kind", ["hf", "gguf"])
def test_encoders_stay_behind_only_when_that_is_said(
    kind: str, untrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, str(untrained), str(tmp_path / f"m.{kind}"), "--format", kind)
    assert "(image, audio); --text-only leaves them" in said
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_is_said_in_a_sentence(
    untrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, model = str(tmp_path / "m"), str(untrained)
    said = refused(capsys, model, out, "--precision", "q4_0")
    assert "--format castor has no --precision q4_0; it has bfloat16, float16, float32" in said
    said = refused(capsys, model, out, "--format", "gguf")
    assert "must be a file whose name ends with .gguf" in said
    said = refused(capsys, model, out, "--format", "hf", "--scores", out)
    assert "--scores goes into the card, which --format castor alone writes" in said
    said = refused(capsys, str(SHIPPED), f"{out}.gguf", "--format", "gguf", "--text-only")
    assert "no architecture of llama.cpp has norms of queries and keys" in said
    said = refused(capsys, model, str(tmp_path), "--format", "onnx")
    assert "exists; name a folder that does not" in said
    assert not list(tmp_path.iterdir())
