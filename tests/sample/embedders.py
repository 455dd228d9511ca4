"""Small models that embed, and what plain numpy makes of their states."""

from functools import partial

import jax
import numpy as np

from castor.core.batch import Batch
from castor.models.decoder import hidden, init
from castor.models.heads import Embedder, Heads, init_heads
from castor.models.sizes import Layer, ModelConfig
from castor.sample.engine import Engine
from castor.tokens.vocab import Vocab
from tests.tokens.families import family

from .conftest import noise

PROMPTS = {"query": "task: search result | query: ", "document": "title: none | text: "}
EMBEDS = ModelConfig(
    layers=3,
    width=16,
    hidden=32,
    heads=2,
    head_width=8,
    vocab=640,
    context=96,
    pattern=(Layer(window=5, ahead=True), Layer(ahead=True), Layer(window=5, ahead=True)),
)
HEADS = init_heads((16, 24, 8), jax.random.key(1))


def embedder(ours: Vocab, *, dialogue: str = "gemma", heads: Heads | None = HEADS) -> Engine:
    """An engine that embeds, of a vocabulary of another family."""
    pieces = family(dialogue, ours)
    vocab = Vocab(pieces.model, codes=0, dialogue=dialogue, size=EMBEDS.vocab)
    model = noise(partial(init, EMBEDS), scale=1.0)
    told = None if heads is None else Embedder(heads, PROMPTS)
    return Engine(model, config=EMBEDS, vocab=vocab, embedder=told)


def embedding_of(engine: Engine, text: str) -> np.ndarray:
    """Of <bos>, the text's ids and <eos>, read alone: their mean through the heads, at length 1."""
    named = {piece.text: i for i, piece in enumerate(engine.vocab.pieces)}
    ids = [named["<bos>"], *engine.vocab.encode(text), named["<eos>"]]
    tokens, segments, positions, zeros = np.zeros((4, 1, engine.config.context), np.int32)
    n = len(ids)
    tokens[0, :n], segments[0, :n], positions[0, :n] = ids, 1, np.arange(n)
    weights = zeros.astype(np.float32)
    batch = Batch(tokens, zeros, weights, segments, positions, zeros, zeros, {})
    states = jax.jit(hidden, static_argnames="config")(engine.weights, batch, config=engine.shape)
    x = np.asarray(states)[0, :n].mean(0)
    assert engine.embedder is not None
    for matrix in engine.embedder.heads.matrices:
        x = x @ np.asarray(matrix)
    return x / np.linalg.norm(x)
