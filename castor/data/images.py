"""Sources of pictures: drawings, shapes, scenes, characters; and the research sets.

Each spec is a small frozen dataclass with `open(data, split)`; `asks` are its wordings, of which
evaluations use the first. Pictures are read at most `side` pixels high and wide.
"""

import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

from castor.core.content import Document, Media
from castor.core.media import open_image, ppm
from castor.data.index import Record, Shelf, need, read_index
from castor.data.pixels import squared
from castor.data.source import Choice, Listed, Source, Split, answered

DRAWN = 64  # pixels along a side of a picture that the model draws


@dataclass(frozen=True)
class Emoji:
    """Drawings with names: name what is seen, or draw what is named. Open (Apache-2.0).

    `unprompted` is the share of training drawings that nothing asks for, which classifier-free
    guidance needs.
    """

    task: Literal["name", "draw"] = "name"
    side: int = 64
    unprompted: float = 0.05

    asks: ClassVar[dict[str, tuple[str, ...]]] = {
        "name": ("What is this emoji called?", "Name this emoji.", "Which emoji is this?"),
        "draw": ("Draw the emoji: {}", "Draw an emoji: {}", "Make a picture of the emoji {}."),
    }
    home: ClassVar[str] = "https://github.com/googlefonts/noto-emoji"

    @property
    def name(self) -> str:
        return f"emoji/{self.task}"

    def open(self, data: Path, split: Split) -> Source:
        """Raises: ValueError: the folder or something in it is missing or damaged."""
        folder = data / "image/noto_emoji"
        records = read_index(folder, split, home=self.home)
        if self.task == "name":
            shelf = Shelf(folder, side=self.side)
            return Listed(self.name, split, records, partial(self._name, shelf))
        shelf = Shelf(folder, side=DRAWN)
        picture = partial(_square, shelf)
        return Listed(
            self.name, split, records, partial(self._draw, picture, folder), picture=picture
        )

    def _name(self, shelf: Shelf, record: Record, choice: Choice) -> Document:
        ask = choice.one(self.asks["name"])
        caption = need(record, "caption", shelf.folder)
        return answered([shelf.medium(record), ask], caption, origin=_origin(self.name, record))

    def _draw(self, picture, folder: Path, record: Record, choice: Choice) -> Document:
        ask = choice.one(self.asks["draw"]).format(need(record, "caption", folder))
        if choice.happens(self.unprompted):
            ask = ""
        return answered([ask], picture(record), origin=_origin(self.name, record))


@dataclass(frozen=True)
class EasyVqa:
    """Questions about one drawn shape. Open (MIT).

    In training a picture is asked up to `questions` times in one dialogue; with two, one is about
    the colour and one about the shape, so that neither answers the other.
    """

    questions: int = 2
    side: int = 64

    home: ClassVar[str] = "https://github.com/vzhou842/easy-VQA"
    colours: ClassVar[str] = "colou?r|black|gray|blue|teal|green|red|brown|yellow"
    shapes: ClassVar[str] = "what shape|what is the \\w+ shape|rectangle|circle|triangle"

    @property
    def name(self) -> str:
        return "easy_vqa"

    def open(self, data: Path, split: Split) -> Source:
        """Raises: ValueError: the folder or something in it is missing or damaged."""
        folder = data / "image/easy_vqa"
        shelf = Shelf(folder, side=self.side)
        records = read_index(folder, split, home=self.home)
        if split == "eval":
            asked = [(r, qa) for r in records for qa in need(r, "qa", folder)]
            return Listed(self.name, split, asked, partial(self._one, shelf))
        return Listed(self.name, split, records, partial(self._several, shelf))

    def _one(self, shelf: Shelf, item: tuple[Record, list[str]], choice: Choice) -> Document:
        record, (question, answer) = item
        return answered([shelf.medium(record), question], answer, origin=_origin(self.name, record))

    def _several(self, shelf: Shelf, record: Record, choice: Choice) -> Document:
        left = [(q, a, self._topics(q)) for q, a in need(record, "qa", shelf.folder)]
        question, answer, used = choice.one(left)
        document = self._one(shelf, (record, [question, answer]), choice)
        for _ in range(self.questions - 1):
            left = [item for item in left if not item[2] & used]
            if not left:
                break
            question, answer, topics = choice.one(left)
            document = document.then(question, role="user").then(answer)
            used |= topics
        return document

    def _topics(self, question: str) -> frozenset[str]:
        found = {"colour": self.colours, "shape": self.shapes}
        return frozenset(topic for topic, words in found.items() if re.search(words, question))


