import json
import math
from dataclasses import replace
from functools import partial

import jax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from castor.interop.configs import FULL, LOCAL, config_from, grouped
from castor.interop.describe import config_to
from castor.models.decoder import init
from castor.models.sizes import Layer
from tests.interop.conftest import FIXTURES
from tests.interop.published import PUBLISHED

SMALL = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "vocab_size": 64,
}


def small(kind: str, **more: object) -> dict:
    return {"model_type": kind, **SMALL, **more}


def layers(kind: str, **more: object) -> tuple[Layer, ...]:
    return config_from(small(kind, **more)).every_layer


def flat(stages) -> list[Layer]:
    return [layer for stage in stages for layer in stage.pattern * stage.repeats]


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_size_has_the_published_number_of_weights(name):
    data, published = PUBLISHED[name]
    shapes = jax.eval_shape(partial(init, config_from(data)), jax.random.key(0))
    weights = sum(math.prod(x.shape) for x in jax.tree.leaves(shapes))
    exact = isinstance(published, int)
    assert weights == (published if exact else pytest.approx(published, rel=2e-3))


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_config_is_written_so_that_it_is_read_again(name):
    config = config_from(PUBLISHED[name][0])
    assert config_from(json.loads(json.dumps(config_to(config)))) == config


@given(st.lists(st.sampled_from([Layer(), Layer(window=4), Layer(rope_base=1e6)]), min_size=1))
def test_grouped_layers_are_the_layers(several):
    assert flat(grouped(several)) == several


@given(st.data())
def test_a_layer_that_others_read_is_not_repeated(data):
    own = data.draw(st.integers(1, 8))
    read = data.draw(st.sets(st.integers(0, own - 1), min_size=1))
    several = [Layer()] * own + [Layer(keys_of=i) for i in sorted(read)]
    stages = grouped(several)
    assert flat(stages) == several
    ends = [sum(len(s.pattern) * s.repeats for s in stages[: n + 1]) for n in range(len(stages))]
    for i in read:
        assert stages[next(n for n, end in enumerate(ends) if i < end)].repeats == 1


@pytest.mark.parametrize(("length", "found"), [(24, [(6, 4)]), (26, [(6, 4), (1, 2)])])
def test_five_local_layers_and_a_global_one_are_one_pattern(length, found):
    several = [Layer(window=None if (i + 1) % 6 == 0 else 8) for i in range(length)]
    assert [(len(s.pattern), s.repeats) for s in grouped(several)] == found


def test_the_two_ways_to_list_layer_types_agree():
    listed = layers("gemma3_text", layer_types=[LOCAL, FULL, LOCAL, FULL])
    assert listed == layers("gemma3_text", sliding_window_pattern=2)
    assert [layer.window for layer in listed] == [4096, None, 4096, None]


def test_the_two_ways_to_tell_rotary_positions_agree():
    old = {"rope_theta": 5e5, "rope_local_base_freq": 2e4} | {
        "rope_scaling": {"rope_type": "linear", "factor": 4.0}
    }
    new = {
        FULL: {"rope_theta": 5e5, "rope_type": "linear", "factor": 4.0},
        LOCAL: {"rope_theta": 2e4, "rope_type": "default"},
    }
    found = layers("gemma3_text", sliding_window_pattern=2, **old)
    assert found == layers("gemma3_text", sliding_window_pattern=2, rope_parameters=new)
    assert [(x.rope_base, x.rope_factor) for x in found[:2]] == [(2e4, 1.0), (5e5, 4.0)]


def test_the_two_ways_to_tell_global_heads_agree():
    types = [LOCAL, FULL, LOCAL, FULL]
    one = {"attention_k_eq_v": True, "global_head_dim": 16, "num_global_key_value_heads": 2}
    other = {"attention_k_eq_v": True, "per_layer_config": {
        str(i): {"head_dim": 16, "num_key_value_heads": 2} for i in (1, 3)
    }}  # fmt: skip
    found = layers("gemma4_text", layer_types=types, **one)
    assert found == layers("gemma4_text", layer_types=types, **other)
    assert (found[1].head_width, found[1].kv_heads, found[1].tied_values) == (16, 2, True)


