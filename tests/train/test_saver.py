"""Checkpoints wait for room on a full disk, if the run is kept elsewhere meanwhile."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from castor.checkpoint import Keep, place
from castor.fleet.team import Team
from castor.models.image_codec import init_codec
from castor.train import saver
from castor.train.job import codec_job
from castor.train.saver import Saver
from castor.train.step import TrainState
from train.small import CODEC, NOWHERE


@pytest.fixture
def state() -> TrainState:
    codec = init_codec(CODEC.model, jax.random.key(0))
    return TrainState(codec, codec, (), jax.random.key(1), jnp.int32(3), jnp.int32(0))


JOB = codec_job(CODEC, data=NOWHERE, out=NOWHERE)


def disk(monkeypatch: pytest.MonkeyPatch, *free: int) -> list[int]:
    """A disk that has so much room when it is asked; what is left of that list."""
    left = list(free)

    def usage(path: Path) -> Any:
        del path
        return SimpleNamespace(free=left.pop(0))

    monkeypatch.setattr(saver.shutil, "disk_usage", usage)
    monkeypatch.setattr(saver, "SIGN_S", 0.001)
    return left


def test_on_a_full_disk_it_waits_for_room_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: TrainState
) -> None:
    told: list[str] = []
    left = disk(monkeypatch, 5_000_000, 0, 0, 10**12, 7)
    with Saver(tmp_path, Keep(), Team(), full=told.append) as run:
        run.save(JOB, 3, None, state)
        run.wait()
    assert place(tmp_path, 3).is_dir() and left == [7]
    assert len(told) == 1 and "has 5 left: make room" in told[0] and "step 3" in told[0]


def test_it_does_not_wait_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: TrainState
) -> None:
    disk(monkeypatch, *[0] * 10_000)
    monkeypatch.setattr(saver, "ROOM_S", 0.05)
    with Saver(tmp_path, Keep(), Team(), full=lambda _: None) as run:
        run.save(JOB, 3, None, state)
        run.wait()  # which finds that there was room
    assert place(tmp_path, 3).is_dir()


def test_a_run_that_is_kept_nowhere_else_does_not_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: TrainState
) -> None:
    left = disk(monkeypatch, 0)
    with Saver(tmp_path, Keep(), Team()) as run:
        run.save(JOB, 3, None, state)
        run.wait()
    assert place(tmp_path, 3).is_dir() and left == [0]
