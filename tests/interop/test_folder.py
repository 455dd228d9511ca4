"""A model is a model wherever it lies: a checkpoint of ours or a folder of others."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from castor.checkpoint import load, write
from castor.core.content import Document
from castor.interop.folder import is_published, open_model, sampling
from castor.sample.choose import Sampling
from castor.sample.engine import Engine
from castor.tokens.vocab import Vocab
from tests.interop.folders import SMALL, published


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, vocab: Vocab) -> Path:
    return published(tmp_path_factory.mktemp("models") / "small", vocab)


def test_a_folder_opens_with_its_vocabulary_and_dialogue(folder: Path) -> None:
    found = open_model(folder)
    assert found.config == SMALL
    assert found.vocab.dialogue.name == "gemma" and found.vocab.size == SMALL.vocab
    assert found.recipe["name"] == "small"


@pytest.mark.parametrize(("dtype", "kept"), [("float32", "float32"), (None, "bfloat16")])
def test_weights_come_in_the_type_asked_for(folder: Path, dtype: str | None, kept: str) -> None:
    assert {x.dtype.name for x in jax.tree.leaves(open_model(folder, dtype=dtype).model)} == {kept}


def test_an_engine_answers_in_the_familys_dialogue(folder: Path) -> None:
    found = open_model(folder)
    engine = Engine(found.model, config=found.config, vocab=found.vocab)
    (reply,) = engine.reply([Document.of("Hi")], Sampling(max_tokens=6))
    prompt = found.vocab.encode("user\nHi")
    assert reply.prompt_tokens == len(prompt) + 6 + len(found.vocab.encode("model"))
    assert all(found.vocab.is_text(i) or i in found.vocab.dialogue.ends for i in reply.ids)


def test_a_score_counts_the_end_of_the_turn(folder: Path) -> None:
    found = open_model(folder)
    engine = Engine(found.model, config=found.config, vocab=found.vocab)
    (score,) = engine.score([(Document.of("Hi"), "Ho")])
    assert score.tokens == len(found.vocab.encode("Ho")) + 1


def test_a_checkpoint_made_of_a_folder_holds_the_same_model(folder: Path, tmp_path: Path) -> None:
    found = open_model(folder, dtype=None)
    write(tmp_path / "ours", found, precision="bfloat16")
    again = load(tmp_path / "ours", dtype=None)
    assert again.config == found.config and again.recipe == found.recipe
    assert again.vocab.digest == found.vocab.digest
    assert again.vocab.dialogue == found.vocab.dialogue and again.vocab.size == found.vocab.size
    for mine, theirs in zip(*map(jax.tree.leaves, (again.model, found.model)), strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(np.asarray(mine), np.asarray(theirs))


def test_another_dialogue_than_it_was_saved_with_is_noticed(folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "ours", open_model(folder))
    head = json.loads((tmp_path / "ours" / "config.json").read_text())
    head["vocab"]["dialogue"] = "plain"
    (tmp_path / "ours" / "config.json").write_text(json.dumps(head))
    with pytest.raises(ValueError, match="is another vocabulary"):
        load(tmp_path / "ours")


def test_a_folder_says_how_its_makers_sample(folder: Path, tmp_path: Path) -> None:
    assert sampling(folder) == {"temperature": 0.7, "top_k": 64, "top_p": 0.95}
    assert sampling(tmp_path) == {}
    (tmp_path / "generation_config.json").write_text('{"do_sample": false, "temperature": 2}')
    assert sampling(tmp_path) == {"temperature": 0.0}


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_broken_generation_config_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "generation_config.json").write_text(text)
    with pytest.raises(ValueError, match=r"generation_config\.json is not JSON"):
        sampling(tmp_path)


def test_a_gguf_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    for path in (tmp_path, tmp_path / "model.gguf"):
        with pytest.raises(ValueError, match="is a GGUF; Castor writes those but reads"):
            is_published(path)


def test_what_is_neither_is_told_as_a_damaged_checkpoint(tmp_path: Path) -> None:
    assert not is_published(tmp_path)
    with pytest.raises(ValueError, match="cannot be loaded"):
        open_model(tmp_path)
