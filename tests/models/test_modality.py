from dataclasses import replace

import jax
import numpy as np
import pytest

from castor.core.batch import Signal
from castor.core.content import Media
from castor.core.media import Limits, frames_media, png, wav
from castor.models import audio, image
from castor.models.modality import init_encoders, perceive
from castor.models.sizes import TINY

NOISE = np.random.default_rng(0).normal(0, 0.1, 20_000).astype(np.float32)
PIXELS = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
FRAMES = np.stack([PIXELS, PIXELS[::-1], PIXELS[:, ::-1]])
TIMES = np.array([0.0, 0.5, 1.2], np.float32)


def kinds(pieces) -> list[str]:
    return [p if isinstance(p, str) else p.kind for p in pieces]


def test_a_picture_is_one_signal_of_its_pixels():
    (signal,) = perceive(Media("image/png", png(PIXELS)), config=TINY)
    np.testing.assert_array_equal(signal.values, image.cut(PIXELS, config=TINY.image).values)


def test_a_budget_bounds_a_picture():
    (signal,) = perceive(Media("image/png", png(PIXELS)), config=TINY, budget=6)
    assert len(signal.places) == 6


def test_a_sound_is_one_signal_of_its_samples():
    (signal,) = perceive(Media("audio/wav", wav(NOISE)), config=TINY)
    expected = audio.cut(np.round(NOISE * 32767) / np.float32(32768), config=TINY.audio)
    assert signal.kind == "audio"
    np.testing.assert_allclose(signal.values, expected.values, atol=0.02)


def test_a_clip_is_times_frames_and_the_sound_of_each_second():
    pieces = perceive(frames_media(FRAMES, TIMES, NOISE), config=TINY)
    assert kinds(pieces) == ["0.0", "image", "0.5", "image", "audio", "1.2", "image", "audio"]
    assert all(len(p.places) <= 16 for p in pieces if isinstance(p, Signal) and p.kind == "image")


def test_a_model_without_ears_watches_a_clip_in_silence():
    pieces = perceive(frames_media(FRAMES, TIMES, NOISE), config=replace(TINY, audio=None))
    assert kinds(pieces) == ["0.0", "image", "0.5", "image", "1.2", "image"]


def test_an_augmentation_sees_every_frame_and_the_sound():
    seen = []

    def note(kind: str, values: np.ndarray) -> np.ndarray:
        seen.append((kind, values.shape))
        return values

    perceive(frames_media(FRAMES, TIMES, NOISE), config=TINY, augment=note)
    assert seen == [("image", (64, 96, 3))] * 3 + [("audio", (20_000,))]


def test_a_mime_that_no_model_reads_is_refused():
    with pytest.raises(ValueError, match="does not read text/html; it reads image, audio, video"):
        perceive(Media("text/html", b"<p>"), config=TINY)


def test_sound_for_a_model_without_ears_is_refused():
    with pytest.raises(ValueError, match="does not read audio/wav; it reads image, video"):
        perceive(Media("audio/wav", wav(NOISE)), config=replace(TINY, audio=None))


def test_a_model_of_text_alone_says_so():
    with pytest.raises(ValueError, match="does not read image/png; it reads text only"):
        perceive(Media("image/png", png(PIXELS)), config=replace(TINY, image=None, audio=None))


def test_limits_reach_the_decoder():
    with pytest.raises(ValueError, match="pixels"):
        perceive(Media("image/png", png(PIXELS)), config=TINY, limits=Limits(pixels=100))


def test_a_config_has_the_encoders_that_it_names():
    config = replace(TINY, audio=None)
    assert set(init_encoders(config, jax.random.key(0))) == {"image"}
    assert set(init_encoders(TINY, jax.random.key(0))) == {"image", "audio"}
