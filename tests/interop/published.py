"""The parts of published config.json files that fix shapes, and how many weights they make.

Those of several signals are counted without their encoders.
"""

from typing import Any

LOCAL, FULL = "sliding_attention", "full_attention"


def gemma(kind: str, width: int, hidden: int, layers: int, heads: int, **more: Any) -> dict:
    """A text config."""
    return {
        "model_type": kind,
        "hidden_size": width,
        "intermediate_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        **more,
    }


def gemma3(width: int, hidden: int, layers: int, heads: int, kv: int, **more: Any) -> dict:
    """A text config of Gemma 3 in the form of the first files, which leave most out."""
    scaled = {"factor": 8.0, "rope_type": "linear"} if kv > 1 else None
    return gemma(
        "gemma3_text",
        width,
        hidden,
        layers,
        heads,
        num_key_value_heads=kv,
        sliding_window=1024 if kv > 1 else 512,
        rope_scaling=scaled,
        **more,
    )


def gemma4(width: int, hidden: int, layers: int, heads: int, kv: int, **more: Any) -> dict:
    """A text config of Gemma 4."""
    every = more.pop("every", 6)
    return gemma(
        "gemma4_text",
        width,
        hidden,
        layers,
        heads,
        num_key_value_heads=kv,
        layer_types=[LOCAL if (i + 1) % every else FULL for i in range(layers)],
        **{"hidden_size_per_layer_input": 0, "final_logit_softcapping": 30.0, **more},
    )


TIED = {"attention_k_eq_v": True, "sliding_window": 1024}
MIXED = {"enable_moe_block": True, "num_experts": 128, "top_k_experts": 8} | {
    "moe_intermediate_size": 704
}
E2B = {"hidden_size_per_layer_input": 256, "num_kv_shared_layers": 20, "every": 5} | {
    "use_double_wide_mlp": True
}
E4B = {"hidden_size_per_layer_input": 256, "num_kv_shared_layers": 18}

PUBLISHED: dict[str, tuple[dict, float]] = {
    "gemma-2b": (gemma("gemma", 2048, 16_384, 18, 8, num_key_value_heads=1), 2_506_172_416),
    "gemma-7b": (gemma("gemma", 3072, 24_576, 28, 16), 8_537_680_896),
    "gemma-2-2b": (gemma("gemma2", 2304, 9216, 26, 8), 2_614_341_888),
    "gemma-2-9b": (gemma("gemma2", 3584, 14_336, 42, 16, num_key_value_heads=8), 9_241_705_984),
    "gemma-2-27b": (
        gemma("gemma2", 4608, 36_864, 46, 32, num_key_value_heads=16, head_dim=128),
        27_227_128_320,
    ),
    "vaultgemma-1b": (
        gemma("vaultgemma", 1152, 6912, 26, 4, layer_types=[FULL] * 26),
        1_038_741_120,
    ),
    "gemma-3-270m": (gemma3(640, 2048, 18, 4, 1, vocab_size=262_144), 268_098_176),
    "gemma-3-1b": (gemma3(1152, 6912, 26, 4, 1, vocab_size=262_144), 999_885_952),
    "gemma-3-4b": (gemma3(2560, 10_240, 34, 8, 4), 3.880e9),
    "gemma-3-12b": (gemma3(3840, 15_360, 48, 16, 8), 11.766e9),
    "gemma-3-27b": (gemma3(5376, 21_504, 62, 32, 16, head_dim=128), 27.010e9),
    "gemma-4-E2B": (gemma4(1536, 6144, 35, 8, 1, **E2B), 4.63e9),
    "gemma-4-E4B": (gemma4(2560, 10_240, 42, 8, 2, **E4B), 7.46e9),
    "gemma-4-12B": (gemma4(3840, 15_360, 48, 16, 8, num_global_key_value_heads=1, **TIED), 11.91e9),
    "gemma-4-31B": (gemma4(5376, 21_504, 60, 32, 16, num_global_key_value_heads=4, **TIED), 30.7e9),
    "gemma-4-26B-A4B": (
        gemma4(2816, 2112, 30, 16, 8, num_global_key_value_heads=2, **TIED, **MIXED),
        25.2e9,
    ),
}
