"""Sources of sound: what is heard of a recording, and what is asked."""

from pathlib import Path

import numpy as np
from jaxtyping import Float32

from castor.core.content import Media, Text
from castor.core.media import RATE, open_sound, wav
from castor.data.sounds import Esc10, Fsdd, stretch
from castor.data.source import Choice


def recording() -> Media:
    """Five seconds of silence with a loud second at 3 s and a fainter one at 1 s."""
    samples = np.zeros(5 * RATE, np.float32)
    samples[3 * RATE : 4 * RATE] = 0.5
    samples[1 * RATE : 2 * RATE] = 0.4
    return Media("audio/wav", wav(samples))


def heard(seed: int | None, seconds: float = 1.0) -> Float32[np.ndarray, " n"]:
    rng = None if seed is None else np.random.default_rng(seed)
    medium = stretch(recording(), seconds, Choice(rng))
    return open_sound(medium.data, medium.mime)


def test_evaluation_hears_the_loudest_stretch() -> None:
    samples = heard(None)
    assert len(samples) == RATE and abs(samples.mean() - 0.5) < 0.01


def test_training_hears_any_stretch_that_is_not_too_faint() -> None:
    found = [heard(seed) for seed in range(40)]
    assert {len(samples) for samples in found} == {RATE * 5 // 4}
    loudest = max(float((samples**2).sum()) for samples in found)
    assert all((samples**2).sum() > 0.25 * loudest for samples in found)
    assert len({samples.tobytes() for samples in found}) > 5


def test_a_sound_that_is_short_enough_is_left_alone() -> None:
    medium = recording()
    assert stretch(medium, 5.0, Choice(None)) is medium


def test_digits_are_numerals(data: Path) -> None:
    document = Fsdd().open(data, "eval").document(0, np.random.default_rng(0))
    assert document.turns[1].parts == (Text("3"),)


def test_silence_is_heard_too() -> None:
    silence = Media("audio/wav", wav(np.zeros(3 * RATE, np.float32)))
    medium = stretch(silence, 1.0, Choice(np.random.default_rng(0)))
    assert len(open_sound(medium.data, medium.mime)) == RATE * 5 // 4


def test_the_length_is_the_specs(data: Path) -> None:
    document = Esc10(seconds=0.3).open(data, "eval").document(0, np.random.default_rng(0))
    part = document.turns[0].parts[0]
    assert isinstance(part, Media)
    assert len(open_sound(part.data, part.mime)) == round(0.3 * RATE)
