"""The engine: documents in, replies out. Nothing above it sees a token id.

Prompts of similar length share a batch; a reply depends on its document, the sampling and its
number in the call, never on the rows beside it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from castor.core.content import Document, Media, Part, Role, Turn
from castor.core.media import open_image, png
from castor.models.decoder import Model
from castor.models.heads import Embedder, Heads
from castor.models.image_codec import Codec, CodecConfig, encode_pictures
from castor.models.modality import perceive
from castor.models.sizes import ModelConfig
from castor.sample.choose import Sampling
from castor.sample.decode import CALL, at_hand, judge, painted, weights_in
from castor.sample.grammar import Rules, rules
from castor.sample.rows import LEAST_LENGTH, bucket, rows_of
from castor.sample.session import Session
from castor.tokens.render import Codes, Piece, Tokens, render
from castor.tokens.vocab import Vocab

ROWS = 32  # most documents in one batch
WINDOW = 4096  # ids that a page's likelihood is measured over at once, at most
SIP = 8  # ids between two looks at a stream


@dataclass(frozen=True)
class Reply:
    """What the model said to one document."""

    turn: Turn
    ids: tuple[int, ...]  # with the closing one, or those that spell a stop string
    logprobs: tuple[float, ...]  # of each id, in nats, before grammar and temperature
    finish: Literal["stop", "length"]  # "stop": the model ended, or said a stop string
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


@runtime_checkable
class Talk(Protocol):
    """Prompts that were read, and their replies as they grow."""

    @property
    def over(self) -> bool:
        """Whether no reply will say more."""
        ...

    def advance(self, steps: int) -> list[list[Piece]]:
        """Draw up to this many more ids of every reply; what each now shows that is new."""
        ...

    def heard(self, row: int) -> tuple[tuple[int, ...], tuple[float, ...], bool, int]:
        """A reply's ids, their log-probabilities, whether it ended, and its prompt's length."""
        ...


class Engine:
    """A model ready to answer. `precision` is the type that its weights are held in.

    A prompt ends where the model is to go on: its last turn is continued if it is a page or the
    model's own, and answered otherwise. Guidance of pictures compares with a prompt that asks
    nothing: an empty user's turn. It works for models that met such prompts in training.
    With an `embedder`, or if it sees ahead, a model embeds and says nothing.

    `weights` and `shape` are the model and its config as they are computed with.

    Raises:
        ValueError: vocabulary, model and codec do not belong together.
    """

    def __init__(
        self,
        model: Model,
        *,
        config: ModelConfig,
        vocab: Vocab,
        codec: tuple[Codec, CodecConfig] | None = None,
        embedder: Embedder | None = None,
        precision: str = "float32",
    ) -> None:
        self._furnish(config, vocab, codec)
        if embedder is not None:
            self.embedder = embedder
        self.weights, self.shape = at_hand(weights_in(model, precision), config)

    def _furnish(
        self, config: ModelConfig, vocab: Vocab, codec: tuple[Codec, CodecConfig] | None
    ) -> None:
        """All that an engine has but for its weights, which may be computed with elsewhere."""
        if vocab.size != config.vocab:
            raise ValueError(
                f"the vocabulary has {vocab.size} ids but the model was made for {config.vocab}"
            )
        if codec is not None and codec[1].codes != len(vocab.codes):
            raise ValueError(
                f"the codec has {codec[1].codes} codes but the vocabulary {len(vocab.codes)}"
            )
        self.config, self.vocab = config, vocab
        ahead = any(layer.ahead for layer in config.every_layer)
        self.embedder = Embedder(Heads(()), {}) if ahead else None
        self.codec = None if codec is None else (weights_in(codec[0], "float32"), codec[1])

    @property
    def unasked(self) -> Tokens:
        """The prompt of guidance: one that asks nothing."""
        return self.rendered(Document((Turn("user", ()),)), open_turn="model")

    @property
    def grid(self) -> tuple[int, int] | None:
        """Codes of a picture as the codec was trained, rows and columns; None without a codec."""
        if self.codec is None:
            return None
        side = self.codec[1].side // self.codec[1].patch
        return side, side

    def reply(self, documents: Sequence[Document], sampling: Sampling) -> list[Reply]:
        """A turn for each document; the n-th one draws with seed `sampling.seed + n`.

        Raises:
            ValueError: a document does not fit into the context, or holds what the model cannot
                read; pictures are asked for and the model cannot draw.
        """
        law = self.law(sampling)
        roles: list[Role] = [next_role(document) for document in documents]
        prompts = [
            self.rendered(document, open_turn=role)
            for document, role in zip(documents, roles, strict=True)
        ]
        replies: dict[int, Reply] = {}
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i].ids))
        for start in range(0, len(order), ROWS):
            chosen = order[start : start + ROWS]
            session = self._session([prompts[i] for i in chosen], sampling, law, numbers=chosen)
            pieces: list[list[Piece]] = [[] for _ in chosen]
            while not session.over:
                for row, shown in enumerate(session.advance(CALL)):
                    pieces[row] += shown
            for row, (i, parts) in enumerate(zip(chosen, self.parts(pieces), strict=True)):
                replies[i] = _reply(session, row, Turn(roles[i], tuple(parts)))
        return [replies[i] for i in range(len(prompts))]

    def stream(self, document: Document, sampling: Sampling) -> Iterator[Part]:
        """The parts of one turn as they come: texts in pieces, pictures whole.

        The generator's value is the whole Reply. Closing it stops the work.

        Raises:
            ValueError: as `reply`.
        """
        law, role = self.law(sampling), next_role(document)
        prompt = self.rendered(document, open_turn=role)
        session = self._session([prompt], sampling, law, numbers=[0])
        parts: list[Part] = []
        while not session.over:
            for part in self.parts(session.advance(SIP))[0]:
                parts.append(part)
                yield part
        return _reply(session, 0, Turn(role, tuple(parts)))

    def score(self, pairs: Sequence[tuple[Document, str]]) -> list[Score]:
        """How likely it is that each document is answered with exactly this text, end included.

        Raises:
            ValueError: as `reply`.
        """
        judged = []
        for document, answer in pairs:
            prompt = self.rendered(document, open_turn=next_role(document))
            said = np.array([*self.vocab.encode(answer), self.vocab.dialogue.end], np.int32)
            ids = np.concatenate([prompt.ids, said])
            self._refuse_long(len(ids))
            learned = (np.arange(len(ids)) >= len(prompt.ids)).astype(np.float32)
            judged.append(prompt._replace(ids=ids, weights=learned))
        return self._judge(judged, [len(answer.encode()) for _, answer in pairs])

    def surprise(self, text: str) -> Score:
        """How likely a page of any length is; each token sees at least half a context before it.

        The first half context sees only what there is.
        """
        ids, half = self.vocab.encode(text), min(self.config.context, WINDOW) // 2 - 1
        opened = self.rendered(Document(()), open_turn="page").ids
        windows = []
        for start in range(0, len(ids), half):
            past, new = ids[max(0, start - half) : start], ids[start : start + half]
            row = np.array([*opened, *past, *new], np.int32)
            learned = np.arange(len(row)) >= len(past) + len(opened)
            windows.append(Tokens(row, learned.astype(np.float32), (), ()))
        parts = self._judge(windows, [0] * len(windows))
        return Score(
            sum(p.nats for p in parts),
            sum(p.tokens for p in parts),
            len(text.encode()),
            sum(p.right for p in parts),
        )

    def rendered(self, document: Document, *, open_turn: Role | None = None) -> Tokens:
        """The ids of a document, checked against the context.

        Raises:
            ValueError: it does not fit, or holds what the model cannot read.
        """
        tokens = self.tokens(document, open_turn=open_turn)
        self._refuse_long(len(tokens.ids))
        return tokens

    def tokens(self, document: Document, *, open_turn: Role | None = None) -> Tokens:
        """The ids of a document of any length.

        Raises:
            ValueError: it holds what the model cannot read.
        """
        return render(
            document,
            vocab=self.vocab,
            see=lambda media: perceive(media, config=self.config),
            draw=self.codes if self.codec else None,
            open_turn=open_turn,
        )

    def codes(self, media: Media) -> Codes:
        """The codes of a picture, cropped to whole patches.

        Raises:
            ValueError: the bytes cannot be opened, or the picture is smaller than one patch.
        """
        assert self.codec is not None
        codec, config = self.codec
        pixels = open_image(media.data, media.mime)
        height, width = (side - side % config.patch for side in pixels.shape[:2])
        if not height or not width:
            raise ValueError(
                f"a picture of {pixels.shape[1]} by {pixels.shape[0]} pixels is too small to be "
                f"drawn; one code stands for {config.patch} by {config.patch}"
            )
        codes = encode_pictures(codec, pixels[None, :height, :width], config=config)
        return np.asarray(codes[0])

    def picture(self, codes: Codes) -> Media:
        """The picture that codes stand for, as a PNG.

        Raises:
            ValueError: the model cannot draw.
        """
        return self._pictures([codes])[0]

    def _pictures(self, drawn: Sequence[np.ndarray]) -> list[Media]:
        """The pictures of any sizes, [h, w] codes each; those of one size are painted together."""
        if self.codec is None:
            raise ValueError("this model cannot draw: it has no picture codec")
        codec, config = self.codec
        made: dict[int, Media] = {}
        for shape in {codes.shape for codes in drawn}:
            same = [i for i, codes in enumerate(drawn) if codes.shape == shape]
            stack = np.zeros((bucket(len(same)), *shape), np.int32)
            stack[: len(same)] = [drawn[i] for i in same]
            pixels = np.asarray(painted(codec, stack, config=config))
            made |= {i: Media("image/png", png(pixels[n])) for n, i in enumerate(same)}
        return [made[i] for i in range(len(drawn))]

    def parts(self, rows: Sequence[Sequence[Piece]]) -> list[list[Part]]:
        """Each row's pieces with the codes painted."""
        drawn = [piece for row in rows for piece in row if isinstance(piece, np.ndarray)]
        pictures = iter(self._pictures(drawn) if drawn else [])
        return [[next(pictures) if isinstance(p, np.ndarray) else p for p in row] for row in rows]

    def _session(
        self, prompts: Sequence[Tokens], sampling: Sampling, law: Rules, *, numbers: Sequence[int]
    ) -> Talk:
        return Session(
            self.weights,
            prompts,
            config=self.shape,
            vocab=self.vocab,
            sampling=sampling,
            law=law,
            numbers=numbers,
            unasked=self.unasked,
        )

    def law(self, sampling: Sampling) -> Rules:
        """What a reply may hold.

        Raises:
            ValueError: pictures are asked for and the model cannot draw, or it only embeds.
        """
        self.refuse_silent()
        if sampling.pictures != "never" and self.codec is None:
            raise ValueError("this model cannot draw: it has no picture codec")
        return rules(self.vocab, pictures=sampling.pictures, grid=self._grid(sampling))

    def refuse_silent(self) -> None:
        """Nothing, if the model can say something.

        Raises:
            ValueError: it only embeds.
        """
        if self.embedder is not None:
            raise ValueError(
                "this model embeds texts and generates none; `castor serve` it, and ask for "
                "embedContent, batchEmbedContents or /v1/embeddings"
            )

    def _grid(self, sampling: Sampling) -> tuple[int, int] | None:
        return None if sampling.grid == "free" else sampling.grid or self.grid

    def _refuse_long(self, length: int) -> None:
        if length > self.config.context:
            raise ValueError(
                f"the document takes {length} tokens; this model's context holds "
                f"{self.config.context}"
            )

    def _judge(self, documents: Sequence[Tokens], sizes: Sequence[int]) -> list[Score]:
        self.refuse_silent()
        scores: dict[int, Score] = {}
        order = sorted(range(len(documents)), key=lambda i: len(documents[i].ids))
        for start in range(0, len(order), ROWS):
            chosen = order[start : start + ROWS]
            longest = len(documents[chosen[-1]].ids)
            length = min(bucket(longest, least=LEAST_LENGTH), max(self.config.context, longest))
            rows = rows_of([documents[i] for i in chosen], length=length)
            nats, right, count = judge(self.weights, rows.batch(), config=self.shape)
            for row, i in enumerate(chosen):
                scores[i] = Score(float(nats[row]), int(count[row]), sizes[i], int(right[row]))
        return [scores[i] for i in range(len(documents))]


def next_role(document: Document) -> Role:
    """Whose turn is written next: a page goes on, everything else is answered by the model."""
    last = document.turns[-1].role if document.turns else "user"
    return "page" if last == "page" else "model"


def _reply(session: Talk, row: int, turn: Turn) -> Reply:
    ids, logprobs, ended, prompt_tokens = session.heard(row)
    return Reply(turn, ids, logprobs, "stop" if ended else "length", prompt_tokens)
