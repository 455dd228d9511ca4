"""Gemma 4's encoders of sound, from the fixtures' features to their logits, and out again."""

import json
from dataclasses import replace
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open

from castor.core.batch import Batch, Slots
from castor.interop.configs import config_from
from castor.interop.describe import config_to
from castor.interop.hf import load_hf, save_hf
from castor.models.cache import empty_cache
from castor.models.conformer import slots_of
from castor.models.decoder import extend, hidden, init, logits
from castor.models.modality import encode
from castor.models.signals import ConformerConfig, FramesConfig
from tests.interop.conftest import FIXTURES, Known, known

NAMES = ("gemma4", "gemma4_unified")


class Heard(NamedTuple):
    """A fixture, its sounds in the columns of their slots, and the states these have."""

    known: Known
    sounds: Slots
    states: np.ndarray


@cache
def heard(name: str) -> Heard:
    at = known(name)
    held = np.load(at.folder / "reference.npz")
    there = at.ids == json.loads((at.folder / "config.json").read_text())["audio_token_id"]
    pairs = zip(held["in_input_features"], held["in_input_features_mask"], strict=True)
    kept = [features[valid] for features, valid in pairs]
    if isinstance(at.config.audio, ConformerConfig):
        kept = [slots_of(mel, config=at.config.audio).values for mel in kept]
    (B, T), M = there.shape, int(there.sum(1).max()) + 1
    values = np.zeros((B, M, *kept[0].shape[1:]), np.float32)
    columns, owners = np.full((B, M), T, np.int32), np.zeros((B, M), np.int32)
    for b, sound in enumerate(kept):
        n = len(sound)
        values[b, :n], columns[b, :n], owners[b, :n] = sound, np.flatnonzero(there[b]), 9
    places = np.broadcast_to(np.arange(M, dtype=np.int32)[None, :, None], (B, M, 2))
    return Heard(at, Slots(values, places, columns, owners), held["out_audio_hidden_states"])


@pytest.fixture(params=NAMES)
def sounding(request: pytest.FixtureRequest) -> Heard:
    return heard(request.param)


def media(heard: Heard) -> dict[str, Slots]:
    assert heard.known.pictures is not None
    return {"audio": heard.sounds, "image": heard.known.pictures}


def blocks(heard: Heard) -> np.ndarray:
    """The number of the medium in each column, as rows are packed."""
    found = heard.known.blocks.copy()
    for row, columns, owners in zip(found, heard.sounds.columns, heard.sounds.blocks, strict=True):
        row[columns[owners > 0]] = owners[owners > 0]
    return found


def near(states, known, at_most=1e-4):
    ours = np.asarray(logits(known.model, states, cap=known.config.logit_cap))
    assert np.abs(ours - known.logits).max() <= at_most * np.abs(known.logits).max()


def audio(path) -> dict:
    return json.loads((path / "config.json").read_text())["audio_config"]


