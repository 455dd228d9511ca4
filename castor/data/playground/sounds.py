"""Tones and instruments with questions: high or low, how many, rising or falling, which, rhythm."""

import random
from collections.abc import Callable, Sequence

import numpy as np

from castor.data.playground import synth
from castor.data.playground.lesson import Lesson, Question, ask
from castor.data.playground.synth import Wave
from castor.data.source import Split

_LOW_HZ, _HIGH_HZ = (150.0, 330.0), (900.0, 2000.0)
_STEADY = ("flute", "organ", "trumpet", "buzzer")
Made = tuple[Wave, Question]


def lesson(dice: random.Random, split: Split) -> Lesson:
    """About a second of sound, at some loudness on faint noise, and one question."""
    makes: tuple[Callable[[random.Random], Made], ...]
    makes = (_height, _beeps, _course, _instrument, _rhythm, _order, _tune)
    samples, question = dice.choices(makes, (12, 22, 14, 22, 14, 10, 6))[0](dice)
    ends = [synth.silence(dice.uniform(0.02, 0.12)) for _ in range(2)]
    samples = np.concatenate([ends[0], samples, ends[1]])
    media = synth.finish(
        samples,
        gain=10 ** dice.uniform(-0.9, -0.05),
        noise=10 ** dice.uniform(-3.5, -2.0),
        start=dice.random(),
    )
    return Lesson((media,), (question,))


def _somewhere(dice: random.Random, limits_hz: tuple[float, float]) -> float:
    return limits_hz[0] * (limits_hz[1] / limits_hz[0]) ** dice.random()


def _height(dice: random.Random) -> Made:
    high = dice.random() < 0.5
    pitch = _somewhere(dice, _HIGH_HZ if high else _LOW_HZ)
    samples = synth.note(dice.choice(_STEADY), pitch, seconds=dice.uniform(0.3, 0.7))
    asks = ("Is the tone high or low?", "Do you hear a high or a low tone?")
    return samples, ask("height", *asks, answer="high" if high else "low")


def _beeps(dice: random.Random) -> Made:
    number = dice.randint(1, 6)
    pitch, instrument = _somewhere(dice, (250, 1600)), dice.choice(_STEADY)
    length, gap = dice.uniform(0.06, 0.11), dice.uniform(0.08, 0.15)
    beep = synth.note(instrument, pitch, seconds=length)
    samples = join([beep] * number, gap=gap)
    asks = ("How many beeps do you hear?", "Count the beeps.", "How many tones are there?")
    return samples, ask("beeps", *asks, answer=number)


def join(parts: Sequence[Wave], *, gap: float) -> Wave:
    """The parts one after another with so many seconds of silence between them."""
    pause = synth.silence(gap)
    return np.concatenate([piece for part in parts for piece in (pause, part)][1:])


def _course(dice: random.Random) -> Made:
    """A tone that rises, falls or stays, over half an octave at least."""
    course = dice.choice(("rising", "falling", "steady"))
    low = _somewhere(dice, (180, 700))
    high = low * dice.uniform(1.5, 3.0)
    ends = {"rising": (low, high), "falling": (high, low), "steady": (high, high)}[course]
    pitch = synth.glide(*ends, seconds=dice.uniform(0.4, 0.9))
    strengths = np.array((1, dice.random(), dice.random() / 2, dice.random() / 3), np.float32)
    samples = synth.fade(synth.play(synth.period(strengths), pitch), attack=0.02, release=0.04)
    asks = ("Is the tone rising, falling or steady?", "Does the pitch rise, fall or stay?")
    return samples, ask("course", *asks, answer=course)


def _instrument(dice: random.Random) -> Made:
    instrument = dice.choice(synth.INSTRUMENTS)
    pitches = [_somewhere(dice, (200, 800)) for _ in range(dice.choice((1, 2, 3)))]
    notes = [
        synth.note(instrument, pitch, seconds=dice.uniform(0.25, 0.4), start=dice.random())
        for pitch in pitches
    ]
    asks = ("What instrument is this?", "Which instrument do you hear?", "What is playing?")
    return join(notes, gap=0.02), ask("instrument", *asks, answer=instrument)


def _rhythm(dice: random.Random) -> Made:
    """Short and long tones, to be written down."""
    longs = [dice.random() < 0.5 for _ in range(dice.randint(2, 4))]
    pitch, instrument = _somewhere(dice, (250, 1200)), dice.choice(_STEADY)
    short = dice.uniform(0.06, 0.1)
    notes = [
        synth.note(instrument, pitch, seconds=short * (3.5 if is_long else 1)) for is_long in longs
    ]
    answer = " ".join("long" if is_long else "short" for is_long in longs)
    asks = ("Which tones are short and which are long?", "Write down the rhythm: short or long.")
    return join(notes, gap=dice.uniform(0.09, 0.13)), ask("rhythm", *asks, answer=answer)


def _order(dice: random.Random) -> Made:
    """Two tones that differ clearly in pitch or in loudness."""
    pitch, instrument = _somewhere(dice, (250, 800)), dice.choice(_STEADY)
    first_wins, word = dice.random() < 0.5, dice.choice(("higher", "lower", "louder"))
    ratio, quiet = dice.uniform(1.4, 2.2), dice.uniform(0.15, 0.35)
    pitches, gains = (pitch, pitch), (1.0, quiet)
    if word != "louder":
        pitches, gains = (pitch * ratio, pitch), (1.0, 1.0)
        pitches = pitches if word == "higher" else pitches[::-1]
    notes = [
        np.float32(gain) * synth.note(instrument, at, seconds=0.3)
        for at, gain in zip(pitches, gains, strict=True)
    ]
    samples = join(notes if first_wins else notes[::-1], gap=dice.uniform(0.1, 0.2))
    asks = (f"Which tone is {word}, the first or the second?", f"Which of the two is {word}?")
    return samples, ask("order", *asks, answer="first" if first_wins else "second")


def _tune(dice: random.Random) -> Made:
    """Two instruments, one after the other."""
    first, second = dice.sample(synth.INSTRUMENTS, 2)
    pitch = _somewhere(dice, (250, 700))
    notes = [synth.note(name, pitch, seconds=0.35, start=dice.random()) for name in (first, second)]
    asks = ("Which two instruments do you hear?", "Which instruments are playing?")
    return join(notes, gap=0.08), ask("tune", *asks, answer=f"{first} and {second}")
