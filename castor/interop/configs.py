"""A Hugging Face `config.json` as a ModelConfig, and back.

Invariant: a config is only written if reading it again gives the same layers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from castor.interop.encoders import AROUND, Around, encoders_from
from castor.interop.names import GEMMA, LAYER
from castor.models.sizes import EPSILON, ExpertsConfig, InputsConfig, Layer, ModelConfig, Stage

FULL, LOCAL = "full_attention", "sliding_attention"
PLAIN = {"rope_type": "default", "rope_theta": 10_000.0}
Settings = dict[str, Any]


@dataclass(frozen=True)
class Family:
    """What all models of one `model_type` share."""

    architecture: str
    options: Settings  # fields of ModelConfig
    defaults: Settings  # what a config.json may leave out
    every: int = 1  # one layer in so many sees everything, where the layers are not listed
    names: dict[str, str] = field(default_factory=lambda: LAYER)


_SAME: Settings = {
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "rms_norm_eps": EPSILON,
}
_GEMMA2: Settings = _SAME | {
    "vocab_size": 256_000,
    "max_position_embeddings": 8192,
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 30.0,
}
_GEMMA = {"hidden_size": 3072, "intermediate_size": 24_576, "num_hidden_layers": 28} | {
    "vocab_size": 256_000,
    "max_position_embeddings": 8192,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
}
_GEMMA3: Settings = _SAME | {
    "vocab_size": 262_208,
    "max_position_embeddings": 131_072,
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "rope_theta": 1e6,
    "rope_local_base_freq": 1e4,
}
_GEMMA4: Settings = _SAME | {
    "vocab_size": 262_144,
    "max_position_embeddings": 131_072,
    "num_hidden_layers": 30,
    "sliding_window": 512,
    "global_head_dim": 512,
    "hidden_size_per_layer_input": 256,
    "vocab_size_per_layer_input": 262_144,
    "rope_parameters": {
        LOCAL: PLAIN,
        FULL: {"rope_type": "proportional", "rope_theta": 1e6, "partial_rotary_factor": 0.25},
    },
}
FAMILIES = {
    "gemma": Family("GemmaForCausalLM", {"qk_norm": False}, _SAME | _GEMMA, names=GEMMA),
    "gemma2": Family("Gemma2ForCausalLM", {"qk_norm": False, "post_norms": True}, _GEMMA2, 2),
    "vaultgemma": Family("VaultGemmaForCausalLM", {"qk_norm": False}, _GEMMA2, 2),
    "gemma3_text": Family("Gemma3ForCausalLM", {"post_norms": True}, _GEMMA3, 6),
    "gemma4_text": Family(
        "Gemma4ForCausalLM",
        {
            "post_norms": True,
            "value_norm": True,
            "norm_start": 0.0,
            "score_scale": 1.0,
            "layer_scale": True,
        },
        _GEMMA4,
        6,
    ),
}
INNER = {outer.text: outer for outer in AROUND.values()}
ACTIVATIONS = (None, "gelu_pytorch_tanh")
COUNTS = ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads") + (
    "num_key_value_heads",
    "head_dim",
    "vocab_size",
    "max_position_embeddings",
)
MIXED = ("num_experts", "top_k_experts", "moe_intermediate_size")
OVERRIDES = {
    "head_dim": "head_width",
    "num_key_value_heads": "kv_heads",
    "intermediate_size": "hidden",
}


def family_of(data: Mapping[str, Any]) -> str:
    """The decoder's family by a config.json.

    Raises:
        ValueError: it is none of ours.
    """
    kind = _text(data).get("model_type", data.get("model_type"))
    outer = _around(data)
    kind = outer.decoder if outer else kind
    if kind not in FAMILIES:
        known = ", ".join(sorted({*FAMILIES, *AROUND, *INNER}))
        raise ValueError(f"model_type={kind!r} is none that we read; we read {known}")
    return kind


def config_from(data: Mapping[str, Any]) -> ModelConfig:
    """The model that a config.json describes.

    Raises:
        ValueError: it is of a family, or has an option, that the decoder does not know.
    """
    kind = family_of(data)
    family, outer = FAMILIES[kind], _around(data)
    c = {**family.defaults, **(outer.defaults if outer else {}), **_text(data)}
    _refuse_odd(kind, c)
    options = dict(family.options)
    if kind in ("gemma2", "vaultgemma", "gemma3_text"):
        options["score_scale"] = c["query_pre_attn_scalar"] ** -0.5
    if kind in ("gemma2", "vaultgemma"):
        options["score_cap"] = c["attn_logit_softcapping"] or None
    if c.get("hidden_size_per_layer_input"):
        width, vocab = c["hidden_size_per_layer_input"], c["vocab_size_per_layer_input"]
        options["inputs"] = InputsConfig(width, vocab)
    if c.get("enable_moe_block"):
        sizes = c["num_experts"], c["top_k_experts"], c["moe_intermediate_size"]
        options["experts"] = ExpertsConfig(*sizes)
    pattern, *further = grouped(layers_of(kind, c))
    return ModelConfig(
        layers=c["num_hidden_layers"],
        width=c["hidden_size"],
        hidden=c["intermediate_size"],
        heads=c["num_attention_heads"],
        head_width=c["head_dim"],
        kv_heads=c["num_key_value_heads"],
        vocab=c["vocab_size"],
        context=c["max_position_embeddings"],
        pattern=pattern.pattern,
        further=tuple(further),
        logit_cap=c.get("final_logit_softcapping") or None,
        **options,
        **encoders_from(data),
    )


def _around(data: Mapping[str, Any]) -> Around | None:
    """The family of models of several signals that a config.json, or its part, names."""
    kind = data.get("model_type", "")
    within = _text(data).get("model_type", kind)
    return AROUND.get(kind) or AROUND.get(within) or INNER.get(within)


def _text(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a config.json that describes the decoder."""
    within = data.get("text_config")
    return within if isinstance(within, dict) else data


