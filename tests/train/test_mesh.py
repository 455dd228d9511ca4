"""A run on many devices is the run on one."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from jax.stages import Compiled, Lowered

from castor.checkpoint import load
from castor.core.batch import Batch
from castor.models.decoder import init
from castor.models.layout import in_use, mesh_of, shard, shard_rows
from castor.models.sizes import TINY
from castor.train import meter, programs
from castor.train.metrics import read
from castor.train.objectives import next_token
from castor.train.optim import AdamW
from castor.train.run import train
from train.small import NOWHERE, TEXT

# Muon turns its momentum in bfloat16, where the order of a sum is seen at once.
ALIKE = replace(
    TEXT,
    model=replace(TEXT.model, heads=8, context=160),
    length=160,
    rows=8,
    precision="float32",
    optimizer=AdamW(peak_lr=1e-3),
    log_every=1,
    eval_every=0,
    workers=0,
)


@pytest.fixture(autouse=True)
def known_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "peak_flops", lambda precision: 1e12)


def ran(
    out: Path, sizes: dict[str, int] | None, steps: int, *, ring: bool = False
) -> tuple[list[float], Path]:
    """The losses of a run, and its checkpoint."""
    mesh = None if sizes is None else mesh_of(sizes)
    path = train(replace(ALIKE, steps=steps, ring=ring), data=NOWHERE, out=out, mesh=mesh)
    return [line["loss"] for line in read(out / "metrics.jsonl") if "loss" in line], path


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """The losses of fifty steps on one device."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(meter, "peak_flops", lambda precision: 1e12)
        return ran(tmp_path_factory.mktemp("alone"), None, 50)[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "sizes",
    [
        {"fsdp": 8},
        {"tensor": 8},
        {"fsdp": 4, "tensor": 2},
        {"sequence": 8},
        {"replica": 2, "fsdp": 4},
    ],
    ids=str,
)
def test_fifty_steps_on_eight_devices_lose_what_one_loses(
    tmp_path: Path, alone: list[float], sizes: dict[str, int]
) -> None:
    np.testing.assert_allclose(ran(tmp_path, sizes, 50)[0], alone, rtol=1e-5)


@pytest.mark.slow
def test_fifty_steps_in_a_ring_lose_what_one_device_loses(
    tmp_path: Path, alone: list[float]
) -> None:
    losses, _ = ran(tmp_path, {"replica": 2, "sequence": 4}, 50, ring=True)
    np.testing.assert_allclose(losses, alone, rtol=1e-5)


@pytest.mark.slow
def test_the_same_mesh_gives_the_same_bits(tmp_path: Path) -> None:
    one, other = (ran(tmp_path / name, {"fsdp": 4, "tensor": 2}, 12)[1] for name in "ab")
    files = [(path / "weights.safetensors").read_bytes() for path in (one, other)]
    assert files[0] == files[1]


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [{"fsdp": 4, "tensor": 2}, {"replica": 2, "fsdp": 4}], ids=str)
def test_a_step_is_compiled_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sizes: dict[str, int]
) -> None:
    """What a step gives back lies where it was taken from, and is said to."""
    made: list[str] = []

    def counted(lower: Callable[[], Lowered], *, told: str) -> Compiled:
        del told
        lowered = lower()
        made.append(lowered.as_text().split("@jit_")[1].split(" ")[0])
        return lowered.compile()

    monkeypatch.setattr(programs, "compiled", counted)
    ran(tmp_path, sizes, 3)
    assert made.count("step") == 1


@pytest.mark.slow
def test_a_run_goes_on_on_another_mesh(tmp_path: Path) -> None:
    ran(tmp_path, {"fsdp": 4, "tensor": 2}, 2)
    (tmp_path / "recipe.json").unlink()
    losses, path = ran(tmp_path, None, 3)
    whole, _ = ran(tmp_path / "whole", None, 3)
    np.testing.assert_allclose(losses, whole, rtol=1e-5)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(load(path).model))


def test_a_mesh_that_does_not_divide_the_rows_is_refused_before_anything(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rows=8 cannot be shared out over fsdp=3; 6 or 9 can"):
        ran(tmp_path / "none", {"fsdp": 3}, 2)
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
@pytest.mark.long
def test_rows_of_32768_tokens_are_learned_from_with_their_columns_shared_out() -> None:
    length = 32_768
    config = replace(TINY, layers=1, heads=1, kv_heads=1, vocab=64, context=length, hidden=64)
    tokens = np.random.default_rng(0).integers(0, 64, (1, length)).astype(np.int32)
    ones, places = np.ones_like(tokens), np.arange(length, dtype=np.int32)[None]
    weights, none = np.ones(tokens.shape, np.float32), np.zeros_like(tokens)
    batch = Batch(tokens, np.roll(tokens, -1), weights, ones, places, none, none, {})

    def slope_of(ring: bool) -> Any:
        return jax.jit(jax.value_and_grad(lambda *x: next_token(*x, config=config, ring=ring).nats))

    model = init(config, jax.random.key(0))
    nats, slope = slope_of(ring=False)(model, batch)
    for ring in (False, True):
        with in_use(mesh_of({"sequence": 8})):
            apart = slope_of(ring)(shard(model), shard_rows(batch))
        np.testing.assert_allclose(apart[0], nats, rtol=1e-5)
        for one, other in zip(jax.tree.leaves(apart[1]), jax.tree.leaves(slope), strict=True):
            most = np.abs(other).max(initial=0)
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3 * most)
