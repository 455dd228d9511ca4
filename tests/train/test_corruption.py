"""A bit turned in the gradient that one device holds is seen before it enters the weights."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from castor.fleet.ledger import LEDGER, Ledger
from castor.models.layout import in_use, mesh_of, shard, shard_rows
from castor.train import corruption, loop, meter
from castor.train.corruption import (
    NONE,
    WITHIN,
    Doubts,
    Fault,
    Faulty,
    Held,
    agree,
    compares,
    known,
    summed,
    unlike,
)
from castor.train.faults import turn
from castor.train.objectives import SOURCES, Loss
from castor.train.optim import AdamW
from castor.train.run import train
from castor.train.step import StepMetrics, make_step, start
from train.small import NOWHERE, TEXT

MESH = {"replica": 2, "fsdp": 2, "tensor": 2}
RECIPE = replace(
    TEXT,
    steps=5,
    rows=8,
    precision="float32",
    optimizer=AdamW(peak_lr=1e-3),
    log_every=2,
    eval_every=0,
    workers=0,
)


def gradients() -> dict[str, jax.Array]:
    """Of a table that is cut over devices and a norm that is on all of them."""
    random = np.random.default_rng(0)
    table, norm = random.normal(size=(16, 8)), random.normal(size=7)
    return {"embedding": jnp.asarray(table, jnp.float32), "norm": jnp.asarray(norm, jnp.float32)}


@pytest.fixture(scope="module")
def told() -> Callable[[Fault], tuple[Any, np.ndarray, bool]]:
    """Gradients as held, the sums, and whether the replicas agree, under a fault."""

    def found(tree: Any, fault: Any) -> Any:
        held, sums = summed(tree, fault)
        return held, sums, agree(sums)

    def call(fault: Fault) -> tuple[Any, np.ndarray, bool]:
        with in_use(mesh_of(MESH)):
            held, sums, same = compiled(gradients(), np.array(fault, np.int32))
        return held, np.asarray(sums), bool(same)

    compiled = jax.jit(found)
    return call


def faults(count: int) -> list[Fault]:
    """Anywhere in what a device holds of the table: 8 x 4 words of 32 bits."""
    random = np.random.default_rng(1)
    return [Fault(*(int(random.integers(n)) for n in (8, 32, 32))) for _ in range(count)]


def test_a_hundred_of_a_hundred_turned_bits_are_seen_and_their_device_named(told) -> None:
    clean = told(NONE)[1]
    for fault in faults(100):
        _, sums, same = told(fault)
        assert not same
        assert unlike(sums, clean) == [fault.device]


def test_without_a_fault_the_gradients_are_the_ones_given(told) -> None:
    held, _, same = told(NONE)
    assert same
    for one, other in zip(jax.tree.leaves(held), jax.tree.leaves(gradients()), strict=True):
        np.testing.assert_array_equal(one, other)


def test_only_a_mesh_with_replicas_can_be_compared() -> None:
    assert not compares()
    with in_use(mesh_of({"fsdp": 8})):
        assert not compares()
    with in_use(mesh_of(MESH)):
        assert compares()


def faulty(monkeypatch: pytest.MonkeyPatch, when: Callable[[int], Fault]) -> None:
    """Let the calls of a run's step have the faults that `when` says for their numbers."""

    def made(*given: Any, **settings: Any) -> Any:
        step, calls = make_step(*given, **settings), []

        def call(state: Any, batch: Any, *, fault: Fault, **more: Any) -> Any:
            assert fault == NONE
            calls.append(more["after"])
            return step(state, batch, fault=when(len(calls)), **more)

        return call

    monkeypatch.setattr(loop, "make_step", made)
    monkeypatch.setattr(meter, "peak_flops", lambda precision: 1e12)


def ran(out: Path) -> bytes:
    path = train(RECIPE, data=NOWHERE, out=out, mesh=mesh_of(MESH))
    return (path / "weights.safetensors").read_bytes()


def test_a_run_takes_a_spoilt_step_again_and_ends_with_the_bits_of_a_clean_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoilt = {1: Fault(0, 0, 30), 4: Fault(6, 5, 11), 5: Fault(6, 5, 12)}
    faulty(monkeypatch, lambda call: NONE)
    clean = ran(tmp_path / "clean")
    faulty(monkeypatch, lambda call: spoilt.get(call, NONE))
    assert ran(tmp_path / "spoilt") == clean
    lines = map(json.loads, (tmp_path / "spoilt" / LEDGER).read_text().splitlines())
    found = [line for line in lines if line.get("event") == "detected"]
    assert [(line["step"], line["devices"]) for line in found][0] == (1, [0])
    assert {device for line in found[1:] for device in line["devices"]} == {6}


def test_replicas_that_never_agree_end_the_run_and_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty(monkeypatch, lambda call: Fault(3, 1, 7))
    with pytest.raises(ValueError, match=r"3 times the replicas .* step 1: .* devices \[3, 7\]"):
        ran(tmp_path)


