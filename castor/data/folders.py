"""The formats that people bring: JSONL Documents with media beside them, texts, and pairs of a
medium and its words.

A record is for training unless its field "split" or, without one, the name of its file or folder
says that it is for evaluation.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple
from zlib import crc32

import numpy as np

from castor.core.content import Document, Media
from castor.core.files import read_bytes
from castor.core.media import MIMES, open_image, ppm
from castor.core.ranges import SHARE
from castor.core.wire import from_wire
from castor.data.index import Record, Shelf, read_jsonl
from castor.data.pixels import squared
from castor.data.source import Choice, Listed, Source, Split, answered
from castor.data.texts import Passages

WORDS = ("text", "caption", "captions", "transcript", "sentence", "title")


@dataclass(frozen=True)
class Jsonl:
    """A .jsonl file of Documents, or a folder of such files, with their media beside them.

    A line is a Document's wire JSON. `fileData` names files relative to the line's own,
    "FILE#OFFSET,LENGTH" for a slice. With `fills`, the documents are text that packing may cut
    anywhere. Where neither a line nor a name says what is for evaluation, the share `held_out` of
    the lines is, by a hash of each.

    Raises:
        ValueError: `held_out` is no share.
    """

    path: str
    fills: bool = False
    held_out: float = 0.0

    def __post_init__(self) -> None:
        SHARE.check(self, "held_out")

    @property
    def name(self) -> str:
        return Path(self.path).stem

    def open(self, data: Path, split: Split) -> Source:
        """Raises: ValueError: a file is missing or damaged, or no line is for the split."""
        place = _place(data, self.path, self.name)
        files = sorted(place.rglob("*.jsonl")) if place.is_dir() else [place]
        if not files:
            raise ValueError(f"{place} holds no .jsonl file")
        found = [line for f in files for line in _lines(f, named=_split_of(f, place))]
        splits = [line.split for line in found]
        if self.held_out and "eval" not in splits:
            splits = _by_hash(found, self.held_out)
        lines = [line for line, wanted in zip(found, splits, strict=True) if wanted == split]
        if not lines:
            raise ValueError(f"{place} has no line for the split {split!r}")
        return Lines(self.name, lines, fills=self.fills)


class Line(NamedTuple):
    """Where a line of a JSONL file begins, and what it is for."""

    path: Path
    number: int  # from 1
    offset: int  # bytes
    split: Split
    hashed: int


class Lines:
    """Lines of JSONL files; only where they stand is in memory."""

    def __init__(self, name: str, lines: list[Line], *, fills: bool) -> None:
        self.name, self.fills, self._lines = name, fills, lines

    def __len__(self) -> int:
        return len(self._lines)

    def document(self, i: int, rng: np.random.Generator) -> Document:
        """Raises: ValueError: the line is no document, or its media cannot be read."""
        path, number, offset = self._lines[i][:3]
        with path.open("rb") as file:
            file.seek(offset)
            wire = json.loads(file.readline())
        try:
            document = from_wire(wire, resolve=partial(_beside, path.parent))
        except (ValueError, OSError) as error:
            raise ValueError(f"{path}, line {number}: {error}") from None
        origin = document.origin or f"{path.name}#{number}"
        return Document(document.turns, origin, document.tags)

    def pictures(self) -> Iterator[Media]:
        rng = np.random.default_rng(0)
        for i in range(len(self)):
            for turn in self.document(i, rng).turns:
                for part in turn.parts if turn.role == "model" else ():
                    if isinstance(part, Media) and part.mime.startswith("image/"):
                        yield part


@dataclass(frozen=True)
class TextFolder:
    """Every .txt and .md file of a folder and of those in it, as passages."""

    path: str

    @property
    def name(self) -> str:
        return Path(self.path).stem

    def open(self, data: Path, split: Split) -> Source:
        """Raises: ValueError: the folder is missing, or has no text for the split."""
        place = _place(data, self.path, self.name)
        if not place.is_dir():
            raise ValueError(f"{place} is a file; a text folder is a folder of .txt and .md files")
        files = [
            path
            for path in sorted(place.rglob("*"))
            if path.suffix in (".txt", ".md") and _split_of(path, place) == split
        ]
        if not files:
            raise ValueError(f"{place} has no .txt or .md file for the split {split!r}")
        return Passages(self.name, files)


@dataclass(frozen=True)
class ImageText:
    """Pictures with their words: x.png with x.txt beside it, or an index (see `_pairs`).

    "describe" shows the picture and asks for the words, "draw" the other way round.
    """

    path: str
    task: Literal["describe", "draw"] = "describe"
    side: int = 256

    asks: ClassVar[dict[str, tuple[str, ...]]] = {
        "describe": ("Describe this picture.", "What does this picture show?"),
        "draw": ("Draw: {}", "Draw a picture of this: {}", "Make a picture: {}"),
    }
    drawn: ClassVar[int] = 64  # pixels along a side of a picture that the model draws

    @property
    def name(self) -> str:
        return f"{Path(self.path).stem}/{self.task}"

    def open(self, data: Path, split: Split) -> Source:
        """Raises: ValueError: the folder is missing or empty, or a medium or its words are."""
        place = _place(data, self.path, self.name)
        pairs = _pairs(place, split, "image")
        if self.task == "describe":
            make = partial(
                _describe, self.name, self.asks["describe"], Shelf(place, side=self.side)
            )
            return Listed(self.name, split, pairs, make)
        picture = partial(self._picture, Shelf(place, side=self.drawn))
        return Listed(self.name, split, pairs, partial(self._draw, picture), picture=picture)

    def _picture(self, shelf: Shelf, pair: tuple[Record, tuple[str, ...]]) -> Media:
        medium = shelf.medium(pair[0])
        pixels = squared(open_image(medium.data, medium.mime), self.drawn)
        return Media(medium.mime, ppm(pixels))

    def _draw(self, picture, pair: tuple[Record, tuple[str, ...]], choice: Choice) -> Document:
        ask = choice.one(self.asks["draw"]).format(choice.one(pair[1]))
        return answered([ask], picture(pair), origin=f"{self.name}/{pair[0]['file']}")


@dataclass(frozen=True)
class SpeechText:
    """Sounds with what is said: x.wav with x.txt beside it, or an index (see `_pairs`)."""

    path: str

    asks: ClassVar[tuple[str, ...]] = ("Transcribe the speech.", "Write down what is said.")

    @property
    def name(self) -> str:
        return Path(self.path).stem

    def open(self, data: Path, split: Split) -> Source:
        """Raises: ValueError: the folder is missing or empty, or a medium or its words are."""
        place = _place(data, self.path, self.name)
        make = partial(_describe, self.name, self.asks, Shelf(place))
        return Listed(self.name, split, _pairs(place, split, "audio"), make)


@dataclass(frozen=True)
class VideoText:
    """Clips with their words: x.mp4 (or a folder x of frames) with x.txt, or an index."""

    path: str
    side: int = 128
    frames: int = 8

    asks: ClassVar[tuple[str, ...]] = ("Describe this clip.", "What happens in this clip?")

    @property
    def name(self) -> str:
        return Path(self.path).stem

    def open(self, data: Path, split: Split) -> Source:
        """Raises: ValueError: the folder is missing or empty, or a medium or its words are."""
        place = _place(data, self.path, self.name)
        make = partial(
            _describe, self.name, self.asks, Shelf(place, side=self.side, frames=self.frames)
        )
        return Listed(self.name, split, _pairs(place, split, "video"), make)


def _describe(
    name: str,
    asks: tuple[str, ...],
    shelf: Shelf,
    pair: tuple[Record, tuple[str, ...]],
    choice: Choice,
) -> Document:
    record, words = pair
    question = [shelf.medium(record), choice.one(asks)]
    origin = f"{name}/{record.get('file') or record['frames'][0]}"
    return answered(question, choice.one(words), origin=origin)


def _pairs(place: Path, split: Split, kind: str) -> list[tuple[Record, tuple[str, ...]]]:
    """Media of a folder with their words (several where there are several wordings).

    They stand in index.jsonl, captions.jsonl or metadata.jsonl, as "file" (or "file_name", or
    "frames") and one of WORDS; without such a file, in a .txt file beside each medium.
    """
    indices = [place / f"{name}.jsonl" for name in ("index", "captions", "metadata")]
    found = next((path for path in indices if path.is_file()), None)
    pairs = _listed(found, split) if found else _beside_words(place, split, kind)
    if not pairs:
        raise ValueError(f"{place} has no {kind} with words beside it for the split {split!r}")
    return pairs


def _listed(index: Path, split: Split) -> list[tuple[Record, tuple[str, ...]]]:
    pairs: list[tuple[Record, tuple[str, ...]]] = []
    for number, record in read_jsonl(index):
        place = f"{index}, line {number}"
        record = {"file": record.pop("file_name", None), **record}
        names = record.get("frames") or [record["file"]]
        for name in names:
            if not isinstance(name, str):
                raise ValueError(f'{place}: the record names no medium ("file" or "frames")')
            if not (index.parent / name).exists():
                raise ValueError(f"{place}: the medium {index.parent / name} is missing")
        words = next((record[field] for field in WORDS if record.get(field)), None)
        if words is None:
            raise ValueError(f"{place}: the record has no words; name them one of {list(WORDS)}")
        if (record.get("split", "train") == "train") == (split == "train"):
            pairs.append((record, (words,) if isinstance(words, str) else tuple(words)))
    return pairs


def _beside_words(place: Path, split: Split, kind: str) -> list[tuple[Record, tuple[str, ...]]]:
    pairs: list[tuple[Record, tuple[str, ...]]] = []
    for words in sorted(place.rglob("*.txt")):
        if _split_of(words, place) != split:
            continue
        media = [p for p in words.parent.glob(f"{words.stem}*") if _is(p, kind, words.stem)]
        if not media:
            raise ValueError(f"{words} has no {kind} of the same name beside it")
        text = words.read_text(encoding="utf-8").strip()
        pairs.append(({"file": str(media[0].relative_to(place))}, (text,)))
    return pairs


def _is(path: Path, kind: str, stem: str) -> bool:
    if path.is_dir():
        return kind == "video" and path.name == stem
    mime = MIMES.get(path.suffix.lower(), "")
    moving = kind == "video" and mime in ("image/gif", "image/webp")
    return path.stem == stem and (mime.startswith(f"{kind}/") or moving)


def _lines(path: Path, *, named: Split) -> Iterator[Line]:
    offset, begun = 0, []
    with path.open("rb") as file:
        for line in file:
            begun.append((offset, crc32(line.strip())))
            offset += len(line)
    for number, record in read_jsonl(path):
        found = record.get("split", named)
        if not isinstance(found, str):
            raise ValueError(
                f'{path}, line {number}: "split" is {found!r}; write "train", "eval" or nothing'
            )
        start, hashed = begun[number - 1]
        yield Line(path, number, start, "train" if found == "train" else "eval", hashed)


def _by_hash(lines: list[Line], share: float) -> list[Split]:
    """The split of each line; of several at least one is held out, and never all."""
    limit = max(share * 2**32, min(line.hashed for line in lines) + 1)
    splits: list[Split] = ["eval" if line.hashed < limit else "train" for line in lines]
    return splits if "train" in splits else ["train"] * len(lines)


def _beside(folder: Path, uri: str) -> bytes:
    """The bytes of a file (or a slice of it) named relative to a folder."""
    return read_bytes(uri if "://" in uri else folder / uri)


def _split_of(path: Path, place: Path) -> Split:
    """The split that a file's own name or a folder it lies in gives it."""
    names = {*path.relative_to(place).parts[:-1], path.stem}
    return "eval" if names & {"eval", "test", "dev", "validation"} else "train"


def _place(data: Path, path: str, name: str) -> Path:
    place = data / path
    if not place.exists():
        raise ValueError(f"the source {name!r} looked for {place} and found nothing there")
    return place
