"""Batches by number: which documents a step takes, rendered, packed, by worker processes.

Invariant: a batch is a function of (mixture, data, seed, step), and a group of it, one of the parts
that are packed each by itself, of these and its number. It does not matter which were made before,
in which order, or by how many workers or hosts, so the state to resume from is a step number.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable
from zlib import crc32

import numpy as np

from castor.core.batch import Batch, Signal, joined
from castor.core.content import Document, Media
from castor.core.media import ppm, wav
from castor.data.augment import STILL, Varied
from castor.data.mixture import Mixture, Part
from castor.data.pack import Packed, Piece, Room, pack, part_of
from castor.data.source import Source, Split
from castor.data.workers import started
from castor.tokens.render import Draw, Tokens, render
from castor.tokens.vocab import Vocab

PROBES = 24  # documents of each part that are measured before the first step
FULL = 0.94  # of a batch that first fit fills, where no text fills the rest
SPARE = 0.3  # share of text, and two documents, drawn over what is expected to fit
SAMPLES = {  # a small medium of each kind, to learn the shape of a slot's window
    "image": Media("image/x-portable-pixmap", ppm(np.zeros((8, 8, 3), np.uint8))),
    "audio": Media("audio/wav", wav(np.zeros(1600, np.float32))),
}


@runtime_checkable
class See(Protocol):
    """Media to slots: `castor.models.modality.perceive` with its config filled in."""

    def __call__(
        self,
        media: Media,
        *,
        budget: int | None,
        augment: Callable[[str, np.ndarray], np.ndarray] | None,
    ) -> Sequence[str | Signal]: ...


Seen = list[list[tuple[str, np.ndarray]]]  # of each medium: its pictures and sounds as shown


class Measure(NamedTuple):
    """What a part's documents are like, from a probe of them."""

    tokens: float  # of a document that fits into a row, on average
    targets: float  # weight of such a document's targets, on average
    fits: float  # share of the documents that fit into a row; the others are left out
    fills: bool  # whether it is text that may be cut anywhere


