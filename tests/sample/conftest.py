"""A tiny engine with random weights, large enough to be lively, shared by the tests of sampling."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from castor.core.content import Document, Media, Text, Turn
from castor.core.media import ppm, wav
from castor.models.decoder import init
from castor.models.image_codec import CodecConfig, init_codec
from castor.models.sizes import AudioConfig, ImageConfig, ModelConfig
from castor.sample.engine import Engine
from castor.tokens.learn import learn
from castor.tokens.vocab import Vocab

WORDS = "the quick brown fox jumps over the lazy dog while seven äöü 漢字 wizards mix 12 jugs. "
COMPILED = "/jax/core/compile/backend_compile_duration"
CODEC = CodecConfig(levels=(4, 4), width=16, heads=1, side=16)


def noise(make: Callable[[Array], Any], *, scale: float) -> Any:
    """A tree as `make` would give it, of random weights: nothing is compiled for it."""
    rng = np.random.default_rng(0)

    def fill(leaf: jax.ShapeDtypeStruct) -> Array:
        fan_in = max(1, min(leaf.shape[-2:])) if len(leaf.shape) > 1 else 10
        return jnp.asarray(scale * rng.standard_normal(leaf.shape) * fan_in**-0.5, jnp.float32)

    return jax.tree.map(fill, jax.eval_shape(make, jax.random.key(0)))


@pytest.fixture(scope="session")
def vocab() -> Vocab:
    return learn([WORDS * 3, WORDS[::-1] * 3], size=400, codes=CODEC.codes)


@pytest.fixture(scope="session")
def engine(vocab: Vocab) -> Engine:
    config = ModelConfig(
        layers=2,
        width=32,
        hidden=48,
        heads=2,
        head_width=16,
        vocab=vocab.size,
        context=256,
        image=ImageConfig(stem=(), width=16, heads=1, least=4, slots=16, frame_slots=4),
        audio=AudioConfig(channels=(4, 8), width=16, heads=1),
    )
    codec = (noise(partial(init_codec, CODEC), scale=1.0), CODEC)
    model = noise(partial(init, config), scale=1.5)
    return Engine(model, config=config, vocab=vocab, codec=codec)


@pytest.fixture(scope="session")
def documents() -> list[Document]:
    """Prompts of every kind and of different lengths."""
    rng = np.random.default_rng(0)
    picture = Media("image/x-portable-pixmap", ppm(rng.integers(0, 256, (32, 48, 3), np.uint8)))
    sound = Media("audio/wav", wav(rng.standard_normal(8000).astype(np.float32) / 9))
    system = Turn("system", (Text("Be brief."),))
    talk = Document((system, Turn("user", (Text("the dog?"),)))).then("fox").then("12", role="user")
    return [
        Document.of("hi"),
        Document.of(picture, "the fox"),
        Document.of("jumps " * 12),
        Document.of(sound, "over the ", picture, "dog"),
        talk,
        Document.of("seven wizards", role="page"),
    ]


@pytest.fixture
def compiled() -> Iterator[list[str]]:
    """Every compilation from now on."""
    seen: list[str] = []

    def note(event: str, duration_secs: float, **told: str | int) -> None:
        if event == COMPILED:
            seen.append(f"{told.get('fun_name')} in {duration_secs:.2f} s")

    jax.monitoring.register_event_duration_secs_listener(note)
    yield seen
    jax.monitoring.unregister_event_duration_listener(note)
