"""Sources of moving pictures: emoji that move, turn, grow and come in order; characters as they
are written; signed words; scenes. All are open. Sprites of training never move in evaluation.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import numpy as np
from jaxtyping import UInt8

from castor.core.content import Document, Media
from castor.core.files import read_bytes
from castor.core.media import frames_media
from castor.data.images import Emoji
from castor.data.index import Record, Shelf, need, read_index
from castor.data.pixels import Sprite, open_sprite, put, scaled, strokes_drawn, turned
from castor.data.source import Choice, Listed, Source, Split, answered

FRAMES = 4
TIMES = np.arange(FRAMES, dtype=np.float32) / 2  # seconds
GROUNDS = ((255, 255, 255), (250, 240, 214), (96, 132, 168), (38, 44, 60))
CLEAR = 30.0  # least mean difference of a sprite from its ground, of 255
TURNING = 0.75  # of a frame's side: how wide a sprite is that turns; others take half
HARD = 0.4  # share of training clips kept for turns: a fifth of them in all taught none
TURNABLE = 12.0  # least mean difference between a sprite turned 40 degrees one way and the other


class Scene(NamedTuple):
    """What a clip shows and the answer to the question about it."""

    frames: UInt8[np.ndarray, "F side side 3"]
    answer: str


@dataclass(frozen=True)
class MovingEmoji:
    """Clips of emoji with a question whose answer the program knows.

    The sprites of training are the emoji of the training split, those of evaluation all others.
    """

    side: int = 32  # pixels of a frame; a sprite is half of it, or more if it turns

    asks: ClassVar[dict[str, tuple[str, ...]]] = {
        "direction": (
            "Which way does it move?",
            "In which direction does the emoji go?",
            "Where is it moving to?",
        ),
        "turn": ("Which way does it turn?", "In which sense does the emoji rotate?"),
        "order": ("Where does the first one appear?", "On which side is the first emoji?"),
        "count": ("How many times does it appear?", "Count how often the emoji appears."),
        "size": ("Does it grow or shrink?", "How does the size of the emoji change?"),
    }

    @property
    def name(self) -> str:
        return "moving_emoji"

    def open(self, data: Path, split: Split) -> Source:
        """Raises: ValueError: the folder of emoji or something in it is missing or damaged."""
        folder = data / "image/noto_emoji"
        records = read_index(folder, split, home=Emoji.home)
        return Sprites(self, split, folder, records)


class Sprites:
    """Moving emoji: document i moves sprite i, in evaluation once for each question."""

    fills = False

    def __init__(
        self, spec: MovingEmoji, split: Split, folder: Path, records: list[Record]
    ) -> None:
        self.name, self._spec, self._split = spec.name, spec, split
        self._folder, self._records = folder, records
        self._sprites: dict[tuple[int, int], Sprite] = {}
        self._turnable: dict[int, bool] = {}

    def __len__(self) -> int:
        return len(self._records) * (1 if self._split == "train" else len(self._spec.asks))

    def document(self, i: int, rng: np.random.Generator) -> Document:
        questions = list(self._spec.asks)
        if self._split == "train":
            number, choice = i, Choice(rng)
            kind = "turn" if choice.happens(HARD) else choice.one(questions)
        else:
            rng = np.random.default_rng([7, i])
            number, kind = i // len(questions), questions[i % len(questions)]
            choice = Choice(None)
        if kind == "turn" and not self._can_turn(number):
            kind = "direction"  # nobody can see a ball turn
        scene = _SHOWS[kind](self, number, rng)
        ask = choice.one(self._spec.asks[kind])
        caption = need(self._records[number], "caption", self._folder)
        clip = frames_media(scene.frames, TIMES)
        document = answered([clip, ask], scene.answer, origin=f"{self.name}/{kind}/{caption}")
        return Document(document.turns, document.origin, frozenset({kind}))

    def pictures(self) -> Iterator[Media]:
        yield from ()

    def other(self, number: int, rng: np.random.Generator) -> Sprite:
        """A sprite of the same split that is not this one."""
        step = 1 + int(rng.integers(max(1, len(self._records) - 1)))
        return self.sprite((number + step) % len(self._records))

    def sprite(self, number: int, *, share: float = 0.5) -> Sprite:
        """A sprite that is that share of a frame wide."""
        side = round(self._spec.side * share)
        if (number, side) not in self._sprites:
            record = self._records[number]
            path = self._folder / record["file"]
            cut = f"#{record['offset']},{record['length']}" if "offset" in record else ""
            self._sprites[number, side] = open_sprite(read_bytes(f"{path}{cut}"), side)
        return self._sprites[number, side]

    def canvas(
        self, sprites: list[Sprite], rng: np.random.Generator
    ) -> UInt8[np.ndarray, "F side side 3"]:
        """Empty frames of a ground on which the sprites can be seen."""
        clear = [g for g in GROUNDS if all(_contrast(s, g) >= CLEAR for s in sprites)]
        ground = clear[int(rng.integers(len(clear)))] if clear else GROUNDS[-1]
        side = self._spec.side
        return np.full((FRAMES, side, side, 3), ground, np.uint8)

    def _can_turn(self, number: int) -> bool:
        if number not in self._turnable:
            sprite = self.sprite(number, share=TURNING)
            pages = np.full((2, *sprite.shape[:2], 3), 255, np.uint8)
            for page, degrees in zip(pages, (40, -40), strict=True):
                put(page, turned(sprite, degrees), x=0, y=0)
            change = np.abs(pages[0].astype(np.float32) - pages[1]).mean()
            self._turnable[number] = bool(change >= TURNABLE)
        return self._turnable[number]


def _direction(source: Sprites, number: int, rng: np.random.Generator) -> Scene:
    sprite = source.sprite(number)
    frames = source.canvas([sprite], rng)
    room = frames.shape[1] - sprite.shape[0]
    step = int(rng.integers(max(1, room // (FRAMES + 1)), room // (FRAMES - 1) + 1))
    start = int(rng.integers(room - step * (FRAMES - 1) + 1))
    along = [start + step * i for i in range(FRAMES)]
    across = int(rng.integers(room + 1))
    answer = ("right", "left", "down", "up")[int(rng.integers(4))]
    if answer in ("left", "up"):
        along.reverse()
    for frame, at in zip(frames, along, strict=True):
        x, y = (at, across) if answer in ("left", "right") else (across, at)
        put(frame, sprite, x=x, y=y)
    return Scene(frames, answer)


def _turn(source: Sprites, number: int, rng: np.random.Generator) -> Scene:
    sprite = source.sprite(number, share=TURNING)
    frames = source.canvas([sprite], rng)
    x, y = rng.integers(frames.shape[1] - sprite.shape[0] + 1, size=2).tolist()
    clockwise = bool(rng.integers(2))
    start, step = rng.uniform(-30, 30), rng.uniform(25, 45)
    for i, frame in enumerate(frames):
        degrees = start + step * i * (1 if clockwise else -1)
        put(frame, turned(sprite, degrees), x=x, y=y)
    return Scene(frames, "clockwise" if clockwise else "counterclockwise")


def _order(source: Sprites, number: int, rng: np.random.Generator) -> Scene:
    sprites = [source.sprite(number), source.other(number, rng)]
    frames = source.canvas(sprites, rng)
    room = frames.shape[1] - sprites[0].shape[0]
    sides = [("left", "right"), ("top", "bottom")][int(rng.integers(2))]
    if rng.integers(2):
        sides = sides[::-1]
    times = np.sort(rng.choice(FRAMES, 2, replace=False)).tolist()
    stays = bool(rng.integers(2))  # whether they stay once they have come
    for sprite, side, first in zip(sprites, sides, times, strict=True):
        along = 0 if side in ("left", "top") else room
        across = int(rng.integers(room + 1))
        x, y = (along, across) if side in ("left", "right") else (across, along)
        for frame in frames[first : None if stays else first + 1]:
            put(frame, sprite, x=x, y=y)
    return Scene(frames, sides[0])


def _count(source: Sprites, number: int, rng: np.random.Generator) -> Scene:
    sprite = source.sprite(number)
    frames = source.canvas([sprite], rng)
    count = int(rng.integers(1, FRAMES + 1))
    room = frames.shape[1] - sprite.shape[0]
    for i in rng.choice(FRAMES, count, replace=False):
        x, y = rng.integers(room + 1, size=2).tolist()
        put(frames[i], sprite, x=x, y=y)
    return Scene(frames, str(count))


def _size(source: Sprites, number: int, rng: np.random.Generator) -> Scene:
    sprite = source.sprite(number)
    frames = source.canvas([sprite], rng)
    full = frames.shape[1]
    sizes = np.linspace(rng.uniform(0.25, 0.4), rng.uniform(0.7, 1.0), FRAMES) * full
    grows = bool(rng.integers(2))
    x, y = rng.uniform(0, 1, 2)
    for frame, size in zip(frames, sizes if grows else sizes[::-1], strict=True):
        changed = scaled(sprite, max(2, round(float(size))))
        room = full - changed.shape[0]
        put(frame, changed, x=round(x * room), y=round(y * room))
    return Scene(frames, "it grows" if grows else "it shrinks")


_SHOWS = {
    "direction": _direction,
    "turn": _turn,
    "order": _order,
    "count": _count,
    "size": _size,
}


def _contrast(sprite: Sprite, ground: tuple[int, int, int]) -> float:
    alpha = sprite[..., 3].astype(np.float32)
    change = np.abs(sprite[..., :3].astype(np.float32) - ground).mean(-1)
    return float((change * alpha).sum() / max(1.0, float(alpha.sum())))


@dataclass(frozen=True)
class Strokes:
    """Handwritten characters as they are written, stroke by stroke (omniglot, MIT)."""

    side: int = 48

    asks: ClassVar[dict[str, tuple[str, ...]]] = {
        "count": (
            "How many strokes is this character written with?",
            "Count the strokes of the pen.",
        ),
        "start": ("Where does the pen start?", "In which corner does the writing begin?"),
    }
    extent: ClassVar[float] = 105.0  # the strokes' coordinates go from 0 to this

    @property
    def name(self) -> str:
        return "strokes"

    def open(self, data: Path, split: Split) -> Source:
        """Raises: ValueError: the folder or something in it is missing or damaged."""
        folder = data / "image/omniglot"
        home = "https://github.com/brendenlake/omniglot"
        records = [
            record
            for record in read_index(folder, split, home=home)
            if any(need(record, "strokes", folder))
        ]
        if split == "eval":
            asked = [(record, kind) for record in records for kind in self.asks]
            return Listed(self.name, split, asked, self._one)
        return Listed(self.name, split, records, self._any)

    def _any(self, record: Record, choice: Choice) -> Document:
        return self._one((record, choice.one(list(self.asks))), choice)

    def _one(self, item: tuple[Record, str], choice: Choice) -> Document:
        record, kind = item
        strokes = [stroke for stroke in record["strokes"] if stroke]
        total = sum(map(len, strokes))
        frames = [
            strokes_drawn(
                strokes, points=-(-total * (i + 1) // FRAMES), extent=self.extent, side=self.side
            )
            for i in range(FRAMES)
        ]
        clip = frames_media(np.stack(frames), TIMES)
        answer = str(len(strokes)) if kind == "count" else _corner(strokes)
        origin = f"{self.name}/{kind}/{record.get('alphabet')}#{record.get('offset', 0)}"
        document = answered([clip, choice.one(self.asks[kind])], answer, origin=origin)
        return Document(document.turns, document.origin, frozenset({kind}))


def _corner(strokes: list[list[list[float]]]) -> str:
    """The corner of the character's own box in which its first point lies."""
    points = np.array([point[:2] for stroke in strokes for point in stroke], np.float32)
    x, y = points[0] > (points.min(0) + points.max(0)) / 2
    return f"{'bottom' if y else 'top'} {'right' if x else 'left'}"