class Loader:
    """Batches of a mixture by step number.

    `see` and `draw` are as in `render`; `capacity` is how many slots of each kind a row has. The
    `rows` of a batch are packed in equal `groups`, each from documents of its own, and nothing is
    read for groups that nobody asks for. The first batches of a new worker are slow: it opens the
    sources and decodes their media.

    Raises:
        ValueError: a source cannot be opened, or no document of a part fits into a row.
    """

    def __init__(
        self,
        mixture: Mixture,
        *,
        data: Path,
        vocab: Vocab,
        see: See,
        draw: Draw | None = None,
        rows: int,
        groups: int = 1,
        length: int,
        capacity: dict[str, int],
        seed: int,
        steps: int,
        workers: int = 0,
        split: Split = "train",
    ) -> None:
        assert rows % groups == 0, f"{rows} rows in {groups} groups"
        self.mixture, self.seed, self.steps, self.workers = mixture, seed, steps, workers
        self.groups = groups
        self._names, self._data = mixture.names, data
        self._split: Split = split
        self.vocab, self._see, self._draw = vocab, see, draw
        self._rows, self._length, self._capacity = rows // groups, length, capacity
        self._sources: list[Source] | None = None
        self._rooms = {kind: _room(see, kind, slots) for kind, slots in capacity.items() if slots}
        self.measures = tuple(self._measure(i) for i in range(len(mixture.parts)))
        self._rates = _Rates(
            self.mixture, self.measures, steps, groups=groups, tokens=self._rows * length
        )

    def batch(self, step: int, groups: range | None = None) -> Batch:
        """The batch of a step, 0 to steps - 1, or only the rows of those groups, one after another.

        Raises:
            ValueError: the run has no such step, or a batch no such groups.
        """
        return self.packed(step, groups).batch

    def packed(self, step: int, groups: range | None = None) -> Packed:
        """What `batch` is, and what found no room in it."""
        if not 0 <= step < self.steps:
            raise ValueError(f"step {step} is not one of the {self.steps} steps of the run")
        made = [self._group(step * self.groups + group) for group in self._chosen(groups)]
        dropped: dict[int, int] = {}
        for part, count in (item for one in made for item in one.dropped.items()):
            dropped[part] = dropped.get(part, 0) + count
        return Packed(joined([one.batch for one in made]), dropped)

    def _chosen(self, groups: range | None) -> range:
        every = range(self.groups)
        if groups is None:
            return every
        if not groups or groups[0] not in every or groups[-1] not in every:
            raise ValueError(f"a batch is packed in groups 0 to {self.groups - 1}, not {groups}")
        return groups

    def _group(self, turn: int) -> Packed:
        whole: list[Piece] = []
        texts: list[tuple[int, int]] = []
        emphases = self._rates.emphases(turn)
        for i, draws in enumerate(self._draws(turn)):
            if self.measures[i].fills:
                texts += [(i, number) for number in draws]
            else:
                whole += [Piece(self.render(i, number), i, emphases[i]) for number in draws]
        fillers = self._texts(texts, emphases, turn)
        return pack(whole, rows=self._rows, length=self._length, rooms=self._rooms, fillers=fillers)

    def _texts(
        self, draws: Sequence[tuple[int, int]], emphases: Sequence[float], turn: int
    ) -> Iterator[Piece]:
        """Texts in a random order, the first one from a random place on.

        A group is a window on an endless row of texts, so it begins within one as it ends within
        one. If it began with one, sources of short texts would get more than their share.
        """
        if not draws:
            return
        rng = np.random.default_rng([self.seed, 1, turn])
        sizes = np.array([self.measures[part].tokens for part, _ in draws])
        first = int(rng.choice(len(draws), p=sizes / sizes.sum()))
        others = [int(k) for k in rng.permutation(len(draws)) if k != first]
        place = rng.random()
        for k in (first, *others):
            part, number = draws[k]
            piece = Piece(self.render(part, number), part, emphases[part])
            if k == first and not piece.tokens.signals:
                piece = part_of(piece, int(place * len(piece.tokens.ids)))
            yield piece

    def document(self, part: int, number: int) -> Document:
        """The document of a draw: the `number`-th that this part gives to the run."""
        return self._drawn(part, number)[0]

    def render(self, part: int, number: int, *, seen: Seen | None = None) -> Tokens:
        """The tokens of a draw, its media varied as the part says.

        What the model is shown of each medium that it sees, as varied, is appended to `seen`.
        """
        document, rng = self._drawn(part, number)
        return self._render(document, self.mixture.parts[part], rng, seen)

    def emphases(self, step: int) -> list[float]:
        """What the weights of each part's targets are multiplied with in that step."""
        return self._rates.emphases(step * self.groups)

    def iterate(self, start: int = 0, groups: range | None = None) -> Generator[Batch, None, None]:
        """Batches from a step to the last one, made ahead by `workers` processes.

        Raises:
            ValueError: a batch has no such groups.
        """
        batch = partial(self.batch, groups=self._chosen(groups))
        if not self.workers or start >= self.steps:
            yield from map(batch, range(start, self.steps))
            return
        ahead = started(batch, range(start, self.steps), workers=self.workers)
        try:
            yield from ahead
        finally:
            ahead.close()

    def __getstate__(self) -> dict:
        """Sources stay behind: a worker opens its own."""
        return {**self.__dict__, "_sources": None}

    def _drawn(self, part: int, number: int) -> tuple[Document, np.random.Generator]:
        source, name = self._opened()[part], self._names[part]
        key = crc32(name.encode())
        rng = np.random.default_rng([self.seed, 2, key, number])
        epoch, place = divmod(number, len(source))
        order = _mixed(_mixed(_mixed(self.seed) ^ key) ^ epoch)
        i = shuffled(place, len(source), key=order)
        return source.document(i, rng), rng

    def _render(
        self,
        document: Document,
        part: Part,
        rng: np.random.Generator,
        seen: Seen | None = None,
    ) -> Tokens:
        augment = part.augment if self._split == "train" else part.augment.held_out

        def see(media: Media) -> Sequence[str | Signal]:
            if augment == STILL and seen is None:
                return self._see(media, budget=part.slots, augment=None)
            varied, shown = Varied(augment, rng), []

            def change(kind: str, values: np.ndarray) -> np.ndarray:
                shown.append((kind, varied.values(kind, values)))
                return shown[-1][1]

            pieces = self._see(media, budget=part.slots, augment=change)
            if seen is not None:
                seen.append(shown)
            return [varied.signal(p) if isinstance(p, Signal) else p for p in pieces]

        try:
            return render(document, vocab=self.vocab, see=see, draw=self._draw)
        except ValueError as error:
            raise ValueError(f"{document.origin or part.source.name}: {error}") from None

    def _opened(self) -> list[Source]:
        if self._sources is None:
            self._sources = [p.source.open(self._data, self._split) for p in self.mixture.parts]
        return self._sources

    def _draws(self, turn: int) -> list[range]:
        phases = [
            crc32(name.encode(), self.seed & 0xFFFFFFFF) / 2**32 for name in self.mixture.names
        ]
        before, after = self._rates.drawn(turn), self._rates.drawn(turn + 1)
        return [
            range(int(a + phase), int(b + phase))
            for a, b, phase in zip(before, after, phases, strict=True)
        ]

    def _measure(self, number: int) -> Measure:
        part, source = self.mixture.parts[number], self._opened()[number]
        rng = np.random.default_rng([3, crc32(source.name.encode())])
        chosen = rng.choice(len(source), min(PROBES, len(source)), replace=False).tolist()
        tokens = [self._render(source.document(i, rng), part, rng) for i in chosen]
        fits = [t for t in tokens if self._fits(t)]
        if not fits:
            shortest = min(tokens, key=lambda t: len(t.ids))
            raise ValueError(
                f"no document of {source.name!r} fits into a row: the shortest of {len(tokens)} "
                f"has {len(shortest.ids)} tokens and {_slots(shortest)} slots; a row has "
                f"{self._length} tokens and {self._capacity} slots. Raise `length` or `capacity`, "
                "or lower the part's `slots`"
            )
        size = float(np.mean([len(t.ids) for t in fits]))
        targets = float(np.mean([t.weights.sum() for t in fits]))
        return Measure(size, targets, len(fits) / len(tokens), source.fills)

    def _fits(self, tokens: Tokens) -> bool:
        room = all(n <= self._capacity.get(kind, 0) for kind, n in _slots(tokens).items())
        return room and (not tokens.signals or len(tokens.ids) <= self._length)


