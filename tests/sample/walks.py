"""Replies of models that know nothing: ids drawn from those that a guide allows."""

import random
from typing import Literal, NamedTuple

import numpy as np

from castor.sample.ask import Constraint
from castor.tokens.vocab import Control, Vocab

Taste = Literal["any", "first", "last"]
CLOSERS = (b'"', b"@", b"}", b"]", b",", b"0", b"null")  # what to say to be done soon


class Walk(NamedTuple):
    ids: list[int]  # without the last END
    ended: bool


def walk(
    constraint: Constraint, vocab: Vocab, *, seed: int = 0, taste: Taste = "any", most: int = 300
) -> Walk:
    """A reply of at most so many ids. At each step some id is allowed, and none that is nothing."""
    draw, guide = random.Random(seed), constraint.start()
    ids: list[int] = []
    while len(ids) < most:
        may = allowed(guide, vocab)
        i = draw.choice(may) if taste == "any" else may[0 if taste == "first" else -1]
        guide.take(i)
        if i == Control.END:
            assert allowed(guide, vocab) == [Control.END]
            return Walk(ids, True)
        ids.append(i)
    return Walk(ids, False)


def close(constraint: Constraint, vocab: Vocab, ids: list[int], *, most: int = 600) -> list[int]:
    """The reply that began with these ids, brought to its end as soon as it may be."""
    draw, guide = random.Random(0), constraint.start()
    for i in ids:
        guide.take(i)
    ids = list(ids)
    while len(ids) < most:
        may = allowed(guide, vocab)
        ends = [i for i in (Control.END, Control.CALL_END) if i in may]
        soon = [i for closer in CLOSERS for i in may if vocab.piece_bytes(i) == closer]
        i = [*ends, *soon, draw.choice(may)][0 if draw.random() < 0.9 else -1]
        guide.take(i)
        if i == Control.END:
            return ids
        ids.append(i)
    raise AssertionError(f"{most} ids were not enough to end {vocab.decode(ids)!r}")


def allowed(guide, vocab: Vocab) -> list[int]:
    may = guide.allowed()
    assert may.shape == (vocab.size,) and may.dtype == np.bool_
    ids = np.flatnonzero(may).tolist()
    spoken = (Control.END, Control.CALL_BEGIN, Control.CALL_END)
    assert ids and all(vocab.is_text(i) or i in spoken for i in ids)
    return ids


def spell(constraint: Constraint, vocab: Vocab, text: str) -> bool:
    """Whether a reply may be exactly this text, in some ids."""
    guide, rest = constraint.start(), text.encode()
    while rest:
        pieces = {i: vocab.piece_bytes(i) for i in allowed(guide, vocab)}
        fitting = [i for i, piece in pieces.items() if piece and rest.startswith(piece)]
        if not fitting:
            return False
        longest = max(fitting, key=lambda i: len(pieces[i]))
        guide.take(longest)
        rest = rest[len(pieces[longest]) :]
    return bool(guide.allowed()[Control.END])
