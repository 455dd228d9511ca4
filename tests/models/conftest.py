"""Small packed rows with pictures and sound in them, made without the loader."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import jax
import numpy as np
import pytest

from castor.core.batch import Batch, Slots
from castor.models.decoder import Model, init
from castor.models.sizes import TINY, ExpertsConfig, InputsConfig, Layer, ModelConfig, Stage


class Piece(NamedTuple):
    """A document: ids, and for each medium its kind, first column, windows and places."""

    ids: np.ndarray
    media: tuple[tuple[str, int, np.ndarray, np.ndarray], ...]


def document(config: ModelConfig, *, seed: int, media: Sequence[str] = ()) -> Piece:
    """Random ids with a picture of 2 by 2 slots or a sound of 3 in front of the rest."""
    rng = np.random.default_rng(seed)
    found, column = [], 1
    for kind in media:
        if kind == "image":
            side = config.image.patch + 2 * config.image.halo
            shape = (4, config.image.pool**2, side, side, 3)
            values = rng.integers(0, 256, shape, dtype=np.uint8)
            places = np.array([[0, 0], [1, 0], [0, 1], [1, 1]], np.int32)
        else:
            values = rng.normal(size=(3, 7, config.audio.mels)).astype(np.float16)
            places = np.array([[0, 0], [0, 1], [0, 2]], np.int32)
        found.append((kind, column, values, places))
        column += len(places) + 1
    ids = rng.integers(100, config.vocab, column + 2 + seed % 4).astype(np.int32)
    return Piece(ids, tuple(found))


def pack(rows: Sequence[Sequence[Piece]], *, length: int) -> Batch:
    """Documents side by side in rows of this length, every position learned."""
    B = len(rows)
    tokens, targets, segments, positions, blocks = np.zeros((5, B, length), np.int32)
    slots: dict[str, list[list[tuple]]] = {}
    for b, pieces in enumerate(rows):
        start, block = 0, 0
        for number, piece in enumerate(pieces, 1):
            n = len(piece.ids)
            at = slice(start, start + n)
            tokens[b, at], segments[b, at], positions[b, at] = piece.ids, number, np.arange(n)
            targets[b, at] = np.roll(piece.ids, -1)
            for kind, column, values, places in piece.media:
                block += 1
                blocks[b, start + column : start + column + len(places)] = block
                filled = slots.setdefault(kind, [[] for _ in rows])[b]
                for i in range(len(places)):
                    filled.append((values[i], places[i], start + column + i, block))
            start += n
    weights = (segments > 0).astype(np.float32)
    media = {kind: _stack(filled, length) for kind, filled in slots.items()}
    sources = np.zeros_like(tokens)
    return Batch(tokens, targets, weights, segments, positions, blocks, sources, media)


def _stack(rows: list[list[tuple]], length: int) -> Slots:
    most, window = max(map(len, rows)) + 1, next(r[0][0] for r in rows if r)
    values = np.zeros((len(rows), most, *window.shape), window.dtype)
    places = np.zeros((len(rows), most, 2), np.int32)
    index = np.full((len(rows), most), length, np.int32)
    blocks = np.zeros((len(rows), most), np.int32)
    for b, row in enumerate(rows):
        for m, slot in enumerate(row):
            values[b, m], places[b, m], index[b, m], blocks[b, m] = slot
    return Slots(values, places, index, blocks)


DEEP = replace(  # every option that TINY leaves out
    TINY,
    layers=4,
    kv_heads=2,
    pattern=(Layer(), Layer(rope_base=1e6)),
    image=replace(TINY.image, stem=(), layers=1, pool=2),
    audio=replace(TINY.audio, layers=1),
)


MANY = replace(  # every option that open weights have, with what the others leave out
    TINY,
    layers=4,
    kv_heads=2,
    pattern=(
        Layer(window=3, blocks=False),
        Layer(1e6, 2.0, 0.5, head_width=32, kv_heads=1, tied_values=True),
    ),
    further=(Stage((Layer(window=3, blocks=False, keys_of=0, hidden=96),), 2),),
    norm_start=0.0,
    post_norms=True,
    value_norm=True,
    score_scale=0.5,
    score_cap=4.0,
    layer_scale=True,
    experts=ExpertsConfig(count=6, chosen=2, hidden=24),
    inputs=InputsConfig(width=8, vocab=512),
)


@pytest.fixture(
    scope="session", params=["TINY", "DEEP", pytest.param("MANY", marks=pytest.mark.slow)]
)
def sized(request: pytest.FixtureRequest) -> tuple[Model, ModelConfig]:
    """A model with weights and its config: TINY, one with encoder layers and a pattern, and one
    with all that layers of open weights do."""
    return _made(request.param)


@cache
def _made(name: str) -> tuple[Model, ModelConfig]:
    config = {"TINY": TINY, "DEEP": DEEP, "MANY": MANY}[name]
    return init(config, jax.random.key(0)), config


@pytest.fixture
def rows() -> tuple:
    """The functions that make documents and pack them."""
    return document, pack
