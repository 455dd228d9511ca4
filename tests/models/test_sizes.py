import math
import os
from functools import cache
from pathlib import Path

import jax
import pytest

from castor.models import sizes
from castor.models.decoder import init
from castor.models.sizes import ModelConfig

GOLDENS = Path(__file__).parent / "goldens"
NAMES = ["TINY", "MINI", "DEMO", "DEMO_LARGE", "NANO_1", "NANO_2", "PRO", "ULTRA"]
REPORTED = {"NANO_1": 1.8e9, "NANO_2": 3.25e9}  # Gemini report, table 1


@cache
def tree(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    shapes = jax.eval_shape(lambda key: init(config, key), jax.random.key(0))
    leaves = jax.tree_util.tree_leaves_with_path(shapes)
    return {jax.tree_util.keystr(path): leaf.shape for path, leaf in leaves}


def total(config: ModelConfig) -> int:
    return sum(math.prod(shape) for shape in tree(config).values())


@pytest.mark.parametrize("name", NAMES)
def test_the_weights_of_a_size_are_those_of_the_golden_tree(name):
    config = getattr(sizes, name)
    lines = [f"{total(config):,} weights"]
    lines += [f"{path} {'x'.join(map(str, shape))}" for path, shape in tree(config).items()]
    text, golden = "\n".join(lines) + "\n", GOLDENS / f"{name}.txt"
    if os.environ.get("CASTOR_UPDATE"):
        golden.write_text(text)
    assert text == golden.read_text()


@pytest.mark.parametrize("name", REPORTED)
def test_the_nano_sizes_have_the_weights_that_the_report_gives(name):
    assert total(getattr(sizes, name)) == pytest.approx(REPORTED[name], rel=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_every_size_shares_one_key_value_head(name):
    assert getattr(sizes, name).kv_heads == 1


def test_query_heads_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="heads=6 is not a multiple of kv_heads=4"):
        ModelConfig(layers=1, width=8, hidden=8, heads=6, head_width=2, kv_heads=4)


def test_layers_that_do_not_fill_the_pattern_are_refused():
    with pytest.raises(ValueError, match="layers=3 is not a multiple of the pattern's 2"):
        pattern = (sizes.Layer(), sizes.Layer(rope_base=1e6))
        ModelConfig(layers=3, width=8, hidden=8, heads=4, head_width=2, pattern=pattern)
