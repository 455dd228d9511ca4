"""Sources of sound: spoken digits, events, read sentences. All are open."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np

from castor.core.content import Document, Media
from castor.core.media import RATE, open_sound, wav
from castor.data.index import Record, Shelf, need, read_index
from castor.data.source import Choice, Listed, Source, Split, answered

STEP = 1600  # samples between the places where a stretch may begin
FAINT = 0.3  # of the loudest stretch's energy: with less, a label may name what is not heard


@dataclass(frozen=True)
class Fsdd:
    """Spoken digits, the digit as a numeral (CC BY-SA 4.0)."""

    asks: ClassVar[tuple[str, ...]] = (
        "Which digit is spoken?",
        "What digit do you hear?",
        "Which number is said?",
    )
    home: ClassVar[str] = "https://github.com/Jakobovski/free-spoken-digit-dataset"

    @property
    def name(self) -> str:
        return "fsdd"

    def open(self, data: Path, split: Split) -> Source:
        """Raises: ValueError: the folder or something in it is missing or damaged."""
        return _open(self, data / "audio/fsdd", split, "digit")


@dataclass(frozen=True)
class Esc10:
    """Sound events of ten kinds (CC BY, CC0).

    The recordings last 5 seconds, much of it silence. Evaluation hears the loudest `seconds` of
    each; training hears a quarter more, from anywhere that is not too faint, so that a change of
    speed leaves enough.
    """

    seconds: float = 2.0

    asks: ClassVar[tuple[str, ...]] = (
        "What do you hear?",
        "What makes this sound?",
        "Name this sound.",
    )
    home: ClassVar[str] = "https://github.com/karolpiczak/ESC-50"

    @property
    def name(self) -> str:
        return "esc10"

    def open(self, data: Path, split: Split) -> Source:
        """Raises: ValueError: the folder or something in it is missing or damaged."""
        return _open(self, data / "audio/esc10", split, "label")


@dataclass(frozen=True)
class ReadSpeech:
    """English sentences read by one voice, to be written down (Apache-2.0)."""

    asks: ClassVar[tuple[str, ...]] = (
        "Transcribe the speech.",
        "Write down what is said.",
        "What does the speaker say?",
    )
    home: ClassVar[str] = "https://keithito.com/LJ-Speech-Dataset/"

    @property
    def name(self) -> str:
        return "read_speech"

    def open(self, data: Path, split: Split) -> Source:
        """Raises: ValueError: the folder or something in it is missing or damaged."""
        return _open(self, data / "audio/read_speech", split, "text")


def _open(spec: Fsdd | Esc10 | ReadSpeech, folder: Path, split: Split, field: str) -> Source:
    records = read_index(folder, split, home=spec.home)
    make = partial(_make, spec, Shelf(folder), field)
    return Listed(spec.name, split, records, make)


def _make(
    spec: Fsdd | Esc10 | ReadSpeech, shelf: Shelf, field: str, record: Record, choice: Choice
) -> Document:
    medium = shelf.medium(record)
    if isinstance(spec, Esc10):
        medium = stretch(medium, spec.seconds, choice)
    question = [medium, choice.one(spec.asks)]
    answer = str(need(record, field, shelf.folder))
    return answered(question, answer, origin=f"{spec.name}/{record['file']}")


def stretch(medium: Media, seconds: float, choice: Choice) -> Media:
    """The loudest stretch of a sound; in training a quarter longer and anywhere loud enough."""
    samples = open_sound(medium.data, medium.mime)
    length = round(seconds * RATE * (1.0 if choice.rng is None else 1.25))
    if len(samples) <= length:
        return medium
    starts = np.arange(0, len(samples) - length + 1, STEP)
    energy = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])
    loud = energy[starts + length] - energy[starts]
    if choice.rng is None:
        start = int(starts[loud.argmax()])
    else:
        start = int(choice.one(starts[loud >= FAINT * loud.max()].tolist()))
    return Media("audio/wav", wav(samples[start : start + length]))
