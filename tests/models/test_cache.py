from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from castor.models.cache import (
    Cache,
    LayerCache,
    append,
    empty_cache,
    fitted,
    row_put,
    rows_apart,
    rows_joined,
    rows_taken,
    written,
)
from castor.models.sizes import TINY, Layer, Sight, Stage

UNEQUAL = replace(  # heads of two widths and numbers, and a layer that has no cache
    TINY,
    layers=3,
    kv_heads=2,
    pattern=(Layer(), Layer(head_width=8, kv_heads=4)),
    further=(Stage((Layer(keys_of=0),)),),
)


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


def test_a_window_hides_what_lies_too_far_back():
    cache, valid, blocks = (
        cache_of([3], room=6),
        jnp.ones((1, 2), bool),
        jnp.zeros((1, 2), jnp.int32),
    )
    mask = written(cache, valid, blocks, sight=Sight(3, True))
    np.testing.assert_array_equal(mask[0], [[0, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 0]])


def test_slots_ahead_are_hidden_from_layers_that_only_look_back():
    cache, valid, blocks = (
        cache_of([1], room=4),
        jnp.ones((1, 2), bool),
        jnp.ones((1, 2), jnp.int32),
    )
    mask = written(cache, valid, blocks, sight=Sight(None, False))
    np.testing.assert_array_equal(mask[0], [[1, 1, 0, 0], [1, 1, 1, 0]])


def filled(rows: int) -> Cache:
    cache = empty_cache(UNEQUAL, rows=rows, room=2, dtype=jnp.float32)
    leaves, tree = jax.tree.flatten(cache)
    return jax.tree.unflatten(
        tree, [jnp.arange(x.size, dtype=x.dtype).reshape(x.shape) for x in leaves]
    )


def test_heads_and_widths_are_those_of_each_layer_and_shared_ones_have_none():
    cache = empty_cache(UNEQUAL, rows=3, room=7, dtype=jnp.float32)
    shapes = [layer and layer.k.shape for layer in cache.layers]
    assert shapes == [(1, 6, 7, 16), (1, 12, 7, 8), None]


def test_rows_that_are_parted_and_joined_are_the_same():
    cache = filled(3)
    again = rows_joined(rows_apart(cache))
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), again, cache))


def test_rows_taken_are_those_rows_in_that_order():
    cache = filled(3)
    taken, apart = rows_taken(cache, jnp.array([2, 0])), rows_apart(cache)
    expected = rows_joined([apart[2], apart[0]])
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), taken, expected))


def test_a_row_put_in_a_place_is_found_there():
    cache, row = filled(3), rows_apart(filled(5))[4]
    one, two, three = rows_apart(cache)
    put = row_put(cache, row, at=jnp.int32(1))
    expected = rows_joined([one, row, three])
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), put, expected))
    assert not (row.lengths == two.lengths).all()


def test_what_lies_ahead_is_seen_up_to_the_last_new_token_or_the_window():
    cache, valid, blocks = cache_of([1], room=5), jnp.array([[1, 1, 1, 0]], bool), [[0] * 4]
    for window, rows in ((None, [[1, 1, 1, 1, 0]] * 3), (2, [[1, 1, 1, 0, 0], [0, 1, 1, 1, 0]])):
        sight = Sight(window, False, ahead=True)
        mask = written(cache, valid, jnp.array(blocks, jnp.int32), sight=sight)[0]
        np.testing.assert_array_equal(mask[: len(rows)], rows)
        assert not mask[3].any()
