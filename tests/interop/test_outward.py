"""Whole folders for Hugging Face: models of text, pictures and sound as they come back."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from castor.interop.describe import config_to
from castor.interop.folder import open_model
from castor.interop.hf import cast, save_hf
from castor.interop.outward import save_folder
from castor.interop.processors import PIECES
from castor.models.decoder import Model
from castor.models.quant import densed, quantise
from castor.models.sizes import ModelConfig
from castor.tokens.proto import bpe_model
from castor.tokens.vocab import Vocab
from tests.interop.conftest import known
from tests.interop.llama import random_model, shape, spoken
from tests.tokens.families import pieces

VOCAB = 640
SPOKEN = {"gemma3": "gemma3", "gemma4": "gemma4", "gemma4_unified": "gemma4"}


def spoken_by(kind: str, size: int = VOCAB) -> Vocab:
    """A vocabulary in a family's dialogue."""
    name = SPOKEN[kind]
    return Vocab(bpe_model(pieces(name, spoken())), codes=0, dialogue=name, size=size)


@cache
def seeing(kind: str) -> tuple[Model, ModelConfig]:
    """A random model with the encoders of a fixture, and a vocabulary that can be talked with."""
    config = replace(known(kind).config, vocab=VOCAB)
    if config.inputs is not None:
        config = replace(config, inputs=replace(config.inputs, vocab=VOCAB))
    return random_model(config), config


def saved(kind: str, folder: Path, *, precision: str = "float32") -> dict:
    model, config = seeing(kind)
    save_folder(folder, model, config, vocab=spoken_by(kind), precision=precision)
    return json.loads((folder / "config.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("kind", SPOKEN)
def test_a_model_of_several_signals_comes_back_whole(kind: str, tmp_path: Path) -> None:
    model, config = seeing(kind)
    saved(kind, tmp_path / "hf")
    found = open_model(tmp_path / "hf", dtype=None)
    assert found.config == config
    assert found.vocab.dialogue == spoken_by(kind).dialogue
    for mine, theirs in zip(*map(jax.tree.leaves, (model, found.model)), strict=True):
        np.testing.assert_array_equal(np.asarray(mine), np.asarray(theirs))


@pytest.mark.parametrize("kind", SPOKEN)
def test_ids_of_signals_are_those_of_the_vocabulary(kind: str, tmp_path: Path) -> None:
    told = saved(kind, tmp_path / "hf", precision="bfloat16")
    ids = {piece.text: i for i, piece in enumerate(spoken_by(kind).pieces)}
    end = "index" if kind == "gemma3" else "id"
    for name, piece in PIECES[kind].items():
        assert told[f"{name}_token_{end}"] == ids[piece]
    assert told["eos_token_id"] == 1
    if kind != "gemma3":
        assert told["eoa_token_index"] == told["eoa_token_id"]


def test_a_processor_is_told_the_sizes_of_pictures_and_sound(tmp_path: Path) -> None:
    saved("gemma3", tmp_path / "three")
    told = json.loads((tmp_path / "three" / "preprocessor_config.json").read_text())
    image: Any = seeing("gemma3")[1].image
    assert told["size"] == {"height": image.pixels, "width": image.pixels}
    assert told["image_seq_length"] == image.slots
    saved("gemma4", tmp_path / "four")
    told = json.loads((tmp_path / "four" / "processor_config.json").read_text())
    config: Any = seeing("gemma4")[1]
    assert told["image_processor"]["patch_size"] == config.image.patch
    assert told["video_processor"]["max_soft_tokens"] == config.image.frame_slots
    assert told["feature_extractor"]["feature_size"] == config.audio.mels
    saved("gemma4_unified", tmp_path / "one")
    audio: Any = seeing("gemma4_unified")[1].audio
    told = json.loads((tmp_path / "one" / "processor_config.json").read_text())
    assert told["feature_extractor"]["audio_samples_per_token"] == audio.samples


def test_a_chat_of_text_alone_has_no_place_for_pictures(tmp_path: Path) -> None:
    config = shape("gemma3", vocab=VOCAB)
    save_folder(tmp_path / "hf", random_model(config), config, vocab=spoken_by("gemma3"))
    template = (tmp_path / "hf" / "chat_template.jinja").read_text()
    assert "this template has places for text alone" in template
    saved("gemma3", tmp_path / "seeing")
    template = (tmp_path / "seeing" / "chat_template.jinja").read_text()
    assert "ns.text + '<start_of_image>'" in template
    assert not (tmp_path / "hf" / "processor_config.json").exists()


def test_a_vocabulary_without_the_pieces_of_signals_is_refused(tmp_path: Path) -> None:
    model, config = seeing("gemma3")
    vocab = Vocab(bpe_model(pieces("gemma", spoken())), codes=0, dialogue="gemma", size=VOCAB)
    with pytest.raises(ValueError, match="has no piece <start_of_image>, which gemma3 reads sig"):
        save_folder(tmp_path / "hf", model, config, vocab=vocab)
    assert not list(tmp_path.iterdir())


def test_another_vocabulary_than_the_models_is_refused(tmp_path: Path) -> None:
    model, config = seeing("gemma3")
    with pytest.raises(ValueError, match="the model has 640 ids, its vocabulary 768"):
        save_folder(tmp_path / "hf", model, config, vocab=spoken_by("gemma3", 768))


@pytest.mark.parametrize("name", ["gemma3", "gemma4 experts"])
def test_a_quantised_model_is_written_as_what_it_stands_for(name: str, tmp_path: Path) -> None:
    config = shape(name)
    model = quantise(random_model(config))
    save_hf(tmp_path / "codes", model, config, precision="float16")
    plain = jax.tree.map(lambda leaf: leaf.astype(jnp.float16), densed(model))
    save_hf(tmp_path / "plain", plain, config)
    files = [tmp_path / name / "model.safetensors" for name in ("codes", "plain")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_our_own_quantised_decoder_is_written_too(tmp_path: Path) -> None:
    config = shape("gemma", qk_norm=True)
    model = quantise(random_model(config))
    for name, weights in (("codes", model), ("plain", densed(model))):
        save_folder(tmp_path / name, weights, config, vocab=spoken())
    files = [tmp_path / name / "model.safetensors" for name in ("codes", "plain")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_weight_of_the_type_asked_for_is_not_copied() -> None:
    stack = jnp.ones((3, 4, 5), jnp.bfloat16)
    part = cast(stack, np.dtype(jnp.bfloat16), (1,))
    assert part.shape == (4, 5) and np.shares_memory(part, np.asarray(stack))
    assert cast(stack, np.dtype(np.float32), (1,)).dtype == np.float32


def test_a_scale_that_their_config_cannot_tell_is_refused() -> None:
    config = replace(shape("gemma3"), score_scale=0.3)
    with pytest.raises(ValueError, match=r"gemma3_text multiplies .* this decoder's n is 11\.1111"):
        config_to(config)
