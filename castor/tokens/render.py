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
Codes = Int32[np.ndarray, "h w"]  # a drawn picture, code numbers from 0
Draw = Callable[[Media], Codes]

STARTERS: dict[Role, Control] = {
    "system": Control.SYSTEM,
    "user": Control.USER,
    "model": Control.MODEL,
    "page": Control.PAGE,
}
ROLE_OF = {starter: role for role, starter in STARTERS.items()}
SLOTS = {  # kind of signal: ids before, within and after its slots
    "image": (Control.IMAGE_BEGIN, Control.IMAGE, Control.IMAGE_END),
    "audio": (Control.AUDIO_BEGIN, Control.AUDIO, Control.AUDIO_END),
}
CLOSERS = {  # what ends a medium that was begun by this id
    Control.IMAGE_BEGIN: Control.IMAGE_END,
    Control.AUDIO_BEGIN: Control.AUDIO_END,
    Control.VIDEO_BEGIN: Control.VIDEO_END,
    Control.DRAW_BEGIN: Control.DRAW_END,
}


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
        ValueError: a model turn holds a picture and there is no `draw`, or the picture is larger
            than 32 by 32 codes.
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
    media, turns = iter(tokens.media), []
    ids = iter(tokens.ids.tolist())
    for i in ids:
        if i in ROLE_OF:
            turns.append(Turn(ROLE_OF[Control(i)], tuple(_parts(ids, media, vocab))))
    return Document(tuple(turns))


def parse_turn(
    ids: Sequence[int], *, vocab: Vocab, picture: Callable[[Codes], Media] | None = None
) -> Turn:
    """The model turn that these sampled ids spell, up to its end or as far as they go.

    A picture or a call that was cut short is left out. Without `picture`, drawn codes are too.
    """
    reader = Reader(vocab)
    pieces = [piece for i in ids for piece in reader.feed(i)] + reader.close()
    parts: list[Part] = []
    for piece in pieces:
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
        self._held: list[int] | None = None  # ids since a picture or a call began

    def feed(self, i: int) -> list[Text | Call | Result | Codes]:
        """What is complete now that this id has come."""
        if self._held is not None:
            return self._hold(i)
        if i in (Control.DRAW_BEGIN, Control.CALL_BEGIN, Control.RESULT_BEGIN):
            self._held = [i]
            return self.close()
        text = self._utf8.decode(self._vocab.piece_bytes(i))
        return [Text(text)] if text else []

    def close(self) -> list[Text | Call | Result | Codes]:
        """What is left of the text: a broken character shows as U+FFFD."""
        text = self._utf8.decode(b"", final=True)
        self._utf8.reset()
        return [Text(text)] if text else []

    def _hold(self, i: int) -> list[Text | Call | Result | Codes]:
        assert self._held is not None
        if i not in (Control.DRAW_END, Control.CALL_END, Control.RESULT_END):
            self._held.append(i)
            return []
        begin, *inner = self._held
        self._held = None
        if begin == Control.DRAW_BEGIN:
            return [codes_of(inner, self._vocab)]
        return [_function(begin, self._vocab.decode(inner))]


def picture_ids(codes: Codes, vocab: Vocab) -> list[int]:
    """The ids that draw a picture: begin, height, width, its codes row by row, end.

    Raises:
        ValueError: the picture is larger than 32 by 32 codes, or empty.
    """
    height, width = codes.shape
    if not (1 <= height <= SIDES and 1 <= width <= SIDES):
        raise ValueError(f"a drawn picture has 1 to {SIDES} codes a side; got {height} by {width}")
    sides = [Control.SIDE + height, Control.SIDE + width]
    inner = (vocab.codes.start + codes.ravel()).tolist()
    return [Control.DRAW_BEGIN, *sides, *inner, Control.DRAW_END]


def codes_of(inner: Sequence[int], vocab: Vocab) -> Codes:
    """The codes between a picture's begin and end ids."""
    height, width = inner[0] - Control.SIDE, inner[1] - Control.SIDE
    return np.array(inner[2:], np.int32).reshape(height, width) - np.int32(vocab.codes.start)


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
            while next(ids) != CLOSERS[Control(i)]:
                pass
            yield next(media)
        else:
            yield from _spoken(reader.feed(i))
    yield from _spoken(reader.close())


def _spoken(pieces: list[Text | Call | Result | Codes]) -> Iterator[Part]:
    for piece in pieces:
        assert not isinstance(piece, np.ndarray)
        yield piece


def _function_ids(part: Call | Result) -> tuple[Control, Control]:
    if isinstance(part, Call):
        return Control.CALL_BEGIN, Control.CALL_END
    return Control.RESULT_BEGIN, Control.RESULT_END


def _function_text(part: Call | Result) -> str:
    body = part.args if isinstance(part, Call) else part.response
    fields: dict[str, Any] = {"name": part.name, "body": body} | ({"id": part.id} if part.id else {})
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


def _function(begin: int, text: str) -> Call | Result:
    fields: dict[str, Any] = json.loads(text)
    kind = Call if begin == Control.CALL_BEGIN else Result
    return kind(fields["name"], fields["body"], fields.get("id", ""))
