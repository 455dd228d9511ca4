"""The decoder as ONNX graphs: ids to states, and states to logits and a longer cache.

The cache is one pair of arrays for each layer, of as many positions as there are to be. Where both
ends of a pair are the same memory, nothing of it is copied.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from castor.device.drawing import MICROSOFT, Drawing, Store
from castor.device.layout import DECODER, EMBEDDING, sights
from castor.device.weights import Form, Precision, form, product, rows, table_form
from castor.models.block import Block
from castor.models.decoder import Decoder
from castor.models.layers import EPSILON
from castor.models.quant import Weight
from castor.models.sizes import Layer, ModelConfig


def refuse(config: ModelConfig) -> None:
    """Say what of a config has no graph.

    Raises:
        ValueError: it has experts, inputs for each layer, or layers that look ahead or read others'
            keys.
    """
    layers = config.every_layer
    found = {
        "experts": config.experts is not None,
        "inputs of their own for each layer": config.inputs is not None,
        "layers that read another's keys": any(layer.keys_of is not None for layer in layers),
        "layers that look ahead": any(layer.ahead for layer in layers),
    }
    for what, there in found.items():
        if there:
            raise ValueError(
                f"models with {what} do not run on onnxruntime yet; leave out --device"
            )


def draw_decoder(
    decoder: Decoder, *, config: ModelConfig, folder: Path, store: Store, precision: Precision
) -> None:
    """Write the graphs of the embedding and of all that comes after it.

    Raises:
        ValueError: as `refuse`.
    """
    refuse(config)
    table = table_form(decoder.embedding, precision=precision)
    _draw_embedding(table, config, Drawing("embedding", store)).save(folder / EMBEDDING)
    pencil = Pencil(Drawing("decoder", store), config, precision)
    drawing, D = pencil.drawing, config.width
    x = drawing.takes("states", [1, "T", D])
    drawing.takes("last", [1], np.int32)
    drawing.takes("total", [], np.int32)
    layers = list(layers_of(decoder, config))
    normed = pencil.normed(x, layers[0][1].attention_norm, name="0.attention_norm")
    for i, (layer, block) in enumerate(layers):
        seen, last = pencil.seen(normed, block, layer, number=i), i + 1 == len(layers)
        if last:  # of the other states no more is wanted than their keys
            kept = drawing.takes("kept", ["m"], np.int64)
            seen, x = (drawing.node("Gather", y, kept, axis=1) for y in (seen, x))
        added = pencil.product(seen, block.wo, name=f"{i}.wo")
        added = pencil.post_normed(added, block.attention_post_norm, name=f"{i}.attention_post")
        x, normed = pencil.summed(x, added, block.mlp_norm, name=f"{i}.mlp_norm")
        fed = pencil.fed(normed, block, number=i)
        fed = pencil.post_normed(fed, block.mlp_post_norm, name=f"{i}.mlp_post")
        after = decoder.final_norm if last else layers[i + 1][1].attention_norm
        x, normed = pencil.left(x, fed, block, after, number=i)
    final = drawing.named("final", "Reshape", normed, drawing.number([-1, D], np.int64))
    drawing.gives(final, ["m", D])
    asked = drawing.node("Gather", final, drawing.takes("asked", ["n"], np.int64), axis=0)
    drawing.gives(pencil.scored(asked, table), ["n", config.vocab])
    drawing.save(folder / DECODER)


def layers_of(decoder: Decoder, config: ModelConfig) -> Iterator[tuple[Layer, Block]]:
    """The layers in their order, with the weights of each."""
    at = 0
    for stage in config.stages:
        entries = decoder.blocks[at : at + len(stage.pattern)]
        at += len(entries)
        for i in range(stage.repeats):
            for layer, block in zip(stage.pattern, entries, strict=True):
                yield layer, jax.tree.map(lambda leaf, i=i: leaf[i], block)


def turn_tables(layer: Layer, config: ModelConfig) -> tuple[np.ndarray, np.ndarray]:
    """The cosines and sines of every position, as `layers.turns_of` has them."""
    half = config.head_width_of(layer) // 2
    pairs = np.arange(half, dtype=np.float32)
    rates = np.float32(layer.rope_base) ** (-pairs / np.float32(half))
    rates = np.where(pairs < int(layer.rope_share * half), rates, 0).astype(np.float32)
    rates = rates / np.float32(layer.rope_factor)
    angles = np.arange(config.context, dtype=np.float32)[:, None] * rates
    return np.cos(angles), np.sin(angles)


def _draw_embedding(table: Form, config: ModelConfig, drawing: Drawing) -> Drawing:
    ids = drawing.takes("ids", ["T"], np.int64)
    found = rows(drawing, ids, table, name="embedding")
    scaled = drawing.named("states", "Mul", found, drawing.number(config.width**0.5))
    drawing.gives(scaled, ["T", config.width])
    return drawing


@dataclass(frozen=True)
class Pencil:
    """Draws the parts of layers as a config says."""

    drawing: Drawing
    config: ModelConfig
    precision: Precision

    def product(self, x: str, weight: Weight, *, name: str) -> str:
        """x @ weight, in the precision asked for."""
        return product(self.drawing, x, form(weight, precision=self.precision), name=name)

    def normed(self, x: str, scale: Any, *, name: str) -> str:
        """x over its root mean square, times (start + scale)."""
        factor = self.drawing.stored(name, self._factor(scale))
        return self.drawing.node("SimplifiedLayerNormalization", x, factor, epsilon=EPSILON)

    def post_normed(self, x: str, scale: Any, *, name: str) -> str:
        """The norm of what a layer adds, where it has one."""
        return x if scale is None else self.normed(x, scale, name=name)

    def summed(self, x: str, y: str, scale: Any, *, name: str) -> tuple[str, str]:
        """x + y, and its norm."""
        factor = self.drawing.stored(name, self._factor(scale))
        names = [f"{name}.normed", "", "", f"{name}.sum"]
        self.drawing.nodes(
            "SkipSimplifiedLayerNormalization",
            *(x, y, factor),
            names=names,
            domain=MICROSOFT,
            epsilon=EPSILON,
        )
        return names[3], names[0]

    def left(self, x: str, fed: str, block: Block, after: Any, *, number: int) -> tuple[str, str]:
        """The states that leave a layer, and the norm of them that is read next."""
        name = f"{number}.after"
        if block.scale is None:
            return self.summed(x, fed, after, name=name)
        scale = self.drawing.number(np.asarray(block.scale, np.float32))
        x = self.drawing.node("Mul", self.drawing.node("Add", x, fed), scale)
        return x, self.normed(x, after, name=name)

    def seen(self, normed: str, block: Block, layer: Layer, *, number: int) -> str:
        """What attention brings, of all heads; its keys and values go into the cache."""
        d, config, i = self.drawing, self.config, number
        K, H = config.kv_heads_of(layer), config.head_width_of(layer)
        q, k, v = self._projected(normed, block, layer, number=number)
        turns = f"turns.{layer.rope_base}.{layer.rope_factor}.{layer.rope_share}.{H}"
        tables = zip(("cos", "sin"), turn_tables(layer, config), strict=True)
        cos, sin = (d.stored(f"{turns}.{name}", table) for name, table in tables)
        past = [d.takes(f"past.{name}.{i}", [1, K, "S", H]) for name in "kv"]
        present = [f"present.{name}.{i}" for name in "kv"]
        options: dict[str, Any] = {"do_rotary": 1, "num_heads": config.heads, "kv_num_heads": K}
        options |= {} if config.score_cap is None else {"softcap": float(config.score_cap)}
        options |= {} if config.score_scale is None else {"scale": float(config.score_scale)}
        bias: tuple[str, ...] = ()
        if layer.sight in (masked := sights(config)):
            bias = ("", d.takes(f"bias.{masked.index(layer.sight)}", [1, 1, "T", "seen"]))
            options["causal"] = 0
        elif layer.window is not None:
            options["local_window_size"] = layer.window
        seen, *_ = d.nodes(
            "GroupQueryAttention",
            *(q, k, v, *past, "last", "total", cos, sin, *bias),
            names=[f"{i}.seen", *present],
            domain=MICROSOFT,
            **options,
        )
        for name in present:
            d.gives(name, [1, K, "S", H])
        return seen

    def fed(self, normed: str, block: Block, *, number: int) -> str:
        """What the gated feed-forward layer adds to the states."""
        gate, up = (
            self.product(normed, weight, name=f"{number}.{name}")
            for name, weight in (("gate", block.gate), ("up", block.up))
        )
        opened = self.drawing.node("Gelu", gate, approximate="tanh")
        closed = self.drawing.node("Mul", opened, up)
        return self.product(closed, block.down, name=f"{number}.down")

    def scored(self, states: str, table: Form) -> str:
        """Logits below their cap."""
        d, cap = self.drawing, self.config.logit_cap
        if cap is None:
            return product(d, states, table, name="embedding", turned=True, result="logits")
        scores = product(d, states, table, name="embedding", turned=True)
        small = d.node("Tanh", d.node("Div", scores, d.number(cap)))
        return d.named("logits", "Mul", small, d.number(cap))

    def _projected(self, normed: str, block: Block, layer: Layer, *, number: int) -> list[str]:
        """Queries, keys and values under their norms, [1, T, heads * H] each."""
        config, H, i = self.config, self.config.head_width_of(layer), number
        N, K = config.heads, config.kv_heads_of(layer)
        assert block.wk is not None, "`refuse` lets no other through"
        ones = np.full(H, 1 - config.norm_start, np.float32) if config.value_norm else None
        q, k = (
            self.product(normed, weight, name=f"{i}.{name}")
            for name, weight in (("wq", block.wq), ("wk", block.wk))
        )
        v = k if block.wv is None else self.product(normed, block.wv, name=f"{i}.wv")
        return [
            self._each_head(q, block.query_norm, N, H, name=f"{i}.query_norm"),
            self._each_head(k, block.key_norm, K, H, name=f"{i}.key_norm"),
            self._each_head(v, ones, K, H, name=f"{i}.value_norm"),
        ]

    def _each_head(self, x: str, scale: Any, N: int, H: int, *, name: str) -> str:
        if scale is None:
            return x
        d = self.drawing
        apart = d.node("Reshape", x, d.number([1, -1, N, H], np.int64))
        return d.node(
            "Reshape", self.normed(apart, scale, name=name), d.number([1, -1, N * H], np.int64)
        )

    def _factor(self, scale: Any) -> np.ndarray:
        return np.asarray(scale, np.float32) + np.float32(self.config.norm_start)
