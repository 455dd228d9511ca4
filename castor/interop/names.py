"""Which tensor of a Hugging Face file is which weight of ours."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from castor.models.sizes import ModelConfig

LINEAR = (1, 0)  # a torch Linear lies [out, in]


class Tensors(NamedTuple):
    """Where a weight of ours comes from: tensors that its leading dimensions stack.

    In their names "{}" is the layer; several names are stacked one by one within a layer.
    """

    names: tuple[str, ...]
    axes: tuple[int, ...] | None = None  # of theirs, in the order of ours; None = as they lie
    shape: tuple[int, ...] | None = None  # theirs, where ours joins axes


WHOLE = {
    "decoder.embedding": "embed_tokens.weight",
    "decoder.final_norm": "norm.weight",
    "decoder.inputs.embedding": "embed_tokens_per_layer.weight",
    "decoder.inputs.projection": "per_layer_model_projection.weight",
    "decoder.inputs.norm": "per_layer_projection_norm.weight",
}
LAYER = {
    "attention_norm": "input_layernorm.weight",
    "wq": "self_attn.q_proj.weight",
    "wk": "self_attn.k_proj.weight",
    "wv": "self_attn.v_proj.weight",
    "query_norm": "self_attn.q_norm.weight",
    "key_norm": "self_attn.k_norm.weight",
    "wo": "self_attn.o_proj.weight",
    "attention_post_norm": "post_attention_layernorm.weight",
    "mlp_norm": "pre_feedforward_layernorm.weight",
    "gate": "mlp.gate_proj.weight",
    "up": "mlp.up_proj.weight",
    "down": "mlp.down_proj.weight",
    "mlp_post_norm": "post_feedforward_layernorm.weight",
    "experts.norm": "pre_feedforward_layernorm_2.weight",
    "experts.post_norm": "post_feedforward_layernorm_2.weight",
    "experts.dense_post_norm": "post_feedforward_layernorm_1.weight",
    "experts.router_scale": "router.scale",
    "experts.router": "router.proj.weight",
    "experts.factors": "router.per_expert_scale",
    "experts.gate_up": "experts.gate_up_proj",
    "experts.down": "experts.down_proj",
    "inlet.gate": "per_layer_input_gate.weight",
    "inlet.out": "per_layer_projection.weight",
    "inlet.norm": "post_per_layer_input_norm.weight",
    "scale": "layer_scalar",
}
# Gemma 1 has two norms a layer and names the second for where it stands, not for what it feeds.
GEMMA = LAYER | {"mlp_norm": "post_attention_layernorm.weight"}

PREFIXES = ("model.model.", "model."), ("language_model.model.", "language_model.")
TOWER, OLDER_TOWER = "vision_tower.", "vision_tower.vision_model."
# What we compute, and the head of a SigLIP that gives one state for a picture.
UNUSED = re.compile(r"lm_head\.|.*rotary_emb\.|.*\.position_ids$|vision_tower\.head\.")
# What is there for signals that a model does not read.
UNREAD = {
    "image": re.compile(r"vision_tower\.|vision_embedder\.|embed_vision\.|multi_modal_projector\."),
    "audio": re.compile(r"audio_tower\.|embed_audio\."),
}


def plain(name: str) -> str:
    """A tensor's name without what only says which class saved it."""
    for prefixes in PREFIXES:
        name = next((name[len(p) :] for p in prefixes if name.startswith(p)), name)
    older = name.startswith(OLDER_TOWER)
    return TOWER + name[len(OLDER_TOWER) :] if older else name


def sources(leaf: str, config: ModelConfig, table: Mapping[str, str]) -> list[str]:
    """The plain names of the tensors that a weight such as "decoder.blocks.0.wq" is stacked of."""
    if leaf in WHOLE:
        return [WHOLE[leaf]]
    _, _, entry, part = leaf.split(".", 3)
    at, first = int(entry), 0
    for stage in config.stages:
        step = len(stage.pattern)
        if at < step:
            layers = range(first + at, first + step * stage.repeats, step)
            return [f"layers.{i}.{table[part]}" for i in layers]
        at, first = at - step, first + step * stage.repeats
    raise AssertionError(f"{leaf} is in none of the stages")


def is_dead(name: str, config: ModelConfig) -> bool:
    """Whether nothing reads the tensor of a plain name, e.g. keys of layers that read another's."""
    found = re.fullmatch(r"layers\.(\d+)\.self_attn\.(k_proj|v_proj|k_norm)\.weight", name)
    if found and int(found[1]) < config.layers:
        return config.every_layer[int(found[1])].keys_of is not None
    unread = (of for kind, of in UNREAD.items() if getattr(config, kind) is None)
    return any(of.match(name) for of in (UNUSED, *unread))
