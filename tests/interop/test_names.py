import pytest

from castor.interop.configs import config_from
from castor.interop.names import LAYER, is_dead, plain, sources
from tests.interop.published import PUBLISHED


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("model.embed_tokens.weight", "embed_tokens.weight"),
        ("model.model.norm.weight", "norm.weight"),
        ("language_model.model.layers.1.mlp.up_proj.weight", "layers.1.mlp.up_proj.weight"),
        ("model.language_model.norm.weight", "norm.weight"),
        ("model.vision_tower.post_layernorm.bias", "vision_tower.post_layernorm.bias"),
        ("embed_tokens.weight", "embed_tokens.weight"),
    ],
)
def test_a_name_loses_only_what_its_class_puts_before_it(name, kept):
    assert plain(name) == kept


@pytest.mark.parametrize("name", ["gemma-3-1b", "gemma-4-E2B", "gemma-4-26B-A4B"])
def test_every_layer_has_one_place(name):
    config = config_from(PUBLISHED[name][0])
    found = [
        place
        for entry in range(len(config.entries))
        for place in sources(f"decoder.blocks.{entry}.wq", config, LAYER)
    ]
    wanted = [f"layers.{i}.self_attn.q_proj.weight" for i in range(config.layers)]
    assert sorted(found) == sorted(wanted)


@pytest.mark.parametrize(
    ("name", "dead"),
    [
        ("layers.14.self_attn.k_proj.weight", False),
        ("layers.15.self_attn.k_proj.weight", True),
        ("layers.34.self_attn.v_proj.weight", True),
        ("layers.35.self_attn.v_proj.weight", False),
        ("layers.15.self_attn.q_proj.weight", False),
        ("lm_head.weight", True),
        ("vision_tower.encoder.layers.0.input_layernorm.weight", True),
        ("norm.bias", False),
    ],
)
def test_only_what_nothing_reads_may_be_left_over(name, dead):
    assert is_dead(name, config_from(PUBLISHED["gemma-4-E2B"][0])) is dead
