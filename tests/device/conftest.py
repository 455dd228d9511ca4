"""A tiny engine of JAX and the same model's graphs, shared by the tests of the device."""

from pathlib import Path

import pytest

from castor.device.engine import DeviceEngine
from castor.device.stored import keep
from castor.sample.engine import Engine
from tests.sample.conftest import documents, engine, vocab

__all__ = ["documents", "engine", "vocab"]


@pytest.fixture(scope="session")
def folder(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("device") / "float32"
    return keep(engine.weights, config=engine.shape, folder=folder, precision="float32")


@pytest.fixture(scope="session")
def device(engine: Engine, folder: Path) -> DeviceEngine:
    return DeviceEngine(folder, vocab=engine.vocab, codec=engine.codec, threads=1)
