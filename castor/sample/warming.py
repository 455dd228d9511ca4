"""Every shape that a desk will ever compute with, compiled before somebody waits for it.

Invariant: after `warm` has run to its end, no request makes JAX compile anything.
"""

from collections.abc import Iterator
from itertools import product

import jax
import numpy as np

from castor.core.batch import Signal
from castor.models import audio, image
from castor.models.cache import fitted
from castor.sample.choose import Sampling
from castor.sample.decode import painted
from castor.sample.engine import Engine
from castor.sample.reading import (
    CHUNK,
    SLOTS,
    TOGETHER,
    Read,
    Reading,
    advance_together,
    encoded,
    prompt_of,
)
from castor.sample.rows import LEAST_LENGTH, bucket
from castor.sample.session import keys
from castor.sample.table import Sitter, Table, widths
from castor.tokens.render import Tokens
from castor.tokens.vocab import Control

GREEDY, ANY = Sampling(), Sampling(temperature=1.0)


def warm(engine: Engine, *, rows: int) -> Iterator[str]:
    """Compile step by step, what is most often needed first; says what was compiled."""
    context = engine.config.context
    for width in widths(context):
        read = _read(engine, width, min(CHUNK, width - 1))
        for length in _chunks(engine, width):
            _read(engine, width, length)
            yield f"prompts of {length} in {width}"
        for other in widths(context):
            fitted(read.cache, room=other)
    for signal in _media(engine):
        encoded(engine.weights, signal, config=engine.shape)
        yield f"{len(signal.values)} slots of {signal.kind}"
    table = Table(
        engine.weights, config=engine.shape, rows_most=rows, draws=engine.codec is not None
    )
    for length, width, sampling in product(table.lengths, widths(context), (GREEDY, ANY)):
        _fill(table, engine, width, length, sampling)
        yield f"{length} rows of {width}"
    for width in widths(context):
        for length in _chunks(engine, width):
            _read(engine, width, length, together=TOGETHER)
            yield f"{TOGETHER} prompts of {length} in {width}"
    if engine.codec is not None:
        codec, config = engine.codec
        side = config.side // config.patch
        for count in sorted({bucket(n) for n in range(1, rows + 1)}):
            painted(codec, np.zeros((count, side, side), np.int32), config=config)
            yield f"{count} pictures"


def _read(engine: Engine, width: int, length: int, *, together: int = 1) -> Read:
    """A prompt of so many ids, read at once, beside others like it."""
    ids = np.full(length, Control.USER, np.int32)
    prompt = prompt_of(Tokens(ids, np.zeros(length, np.float32), (), ()))
    readings = [
        Reading(engine.weights, prompt, config=engine.shape, room=width) for _ in range(together)
    ]
    advance_together(readings, length)
    return readings[0].done


def _chunks(engine: Engine, width: int) -> list[int]:
    """Lengths of chunks, one for each size that is compiled for: media are not parted."""
    images, sounds = engine.config.image, engine.config.audio
    media = (images.slots if images else 0, sounds.slots if sounds else 0)
    longest = min(max(CHUNK, *media), width)
    sizes = {bucket(n, least=LEAST_LENGTH) for n in range(1, longest + 1)}
    return sorted(min(size, width - 1) for size in sizes)


def _fill(table: Table, engine: Engine, width: int, length: int, sampling: Sampling) -> None:
    """A table of that length: it grows to it, answers, may become wider, and empties again."""
    law, read, key = engine.law(sampling), _read(engine, width, LEAST_LENGTH), keys(0, [0])
    sitters = [Sitter(sampling, law, said_most=1) for _ in range(length)]
    for sitter in sitters:
        table.sit(sitter, read, key, room=width)
    jax.block_until_ready(table.call(hurry=True).drawn)
    for wider in widths(engine.config.context):
        table.widened(wider)
    for sitter in sitters:
        table.leave(sitter)


def _media(engine: Engine) -> Iterator[Signal]:
    """A signal of each kind for each size that is compiled for."""
    images, sounds = engine.config.image, engine.config.audio
    if images is not None:
        blank = image.cut(np.zeros((64, 64, 3), np.uint8), config=images)
        yield from _sizes(blank, max(images.slots, images.least))
    if sounds is not None:
        yield from _sizes(audio.cut(np.zeros(16_000, np.float32), config=sounds), sounds.slots)


def _sizes(signal: Signal, most: int) -> Iterator[Signal]:
    for slots in sorted({bucket(n, least=SLOTS) for n in range(1, most + 1)}):
        values, places = (np.repeat(x[:1], slots, axis=0) for x in signal[1:])
        yield Signal(signal.kind, values, places)
