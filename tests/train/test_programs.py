"""A program of a mesh of CPUs is read back as it was, unless that would be another one."""

import hashlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from jax.stages import Lowered

from castor.models.layout import in_use, mesh_of
from castor.train import programs
from castor.train.programs import compiled

SIZES = {"replica": 2, "fsdp": 4}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """JAX itself keeps nothing meanwhile."""
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()
    yield tmp_path / "mesh"
    jax.config.update("jax_compilation_cache_dir", before)
    jax.config.update("jax_enable_compilation_cache", True)
    compilation_cache.reset_cache()


def lowered(factor: float, *, loops: bool = False) -> Lowered:
    """A program that exchanges something, within a loop or not."""
    place = NamedSharding(jax.sharding.get_mesh(), P("fsdp"))

    def once(x: jax.Array) -> jax.Array:
        shared = jax.lax.with_sharding_constraint(x, P())
        return jax.lax.with_sharding_constraint(shared @ shared * factor, P("fsdp"))

    def run(x: jax.Array) -> jax.Array:
        if not loops:
            return once(x)
        return jax.lax.scan(lambda x, _: (once(x), None), x, None, length=3)[0]

    return jax.jit(run).lower(jax.ShapeDtypeStruct((8, 8), jnp.float32, sharding=place))


def given() -> jax.Array:
    place = NamedSharding(jax.sharding.get_mesh(), P("fsdp"))
    return jax.device_put(np.arange(64, dtype=np.float32).reshape(8, 8), place)


def refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, nothing may be compiled."""

    def never(*_: object) -> None:
        raise AssertionError("it was compiled")

    monkeypatch.setattr(Lowered, "compile", never)


def test_it_is_compiled_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with in_use(mesh_of(SIZES)):
        first = compiled(partial(lowered, 2.0))(given())
        refuse(monkeypatch)
        again = compiled(partial(lowered, 2.0))(given())
        assert first.sharding == again.sharding
        np.testing.assert_array_equal(np.asarray(first), np.asarray(again))
        with pytest.raises(AssertionError, match="it was compiled"):
            compiled(partial(lowered, 3.0))
    assert len(list(folder.iterdir())) == 1


def test_one_that_is_named_need_not_be_traced_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never() -> Lowered:
        raise AssertionError("it was traced")

    with in_use(mesh_of(SIZES)):
        first = compiled(partial(lowered, 2.0), told="double")(given())
        again = compiled(never, told="double")(given())
        np.testing.assert_array_equal(np.asarray(first), np.asarray(again))
        with pytest.raises(AssertionError, match="it was traced"):
            compiled(never, told="triple")
        monkeypatch.setattr(programs, "SOURCES", "of another version")
        with pytest.raises(AssertionError, match="it was traced"):
            compiled(never, told="double")
    with (
        in_use(mesh_of({"fsdp": 4, "tensor": 2})),
        pytest.raises(AssertionError, match="it was traced"),
    ):
        compiled(never, told="double")


def test_a_named_one_that_is_damaged_is_compiled_again_and_found_from_then_on(
    folder: Path,
) -> None:
    with in_use(mesh_of(SIZES)):
        first = compiled(partial(lowered, 2.0), told="double")(given())
        (kept,) = (path for path in folder.iterdir() if not path.is_symlink())
        whole = kept.read_bytes()
        kept.write_bytes(whole[:100])
        again = compiled(partial(lowered, 2.0), told="double")(given())
        np.testing.assert_array_equal(np.asarray(first), np.asarray(again))
        kept.unlink()  # as the oldest one is
        compiled(partial(lowered, 2.0), told="double")
    assert len(list(folder.iterdir())) == 2


def test_one_that_is_damaged_is_compiled_again(folder: Path) -> None:
    with in_use(mesh_of(SIZES)):
        first = compiled(partial(lowered, 2.0))(given())
        (kept,) = folder.iterdir()
        whole = kept.read_bytes()
        turned = whole[:-1] + bytes([whole[-1] ^ 1])
        for damaged in (b"", whole[: len(whole) // 2], bytes(len(whole)), turned):
            kept.write_bytes(damaged)
            again = compiled(partial(lowered, 2.0))(given())
            np.testing.assert_array_equal(np.asarray(first), np.asarray(again))
            anew = kept.read_bytes()
            assert anew != damaged and hashlib.sha256(anew[32:]).digest() == anew[:32]


def test_one_that_exchanges_within_a_loop_is_not_kept(folder: Path) -> None:
    with in_use(mesh_of(SIZES)):
        compiled(partial(lowered, 2.0, loops=True))
    assert not folder.exists()


@pytest.mark.parametrize("keep_unused", [False, True])
def test_which_arrays_a_program_takes_is_never_mixed_up(folder: Path, keep_unused: bool) -> None:
    """Without those that it does not use, two that take others have the same text."""
    with in_use(mesh_of(SIZES)):
        x = jax.ShapeDtypeStruct((8,), jnp.float32)
        for used in (lambda a, b: a + 1, lambda a, b: b + 1):
            program = compiled(partial(jax.jit(used, keep_unused=keep_unused).lower, x, x))
            found = program(jnp.zeros(8), jnp.ones(8))
            np.testing.assert_array_equal(found, used(np.zeros(8), np.ones(8)))
    assert folder.exists() == keep_unused


def test_without_a_mesh_it_is_left_to_jax(folder: Path) -> None:
    compiled(partial(jax.jit(lambda x: x + 1).lower, jnp.float32(1)))
    assert not folder.exists()


def test_what_jax_may_have_read_back_is_not_written_down_again(folder: Path) -> None:
    jax.config.update("jax_enable_compilation_cache", True)
    with in_use(mesh_of(SIZES)):
        compiled(partial(lowered, 2.0))
    assert not folder.exists()


def test_with_no_folder_nothing_is_kept(folder: Path) -> None:
    jax.config.update("jax_compilation_cache_dir", None)
    with in_use(mesh_of(SIZES)):
        compiled(partial(lowered, 2.0))(given())
    assert not folder.exists()
