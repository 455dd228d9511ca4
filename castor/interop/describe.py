"""A ModelConfig in the words of a Hugging Face `config.json`."""

from dataclasses import replace
from typing import Any

from castor.interop.configs import FAMILIES, FULL, LOCAL, config_from
from castor.interop.encoders import AROUND, around, told
from castor.models.sizes import EPSILON, Layer, ModelConfig


def config_to(config: ModelConfig) -> dict[str, Any]:
    """A config.json that describes the model, by the first family that can.

    Raises:
        ValueError: none can.
    """
    decoder = _decoder(config)
    if config.image is None and config.audio is None:
        return decoder
    name = around(config, decoder["model_type"])
    text = {key: value for key, value in decoder.items() if key != "architectures"}
    return told(config, name) | {"text_config": text | {"model_type": AROUND[name].text}}


def _decoder(config: ModelConfig) -> dict[str, Any]:
    for kind in FAMILIES:
        data = _described(config, kind)
        try:
            found = config_from(data)
        except ValueError:
            continue
        if _flat(found) == _flat(config):
            _refuse_fraction(data)
            return data
    raise ValueError(
        f"no class of Hugging Face's that we write ({', '.join(FAMILIES)}) has a decoder with "
        f"qk_norm={config.qk_norm}, post_norms={config.post_norms} and these layers"
    )


def _refuse_fraction(data: dict[str, Any]) -> None:
    scalar = data.get("query_pre_attn_scalar", 1)
    if not isinstance(scalar, int):
        raise ValueError(
            f"{data['model_type']} multiplies scores with n^-0.5 of a whole n "
            f"(query_pre_attn_scalar); this decoder's n is {scalar:.6g}"
        )


def _flat(config: ModelConfig) -> ModelConfig:
    layers = tuple(_spelled(config, layer) for layer in config.every_layer)
    return replace(config, pattern=layers, further=(), image=None, audio=None)


def _spelled(config: ModelConfig, layer: Layer) -> Layer:
    """The layer with nothing left to the model; what cannot matter is not compared."""
    return replace(
        layer,
        head_width=config.head_width_of(layer),
        kv_heads=config.kv_heads_of(layer),
        hidden=layer.hidden or config.hidden,
        blocks=layer.blocks or config.norm_start == 1,
    )


def sizes_to(config: ModelConfig) -> dict[str, Any]:
    """What every class of decoders calls the same."""
    return {
        "vocab_size": config.vocab,
        "hidden_size": config.width,
        "intermediate_size": config.hidden,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_width,
        "max_position_embeddings": config.context,
        "rms_norm_eps": EPSILON,
        "attention_bias": False,
    }


def _described(config: ModelConfig, kind: str) -> dict[str, Any]:
    layers = config.every_layer
    types = [FULL if layer.window is None else LOCAL for layer in layers]
    windows = [layer.window for layer in layers if layer.window is not None]
    ahead = any(layer.ahead for layer in layers)
    windows = [2 * window - 2 for window in windows] if ahead else windows  # as they are stored
    architecture = FAMILIES[kind].architecture
    if ahead:  # it writes no text, so it has no class that does
        architecture = architecture.replace("ForCausalLM", "TextModel")
    data: dict[str, Any] = {
        "architectures": [architecture],
        "model_type": kind,
        **sizes_to(config),
        "hidden_activation": "gelu_pytorch_tanh",
        "tie_word_embeddings": True,
    }
    if kind == "gemma":
        return data | {
            "hidden_act": "gelu_pytorch_tanh",
            "rope_theta": layers[0].rope_base,
            "rope_parameters": rope_to(layers[0]),
        }
    data |= {
        "layer_types": types,
        "sliding_window": windows[0] if windows else config.context,
        "use_bidirectional_attention": ahead,
        "final_logit_softcapping": config.logit_cap,
    }
    if kind == "gemma4_text":
        return data | _gemma4(config, types)
    scale = config.score_scale or config.head_width**-0.5
    data |= {"query_pre_attn_scalar": _whole(scale**-2), "attn_logit_softcapping": config.score_cap}
    if kind == "gemma3_text":
        return data | {"rope_parameters": _ropes(layers, types)}
    return data | {"rope_theta": layers[0].rope_base, "rope_parameters": rope_to(layers[0])}


def _gemma4(config: ModelConfig, types: list[str]) -> dict[str, Any]:
    layers = config.every_layer
    shared = sum(layer.keys_of is not None for layer in layers)
    last = layers[-1]
    data: dict[str, Any] = {
        "rope_parameters": _ropes(layers, types),
        "global_head_dim": config.head_width_of(last),
        "attention_k_eq_v": any(layer.tied_values for layer in layers),
        "num_kv_shared_layers": shared,
        "use_double_wide_mlp": shared > 0 and last.hidden == 2 * config.hidden,
        "use_bidirectional_attention": _both_ways(layers),
        "hidden_size_per_layer_input": config.inputs.width if config.inputs else 0,
        "vocab_size_per_layer_input": config.inputs.vocab if config.inputs else config.vocab,
        "enable_moe_block": config.experts is not None,
    }
    if config.kv_heads_of(last) != config.kv_heads:
        data["num_global_key_value_heads"] = config.kv_heads_of(last)
    if config.experts is not None:
        data |= {
            "num_experts": config.experts.count,
            "top_k_experts": config.experts.chosen,
            "moe_intermediate_size": config.experts.hidden,
        }
    return data


def _both_ways(layers: tuple[Layer, ...]) -> str | None:
    if any(layer.ahead for layer in layers):
        return "all"
    return "vision" if any(layer.blocks for layer in layers) else None


def rope_to(layer: Layer) -> dict[str, Any]:
    """How a layer turns, as an entry of `rope_parameters`."""
    data: dict[str, Any] = {"rope_type": "default", "rope_theta": layer.rope_base}
    if layer.rope_factor != 1:
        data |= {"rope_type": "linear", "factor": layer.rope_factor}
    if layer.rope_share != 1:
        data |= {"rope_type": "proportional", "partial_rotary_factor": layer.rope_share}
    return data


def _ropes(layers: tuple[Layer, ...], types: list[str]) -> dict[str, Any]:
    first = {type: layer for layer, type in zip(reversed(layers), reversed(types), strict=True)}
    return {type: rope_to(first.get(type, layers[0])) for type in (FULL, LOCAL)}


def _whole(number: float) -> float | int:
    return round(number) if abs(number - round(number)) < 1e-6 * number else number
