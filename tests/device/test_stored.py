"""Folders of graphs are whole or not there, and hold weights once."""

from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from castor.device.layout import DECODER, EMBEDDING, WEIGHTS, encoders_in
from castor.device.stored import keep
from castor.device.weights import PRECISIONS
from castor.models.quant import quantise
from castor.models.sizes import ExpertsConfig
from tests.device.models import GEMMA_3, SIGHTED, SMALL, lively


def test_what_is_there_is_not_written_again(tmp_path: Path) -> None:
    folder, model = tmp_path / "graphs", lively(SMALL)
    keep(model, config=SMALL, folder=folder, precision="int4")
    before = (folder / WEIGHTS).stat().st_mtime_ns
    assert keep(model, config=SMALL, folder=folder, precision="int4") == folder
    assert (folder / WEIGHTS).stat().st_mtime_ns == before


def test_a_model_that_is_refused_leaves_nothing_behind(tmp_path: Path) -> None:
    config = replace(SMALL, experts=ExpertsConfig(4, 2, 32))
    with pytest.raises(ValueError, match="models with experts do not run on onnxruntime yet"):
        keep(lively(config), config=config, folder=tmp_path / "graphs", precision="int4")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_table_and_the_head_are_the_same_bytes(tmp_path: Path, precision: str) -> None:
    keep(lively(SMALL), config=SMALL, folder=tmp_path / "g", precision=precision)
    places = [
        {
            tuple(entry.value for entry in tensor.external_data)
            for tensor in onnx.load(
                tmp_path / "g" / name, load_external_data=False
            ).graph.initializer
            if tensor.name.startswith("embedding")
        }
        for name in (EMBEDDING, DECODER)
    ]
    assert places[0] == places[1]
    assert places[0]


def test_four_bits_take_five_bytes_for_eight_weights(tmp_path: Path) -> None:
    keep(lively(GEMMA_3), config=GEMMA_3, folder=tmp_path / "g", precision="int4")
    graph = onnx.load(tmp_path / "g" / DECODER, load_external_data=False).graph
    sizes = {"codes": 0, "scales": 0}
    for tensor in graph.initializer:
        for kind in sizes:
            if tensor.name.endswith(f".{kind}"):
                sizes[kind] += int({e.key: e.value for e in tensor.external_data}["length"])
    assert sizes["scales"] * 4 == sizes["codes"]


def test_every_kind_that_a_model_reads_has_a_graph(tmp_path: Path) -> None:
    keep(lively(SIGHTED), config=SIGHTED, folder=tmp_path / "g", precision="int4")
    assert encoders_in(tmp_path / "g") == {"image": "image.onnx", "audio": "audio.onnx"}


def test_graphs_pass_the_checker_of_onnx_where_their_operators_are_its_own(tmp_path: Path) -> None:
    keep(quantise(lively(SMALL)), config=SMALL, folder=tmp_path / "g", precision="float32")
    onnx.checker.check_model(tmp_path / "g" / EMBEDDING)
