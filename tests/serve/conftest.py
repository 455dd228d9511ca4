"""The store that tests share, and their patience: a busy machine is no failure."""

from pathlib import Path

import pytest
from hypothesis import settings

from castor.serve import batch_runner
from castor.serve.store import Store

from .routed import Clock, store_in

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture
def opened(tmp_path: Path) -> tuple[Store, Clock]:
    """A store in the folder `data`, and its clock."""
    return store_in(tmp_path / "data")


@pytest.fixture
def kept(opened: tuple[Store, Clock]) -> Store:
    """The store alone."""
    return opened[0]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that is tried again is tried at once."""
    monkeypatch.setattr(batch_runner, "WAITS_S", (0.01,) * 3)
    monkeypatch.setattr(batch_runner, "PAUSE_S", 0.01)
