"""`castor import` and `castor pull`: others' models become ours, or a sentence says why not."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from castor.cli import main
from castor.cli.answering import load_engine
from castor.cli.places import located, models_home
from castor.tokens.vocab import Vocab
from tests.interop.folders import published


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    return models_home()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, vocab: Vocab) -> Path:
    return published(tmp_path_factory.mktemp("models") / "small", vocab)


def test_a_published_model_answers_as_it_is(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", "Hi", "--model", str(folder), "--max-tokens", "4"]) == 0
    assert capsys.readouterr().out


def test_its_weights_stay_in_the_type_that_they_are_stored_in(folder: Path) -> None:
    _, engine = load_engine(folder)
    assert engine.weights.decoder.embedding.dtype == "bfloat16"
    _, engine = load_engine(folder, precision="float32")
    assert engine.weights.decoder.embedding.dtype == "float32"


def test_a_long_context_is_cut_where_a_cache_of_it_would_not_fit(folder: Path) -> None:
    assert load_engine(folder, most=64)[1].config.context == 64
    assert load_engine(folder, most=64, context=128)[1].config.context == 128
    assert load_engine(folder, most=10**6)[1].config.context == 256


def test_an_imported_model_says_what_the_folder_says(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask = ["generate", "Hi", "--max-tokens", "4", "--model"]
    out = str(tmp_path / "ours")
    assert main(["import", str(folder), out]) == 0
    assert f"wrote {out}" in capsys.readouterr().out
    assert main([*ask, out]) == 0
    mine = capsys.readouterr().out
    assert main([*ask, str(folder)]) == 0
    assert capsys.readouterr().out == mine


def test_a_pulled_model_is_meant_by_its_name(home: Path, vocab: Vocab) -> None:
    published(home / "maker" / "small", vocab)
    assert located(Path("maker/small")) == home / "maker" / "small"
    assert located(Path("nobody/small")) == Path("nobody/small")
    assert main(["generate", "Hi", "--model", "maker/small", "--max-tokens", "2"]) == 0


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["import", "{tmp}/none", "{tmp}/out"], "there is no such folder"),
        (["import", "{tmp}", "{tmp}/out"], "is no Hugging Face folder"),
        (["import", "{folder}", "{tmp}"], "is there already; name a new folder"),
        (["import", "{folder}", "{tmp}/out", "--dialogue", "chatml"], "is none of castor, plain"),
        (["pull", "a b c"], "is no name of a model"),
        (["pull", "maker/small", "--endpoint", "http://127.0.0.1:9"], "cannot be reached"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_written(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    match: str,
) -> None:
    given = [a.format(tmp=tmp_path, folder=folder) for a in arguments]
    assert main(given) == 1
    assert match in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("break_it", "match"),
    [
        (lambda f: (f / "model.safetensors").unlink(), "has neither model.safetensors nor"),
        (lambda f: _cut(f / "model.safetensors"), "model.safetensors"),
        (lambda f: _renamed(f, "qwen9"), "model_type='qwen9' is none that we read; we read"),
        (lambda f: (f / "tokenizer.model").unlink(), "nothing can be said in its ids"),
        (lambda f: _set(f, vocab_size=128), "is [640, 32], its config.json says [128, 32]"),
    ],
)
def test_a_damaged_folder_is_told_in_one_sentence(
    tmp_path: Path,
    vocab: Vocab,
    capsys: pytest.CaptureFixture[str],
    break_it: Callable[[Path], object],
    match: str,
) -> None:
    folder = published(tmp_path / "broken", vocab)
    break_it(folder)
    assert main(["import", str(folder), str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert match in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def _set(folder: Path, **entries: object) -> None:
    data = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(data | entries))


def _renamed(folder: Path, kind: str) -> None:
    _set(folder, model_type=kind)
