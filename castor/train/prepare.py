"""What a model needs before its first step: a vocabulary, and the codes of what it learns to draw.

Invariant: each is made once per run and kept in its folder; a run that resumes reads it back.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from zlib import crc32

import jax
import numpy as np
from jaxtyping import UInt8

from castor.checkpoint import HEAD, CodecCheckpoint, newest
from castor.core.content import Media, Text
from castor.core.media import open_image
from castor.data.augment import Varied
from castor.data.loader import shuffled
from castor.data.mixture import Mixture, Part
from castor.data.pictures import PictureBook
from castor.data.source import Split
from castor.models.image_codec import encode_pictures
from castor.tokens.learn import learn
from castor.tokens.vocab import Vocab
from castor.train.objectives import Pictures
from castor.train.recipe import FineTune, LearnVocab, Recipe, stored

VOCAB, BOOK = "vocab.model", "pictures_{}.npz"
MOST = 4000  # documents of one source that a vocabulary is learned from


def vocabulary(recipe: Recipe, *, data: Path, out: Path, codes: int) -> Vocab:
    """The run's vocabulary, learned now if it is not there yet.

    Raises:
        ValueError: the one named by the recipe cannot be read, or the texts are too few, or the run
            has a checkpoint that was trained with another.
    """
    path = out / VOCAB
    if not path.exists():
        if isinstance(recipe.vocab, LearnVocab):
            sample = texts(recipe.mixture, data, most=recipe.vocab.characters, seed=recipe.seed)
            learn(sample, size=recipe.vocab.size, codes=codes).save(path)
        else:
            found = stored(recipe.vocab.path)
            folder = newest(found) if found.is_dir() else None
            Vocab.load(folder / VOCAB if folder else found, codes=codes).save(path)
    vocab, last = Vocab.load(path, codes=codes), newest(out)
    before = None if last is None else _vocabulary_of(last)
    if before is not None and before != vocab.digest:
        raise ValueError(
            f"{path} is another vocabulary ({vocab.digest}) than that of {last} ({before}): copy "
            f"the one from there, or name another folder"
        )
    return vocab


def _vocabulary_of(checkpoint: Path) -> str | None:
    """The digest of the vocabulary that a checkpoint was trained with; None if it does not say so,
    which is dealt with where it is opened."""
    with suppress(OSError, ValueError, LookupError, TypeError):
        return json.loads((checkpoint / HEAD).read_text())["vocab"]["digest"]
    return None


def texts(mixture: Mixture, data: Path, *, most: int, seed: int) -> Iterator[str]:
    """Texts of the training documents, each source's in proportion to its share."""
    total = sum(part.share for part in mixture.parts)
    for part in mixture.parts:
        source, left = part.source.open(data, "train"), most * part.share / total
        rng = np.random.default_rng([seed, 4, crc32(source.name.encode())])
        for place in range(min(MOST, len(source))):
            if left <= 0:
                break
            document = source.document(shuffled(place, len(source), key=seed), rng)
            for turn in document.turns:
                for piece in turn.parts:
                    if isinstance(piece, Text):
                        left -= len(piece.text)
                        yield piece.text


def picture_book(
    recipe: Recipe | FineTune, codec: CodecCheckpoint, *, data: Path, out: Path
) -> PictureBook:
    """Codes of every picture that training and held-out documents draw, made now if need be."""
    weights = b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(codec.codec))
    path = out / BOOK.format(hashlib.sha256(weights).hexdigest()[:12])
    if path.exists():
        return PictureBook.load(path)
    encode = jax.jit(partial(encode_pictures, config=codec.config))
    pictures = (
        medium
        for part in recipe.mixture.parts
        for split in ("train", "eval")
        for medium in pictures_of(part, data, split)
    )
    book = PictureBook.build(pictures, lambda pixels: np.asarray(encode(codec.codec, pixels)))
    book.save(path)
    return book


def pictures_of(part: Part, data: Path, split: Split) -> Iterator[Media]:
    """What the model draws in one part; nothing where there is nothing held out."""
    if split == "train" or has_eval(part, data):
        yield from part.source.open(data, split).pictures()


def has_eval(part: Part, data: Path) -> bool:
    """Whether a part has held-out documents."""
    try:
        return len(part.source.open(data, "eval")) > 0
    except ValueError:
        return False


class Gallery:
    """A mixture's drawn pictures in memory; a batch of them is a function of (seed, step).

    Raises:
        ValueError: no part draws anything, or a picture has another size.
    """

    def __init__(
        self, mixture: Mixture, *, data: Path, split: Split, side: int, rows: int, seed: int
    ) -> None:
        self._parts, self._rows, self._seed, self._split = mixture.parts, rows, seed, split
        self._pixels = [_stack(part, data, split, side) for part in mixture.parts]
        shares = [
            part.share if len(pixels) else 0.0
            for part, pixels in zip(mixture.parts, self._pixels, strict=True)
        ]
        if not sum(shares):
            raise ValueError(f"no source of {list(mixture.names)} draws a picture to learn from")
        self._shares = np.array(shares) / sum(shares)

    def batch(self, step: int) -> Pictures:
        """The pictures of a step, varied as their parts say in training."""
        rng = np.random.default_rng([self._seed, 5, step])
        sources = np.sort(rng.choice(len(self._shares), self._rows, p=self._shares))
        chosen = [self._one(int(source), rng) for source in sources]
        return Pictures(np.stack(chosen), sources.astype(np.int32))

    def iterate(self, steps: range, rows: range) -> Iterator[Pictures]:
        """Those rows of the batches of some steps."""
        for pixels, sources in map(self.batch, steps):
            yield Pictures(pixels[rows.start : rows.stop], sources[rows.start : rows.stop])

    def _one(self, source: int, rng: np.random.Generator) -> UInt8[np.ndarray, "s s 3"]:
        pixels = self._pixels[source][rng.integers(len(self._pixels[source]))]
        if self._split == "eval":
            return pixels
        return Varied(self._parts[source].augment, rng).values("image", pixels)


def _stack(part: Part, data: Path, split: Split, side: int) -> UInt8[np.ndarray, "n s s 3"]:
    unique = {medium.data: medium.mime for medium in pictures_of(part, data, split)}
    opened = [open_image(content, mime) for content, mime in unique.items()]
    for pixels in opened:
        if pixels.shape != (side, side, 3):
            raise ValueError(
                f"{part.source.name} draws a picture of {pixels.shape[1]} x {pixels.shape[0]} "
                f"pixels; this codec learns from {side} x {side}"
            )
    return np.stack(opened) if opened else np.zeros((0, side, side, 3), np.uint8)
