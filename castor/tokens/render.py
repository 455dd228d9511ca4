"""The dialogue format: Documents to ids and weights, and back. Nothing else knows the control ids.

    <bos> <user> text <image_begin> <image>* <image_end> text <end> <model> text <end> <eos>

Invariant: `parse(render(document))` has the document's turns, for every document.
"""

import codecs
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32

from castor.core.batch import Signal
from castor.core.content import Call, Document, Media, Part, Result, Role, Text, Turn
from castor.core.shapes import Ids, Weights
from castor.tokens.vocab import SIDES, Control, Vocab

See = Callable[[Media], Sequence[str | Signal]]  # media to slots; a clip gives several pieces
Codes = Int32[np.ndarray, "_ _"]  # a drawn picture: code numbers from 0, of any grid
Draw = Callable[[Media], Codes]

STARTERS: dict[Role, Control] = {
    "system": Control.SYSTEM,
    "user": Control.USER,
    "model": Control.MODEL,
    "page": Control.PAGE,
}
ROLE_OF: dict[int, Role] = {starter: role for role, starter in STARTERS.items()}
SLOTS = {  # kind of signal: ids before, within and after its slots
    "image": (Control.IMAGE_BEGIN, Control.IMAGE, Control.IMAGE_END),
    "audio": (Control.AUDIO_BEGIN, Control.AUDIO, Control.AUDIO_END),
}
CLOSERS: dict[int, int] = {  # what ends a medium that was begun by this id
    Control.IMAGE_BEGIN: Control.IMAGE_END,
    Control.AUDIO_BEGIN: Control.AUDIO_END,
    Control.VIDEO_BEGIN: Control.VIDEO_END,
    Control.DRAW_BEGIN: Control.DRAW_END,
}
WHOLE: dict[int, int] = {  # what a reader holds back until it is complete
    Control.DRAW_BEGIN: Control.DRAW_END,
    Control.CALL_BEGIN: Control.CALL_END,
    Control.RESULT_BEGIN: Control.RESULT_END,
}
Piece = Text | Call | Result | Codes  # what a reader yields


class Tokens(NamedTuple):
    """A rendered document: its ids, what each counts as a target, and the media that ride along."""

    ids: Ids
    weights: Weights  # aligned with ids: how much predicting this id counts; 0 = not learned
    signals: tuple[tuple[int, Signal], ...]  # column of the first slot, and what fills the slots
    media: tuple[Media, ...]  # every medium of the document, in order


def render(
    document: Document,
    *,
    vocab: Vocab,
    see: See,
    draw: Draw | None = None,
    open_turn: Role | None = None,
) -> Tokens:
    """The ids of a document.

    Model turns are learned whole, closing id included; pages are learned but for their media;
    nothing else is. Pictures in a model turn are drawn, as codes from `draw`; all other media are
    seen. With `open_turn` the result ends inside a turn of that role, ready to be continued: the
    document's last turn if it has that role, a new one otherwise.

    Raises:
        ValueError: a model turn holds a picture and there is no `draw`, the picture is larger than
            32 by 32 codes, or a code is not one of the vocabulary's.
    """
    page = _Page(vocab, see, draw)
    page.add([Control.BOS], 0.0)
    turns = list(document.turns)
    last = turns.pop() if turns and turns[-1].role == open_turn else None
    for turn in turns:
        page.turn(turn)
        page.add([Control.END], float(turn.role in ("model", "page")))
    if open_turn is None:
        page.add([Control.EOS], 0.0)
    else:
        page.turn(last or Turn(open_turn, ()))
    return page.tokens()


def parse(tokens: Tokens, *, vocab: Vocab) -> Document:
    """The document that `render` made these tokens from, without its origin and tags."""
    media, ids = iter(tokens.media), iter(tokens.ids.tolist())
    turns = [Turn(ROLE_OF[i], tuple(_parts(ids, media, vocab))) for i in ids if i in ROLE_OF]
    return Document(tuple(turns))


def parse_turn(
    ids: Sequence[int], *, vocab: Vocab, picture: Callable[[Codes], Media] | None = None
) -> Turn:
    """The model turn that these sampled ids spell, up to its end or as far as they go.

    A picture or a call that was cut short or is no picture or call is left out. Without `picture`,
    drawn codes are too.
    """
    reader = Reader(vocab)
    pieces: list[Piece] = []
    for i in ids:
        if i in (Control.END, Control.EOS):
            break
        pieces += reader.feed(i)
    parts: list[Part] = []
    for piece in pieces + reader.close():
        if isinstance(piece, np.ndarray):
            parts += [] if picture is None else [picture(piece)]
        else:
            parts.append(piece)
    return Turn("model", tuple(parts))


class Reader:
    """Ids in, one by one; texts (never half a character), whole pictures and whole calls out."""

    def __init__(self, vocab: Vocab) -> None:
        self._vocab = vocab
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._held: list[int] = []  # ids since a picture or a call began

    def feed(self, i: int) -> list[Piece]:
        """What is complete now that this id has come."""
        if self._held and i == WHOLE[self._held[0]]:
            return self._whole()
        if self._held and self._belongs(i):
            self._held.append(i)
            return []
        self._held = []
        if i in WHOLE:
            pieces = self.close()
            self._held = [i]
            return pieces
        text = self._utf8.decode(self._vocab.piece_bytes(i))
        return [Text(text)] if text else []

    def close(self) -> list[Piece]:
        """What is left of the text; half a character shows as U+FFFD."""
        text = self._utf8.decode(b"", final=True)
        self._utf8.reset()
        self._held = []
        return [Text(text)] if text else []

    def _belongs(self, i: int) -> bool:
        """Whether an id may stand inside what is held."""
        if self._held[0] != Control.DRAW_BEGIN:
            return self._vocab.is_text(i)
        return i in self._vocab.codes or Control.SIDE < i <= Control.SIDE + SIDES

    def _whole(self) -> list[Piece]:
        begin, *inner = self._held
        self._held = []
        if begin == Control.DRAW_BEGIN:
            codes = codes_of(inner, self._vocab)
            return [] if codes is None else [codes]
        function = _function(begin, self._vocab.decode(inner))
        return [] if function is None else [function]


