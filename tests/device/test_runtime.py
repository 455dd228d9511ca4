"""Rows of the cache: they grow, are copied and are cut back, and nothing of it shows."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from castor.device.layout import WEIGHTS
from castor.device.memory import Pages
from castor.device.runtime import HIDDEN, LEAST_ROOM, LOOKED_UP, Runtime, bias_of
from castor.models.cache import Cache, empty_cache, written
from castor.models.sizes import Sight
from tests.device.models import GEMMA_3, ids_for, lively, runtime


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    folder = tmp_path_factory.mktemp("runtime") / "int4"
    return runtime(lively(GEMMA_3), GEMMA_3, folder, "int4")


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("length", [0, 5])
def test_a_bias_hides_what_the_cache_says_is_not_seen(window: int | None, length: int) -> None:
    blocks = np.array([0, 1, 1, 1, 2, 2, 0], np.int32)
    empty = empty_cache(GEMMA_3, rows=1, room=length + 7, dtype=jnp.float32)
    seen = written(
        Cache(empty.layers, jnp.array([length], jnp.int32)),
        jnp.ones((1, 7), bool),
        jnp.asarray(blocks[None]),
        sight=Sight(window, True),
    )
    bias = bias_of(blocks, length, window=window)
    np.testing.assert_array_equal(bias[0] == 0, np.asarray(seen))
    assert set(np.unique(bias)) == {np.float32(0), HIDDEN}


def test_a_row_grows_and_holds_what_it_held(graphs: Runtime) -> None:
    ids, narrow, wide = ids_for(GEMMA_3), graphs.row(0), graphs.row(64)
    for name, array in narrow.arrays.items():
        narrow.arrays[name] = np.ascontiguousarray(array[:, :, :8])
    for i in ids:
        one = np.array([i])
        got = graphs.extend(narrow, graphs.embed(one)).logits.copy()
        wanted = graphs.extend(wide, graphs.embed(one)).logits
        np.testing.assert_array_equal(got, wanted)
    assert (narrow.room, wide.room) == (32, LEAST_ROOM)


def test_a_row_that_was_cut_back_goes_on_as_if_it_had_never_held_more(graphs: Runtime) -> None:
    ids, row, fresh = ids_for(GEMMA_3), graphs.row(64), graphs.row(64)
    graphs.extend(row, graphs.embed(ids))
    graphs.extend(fresh, graphs.embed(ids[:9]))
    row.length = 9
    got, wanted = (graphs.extend(one, graphs.embed(ids[:2])).logits for one in (row, fresh))
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_a_copy_of_a_row_goes_its_own_way(graphs: Runtime) -> None:
    ids, row = ids_for(GEMMA_3), graphs.row(64)
    graphs.extend(row, graphs.embed(ids[:9]))
    copy = row.copy()
    graphs.extend(row, graphs.embed(ids[9:12]))
    got = graphs.extend(copy, graphs.embed(ids[20:21])).logits
    again = graphs.row(64)
    graphs.extend(again, graphs.embed(ids[:9]))
    wanted = graphs.extend(again, graphs.embed(ids[20:21])).logits
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_the_table_is_looked_up_in_alike_whatever_was_let_go(graphs: Runtime) -> None:
    ids = np.arange(LOOKED_UP, dtype=np.int32) % GEMMA_3.vocab
    np.testing.assert_array_equal(graphs.embed(ids), graphs.embed(ids))


def test_a_file_that_is_not_mapped_has_no_pages(tmp_path: Path) -> None:
    pages = Pages(tmp_path / WEIGHTS)
    pages.let_go()
    assert pages.bytes == 0


def test_pages_that_were_let_go_come_back_as_they_were(tmp_path: Path) -> None:
    file = tmp_path / WEIGHTS
    file.write_bytes(bytes(range(256)) * 64)
    mapped = np.memmap(file, np.uint8, "r")
    before, pages = mapped.copy(), Pages(file)
    pages.let_go()
    np.testing.assert_array_equal(mapped, before)
    assert pages.bytes in (0, file.stat().st_size)
