"""A model on a device, from the command line's side."""

from dataclasses import replace
from pathlib import Path

import jax
import pytest

from castor.checkpoint import load
from castor.cli.answering import load_engine
from castor.cli.device import digest, on_device
from castor.core.content import Document
from castor.models.signals import FramesConfig
from castor.sample.choose import Sampling
from castor.sample.engine import Engine
from castor.tokens.vocab import Vocab
from tests.interop.folders import published


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "castor" / "device"


def test_graphs_are_written_once_and_found_again(
    untrained: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = load(untrained)
    engines = [
        on_device(found, untrained, config=found.config, device="cpu-int4", threads=1)[1]
        for _ in range(2)
    ]
    assert capsys.readouterr().err.count("writing cpu-int4 graphs to") == 1
    [folder] = home.iterdir()
    assert folder.name == digest(untrained, found.config, "int4")
    said = [engine.reply([Document.of("hi")], Sampling(max_tokens=8)) for engine in engines]
    assert said[0] == said[1]


def test_the_shipped_form_of_float32_says_what_the_engine_says(untrained: Path, home: Path) -> None:
    found = load(untrained)
    _, engine = on_device(found, untrained, config=found.config, device="cpu-float32", threads=1)
    plain = Engine(found.model, config=found.config, vocab=found.vocab, codec=found.codec)
    asked, sampling = [Document.of("the quick fox")], Sampling(max_tokens=16)
    assert engine.reply(asked, sampling)[0].ids == plain.reply(asked, sampling)[0].ids
    assert home.is_dir()


def test_the_checkpoint_that_comes_back_holds_no_weights(untrained: Path, home: Path) -> None:
    found = load(untrained)
    left, _ = on_device(found, untrained, config=found.config, device="cpu-int4", threads=1)
    assert not any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(left.model))
    assert left.vocab is found.vocab
    assert home.is_dir()


def test_a_published_model_is_read_once(
    tmp_path: Path, vocab: Vocab, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = published(tmp_path / "small", vocab)
    _, first = load_engine(folder, device="cpu-int4", threads=1)

    def read(*_: object, **__: object) -> None:
        raise AssertionError("the weights were read again")

    monkeypatch.setattr("castor.cli.answering.open_model", read)
    _, second = load_engine(folder, device="cpu-int4", threads=1)
    asked, sampling = [Document.of("Hi")], Sampling(max_tokens=6)
    assert first.reply(asked, sampling) == second.reply(asked, sampling)
    assert home.is_dir()


def test_other_files_a_shorter_context_and_other_bits_are_other_graphs(
    untrained: Path, tmp_path: Path
) -> None:
    config = load(untrained).config
    (tmp_path / "config.json").write_text("{}")
    shorter = replace(config, context=64)
    names = {
        digest(untrained, config, "int4"),
        digest(untrained, config, "int8"),
        digest(untrained, shorter, "int4"),
        digest(tmp_path, config, "int4"),
    }
    assert len(names) == 4


def test_what_cannot_be_read_there_is_said(
    untrained: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = load(untrained)
    config = replace(found.config, audio=FramesConfig())
    _, engine = on_device(found, untrained, config=config, device="cpu-int4", threads=1)
    assert "a FramesConfig has no graph; no audio is read" in capsys.readouterr().err
    assert engine.runtime.kinds == {"image"}
    assert home.is_dir()


def test_a_device_that_there_is_not_is_refused(untrained: Path, home: Path) -> None:
    found = load(untrained)
    message = "there is no device 'tpu'; there is cpu-int4, cpu-int8, cpu-float32"
    with pytest.raises(ValueError, match=message):
        on_device(found, untrained, config=found.config, device="tpu")
    assert not home.exists()


def test_without_onnxruntime_the_extra_is_named(
    untrained: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = load(untrained)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    message = "--device cpu-int4 needs onnx; install the extra `device`"
    with pytest.raises(ValueError, match=message):
        on_device(found, untrained, config=found.config, device="cpu-int4")
    assert not home.exists()
