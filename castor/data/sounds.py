"""Sources of sound: spoken digits, events, read sentences. All are open."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from castor.core.content import Document
from castor.data.index import Record, Shelf, need, read_index
from castor.data.source import Choice, Listed, Source, Split, answered


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
    """Sound events of ten kinds (CC BY, CC0)."""

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
    question = [shelf.medium(record), choice.one(spec.asks)]
    answer = str(need(record, field, shelf.folder))
    return answered(question, answer, origin=f"{spec.name}/{record['file']}")
