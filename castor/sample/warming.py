"""Every shape that a desk will ever compute with, compiled before somebody waits for it.

Invariant: after `warm` has run to its end, no request makes JAX compile anything.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import product

import jax
import numpy as np

from castor.core.batch import Signal
from castor.models.cache import fitted
from castor.models.modality import cut_picture, cut_sound
from castor.sample.choose import Sampling
from castor.sample.decode import painted
from castor.sample.embedding import row_lengths, warm_row
from castor.sample.engine import Engine
from castor.sample.reading import (
    CHUNK,
    SLOTS,
    TOGETHER,
    Read,
    Reading,
    advance_together,
    empty_row,
    encoded,
    prompt_of,
)
from castor.sample.rows import LEAST_LENGTH, bucket, widths
from castor.sample.session import keys
from castor.sample.table import Sitter, Table
from castor.tokens.render import Tokens

GREEDY, ANY = Sampling(), Sampling(temperature=1.0)

Step = tuple[str, Callable[[], object]]  # what it compiles, and how


class Warming:
    """Steps of compiling, done one by one as they are iterated over, once."""

    def __init__(self, steps: Iterable[Step]) -> None:
        self._steps = tuple(steps)
        self._count, self._done = len(self._steps), 0

    @property
    def share(self) -> float:
        """Of all steps, those that are over; 1 also where the rest was given up, for a step that
        failed or for want of somebody who goes on. May be read from any thread."""
        return self._done / self._count if self._steps else 1.0

    def __iter__(self) -> Iterator[str]:
        try:
            for what, step in self._steps:
                step()
                self._done += 1
                yield what
        finally:
            self._steps = ()


def warming(engine: Engine, *, rows: int) -> Warming:
    """What this engine needs for so many rows, most often needed first."""
    return Warming(_steps(engine, rows))


def _steps(engine: Engine, rows: int) -> Iterator[Step]:
    if engine.embedder is not None:
        for length in row_lengths(engine.config.context):
            yield f"texts of {length}", partial(warm_row, engine, length)
        return
    spans = widths(engine.config.context)
    for width in spans:
        for length in _chunks(engine, width):
            yield f"prompts of {length} in {width}", partial(_read, engine, width, [length])
        yield f"rows of {width} in others", partial(_refit, engine, width)
    for signal in _media(engine):
        look = partial(encoded, engine.weights, signal, config=engine.shape)
        yield f"{len(signal.values)} slots of {signal.kind}", look
    table = Table(
        engine.weights, config=engine.shape, rows_most=rows, draws=engine.codec is not None
    )
    for length, width, sampling in product(table.lengths, spans, (GREEDY, ANY)):
        yield f"{length} rows of {width}", partial(_fill, table, engine, width, length, sampling)
    for width in spans:
        for lengths in _together(engine, width):
            read = partial(_read, engine, width, lengths)
            yield f"prompts of {sum(lengths)} together in {width}", read
    if engine.codec is not None:
        codec, config = engine.codec
        side = config.side // config.patch
        for count in sorted({bucket(n) for n in range(1, rows + 1)}):
            codes = np.zeros((count, side, side), np.int32)
            yield f"{count} pictures", partial(painted, codec, codes, config=config)


def _read(engine: Engine, width: int, lengths: Sequence[int]) -> Read:
    """Prompts of so many ids, read at once; the first one's row."""
    empty = empty_row(engine.shape, width, str(engine.weights.decoder.embedding.dtype))
    readings = []
    for length in lengths:
        ids = np.full(length, engine.vocab.text.start, np.int32)
        prompt = prompt_of(Tokens(ids, np.zeros(length, np.float32), (), ()))
        reading = Reading(engine.weights, prompt, config=engine.shape, room=width, known=empty)
        readings.append(reading)
    advance_together(readings, max(lengths))
    return readings[0].done


def _refit(engine: Engine, width: int) -> None:
    """A row that was read moves into tables of every width."""
    read = _read(engine, width, [min(CHUNK, width - 1)])
    for other in widths(engine.config.context):
        fitted(read.cache, room=other)


def _chunks(engine: Engine, width: int) -> list[int]:
    """Lengths of chunks, one for each size that is compiled for: media are not parted."""
    images, sounds = engine.config.image, engine.config.audio
    media = (images.slots if images else 0, sounds.slots if sounds else 0)
    longest = min(max(CHUNK, *media), width)
    sizes = {bucket(n, least=LEAST_LENGTH) for n in range(1, longest + 1)}
    return sorted(min(size, width - 1) for size in sizes)


def _together(engine: Engine, width: int) -> Iterator[list[int]]:
    """Lengths of chunks that are read at once, for each size that they are compiled for."""
    for longest in _chunks(engine, width):
        if longest >= min(CHUNK, width - 1):
            yield [longest - 1, 1]
            yield from ([longest] * rows for rows in range(2, TOGETHER + 1))


def _fill(table: Table, engine: Engine, width: int, length: int, sampling: Sampling) -> None:
    """A table of that length: it grows to it, answers, may become wider, and empties again."""
    law, read, key = engine.law(sampling), _read(engine, width, [LEAST_LENGTH]), keys(0, [0])
    sitters = [Sitter(sampling, law, width - 1, said_most=1) for _ in range(length)]
    for sitter in sitters:
        table.sit(sitter, read, key)
    jax.block_until_ready(table.call(hurry=True).drawn)
    for wider in widths(engine.config.context):
        table.widened(wider)
    for sitter in sitters:
        table.leave(sitter)


def _media(engine: Engine) -> Iterator[Signal]:
    """A signal of each kind for each size that is compiled for."""
    images, sounds = engine.config.image, engine.config.audio
    if images is not None:
        blank = cut_picture(np.zeros((64, 64, 3), np.uint8), config=images)
        yield from _sizes(blank, max(images.slots, images.least))
    if sounds is not None:
        yield from _sizes(cut_sound(np.zeros(16_000, np.float32), config=sounds), sounds.slots)


def _sizes(signal: Signal, most: int) -> Iterator[Signal]:
    for slots in sorted({bucket(n, least=SLOTS) for n in range(1, most + 1)}):
        values, places = (np.repeat(x[:1], slots, axis=0) for x in signal[1:])
        yield Signal(signal.kind, values, places)