def test_global_key_heads_count_only_where_values_are_keys():
    found = layers("gemma4_text", num_global_key_value_heads=2)
    assert all(layer.kv_heads is None for layer in found)


def test_the_last_layer_of_gemma_4_sees_everything():
    assert layers("gemma4_text")[-1].window is None


def test_layers_that_share_read_the_last_of_their_type():
    types = [LOCAL, FULL, LOCAL, FULL]
    found = layers("gemma4_text", layer_types=types, num_kv_shared_layers=2)
    assert [layer.keys_of for layer in found] == [None, None, 0, 1]


def test_layers_that_share_are_twice_as_wide_when_told_so():
    more = {"num_kv_shared_layers": 1, "use_double_wide_mlp": True}
    found = layers("gemma4_text", layer_types=[LOCAL, FULL, LOCAL, FULL], **more)
    assert [layer.hidden for layer in found] == [None, None, None, 64]


@pytest.mark.parametrize(("kind", "option"), [("gemma3_text", True), ("gemma4_text", "all")])
def test_text_that_sees_ahead_does_so_half_as_far_as_the_window_says(kind, option):
    types = [LOCAL, FULL, LOCAL, FULL]
    more = {"layer_types": types, "use_bidirectional_attention": option, "sliding_window": 8}
    found = layers(kind, **more)
    assert [(layer.window, layer.ahead) for layer in found] == [(5, True), (None, True)] * 2
    config = config_from(small(kind, **more))
    assert config_from(config_to(config)) == config


@pytest.mark.parametrize(("option", "blocks"), [(None, [False] * 2), ("vision", [True, False])])
def test_pictures_see_themselves_in_local_layers_of_the_large_gemma_4(option, blocks):
    more = {"layer_types": [LOCAL, FULL] * 2, "use_bidirectional_attention": option}
    assert [layer.blocks for layer in layers("gemma4_text", **more)][:2] == blocks


def test_the_decoder_of_several_signals_is_the_text_config_within():
    data = json.loads((FIXTURES / "gemma4_dense" / "config.json").read_text())
    assert replace(config_from(data), image=None) == config_from(data["text_config"])


def test_gelu_in_a_first_gemma_is_the_one_by_tanh():
    assert config_from(small("gemma", hidden_act="gelu")) == config_from(small("gemma"))


@pytest.mark.parametrize(
    ("kind", "change", "sentence"),
    [
        ("gemma3n_text", {}, "model_type='gemma3n_text' is none that we read; we read gem"),
        (None, {}, "model_type=None is none that we read"),
        ("gemma2", {"hidden_activation": "silu"}, "hidden_activation='silu'; we compute 'gelu_py"),
        ("gemma2", {"rms_norm_eps": 1e-5}, "rms_norm_eps=1e-05; we compute with 1e-06 alone"),
        ("gemma", {"attention_bias": True}, "attention_bias=True; we compute with False alone"),
        ("gemma", {"tie_word_embeddings": False}, "our output is the embedding, transposed"),
        ("gemma2", {"layer_types": [FULL]}, "must be 4 of 'full_attention' and 'sliding"),
        ("gemma2", {"layer_types": ["chunked"] * 4}, r"layer_types=\['chunked'"),
        ("gemma", {"rope_parameters": {"rope_type": "yarn"}}, "rope_type='yarn'; we turn by 'def"),
        ("gemma4_text", {"per_layer_config": {"1": {"vocab_size": 1}}}, "'vocab_size' cannot"),
        ("gemma", {"hidden_size": None}, "hidden_size=None must be a whole number"),
        ("gemma4_text", {"enable_moe_block": True}, "num_experts=None must be a whole number"),
        ("gemma4_text", {"num_kv_shared_layers": 4}, "num_kv_shared_layers=4: layer 0 has none to"),
    ],
)  # fmt: skip
def test_an_option_that_we_do_not_compute_is_named(kind, change, sentence):
    with pytest.raises(ValueError, match=sentence):
        config_from(small(kind, **change))
