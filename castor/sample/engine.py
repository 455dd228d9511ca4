"""The engine: documents in, replies out. Nothing above it sees a token id.

Prompts of similar length share a batch; a reply depends on its document, the sampling and its
number in the call, never on the rows beside it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from castor.core.content import Document, Media, Part, Text, Turn
from castor.core.media import open_image, png
from castor.models.decoder import Model
from castor.models.image_codec import Codec, CodecConfig, decode_pictures, encode_pictures
from castor.models.modality import perceive
from castor.models.sizes import ModelConfig
from castor.sample.choose import Sampling, dials
from castor.sample.decode import CALL, Running, judge, read, run, weights_in
from castor.sample.grammar import Rules, rules
from castor.sample.rows import LEAST_LENGTH, bucket, rows_of
from castor.tokens.render import Codes, Reader, Tokens, parse_turn, render
from castor.tokens.vocab import Control, Vocab

ROWS = 32  # most documents in one batch
SIP = 8  # ids between two looks at a stream


@dataclass(frozen=True)
class Reply:
    """What the model said to one document."""

    turn: Turn
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]  # of each id, in nats, before grammar and temperature
    finish: Literal["stop", "length"]
    prompt_tokens: int


@dataclass(frozen=True)
class Score:
    """How likely a text is: lower nats are likelier."""

    nats: float
    tokens: int
    bytes: int  # of UTF-8
    right: int  # tokens that were the likeliest, given those before them

    @property
    def greedy(self) -> bool:
        """Whether greedy decoding would have said exactly this."""
        return self.right == self.tokens


class Engine:
    """A model ready to answer. `precision` is the type that its weights are held in."""

    def __init__(
        self,
        model: Model,
        *,
        config: ModelConfig,
        vocab: Vocab,
        codec: tuple[Codec, CodecConfig] | None = None,
        precision: str = "float32",
    ) -> None:
        if vocab.size != config.vocab:
            raise ValueError(
                f"the vocabulary has {vocab.size} ids but the model was made for {config.vocab}"
            )
        self.model = weights_in(model, precision)
        self.config, self.vocab = config, vocab
        self.codec = None if codec is None else (weights_in(codec[0], "float32"), codec[1])

    def reply(self, documents: Sequence[Document], sampling: Sampling) -> list[Reply]:
        """A model turn for each document; the n-th one draws with seed `sampling.seed + n`.

        Raises:
            ValueError: a document does not fit into the context, or holds what the model cannot
                read; pictures are asked for and the model cannot draw.
        """
        law = self._law(sampling)
        prompts = [self.rendered(document, open_turn="model") for document in documents]
        replies: dict[int, Reply] = {}
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i].ids))
        for start in range(0, len(order), ROWS):
            chosen = order[start : start + ROWS]
            batch = _Session(self, [prompts[i] for i in chosen], chosen, sampling, law)
            while not batch.over:
                batch.advance(CALL)
            for row, i in enumerate(chosen):
                replies[i] = batch.reply(row)
        return [replies[i] for i in range(len(prompts))]

    def stream(self, document: Document, sampling: Sampling) -> Iterator[Part]:
        """The parts of one model turn as they come: texts in pieces, pictures whole.

        The generator's value is the whole Reply. Closing it stops the work.

        Raises:
            ValueError: as `reply`.
        """
        prompt = self.rendered(document, open_turn="model")
        batch = _Session(self, [prompt], [0], sampling, self._law(sampling))
        reader, seen, held = Reader(self.vocab), 0, ""
        while not batch.over:
            batch.advance(SIP)
            ids = batch.ids(0)
            for i in ids[seen:]:
                for piece in reader.feed(i):
                    if isinstance(piece, Text):
                        held += piece.text
                    elif isinstance(piece, np.ndarray):
                        yield from [Text(held)] if held else []
                        held = ""
                        yield self.picture(piece)
            seen = len(ids)
            ready, held = _before_stop(held, sampling.stop)
            yield from [Text(ready)] if ready else []
        reply = batch.reply(0)
        rest = held + "".join(p.text for p in reader.close() if isinstance(p, Text))
        tail = _cut_at_stop(rest, sampling.stop)
        yield from [Text(tail)] if tail else []
        return reply

    def score(self, pairs: Sequence[tuple[Document, str]]) -> list[Score]:
        """How likely it is that each document is answered with exactly this text, end included.

        Raises:
            ValueError: as `reply`.
        """
        judged = []
        for document, answer in pairs:
            asked = len(self.rendered(document, open_turn="model").ids)
            whole = self.rendered(document.then(answer))
            weights = np.where(np.arange(len(whole.ids)) < asked, 0, whole.weights)
            judged.append(whole._replace(weights=weights.astype(np.float32)))
        sizes = [len(answer.encode()) for _, answer in pairs]
        return self._judge(judged, sizes)

    def surprise(self, text: str) -> Score:
        """How likely a page of any length is; each token sees at least half a context before it.

        The first half context sees only what there is.
        """
        ids = self.vocab.encode(text)
        half = self.config.context // 2 - 1
        windows = []
        for start in range(0, len(ids), half):
            past, new = ids[max(0, start - half) : start], ids[start : start + half]
            row = np.array([Control.BOS, Control.PAGE, *past, *new], np.int32)
            learned = np.arange(len(row)) >= len(past) + 2
            windows.append(Tokens(row, learned.astype(np.float32), (), ()))
        parts = self._judge(windows, [0] * len(windows))
        return Score(
            sum(p.nats for p in parts),
            sum(p.tokens for p in parts),
            len(text.encode()),
            sum(p.right for p in parts),
        )

    def rendered(self, document: Document, *, open_turn: Literal["model"] | None = None) -> Tokens:
        """The ids of a document, checked against the context.

        Raises:
            ValueError: it does not fit, or holds what the model cannot read.
        """
        tokens = render(
            document,
            vocab=self.vocab,
            see=lambda media: perceive(media, config=self.config),
            draw=self.codes if self.codec else None,
            open_turn=open_turn,
        )
        if len(tokens.ids) > self.config.context:
            raise ValueError(
                f"the document takes {len(tokens.ids)} tokens; this model's context holds "
                f"{self.config.context}"
            )
        return tokens

    def codes(self, media: Media) -> Codes:
        """The codes of a picture, cropped to whole patches."""
        assert self.codec is not None
        codec, config = self.codec
        pixels = open_image(media.data, media.mime)
        height, width = (side - side % config.patch for side in pixels.shape[:2])
        codes = encode_pictures(codec, pixels[None, :height, :width], config=config)
        return np.asarray(codes[0])

    def picture(self, codes: Codes) -> Media:
        """The picture that codes stand for, as a PNG.

        Raises:
            ValueError: the model cannot draw.
        """
        if self.codec is None:
            raise ValueError("this model cannot draw: it has no picture codec")
        codec, config = self.codec
        return Media(
            "image/png", png(np.asarray(decode_pictures(codec, codes[None], config=config)[0]))
        )

    def _law(self, sampling: Sampling) -> Rules:
        if sampling.pictures != "never" and self.codec is None:
            raise ValueError("this model cannot draw: it has no picture codec")
        return rules(self.vocab, pictures=sampling.pictures, grid=sampling.grid)

    def _judge(self, documents: Sequence[Tokens], sizes: Sequence[int]) -> list[Score]:
        scores: dict[int, Score] = {}
        order = sorted(range(len(documents)), key=lambda i: len(documents[i].ids))
        for start in range(0, len(order), ROWS):
            chosen = order[start : start + ROWS]
            longest = len(documents[chosen[-1]].ids)
            length = min(bucket(longest, least=LEAST_LENGTH), max(self.config.context, longest))
            rows = rows_of([documents[i] for i in chosen], length=length)
            nats, right, count = judge(self.model, rows.batch(), config=self.config)
            for row, i in enumerate(chosen):
                scores[i] = Score(float(nats[row]), int(count[row]), sizes[i], int(right[row]))
        return [scores[i] for i in range(len(documents))]


class _Session:
    """One batch of prompts on its way to replies."""

    def __init__(
        self,
        engine: Engine,
        prompts: Sequence[Tokens],
        numbers: Sequence[int],
        sampling: Sampling,
        law: Rules,
    ) -> None:
        self._engine, self._prompts, self._sampling, self._law = engine, prompts, sampling, law
        self._guided = sampling.guidance not in (0.0, 1.0) and law.pictures != "never"
        self._penalties = bool(sampling.presence_penalty or sampling.frequency_penalty)
        longest = max(len(p.ids) for p in prompts)
        length = bucket(longest, least=LEAST_LENGTH)
        context = engine.config.context
        self._most = max(1, min(sampling.max_tokens, context - longest + 1))
        room = bucket(length + min(self._most, context), least=LEAST_LENGTH)
        rows = rows_of(prompts, length=length)
        if self._guided:
            rows = rows_of(
                [*prompts, *self._unasked(len(rows.tokens), len(prompts))], length=length
            )
        B = len(rows.tokens) // (2 if self._guided else 1)
        self._running: Running = read(
            engine.model,
            rows.tokens,
            rows.valid,
            rows.blocks,
            rows.media,
            _keys(sampling.seed, [*numbers, *[0] * (B - len(numbers))]),
            config=engine.config,
            room=room,
            penalties=self._penalties,
            guided=self._guided,
        )
        self._ids: list[list[int]] = [[] for _ in prompts]
        self._logprobs: list[list[float]] = [[] for _ in prompts]
        self._over = np.zeros(len(prompts), bool)
        self._drawn = 0

    @property
    def over(self) -> bool:
        return bool(self._over.all()) or self._drawn >= self._most

    def ids(self, row: int) -> list[int]:
        """What a row has said, without its closing id."""
        said = self._ids[row]
        return said[: said.index(Control.END)] if Control.END in said else said

    def advance(self, steps: int) -> None:
        """Draw up to this many more ids in every row that is not over."""
        steps = min(steps, CALL, self._most - self._drawn)
        self._running, drawn = run(
            self._engine.model,
            self._running,
            dials(self._sampling),
            jnp.int32(steps),
            jnp.int32(self._most),
            config=self._engine.config,
            law=self._law,
            greedy=self._sampling.temperature == 0,
            penalties=self._penalties,
            guided=self._guided,
        )
        count = int(drawn.steps)
        ids, logprobs, over = (np.asarray(x) for x in (drawn.ids, drawn.logprobs, drawn.over))
        for row in np.flatnonzero(~self._over):
            self._ids[row] += ids[row, :count].tolist()
            self._logprobs[row] += logprobs[row, :count].tolist()
            self._over[row] = over[row] or self._stopped(row)
        self._drawn += max(count, 1)

    def reply(self, row: int) -> Reply:
        """What one row has said so far, as a turn."""
        picture = self._engine.picture if self._engine.codec else None
        ids = self.ids(row)
        turn = parse_turn(ids, vocab=self._engine.vocab, picture=picture)
        ended = Control.END in self._ids[row] or self._stopped(row)
        if self._sampling.stop:
            turn = _turn_before_stop(turn, self._sampling.stop)
        kept = len(ids) + (Control.END in self._ids[row])
        return Reply(
            turn,
            tuple(self._ids[row][:kept]),
            tuple(self._logprobs[row][:kept]),
            "stop" if ended else "length",
            len(self._prompts[row].ids),
        )

    def _unasked(self, rows: int, prompts: int) -> list[Tokens]:
        """Empty rows that fill up the first half, then for each row a prompt that asks nothing."""
        empty = Tokens(np.zeros(1, np.int32), np.zeros(1, np.float32), (), ())
        nothing = self._engine.rendered(Document((Turn("user", ()),)), open_turn="model")
        return [empty] * (rows - prompts) + [nothing] * rows

    def _stopped(self, row: int) -> bool:
        if not self._sampling.stop:
            return False
        text = self._engine.vocab.decode(self.ids(row))
        return any(stop in text for stop in self._sampling.stop)


def _keys(seed: int, numbers: Sequence[int]) -> jax.Array:
    key = jax.random.key(0)
    return jnp.stack([jax.random.fold_in(key, (seed + n) % 2**32) for n in numbers])


def _cut_at_stop(text: str, stops: Sequence[str]) -> str:
    return text[: min((text.find(s) for s in stops if s in text), default=len(text))]


def _before_stop(text: str, stops: Sequence[str]) -> tuple[str, str]:
    """What may be shown now, and what must wait: it may be the beginning of a stop string."""
    if any(stop in text for stop in stops):
        return "", text
    longest = max(
        (n for stop in stops for n in range(1, len(stop)) if text.endswith(stop[:n])), default=0
    )
    return text[: len(text) - longest], text[len(text) - longest :]


def _turn_before_stop(turn: Turn, stops: Sequence[str]) -> Turn:
    kept: list[Part] = []
    for part in turn.parts:
        if isinstance(part, Text) and any(stop in part.text for stop in stops):
            return replace(turn, parts=(*kept, Text(_cut_at_stop(part.text, stops))))
        kept.append(part)
    return turn
