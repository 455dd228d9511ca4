"""A whole model as a Hugging Face folder: weights, config, tokenizer, chat template, generation.

Invariant: what is written computes what we compute, or nothing is written.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from castor.core.files import folder_aside
from castor.interop.configs import FULL, LOCAL
from castor.interop.describe import config_to
from castor.interop.hf import CONFIG, SHARD, save_hf
from castor.interop.merges import tokenizer_json
from castor.interop.names import GEMMA, WHOLE, sources
from castor.interop.tensors import Described, write_folder
from castor.interop.words import Words, words
from castor.models.decoder import Model
from castor.models.layers import EPSILON
from castor.models.quant import densed
from castor.models.sizes import ModelConfig
from castor.tokens.vocab import Vocab


def save_folder(
    folder: Path,
    model: Model,
    config: ModelConfig,
    *,
    vocab: Vocab,
    precision: str = "bfloat16",
    sampling: Mapping[str, Any] | None = None,
    most_bytes: int = SHARD,
) -> None:
    """Write a model as a folder that transformers reads, and its tokenizer.

    Where no Gemma has such a decoder, it is written as a Qwen 3, whose activation config.json
    changes: transformers computes that; vLLM refuses it, and llama.cpp's converter overlooks it.
    Quantised weights are written dense. `sampling` are entries of generation_config.json.

    Raises:
        ValueError: no class of Hugging Face's has such a model, or the vocabulary is not its own.
        OSError: it cannot be written; what was there before is untouched.
    """
    if vocab.size != config.vocab:
        raise ValueError(f"the model has {config.vocab} ids, its vocabulary {vocab.size}")
    known = words(vocab)
    ids = {"bos_token_id": known.begin, "eos_token_id": list(known.ends), "pad_token_id": known.pad}
    settings = {**ids, "eos_token_id": known.end}
    model = jax.tree.map(lambda leaf: leaf.astype(jnp.dtype(precision)), densed(model))
    with folder_aside(folder) as aside:
        if is_qwen(config):
            _save_qwen(aside, model, config, settings, most_bytes=most_bytes)
        else:
            save_hf(aside, model, config, settings=settings, most_bytes=most_bytes)
        _write(aside / "generation_config.json", {**ids, **(sampling or {})})
        _save_words(aside, vocab, known, longest=config.context)


def with_text_alone(model: Model, config: ModelConfig) -> tuple[Model, ModelConfig]:
    """A model without its encoders."""
    return replace(model, encoders={}), replace(config, image=None, audio=None)


def refuse_encoders(config: ModelConfig) -> None:
    """Raise a ValueError if a model has encoders that no class of Hugging Face's has."""
    kinds = [kind for kind in ("image", "audio") if getattr(config, kind) is not None]
    if not kinds:
        return
    try:
        config_to(config)
    except ValueError:
        raise ValueError(
            f"no class of Hugging Face's has this model's encoders ({', '.join(kinds)}); "
            "--text-only leaves them behind"
        ) from None


def is_qwen(config: ModelConfig) -> bool:
    """Whether a decoder is Castor's own kind, which Qwen 3 computes: norms of queries and keys, no
    norms after what a layer adds, one kind of position."""
    layers = config.every_layer
    plain = ModelConfig(
        layers=config.layers,
        width=config.width,
        hidden=config.hidden,
        heads=config.heads,
        head_width=config.head_width,
        kv_heads=config.kv_heads,
        vocab=config.vocab,
        context=config.context,
    )
    flat = replace(config, pattern=plain.pattern, further=())
    alike = {replace(layer, window=None, blocks=True) for layer in layers}
    turns = {(layer.rope_base, layer.rope_factor) for layer in layers}
    bare = all(
        layer == replace(plain.pattern[0], rope_base=layer.rope_base, rope_factor=layer.rope_factor)
        for layer in alike
    )
    windows = {layer.window for layer in layers} - {None}
    return flat == plain and bare and len(turns) == 1 and len(windows) < 2


def _qwen_config(config: ModelConfig) -> dict[str, Any]:
    layers = config.every_layer
    windows = [layer.window for layer in layers if layer.window is not None]
    base, factor = layers[0].rope_base, layers[0].rope_factor
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": base}
    if factor != 1:
        rope |= {"rope_type": "linear", "factor": factor}
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "vocab_size": config.vocab,
        "hidden_size": config.width,
        "intermediate_size": config.hidden,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_width,
        "max_position_embeddings": config.context,
        "rms_norm_eps": EPSILON,
        "hidden_act": "gelu_pytorch_tanh",
        "attention_bias": False,
        "tie_word_embeddings": False,
        "rope_theta": base,
        "rope_parameters": rope,
        "use_sliding_window": bool(windows),
        "sliding_window": windows[0] if windows else None,
        "max_window_layers": 0,
        "layer_types": [FULL if layer.window is None else LOCAL for layer in layers],
    }


def _save_qwen(
    folder: Path,
    model: Model,
    config: ModelConfig,
    settings: Mapping[str, Any],
    *,
    most_bytes: int,
) -> None:
    """As transformers has no scale of embeddings there, the table is written scaled, and the head
    apart; norms multiply with the weight alone."""
    table = model.decoder.embedding
    scale = jnp.asarray(table.shape[1] ** 0.5, table.dtype)  # as `embed` rounds it
    tensors: dict[str, Described] = {
        "lm_head.weight": _described(table, lambda: np.asarray(table)),
        f"model.{WHOLE['decoder.embedding']}": _described(table, lambda: np.asarray(table * scale)),
    }
    for path, leaf in jax.tree_util.tree_leaves_with_path(model.decoder):
        name = "decoder." + jax.tree_util.keystr(path, simple=True, separator=".")
        for group, place in enumerate(sources(name, config, GEMMA)):
            if not name.endswith(".embedding"):
                part = leaf if name in WHOLE else leaf[group]
                tensors[f"model.{place}"] = _as_theirs(part, is_norm=name.endswith("norm"))
    dtype = np.dtype(table.dtype).name
    written = {**_qwen_config(config), "dtype": dtype, "torch_dtype": dtype, **settings}
    _write(folder / CONFIG, written)
    write_folder(folder, tensors, most_bytes=most_bytes)


def _as_theirs(part: Array, *, is_norm: bool) -> Described:
    def make() -> np.ndarray:
        array = np.asarray(part)
        if is_norm:
            return (array.astype(np.float32) + 1).astype(array.dtype)
        return array.T

    return Described(part.shape[::-1], np.dtype(part.dtype), make)


def _described(array: Array, make: Callable[[], np.ndarray]) -> Described:
    return Described(array.shape, np.dtype(array.dtype), make)


def _save_words(folder: Path, vocab: Vocab, known: Words, *, longest: int) -> None:
    named = {
        "bos_token": known.pieces[known.begin].text,
        "eos_token": known.pieces[known.end].text,
        "unk_token": known.pieces[known.unknown].text,
        "pad_token": known.pieces[known.pad].text,
    }
    told = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": longest,
        "clean_up_tokenization_spaces": False,
        "add_bos_token": True,
        "chat_template": known.template,
        **named,
    }
    vocab.save(folder / "tokenizer.model")
    _write(folder / "tokenizer.json", tokenizer_json(known))
    _write(folder / "tokenizer_config.json", told)
    _write(folder / "special_tokens_map.json", named)
    (folder / "chat_template.jinja").write_text(known.template, encoding="utf-8")


def _write(file: Path, data: Mapping[str, Any]) -> None:
    text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    file.write_text(text, encoding="utf-8")
