"""GGUF files, read back with the package's own reader."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from gguf import GGUFReader
from gguf.quants import dequantize

from castor.interop.gguf import PRECISIONS, write_gguf
from castor.interop.gguf_settings import architecture
from castor.models.quant import INT8, Format, QTensor, dense, quantise
from castor.models.sizes import Layer, ModelConfig
from tests.interop.llama import SHAPES, SIZES, random_model, shape, spoken


def read(path: Path) -> dict[str, np.ndarray]:
    """Every array of a file in float32."""
    return {t.name: dequantize(t.data, t.tensor_type) for t in GGUFReader(path).tensors}


def written(path: Path, model: Any, config: ModelConfig, precision: str) -> dict[str, np.ndarray]:
    write_gguf(path, model, config, vocab=spoken(), precision=precision)
    return read(path)


def test_matrices_lie_turned_and_norms_have_their_one(tmp_path: Path) -> None:
    config = shape("gemma3")
    model = random_model(config)
    found = written(tmp_path / "m.gguf", model, config, "float32")
    blocks = model.decoder.blocks
    assert (found["token_embd.weight"] == model.decoder.embedding).all()
    assert (found["blk.4.ffn_down.weight"] == blocks[1].down[1].T).all()  # of 3 to a group
    assert (found["blk.5.attn_norm.weight"] == 1 + blocks[2].attention_norm[1]).all()
    expected = (1 + blocks[0].query_norm[0]) * (16 / 24) ** 0.5  # scores have another scale there
    np.testing.assert_allclose(found["blk.0.attn_q_norm.weight"], expected, rtol=1e-6)


@pytest.mark.parametrize("name", SHAPES)
def test_every_weight_of_every_shape_has_a_place(name: str, tmp_path: Path) -> None:
    config = shape(name)
    model = random_model(config)
    found = written(tmp_path / "m.gguf", model, config, "bfloat16")
    extra = config.head_width_of(config.every_layer[-1]) // 2 if name[:6] == "gemma4" else 0
    count = sum(leaf.size for leaf in jax.tree.leaves(model))
    assert sum(array.size for array in found.values()) == count + extra


@pytest.mark.parametrize("format", [Format(4), INT8])
def test_codes_are_packed_without_another_rounding(format: Format, tmp_path: Path) -> None:
    config = shape("gemma", hidden=128)
    model = quantise(random_model(config), format=format)
    found = written(tmp_path / "m.gguf", model, config, "float32")
    gate = model.decoder.blocks[0].gate
    assert isinstance(gate, QTensor)
    assert (found["blk.1.ffn_gate.weight"] == dense(gate)[1].T).all()
    assert (found["token_embd.weight"] == dense(model.decoder.embedding)).all()


def test_offsets_of_asymmetric_codes_are_float16(tmp_path: Path) -> None:
    config = shape("gemma", hidden=128)
    model = quantise(random_model(config), format=Format(4, symmetric=False))
    found = written(tmp_path / "m.gguf", model, config, "float32")
    expected = np.asarray(dense(model.decoder.blocks[0].up))[1].T
    assert np.abs(found["blk.1.ffn_up.weight"] - expected).max() < 1e-3 * np.abs(expected).max()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_precision_loses_what_it_must(precision: str, tmp_path: Path) -> None:
    most = {"float32": 0, "float16": 5e-4, "bfloat16": 4e-3, "q8_0": 0.01, "q4_0": 0.15}
    config = shape("gemma")
    model = random_model(config)
    found = written(tmp_path / "m.gguf", model, config, precision)["blk.2.attn_q.weight"]
    expected = np.asarray(model.decoder.blocks[0].wq[2]).T
    lost = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    assert lost <= most[precision]


def test_the_vocabulary_goes_along(tmp_path: Path) -> None:
    config = shape("gemma")
    write_gguf(tmp_path / "m.gguf", random_model(config), config, vocab=spoken(), name="small")
    fields = GGUFReader(tmp_path / "m.gguf").fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    assert len(tokens) == len(set(tokens)) == config.vocab
    assert tokens[300] == spoken().pieces[300].text
    assert tokens[400:402] == ["<code_0>", "<code_1>"]
    assert fields["tokenizer.ggml.eot_token_id"].contents() == 8
    assert fields["general.name"].contents() == "small"


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "ours": ({"qk_norm": True, "post_norms": False}, "qk_norm=True.* without norms after"),
    "scale": ({"score_scale": 0.5}, "gemma2 multiplies scores with 0.25, this decoder with 0.5"),
    "caps": ({"logit_cap": None}, "gemma2 caps logits and scores; this decoder does not"),
    "vault": ({"post_norms": False}, "has no architecture for vaultgemma"),
    "whole": ({"pattern": (Layer(),)}, "needs layers with a window and layers without"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_llama_cpp_does_not_compute_is_refused(name: str, tmp_path: Path) -> None:
    changes, sentence = REFUSED[name]
    config = shape("gemma2", **changes)
    with pytest.raises(ValueError, match=sentence):
        write_gguf(tmp_path / "m.gguf", random_model(config), config, vocab=spoken())
    assert not list(tmp_path.iterdir())


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    config = shape("gemma")
    model = random_model(config)
    with pytest.raises(ValueError, match="precision='int3' is none of float32, "):
        write_gguf(tmp_path / "m", model, config, vocab=spoken(), precision="int3")
    with pytest.raises(ValueError, match="has 640 ids, its vocabulary 512"):
        write_gguf(tmp_path / "m", model, replace(config, vocab=640), vocab=spoken())
    odd = quantise(model, format=Format(8, symmetric=False))
    with pytest.raises(ValueError, match="no 8-bit weights with zero points"):
        write_gguf(tmp_path / "m", odd, config, vocab=spoken())
    assert not list(tmp_path.iterdir())


def test_the_shape_of_our_own_models_fits_none() -> None:
    with pytest.raises(ValueError, match="no architecture of llama.cpp"):
        architecture(ModelConfig(**(SIZES | {"layers": 2, "vocab": 512})))
