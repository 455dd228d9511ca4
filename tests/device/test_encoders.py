"""The encoders' graphs give the states that the encoders do."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from castor.core.batch import Signal, Slots
from castor.device import weights
from castor.device.encoders import readable
from castor.device.speaking import Reading
from castor.device.weights import Precision
from castor.models.modality import encode
from castor.models.signals import FramesConfig, PatchesConfig, SiglipConfig, VitConfig
from castor.models.sizes import TINY, ModelConfig
from castor.sample.reading import prompt_of
from castor.tokens.render import Tokens
from tests.device.models import (
    GEMMA_3,
    SHARING,
    SIGHTED,
    ids_for,
    lively,
    reference,
    runtime,
)

SIGHTS = {"with a stem and no layers": replace(TINY, context=64), "with layers": SIGHTED}


SQUARE = replace(
    GEMMA_3,
    image=SiglipConfig(patch=6, pool=2, side=6, layers=2, width=64, heads=4, hidden=100),
)


SHAPELESS = replace(
    GEMMA_3,
    image=VitConfig(
        patch=4, pool=2, layers=2, width=48, heads=3, head_width=16, hidden=80, side=16
    ),
)


def windows(config: ModelConfig, kind: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    random, places = np.random.default_rng(2), np.arange(count, dtype=np.int32)
    if kind == "audio":
        values = random.uniform(-1, 1, (count, 7, config.audio.mels)).astype(np.float16)
        return values, np.stack([np.zeros_like(places), places], 1)
    span = config.image.patch + 2 * getattr(config.image, "halo", 0)
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


@pytest.mark.parametrize("precision", ["float32", "int4"])
def test_states_of_a_square_are_siglips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: Precision
) -> None:
    monkeypatch.setattr(weights, "INT8_ACTIVATIONS", 1)  # states stay float32
    model = lively(SQUARE)
    graphs = runtime(model, SQUARE, tmp_path / "g", precision)
    values, places = windows(SQUARE, "image", SQUARE.image.slots)
    columns, blocks = np.zeros((1, 9), np.int32), np.ones((1, 9), np.int32)
    slots = Slots(values[None], places[None], columns, blocks)
    found = encode(model.encoders["image"], slots, config=SQUARE)
    wanted, got = np.asarray(found)[0], graphs.encode("image", values, places)
    near = 1e-4 if precision == "float32" else 0.3  # 4 bits of random weights: measured 0.1
    assert np.abs(got - wanted).max() < near * np.abs(wanted).max()


@pytest.mark.parametrize("clipped", [True, False])
@pytest.mark.parametrize("standardized", [True, False])
def test_states_of_a_picture_of_any_shape_are_the_encoders(
    tmp_path: Path, clipped: bool, standardized: bool
) -> None:
    image = replace(SHAPELESS.image, clipped=clipped, standardized=standardized)
    config = replace(SHAPELESS, image=image)
    model = lively(config)
    graphs = runtime(model, config, tmp_path / "g", "float32")
    values, places = windows(config, "image", 7)
    columns, blocks = np.zeros((1, 7), np.int32), np.ones((1, 7), np.int32)
    slots = Slots(values[None], places[None], columns, blocks)
    wanted = np.asarray(encode(model.encoders["image"], slots, config=config))[0]
    got = graphs.encode("image", values, places)
    assert np.abs(got - wanted).max() < 1e-4 * np.abs(wanted).max()


@pytest.mark.parametrize("name", [pytest.param("ours", marks=pytest.mark.slow), "siglip", "vit"])
def test_a_prompt_with_a_picture_is_read_as_the_decoder_reads_it(tmp_path: Path, name: str) -> None:
    image = {"ours": SIGHTED.image, "siglip": SQUARE.image, "vit": SHAPELESS.image}[name]
    config = replace(SHARING, image=image)
    model, ids, blocks = lively(config), ids_for(config), np.zeros(23, np.int32)
    graphs = runtime(model, config, tmp_path / "g", "float32")
    values, places = windows(config, "image", 9)
    blocks[4:13] = 1
    columns = np.arange(4, 13, dtype=np.int32)[None]
    slots = Slots(values[None], places[None], columns, np.ones((1, 9), np.int32))
    wanted = reference(model, ids, config, blocks=blocks, media={"image": slots})
    signals = ((4, Signal("image", values, places)),)
    prompt = prompt_of(Tokens(ids, np.zeros(23, np.float32), signals, ()))
    reading = Reading(graphs, prompt, row=graphs.row(64))
    while reading.left:
        reading.advance(8)
    assert np.abs(reading.logits - wanted[-1]).max() < 1e-4 * np.abs(wanted).max()


def test_groups_that_are_not_full_are_quantised_too(tmp_path: Path) -> None:
    graphs = runtime(lively(SQUARE), SQUARE, tmp_path / "g", "int4")
    assert graphs.kinds == {"image"}
    graph = onnx.load(tmp_path / "g" / "image.onnx", load_external_data=False).graph
    inputs = {a.i for node in graph.node for a in node.attribute if a.name == "K"}
    assert inputs == {3 * 6**2, 64, 100}
    assert not [node for node in graph.node if node.op_type == "MatMul"]


def test_kinds_whose_encoders_have_no_graph_are_left_out() -> None:
    assert readable(SIGHTED) == SIGHTED
    assert readable(replace(SIGHTED, image=PatchesConfig())).image is None
    assert readable(replace(SIGHTED, audio=FramesConfig())).audio is None
