from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, PartitionSpec

from castor.models.decoder import hidden, init
from castor.models.layout import bytes_per_device, mesh_of, placement, shard, shard_rows, shardings
from castor.models.sizes import NANO_1, TINY


def loss(model, batch, config):
    states = hidden(model, batch, config=config)
    scores = states @ model.decoder.embedding.T
    chosen = jax.nn.log_softmax(scores, axis=-1)
    chosen = jnp.take_along_axis(chosen, jnp.asarray(batch.targets)[..., None], axis=-1)[..., 0]
    return -(chosen * jnp.asarray(batch.weights)).sum()


@pytest.mark.parametrize("sized", ["DEEP"], indirect=True)
@pytest.mark.parametrize(("data", "model"), [pytest.param(8, 1, marks=pytest.mark.slow), (2, 4)])
def test_eight_devices_compute_what_one_computes(sized, rows, data, model):
    weights, config = sized
    document, pack = rows
    kinds = [(), ("image",), ("audio",), ("image", "audio")]
    pieces = [document(config, seed=i, media=kinds[i % 4]) for i in range(16)]
    batch = pack([pieces[i : i + 2] for i in range(0, 16, 2)], length=40)
    step = jax.jit(jax.value_and_grad(partial(loss, config=config)))
    nats, slope = step(weights, batch)
    mesh = mesh_of(data=data, model=model)
    apart = step(shard(weights, mesh), shard_rows(batch, mesh))
    np.testing.assert_allclose(apart[0], nats, rtol=1e-5)
    for ours, theirs in zip(jax.tree.leaves(apart[1]), jax.tree.leaves(slope), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-4)


def test_a_weight_is_cut_by_the_first_line_of_the_table_that_names_it():
    assert placement(".decoder.embedding", (512, 64)) == PartitionSpec("model", "data")
    assert placement(".decoder.blocks[0].wq", (2, 64, 64)) == PartitionSpec(None, "data", "model")
    assert placement(".decoder.blocks[0].query_norm", (2, 16)) == PartitionSpec()
    experts = placement(".decoder.blocks[0].experts.gate_up", (2, 8, 64, 64))
    assert experts == PartitionSpec(None, None, "data", "model")


def test_moments_are_cut_like_their_weights():
    assert placement(".mu.decoder.blocks[0].down", (2, 128, 64)) == PartitionSpec(
        None, "model", "data"
    )


def test_a_dimension_that_an_axis_does_not_divide_stays_whole():
    tree = {"embedding": jnp.zeros((6, 64))}
    places = shardings(tree, mesh_of(data=2, model=4))
    assert places["embedding"].spec == PartitionSpec(None, "data")


def test_every_matrix_of_a_large_model_is_cut():
    shapes = jax.eval_shape(lambda key: init(NANO_1, key), jax.random.key(0))
    whole = bytes_per_device(shapes, AbstractMesh((1, 1), ("data", "model")))
    part = bytes_per_device(shapes, AbstractMesh((8, 8), ("data", "model")))
    assert whole == 4 * sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert part < whole / 64 * 1.5


def test_a_mesh_larger_than_the_machine_is_refused():
    with pytest.raises(ValueError, match="a mesh of 16 x 2 needs more than the 8 devices"):
        mesh_of(data=16, model=2)


def test_the_weights_of_a_device_are_a_part_of_the_whole():
    weights = shard(init(TINY, jax.random.key(0)), mesh_of(data=4, model=2))
    table = weights.decoder.embedding
    assert table.addressable_shards[0].data.shape == (256, 16)
