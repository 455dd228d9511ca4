"""The encoders' graphs give the states that the encoders do."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from castor.core.batch import Slots
from castor.device.encoders import readable
from castor.models.modality import encode
from castor.models.signals import FramesConfig, SiglipConfig
from castor.models.sizes import TINY, ModelConfig
from tests.device.models import SIGHTED, lively, runtime

SIGHTS = {"with a stem and no layers": replace(TINY, context=64), "with layers": SIGHTED}


def windows(config: ModelConfig, kind: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    random, places = np.random.default_rng(2), np.arange(count, dtype=np.int32)
    if kind == "audio":
        values = random.uniform(-1, 1, (count, 7, config.audio.mels)).astype(np.float16)
        return values, np.stack([np.zeros_like(places), places], 1)
    span = config.image.patch + 2 * config.image.halo
    shape = (count, config.image.pool**2, span, span, 3)
    return random.integers(0, 256, shape, np.uint8), np.stack([places % 3, places // 3], 1)


@pytest.mark.parametrize("kind", ["image", "audio"])
@pytest.mark.parametrize("name", SIGHTS)
def test_states_of_a_medium_are_the_encoders(tmp_path: Path, name: str, kind: str) -> None:
    config, model = SIGHTS[name], lively(SIGHTS[name])
    graphs = runtime(model, config, tmp_path / "g", "float32")
    for count in (1, 6, 11):
        values, places = windows(config, kind, count)
        columns, blocks = np.zeros((1, count), np.int32), np.ones((1, count), np.int32)
        slots = Slots(values[None], places[None], columns, blocks)
        wanted = np.asarray(encode(model.encoders[kind], slots, config=config))[0]
        got = graphs.encode(kind, values, places)
        assert np.abs(got - wanted).max() < 1e-4 * np.abs(wanted).max()


def test_kinds_whose_encoders_have_no_graph_are_left_out() -> None:
    assert readable(SIGHTED) == SIGHTED
    assert readable(replace(SIGHTED, image=SiglipConfig())).image is None
    assert readable(replace(SIGHTED, audio=FramesConfig())).audio is None