@pytest.mark.slow
@pytest.mark.long
def test_ten_thousand_clean_steps_raise_no_alarm(tmp_path: Path) -> None:
    """Neither about gradients nor about weights nor about the loss."""

    def fit(model: Any, batch: jax.Array) -> Loss:
        far = jnp.tanh(batch @ model["embedding"]) - 0.3
        none = jnp.zeros(SOURCES, jnp.float32)
        return Loss(jnp.sum(far**2), jnp.float32(len(batch)), none, none, none)

    transform, rng = AdamW().transform(10_000), np.random.default_rng(0)
    model = {"embedding": jnp.asarray(rng.normal(size=(16, 16)), jnp.float32)}
    with in_use(mesh_of({"replica": 2})), Ledger(tmp_path / LEDGER) as ledger:
        state = start(shard(model), transform, key=jax.random.key(0), ema=0.0)
        step, doubts = make_step(fit, transform, precision="float32"), Doubts(ledger)
        held = known(state.model)
        for n in range(1, 10_001):
            batch = shard_rows(rng.normal(size=(8, 16)).astype(np.float32))
            given = {"after": n - 1, "limit": doubts.limit(n), "held": held}
            state, metrics = step(state, batch, **given)
            assert metrics.held is not None and not doubts.about(n, metrics), n
            held = metrics.held.sums
    assert int(state.step) == 10_000 and not (tmp_path / LEDGER).read_text()


def with_other_targets(
    out: Path, monkeypatch: pytest.MonkeyPatch, when: Callable[[int, int], bool]
) -> tuple[bytes, list[int], list[int]]:
    """A run of which a step, the so manieth time that it is tried, has other targets: its weights,
    the steps in the order in which they were tried, and those whose loss was told to be wrong."""
    tried: list[int] = []

    def made(*given: Any, **settings: Any) -> Any:
        step = make_step(*given, **settings)

        def call(state: Any, batch: Any, **more: Any) -> Any:
            tried.append(more["after"] + 1)
            if when(tried[-1], tried.count(tried[-1])):
                batch = batch._replace(targets=(batch.targets + 7) % 256)
            return step(state, batch, **more)

        return call

    monkeypatch.setattr(meter, "peak_flops", lambda precision: 1e12)
    monkeypatch.setattr(corruption, "FIRST", 4)
    monkeypatch.setattr(loop, "make_step", made)
    path = train(replace(TEXT, steps=14), data=NOWHERE, out=out)
    lines = map(json.loads, (out / LEDGER).read_text().splitlines())
    found = [line["step"] for line in lines if line.get("what") == "loss"]
    return (path / "weights.safetensors").read_bytes(), tried, found


@pytest.mark.slow
def test_a_step_whose_loss_is_far_from_what_it_was_is_taken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corruption, "SPREAD", 1)
    clean, _, none = with_other_targets(tmp_path / "a", monkeypatch, lambda n, time: False)
    once, tried, found = with_other_targets(
        tmp_path / "b", monkeypatch, lambda n, time: n == 12 and time == 1
    )
    assert not none and found == [12] and tried.count(12) == 2
    assert once == clean


@pytest.mark.slow
def test_a_loss_that_is_the_same_again_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corruption, "SPREAD", 1)
    _, tried, found = with_other_targets(tmp_path, monkeypatch, lambda n, time: n == 12)
    assert tried.count(12) == 2 and not found and max(tried) == 14


@pytest.mark.slow
def test_a_weight_that_changes_before_the_first_step_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As while the step is compiled, of a run that has just come back."""

    def made(*given: Any, **settings: Any) -> Any:
        step = make_step(*given, **settings)

        def call(state: Any, batch: Any, **more: Any) -> Any:
            turn(state.model, 5, 9, 20)
            return step(state, batch, **more)

        return call

    monkeypatch.setattr(loop, "make_step", made)
    monkeypatch.setattr(meter, "peak_flops", lambda precision: 1e12)
    with pytest.raises(ValueError, match=r"the weights on the devices \[5\] changed by themselves"):
        ran(tmp_path)


def test_of_three_replicas_the_odd_one_is_named(tmp_path: Path) -> None:
    sums = np.zeros((3, 1, 1, 2, 1), np.uint32)
    sums[2, 0, 0, 1, 0] = 9
    with Ledger(tmp_path / LEDGER) as ledger:
        doubts = Doubts(ledger)
        spoilt = metrics(taken=False, sums=sums)
        assert doubts.about(4, spoilt) and doubts.about(4, spoilt)
        with pytest.raises(ValueError, match=r"step 4: .* of the devices \[5\]"):
            doubts.about(4, spoilt)


def test_a_device_that_is_wrong_again_and_again_is_to_be_left_out(tmp_path: Path) -> None:
    right = np.zeros((2, 4, 1, 1, 1), np.uint32)
    wrong = right.copy()
    wrong[1, 2] = 9
    with Ledger(tmp_path / LEDGER) as ledger:
        doubts = Doubts(ledger)
        for number in (1, WITHIN + 1, WITHIN + 2, WITHIN + 3):  # the first is too long ago
            assert doubts.about(number, metrics(taken=False, sums=wrong))
            if number == WITHIN + 3:
                break
            assert not doubts.about(number, metrics(taken=True, sums=right))
        with pytest.raises(Faulty, match=r"the devices \[6\] were wrong 3 times") as found:
            doubts.about(WITHIN + 3, metrics(taken=True, sums=right))
    assert found.value.devices == [6]
    lines = [json.loads(line) for line in (tmp_path / LEDGER).read_text().splitlines()]
    assert lines[-1]["what"] == "device" and lines[-1]["devices"] == [6]


def metrics(*, taken: bool, sums: np.ndarray) -> StepMetrics:
    zero, none = jnp.zeros(()), jnp.zeros(64)
    held = Held(sums, np.zeros(sums.shape, bool))
    loss = Loss(zero, zero, none, none, none)
    return StepMetrics(loss, zero, zero, jnp.bool_(taken), sums, held)
