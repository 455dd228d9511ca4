"""Which architecture of llama.cpp's computes a decoder, and what its file says of it.

Invariant: a decoder that none computes exactly, but for rounding, is refused.
"""

from collections.abc import Mapping
from dataclasses import replace

from gguf import GGUFWriter, RopeScalingType

from castor.interop.describe import config_to
from castor.models.sizes import EPSILON, Layer, ModelConfig

ARCHITECTURES = {
    "gemma": "gemma",
    "gemma2": "gemma2",
    "gemma3_text": "gemma3",
    "gemma4_text": "gemma4",
}
# llama.cpp knows the scale of the largest models by their number of layers.
WIDE = {"gemma2": 46, "gemma3": 62}


def architecture(config: ModelConfig) -> str:
    """The name of the architecture that computes a decoder; encoders are not looked at.

    Raises:
        ValueError: none does; the reason names what differs.
    """
    if config.qk_norm and not config.post_norms:
        raise ValueError(
            "no architecture of llama.cpp has norms of queries and keys (qk_norm=True) without "
            "norms after attention and the feed-forward layer (post_norms=False)"
        )
    kind = config_to(replace(config, image=None, audio=None))["model_type"]
    if kind not in ARCHITECTURES:
        raise ValueError(f"llama.cpp has no architecture for {kind}, which this decoder is")
    arch = ARCHITECTURES[kind]
    reason = _odd(arch, config)
    if reason is not None:
        raise ValueError(f"llama.cpp's {arch} {reason}")
    return arch


def scale_of(arch: str, config: ModelConfig) -> float:
    """What llama.cpp multiplies scores with."""
    if arch == "gemma4":
        return 1.0
    whole = config.width // config.heads if config.layers == WIDE.get(arch) else config.head_width
    return whole**-0.5


def describe(file: GGUFWriter, config: ModelConfig) -> None:
    """Write what the architecture has to know of the decoder."""
    arch, layers = architecture(config), config.every_layer
    windows = {layer.window for layer in layers} - {None}
    whole = next((layer for layer in reversed(layers) if layer.window is None), layers[-1])
    file.add_context_length(config.context)
    file.add_vocab_size(config.vocab)
    file.add_embedding_length(config.width)
    file.add_block_count(config.layers)
    file.add_head_count(config.heads)
    file.add_layer_norm_rms_eps(EPSILON)
    file.add_key_length(config.head_width_of(whole))
    file.add_value_length(config.head_width_of(whole))
    file.add_rope_freq_base(whole.rope_base)
    if whole.rope_factor != 1:
        file.add_rope_scaling_type(RopeScalingType.LINEAR)
        file.add_rope_scaling_factor(whole.rope_factor)
    hidden = [layer.hidden or config.hidden for layer in layers]
    heads = [config.kv_heads_of(layer) for layer in layers]
    file.add_feed_forward_length(hidden if len(set(hidden)) > 1 else hidden[0])
    file.add_head_count_kv(heads if len(set(heads)) > 1 else heads[0])
    if arch != "gemma":
        file.add_final_logit_softcapping(config.logit_cap or 0.0)
    if config.score_cap is not None:
        file.add_attn_logit_softcapping(config.score_cap)
    if windows:
        local = next(layer for layer in layers if layer.window is not None)
        file.add_sliding_window(min(w for w in windows if w))
        file.add_sliding_window_pattern([layer.window is not None for layer in layers])
        file.add_rope_freq_base_swa(local.rope_base)
    if arch == "gemma4":
        _describe_gemma4(file, config, whole)


def _describe_gemma4(file: GGUFWriter, config: ModelConfig, whole: Layer) -> None:
    layers = config.every_layer
    file.add_shared_kv_layers(sum(layer.keys_of is not None for layer in layers))
    file.add_embedding_length_per_layer_input(config.inputs.width if config.inputs else 0)
    file.add_key_length_swa(config.head_width)
    file.add_value_length_swa(config.head_width)
    file.add_rope_dimension_count(config.head_width_of(whole))
    file.add_rope_dimension_count_swa(config.head_width)
    if config.experts is not None:
        file.add_expert_count(config.experts.count)
        file.add_expert_used_count(config.experts.chosen)
        file.add_expert_feed_forward_length(config.experts.hidden)


def _odd(arch: str, config: ModelConfig) -> str | None:
    """Why an architecture does not compute a decoder of its family after all."""
    layers = config.every_layer
    local = [layer for layer in layers if layer.window is not None]
    scale, expected = config.score_scale or config.head_width**-0.5, scale_of(arch, config)
    odd: Mapping[str, bool] = {
        "reads from left to right alone; this decoder looks ahead": any(x.ahead for x in layers),
        f"multiplies scores with {expected:.4g}, this decoder with {scale:.4g}": (
            arch in ("gemma", "gemma2") and abs(scale - expected) > 1e-6 * expected
        ),
        "caps logits and scores; this decoder does not": (
            arch == "gemma2" and None in (config.logit_cap, config.score_cap)
        ),
        "caps no logits; this decoder does": arch == "gemma" and config.logit_cap is not None,
        "needs layers with a window and layers without; this decoder has one kind alone": (
            arch in ("gemma2", "gemma4") and len(local) in (0, len(layers))
        ),
        "divides no positions of layers with a window; this decoder does": (
            arch in ("gemma3", "gemma4") and any(x.rope_factor != 1 for x in local)
        ),
        "reads the keys of the last two layers that make any; this decoder those of others": any(
            layer.keys_of not in (None, _read(config, layer)) for layer in layers
        ),
        "has inputs of layers for every id; this decoder for fewer": (
            config.inputs is not None and config.inputs.vocab != config.vocab
        ),
    }
    return next((reason for reason, holds in odd.items() if holds), None)


def _read(config: ModelConfig, layer: Layer) -> int:
    own = sum(other.keys_of is None for other in config.every_layer)
    return own - (1 if layer.window is None else 2)
