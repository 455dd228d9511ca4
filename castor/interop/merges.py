"""A vocabulary as `tokenizer.json`: a BPE of merges that gives the ids of SentencePiece.

The two differ where a text holds U+2581 itself, which stands for a space here; Castor spells it in
bytes.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from castor.interop.words import Words
from castor.tokens.proto import CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, Piece
from castor.tokens.vocab import SPACE

SPELLED = (CONTROL, UNKNOWN, USER_DEFINED)  # pieces that are found in a text before it is merged


def tokenizer_json(known: Words) -> dict[str, Any]:
    """What the `tokenizers` library reads."""
    pieces = known.pieces
    added = [
        {
            "id": i,
            "content": piece.text,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": piece.kind == USER_DEFINED,
            "special": piece.kind != USER_DEFINED,
        }
        for i, piece in enumerate(pieces)
        if piece.kind in SPELLED
    ]
    begin = pieces[known.begin].text
    first = {"SpecialToken": {"id": begin, "type_id": 0}}
    one, two = ({"Sequence": {"id": name, "type_id": n}} for n, name in enumerate("AB"))
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": SPACE},
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [first, one],
            "pair": [first, one, two],
            "special_tokens": {begin: {"id": begin, "ids": [known.begin], "tokens": [begin]}},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": pieces[known.unknown].text,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": {piece.text: i for i, piece in enumerate(pieces) if piece.kind != UNUSED},
            "merges": [list(pair) for pair in merges(pieces)],
        },
    }


def merges(pieces: Sequence[Piece]) -> Iterator[tuple[str, str]]:
    """Every pair of pieces that makes a piece, the pieces of the highest scores first."""
    known = {piece.text for piece in pieces if piece.kind == NORMAL}
    made = (piece for piece in pieces if piece.kind == NORMAL and len(piece.text) > 1)
    for text, _, _ in sorted(made, key=lambda piece: -piece.score):
        for cut in range(1, len(text)):
            if text[:cut] in known and text[cut:] in known:
                yield text[:cut], text[cut:]
