from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh, PartitionSpec

from castor.cli.flags import MESH_AXES
from castor.models.decoder import hidden, init
from castor.models.layout import (
    AXES,
    bytes_per_device,
    in_use,
    made,
    mesh_of,
    placement,
    refuse,
    shard,
    shard_rows,
    shardings,
)
from castor.models.sizes import NANO_1, TINY
from castor.train.objectives import next_token


def loss(model, batch, config):
    """Of next ids, and of the states themselves, so that every weight has a slope."""
    states = hidden(model, batch, config=config)
    return next_token(model, batch, config=config).nats + jnp.square(states).mean()


@cache
def slope_of(config):
    """The loss and its gradient on one device, compiled once for all meshes."""
    return jax.jit(jax.value_and_grad(partial(loss, config=config)))


@pytest.mark.parametrize(
    ("sized", "sizes"),
    [
        pytest.param("TINY", {"fsdp": 4, "tensor": 2}, marks=pytest.mark.slow),
        pytest.param("TINY", {"sequence": 8}, marks=pytest.mark.slow),
        pytest.param("DEEP", {"fsdp": 8}, marks=pytest.mark.slow),
        pytest.param("DEEP", {"tensor": 4, "replica": 2}, marks=pytest.mark.slow),
        pytest.param("MANY", {"replica": 2, "fsdp": 2, "expert": 2}, marks=pytest.mark.slow),
    ],
    indirect=["sized"],
)
def test_eight_devices_compute_what_one_computes(sized, rows, sizes):
    weights, config = sized
    document, pack = rows
    kinds = [(), ("image",), ("audio",), ("image", "audio")]
    pieces = [document(config, seed=i, media=kinds[i % 4]) for i in range(16)]
    batch = pack([pieces[i : i + 2] for i in range(0, 16, 2)], length=40)
    step = jax.value_and_grad(partial(loss, config=config))
    nats, slope = slope_of(config)(weights, batch)
    with in_use(mesh_of(sizes)):
        apart = jax.jit(step)(shard(weights), shard_rows(batch))
    np.testing.assert_allclose(apart[0], nats, rtol=1e-5)
    for ours, theirs in zip(jax.tree.leaves(apart[1]), jax.tree.leaves(slope), strict=True):
        largest = max(1.0, float(jnp.abs(theirs).max(initial=0)))
        np.testing.assert_allclose(ours, theirs, atol=2e-4 * largest)


def test_the_command_line_knows_the_axes():
    assert MESH_AXES == AXES


def test_a_weight_is_cut_by_the_first_line_of_the_table_that_names_it():
    assert placement(".decoder.embedding", (512, 64)) == PartitionSpec("tensor", "fsdp")
    assert placement(".decoder.blocks[0].wq", (2, 64, 64)) == PartitionSpec(None, "fsdp", "tensor")
    assert placement(".decoder.blocks[0].query_norm", (2, 16)) == PartitionSpec()
    experts = placement(".decoder.blocks[0].experts.gate_up", (2, 8, 64, 64))
    assert experts == PartitionSpec(None, "expert", "fsdp", "tensor")


def test_moments_are_cut_like_their_weights():
    cut = PartitionSpec(None, "tensor", "fsdp")
    assert placement(".mu.decoder.blocks[0].down", (2, 128, 64)) == cut


def test_a_dimension_that_an_axis_does_not_divide_stays_whole():
    tree = {"embedding": jnp.zeros((6, 64))}
    places = shardings(tree, mesh_of({"fsdp": 2, "tensor": 4}))
    assert places["embedding"].spec == PartitionSpec(None, "fsdp")


def test_every_matrix_of_a_large_model_is_cut():
    shapes = jax.eval_shape(lambda key: init(NANO_1, key), jax.random.key(0))
    whole = bytes_per_device(shapes, AbstractMesh((1, 1, 1, 1, 1), AXES))
    part = bytes_per_device(shapes, AbstractMesh((1, 8, 1, 8, 1), AXES))
    assert whole == 4 * sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert part < whole / 64 * 1.5


def test_weights_are_made_where_they_belong_and_are_the_same():
    alone = init(TINY, jax.random.key(0))
    with in_use(mesh_of({"fsdp": 4, "tensor": 2})):
        spread = made(partial(init, TINY), jax.random.key(0))
    assert spread.decoder.embedding.addressable_shards[0].data.shape == (256, 16)
    for one, other in zip(jax.tree.leaves(spread), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


def test_a_mesh_larger_than_the_machine_is_refused():
    sentence = "a mesh of fsdp=16,tensor=2 needs 32 devices, and there are 8"
    with pytest.raises(ValueError, match=sentence):
        mesh_of({"fsdp": 16, "tensor": 2})


def test_an_axis_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="a mesh has no axis 'data'; it has replica, fsdp"):
        mesh_of({"data": 2})


@pytest.mark.parametrize(
    ("mesh", "sentence"),
    [
        ({"replica": 2, "fsdp": 3}, "rows=8 .* over replica=2,fsdp=3; 6 or 12 can"),
        ({"sequence": 3}, "length=40 .* over sequence=3; 39 or 42 can"),
        ({"tensor": 8}, "model.heads=4 .* over tensor=8; 8 can"),
    ],
)
def test_what_a_mesh_does_not_divide_is_named_with_the_nearest_that_it_does(mesh, sentence):
    with pytest.raises(ValueError, match=sentence):
        refuse(mesh, rows=8, length=40, heads=4)
