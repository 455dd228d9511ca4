import jax
import jax.numpy as jnp
import numpy as np

from castor.models.encoder import init_encoder_block, look_around


def layers(count: int, width: int = 24):
    keys = jax.random.split(jax.random.key(0), count)
    return jax.vmap(lambda key: init_encoder_block(width, count, key))(keys)


def slots(*shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(1), shape)


def test_slots_of_another_owner_have_no_influence():
    x, owners = slots(1, 6, 24), jnp.array([[1, 1, 1, 2, 2, 0]])
    before = look_around(layers(2), x, owners, heads=2)
    after = look_around(layers(2), x.at[0, 3].add(1.0), owners, heads=2)
    np.testing.assert_array_equal(before[0, :3], after[0, :3])
    assert np.abs(before[0, 3:5] - after[0, 3:5]).max(axis=-1).min() > 1e-4


def test_slots_see_each_other_in_both_directions():
    x, owners = slots(1, 4, 24), jnp.ones((1, 4), jnp.int32)
    before = look_around(layers(1), x, owners, heads=2)
    after = look_around(layers(1), x.at[0, 3].add(1.0), owners, heads=2)
    assert np.abs(before[0, 0] - after[0, 0]).max() > 1e-4


def test_no_layers_change_nothing():
    x = slots(2, 3, 24)
    np.testing.assert_array_equal(
        look_around(layers(0), x, jnp.ones((2, 3), jnp.int32), heads=2), x
    )


def test_a_layer_has_about_twelve_times_its_width_squared_weights():
    block = init_encoder_block(192, 1, jax.random.key(0))
    total = sum(leaf.size for leaf in jax.tree.leaves(block))
    assert abs(total / (12 * 192**2) - 1) < 0.03