def test_an_encoder_alone_gives_the_reference_states(sounding):
    known, sounds, wanted = sounding
    forward = jax.jit(partial(encode, config=known.config))
    states = np.asarray(forward(known.model.encoders["audio"], sounds))
    assert np.abs(states[sounds.blocks > 0] - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_a_batch_of_pictures_and_sounds_gives_the_reference_logits(sounding):
    known, ids = sounding.known, sounding.known.ids
    zeros, ones = np.zeros_like(ids), np.ones_like(ids)
    positions = np.broadcast_to(np.arange(ids.shape[1], dtype=np.int32), ids.shape)
    weights, owners = ones.astype(np.float32), blocks(sounding)
    batch = Batch(ids, ids, weights, ones, positions, owners, zeros, media(sounding))
    near(jax.jit(partial(hidden, config=known.config))(known.model, batch), known)


def test_a_prompt_of_pictures_and_sounds_gives_the_reference_logits(sounding):
    known, ids = sounding.known, sounding.known.ids
    rows, room = ids.shape
    states, _ = jax.jit(partial(extend, config=known.config))(
        known.model,
        jnp.asarray(ids),
        empty_cache(known.config, rows=rows, room=room, dtype=jnp.float32),
        valid=jnp.ones(ids.shape, bool),
        blocks=jnp.asarray(blocks(sounding)),
        media=media(sounding),
    )
    near(states, known)


@pytest.mark.slow
def test_bfloat16_adds_no_more_noise_than_rounding_the_weights_does(sounding):
    known, sounds, wanted = sounding

    def noise(dtype):
        rounded = jax.tree.map(
            lambda x: x.astype(jnp.bfloat16).astype(dtype), known.model.encoders["audio"]
        )
        states = encode(rounded, sounds, config=known.config)
        assert states.dtype == dtype
        return np.sqrt(np.mean((np.asarray(states, np.float32)[sounds.blocks > 0] - wanted) ** 2))

    assert noise(jnp.bfloat16) < 3 * noise(jnp.float32)


def test_what_is_saved_is_loaded_again(sounding, tmp_path):
    known = sounding.known
    save_hf(tmp_path, known.model, known.config)
    model, config = load_hf(tmp_path)
    assert config == known.config
    jax.tree.map(np.testing.assert_array_equal, model, known.model)


def test_saved_sounds_have_the_names_shapes_and_settings_of_the_fixture(sounding, tmp_path):
    known = sounding.known
    save_hf(tmp_path, known.model, known.config)
    with safe_open(tmp_path / "model.safetensors", framework="numpy") as held:
        names = list(held.keys())
        found = {name: held.get_slice(name).get_shape() for name in names}
    wanted = json.loads((known.folder / "keys.json").read_text())
    assert {k: v for k, v in found.items() if "audio" in k} == {
        k: v for k, v in wanted.items() if "audio" in k
    }
    ours, theirs = audio(tmp_path), audio(known.folder)
    assert ours == {key: value for key, value in theirs.items() if key != "initializer_range"}


def test_a_model_without_a_config_of_sound_has_no_ears():
    data = json.loads((FIXTURES / "gemma4" / "config.json").read_text())
    assert config_from(data | {"audio_config": None}).audio is None


@pytest.mark.parametrize("name", NAMES)
def test_sounds_may_be_left_out_of_a_config(name):
    data = json.loads((FIXTURES / name / "config.json").read_text())
    kept = {key: value for key, value in data.items() if key != "audio_config"}
    assert config_from(kept).audio is None


def test_what_a_config_leaves_out_is_as_published():
    data = json.loads((FIXTURES / "gemma4" / "config.json").read_text())
    found = config_from(data | {"audio_config": {"model_type": "gemma4_audio"}})
    assert found.audio == ConformerConfig()
    data = json.loads((FIXTURES / "gemma4_unified" / "config.json").read_text())
    found = config_from(data | {"audio_config": {"model_type": "gemma4_unified_audio"}})
    assert found.audio == FramesConfig()


@pytest.mark.parametrize("config", [
    ConformerConfig(mels=8, channels=(8, 4), layers=3, width=12, heads=3, output=6, clipped=False),
    ConformerConfig(
        mels=8, channels=(8, 4), width=12, heads=3, kernel=3, past=5, future=2, chunk=7, cap=9.0
    ),
    FramesConfig(samples=99),
])  # fmt: skip
def test_every_config_is_told_as_it_was(config):
    name = "gemma4" if isinstance(config, ConformerConfig) else "gemma4_unified"
    whole = replace(known(name).config, audio=config)
    assert config_from(json.loads(json.dumps(config_to(whole)))) == whole


@pytest.mark.slow
def test_unbounded_matrices_are_saved_and_loaded_without_bounds(tmp_path):
    small = ConformerConfig(
        mels=8, channels=(8, 4), layers=2, width=12, heads=3, output=6, clipped=False
    )
    config = replace(known("gemma4").config, audio=small, image=None)
    model = init(config, jax.random.key(0))
    save_hf(tmp_path, model, config)
    again, found = load_hf(tmp_path)
    assert found == config
    jax.tree.map(np.testing.assert_array_equal, again, model)


@pytest.mark.parametrize(("change", "message"), [
    ({"hidden_act": "gelu"}, "audio_config: hidden_act='gelu'; we compute with 'silu' alone"),
    ({"residual_weight": 1.0}, "residual_weight=1.0; we compute with 0.5 alone"),
    ({"rms_norm_eps": 1e-5}, "rms_norm_eps=1e-05; we compute with 1e-06 alone"),
    ({"gradient_clipping": 1.0}, "gradient_clipping=1.0; we compute with 10000000000.0 alone"),
    ({"hidden_size": "32"}, "audio_config: hidden_size='32' must be a whole number"),
    ({"subsampling_conv_channels": [16]}, r"channels=\[16\] must be two numbers"),
    ({"subsampling_conv_channels": [6, 8]}, "mels=6 is not a multiple of 4"),
    ({"num_attention_heads": 3}, "width=32 is not a multiple of heads=3"),
    ({"attention_context_left": 1}, "ConformerConfig.past=0 must be 1 or more"),
])  # fmt: skip
def test_options_of_sound_that_we_do_not_compute_are_refused(change, message):
    data = json.loads((FIXTURES / "gemma4" / "config.json").read_text())
    with pytest.raises(ValueError, match=message):
        config_from(data | {"audio_config": data["audio_config"] | change})


def test_bins_that_are_not_as_many_as_channels_cannot_be_written():
    config = replace(known("gemma4").config, audio=ConformerConfig(mels=64))
    with pytest.raises(ValueError, match="as many bins as the first convolution has channels"):
        config_to(config)
