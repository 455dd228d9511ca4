"""A whole model as a Hugging Face folder: weights, config, tokenizer, chat template, generation.

Invariant: what is written computes what we compute, or nothing is written.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from castor.core.files import folder_aside
from castor.interop.configs import FULL, LOCAL
from castor.interop.describe import config_to, rope_to, sizes_to
from castor.interop.hf import CONFIG, SHARD, cast, save_hf
from castor.interop.merges import tokenizer_json
from castor.interop.names import GEMMA, WHOLE, sources
from castor.interop.processors import ids_of, names_of, processors
from castor.interop.tensors import Described, write_folder
from castor.interop.words import Words, words
from castor.models.decoder import Model
from castor.models.quant import Weight, is_quantised
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
    Weights are cast, and made dense, one tensor at a time. `sampling` are entries of
    generation_config.json.

    Raises:
        ValueError: no class of Hugging Face's has such a model, or the vocabulary is not its own.
        OSError: it cannot be written; what was there before is untouched.
    """
    if vocab.size != config.vocab:
        raise ValueError(f"the model has {config.vocab} ids, its vocabulary {vocab.size}")
    kinds = [kind for kind in ("image", "audio") if getattr(config, kind) is not None]
    known = words(vocab, kinds=[*kinds, "video"] if "image" in kinds else kinds)
    ids = {"bos_token_id": known.begin, "eos_token_id": list(known.ends), "pad_token_id": known.pad}
    settings = {**ids, "eos_token_id": known.end}
    family = None if is_qwen(config) else config_to(config)
    kind = "qwen3" if family is None else family["model_type"]
    settings |= ids_of(kind, known)
    more: dict[str, Any] = {"precision": precision, "settings": settings, "most_bytes": most_bytes}
    with folder_aside(folder) as aside:
        if family is None:
            _save_qwen(aside, model, config, **more)
        else:
            save_hf(aside, model, config, **more)
            for name, told in processors(family, config).items():
                _write(aside / name, told)
        _write(aside / "generation_config.json", {**ids, **(sampling or {})})
        _save_words(aside, vocab, known, longest=config.context, more=names_of(kind))


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
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        **sizes_to(config),
        "hidden_act": "gelu_pytorch_tanh",
        "tie_word_embeddings": False,
        "rope_theta": layers[0].rope_base,
        "rope_parameters": rope_to(layers[0]),
        "use_sliding_window": bool(windows),
        "sliding_window": windows[0] if windows else None,
        "max_window_layers": 0,
        "layer_types": [FULL if layer.window is None else LOCAL for layer in layers],
    }


def _save_qwen(
    folder: Path,
    model: Model,
    config: ModelConfig,
    *,
    precision: str,
    settings: Mapping[str, Any],
    most_bytes: int,
) -> None:
    """As transformers has no scale of embeddings there, the table is written scaled, and the head
    apart; norms multiply with the weight alone."""
    dtype, table = np.dtype(precision), model.decoder.embedding
    scale = np.asarray(table.shape[1] ** 0.5, dtype)  # as `embed` rounds it
    tensors: dict[str, Described] = {
        "lm_head.weight": Described(table.shape, dtype, lambda: cast(table, dtype)),
        f"model.{WHOLE['decoder.embedding']}": Described(
            table.shape, dtype, lambda: cast(table, dtype) * scale
        ),
    }
    leaves = jax.tree_util.tree_leaves_with_path(model.decoder, is_leaf=is_quantised)
    for path, leaf in leaves:
        name = "decoder." + jax.tree_util.keystr(path, simple=True, separator=".")
        for group, place in enumerate(sources(name, config, GEMMA)):
            if not name.endswith(".embedding"):
                at = () if name in WHOLE else (group,)
                is_norm = name.endswith("norm")
                tensors[f"model.{place}"] = _as_theirs(leaf, at, dtype=dtype, is_norm=is_norm)
    named = {"dtype": dtype.name, "torch_dtype": dtype.name}
    written = {**_qwen_config(config), **named, **settings}
    _write(folder / CONFIG, written)
    write_folder(folder, tensors, most_bytes=most_bytes)


def _as_theirs(
    leaf: Weight, at: tuple[int, ...], *, dtype: np.dtype[Any], is_norm: bool
) -> Described:
    def make() -> np.ndarray:
        if is_norm:
            return (cast(leaf, np.dtype(np.float32), at) + 1).astype(dtype)
        return cast(leaf, dtype, at).T

    return Described(leaf.shape[len(at) :][::-1], dtype, make)


def _save_words(
    folder: Path, vocab: Vocab, known: Words, *, longest: int, more: Mapping[str, Any]
) -> None:
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
        **more,
    }
    vocab.save(folder / "tokenizer.model")
    _write(folder / "tokenizer.json", tokenizer_json(known))
    _write(folder / "tokenizer_config.json", told)
    _write(folder / "special_tokens_map.json", named)
    (folder / "chat_template.jinja").write_text(known.template, encoding="utf-8")


def _write(file: Path, data: Mapping[str, Any]) -> None:
    text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    file.write_text(text, encoding="utf-8")
