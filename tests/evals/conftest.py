"""A tiny engine with fresh weights: its answers are nonsense, and always the same nonsense."""

from dataclasses import replace

import jax
import pytest

from castor.models.decoder import init
from castor.models.image_codec import CodecConfig, init_codec
from castor.models.sizes import TINY
from castor.sample.engine import Engine
from castor.tokens.vocab import Vocab

CODEC = CodecConfig(levels=(8, 8), width=16, heads=1, encoder_layers=1, decoder_layers=1)


@pytest.fixture(scope="session")
def engine(vocab: Vocab) -> Engine:
    config = replace(TINY, vocab=vocab.size)
    codec = (init_codec(CODEC, jax.random.key(1)), CODEC)
    return Engine(init(config, jax.random.key(0)), config=config, vocab=vocab, codec=codec)
