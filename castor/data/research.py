"""Sources that may be studied but not trained into weights that are shipped: photographs with
captions, scanned receipts, pictures of tables. (CIFAR-10 is beside the other pictures.)
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

from castor.core.content import Document
from castor.data.index import Record, Shelf, need, read_index
from castor.data.source import Choice, Listed, Source, Split, answered


@dataclass(frozen=True)
class Flickr1k:
    """Photographs, five human captions each."""

    side: int = 128

    asks: ClassVar[tuple[str, ...]] = (
        "Describe this photo in one sentence.",
        "What is happening in this photo?",
        "Write a caption for this photo.",
    )
    home: ClassVar[str] = "https://shannon.cs.illinois.edu/DenotationGraph/"

    @property
    def name(self) -> str:
        return "flickr1k"

    def open(self, data: Path, split: Split) -> Source:
        """Raises: ValueError: the folder or something in it is missing or damaged."""
        folder = data / "image/flickr1k"
        records = read_index(folder, split, home=self.home)
        make = partial(self._make, Shelf(folder, side=self.side))
        return Listed(self.name, split, records, make)

    def _make(self, shelf: Shelf, record: Record, choice: Choice) -> Document:
        caption = choice.one(need(record, "captions", shelf.folder))
        question = [shelf.medium(record), choice.one(self.asks)]
        return answered(question, caption, origin=f"{self.name}/{record['file']}")


@dataclass(frozen=True)
class Sroie:
    """Scanned receipts: company, date, address and total."""

    side: int = 448

    asks: ClassVar[dict[str, tuple[str, ...]]] = {
        "total": ("What is the total on this receipt?", "How much was paid?"),
        "date": ("What is the date on this receipt?", "When was this receipt written?"),
        "company": ("Which company wrote this receipt?", "What is the company's name?"),
        "address": ("What is the address on this receipt?", "Where is the company?"),
    }
    home: ClassVar[str] = "https://rrc.cvc.uab.es/?ch=13"

    @property
    def name(self) -> str:
        return "sroie"

    def open(self, data: Path, split: Split) -> Source:
        """Raises: ValueError: the folder or something in it is missing or damaged."""
        folder = data / "image/sroie"
        asked = [
            (record, field)
            for record in read_index(folder, split, home=self.home)
            for field in self.asks
            if field in need(record, "key", folder)
        ]
        make = partial(self._make, Shelf(folder, side=self.side))
        return Listed(self.name, split, asked, make)

    def _make(self, shelf: Shelf, item: tuple[Record, str], choice: Choice) -> Document:
        record, field = item
        question = [shelf.medium(record), choice.one(self.asks[field])]
        return answered(question, record["key"][field], origin=f"{self.name}/{record['file']}")


@dataclass(frozen=True)
class TabMwp:
    """Pictures of tables, a question in words, a short answer. Non-commercial."""

    side: int = 256

    home: ClassVar[str] = "https://promptpg.github.io"

    @property
    def name(self) -> str:
        return "tabmwp"

    def open(self, data: Path, split: Split) -> Source:
        """Raises: ValueError: the folder or something in it is missing or damaged."""
        folder = data / "image/tabmwp"
        records = read_index(folder, split, home=self.home)
        make = partial(self._make, Shelf(folder, side=self.side))
        return Listed(self.name, split, records, make)

    def _make(self, shelf: Shelf, record: Record, choice: Choice) -> Document:
        question = need(record, "question", shelf.folder)
        if record.get("choices"):
            question += " Choose: " + ", ".join(record["choices"]) + "."
        if record.get("unit"):
            question += f" (Unit: {record['unit']})"
        answer = need(record, "answer", shelf.folder)
        origin = f"{self.name}/{record.get('id')}"
        return answered([shelf.medium(record), question], answer, origin=origin)
