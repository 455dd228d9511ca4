"""A model as one GGUF file, for llama.cpp and what is built on it: the decoder and its vocabulary.

One tensor at a time is made; codes of quantised weights are packed as they are.
"""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from gguf import GGML_QUANT_VERSION, GGUFWriter
from gguf import GGMLQuantizationType as Kind
from gguf.constants import LlamaFileType

from castor.interop.gguf_blocks import FORMATS, kind_of, packed, repacked, size_of
from castor.interop.gguf_settings import architecture, describe, scale_of
from castor.interop.names import sources
from castor.interop.words import Words, words
from castor.models.decoder import Model
from castor.models.quant import GROUP, QTensor, is_quantised, placed
from castor.models.sizes import ModelConfig
from castor.tokens.vocab import Vocab

PRECISIONS = {
    "float32": (Kind.F32, LlamaFileType.ALL_F32),
    "float16": (Kind.F16, LlamaFileType.MOSTLY_F16),
    "bfloat16": (Kind.BF16, LlamaFileType.MOSTLY_BF16),
    "q8_0": (Kind.Q8_0, LlamaFileType.MOSTLY_Q8_0),
    "q4_0": (Kind.Q4_0, LlamaFileType.MOSTLY_Q4_0),
}
OF_FILE = {
    Kind.Q4_0: LlamaFileType.MOSTLY_Q4_0,
    Kind.Q4_1: LlamaFileType.MOSTLY_Q4_1,
    Kind.Q8_0: LlamaFileType.MOSTLY_Q8_0,
}
WHOLE = {
    "decoder.embedding": "token_embd.weight",
    "decoder.final_norm": "output_norm.weight",
    "decoder.inputs.embedding": "per_layer_token_embd.weight",
    "decoder.inputs.projection": "per_layer_model_proj.weight",
    "decoder.inputs.norm": "per_layer_proj_norm.weight",
}
LAYER = {
    "attention_norm": "attn_norm.weight",
    "wq": "attn_q.weight",
    "wk": "attn_k.weight",
    "wv": "attn_v.weight",
    "query_norm": "attn_q_norm.weight",
    "key_norm": "attn_k_norm.weight",
    "wo": "attn_output.weight",
    "attention_post_norm": "post_attention_norm.weight",
    "mlp_norm": "ffn_norm.weight",
    "gate": "ffn_gate.weight",
    "up": "ffn_up.weight",
    "down": "ffn_down.weight",
    "mlp_post_norm": "post_ffw_norm.weight",
    "experts.norm": "pre_ffw_norm_2.weight",
    "experts.post_norm": "post_ffw_norm_2.weight",
    "experts.dense_post_norm": "post_ffw_norm_1.weight",
    "experts.router_scale": "ffn_gate_inp.scale",
    "experts.router": "ffn_gate_inp.weight",
    "experts.factors": "ffn_down_exps.scale",
    "experts.gate_up": "ffn_gate_up_exps.weight",
    "experts.down": "ffn_down_exps.weight",
    "inlet.gate": "inp_gate.weight",
    "inlet.out": "proj.weight",
    "inlet.norm": "post_norm.weight",
    "scale": "layer_output_scale.weight",
}
ROPES = "rope_freqs.weight"  # what each turn of a head is divided by, in layers without a window
STILL = 1e30  # a pair that is divided by so much does not turn


class Tensor(NamedTuple):
    """One array of a file: its numbers are made when their turn comes."""

    name: str
    shape: tuple[int, ...]  # the dimension that products sum over is the last
    kind: Kind
    make: Callable[[], np.ndarray]  # bytes


