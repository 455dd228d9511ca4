"""A model that has learned nothing, in a directory, for the verbs to work with."""

from functools import partial
from pathlib import Path

import jax
import pytest

from castor.checkpoint import Checkpoint, save
from castor.core.recipe import to_json
from castor.models.decoder import init
from castor.models.image_codec import CodecConfig, init_codec
from castor.models.sizes import AudioConfig, ImageConfig, ModelConfig
from castor.recipes import RECIPES
from castor.tokens.learn import learn

CODEC = CodecConfig(width=24, heads=2, encoder_layers=1, decoder_layers=1, side=32)
WORDS = "The quick brown fox jumps over the lazy dog while seven other animals look on.\n"


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with one checkpoint of random weights that can see, hear and draw."""
    vocab = learn([WORDS * 20], size=384, codes=CODEC.codes)
    config = ModelConfig(
        layers=1,
        width=32,
        hidden=64,
        heads=2,
        head_width=16,
        vocab=vocab.size,
        context=256,
        image=ImageConfig(stem=(), width=24, heads=2),
        audio=AudioConfig(channels=(8, 8), width=24, heads=2),
    )
    key = jax.random.key(0)
    model, codec = jax.jit(partial(init, config))(key), jax.jit(partial(init_codec, CODEC))(key)
    checkpoint = Checkpoint(model, config, vocab, (codec, CODEC), to_json(RECIPES["tiny"]), 3)
    run = tmp_path_factory.mktemp("run")
    save(run, checkpoint)
    return run
