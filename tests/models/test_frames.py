from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest

from castor.core.batch import Batch, Signal, Slots
from castor.core.content import Media
from castor.core.media import frames_media, wav
from castor.models.audio import AudioEncoder
from castor.models.conformer import ConformerEncoder
from castor.models.decoder import hidden, init
from castor.models.frames import FramesEncoder, cut, encode_frames, init_frames
from castor.models.modality import init_encoders, is_causal, perceive
from castor.models.signals import AudioConfig, ConformerConfig, FramesConfig
from castor.models.sizes import TINY

CONFIG = FramesConfig(samples=8, slots=5)
SMALL = ConformerConfig(mels=8, channels=(4, 4), layers=1, width=8, heads=2, output=8)
SAMPLES = np.random.default_rng(0).normal(0, 0.1, 19).astype(np.float32)
PIXELS = np.zeros((3, 64, 96, 3), np.uint8)


def row_of(values: np.ndarray) -> Slots:
    M = len(values)
    zeros = np.zeros((1, M, 2), np.int32)
    return Slots(values[None], zeros, np.arange(M)[None].astype(np.int32), zeros[..., 0] + 1)


def test_a_sound_is_its_samples_and_silence_after_the_last():
    signal = cut(SAMPLES, config=CONFIG)
    assert (signal.kind, signal.values.shape) == ("audio", (3, 8))
    np.testing.assert_array_equal(signal.values.reshape(-1), np.pad(SAMPLES, (0, 5)))
    np.testing.assert_array_equal(signal.places, [[0, 0], [0, 1], [0, 2]])


@pytest.mark.parametrize(("samples", "slots"), [(0, 1), (1, 1), (8, 1), (9, 2), (40, 5), (41, 5)])
def test_a_sound_fills_one_slot_at_least_and_the_config_s_at_most(samples, slots):
    assert cut(np.ones(samples, np.float32), config=CONFIG).values.shape == (slots, 8)


def test_a_second_fills_twenty_five_slots_of_the_published_size():
    assert cut(np.ones(16_000, np.float32), config=FramesConfig()).values.shape == (25, 640)


def test_states_are_the_normed_samples_projected():
    encoder = init_frames(CONFIG, 6, jax.random.key(0))
    values = cut(SAMPLES, config=CONFIG).values
    ours = encode_frames(encoder, row_of(values), config=CONFIG)[0]
    size = np.sqrt((values * values).mean(-1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(ours, values / size @ encoder.projection, atol=1e-5)


def test_the_published_encoder_has_two_and_a_half_million_weights():
    shape = jax.eval_shape(partial(init_frames, FramesConfig(), 3840), jax.random.key(0))
    assert shape.projection.shape == (640, 3840)


@pytest.mark.parametrize("name", ["samples", "slots"])
def test_numbers_out_of_range_are_refused(name):
    with pytest.raises(ValueError, match=f"FramesConfig.{name}=0 must be 1 or more"):
        replace(CONFIG, **{name: 0})


@pytest.mark.parametrize(("config", "encoder", "window"), [
    (AudioConfig(mels=8, channels=(4, 4), width=8, heads=1), AudioEncoder, (7, 8)),
    (SMALL, ConformerEncoder, (4, 8)),
    (FramesConfig(), FramesEncoder, (640,)),
])  # fmt: skip
def test_what_reads_sound_follows_from_the_config(config, encoder, window):
    model = replace(TINY, audio=config)
    assert isinstance(init_encoders(model, jax.random.key(0))["audio"], encoder)
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    (signal,) = perceive(Media("audio/wav", wav(noise)), config=model)
    assert isinstance(signal, Signal)
    assert signal.kind == "audio" and signal.values.shape == (25, *window)
    pieces = perceive(frames_media(PIXELS, np.arange(3, dtype=np.float32), noise), config=model)
    sounds = [p for p in pieces if not isinstance(p, str) and p.kind == "audio"]
    assert sum(len(p.values) for p in sounds) == 25


@pytest.mark.parametrize(("audio", "causal"), [
    (TINY.audio, False), (SMALL, True), (FramesConfig(), True), (None, False)
])  # fmt: skip
def test_only_sounds_of_gemma_4_are_read_as_text_is(audio, causal):
    config = replace(TINY, audio=audio)
    assert is_causal("audio", config) == causal and not is_causal("image", config)


@pytest.mark.parametrize("audio", [TINY.audio, FramesConfig(samples=8)], ids=["ours", "gemma 4"])
def test_the_decoder_lets_slots_of_sound_see_ahead_unless_they_are_causal(audio):
    config = replace(TINY, audio=audio, image=None)
    model = init(config, jax.random.key(0))
    window = (7, audio.mels) if isinstance(audio, AudioConfig) else (8,)
    values = np.random.default_rng(0).normal(size=(3, *window)).astype(np.float32)

    def first(values):
        """The state of the first of three slots."""
        ids, ones = np.zeros((1, 5), np.int32), np.ones((1, 5), np.int32)
        blocks, positions = np.array([[1, 1, 1, 0, 0]], np.int32), np.arange(5, dtype=np.int32)
        weights = ones.astype(np.float32)
        media = {"audio": row_of(values)}
        batch = Batch(ids, ids, weights, ones, positions[None], blocks, ids, media)
        return np.asarray(hidden(model, batch, config=config)[0, 0])

    changed = values.copy()
    changed[2] = -changed[2]
    moved = np.abs(first(changed) - first(values)).max()
    assert (moved > 1e-4) == (audio is TINY.audio)
