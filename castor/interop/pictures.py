"""The eyes of Gemma 3 and 4 as their files keep them: config.json, and names of tensors."""

from collections.abc import Mapping
from typing import Any

from castor.interop.names import LINEAR, Tensors
from castor.interop.towers import (
    EncoderOf,
    Settings,
    below,
    clippable,
    counts,
    layer_norm,
    linear,
    only,
)
from castor.models.signals import PatchesConfig, SiglipConfig, VitConfig
from castor.models.sizes import EPSILON, ModelConfig

TANH = "gelu_pytorch_tanh"

_SIGLIP = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 16,
}


def _siglip(data: Mapping[str, Any]) -> SiglipConfig | None:
    if not data.get("vision_config"):
        return None
    part, c = "vision_config", {**_SIGLIP, **data["vision_config"]}
    only(part, c, hidden_act=TANH, layer_norm_eps=EPSILON, num_channels=3)
    width, hidden, layers, heads, pixels, patch = counts(part, c, *_SIGLIP)
    slots, side = data.get("mm_tokens_per_image", 256), pixels // patch
    rows = round(slots**0.5)
    if rows**2 != slots or side % rows or pixels % patch:
        raise ValueError(
            f"mm_tokens_per_image={slots} makes no square of {side} by {side} patches, whose "
            f"image_size={pixels} and patch_size={patch}"
        )
    return SiglipConfig(patch, side // rows, side, layers, width, heads, hidden)


def _siglip_told(of: SiglipConfig, config: ModelConfig) -> Settings:
    sizes = of.width, of.hidden, of.layers, of.heads, of.pixels, of.patch
    vision = dict(zip(_SIGLIP, sizes, strict=True)) | {
        "model_type": "siglip_vision_model",
        "hidden_act": TANH,
        "layer_norm_eps": EPSILON,
        "num_channels": 3,
        "vision_use_head": False,
    }
    return {"mm_tokens_per_image": of.slots, "vision_config": vision}


def _siglip_tensors(of: SiglipConfig) -> dict[str, Tensors]:
    tower, layer = "vision_tower.", "vision_tower.encoder.layers.{}."
    patches = f"{tower}embeddings.patch_embedding"
    lying = (of.width, 3, of.patch, of.patch)
    attention = {"wq": "q_proj", "wk": "k_proj", "wv": "v_proj", "wo": "out_proj"}
    linears = {leaf: f"self_attn.{name}" for leaf, name in attention.items()}
    linears |= {"up": "mlp.fc1", "down": "mlp.fc2"}
    norms = {"attention_norm": "layer_norm1", "mlp_norm": "layer_norm2"}
    found = below("patches", linear(patches))
    found["patches.weight"] = Tensors((f"{patches}.weight",), (2, 3, 1, 0), lying)
    found["table"] = Tensors((f"{tower}embeddings.position_embedding.weight",))
    for leaf, name in linears.items():
        found |= below(f"blocks.{leaf}", linear(layer + name))
    for leaf, name in norms.items():
        found |= below(f"blocks.{leaf}", layer_norm(layer + name))
    found |= below("norm", layer_norm(f"{tower}post_layernorm"))
    found["pooled_norm"] = Tensors(("multi_modal_projector.mm_soft_emb_norm.weight",))
    found["out"] = Tensors(("multi_modal_projector.mm_input_projection_weight",))
    return found


_VIT = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 16,
    "num_attention_heads": 12,
    "head_dim": 64,
    "patch_size": 16,
    "pooling_kernel_size": 3,
    "position_embedding_size": 10_240,
}


def _vit(data: Mapping[str, Any]) -> VitConfig | None:
    if not data.get("vision_config"):
        return None
    part, c = "vision_config", {**_VIT, **data["vision_config"]}
    only(part, c, hidden_activation=TANH, rms_norm_eps=EPSILON, attention_bias=False)
    only(part, c, num_key_value_heads=c["num_attention_heads"])
    width, hidden, layers, heads, head_width, patch, pool, side = counts(part, c, *_VIT)
    rope = c.get("rope_parameters") or {}
    only(part, rope, rope_type="axial")
    return VitConfig(
        patch=patch,
        pool=pool,
        layers=layers,
        width=width,
        heads=heads,
        head_width=head_width,
        hidden=hidden,
        side=side,
        rope_base=float(rope.get("rope_theta", 100.0)),
        clipped=bool(c.get("use_clipped_linears")),
        standardized=bool(c.get("standardize")),
        slots=data.get("vision_soft_tokens_per_image") or VitConfig.slots,
    )


