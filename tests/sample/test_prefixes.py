"""What is kept of prompts: against a plain list that adds everything up anew."""

import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from castor.models.cache import Cache, LayerCache
from castor.sample.prefixes import LEAST, Prefixes

MOST = 4000


def cache_of(room: int) -> Cache:
    keys = np.zeros((1, 1, room, 2), np.float32)
    return Cache((LayerCache(jnp.asarray(keys), jnp.asarray(keys)),), jnp.zeros(1, jnp.int32))


def bytes_of(room: int) -> int:
    return 2 * 4 * 2 * room + 4


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 1), st.integers(LEAST - 4, LEAST + 6), st.integers(1, 120)),
        max_size=30,
    )
)
def test_the_sum_of_bytes_is_that_of_the_rows_that_are_left(keeps) -> None:
    kept, rows = Prefixes(bytes_most=MOST), list[tuple[bytes, int]]()
    for kind, length, room in keeps:
        marks = np.full(length, kind, np.int64)
        kept.keep(marks, cache_of(room))
        if length >= LEAST:
            rows = [row for row in rows if not marks.tobytes().startswith(row[0])]
            rows.append((marks.tobytes(), bytes_of(room)))
            while sum(size for _, size in rows) > MOST:
                rows.pop(0)
        assert kept.bytes == sum(size for _, size in rows) <= MOST


def test_a_row_larger_than_all_room_is_not_kept() -> None:
    kept = Prefixes(bytes_most=MOST)
    kept.keep(np.zeros(LEAST, np.int64), cache_of(300))
    assert kept.bytes == 0
