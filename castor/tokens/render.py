"""Documents to ids and weights, and back. Nothing else writes or reads control ids.

    <bos> <user> text <image_begin> <image>* <image_end> text <end> <model> text <end> <eos>

is how Castor's own dialogue looks; the vocabulary says which one a model speaks.
Invariant: in Castor's, `parse(render(document))` has the document's turns, for every document.
"""

import codecs
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32

from castor.core.batch import Signal
from castor.core.content import Call, Document, Media, Part, Result, Role, Text, Turn
from castor.core.shapes import Ids, Weights
from castor.tokens.control import SIDES, Control
from castor.tokens.dialogue import Marks, Slots
from castor.tokens.vocab import Vocab

See = Callable[[Media], Sequence[str | Signal]]  # media to slots; a clip gives several pieces
Codes = Int32[np.ndarray, "_ _"]  # a drawn picture: code numbers from 0, of any grid
Draw = Callable[[Media], Codes]
Piece = Text | Call | Result | Codes  # what a reader yields


class Tokens(NamedTuple):
    """A rendered document: its ids, what each counts as a target, and the media that ride along."""

    ids: Ids
    weights: Weights  # aligned with ids: how much predicting this id counts; 0 = not learned
    signals: tuple[tuple[int, Signal], ...]  # column of the first slot, and what fills the slots
    media: tuple[Media, ...]  # every medium of the document, in order
    clips: tuple[tuple[int, int], ...] = ()  # where videos begin and end


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

    A family that has no turn of the system puts its words before the first user's; one whose
    results stand in the model's turn gets them there.

    Raises:
        ValueError: a model turn holds a picture and there is no `draw`, the picture is larger than
            32 by 32 codes, a code is not one of the vocabulary's, or the dialogue has no place for
            a medium, a call, or the system's words.
    """
    page = _Page(vocab, see, draw)
    page.add(vocab.dialogue.begin, 0.0)
    turns = _arranged(document.turns, vocab, open_turn)
    last = turns.pop() if turns and turns[-1].role == open_turn else None
    for turn in turns:
        page.turn(turn)
        page.close(turn.role)
    if open_turn is None:
        page.add(vocab.dialogue.finish, 0.0)
    else:
        page.turn(last or Turn(open_turn, ()), is_open=True)
    return page.tokens()


def parse(tokens: Tokens, *, vocab: Vocab) -> Document:
    """The document that `render` made these tokens from, without its origin and tags."""
    media, ids = iter(tokens.media), iter(tokens.ids.tolist())
    role_of: dict[int, Role] = {}
    for role, marks in vocab.dialogue.opens.items():
        role_of |= {mark: role for mark in marks[:1] if isinstance(mark, int)}
    turns = [Turn(role_of[i], tuple(_parts(ids, media, vocab))) for i in ids if i in role_of]
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
        if i in vocab.dialogue.ends or i in vocab.dialogue.finish:
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
        self._ends = vocab.dialogue.held
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._held: list[int] = []  # ids since a picture or a call began

    def feed(self, i: int) -> list[Piece]:
        """What is complete now that this id has come."""
        if self._held and i == self._ends[self._held[0]]:
            return self._whole()
        if self._held and self._belongs(i):
            self._held.append(i)
            return []
        self._held = []
        if i in self._ends:
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
        dialogue = self._vocab.dialogue
        if dialogue.draws and self._held[0] == Control.DRAW_BEGIN:
            return i in self._vocab.codes or Control.SIDE < i <= Control.SIDE + SIDES
        quote = dialogue.functions and dialogue.functions.quote
        return self._vocab.is_text(i) or (i == quote and not self._is_hidden)

    @property
    def _is_hidden(self) -> bool:
        hidden = self._vocab.dialogue.hidden
        return hidden is not None and self._held[0] == hidden[0]

    def _whole(self) -> list[Piece]:
        held, dialogue = self._held, self._vocab.dialogue
        hidden, self._held = self._is_hidden, []
        if hidden:
            return []
        if dialogue.draws and held[0] == Control.DRAW_BEGIN:
            codes = codes_of(held[1:], self._vocab)
            return [] if codes is None else [codes]
        assert dialogue.functions is not None
        function = dialogue.functions.read(held, self._vocab.decode)
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
    """Ids and weights as they grow. Text waits for what comes after it: one stretch of text of one
    weight is encoded at once."""

    def __init__(self, vocab: Vocab, see: See, draw: Draw | None) -> None:
        self._vocab, self._see, self._draw = vocab, see, draw
        self._ids: list[int] = []
        self._weights: list[float] = []
        self._signals: list[tuple[int, Signal]] = []
        self._media: list[Media] = []
        self._clips: list[tuple[int, int]] = []
        self._text, self._weight = "", 0.0  # that waits, and what it counts

    def add(self, marks: Marks | Sequence[int], weight: float) -> None:
        for mark in marks:
            if isinstance(mark, str):
                self._say(mark, weight)
            else:
                self._flush()
                self._ids.append(mark)
                self._weights.append(weight)

    def turn(self, turn: Turn, *, is_open: bool = False) -> None:
        dialogue = self._vocab.dialogue
        if turn.role not in dialogue.opens:
            raise ValueError(f"the dialogue {dialogue.name} has no turns of the {turn.role}")
        self.add(dialogue.opens[turn.role], 0.0)
        learned = float(turn.role in ("model", "page"))
        if learned or is_open:
            self._flush()  # what a model goes on from is encoded as it will be when it does
        for part in turn.parts:
            if isinstance(part, Text):
                trims = dialogue.trims and turn.role != "page" and not is_open
                self._say(part.text.strip() if trims else part.text, learned)
            elif isinstance(part, Media):
                self._medium(part, turn.role, learned)
            elif dialogue.functions is None:
                kind = type(part).__name__.lower()
                raise ValueError(f"the dialogue {dialogue.name} has no place for a {kind}")
            else:
                said = learned if isinstance(part, Call) or turn.role != "model" else 0.0
                self.add(tuple(dialogue.functions.written(part)), said)
        self._flush()

    def close(self, role: Role) -> None:
        marks = self._vocab.dialogue.closes[role]
        self.add(marks[:1], float(role in ("model", "page")))
        self.add(marks[1:], 0.0)

    def tokens(self) -> Tokens:
        self._flush()
        ids = np.array(self._ids, np.int32)
        weights = np.array(self._weights, np.float32)
        signals, media = tuple(self._signals), tuple(self._media)
        return Tokens(ids, weights, signals, media, tuple(self._clips))

    def _say(self, text: str, weight: float) -> None:
        if weight != self._weight:
            self._flush()
        self._text, self._weight = self._text + text, weight

    def _flush(self) -> None:
        ids = self._vocab.encode(self._text)
        self._ids += ids
        self._weights += [self._weight] * len(ids)
        self._text = ""

    def _medium(self, medium: Media, role: Role, learned: float) -> None:
        self._media.append(medium)
        if role == "model" and medium.mime.startswith("image/"):
            if self._draw is None:
                raise ValueError("a model turn holds a picture, and this model cannot draw")
            self.add(picture_ids(self._draw(medium), self._vocab), learned)
            return
        pieces = self._see(medium)
        if len(pieces) == 1 and not isinstance(pieces[0], str):
            slots = self._vocab.dialogue.slots.get(pieces[0].kind)
            self._signal(pieces[0], slots, medium)
            return
        clip = self._vocab.dialogue.clip
        if clip is None:
            raise ValueError(f"this model's dialogue has no place for {medium.mime}")
        self._flush()
        start = len(self._ids)
        self.add(clip.before, 0.0)
        for n, piece in enumerate(pieces):
            between = clip.between if n and isinstance(piece, str) else ""
            if isinstance(piece, str):
                self._say(between + clip.stamp(piece), 0.0)
            else:
                self._signal(piece, clip.frame if piece.kind == "image" else clip.sound, medium)
        self.add(clip.after, 0.0)
        self._flush()
        self._clips.append((start, len(self._ids)))

    def _signal(self, signal: Signal, slots: Slots | None, medium: Media) -> None:
        if slots is None:
            raise ValueError(f"this model's dialogue has no place for {medium.mime}")
        self.add(slots.before, 0.0)
        self._flush()
        self._signals.append((len(self._ids), signal))
        self.add([slots.slot] * len(signal.values), 0.0)
        self.add(slots.after, 0.0)


def _arranged(turns: Sequence[Turn], vocab: Vocab, open_turn: Role | None) -> list[Turn]:
    """The turns as the dialogue has them."""
    dialogue, arranged = vocab.dialogue, list(turns)
    if dialogue.gap is not None:
        arranged = _without_system(arranged, dialogue.gap)
    if dialogue.functions is not None and dialogue.functions.within:
        arranged = _with_results_within(arranged)
        if open_turn == "model" and arranged and _answers(arranged[-1].parts[-1:]):
            return arranged  # the model goes on in the turn that holds the results
    return arranged


def _without_system(turns: list[Turn], gap: str) -> list[Turn]:
    """The system's words as the beginning of the user's first turn, which comes next."""
    if not turns or turns[0].role != "system":
        return turns
    system, *rest = turns
    user = rest.pop(0) if rest and rest[0].role == "user" else Turn("user", ())
    words = [part.text.strip() for part in system.parts if isinstance(part, Text)]
    begin, *others = user.parts or (Text(""),)
    begin = Text(begin.text.lstrip()) if isinstance(begin, Text) else begin
    return [Turn("user", (Text("".join(words) + gap), begin, *others)), *rest]


def _with_results_within(turns: list[Turn]) -> list[Turn]:
    """A model's call, what the user answers it, and what the model says then, in one turn."""
    arranged: list[Turn] = []
    for turn in turns:
        before = arranged[-1] if arranged else None
        if before is not None and before.role == "model" and before.parts:
            answers = turn.role == "user" and turn.parts and _answers(turn.parts)
            called = isinstance(before.parts[-1], Call)
            if (called and answers) or (turn.role == "model" and _answers(before.parts[-1:])):
                arranged[-1] = Turn("model", (*before.parts, *turn.parts))
                continue
        arranged.append(turn)
    return arranged


