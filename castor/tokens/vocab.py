"""Text and ids: SentencePiece BPE with byte fallback, control ids, and picture codes after them.

Invariant: `decode(encode(text)) == text` for every text, and `encode` yields only text ids, never
a control id or a code id, whatever the text contains.
"""

import hashlib
from functools import cached_property
from pathlib import Path

import numpy as np
import sentencepiece
from jaxtyping import Bool, Float32

from castor.core.files import read_bytes, write_atomic
from castor.tokens.control import CONTROLS, SIDES, Control
from castor.tokens.dialects import dialogue as dialogue_named
from castor.tokens.proto import BYTE, NORMAL, USER_DEFINED, Piece, pieces_of

__all__ = ["CONTROLS", "OURS", "SIDES", "Control", "Vocab", "digest_of"]

SPACE = "\u2581"  # SentencePiece's sign for a space; the real character is spelled in bytes
OURS = "castor"  # the dialogue of the vocabularies that are learned here
FIRST_BYTE = "<0x00>"


class Vocab:
    """A SentencePiece model (its bytes), a range of `codes` picture codes after its ids, and the
    dialogue that its control ids are for. `size` is how many ids a model has; None = as many as
    there are, in whole tiles of 128.

    Raises:
        ValueError: the bytes are no SentencePiece model that spells unknown characters in bytes,
            it lacks a control id of the dialogue, or `size` is too small for it.
    """

    def __init__(
        self, model: bytes, *, codes: int, dialogue: str = OURS, size: int | None = None
    ) -> None:
        try:
            self._pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
        except RuntimeError as error:
            raise ValueError(f"not a SentencePiece model ({error})") from None
        self._byte_0 = self._pieces.piece_to_id(FIRST_BYTE)  # the 256 bytes follow one another
        count = self._pieces.get_piece_size()
        if dialogue == OURS and (count < CONTROLS + 256 or not self._pieces.is_control(8)):
            raise ValueError("this SentencePiece model has no control ids; learn one with Castor")
        if not self._pieces.is_byte(self._byte_0):
            raise ValueError(
                "this SentencePiece model has no byte fallback, so it loses characters"
            )
        self.model = model
        self.codes = range(count, count + codes)
        tiles = -(-self.codes.stop // 128) * 128  # of a matrix product
        self.size = tiles if size is None else size
        if self.size < self.codes.stop:
            raise ValueError(
                f"a model of {size} ids has no room for the {self.codes.stop} of this vocabulary"
            )
        self.dialogue = dialogue_named(dialogue, self._control)
        self.digest = digest_of(model, codes=codes, dialogue=dialogue, size=size)

    @cached_property
    def text(self) -> range:
        """The ids that text is drawn from: the longest run without a control id."""
        edges = np.flatnonzero(np.diff(self._spoken, prepend=False, append=False))
        starts, stops = edges[::2], edges[1::2]
        longest = int(np.argmax(stops - starts))
        return range(int(starts[longest]), int(stops[longest]))

    @property
    def text_size(self) -> int:
        """How many ids there are before the picture codes."""
        return self.codes.start

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
        return i < self.text_size and bool(self._spoken[i])

    @cached_property
    def pieces(self) -> list[Piece]:
        """All ids before the codes, for those who write the vocabulary in another format."""
        return pieces_of(self.model)

    def _control(self, piece: str) -> int:
        i = self._pieces.piece_to_id(piece)
        if self._pieces.id_to_piece(i) != piece or not self._pieces.is_control(i):
            raise ValueError(f"this vocabulary has no control id {piece}")
        return i

    @cached_property
    def _spoken(self) -> Bool[np.ndarray, " n"]:
        """Which ids before the codes are text."""
        return np.array([piece.kind in (NORMAL, USER_DEFINED, BYTE) for piece in self.pieces])

    @cached_property
    def _bytes(self) -> list[bytes]:
        table = [
            piece.text.replace(SPACE, " ").encode() if spoken else b""
            for piece, spoken in zip(self.pieces, self._spoken.tolist(), strict=True)
        ]
        table[self._byte_0 : self._byte_0 + 256] = [bytes([b]) for b in range(256)]
        return table + [b""] * (self.size - self.text_size)

    @cached_property
    def byte_lengths(self) -> Float32[np.ndarray, " V"]:
        """How many bytes of UTF-8 each id stands for; 0 for control and code ids."""
        return np.array([len(b) for b in self._bytes], np.float32)

    def save(self, path: Path | str) -> None:
        """Write the SentencePiece model; all else is kept by whoever saves a model."""
        write_atomic(path, self.model)

    @staticmethod
    def load(
        path: Path | str, *, codes: int, dialogue: str = OURS, size: int | None = None
    ) -> "Vocab":
        """Read a vocabulary that `save` wrote.

        Raises:
            ValueError: the file is no vocabulary.
        """
        try:
            return Vocab(read_bytes(path), codes=codes, dialogue=dialogue, size=size)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None


def digest_of(model: bytes, *, codes: int, dialogue: str = OURS, size: int | None = None) -> str:
    """Twelve hexadecimal digits that equal vocabularies share."""
    more = "" if (dialogue, size) == (OURS, None) else f" {dialogue} {size}"
    return hashlib.sha256(model + f"{codes}{more}".encode()).hexdigest()[:12]
