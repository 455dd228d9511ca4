"""The codes of every picture that a run learns to draw, made once before training.

Invariant: a picture is known by the digest of its bytes, so the same picture has the same codes
wherever it comes from.
"""

import hashlib
import io
from collections.abc import Callable, Iterable
from itertools import batched
from pathlib import Path

import numpy as np
from jaxtyping import Int32, UInt8

from castor.core.content import Media
from castor.core.files import read_bytes, write_atomic
from castor.core.media import open_image
from castor.tokens.render import Codes

Encode = Callable[[UInt8[np.ndarray, "n h w 3"]], Int32[np.ndarray, "n a b"]]


class PictureBook:
    """A lookup from picture to codes: what `render` is given as `draw`."""

    def __init__(self, codes: dict[bytes, Codes]) -> None:
        self._codes = codes

    def __len__(self) -> int:
        return len(self._codes)

    def __call__(self, media: Media) -> Codes:
        """The codes of a picture.

        Raises:
            ValueError: the picture is not in the book.
        """
        found = self._codes.get(_digest(media))
        if found is None:
            raise ValueError(
                "a picture to be drawn has no codes: build the picture book from the same mixture"
            )
        return found

    @staticmethod
    def build(media: Iterable[Media], encode: Encode, *, batch: int = 64) -> "PictureBook":
        """The book of these pictures; equal ones are coded once, and `batch` at a time.

        The last batch is filled up with black pictures, so that `encode` sees one shape for each
        size of picture.
        """
        by_size: dict[tuple[int, ...], dict[bytes, UInt8[np.ndarray, "h w 3"]]] = {}
        for medium in media:
            pixels = open_image(medium.data, medium.mime)
            by_size.setdefault(pixels.shape, {})[_digest(medium)] = pixels
        codes: dict[bytes, Codes] = {}
        for size, pictures in by_size.items():
            for group in batched(pictures.items(), batch):
                stack = np.zeros((batch, *size), np.uint8)
                stack[: len(group)] = [pixels for _, pixels in group]
                made = np.asarray(encode(stack), np.int32)
                codes.update(zip((digest for digest, _ in group), made, strict=False))
        return PictureBook(codes)

    def save(self, path: Path | str) -> None:
        """Write the book as one npz file."""
        by_shape: dict[tuple[int, int], list[bytes]] = {}
        for digest, codes in self._codes.items():
            by_shape.setdefault(codes.shape, []).append(digest)
        arrays: dict[str, np.ndarray] = {}
        for (height, width), digests in by_shape.items():
            keys = np.frombuffer(b"".join(digests), np.uint8).reshape(len(digests), -1)
            arrays[f"digests_{height}_{width}"] = keys
            arrays[f"codes_{height}_{width}"] = np.stack([self._codes[d] for d in digests])
        out = io.BytesIO()
        np.savez_compressed(out, allow_pickle=False, **arrays)
        write_atomic(path, out.getvalue())

    @staticmethod
    def load(path: Path | str) -> "PictureBook":
        """Read a book that `save` wrote.

        Raises:
            ValueError: the file is no picture book.
        """
        codes: dict[bytes, Codes] = {}
        try:
            with np.load(io.BytesIO(read_bytes(path)), allow_pickle=False) as arrays:
                for name in arrays.files:
                    kind, shape = name.split("_", 1)
                    if kind == "digests":
                        keys = (row.tobytes() for row in arrays[name])
                        codes.update(zip(keys, arrays[f"codes_{shape}"], strict=True))
        except (ValueError, KeyError, OSError, EOFError) as error:
            raise ValueError(f"{path} is no picture book: {error}") from None
        return PictureBook(codes)


def _digest(media: Media) -> bytes:
    return hashlib.blake2b(media.data, digest_size=16).digest()