def picture_ids(codes: Codes, vocab: Vocab) -> list[int]:
    """The ids that draw a picture: begin, height, width, its codes row by row, end.

    Raises:
        ValueError: the picture is larger than 32 by 32 codes or empty, or a code is out of range.
    """
    height, width = codes.shape
    if not (1 <= height <= SIDES and 1 <= width <= SIDES):
        raise ValueError(f"a drawn picture has 1 to {SIDES} codes a side; got {height} by {width}")
    if codes.min() < 0 or codes.max() >= len(vocab.codes):
        raise ValueError(
            f"the picture has codes {codes.min()} to {codes.max()}; "
            f"this vocabulary has {len(vocab.codes)} codes"
        )
    sides = [Control.SIDE + height, Control.SIDE + width]
    inner: list[int] = (vocab.codes.start + codes.ravel()).tolist()
    return [Control.DRAW_BEGIN, *sides, *inner, Control.DRAW_END]


def codes_of(inner: Sequence[int], vocab: Vocab) -> Codes | None:
    """The codes between a picture's begin and end ids; None if their number is not right."""
    if len(inner) < 3:
        return None
    height, width = inner[0] - Control.SIDE, inner[1] - Control.SIDE
    codes = np.array(inner[2:], np.int32) - np.int32(vocab.codes.start)
    sides = range(1, SIDES + 1)
    if height not in sides or width not in sides or len(codes) != height * width or min(codes) < 0:
        return None
    return codes.reshape(height, width)


class _Page:
    """Ids and weights as they grow."""

    def __init__(self, vocab: Vocab, see: See, draw: Draw | None) -> None:
        self._vocab, self._see, self._draw = vocab, see, draw
        self._ids: list[int] = []
        self._weights: list[float] = []
        self._signals: list[tuple[int, Signal]] = []
        self._media: list[Media] = []

    def add(self, ids: Sequence[int], weight: float) -> None:
        self._ids += ids
        self._weights += [weight] * len(ids)

    def turn(self, turn: Turn) -> None:
        self.add([STARTERS[turn.role]], 0.0)
        learned = float(turn.role in ("model", "page"))
        for part in turn.parts:
            if isinstance(part, Text):
                self.add(self._vocab.encode(part.text), learned)
            elif isinstance(part, Media):
                self._medium(part, turn.role, learned)
            else:
                begin, end = _function_ids(part)
                inner = self._vocab.encode(_function_text(part))
                self.add([begin, *inner, end], learned)

    def tokens(self) -> Tokens:
        ids = np.array(self._ids, np.int32)
        weights = np.array(self._weights, np.float32)
        return Tokens(ids, weights, tuple(self._signals), tuple(self._media))

    def _medium(self, medium: Media, role: Role, learned: float) -> None:
        self._media.append(medium)
        if role == "model" and medium.mime.startswith("image/"):
            if self._draw is None:
                raise ValueError("a model turn holds a picture, and this model cannot draw")
            self.add(picture_ids(self._draw(medium), self._vocab), learned)
            return
        pieces = self._see(medium)
        clip = len(pieces) != 1 or isinstance(pieces[0], str)
        self.add([Control.VIDEO_BEGIN] if clip else [], 0.0)
        for piece in pieces:
            if isinstance(piece, str):
                self.add(self._vocab.encode(piece), 0.0)
                continue
            begin, slot, end = SLOTS[piece.kind]
            self._signals.append((len(self._ids) + 1, piece))
            self.add([begin, *[slot] * len(piece.values), end], 0.0)
        self.add([Control.VIDEO_END] if clip else [], 0.0)


def _parts(ids: Iterator[int], media: Iterator[Media], vocab: Vocab) -> Iterator[Part]:
    """The parts of one turn; uses up its ids, and the media it holds."""
    reader = Reader(vocab)
    for i in ids:
        if i in (Control.END, Control.EOS):
            break
        if i in CLOSERS:
            yield from _spoken(reader.close())
            while next(ids) != CLOSERS[i]:
                pass
            yield next(media)
        else:
            yield from _spoken(reader.feed(i))
    yield from _spoken(reader.close())


def _spoken(pieces: list[Piece]) -> Iterator[Part]:
    for piece in pieces:
        assert not isinstance(piece, np.ndarray)
        yield piece


def _function_ids(part: Call | Result) -> tuple[Control, Control]:
    if isinstance(part, Call):
        return Control.CALL_BEGIN, Control.CALL_END
    return Control.RESULT_BEGIN, Control.RESULT_END


def _function_text(part: Call | Result) -> str:
    body = part.args if isinstance(part, Call) else part.response
    fields: dict[str, Any] = {"name": part.name, "body": body} | (
        {"id": part.id} if part.id else {}
    )
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


def _function(begin: int, text: str) -> Call | Result | None:
    """The call or result that a text spells; None if it spells none, as a model's may."""
    try:
        fields: dict[str, Any] = json.loads(text)
        name, body, id = fields["name"], fields["body"], fields.get("id", "")
        if not all((isinstance(name, str), isinstance(body, dict), isinstance(id, str))):
            return None
        return (Call if begin == Control.CALL_BEGIN else Result)(name, body, id)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