def layers_of(kind: str, c: Mapping[str, Any]) -> list[Layer]:
    """The layers of a family's decoder, one by one."""
    types = _layer_types(kind, c)
    own = len(types) - (c.get("num_kv_shared_layers") or 0)
    layers, ahead = [], c.get("use_bidirectional_attention") in (True, "all")
    window = c.get("sliding_window") or c["max_position_embeddings"]
    window = window // 2 + 1 if ahead else window  # which is stored as if for one side
    for i, type in enumerate(types):
        base, factor, share = _rope(c, type)
        found = Layer(
            rope_base=base,
            rope_factor=factor,
            rope_share=share,
            window=window if type == LOCAL else None,
            ahead=ahead,
            blocks=kind != "gemma4_text" or _sees_blocks(c, type),
        )
        if kind == "gemma4_text":
            found = replace(found, **_overridden(c, i, type))
        if i >= own:
            found = _reading(found, c, types, own, i)
        layers.append(found)
    return layers


@cache
def _grouped(layers: tuple[Layer, ...]) -> tuple[int, tuple[Stage, ...]]:
    """The fewest entries that tell the layers, and the fewest stages of so many."""
    if not layers:
        return 0, ()
    found: list[tuple[int, tuple[Stage, ...]]] = []
    for step in range(1, len(layers) // 2 + 2):
        pattern, repeats = layers[:step], 1
        while layers[step * repeats : step * (repeats + 1)] == pattern:
            repeats += 1
        if repeats > 1 or step == 1:
            entries, rest = _grouped(layers[step * repeats :])
            found.append((step + entries, (Stage(pattern, repeats), *rest)))
    return min(found, key=lambda told: (told[0], len(told[1])))


def grouped(layers: Sequence[Layer]) -> tuple[Stage, ...]:
    """Stages of repeated patterns that are these layers, in few entries.

    A layer that others read the keys of is in a stage that is not repeated.
    """
    read = {layer.keys_of for layer in layers if layer.keys_of is not None}
    cuts = [0, *sorted({*read, *(i + 1 for i in read)}), len(layers)]
    stages: list[Stage] = []
    for start, end in zip(cuts, cuts[1:], strict=False):
        for stage in _grouped(tuple(layers[start:end]))[1]:
            if stages and stages[-1].repeats == stage.repeats == 1:
                stage = Stage(stages.pop().pattern + stage.pattern)
            stages.append(stage)
    return tuple(stages)


def _refuse_odd(kind: str, c: Mapping[str, Any]) -> None:
    counts = [*COUNTS, *(MIXED if c.get("enable_moe_block") else ())]
    for name in counts:
        if type(c.get(name)) is not int:
            raise ValueError(f"{name}={c.get(name)!r} must be a whole number")
    activation = c.get("hidden_activation") or c.get("hidden_act")
    if activation not in (*ACTIVATIONS, "gelu" if kind == "gemma" else None):
        raise ValueError(f"hidden_activation={activation!r}; we compute {ACTIVATIONS[1]!r}")
    for name, only in (("rms_norm_eps", EPSILON), ("attention_bias", False)):
        if c.get(name, only) != only:
            raise ValueError(f"{name}={c[name]!r}; we compute with {only!r} alone")
    if c.get("tie_word_embeddings") is False:
        raise ValueError("tie_word_embeddings=False; our output is the embedding, transposed")


def _layer_types(kind: str, c: Mapping[str, Any]) -> list[str]:
    L = c["num_hidden_layers"]
    if kind == "gemma":
        return [FULL] * L
    every = c.get("sliding_window_pattern") or c.get("_sliding_window_pattern")
    every = every or FAMILIES[kind].every
    types = [LOCAL if (i + 1) % every else FULL for i in range(L)]
    types = list[str](c.get("layer_types") or types)
    if len(types) != L or not set(types) <= {FULL, LOCAL}:
        raise ValueError(
            f"layer_types={types} must be {L} of {FULL!r} and {LOCAL!r}, one for each layer"
        )
    return [*types[:-1], FULL] if kind == "gemma4_text" else types


def _rope(c: Mapping[str, Any], type: str) -> tuple[float, float, float]:
    """Base, factor and share of the positions of layers of a type."""
    given = c.get("rope_parameters") or {}
    local = type == LOCAL and "rope_local_base_freq" in c
    if type in given:
        given = given[type]
    elif local or not given:
        base = c["rope_local_base_freq"] if local else c.get("rope_theta", 10_000.0)
        given = {"rope_theta": base, **({} if local else c.get("rope_scaling") or {})}
    kind = given.get("rope_type") or given.get("type") or "default"
    if kind not in ("default", "linear", "proportional"):
        raise ValueError(f"rope_type={kind!r}; we turn by 'default', 'linear' and 'proportional'")
    factor = given.get("factor") or 1.0
    share = given.get("partial_rotary_factor", 1.0) if kind == "proportional" else 1.0
    return (
        float(given.get("rope_theta") or c.get("rope_theta") or 10_000.0),
        1.0 if kind == "default" else float(factor),
        float(share),
    )


def _sees_blocks(c: Mapping[str, Any], type: str) -> bool:
    return type == LOCAL and c.get("use_bidirectional_attention") == "vision"


def _overridden(c: Mapping[str, Any], i: int, type: str) -> Settings:
    """Fields in which one layer of Gemma 4 differs from the model."""
    tied = bool(c.get("attention_k_eq_v")) and type == FULL
    if "per_layer_config" in c:
        of = (c["per_layer_config"] or {}).get(str(i), {})
    else:
        of = {"head_dim": c["global_head_dim"]} if type == FULL else {}
        if tied and c.get("num_global_key_value_heads"):
            of["num_key_value_heads"] = c["num_global_key_value_heads"]
    odd = sorted(set(of) - set(OVERRIDES))
    if odd:
        raise ValueError(f"per_layer_config: {odd[0]!r} cannot differ; {list(OVERRIDES)} can")
    fields = {OVERRIDES[name]: value for name, value in of.items() if value != c[name]}
    return {**fields, "tied_values": tied}


def _reading(layer: Layer, c: Mapping[str, Any], types: list[str], own: int, i: int) -> Layer:
    """A layer that reads the keys and values of the last one of its type that has any."""
    before = [j for j in range(own) if types[j] == types[i]]
    if not before:
        raise ValueError(f"num_kv_shared_layers={len(types) - own}: layer {i} has none to read")
    wide = layer.hidden or c["intermediate_size"]
    hidden = 2 * wide if c.get("use_double_wide_mlp") else layer.hidden
    return replace(layer, keys_of=before[-1], tied_values=False, hidden=hidden)
