from dataclasses import replace

import jax.numpy as jnp
import numpy as np

from castor.models.cache import Cache, LayerCache, append, empty_cache, fitted, written
from castor.models.sizes import TINY


def cache_of(lengths: list[int], room: int) -> Cache:
    empty = empty_cache(TINY, rows=len(lengths), room=room, dtype=jnp.float32)
    return replace(empty, lengths=jnp.array(lengths, jnp.int32))


def seen(cache: Cache, valid: list[list[int]], blocks: list[list[int]]) -> np.ndarray:
    mask = written(cache, jnp.array(valid, bool), jnp.array(blocks, jnp.int32))
    return np.asarray(mask).astype(int)


def test_an_empty_cache_holds_nothing_for_every_row():
    cache = empty_cache(TINY, rows=3, room=7, dtype=jnp.bfloat16)
    (layer,) = cache.layers
    assert layer.k.shape == (2, 3, 7, 16) and layer.k.dtype == jnp.bfloat16
    assert cache.room == 7 and cache.lengths.tolist() == [0, 0, 0]


def test_keys_are_put_behind_what_each_row_holds():
    layer = LayerCache(jnp.zeros((4, 4, 1)), jnp.zeros((4, 4, 1)))
    new = jnp.array([[[1.0, 5.0], [2.0, 6.0]], [[3.0, 7.0], [4.0, 8.0]]])[..., None]  # [B T K H]
    layer = append(layer, new, -new, at=jnp.array([0, 2], jnp.int32))
    held = [[1, 2, 0, 0], [5, 6, 0, 0], [0, 0, 3, 4], [0, 0, 7, 8]]
    np.testing.assert_array_equal(layer.k[..., 0], held)
    np.testing.assert_array_equal(layer.v, -layer.k)
    k, v = layer.by_row(2)
    np.testing.assert_array_equal(k[:, :2, :, 0][0], new[0, :, :, 0])
    np.testing.assert_array_equal(v[:, 2:, :, 0][1], -new[1, :, :, 0])


def test_what_would_lie_past_the_end_is_left_out_and_moves_nothing():
    held = jnp.arange(1.0, 6.0)[None, :, None]
    layer = append(
        LayerCache(held, -held),
        jnp.full((1, 3, 1, 1), 9.0),
        jnp.zeros((1, 3, 1, 1)),
        at=jnp.array([4], jnp.int32),
    )
    assert layer.k[0, :, 0].tolist() == [1, 2, 3, 4, 9]
    assert layer.v[0, :, 0].tolist() == [-1, -2, -3, -4, 0]


def test_one_token_sees_what_its_row_holds_and_itself():
    mask = seen(cache_of([0, 2, 1], room=4), [[1], [1], [0]], [[0], [0], [0]])
    np.testing.assert_array_equal(mask[:, 0], [[1, 0, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0]])


def test_tokens_read_together_see_the_ones_before_them():
    mask = seen(cache_of([1], room=5), [[1, 1, 0]], [[0, 0, 0]])
    np.testing.assert_array_equal(mask[0], [[1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [0, 0, 0, 0, 0]])


def test_slots_of_a_medium_see_each_other_but_not_those_of_another():
    mask = seen(cache_of([1], room=6), [[1, 1, 1, 1]], [[1, 1, 2, 2]])
    expected = [[1, 1, 1, 0, 0, 0], [1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 0]]
    np.testing.assert_array_equal(mask[0], expected)


def test_a_grown_cache_keeps_what_it_held():
    cache = cache_of([2], room=3)
    wide = fitted(cache, room=9)
    assert wide.room == 9 and wide.lengths.tolist() == [2]
    np.testing.assert_array_equal(wide.layers[0].k[:, :, :3], cache.layers[0].k)
