"""What is kept in memory comes back bit for bit, on the same mesh or another."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from castor.fleet.drill import FLIP, WEIGHT, ask
from castor.fleet.ledger import LEDGER, Ledger, entries
from castor.fleet.team import Team
from castor.models.layout import in_use, mesh_of, shard
from castor.train.corruption import NONE, Fault, known
from castor.train.faults import injected, turn
from castor.train.memory import Kept, Memory, place_of
from castor.train.step import TrainState


def state_of(step: int) -> TrainState:
    """A state whose numbers differ from step to step."""
    rng = np.random.default_rng(step)
    table = jnp.asarray(rng.normal(size=(16, 8)), jnp.float32)
    model = {"embedding": table, "norm": jnp.asarray(rng.normal(size=7), jnp.float32)}
    counts = jnp.int32(step), jnp.int32(0)
    return TrainState(
        model, (), {"mu": jax.tree.map(jnp.negative, model)}, jax.random.key(step), *counts
    )


def same(one: TrainState, other: TrainState) -> None:
    plain = [replace(s, key=jax.random.key_data(s.key)) for s in (one, other)]
    for a, b in zip(*map(jax.tree.leaves, plain), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Memory]:
    with Ledger(tmp_path / LEDGER) as ledger, made(tmp_path, ledger) as memory:
        yield memory
        memory.clear()


def made(folder: Path, ledger: Ledger) -> Memory:
    return Memory(Kept(folder=folder), "run-1", Team(), ledger)


def test_the_newest_state_comes_back(memory: Memory) -> None:
    assert memory.newest(state_of(0), after=0) is None
    for step in (1, 2, 3):
        memory.put(step, state_of(step), None)
    memory.wait()
    found = memory.newest(state_of(0), after=0)
    assert found is not None
    same(found, state_of(3))


def test_another_process_finds_it_where_this_one_left_it(tmp_path: Path, memory: Memory) -> None:
    memory.put(5, state_of(5), None)
    memory.wait()
    with Ledger(tmp_path / LEDGER) as ledger, made(tmp_path, ledger) as later:
        found = later.newest(state_of(0), after=4)
    assert found is not None
    same(found, state_of(5))


def test_what_is_no_newer_than_the_checkpoint_is_left(memory: Memory) -> None:
    memory.put(5, state_of(5), None)
    memory.wait()
    assert memory.newest(state_of(0), after=5) is None
    assert memory.newest(state_of(0), after=7) is None


@pytest.mark.parametrize("sizes", [{"fsdp": 4}, {"fsdp": 2, "tensor": 2}, {"replica": 2}], ids=str)
def test_it_comes_back_on_another_mesh(memory: Memory, sizes: dict[str, int]) -> None:
    with in_use(mesh_of({"fsdp": 8})):
        memory.put(2, shard(state_of(2)), None)
        memory.wait()
    with in_use(mesh_of(sizes)):
        like = shard(state_of(0))
        found = memory.newest(like, after=0)
    assert found is not None
    assert found.model["embedding"].sharding == like.model["embedding"].sharding
    same(found, state_of(2))


def test_of_a_damaged_state_the_one_before_comes_back(tmp_path: Path, memory: Memory) -> None:
    for step in (1, 2):
        memory.put(step, state_of(step), None)
    memory.wait()
    newest = max(place_of(tmp_path, "run-1", 0).glob("0.[01]"), key=lambda p: p.stat().st_mtime_ns)
    content = bytearray(newest.read_bytes())
    content[-5] ^= 4
    with newest.open("rb+") as file:
        file.write(content)
    found = memory.newest(state_of(0), after=0)
    assert found is not None
    same(found, state_of(1))
    events = entries((tmp_path / LEDGER).read_text().split("\n")).events
    assert any("does not match its checksum" in e.details.get("trouble", "") for e in events)


def test_a_step_that_changed_nothing_is_not_put(memory: Memory) -> None:
    memory.put(1, state_of(1), None)
    memory.put(2, state_of(1), None)  # refused: the state is still that after step 1
    memory.wait()
    found = memory.newest(state_of(0), after=0)
    assert found is not None
    same(found, state_of(1))


def test_a_state_whose_weights_changed_is_not_put(memory: Memory) -> None:
    with in_use(mesh_of({"replica": 2})):
        states = [shard(state_of(step)) for step in (1, 2)]
        held = jax.block_until_ready([known(state.model) for state in states])
        turn(states[1].model, 0, 5, 3)
        for step, (state, sums) in enumerate(zip(states, held, strict=True), start=1):
            memory.put(step, state, sums)
        memory.wait()
        found = memory.newest(shard(state_of(0)), after=0)
    assert found is not None
    same(found, state_of(1))


def test_instead_of_a_state_that_changed_comes_one_from_before_it(memory: Memory) -> None:
    """Even if it was put, since it may have been after it changed."""
    with in_use(mesh_of({"replica": 2})):
        states = [shard(state_of(step)) for step in (1, 2)]
        memory.put(1, states[0], known(states[0].model))
        memory.put(2, states[1], None)
        memory.put(3, states[1], None)  # the step that found it changed nothing
        for changed in (states[1], states[0]):  # the one that came back changes too
            found, sums = memory.instead(changed, [0])
            assert sums is not None
            np.testing.assert_array_equal(sums, known(shard(state_of(1)).model))
            same(found, state_of(1))


def test_places_are_worked_out_anew_when_a_state_is_placed_elsewhere(memory: Memory) -> None:
    for step, sizes in enumerate(({"fsdp": 4}, {"fsdp": 2, "tensor": 2}), start=1):
        with in_use(mesh_of(sizes)):
            memory.put(step, shard(state_of(step)), None)
            memory.wait()
            found = memory.newest(shard(state_of(0)), after=0)
        assert found is not None
        same(found, state_of(step))


def test_at_the_end_nothing_is_left(tmp_path: Path) -> None:
    with Ledger(tmp_path / LEDGER) as ledger, made(tmp_path, ledger) as memory:
        memory.put(1, state_of(1), None)
        memory.clear()
    assert not place_of(tmp_path, "run-1", 0).exists()


def test_a_fault_that_was_asked_for_is_made_once(tmp_path: Path) -> None:
    state = state_of(1)
    assert injected(tmp_path, state) == NONE
    ask(tmp_path, FLIP, device=3, word=17, bit=5)
    assert injected(tmp_path, state) == Fault(3, 17, 5)
    assert injected(tmp_path, state) == NONE


def test_one_bit_of_one_weight_is_turned(tmp_path: Path) -> None:
    state = state_of(1)
    before = np.array(state.model["embedding"])
    ask(tmp_path, WEIGHT, device=0, word=9, bit=20)
    assert injected(tmp_path, state) == NONE
    after = np.asarray(state.model["embedding"])
    turned = before.view(np.uint32) ^ after.view(np.uint32)
    assert turned.reshape(-1)[9] == 1 << 20 and np.count_nonzero(turned) == 1
    turn(state.model, 0, 9, 20)
    np.testing.assert_array_equal(state.model["embedding"], before)
