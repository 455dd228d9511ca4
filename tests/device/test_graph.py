"""The decoder's graph computes what the decoder does."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from castor.device import weights
from castor.device.graph import refuse
from castor.device.runtime import Runtime
from castor.interop.hf import load_hf
from castor.models.decoder import Model
from castor.models.per_layer import MEDIA
from castor.models.quant import INT8, Format, densed, quantise
from castor.models.sizes import ExpertsConfig, Layer, ModelConfig, Stage
from tests.device.models import (
    FAMILIES,
    GEMMA_3,
    SHARING,
    SMALL,
    ids_for,
    lively,
    reference,
    runtime,
)
from tests.interop.conftest import FIXTURES

EXACT = 1e-4  # of the largest logit
# Of the logits' deviation, what rounding states to 8 bits in blocks of 32 costs random models of
# these shapes: measured 0.015 to 0.026 for weights of 4 and 8 bits alike.
INT8_STATES = 0.04
FORMATS = [Format(4), Format(4, symmetric=False), INT8]
Made = Callable[[str], tuple[Model, ModelConfig, Runtime]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    found: dict[str, tuple[Model, ModelConfig, Runtime]] = {}

    def make(name: str) -> tuple[Model, ModelConfig, Runtime]:
        if name not in found:
            config = FAMILIES[name]
            model, folder = lively(config), tmp_path_factory.mktemp("graph") / "float32"
            found[name] = model, config, runtime(model, config, folder, "float32")
        return found[name]

    return make


@pytest.mark.parametrize("name", FAMILIES)
def test_all_at_once_gives_the_decoders_logits(made: Made, name: str) -> None:
    model, config, graphs = made(name)
    ids = ids_for(config)
    wanted = reference(model, ids, config)
    came = graphs.extend(graphs.row(64), graphs.embed(ids), kept=range(len(ids)))
    assert np.abs(came.logits - wanted).max() < EXACT * np.abs(wanted).max()


@pytest.mark.parametrize("name", FAMILIES)
def test_token_by_token_gives_the_same(made: Made, name: str) -> None:
    model, config, graphs = made(name)
    ids, row = ids_for(config), graphs.row(64)
    wanted = reference(model, ids, config)
    for i in range(len(ids)):
        got = graphs.extend(row, graphs.embed(ids[i : i + 1])).logits[0]
        assert np.abs(got - wanted[i]).max() < EXACT * np.abs(wanted).max()


def test_chunks_give_the_same_as_the_whole(made: Made) -> None:
    model, config, graphs = made("gemma3")
    ids, row, got = ids_for(config), graphs.row(64), []
    for start, stop in ((0, 5), (5, 17), (17, 23)):
        states = graphs.embed(ids[start:stop])
        got.append(graphs.extend(row, states, kept=range(stop - start)).logits)
    wanted = reference(model, ids, config)
    assert np.abs(np.concatenate(got) - wanted).max() < EXACT * np.abs(wanted).max()


@pytest.mark.parametrize("name", ["ours", "gemma3 that sees", "gemma4 that shares and sees"])
def test_slots_of_one_medium_see_each_other_and_no_other(made: Made, name: str) -> None:
    model, config, graphs = made(name)
    ids, blocks = ids_for(config), np.zeros(23, np.int32)
    blocks[4:9], blocks[9:12], blocks[15:22] = 1, 2, 3
    ids[blocks > 0] = MEDIA
    wanted = reference(model, ids, config, blocks=blocks)
    row = graphs.row(64)
    first = graphs.extend(row, graphs.embed(ids[:12]), blocks=blocks[:12], kept=range(12))
    rest = graphs.extend(row, graphs.embed(ids[12:]), blocks=blocks[12:], kept=range(11))
    got = np.concatenate([first.logits, rest.logits])
    assert np.abs(got - wanted).max() < EXACT * np.abs(wanted).max()
    assert np.abs(reference(model, ids, config) - wanted).max() > 100 * EXACT


def test_what_a_layer_reads_of_another_takes_no_memory(made: Made) -> None:
    _, _, graphs = made("gemma4 that shares")
    assert set(graphs.row(1).arrays) == {f"{name}.{i}" for name in "kv" for i in range(4)}
    assert SHARING.layers == 6


@pytest.mark.parametrize("name", ["gemma3_text", "gemma4_text"])
def test_published_shapes_give_the_decoders_logits_and_the_fixtures(
    tmp_path: Path, name: str
) -> None:
    model, config = load_hf(FIXTURES / name)
    graphs = runtime(model, config, tmp_path / "g", "float32")
    told = np.load(FIXTURES / name / "reference.npz")
    ids, published = told["in_input_ids"][1], told["out_logits"][1]
    row, got = graphs.row(64), []
    for start, stop in ((0, 9), (9, 10), (10, len(ids))):
        states = graphs.embed(ids[start:stop])
        got.append(graphs.extend(row, states, kept=range(stop - start)).logits.copy())
    wanted = reference(model, ids, config)
    assert np.abs(np.concatenate(got) - wanted).max() < EXACT * np.abs(wanted).max()
    assert np.abs(np.concatenate(got) - published).max() < EXACT * np.abs(published).max()


def test_only_what_is_kept_and_asked_for_comes_back(made: Made) -> None:
    model, config, graphs = made("gemma3")
    ids = ids_for(config)
    wanted = reference(model, ids, config)
    came = graphs.extend(graphs.row(64), graphs.embed(ids), kept=[3, 7, 22], asked=[1])
    assert came.final.shape == (3, config.width)
    assert came.logits.shape == (1, config.vocab)
    assert np.abs(came.logits[0] - wanted[7]).max() < EXACT * np.abs(wanted).max()
    none = graphs.extend(graphs.row(64), graphs.embed(ids), asked=[])
    assert none.logits.shape == (0, config.vocab)


@pytest.mark.parametrize("format", FORMATS, ids=str)
@pytest.mark.parametrize("name", ["gemma2", "gemma3"])
def test_codes_mean_what_they_meant_before_they_were_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, format: Format
) -> None:
    monkeypatch.setattr(weights, "INT8_ACTIVATIONS", 1)  # states stay float32
    config = FAMILIES[name]
    model = quantise(lively(config), format=format)
    graphs = runtime(model, config, tmp_path / "q", "int4")
    ids = ids_for(config)
    wanted = reference(densed(model), ids, config)
    came = graphs.extend(graphs.row(64), graphs.embed(ids), kept=range(len(ids)))
    assert np.abs(came.logits - wanted).max() < EXACT * np.abs(wanted).max()


@pytest.mark.parametrize("format", FORMATS, ids=str)
@pytest.mark.parametrize("name", ["gemma3", "gemma4 without sharing"])
def test_states_of_8_bits_cost_no_more_than_is_said(
    tmp_path: Path, name: str, format: Format
) -> None:
    config = FAMILIES[name]
    model = quantise(lively(config), format=format)
    graphs = runtime(model, config, tmp_path / "q", "int4")
    ids = ids_for(config)
    wanted = reference(densed(model), ids, config)
    came = graphs.extend(graphs.row(64), graphs.embed(ids), kept=range(len(ids)))
    off = np.sqrt(np.mean((came.logits - wanted) ** 2)) / wanted.std()
    assert 1e-3 < off < INT8_STATES


def test_float32_is_asked_for_of_quantised_weights_too(tmp_path: Path) -> None:
    model = quantise(lively(GEMMA_3))
    graphs = runtime(model, GEMMA_3, tmp_path / "f", "float32")
    ids = ids_for(GEMMA_3)
    wanted = reference(densed(model), ids, GEMMA_3)
    came = graphs.extend(graphs.row(64), graphs.embed(ids), kept=range(len(ids)))
    assert np.abs(came.logits - wanted).max() < EXACT * np.abs(wanted).max()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (replace(SMALL, experts=ExpertsConfig(4, 2, 32)), "models with experts do not run"),
        (
            replace(
                SMALL,
                layers=3,
                pattern=(Layer(),) * 2,
                further=(Stage((Layer(keys_of=0, rope_base=1e6),)),),
            ),
            "with layers that turn otherwise than those whose keys they read do",
        ),
        (replace(SMALL, pattern=(Layer(ahead=True),)), "with layers that look ahead do"),
        (replace(SMALL, head_width=24), "with heads whose width is no multiple of 16 do"),
    ],
)
def test_what_has_no_graph_is_refused(config: ModelConfig, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        refuse(config)