@dataclass(frozen=True)
class Filmed:
    """Real clips: signed words ("asl") or titled scenes ("clips"), both CC BY 4.0."""

    set: Literal["asl", "clips"] = "asl"
    side: int = 64
    frames: int = 8

    asks: ClassVar[dict[str, tuple[str, ...]]] = {
        "asl": ("Which word is signed?", "What does this sign mean?"),
        "clips": ("What does this clip show?", "Give this clip a title."),
    }
    home: ClassVar[dict[str, str]] = {
        "asl": "",
        "clips": "https://github.com/intel-iot-devkit/sample-videos",
    }

    @property
    def name(self) -> str:
        return self.set

    def open(self, data: Path, split: Split) -> Source:
        """Raises: ValueError: the folder or something in it is missing or damaged."""
        folder = data / "video" / self.set
        records = read_index(folder, split, home=self.home[self.set])
        make = partial(self._make, Shelf(folder, side=self.side, frames=self.frames))
        return Listed(self.name, split, records, make)

    def _make(self, shelf: Shelf, record: Record, choice: Choice) -> Document:
        field = "gloss" if self.set == "asl" else "title"
        question = [shelf.medium(record), choice.one(self.asks[self.set])]
        origin = f"{self.name}/{record.get('file') or record.get('id')}"
        return answered(question, need(record, field, shelf.folder), origin=origin)