def _answers(parts: Sequence[Part]) -> bool:
    """Whether all parts are results."""
    return all(isinstance(part, Result) for part in parts)


def _parts(ids: Iterator[int], media: Iterator[Media], vocab: Vocab) -> Iterator[Part]:
    """The parts of one turn; uses up its ids, and the media it holds."""
    reader, closers = Reader(vocab), _closers(vocab)
    for i in ids:
        if i in vocab.dialogue.ends or i in vocab.dialogue.finish:
            break
        if i in closers:
            yield from _spoken(reader.close())
            while next(ids) != closers[i]:
                pass
            yield next(media)
        else:
            yield from _spoken(reader.feed(i))
    yield from _spoken(reader.close())


def _closers(vocab: Vocab) -> dict[int, int]:
    """What ends a medium that was begun by an id."""
    dialogue = vocab.dialogue
    frames = [] if dialogue.clip is None else [(dialogue.clip.before, dialogue.clip.after)]
    pairs = [(slots.before, slots.after) for slots in dialogue.slots.values()] + frames
    ids = [
        ([m for m in before if isinstance(m, int)], [m for m in after if isinstance(m, int)])
        for before, after in pairs
    ]
    drawn = {int(Control.DRAW_BEGIN): int(Control.DRAW_END)} if dialogue.draws else {}
    return {before[0]: after[0] for before, after in ids if before and after} | drawn


def _spoken(pieces: list[Piece]) -> Iterator[Part]:
    for piece in pieces:
        assert not isinstance(piece, np.ndarray)
        yield piece
