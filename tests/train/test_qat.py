"""Training the rounded model: what it sees, where its gradients go, and that it learns."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from castor.core.batch import Batch
from castor.models.decoder import Model, hidden, init, logits
from castor.models.quant import INT8, Formats, densed, quantise
from castor.models.sizes import ModelConfig
from castor.train.objectives import next_token
from castor.train.qat import imitation, rounded, tuned

CONFIG = ModelConfig(layers=2, width=32, hidden=64, heads=2, head_width=16, vocab=64)


@pytest.fixture(scope="module")
def model() -> Model:
    return init(CONFIG, jax.random.key(0))


def batch(seed: int = 0) -> Batch:
    tokens = np.random.default_rng(seed).integers(0, 64, (4, 16)).astype(np.int32)
    zeros, ones = np.zeros_like(tokens), np.ones(tokens.shape, np.float32)
    positions = np.broadcast_to(np.arange(16, dtype=np.int32), tokens.shape)
    return Batch(tokens, tokens, ones, zeros + 1, positions, zeros, zeros, {})


def test_the_rounded_model_is_what_quantising_gives(model: Model) -> None:
    formats = Formats(embedding=INT8, encoders=INT8)
    seen, used = rounded(model, formats=formats), densed(quantise(model, formats=formats))
    for one, other in zip(jax.tree.leaves(seen), jax.tree.leaves(used), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_gradients_pass_the_rounding_as_if_it_were_not_there(model: Model) -> None:
    slope = jax.grad(lambda m: jnp.sum(rounded(m).decoder.blocks[0].wq * 3.0))(model)
    np.testing.assert_array_equal(slope.decoder.blocks[0].wq, jnp.full((2, 32, 32), 3.0))


def test_the_distance_is_the_divergence_of_the_next_ids(model: Model) -> None:
    found = imitation(model, batch(), model, config=CONFIG)
    p, q = (
        jax.nn.log_softmax(logits(m, hidden(m, batch(), config=CONFIG)))
        for m in (model, densed(quantise(model)))
    )
    assert float(found.nats) == pytest.approx(float(jnp.sum(jnp.exp(p) * (p - q))), rel=1e-3)
    assert float(found.count) == 64


def test_a_share_of_labels_learns_the_targets(model: Model) -> None:
    given = batch()._replace(weights=np.eye(4, 16, dtype=np.float32) * 3)
    found = {
        share: imitation(model, given, model, config=CONFIG, labels=share)
        for share in (0.0, 0.25, 1.0)
    }
    wanted = next_token(rounded(model), given, config=CONFIG)
    assert float(found[1.0].nats) == pytest.approx(float(wanted.nats), rel=1e-4)
    mixed = 0.75 * found[0.0].nats + 0.25 * found[1.0].nats
    assert float(found[0.25].nats) == pytest.approx(float(mixed), rel=1e-4)
    assert {float(one.count) for one in found.values()} == {12}


@pytest.mark.slow
def test_steps_bring_the_rounded_model_nearer_on_batches_that_it_has_not_seen(
    model: Model,
) -> None:
    table = model.decoder.embedding * 30  # so that it is sure of what it says
    model = replace(model, decoder=replace(model.decoder, embedding=table))
    heard: list[tuple[int, float]] = []
    learned = tuned(
        model,
        [batch(i) for i in range(60)],
        config=CONFIG,
        steps=60,
        peak_lr=1e-3,
        report=lambda done, nats: heard.append((done, nats)),
    )
    assert [done for done, _ in heard] == list(range(1, 61))
    apart = partial(imitation, batch=batch(99), teacher=model, config=CONFIG)
    assert float(apart(learned).nats) < 0.5 * float(apart(model).nats)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_ends_it(model: Model) -> None:
    broken = jax.tree.map(lambda x: x * jnp.nan, model)
    with pytest.raises(ValueError, match="step 1 of --qat gave a loss that is not finite"):
        tuned(broken, [batch()], config=CONFIG, steps=1)
