import json
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from castor.interop.configs import config_from
from castor.interop.describe import config_to
from castor.interop.hf import load_hf, save_hf
from castor.interop.names import plain
from castor.models.decoder import init
from castor.models.sizes import NANO_1, TINY
from tests.interop.conftest import FIXTURES


def same(one, other):
    return all(
        a.dtype == b.dtype and bool((a == b).all())
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the smallest checkpoint, to be spoilt."""
    shutil.copytree(FIXTURES / "gemma", tmp_path / "gemma")
    return tmp_path / "gemma"


def change(folder: Path, **entries: object) -> None:
    data = json.loads((folder / "config.json").read_text()) | entries
    (folder / "config.json").write_text(json.dumps(data))


def retold(folder: Path, name: str, array: np.ndarray | None) -> None:
    """The same file with one tensor in another form, or without it."""
    tensors = load_file(folder / "model.safetensors") | {name: array}
    kept = {name: array for name, array in tensors.items() if array is not None}
    save_file(kept, folder / "model.safetensors")


def test_what_was_saved_is_loaded_again(checkpoint, tmp_path):
    save_hf(tmp_path / "saved", checkpoint.model, checkpoint.config)
    model, config = load_hf(tmp_path / "saved")
    assert same(model, checkpoint.model)
    assert config == checkpoint.config


def test_the_tensors_saved_are_those_of_the_keys_file(text_checkpoint, tmp_path):
    save_hf(tmp_path / "saved", text_checkpoint.model, text_checkpoint.config)
    ours = load_file(tmp_path / "saved" / "model.safetensors")
    theirs = load_file(text_checkpoint.folder / "model.safetensors")
    keys = json.loads((text_checkpoint.folder / "keys.json").read_text())
    assert {name: list(array.shape) for name, array in ours.items()} == keys
    assert all((array == theirs[name]).all() for name, array in ours.items())


def test_the_decoder_of_several_signals_is_saved_under_its_own_names(checkpoint, tmp_path):
    save_hf(tmp_path / "saved", checkpoint.model, checkpoint.config)
    ours = {plain(name) for name in load_file(tmp_path / "saved" / "model.safetensors")}
    theirs = {plain(name) for name in load_file(checkpoint.folder / "model.safetensors")}
    outside = () if checkpoint.config.audio else ("audio_tower", "embed_audio")
    rest = {name for name in theirs - ours if not name.startswith(outside)}
    assert ours <= theirs and not rest


def test_several_files_hold_what_one_does(checkpoint, tmp_path):
    save_hf(tmp_path / "saved", checkpoint.model, checkpoint.config, most_bytes=30_000)
    assert len(list((tmp_path / "saved").glob("*.safetensors"))) > 1
    assert not (tmp_path / "saved" / "model.safetensors").exists()
    assert same(load_hf(tmp_path / "saved")[0], checkpoint.model)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_weights_are_cast_when_asked_and_else_keep_their_type(dtype, tmp_path):
    narrow, config = load_hf(FIXTURES / "gemma4_moe", dtype=dtype)
    save_hf(tmp_path / "saved", narrow, config)
    again, _ = load_hf(tmp_path / "saved")
    assert {x.dtype.name for x in jax.tree.leaves(again)} == {dtype}
    assert same(narrow, again)
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["dtype"] == dtype


def test_loaded_weights_are_not_copied_once_more():
    model, _ = load_hf(FIXTURES / "gemma")
    assert all(x.unsafe_buffer_pointer() % 64 == 0 for x in jax.tree.leaves(model))


def test_keys_of_layers_that_read_anothers_are_ignored(tmp_path):
    folder = tmp_path / "dead"
    shutil.copytree(FIXTURES / "gemma4_text", folder)
    dead = np.ones((16, 32), np.float32)
    retold(folder, "model.layers.6.self_attn.k_proj.weight", dead)
    assert same(load_hf(folder)[0], load_hf(FIXTURES / "gemma4_text")[0])


@pytest.mark.parametrize(
    "prefix", ["", "model.model.", "language_model.model.", "model.language_model."]
)
def test_names_of_older_classes_are_understood(folder, prefix):
    tensors = load_file(folder / "model.safetensors")
    renamed = {prefix + name.removeprefix("model."): array for name, array in tensors.items()}
    save_file(renamed, folder / "model.safetensors")
    assert same(load_hf(folder)[0], load_hf(FIXTURES / "gemma")[0])


def test_settings_are_written_into_the_config(folder, tmp_path):
    save_hf(tmp_path / "saved", *load_hf(folder), settings={"bos_token_id": 7})
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["bos_token_id"] == 7


def test_a_decoder_of_our_own_leaves_as_gemma(tmp_path):
    config = replace(TINY, qk_norm=False, image=None, audio=None)
    model = init(config, jax.random.key(0))
    save_hf(tmp_path / "saved", model, config)
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["model_type"] == "gemma"
    assert same(load_hf(tmp_path / "saved")[0], model)


def test_a_decoder_that_no_class_has_is_refused():
    sentence = "no class of Hugging Face's that we write .* has a decoder with qk_norm=True"
    with pytest.raises(ValueError, match=sentence):
        config_to(replace(NANO_1, image=None, audio=None))


def test_encoders_are_not_dropped_unseen(tmp_path):
    config = replace(TINY, qk_norm=False)
    model = init(config, jax.random.key(0))
    sentence = "no class .* has the encoders of audio, image around such a decoder: .* by gemma$"
    with pytest.raises(ValueError, match=sentence):
        save_hf(tmp_path / "saved", model, config)
    assert not (tmp_path / "saved").exists()


def test_weights_are_cast_to_floating_point_alone(folder):
    with pytest.raises(ValueError, match="dtype='int8' is none that weights may have: float32, "):
        load_hf(folder, dtype="int8")


def test_a_type_that_cannot_be_held_is_named(folder):
    retold(folder, "model.norm.weight", np.ones(32, np.float64))
    with pytest.raises(
        ValueError, match="model.norm.weight is of type F64; we hold F32, F16, BF16"
    ):
        load_hf(folder)


def test_a_tensor_that_is_not_there_is_named(folder):
    retold(folder, "model.norm.weight", None)
    with pytest.raises(ValueError, match="lacks norm.weight, which its config.json describes"):
        load_hf(folder)


def test_a_tensor_too_many_is_named(folder):
    retold(folder, "model.layers.0.self_attn.q_proj.bias", np.ones(64, np.float32))
    with pytest.raises(ValueError, match="holds layers.0.self_attn.q_proj.bias, which its config"):
        load_hf(folder)


def test_a_tensor_of_another_shape_is_named(folder):
    change(folder, intermediate_size=48)
    with pytest.raises(ValueError, match=r"gate_proj.weight is \[64, 32\], .* says \[48, 32\]"):
        load_hf(folder)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("[]", "is no JSON object"), ("{", "is not JSON"), (None, "has no config.json, so it is no")],
)
def test_a_config_that_is_none_is_refused(folder, text, sentence):
    (folder / "config.json").unlink()
    if text is not None:
        (folder / "config.json").write_text(text)
    with pytest.raises(ValueError, match=sentence):
        load_hf(folder)


def test_a_file_in_the_place_of_a_folder_is_refused(tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(ValueError, match=r"model.gguf is a file; name the folder that holds"):
        load_hf(tmp_path / "model.gguf")


def test_the_file_of_a_config_that_cannot_be_is_named(folder):
    change(folder, model_type="llama")
    with pytest.raises(ValueError, match=r"config.json: model_type='llama' is none that we read"):
        load_hf(folder)


def test_the_config_saved_describes_the_same_layers(checkpoint):
    written = config_to(checkpoint.config)
    assert "per_layer_config" not in written  # the form that other engines read
    assert config_from(written) == checkpoint.config


def test_a_whole_model_saved_in_bfloat16_takes_two_bytes_a_weight(folder, tmp_path):
    model, config = load_hf(folder, dtype="bfloat16")
    save_hf(tmp_path / "saved", model, config)
    weights = sum(x.size for x in jax.tree.leaves(model))
    size = (tmp_path / "saved" / "model.safetensors").stat().st_size
    assert 2 * weights < size < 2 * weights + 4096
