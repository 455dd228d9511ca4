"""Text and ids: SentencePiece BPE with byte fallback, control ids before it, picture codes after.

Invariant: `decode(encode(text)) == text` for every text, and `encode` yields only text ids, never
a control id or a code id, whatever the text contains.
"""

import hashlib
from enum import IntEnum
from functools import cached_property
from pathlib import Path

import numpy as np
import sentencepiece
from jaxtyping import Float32

from castor.core.files import read_bytes, write_atomic

CONTROLS = 64  # ids below this are control ids, some of them held in reserve [ours]
SIDES = 32  # a drawn picture is at most this many codes high and wide [ours]
SPACE = "\u2581"  # SentencePiece's sign for a space; the real character is spelled in bytes


class Control(IntEnum):
    """Ids that no text can reach. SIDE_1 to SIDE_32 follow `SIDE` (a picture's height, width)."""

    PAD = 0
    EOS = 1
    BOS = 2
    UNK = 3
    SYSTEM = 4
    USER = 5
    MODEL = 6
    PAGE = 7
    END = 8
    IMAGE_BEGIN = 9
    IMAGE = 10
    IMAGE_END = 11
    AUDIO_BEGIN = 12
    AUDIO = 13
    AUDIO_END = 14
    VIDEO_BEGIN = 15
    VIDEO_END = 16
    DRAW_BEGIN = 17
    DRAW_END = 18
    CALL_BEGIN = 19
    CALL_END = 20
    RESULT_BEGIN = 21
    RESULT_END = 22
    SIDE = 31  # SIDE + n is the id of side n, 1 to 32


class Vocab:
    """A SentencePiece model (its bytes) and a range of `codes` picture codes after its ids.

    Raises:
        ValueError: the bytes are no SentencePiece model, or one without our control ids.
    """

    def __init__(self, model: bytes, *, codes: int) -> None:
        try:
            self._pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
        except RuntimeError as error:
            raise ValueError(f"not a SentencePiece model ({error})") from None
        if self._pieces.get_piece_size() < CONTROLS + 256 or not self._pieces.is_control(8):
            raise ValueError("this SentencePiece model has no control ids; learn one with Castor")
        self.model = model
        self._byte_0 = self._pieces.piece_to_id("<0x00>")  # the 256 bytes follow one another
        self.text_size = self._pieces.get_piece_size()
        self.codes = range(self.text_size, self.text_size + codes)
        self.size = -(-self.codes.stop // 128) * 128  # whole tiles of a matrix product
        self.digest = hashlib.sha256(model + str(codes).encode()).hexdigest()[:12]

    def encode(self, text: str) -> list[int]:
        """The ids of a text; an empty text has none.

        Raises:
            ValueError: the text holds a lone surrogate.
        """
        text.encode()
        chunks = text.replace("\0", f"{SPACE}\0").split(SPACE)
        ids: list[int] = self._pieces.encode(chunks[0])
        for chunk in chunks[1:]:
            if chunk.startswith("\0"):
                ids += [self._byte_0, *self._pieces.encode(chunk[1:])]
            else:
                ids += [*(self._byte_0 + b for b in SPACE.encode()), *self._pieces.encode(chunk)]
        return ids

    def decode(self, ids: list[int]) -> str:
        """The text of text ids; control and code ids stand for nothing, broken UTF-8 for U+FFFD."""
        table = self._bytes
        return b"".join([table[i] for i in ids]).decode("utf-8", "replace")

    def piece_bytes(self, i: int) -> bytes:
        """The UTF-8 bytes, possibly half a character, that one id stands for."""
        return self._bytes[i]

    def is_text(self, i: int) -> bool:
        """Whether the id stands for text, not for a control or a picture code."""
        return CONTROLS <= i < self.text_size

    @cached_property
    def _bytes(self) -> list[bytes]:
        pieces = [self._pieces.id_to_piece(i) for i in range(CONTROLS, self.text_size)]
        table = [b""] * CONTROLS + [piece.replace(SPACE, " ").encode() for piece in pieces]
        table[self._byte_0 : self._byte_0 + 256] = [bytes([b]) for b in range(256)]
        return table + [b""] * (self.size - self.text_size)

    @cached_property
    def byte_lengths(self) -> Float32[np.ndarray, " V"]:
        """How many bytes of UTF-8 each id stands for; 0 for control and code ids."""
        return np.array([len(b) for b in self._bytes], np.float32)

    def save(self, path: Path | str) -> None:
        """Write the SentencePiece model; the number of codes is kept by whoever saves a model."""
        write_atomic(path, self.model)

    @staticmethod
    def load(path: Path | str, *, codes: int) -> "Vocab":
        """Read a vocabulary that `save` wrote.

        Raises:
            ValueError: the file is no vocabulary.
        """
        try:
            return Vocab(read_bytes(path), codes=codes)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
