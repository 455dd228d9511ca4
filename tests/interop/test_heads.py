"""Heads of an embedding model, out and in again, and what they compute."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from castor.interop.heads import PUBLISHED, Embedder, load_heads, save_heads
from castor.models.heads import Heads, embedding, init_heads, summed

HEADS = init_heads((6, 10, 4), jax.random.key(0))


@pytest.fixture
def folder(tmp_path):
    save_heads(tmp_path, Embedder(HEADS, PUBLISHED))
    return tmp_path


def changed(file, **change):
    file.write_text(json.dumps(json.loads(file.read_text()) | change))


def test_an_embedding_is_the_mean_state_through_the_matrices_at_length_one():
    states = np.random.default_rng(0).normal(size=(2, 5, 6)).astype(np.float32)
    counts = [3, 5]
    valid = np.arange(5)[None] < np.array(counts)[:, None]
    ours = embedding(HEADS, summed(jnp.asarray(states), jnp.asarray(valid)))
    for row, count, found in zip(states, counts, ours, strict=True):
        x = row[:count].mean(0)
        for weights in HEADS.matrices:
            x = x @ np.asarray(weights)
        np.testing.assert_allclose(found, x / np.linalg.norm(x), atol=1e-5)


def test_padding_changes_nothing_and_zeros_stay_finite():
    states = jnp.full((1, 3, 6), jnp.nan).at[0, 0].set(1.0)
    valid = jnp.array([[True, False, False]])
    assert np.isfinite(embedding(HEADS, summed(states, valid))).all()
    assert not np.asarray(embedding(HEADS, jnp.zeros((1, 6)))).any()


def test_heads_without_a_matrix_normalise():
    np.testing.assert_allclose(embedding(Heads(()), jnp.array([[3.0, 4.0]])), [[0.6, 0.8]])


def test_what_is_saved_is_loaded_again(folder):
    again = load_heads(folder)
    assert again is not None and again.prompts == PUBLISHED
    jax.tree.map(np.testing.assert_array_equal, again.heads, HEADS)


def test_heads_lie_as_sentence_transformers_keeps_them(folder):
    modules = json.loads((folder / "modules.json").read_text())
    assert [of["path"] for of in modules] == ["", "1_Pooling", "2_Dense", "3_Dense", "4_Normalize"]
    dense = json.loads((folder / "2_Dense" / "config.json").read_text())
    assert (dense["in_features"], dense["out_features"], dense["bias"]) == (6, 10, False)
    assert (folder / "3_Dense" / "model.safetensors").is_file()


def test_a_folder_without_modules_has_no_heads(tmp_path):
    assert load_heads(tmp_path) is None


def test_heads_without_a_matrix_cannot_be_written(tmp_path):
    with pytest.raises(ValueError, match="heads without a matrix cannot be written"):
        save_heads(tmp_path, Embedder(Heads(()), {}))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("file", "change", "message"), [
    ("1_Pooling", {"pooling_mode_cls_token": True}, "we pool by the mean"),
    ("1_Pooling", {"include_prompt": False}, "we pool by the mean"),
    ("1_Pooling", {"word_embedding_dimension": 7}, "in_features=6, but 7 come in"),
    ("2_Dense", {"bias": True}, "bias=True and activation_function=.*without either"),
    ("2_Dense", {"activation_function": "torch.nn.Tanh"}, "without either"),
    ("2_Dense", {"out_features": "10"}, "out_features='10' must be a whole number"),
    ("3_Dense", {"out_features": 5}, r"holds \{'linear.weight': \[4, 10\]\}; .* says \[5, 10\]"),
])  # fmt: skip
def test_settings_that_we_do_not_compute_are_refused(folder, file, change, message):
    changed(folder / file / "config.json", **change)
    with pytest.raises(ValueError, match=message):
        load_heads(folder)


@pytest.mark.parametrize(("text", "message"), [
    ("{}", "is no list of JSON objects"),
    ("[1]", "is no list of JSON objects"),
    ("[", "is not JSON"),
    ('[{}, {"type": "a.Pooling", "path": "../1"}]', "names ../1, which is not beside it"),
    ('[{"type": "a.Transformer", "path": ""}]', "lists Transformer; we compute Transformer, Pool"),
])  # fmt: skip
def test_lists_of_modules_that_are_none_are_refused(folder, text, message):
    (folder / "modules.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_heads(folder)


def test_a_missing_or_odd_file_is_named(folder):
    (folder / "1_Pooling" / "config.json").write_text("[]")
    with pytest.raises(ValueError, match="config.json is no JSON object"):
        load_heads(folder)
    (folder / "1_Pooling" / "config.json").unlink()
    with pytest.raises(ValueError, match="config.json is missing, which modules.json needs"):
        load_heads(folder)
