"""What the fixtures' own class computes is what we compute from their files."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from castor.core.batch import Batch
from castor.models.cache import empty_cache
from castor.models.decoder import Seen, extend, hidden, logits
from tests.interop.conftest import known as every


def told(states, known):
    """The states themselves where the reference gives those, else the logits."""
    if known.logits.shape[-1] == known.config.width:
        return np.asarray(states, np.float32)
    return np.asarray(logits(known.model, states, cap=known.config.logit_cap))


def near(states, known, columns=slice(None), at_most=1e-4):
    """Logits differ by so much of the largest at most."""
    wanted, ours = known.logits[:, columns], told(states, known)
    assert np.abs(ours - wanted).max() <= at_most * np.abs(known.logits).max()


def empty(known, dtype=jnp.float32):
    rows, room = known.ids.shape
    return empty_cache(known.config, rows=rows, room=room, dtype=dtype)


def read(known, cache, columns, step):
    """Further columns of all rows."""
    tokens = jnp.asarray(known.ids[:, columns])
    media = known.media and Seen(*(x[:, columns] for x in known.media))
    blocks = jnp.asarray(known.blocks[:, columns])
    valid = jnp.ones(tokens.shape, bool)
    return step(known.model, tokens, cache, valid=valid, blocks=blocks, media=media)


def test_the_full_forward_pass_gives_the_reference_logits(text_checkpoint):
    ids = text_checkpoint.ids
    zeros, ones = np.zeros_like(ids), np.ones_like(ids)
    positions = np.broadcast_to(np.arange(ids.shape[1], dtype=np.int32), ids.shape)
    batch = Batch(ids, ids, ones.astype(np.float32), ones, positions, zeros, zeros, {})
    forward = jax.jit(partial(hidden, config=text_checkpoint.config))
    near(forward(text_checkpoint.model, batch), text_checkpoint)


def test_a_prompt_read_at_once_gives_the_reference_logits(checkpoint):
    step = jax.jit(partial(extend, config=checkpoint.config))
    states, _ = read(checkpoint, empty(checkpoint), slice(None), step)
    near(states, checkpoint)


def test_reading_token_by_token_gives_the_reference_logits(checkpoint):
    step = jax.jit(partial(extend, config=checkpoint.config))
    slots = checkpoint.media.slots.any(0) if checkpoint.media else np.zeros(1, bool)
    start, cache = int(np.flatnonzero(slots).max(initial=-1)) + 1, empty(checkpoint)
    if start:  # a picture comes whole
        states, cache = read(checkpoint, cache, slice(start), step)
        near(states, checkpoint, slice(start))
    for t in range(start, checkpoint.ids.shape[1]):
        states, cache = read(checkpoint, cache, slice(t, t + 1), step)
        near(states, checkpoint, slice(t, t + 1))


def test_text_that_sees_ahead_is_read_at_once_as_the_reference_reads_it():
    known = every("embeddinggemma")
    states, _ = read(
        known, empty(known), slice(None), jax.jit(partial(extend, config=known.config))
    )
    near(states, known)


def test_a_layer_that_reads_anothers_keys_holds_no_cache(checkpoint):
    held = [layer is not None for layer in empty(checkpoint).layers]
    assert held == [layer.keys_of is None for layer, _ in checkpoint.config.entries]


@pytest.mark.slow
def test_bfloat16_adds_no_more_noise_than_rounding_the_weights_does(text_checkpoint):
    step = jax.jit(partial(extend, config=text_checkpoint.config))

    def noise(dtype):
        """The root mean square of what differs where weights are rounded and the rest is so."""
        model = jax.tree.map(lambda x: x.astype(jnp.bfloat16).astype(dtype), text_checkpoint.model)
        known = text_checkpoint._replace(model=model)
        states, _ = read(known, empty(known, dtype), slice(None), step)
        assert states.dtype == dtype
        return np.sqrt(np.mean((told(states, known) - known.logits) ** 2))

    assert noise(jnp.bfloat16) < 3 * noise(jnp.float32)