class _Rates:
    """How many documents of each part have been drawn before a turn: a closed form of it.

    A turn is one group of one step: those of a step follow each other, and a group has `tokens`.
    """

    def __init__(
        self,
        mixture: Mixture,
        measures: Sequence[Measure],
        steps: int,
        *,
        groups: int,
        tokens: int,
    ) -> None:
        fills = np.array([m.fills for m in measures])
        sizes = np.array([m.tokens for m in measures])
        targets = np.array([m.targets for m in measures])
        self._ends, self._rates, self._emphases = [0], [], []
        for end, shares, emphases in mixture.spans(steps):
            wanted = np.array(shares) * tokens / sizes
            text = float((wanted * sizes)[fills].sum())
            whole = 1.0 if text else FULL
            spare = 1 + SPARE + 2 * float(sizes[fills].max(initial=0)) / max(text, 1.0)
            self._ends.append(end * groups)
            self._rates.append(wanted * np.where(fills, spare, whole))
            self._emphases.append(_balanced(mixture, np.array(emphases), wanted * targets))

    def drawn(self, turn: int) -> list[float]:
        """Documents of each part in the turns before this one, in fractions of a document."""
        total = np.zeros(len(self._rates[0]))
        for (start, end), rates in zip(pairwise(self._ends), self._rates, strict=True):
            total += rates * max(0, min(turn, end) - start)
        return total.tolist()

    def emphases(self, turn: int) -> list[float]:
        """What the weights of each part's targets are multiplied with."""
        for end, emphases in zip(self._ends[1:], self._emphases, strict=True):
            if turn < end:
                return emphases
        return self._emphases[-1]


def _balanced(mixture: Mixture, emphases: np.ndarray, targets: np.ndarray) -> list[float]:
    """Factors for the weights; their mean over all targets is 1 if parts count the same."""
    if mixture.balance == "tokens":
        return emphases.tolist()
    there = targets > 0
    wanted = np.where(there, emphases, 0)
    even = wanted / np.where(there, targets, 1)
    return (even * targets.sum() / max(float(wanted.sum()), 1e-9)).tolist()


def shuffled(place: int, size: int, *, key: int) -> int:
    """Where `place` goes in a seeded permutation of `range(size)`, without listing it.

    A Feistel network over the next even power of two, walked until the result is in range.
    """
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    while True:
        left, right = place >> half, place & mask
        for turn in range(4):
            left, right = right, left ^ (_mixed(right + (turn << 32) + key) & mask)
        place = left << half | right
        if place < size:
            return place


def _mixed(x: int) -> int:
    """SplitMix64's finaliser."""
    x = (x + 0x9E3779B97F4A7C15) & (2**64 - 1)
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
    return x ^ (x >> 31)


def _slots(tokens: Tokens) -> dict[str, int]:
    """How many slots of each kind a document takes."""
    found: dict[str, int] = {}
    for _, signal in tokens.signals:
        found[signal.kind] = found.get(signal.kind, 0) + len(signal.places)
    return found


def _room(see: See, kind: str, slots: int) -> Room:
    if kind not in SAMPLES:
        raise ValueError(f"a row has no slots of the kind {kind!r}; there are {list(SAMPLES)}")
    (signal,) = see(SAMPLES[kind], budget=None, augment=None)
    assert isinstance(signal, Signal)
    return Room(slots, signal.values.shape[1:], signal.values.dtype)
