"""What a layer keeps for the backward pass changes memory, and not what is learned."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from castor.models.decoder import init
from castor.models.layout import in_use, mesh_of, shard, shard_rows
from castor.models.lora import Lora, adapted, init_adapters
from castor.models.sizes import Layer, ModelConfig, Stage
from castor.train.objectives import next_token
from castor.train.step import cast

POLICIES = ("none", "dots", "full")
HASTY = {"xla_backend_optimization_level": 0}
LOOPED = ModelConfig(layers=4, width=32, hidden=96, heads=4, head_width=8, vocab=512, context=64)
READING = replace(  # two layers in a loop, then two of which one reads the keys of the other
    LOOPED,
    pattern=(Layer(window=8),),
    further=(Stage((Layer(), Layer(keys_of=2))),),
    post_norms=True,
)


def learned(config, learning, remat, precision="float32"):
    """A loss and its gradient, in the weights."""

    def nats(model, batch):
        return next_token(cast(model, precision), batch, config=config, remat=remat).nats

    return jax.jit(jax.value_and_grad(nats)).lower(*learning).compile(HASTY)(*learning)


def apart(one, other):
    """The length of the difference of two trees, as a share of the other's."""
    pairs = list(zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))
    return np.sqrt(
        sum(np.sum((a - b) ** 2) for a, b in pairs) / sum(np.sum(b**2) for _, b in pairs)
    )


def assert_alike(one, other, *, share):
    """Leaf by leaf, but for a share of the length of each."""
    for ours, theirs in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert np.linalg.norm(ours - theirs) <= share * np.linalg.norm(theirs)


@pytest.fixture
def learning(rows):
    """A model and a batch that it learns from."""
    document, pack = rows
    pieces = [document(READING, seed=i) for i in range(8)]
    batch = pack([pieces[i : i + 2] for i in range(0, 8, 2)], length=40)
    return jax.jit(partial(init, READING))(jax.random.key(0)), batch


@pytest.mark.parametrize("remat", [pytest.param("dots", marks=pytest.mark.slow), "full"])
def test_every_policy_gives_the_same_loss_and_gradient(remat, learning):
    nats, slope = learned(READING, learning, "none")
    same, alike = learned(READING, learning, remat)
    assert same == nats
    assert_alike(alike, slope, share=1e-6)


@pytest.mark.slow
def test_in_bfloat16_a_gradient_that_is_computed_again_is_as_near_to_the_exact_one(learning):
    _, exact = learned(READING, learning, "none")
    nats, kept = learned(READING, learning, "none", "bfloat16")
    same, again = learned(READING, learning, "full", "bfloat16")
    assert same == nats
    assert apart(again, exact) < 1.1 * apart(kept, exact)


@pytest.mark.slow
def test_layers_that_are_computed_again_on_a_mesh_give_what_one_device_gives(learning):
    model, batch = learning
    nats, slope = learned(READING, (model, batch), "none")
    with in_use(mesh_of({"fsdp": 2, "tensor": 2})):
        same, alike = learned(READING, (shard(model), shard_rows(batch)), "full")
    np.testing.assert_allclose(same, nats, rtol=1e-5)
    assert_alike(alike, slope, share=2e-4)


@pytest.mark.slow
def test_memory_falls_from_one_policy_to_the_next(learning):
    model = jax.eval_shape(partial(init, LOOPED), jax.random.key(0))

    def bytes_of(remat):
        def nats(model):
            return next_token(model, learning[1], config=LOOPED, remat=remat).nats

        memory = jax.jit(jax.grad(nats)).lower(model).compile(HASTY).memory_analysis()
        assert memory is not None
        return memory.temp_size_in_bytes

    none, dots, full = map(bytes_of, POLICIES)
    assert none > dots > full


@pytest.mark.slow
def test_adapters_are_learned_the_same_from_layers_that_are_computed_again(learning):
    model, batch = learning
    lora = Lora(rank=2)
    adapters = jax.tree.map(jnp.ones_like, init_adapters(READING, lora, jax.random.key(1)))

    def slope(remat):
        def nats(adapters):
            whole = adapted(model, adapters, scale=lora.scale)
            return next_token(whole, batch, config=READING, remat=remat).nats

        return jax.jit(jax.grad(nats)).lower(adapters).compile(HASTY)(adapters)

    assert_alike(slope("full"), slope("none"), share=1e-6)
