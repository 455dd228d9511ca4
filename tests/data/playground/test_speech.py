"""Speech-like sounds: formants are where they should be, and syllables can be told apart."""

import random
from collections import Counter

import numpy as np
import pytest

from castor.core.content import Media, Text
from castor.core.media import RATE, open_sound
from castor.data.playground import speech
from castor.data.playground.speech import CONSONANTS, VOWELS, Voice

MAN = Voice(pitch_hz=100, tract=1.0, seconds=0.3, fall=1.0)
WOMAN = Voice(pitch_hz=220, tract=1.2, seconds=0.3, fall=0.9)


def envelope(samples: np.ndarray) -> np.ndarray:
    """Strength by frequency in dB, 20 Hz a step, smoothed over 150 Hz: harmonics disappear."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), RATE // 20)) ** 2
    wide = np.convolve(spectrum, np.hanning(9) / 4, mode="same")
    return 10 * np.log10(wide + 1e-9)


def peak_hz(samples: np.ndarray, low: float, high: float) -> float:
    part = envelope(samples)[int(low / 20) : int(high / 20)]
    return low + 20 * float(part.argmax())


@pytest.mark.parametrize("vowel", VOWELS)
def test_a_vowel_has_its_first_two_formants(vowel: str) -> None:
    first, second, _ = VOWELS[vowel]
    samples = MAN.vowel(VOWELS[vowel], seconds=0.05)
    assert peak_hz(samples, first - 180, first + 180) == pytest.approx(first, abs=130)
    middle = (first + second) / 2
    assert peak_hz(samples, middle, second + 400) == pytest.approx(second, abs=250)


@pytest.mark.parametrize("voice", [MAN, WOMAN])
def test_vowels_of_one_voice_differ(voice: Voice) -> None:
    shapes = [envelope(voice.vowel(f, seconds=0.2))[:180] for f in VOWELS.values()]
    for i, one in enumerate(shapes):
        for other in shapes[:i]:
            assert np.abs((one - one.max()) - (other - other.max())).mean() > 2


def test_a_voice_has_its_pitch() -> None:
    for voice in (MAN, WOMAN):
        samples = voice.vowel(VOWELS["a"], seconds=0.2)[:1600]
        steps = np.correlate(samples, samples, "full")[len(samples) - 1 :]
        period = 40 + int(steps[40:300].argmax())
        assert RATE / period == pytest.approx(voice.pitch_hz, rel=0.08)


def test_a_smaller_speaker_has_higher_formants() -> None:
    child = Voice(pitch_hz=100, tract=1.25, seconds=0.3, fall=1.0)
    low, high = (v.vowel(VOWELS["a"], seconds=0.05) for v in (MAN, child))
    assert peak_hz(high, 500, 1100) > peak_hz(low, 500, 1100) + 80


def test_hissing_consonants_are_high_and_noisy() -> None:
    dice = random.Random(0)
    said = MAN.syllable("s", "a", dice=dice)
    hiss, vowel = said[: RATE // 12], said[RATE // 5 :]
    half = len(np.fft.rfft(hiss)) // 2
    assert (np.abs(np.fft.rfft(hiss))[half:] ** 2).sum() > 5 * (
        np.abs(np.fft.rfft(hiss))[:half] ** 2
    ).sum()
    assert np.abs(vowel).max() > 2 * hiss.std()


def test_stops_begin_in_silence() -> None:
    for consonant in ("t", "k"):
        said = MAN.syllable(consonant, "a", dice=random.Random(1))
        assert np.abs(said[: RATE // 30]).max() < 1e-6


@pytest.mark.parametrize("consonant", ["", *CONSONANTS])
def test_a_syllable_ends_softly_and_lasts_a_natural_time(consonant: str) -> None:
    said = WOMAN.syllable(consonant, "o", dice=random.Random(2))
    assert 0.2 < len(said) / RATE < 0.6
    assert abs(said[-1]) < 0.02 and np.abs(said).max() < 1.5


def test_a_syllable_is_never_said_twice_in_the_same_way() -> None:
    dice = random.Random(3)
    one, other = (MAN.syllable("m", "a", dice=dice) for _ in range(2))
    assert len(one) != len(other)


def test_answers_are_vowels_syllables_and_numbers() -> None:
    kinds = Counter()
    for seed in range(200):
        lesson = speech.lesson(random.Random(seed), "train")
        assert len(lesson.questions) == 2
        for question in lesson.questions:
            assert isinstance(question.answer[0], Text)
            kinds[question.kind] += 1
            words = question.answer[0].text.split()
            if question.kind in ("vowel", "vowels"):
                assert set(words) <= set(VOWELS)
            if question.kind == "syllables":
                assert all(w[0] in CONSONANTS and w[1] in VOWELS and len(w) == 2 for w in words)
    assert set(kinds) == {"vowel", "vowels", "syllables", "syllable count", "voice"}


def test_high_voices_are_higher_than_low_ones() -> None:
    high = [speech._meet(random.Random(seed), high=True).pitch_hz for seed in range(50)]
    low = [speech._meet(random.Random(seed), high=False).pitch_hz for seed in range(50)]
    assert min(high) > 1.3 * max(low)


def test_counted_syllables_can_be_counted() -> None:
    for seed in range(40):
        samples, question = speech._count(random.Random(seed), MAN)
        level = np.array([part.std() for part in np.array_split(samples, len(samples) // 160)])
        smooth = np.convolve(level, np.ones(7) / 7, mode="same")
        dips = (smooth[1:-1] < smooth[:-2]) & (smooth[1:-1] <= smooth[2:])
        deep = np.flatnonzero(dips & (smooth[1:-1] < 0.62 * smooth.max()))
        inside = [dip for dip in deep if 12 < dip < len(smooth) - 12]
        groups = 1 + sum(1 for i, dip in enumerate(inside) if not i or dip - inside[i - 1] > 12)
        assert isinstance(question.answer[0], Text)
        assert groups >= int(question.answer[0].text)


@pytest.mark.parametrize("split", ["train", "eval"])
def test_a_lesson_is_a_short_sound_that_never_clips(split) -> None:
    for seed in range(40):
        (medium,) = speech.lesson(random.Random(seed), split).shown
        assert isinstance(medium, Media)
        samples = open_sound(medium.data, medium.mime)
        assert 0.2 < len(samples) / RATE < 3
        assert 0.1 < np.abs(samples).max() < 0.999
