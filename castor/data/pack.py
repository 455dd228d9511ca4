"""Rendered documents into full rows: segments and positions keep them apart.

Invariant: every id of a packed document stands in exactly one place, in order, and no document
sees another. Documents with media stay whole; text may be cut where a row ends.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int32

from castor.core.batch import Batch, Signal, Slots
from castor.tokens.render import Tokens

LEAST = 8  # a hole of fewer columns is left empty rather than filled with a scrap of text


class Piece(NamedTuple):
    """A rendered document on its way into a row."""

    tokens: Tokens
    source: int
    emphasis: float = 1.0  # multiplies the weights of its targets


class Room(NamedTuple):
    """What a row holds of one kind of signal."""

    slots: int
    window: tuple[int, ...]  # shape of one slot's values
    dtype: np.dtype


class Packed(NamedTuple):
    """A batch, and how many of the documents found no room in it, by source."""

    batch: Batch
    dropped: dict[int, int]


def pack(
    pieces: Sequence[Piece],
    *,
    rows: int,
    length: int,
    rooms: dict[str, Room],
    fillers: Iterable[Piece] = (),
) -> Packed:
    """Rows of `length` tokens: `pieces` by first fit, longest first; `fillers` in what is left.

    Fillers are taken from the iterable only while there is room, and the last one is cut. A text
    longer than a row is spread over several rows.
    """
    table = _Table(rows, length, rooms)
    dropped: dict[int, int] = {}
    whole = [part for piece in pieces for part in _rows_of(piece, length)]
    for piece in sorted(whole, key=lambda piece: -len(piece.tokens.ids)):
        row = table.first_fit(piece)
        if row is None:
            dropped[piece.source] = dropped.get(piece.source, 0) + 1
        else:
            table.place(row, piece)
    _fill(table, fillers)
    return Packed(table.batch(), dropped)


def _fill(table: "_Table", fillers: Iterable[Piece]) -> None:
    coming = iter(fillers)
    while table.left(table.widest()) >= LEAST:
        rest = next(coming, None)
        if rest is None:
            return
        if rest.tokens.signals:  # media cannot be cut
            row = table.first_fit(rest)
            if row is not None:
                table.place(row, rest)
            continue
        while len(rest.tokens.ids) and table.left(table.widest()) >= LEAST:
            row = table.widest()
            size = min(len(rest.tokens.ids), table.left(row))
            table.place(row, part_of(rest, 0, size))
            rest = part_of(rest, size)


def _rows_of(piece: Piece, length: int) -> list[Piece]:
    """The piece, or its stretches of a row each where it is text longer than a row."""
    ids = piece.tokens.ids
    if len(ids) <= length or piece.tokens.signals:
        return [piece]
    return [part_of(piece, start, start + length) for start in range(0, len(ids), length)]


def part_of(piece: Piece, start: int, stop: int | None = None) -> Piece:
    """A stretch of a text's ids."""
    tokens = piece.tokens
    if start == 0 and (stop is None or stop >= len(tokens.ids)):
        return piece
    cut = slice(start, stop)
    return piece._replace(tokens=Tokens(tokens.ids[cut], tokens.weights[cut], (), ()))


class _Table:
    """The arrays of a batch as they fill."""

    def __init__(self, rows: int, length: int, rooms: dict[str, Room]) -> None:
        self._length, self._rooms = length, rooms
        self._ints: Int32[np.ndarray, "6 B T"] = np.zeros((6, rows, length), np.int32)
        self._weights: Float32[np.ndarray, "B T"] = np.zeros((rows, length), np.float32)
        self._used = [0] * rows
        self._segments, self._blocks = [0] * rows, [0] * rows
        self._slots = {kind: [0] * rows for kind in rooms}
        self._media = {
            kind: Slots(
                values=np.zeros((rows, room.slots, *room.window), room.dtype),
                places=np.zeros((rows, room.slots, 2), np.int32),
                columns=np.full((rows, room.slots), length, np.int32),
                blocks=np.zeros((rows, room.slots), np.int32),
            )
            for kind, room in rooms.items()
        }

    def left(self, row: int) -> int:
        return self._length - self._used[row]

    def widest(self) -> int:
        """The row with the most room; of equal ones the first."""
        return max(range(len(self._used)), key=self.left)

    def first_fit(self, piece: Piece) -> int | None:
        wanted: dict[str, int] = {}
        for _, signal in piece.tokens.signals:
            wanted[signal.kind] = wanted.get(signal.kind, 0) + len(signal.places)
        if not wanted.keys() <= self._rooms.keys():
            return None
        for row in range(len(self._used)):
            if self.left(row) >= len(piece.tokens.ids) and all(
                self._slots[kind][row] + n <= self._rooms[kind].slots for kind, n in wanted.items()
            ):
                return row
        return None

    def place(self, row: int, piece: Piece) -> None:
        ids, weights, signals = piece.tokens[:3]
        start, size = self._used[row], len(ids)
        here = slice(start, start + size)
        tokens, targets, segments, positions, blocks, sources = self._ints[:, row]
        self._segments[row] += 1
        tokens[here] = ids
        targets[start : start + size - 1] = ids[1:]
        self._weights[row, start : start + size - 1] = weights[1:] * np.float32(piece.emphasis)
        segments[here] = self._segments[row]
        positions[here] = np.arange(size)
        sources[here] = piece.source
        for column, signal in signals:
            self._blocks[row] += 1
            first = start + column
            blocks[first : first + len(signal.places)] = self._blocks[row]
            self._put(row, signal, first)
        self._used[row] += size

    def batch(self) -> Batch:
        tokens, targets, segments, positions, blocks, sources = self._ints
        return Batch(
            tokens, targets, self._weights, segments, positions, blocks, sources, self._media
        )

    def _put(self, row: int, signal: Signal, column: int) -> None:
        count, used = len(signal.places), self._slots[signal.kind][row]
        slots, here = self._media[signal.kind], slice(used, used + count)
        slots.values[row, here] = signal.values
        slots.places[row, here] = signal.places
        slots.columns[row, here] = np.arange(column, column + count)
        slots.blocks[row, here] = self._blocks[row]
        self._slots[signal.kind][row] += count
