"""Texts in, embeddings out, by a model that does nothing else, e.g. EmbeddingGemma.

Where layers see ahead, what an id's state is depends on all that follow: a text is read whole, in
the full forward pass, from no cache. Short ones lie end to end in one row, where none sees another.

Invariant: a text's embedding does not depend on the texts beside it.
"""

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Float32, Int32

from castor.core.batch import Batch
from castor.core.content import Document, Text, Turn
from castor.models import decoder
from castor.models.heads import Heads, embedding
from castor.models.sizes import ModelConfig
from castor.sample.ask import Ask, Busy, Constraint
from castor.sample.engine import Engine
from castor.sample.rows import LEAST_LENGTH, bucket
from castor.sample.ticket import Counted, Ticket, counted
from castor.tokens.render import Tokens, render

Ids = Int32[np.ndarray, " _"]  # of one text; each has a length of its own
TEXTS = 32  # most in one row
TOGETHER = 512  # most ids that several texts have in one row: attention is quadratic [ours]


def text_of(document: Document) -> str:
    """The texts of a document end to end, without white space at its ends, which the model's
    makers leave out too.

    Raises:
        ValueError: it holds something else.
    """
    parts = [part for turn in document.turns for part in turn.parts]
    for part in parts:
        if not isinstance(part, Text):
            raise ValueError(f"this model embeds texts alone, and no {type(part).__name__.lower()}")
    return "".join(part.text for part in parts if isinstance(part, Text)).strip()


def tokens_of(document: Document, *, engine: Engine) -> Tokens:
    """The ids of a text between those that begin and end one.

    Raises:
        ValueError: it holds more than text.
    """
    page = Document((Turn("page", (Text(text_of(document)),)),))
    return render(page, vocab=engine.vocab, see=lambda _: ())


def embeddings(texts: Sequence[Ids], *, engine: Engine) -> Float32[np.ndarray, "n E"]:
    """Vectors of length 1, each of one text's ids; there is at least one."""
    assert engine.embedder is not None
    found: dict[int, np.ndarray] = {}
    heads = engine.embedder.heads
    for chosen in _together([len(ids) for ids in texts], most=min(TOGETHER, engine.config.context)):
        row = _row([texts[i] for i in chosen], context=engine.config.context)
        vectors = np.asarray(embedded(engine.weights, heads, row, config=engine.shape))
        found |= {i: vectors[n] for n, i in enumerate(chosen)}
    return np.stack([found[i] for i in range(len(texts))])


@partial(jax.jit, static_argnames=("config",))
def embedded(
    model: decoder.Model, heads: Heads, row: Batch, *, config: ModelConfig
) -> Float[Array, "N E"]:
    """The embedding of each document of one packed row, of TEXTS at most; the rest are zeros."""
    states = decoder.hidden(model, row, config=config)[0].astype(jnp.float32)
    numbers = jnp.arange(1, TEXTS + 1, dtype=jnp.int32)
    segments = jnp.asarray(row.segments)
    mine = (segments == numbers[:, None]).astype(jnp.float32)  # [N, T]
    kept = jnp.where(segments[0, :, None] > 0, states, 0)
    summed = jnp.matmul(mine, kept, precision=jax.lax.Precision.HIGHEST)
    return embedding(heads, summed)


def row_lengths(context: int) -> list[int]:
    """How long rows are: each length is compiled for once."""
    most = bucket(context, least=LEAST_LENGTH)
    sizes = [LEAST_LENGTH * 2**n for n in range((most // LEAST_LENGTH).bit_length())]
    return sorted({min(size, context) for size in sizes})


def warm_row(engine: Engine, length: int) -> Any:
    """Compute with a row of this length, for what is compiled on the way."""
    ids = np.full(length, engine.vocab.text.start, np.int32)
    return embeddings([ids], engine=engine)


def _together(counts: Sequence[int], *, most: int) -> Iterator[list[int]]:
    """The numbers of texts that share a row of so many ids or have their own, shortest first."""
    order = sorted(range(len(counts)), key=lambda i: counts[i])
    chosen: list[int] = []
    for i in order:
        ids = sum(counts[j] for j in chosen)
        if chosen and (len(chosen) == TEXTS or ids + counts[i] > most):
            yield chosen
            chosen = []
        chosen = [*chosen, i]
    yield chosen


def _row(texts: Sequence[Ids], *, context: int) -> Batch:
    """Texts end to end in the shortest row that holds them."""
    count = sum(len(ids) for ids in texts)
    length = next(size for size in row_lengths(context) if size >= count)
    tokens, segments, positions, zeros = np.zeros((4, 1, length), np.int32)
    at = 0
    for number, ids in enumerate(texts, start=1):
        here = slice(at, at + len(ids))
        tokens[0, here], segments[0, here], positions[0, here] = ids, number, np.arange(len(ids))
        at += len(ids)
    weights = np.zeros((1, length), np.float32)
    return Batch(tokens, zeros, weights, segments, positions, zeros, zeros, {})


class EmbeddingDesk:
    """Takes texts until it is closed, `queue` of them at most that wait.

    One thread owns the model; it works on one request after another.
    """

    def __init__(self, engine: Engine, *, name: str, queue: int = 128) -> None:
        assert engine.embedder is not None
        self.name, self.context = name, engine.config.context
        self.draws, self.embeds, self.answering = False, True, 0
        self.kinds: frozenset[str] = frozenset()
        self._engine, self._most, self._waiting = engine, queue, 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="castor-embedding")

    def count(self, document: Document) -> Counted:
        """The tokens of a text.

        Raises:
            ValueError: the document holds more than text.
        """
        return counted(tokens_of(document, engine=self._engine))

    async def embed(
        self, documents: Sequence[Document]
    ) -> list[tuple[Float32[np.ndarray, " E"], int]]:
        """For each text its embedding, of length 1, and its tokens.

        Raises:
            ValueError: one does not fit into the context, or is more than text.
            Busy: too many wait.
        """
        if self._waiting and self._waiting + len(documents) > self._most:
            raise Busy(self._waiting, 1.0)
        self._waiting += len(documents)
        try:
            loop = asyncio.get_running_loop()
            texts = await asyncio.to_thread(self._texts, documents)
            work = partial(embeddings, texts, engine=self._engine)
            vectors = await loop.run_in_executor(self._thread, work) if texts else []
        finally:
            self._waiting -= len(documents)
        return [(vector, len(ids)) for vector, ids in zip(vectors, texts, strict=True)]

    async def ask(self, ask: Ask) -> Ticket:
        """Nothing: this model does not generate.

        Raises:
            ValueError: always.
        """
        self._engine.law(ask.sampling)
        raise AssertionError("an engine that embeds has no law of replies")

    def constraint(self, kind: str, spec: Any) -> Constraint:
        """Nothing: this model does not generate.

        Raises:
            ValueError: always.
        """
        self._engine.refuse_silent()
        raise AssertionError("an engine that embeds has no language of replies")

    def close(self) -> None:
        """End what runs, and the thread."""
        self._thread.shutdown(cancel_futures=True)

    def _texts(self, documents: Sequence[Document]) -> list[Ids]:
        texts = [tokens_of(document, engine=self._engine).ids for document in documents]
        for ids in texts:
            if len(ids) > self.context:
                raise ValueError(
                    f"The input token count ({len(ids)}) exceeds the maximum number of tokens "
                    f"allowed ({self.context})."
                )
        return texts
