"""`castor export` in other people's formats, with a model that has learned nothing."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from gguf import GGUFReader

from castor.checkpoint import write
from castor.cli import main
from castor.cli.answering import SHIPPED
from castor.interop.folder import open_model
from castor.models.quant import quantise
from castor.tokens.vocab import Vocab
from tests.interop.folders import published
from tests.interop.test_outward import saved


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


def test_a_published_folder_that_sees_keeps_its_encoders(tmp_path: Path) -> None:
    told = saved("gemma3", tmp_path / "theirs")
    out = tmp_path / "again"
    words = ["--format", "hf", "--precision", "float32"]
    assert main(["export", str(tmp_path / "theirs"), str(out), *words]) == 0
    assert json.loads((out / "config.json").read_text()) == told
    for name in ("model.safetensors", "processor_config.json", "tokenizer_config.json"):
        assert (out / name).read_bytes() == (tmp_path / "theirs" / name).read_bytes()


def test_a_published_folder_becomes_a_gguf_and_so_do_its_codes(
    tmp_path: Path, vocab: Vocab
) -> None:
    published(tmp_path / "theirs", vocab)
    found = open_model(tmp_path / "theirs")
    coded = replace(found, model=quantise(found.model))
    write(tmp_path / "coded", coded, precision="float16")
    for name, kind in (("theirs", "BF16"), ("coded", "Q4_0")):
        out = tmp_path / f"{name}.gguf"
        assert main(["export", str(tmp_path / name), str(out), "--format", "gguf"]) == 0
        file = GGUFReader(out)
        kinds = {tensor.name: tensor.tensor_type.name for tensor in file.tensors}
        assert (kinds["token_embd.weight"], kinds["blk.1.attn_q.weight"]) == (kind, kind)
        assert kinds["blk.0.attn_norm.weight"] == "F32"
        assert file.fields["general.architecture"].contents() == "gemma3"
        assert "<start_of_turn>" in file.fields["tokenizer.chat_template"].contents()


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