def _vit_told(of: VitConfig, config: ModelConfig) -> Settings:
    sizes = of.width, of.hidden, of.layers, of.heads, of.head_width, of.patch, of.pool, of.side
    vision = dict(zip(_VIT, sizes, strict=True)) | {
        "model_type": "gemma4_vision",
        "num_key_value_heads": of.heads,
        "hidden_activation": TANH,
        "rms_norm_eps": EPSILON,
        "attention_bias": False,
        "rope_parameters": {"rope_type": "axial", "rope_theta": of.rope_base},
        "use_clipped_linears": of.clipped,
        "standardize": of.standardized,
    }
    return {"vision_soft_tokens_per_image": of.slots, "vision_config": vision}


def _vit_tensors(of: VitConfig) -> dict[str, Tensors]:
    tower, layer = "vision_tower.", "vision_tower.encoder.layers.{}."
    attention = {leaf: f"self_attn.{leaf[1]}_proj" for leaf in ("wq", "wk", "wv", "wo")}
    linears = attention | {leaf: f"mlp.{leaf}_proj" for leaf in ("gate", "up", "down")}
    norms = {
        "attention_norm": "input_layernorm",
        "query_norm": "self_attn.q_norm",
        "key_norm": "self_attn.k_norm",
        "attention_post_norm": "post_attention_layernorm",
        "mlp_norm": "pre_feedforward_layernorm",
        "mlp_post_norm": "post_feedforward_layernorm",
    }
    found = {
        "patches": Tensors((f"{tower}patch_embedder.input_proj.weight",), LINEAR),
        "tables": Tensors((f"{tower}patch_embedder.position_embedding_table",)),
        "middle": Tensors((f"{tower}std_bias",)),
        "factor": Tensors((f"{tower}std_scale",)),
        "out": Tensors(("embed_vision.embedding_projection.weight",), LINEAR),
    }
    for leaf, name in linears.items():
        found |= below(f"blocks.{leaf}", clippable(layer + name))
    return found | {f"blocks.{leaf}": Tensors((f"{layer}{n}.weight",)) for leaf, n in norms.items()}


_PATCHES = {
    "patch_size": 16,
    "pooling_kernel_size": 3,
    "mm_embed_dim": 3840,
    "mm_posemb_size": 1120,
}


def _patches(data: Mapping[str, Any]) -> PatchesConfig | None:
    if not data.get("vision_config"):
        return None
    part, c = "vision_config", {**_PATCHES, **data["vision_config"]}
    patch, pool, width, side = counts(part, c, *_PATCHES)
    only(part, c, rms_norm_eps=EPSILON, output_proj_dims=width)
    slots = data.get("vision_soft_tokens_per_image") or PatchesConfig.slots
    return PatchesConfig(patch * pool, width, side, slots)


def _patches_told(of: PatchesConfig, config: ModelConfig) -> Settings:
    pool = 1 if of.patch % 3 else 3
    vision = dict(zip(_PATCHES, (of.patch // pool, pool, of.width, of.side), strict=True)) | {
        "model_type": "gemma4_unified_vision",
        "output_proj_dims": of.width,
        "rms_norm_eps": EPSILON,
    }
    return {"vision_soft_tokens_per_image": of.slots, "vision_config": vision}


def _patches_tensors(of: PatchesConfig) -> dict[str, Tensors]:
    place = "vision_embedder."
    return {
        **below("first_norm", layer_norm(f"{place}patch_ln1")),
        **below("patches", linear(f"{place}patch_dense")),
        **below("second_norm", layer_norm(f"{place}patch_ln2")),
        "tables": Tensors((f"{place}pos_embedding",)),
        **below("last_norm", layer_norm(f"{place}pos_norm")),
        "out": Tensors(("embed_vision.embedding_projection.weight",), LINEAR),
    }


SIGLIP = EncoderOf("image", SiglipConfig, _siglip, _siglip_told, _siglip_tensors)
VIT = EncoderOf("image", VitConfig, _vit, _vit_told, _vit_tensors)
PATCHES = EncoderOf("image", PatchesConfig, _patches, _patches_told, _patches_tensors)