@dataclass(frozen=True)
class Nlvr:
    """Human sentences about drawn scenes, true or false. Open (CC BY 4.0).

    A picture has 100 x 400 pixels. It is shown whole: a smaller one takes fewer slots than those
    of the playground's claims, and nothing that is learned from them would hold for it.
    """

    side: int = 400

    asks: ClassVar[tuple[str, ...]] = ("{} True or false?", "True or false: {}", "Is this so? {}")
    home: ClassVar[str] = "https://github.com/lil-lab/nlvr"

    @property
    def name(self) -> str:
        return "nlvr"

    def open(self, data: Path, split: Split) -> Source:
        """Raises: ValueError: the folder or something in it is missing or damaged."""
        folder = data / "image/nlvr"
        shelf = Shelf(folder, side=self.side)
        records = read_index(folder, split, home=self.home)
        return Listed(self.name, split, records, partial(self._make, shelf))

    def _make(self, shelf: Shelf, record: Record, choice: Choice) -> Document:
        sentence = need(record, "sentence", shelf.folder).strip().rstrip(".") + "."
        ask = choice.one(self.asks).format(sentence)
        label = str(need(record, "label", shelf.folder)).lower()
        return answered([shelf.medium(record), ask], label, origin=_origin(self.name, record))


@dataclass(frozen=True)
class Omniglot:
    """Handwritten characters: which alphabet are they from? Open (MIT)."""

    side: int = 64

    asks: ClassVar[tuple[str, ...]] = (
        "Which alphabet is this character from?",
        "This character belongs to which alphabet?",
    )
    home: ClassVar[str] = "https://github.com/brendenlake/omniglot"

    @property
    def name(self) -> str:
        return "omniglot"

    def open(self, data: Path, split: Split) -> Source:
        """Raises: ValueError: the folder or something in it is missing or damaged."""
        folder = data / "image/omniglot"
        shelf = Shelf(folder, side=self.side)
        records = read_index(folder, split, home=self.home)
        return Listed(self.name, split, records, partial(self._make, shelf))

    def _make(self, shelf: Shelf, record: Record, choice: Choice) -> Document:
        alphabet = need(record, "alphabet", shelf.folder).replace("_", " ")
        question = [shelf.medium(record), choice.one(self.asks)]
        return answered(question, alphabet, origin=_origin(self.name, record))


@dataclass(frozen=True)
class Cifar10:
    """Photographs of ten kinds of things, the kind as a word. Research only: not for weights that
    are shipped.

    They are of 32 pixels, and are enlarged to `side`, so that they take more slots.
    """

    side: int = 96

    asks: ClassVar[tuple[str, ...]] = (
        "What is in this photo?",
        "What does this photo show?",
        "Name the thing in this photo.",
    )
    home: ClassVar[str] = "https://www.cs.toronto.edu/~kriz/cifar.html"

    @property
    def name(self) -> str:
        return "cifar10"

    def open(self, data: Path, split: Split) -> Source:
        """Raises: ValueError: the folder or something in it is missing or damaged."""
        folder = data / "image/cifar10"
        shelf = Shelf(folder, side=self.side, enlarged=True)
        records = read_index(folder, split, home=self.home)
        return Listed(self.name, split, records, partial(self._make, shelf))

    def _make(self, shelf: Shelf, record: Record, choice: Choice) -> Document:
        label = need(record, "label", shelf.folder)
        question = [shelf.medium(record), choice.one(self.asks)]
        return answered(question, label, origin=_origin(self.name, record))


def _origin(name: str, record: Record) -> str:
    mark = record.get("id")
    return f"{name}/{record.get('file') if mark is None else mark}#{record.get('offset', 0)}"


def _square(shelf: Shelf, record: Record) -> Media:
    """The record's picture as a square that the model can draw: white is added around it."""
    medium = shelf.medium(record)
    pixels = open_image(medium.data, medium.mime)
    if pixels.shape[:2] == (DRAWN, DRAWN):
        return medium
    return Media(medium.mime, ppm(squared(pixels, DRAWN)))
