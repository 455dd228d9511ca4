"""Folders with an `index.jsonl`: one record a line, its media beside it.

Invariant: a record belongs to exactly one split: "train", or anything else, which is evaluation.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from castor.core.content import Media
from castor.core.files import read_bytes
from castor.core.media import (
    MIMES,
    Clip,
    frames_media,
    media_from_file,
    open_image,
    open_sound,
    open_video,
    ppm,
    wav,
)
from castor.data.pixels import fit, resized
from castor.data.source import Split

Record = dict[str, Any]
RATE = 4.0  # frames a second, where a record of frames has no "times"
KEEP_BYTES = 192 * 2**20  # decoded media that one folder may keep in memory


def read_jsonl(path: Path) -> Iterator[tuple[int, Record]]:
    """The records of a file with their line numbers, from 1; empty lines are skipped.

    Raises:
        ValueError: a line is no JSON object.
    """
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}, line {number}: no JSON ({error})") from None
            if not isinstance(record, dict):
                raise ValueError(
                    f"{path}, line {number}: a record is a JSON object, not {record!r:.40}"
                )
            yield number, record


def read_index(folder: Path, split: Split, *, home: str = "") -> list[Record]:
    """The records of one split of a folder; every medium they name is known to be there.

    Raises:
        ValueError: the folder, its index, a split, a field or a medium is missing.
    """
    index = folder / "index.jsonl"
    if not index.is_file():
        where = f"; the set comes from {home}" if home else ""
        raise ValueError(
            f"looked for {index} and found none{where}; see docs/data.md for the layout"
        )
    sizes: dict[str, int] = {}
    kept: list[Record] = []
    for number, record in read_jsonl(index):
        place = f"{index}, line {number}"
        if not isinstance(record.get("split"), str):
            raise ValueError(f'{place}: the record has no "split"; write "train" or "eval"')
        _check_media(folder, record, sizes, place)
        if (record["split"] == "train") == (split == "train"):
            kept.append(record)
    if not kept:
        raise ValueError(f"{index} has no record for the split {split!r}")
    return kept


def need(record: Record, field: str, folder: Path) -> Any:
    """A field that a record must have.

    Raises:
        ValueError: it has not.
    """
    if field not in record:
        name = record.get("file") or record.get("id")
        raise ValueError(
            f"{folder}: the record of {name!r} has no {field!r}; it has {list(record)}"
        )
    return record[field]


class Shelf:
    """The media of one folder, decoded once and kept in the form that is quickest to open again.

    Pictures come as PPM of at most `side` pixels a side (of just that many, if they are to be
    `enlarged`), sounds as 16 kHz WAV, clips as at most `frames` frames. Decoded media are kept
    until they fill KEEP_BYTES; later ones are decoded anew.
    """

    def __init__(
        self, folder: Path, *, side: int | None = None, enlarged: bool = False, frames: int = 8
    ) -> None:
        self.folder, self._side, self._frames = folder, side, frames
        self._enlarged = enlarged
        self._kept: dict[tuple[str, int], Media] = {}
        self._room = KEEP_BYTES

    def medium(self, record: Record) -> Media:
        """The medium of a record, decoded.

        Raises:
            ValueError: its bytes cannot be opened; the file is named.
        """
        key = (str(record.get("file") or record["frames"][0]), int(record.get("offset", 0)))
        if key in self._kept:
            return self._kept[key]
        try:
            medium = self._decoded(record)
        except ValueError as error:
            raise ValueError(f"{self.folder / key[0]}: {error}") from None
        if len(medium.data) <= self._room:
            self._room -= len(medium.data)
            self._kept[key] = medium
        return medium

    def _decoded(self, record: Record) -> Media:
        if "frames" in record:
            paths = _spread(record["frames"], self._frames)
            frames = [open_image((self.folder / p).read_bytes(), "image/jpeg") for p in paths]
            times = record.get("times") or [i / RATE for i in range(len(record["frames"]))]
            stamps = np.array(_spread(times, self._frames), np.float32)
            return self._clip(Clip(np.stack(frames), stamps, None))
        path = self.folder / record["file"]
        if "offset" in record:
            data = self._slice(record)
            mime = MIMES.get(path.suffix.lower(), "image/png")
        else:
            found = media_from_file(path)
            data, mime = found.data, found.mime
        if mime.startswith("image/"):
            pixels = fit(open_image(data, mime), self._side)
            if self._enlarged and self._side:
                pixels = resized(pixels, self._side / max(pixels.shape[:2]))
            return Media("image/x-portable-pixmap", ppm(pixels))
        if mime.startswith("audio/"):
            return Media("audio/wav", wav(open_sound(data, mime)))
        return self._clip(open_video(data, mime))

    def _slice(self, record: Record) -> bytes:
        path, start = self.folder / record["file"], record["offset"]
        return read_bytes(f"{path}#{start},{record['length']}")

    def _clip(self, clip: Clip) -> Media:
        chosen = _spread(range(len(clip.frames)), self._frames)
        frames = np.stack([fit(clip.frames[i], self._side) for i in chosen])
        return frames_media(frames, clip.times[chosen], clip.sound)


def _spread(things: Any, most: int) -> list[Any]:
    """At most that many of them, evenly spread, the first and the last among them."""
    if len(things) <= most:
        return list(things)
    return [things[int(i)] for i in np.linspace(0, len(things) - 1, most).round()]


def _check_media(folder: Path, record: Record, sizes: dict[str, int], place: str) -> None:
    names: list[str] = record.get("frames") or [record.get("file", "")]
    for name in names:
        if not name:
            raise ValueError(f'{place}: the record names no medium ("file" or "frames")')
        if name not in sizes:
            path = folder / name
            if not path.is_file():
                raise ValueError(f"{place}: the medium {path} is missing")
            sizes[name] = path.stat().st_size
    if "offset" in record:
        end = record["offset"] + record.get("length", 0)
        if end > sizes[names[0]]:
            raise ValueError(
                f"{place}: {names[0]} has {sizes[names[0]]} bytes and the record asks for {end}"
            )
