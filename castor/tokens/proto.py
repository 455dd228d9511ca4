"""SentencePiece models as lists of pieces: read, and made of other people's tables.

A model is a protocol buffer whose Python classes come with `sentencepiece` and are not typed.
"""

import importlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
BPE = 2


class Piece(NamedTuple):
    """One id as a SentencePiece model describes it."""

    text: str
    score: float
    kind: int  # NORMAL to BYTE


def pieces_of(model: bytes) -> list[Piece]:
    """The ids of a model, in their order.

    Raises:
        ValueError: the bytes are no SentencePiece model.
    """
    return [Piece(p.piece, p.score, p.type) for p in _parsed(model).pieces]


def with_pieces(model: bytes, pieces: Sequence[Piece]) -> bytes:
    """The same model with other pieces.

    Raises:
        ValueError: the bytes are no SentencePiece model.
    """
    proto = _parsed(model)
    del proto.pieces[:]
    for text, score, kind in pieces:
        proto.pieces.add(piece=text, score=score, type=kind)
    return proto.SerializeToString()


def bpe_model(pieces: Sequence[Piece]) -> bytes:
    """A BPE model of these pieces that falls back on bytes and leaves texts as they are."""
    proto = _classes().ModelProto()
    spec = proto.trainer_spec
    spec.model_type, spec.byte_fallback, spec.vocab_size = BPE, True, len(pieces)
    named = {piece.text: i for i, piece in enumerate(pieces)}
    for field, names in (
        ("pad", ("<pad>",)),
        ("eos", ("<eos>", "</s>")),
        ("bos", ("<bos>", "<s>")),
        ("unk", ("<unk>",)),
    ):
        name = next((name for name in names if name in named), "")
        setattr(spec, f"{field}_id", named.get(name, -1))
        setattr(spec, f"{field}_piece", name or f"<{field}>")
    normalizer = proto.normalizer_spec
    normalizer.name, normalizer.add_dummy_prefix = "identity", False
    normalizer.remove_extra_whitespaces = False
    return with_pieces(proto.SerializeToString(), pieces)


def _classes() -> Any:
    return importlib.import_module("sentencepiece.sentencepiece_model_pb2")


def _parsed(model: bytes) -> Any:
    proto = _classes().ModelProto()
    try:
        proto.ParseFromString(model)
    except DecodeError as error:
        raise ValueError(f"not a SentencePiece model ({error})") from None
    return proto
