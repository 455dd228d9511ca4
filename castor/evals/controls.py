"""The same questions with the wrong inputs: what a model scores by guessing from words alone."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from castor.core import media
from castor.core.content import Document, Media


def media_of(document: Document) -> tuple[Media, ...]:
    """Every medium of a document, in order."""
    return tuple(p for turn in document.turns for p in turn.parts if isinstance(p, Media))


def with_media(document: Document, swap: Callable[[int, Media], Media]) -> Document:
    """The document with each medium replaced by `swap(number, medium)`."""
    count = iter(range(len(media_of(document))))
    turns = tuple(
        replace(
            t, parts=tuple(swap(next(count), p) if isinstance(p, Media) else p for p in t.parts)
        )
        for t in document.turns
    )
    return replace(document, turns=turns)


def shuffled(documents: Sequence[Document], *, seed: int) -> list[Document]:
    """Each document with the media of another one: no document keeps its own.

    Where another document has fewer media, its last one is repeated.

    Raises:
        ValueError: there are fewer than two documents to exchange media between.
    """
    if len(documents) < 2:
        raise ValueError("inputs can be shuffled between examples only when there are at least two")
    order: list[int] = np.random.default_rng(seed).permutation(len(documents)).tolist()
    donors = dict(zip(order, [order[-1], *order[:-1]], strict=True))
    return [_given(d, media_of(documents[donors[i]])) for i, d in enumerate(documents)]


def blank(document: Document) -> Document:
    """The document with grey pictures, silent sounds and still grey clips of the same size."""
    return with_media(document, lambda _, medium: _blank(medium))


def _blank(medium: Media) -> Media:
    if medium.mime.startswith("image/"):
        pixels = media.open_image(medium.data, medium.mime)
        return Media("image/x-portable-pixmap", media.ppm(np.full_like(pixels, 128)))
    if medium.mime.startswith("audio/"):
        samples = media.open_sound(medium.data, medium.mime)
        return Media("audio/wav", media.wav(np.zeros_like(samples)))
    clip = media.open_video(medium.data, medium.mime)
    sound = None if clip.sound is None else np.zeros_like(clip.sound)
    return media.frames_media(np.full_like(clip.frames, 128), clip.times, sound)


def _given(document: Document, found: tuple[Media, ...]) -> Document:
    return with_media(document, lambda number, _: found[min(number, len(found) - 1)])
