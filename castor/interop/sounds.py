"""Encoders of sound as Hugging Face keeps them: Gemma 4's, with conformers and without any."""

from collections.abc import Mapping
from typing import Any

from castor.interop.names import LINEAR, Tensors
from castor.interop.towers import EncoderOf, Settings, below, clippable, counts, linear, only
from castor.models.signals import ConformerConfig, FramesConfig
from castor.models.sizes import EPSILON, ModelConfig

PART = "audio_config"
OUT = Tensors(("embed_audio.embedding_projection.weight",), LINEAR)
HUGE = 1e10  # activations are clipped there, which float32 and bfloat16 never reach

_CONFORMER = {
    "hidden_size": 1024,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "output_proj_dims": 1536,
    "conv_kernel_size": 5,
    "attention_context_left": 13,  # itself and one that is not seen among them
    "attention_context_right": 0,
    "attention_chunk_size": 12,
}
_NORMS = {
    "first.norm": "feed_forward1.pre_layer_norm",
    "first.post_norm": "feed_forward1.post_layer_norm",
    "attention_norm": "norm_pre_attn",
    "attention_post_norm": "norm_post_attn",
    "mix_norm": "lconv1d.pre_layer_norm",
    "kernel_norm": "lconv1d.conv_norm",
    "last.norm": "feed_forward2.pre_layer_norm",
    "last.post_norm": "feed_forward2.post_layer_norm",
    "norm": "norm_out",
}
_LINEARS = {
    "first.up": "feed_forward1.ffw_layer_1",
    "first.down": "feed_forward1.ffw_layer_2",
    "wq": "self_attn.q_proj",
    "wk": "self_attn.k_proj",
    "wv": "self_attn.v_proj",
    "wo": "self_attn.post",
    "mix_in": "lconv1d.linear_start",
    "mix_out": "lconv1d.linear_end",
    "last.up": "feed_forward2.ffw_layer_1",
    "last.down": "feed_forward2.ffw_layer_2",
}


def _conformer(data: Mapping[str, Any]) -> ConformerConfig | None:
    if not data.get(PART):
        return None
    c = {**_CONFORMER, **data[PART]}
    only(PART, c, hidden_act="silu", rms_norm_eps=EPSILON, residual_weight=0.5)
    only(PART, c, gradient_clipping=HUGE)
    width, layers, heads, output, kernel, left, future, chunk = counts(PART, c, *_CONFORMER)
    channels = c.get("subsampling_conv_channels", ConformerConfig.channels)
    if not isinstance(channels, list | tuple) or len(channels) != 2:
        raise ValueError(f"{PART}: subsampling_conv_channels={channels!r} must be two numbers")
    return ConformerConfig(
        mels=channels[0],  # theirs are of as many channels as there are bins
        channels=(channels[0], channels[1]),
        layers=layers,
        width=width,
        heads=heads,
        output=output,
        kernel=kernel,
        past=left - 1,
        future=future,
        chunk=chunk,
        cap=float(c.get("attention_logit_cap", ConformerConfig.cap)),
        clipped=bool(c.get("use_clipped_linears", True)),
    )


def _conformer_told(of: ConformerConfig, config: ModelConfig) -> Settings:
    if of.mels != of.channels[0]:
        raise ValueError(
            f"ConformerConfig: mels={of.mels} and channels={of.channels} cannot be written; "
            "Hugging Face's class takes as many bins as the first convolution has channels"
        )
    sizes = of.width, of.layers, of.heads, of.output, of.kernel, of.past + 1, of.future, of.chunk
    audio = dict(zip(_CONFORMER, sizes, strict=True)) | {
        "model_type": "gemma4_audio",
        "hidden_act": "silu",
        "subsampling_conv_channels": list(of.channels),
        "residual_weight": 0.5,
        "attention_logit_cap": of.cap,
        "attention_invalid_logits_value": -1e9,
        "use_clipped_linears": of.clipped,
        "rms_norm_eps": EPSILON,
        "gradient_clipping": HUGE,
    }
    return {PART: audio}


def _conformer_tensors(of: ConformerConfig) -> dict[str, Tensors]:
    tower, layer = "audio_tower.", "audio_tower.layers.{}."
    stem = f"{tower}subsample_conv_projection."
    found = {"stem": Tensors((f"{stem}input_proj_linear.weight",), LINEAR), "projection": OUT}
    for i, leaf in enumerate(("first", "second")):
        found[leaf] = Tensors((f"{stem}layer{i}.conv.weight",), (2, 3, 1, 0))
        found[f"{leaf}_norm"] = Tensors((f"{stem}layer{i}.norm.weight",))
    found |= below("out", linear(f"{tower}output_proj"))
    for leaf, name in _LINEARS.items():
        found |= below(f"blocks.{leaf}", clippable(layer + name))
    for leaf, name in _NORMS.items():
        found[f"blocks.{leaf}"] = Tensors((f"{layer}{name}.weight",))
    attention, kernel = f"{layer}self_attn.", f"{layer}lconv1d.depthwise_conv1d.weight"
    found["blocks.distances"] = Tensors((f"{attention}relative_k_proj.weight",), LINEAR)
    found["blocks.scale"] = Tensors((f"{attention}per_dim_scale",))
    found["blocks.kernel"] = Tensors((kernel,), (2, 1, 0), (of.width, 1, of.kernel))
    return found


def _frames(data: Mapping[str, Any]) -> FramesConfig | None:
    if not data.get(PART):
        return None
    c = {"audio_embed_dim": FramesConfig.samples, **data[PART]}
    only(PART, c, rms_norm_eps=EPSILON)
    return FramesConfig(*counts(PART, c, "audio_embed_dim"))


def _frames_told(of: FramesConfig, config: ModelConfig) -> Settings:
    audio = {
        "model_type": "gemma4_unified_audio",
        "audio_embed_dim": of.samples,
        "rms_norm_eps": EPSILON,
    }
    return {PART: audio}


CONFORMER = EncoderOf("audio", ConformerConfig, _conformer, _conformer_told, _conformer_tensors)
FRAMES = EncoderOf("audio", FramesConfig, _frames, _frames_told, lambda of: {"projection": OUT})
