"""Speech-like sound: vowels and syllables made from formants, by many voices, to name or count.

It is not speech: a buzz through three resonances and a few consonants of noise. Voices differ in
pitch and in the length of the vocal tract, and held-out worlds have voices of their own.
"""

import random
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from castor.core.media import RATE
from castor.data.playground import synth
from castor.data.playground.lesson import Lesson, Question, ask
from castor.data.playground.synth import Wave
from castor.data.source import Split

# Formants of a man's vowels in Hz, rounded from Peterson and Barney 1952.
VOWELS: dict[str, tuple[float, float, float]] = {
    "a": (730, 1150, 2450),
    "e": (480, 1900, 2550),
    "i": (280, 2280, 3000),
    "o": (500, 850, 2450),
    "u": (310, 700, 2250),
}
_MURMURS = {"m": (250, 900, 2200), "l": (400, 1500, 2900)}  # voiced, before the vowel
_HISSES = {"s": (4200, 7500, 0.11), "f": (1200, 7000, 0.08)}  # low Hz, high Hz, seconds
_BURSTS = {"t": (2800, 6500), "k": (1200, 2400)}
CONSONANTS = (*_MURMURS, *_HISSES, *_BURSTS)


@dataclass(frozen=True)
class Voice:
    """Someone who speaks: pitch in Hz, and formants as a multiple of a man's."""

    pitch_hz: float
    tract: float
    seconds: float  # of one vowel
    fall: float  # pitch at the end of a vowel over pitch at its beginning

    def vowel(self, formants: tuple[float, float, float], *, seconds: float, at: float = 1) -> Wave:
        """A vowel or a murmur; `at` is the pitch relative to the voice's own."""
        table = _buzz(formants, round(self.tract, 2), round(self.pitch_hz / 10) * 10)
        start = self.pitch_hz * at
        return synth.play(table, synth.glide(start, start * self.fall, seconds=seconds))

    def syllable(self, consonant: str, vowel: str, *, dice: random.Random) -> Wave:
        """A consonant ("" for none) and a vowel, never twice quite the same."""
        at, seconds = dice.uniform(0.92, 1.1), self.seconds * dice.uniform(0.9, 1.2)
        body = self.vowel(VOWELS[vowel], seconds=seconds, at=at)
        if consonant in _MURMURS:
            gain, length = (0.4, 0.1) if consonant == "m" else (0.8, 0.06)
            murmur = gain * self.vowel(_MURMURS[consonant], seconds=length, at=at)
            return synth.fade(_blend(murmur, body), attack=0.015, release=0.05)
        body = synth.fade(body, attack=0.02, release=0.05)
        if consonant in _HISSES:
            low, high, seconds = _HISSES[consonant]
            noise = synth.hiss(low, high, seconds=seconds, start=dice.random())
            noise = synth.fade(noise, attack=0.03, release=0.02)
            return np.concatenate([0.6 * noise, body])
        if consonant in _BURSTS:
            burst = synth.hiss(*_BURSTS[consonant], seconds=0.035, start=dice.random())
            burst *= synth.decay(len(burst), 0.012)
            return np.concatenate([synth.silence(0.04), 1.4 * burst, body])
        return body


def _meet(dice: random.Random, *, high: bool) -> Voice:
    limits = ((190, 290), (1.12, 1.3)) if high else ((85, 140), (0.92, 1.06))
    pitch_hz, tract = (dice.uniform(*ends) for ends in limits)
    return Voice(pitch_hz, tract, dice.uniform(0.16, 0.28), dice.uniform(0.8, 1.1))


def _blend(first: Wave, second: Wave) -> Wave:
    """One after the other with 30 ms in which one becomes the other."""
    overlap = synth.count(0.03)
    ramp = np.linspace(0, 1, overlap, dtype=np.float32)
    middle = first[-overlap:] * (1 - ramp) + second[:overlap] * ramp
    return np.concatenate([first[:-overlap], middle, second[overlap:]])


@lru_cache(2048)
def _buzz(formants: tuple[float, float, float], tract: float, pitch_hz: float) -> Wave:
    """One period of a voice: harmonics that fall by 4 dB an octave, through three resonances."""
    hz = np.arange(pitch_hz, 0.45 * RATE, pitch_hz)
    response = np.ones_like(hz)
    for formant, width in zip(formants, (80, 100, 160), strict=True):
        centre = formant * tract
        response *= centre**2 / np.hypot(hz**2 - centre**2, width * hz)
    return synth.period((response / hz**0.66).astype(np.float32))


def lesson(dice: random.Random, split: Split) -> Lesson:
    """A voice saying something for about half a second to a second, and one or two questions."""
    high = dice.random() < 0.5
    voice = _meet(dice, high=high)
    make = dice.choices((_say_vowel, _say_vowels, _say_syllables, _count), (25, 20, 35, 20))[0]
    samples, question = make(dice, voice)
    ends = [synth.silence(dice.uniform(0.02, 0.1)) for _ in range(2)]
    media = synth.finish(
        np.concatenate([ends[0], samples, ends[1]]),
        gain=10 ** dice.uniform(-0.8, -0.05),
        noise=10 ** dice.uniform(-3.5, -2.2),
        start=dice.random(),
    )
    asks = ("Is the voice high or low?", "Does the speaker have a high or a low voice?")
    who = ask("voice", *asks, answer="high" if high else "low")
    return Lesson((media,), (question, who) if dice.random() < 0.7 else (who, question))


def _say_vowel(dice: random.Random, voice: Voice) -> tuple[Wave, Question]:
    vowel = dice.choice(tuple(VOWELS))
    samples = voice.vowel(VOWELS[vowel], seconds=dice.uniform(0.3, 0.6))
    asks = ("Which vowel do you hear?", "What vowel is this?")
    return synth.fade(samples, attack=0.03, release=0.06), ask("vowel", *asks, answer=vowel)


def _say_vowels(dice: random.Random, voice: Voice) -> tuple[Wave, Question]:
    said = [dice.choice(tuple(VOWELS)) for _ in range(dice.choice((2, 3)))]
    samples = np.concatenate([voice.syllable("", vowel, dice=dice) for vowel in said])
    asks = ("Which vowels do you hear?", "Write down the vowels.")
    return samples, ask("vowels", *asks, answer=" ".join(said))


def _say_syllables(dice: random.Random, voice: Voice) -> tuple[Wave, Question]:
    said = [
        (dice.choice(CONSONANTS), dice.choice(tuple(VOWELS))) for _ in range(dice.choice((1, 2, 3)))
    ]
    parts = [voice.syllable(*what, dice=dice) for what in said]
    asks = ("What is said?", "Write down the syllables.", "Which syllables do you hear?")
    answer = " ".join(consonant + vowel for consonant, vowel in said)
    return np.concatenate(parts), ask("syllables", *asks, answer=answer)


def _count(dice: random.Random, voice: Voice) -> tuple[Wave, Question]:
    number = dice.randint(1, 5)
    consonant, vowel = dice.choice(CONSONANTS), dice.choice(tuple(VOWELS))
    parts = [voice.syllable(consonant, vowel, dice=dice) for _ in range(number)]
    asks = ("How many syllables do you hear?", "Count the syllables.")
    return np.concatenate(parts), ask("syllable count", *asks, answer=number)
