"""The sizes of a decoder in the words of transformers' configs."""


def sizes(shape: dict) -> dict:
    """Of a shape as the benchmarks send it."""
    return {
        "vocab_size": shape["vocab"],
        "hidden_size": shape["width"],
        "intermediate_size": shape["hidden"],
        "num_hidden_layers": shape["layers"],
        "num_attention_heads": shape["heads"],
        "num_key_value_heads": shape["kv_heads"],
        "head_dim": shape["head_width"],
    }
