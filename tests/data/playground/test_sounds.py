"""Tones: what a simple listener measures agrees with the answers."""

import random
from collections.abc import Callable

import numpy as np
import pytest

from castor.core.content import Media, Text
from castor.core.media import RATE, open_sound
from castor.data.playground import sounds, synth
from castor.data.playground.sounds import Made


def made(make: Callable[[random.Random], Made], count: int = 40) -> list[tuple[np.ndarray, str]]:
    found = []
    for seed in range(count):
        samples, question = make(random.Random(seed))
        assert isinstance(question.answer[0], Text)
        found.append((samples, question.answer[0].text))
    return found


def loud(samples: np.ndarray) -> list[tuple[int, int]]:
    """Beginning and end of each stretch of sound, with gaps of 30 ms or more between them."""
    window = synth.count(0.01)
    level = np.array(
        [np.abs(part).max() for part in np.array_split(samples, len(samples) // window)]
    )
    heard = level > 0.15 * level.max()
    edges = np.flatnonzero(np.diff(np.pad(heard, 1).astype(int)))
    stretches = list(zip(edges[::2], edges[1::2], strict=True))
    joined = stretches[:1]
    for start, end in stretches[1:]:
        if start - joined[-1][1] < 3:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return [(start * window, end * window) for start, end in joined]


def lowest_hz(samples: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.flatnonzero(spectrum > 0.2 * spectrum.max())[0] * RATE / len(samples))


def test_beeps_can_be_counted() -> None:
    for samples, answer in made(sounds._beeps):
        assert len(loud(samples)) == int(answer)


def test_high_tones_are_high() -> None:
    for samples, answer in made(sounds._height):
        assert (lowest_hz(samples) > 600) == (answer == "high")


def test_rising_tones_rise() -> None:
    for samples, answer in made(sounds._course):
        start, *_, end = (lowest_hz(part) for part in np.array_split(samples, 5))
        ratio = end / start
        assert answer == ("rising" if ratio > 1.2 else "falling" if ratio < 0.83 else "steady")


def test_long_tones_are_long() -> None:
    for samples, answer in made(sounds._rhythm):
        lengths = [(end - start) / RATE for start, end in loud(samples)]
        assert " ".join("long" if seconds > 0.17 else "short" for seconds in lengths) == answer


def test_the_wanted_tone_is_first_or_second() -> None:
    for seed in range(40):
        samples, question = sounds._order(random.Random(seed))
        first, second = np.array_split(samples, 2)
        assert isinstance(question.answer[0], Text)
        word = next(w for w in ("louder", "higher", "lower") if w in question.asks[0])
        wins = {
            "louder": np.abs(first).max() > np.abs(second).max(),
            "higher": lowest_hz(first) > lowest_hz(second),
            "lower": lowest_hz(first) < lowest_hz(second),
        }[word]
        assert question.answer[0].text == ("first" if wins else "second")


def test_every_instrument_is_met() -> None:
    assert {answer for _, answer in made(sounds._instrument, 80)} == set(synth.INSTRUMENTS)


def test_two_instruments_are_named_in_order() -> None:
    for samples, answer in made(sounds._tune, 20):
        first, second = answer.split(" and ")
        assert first != second and {first, second} <= set(synth.INSTRUMENTS)
        assert 0.7 < len(samples) / RATE < 0.9


def test_joined_parts_have_gaps() -> None:
    part = np.ones(10, np.float32)
    joined = sounds.join([part, part], gap=0.001)
    assert joined.tolist() == [1] * 10 + [0] * 16 + [1] * 10


@pytest.mark.parametrize("split", ["train", "eval"])
def test_a_lesson_is_a_short_sound_that_never_clips(split) -> None:
    for seed in range(60):
        lesson = sounds.lesson(random.Random(seed), split)
        (medium,) = lesson.shown
        assert isinstance(medium, Media)
        samples = open_sound(medium.data, medium.mime)
        assert 0.1 < len(samples) / RATE < 2.6
        assert 0.05 < np.abs(samples).max() < 0.999