def write_gguf(
    path: Path,
    model: Model,
    config: ModelConfig,
    *,
    vocab: Vocab,
    precision: str = "bfloat16",
    name: str = "",
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write a decoder and its vocabulary; encoders of other signals are left out.

    Matrices are of the `precision` unless they are quantised already: those keep their codes.
    `tell` hears after each tensor how many bytes of how many are written.

    Raises:
        ValueError: llama.cpp has no architecture that computes the decoder, the vocabulary is not
            the model's, or its weights are in codes that GGUF does not have.
        OSError: it cannot be written; what was there before is untouched.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision={precision!r} is none of {', '.join(PRECISIONS)}")
    if vocab.size != config.vocab:
        raise ValueError(f"the model has {config.vocab} ids, its vocabulary {vocab.size}")
    arch = architecture(config)
    tensors = list(_tensors(model, config, arch, PRECISIONS[precision][0]))
    with _aside(path) as aside:
        file = GGUFWriter(aside, arch)
        file.add_name(name or path.stem)
        file.add_file_type(_file_type(tensors, precision))
        if any(tensor.kind in OF_FILE for tensor in tensors):
            file.add_quantization_version(GGML_QUANT_VERSION)
        describe(file, config)
        _describe_words(file, words(vocab))
        _write(file, tensors, tell)


def _write(file: GGUFWriter, tensors: list[Tensor], tell: Callable[[int, int], None]) -> None:
    sizes = [size_of(tensor.shape, tensor.kind) for tensor in tensors]
    for tensor, size in zip(tensors, sizes, strict=True):
        number = np.dtype(np.float32)  # the shape is told in numbers, not in bytes
        file.add_tensor_info(tensor.name, tensor.shape, number, size, raw_dtype=tensor.kind)
    try:
        file.write_header_to_file()
        file.write_kv_data_to_file()
        file.write_ti_data_to_file()
        done = 0
        for tensor, size in zip(tensors, sizes, strict=True):
            file.write_tensor_data(tensor.make())
            done += size
            tell(done, sum(sizes))
    finally:
        file.close()


def _describe_words(file: GGUFWriter, known: Words) -> None:
    file.add_tokenizer_model("llama")
    file.add_token_list([piece.text for piece in known.pieces])
    file.add_token_scores([piece.score for piece in known.pieces])
    file.add_token_types([piece.kind for piece in known.pieces])
    file.add_bos_token_id(known.begin)
    file.add_eos_token_id(known.end)
    file.add_eot_token_id(known.turn_end)
    file.add_unk_token_id(known.unknown)
    file.add_pad_token_id(known.pad)
    file.add_add_bos_token(True)
    file.add_add_eos_token(False)
    file.add_add_space_prefix(False)
    file.add_chat_template(known.template)


def _tensors(model: Model, config: ModelConfig, arch: str, kind: Kind) -> Iterator[Tensor]:
    leaves = jax.tree_util.tree_leaves_with_path(model.decoder, is_leaf=is_quantised)
    for path, leaf in leaves:
        name = "decoder." + jax.tree_util.keystr(path, simple=True, separator=".")
        if name in WHOLE:
            yield _tensor(WHOLE[name], name, leaf, leaf.shape, None, kind, config)
            continue
        for group, place in enumerate(sources(name, config, LAYER)):
            named = place.replace("layers.", "blk.", 1)
            yield _tensor(named, name, leaf, leaf.shape[1:], group, kind, config)
    if arch == "gemma4":
        yield _ropes(config)


def _tensor(
    named: str,
    path: str,
    leaf: Any,
    shape: tuple[int, ...],
    group: int | None,
    kind: Kind,
    config: ModelConfig,
) -> Tensor:
    turned = len(shape) > 1 and "embedding" not in path
    *before, rows, columns = (0, *shape)
    theirs = (*before[1:], columns, rows) if turned else shape

    def part() -> Any:
        return leaf if group is None else jax.tree.map(lambda array: array[group], leaf)

    if isinstance(leaf, QTensor):
        return Tensor(named, theirs, kind_of(leaf), lambda: repacked(part()))
    if len(shape) == 1 or path.endswith(".router"):
        kind = Kind.F32
    elif kind in FORMATS and (placed(f".{path}") is None or rows % GROUP):
        kind = Kind.F16
    plus, times = _folded(path, config)

    def make() -> np.ndarray:
        array = np.asarray(part())
        if (plus, times) != (0.0, 1.0):
            array = (array.astype(np.float32) + np.float32(plus)) * np.float32(times)
        return packed(np.swapaxes(array, -1, -2) if turned else array, kind)

    return Tensor(named, theirs, kind, make)


def _folded(path: str, config: ModelConfig) -> tuple[float, float]:
    """What is added to a weight, and what that is multiplied with, for llama.cpp to see: norms of
    its own multiply with the weight alone, and scores have a scale that is not told."""
    arch = architecture(config)
    plus = config.norm_start if path.endswith("norm") else 0.0
    if arch == "gemma3" and path.endswith("query_norm"):
        return plus, (config.score_scale or config.head_width**-0.5) / scale_of(arch, config)
    return plus, 1.0


def _ropes(config: ModelConfig) -> Tensor:
    whole = next(layer for layer in config.every_layer if layer.window is None)
    half = config.head_width_of(whole) // 2
    turning = np.arange(half) < int(whole.rope_share * half)
    factors = np.where(turning, 1.0, STILL).astype(np.float32)
    return Tensor(ROPES, (half,), Kind.F32, lambda: packed(factors, Kind.F32))


def _file_type(tensors: list[Tensor], precision: str) -> LlamaFileType:
    """That of the kind that takes most bytes, as a listing shows it."""
    sizes: dict[Kind, int] = {}
    for tensor in tensors:
        sizes[tensor.kind] = sizes.get(tensor.kind, 0) + size_of(tensor.shape, tensor.kind)
    most = max(sizes, key=lambda kind: sizes[kind])
    return OF_FILE.get(most, PRECISIONS[precision][1])


@contextlib.contextmanager
def _aside(path: Path) -> Iterator[Path]:
    """A file beside `path` that takes its place when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    aside = Path(name)
    try:
        yield aside
        with aside.open("rb") as stream:
            os.fsync(stream.fileno())
        aside.chmod(0o644)
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
