"""Files of weights, quantised ones too: what is written comes back exactly."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors
from hypothesis import given
from hypothesis import strategies as st

from castor.models.decoder import init
from castor.models.quant import INT4, INT8, Format, QTensor, is_quantised, quantise
from castor.models.sizes import ModelConfig
from castor.models.stored import doubled, halved, packed, unpacked

CONFIG = ModelConfig(layers=2, width=32, hidden=96, heads=1, head_width=32, vocab=65)
FORMATS = (INT4, INT8, Format(4, symmetric=False), Format(8, symmetric=False))


@given(codes=st.lists(st.integers(-8, 7), min_size=12, max_size=12), axis=st.sampled_from([0, 1]))
def test_codes_in_halves_of_bytes_come_back(codes: list[int], axis: int) -> None:
    grid = np.array(codes, np.int8).reshape(2, 6)
    pairs = halved(grid, axis=axis)
    assert pairs.nbytes * 2 == grid.nbytes
    np.testing.assert_array_equal(doubled(pairs, axis=axis), grid)


def test_the_first_of_two_codes_is_the_low_half() -> None:
    assert halved(np.array([3, -1], np.int8), axis=0).tolist() == [0xF3]


@pytest.mark.parametrize("form", FORMATS, ids=str)
def test_a_quantised_model_comes_back_bit_for_bit(tmp_path: Path, form: Format) -> None:
    made = quantise(init(CONFIG, jax.random.key(0)), format=form)
    file = tmp_path / "weights.safetensors"
    file.write_bytes(packed(made, "float32"))
    found = unpacked(file, partial(init, CONFIG))
    assert jax.tree.structure(found) == jax.tree.structure(made)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(made), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one.astype(jnp.float32), other.astype(jnp.float32))
    assert packed(found, "float32") == file.read_bytes()


def test_the_file_is_as_long_as_its_weights_say(tmp_path: Path) -> None:
    made = quantise(init(CONFIG, jax.random.key(0)), format=FORMATS[2])
    stored = dict(safetensors.deserialize(packed(made, "float16")))
    assert stored["decoder.embedding.codes"]["dtype"] == "U8"
    assert stored["decoder.embedding.scales"]["dtype"] == "F16"
    leaves = jax.tree.leaves(made, is_leaf=is_quantised)
    wanted = sum(x.stored_bytes if isinstance(x, QTensor) else 2 * x.size for x in leaves)
    found = sum(len(array["data"]) for array in stored.values())
    assert wanted <= found <= wanted + len(leaves)  # a last half byte


def test_other_weights_than_the_tree_has_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    file.write_bytes(packed(quantise(init(CONFIG, jax.random.key(0))), "float16"))
    wider = ModelConfig(layers=2, width=64, hidden=96, heads=1, head_width=32, vocab=65)
    with pytest.raises(ValueError, match=r"embedding is \(65, 32\), its config.json says \(65, 64"):
        unpacked(file, partial(init, wider))
    with pytest.raises(ValueError, match="other weights than its config.json describes, e.g. 1"):
        unpacked(file, lambda key: {"1": key, "2": key})
