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
from castor.device.layout import DECODER, EMBEDDING, sights, states_width
from castor.device.weights import Form, Precision, form, product, rows, table_form
from castor.models.block import Block
from castor.models.decoder import Decoder
from castor.models.per_layer import Inlet, Inputs
from castor.models.quant import Weight
from castor.models.sizes import EPSILON, Layer, ModelConfig

LANES = 16  # of a head's dimensions, at a time, in GroupQueryAttention


def refuse(config: ModelConfig) -> None:
    """Say what of a config has no graph.

    Raises:
        ValueError: it has experts, heads that onnxruntime's attention does not take, or layers that
            look ahead or turn by other angles than the one whose keys they read.
    """
    layers = config.every_layer
    found = {
        "experts": config.experts is not None,
        "layers that turn otherwise than those whose keys they read": any(
            _turn(layer) != _turn(layers[layer.keys_of])
            for layer in layers
            if layer.keys_of is not None
        ),
        f"heads whose width is no multiple of {LANES}": any(
            config.head_width_of(layer) % LANES for layer in layers
        ),
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
    embedding = _draw_embedding(
        table, decoder.inputs, config, Drawing("embedding", store), precision
    )
    embedding.save(folder / EMBEDDING)
    pencil = Pencil(Drawing("decoder", store), config, precision)
    drawing, D = pencil.drawing, config.width
    x, own = pencil.begun(drawing.takes("states", [1, "T", states_width(config)]), decoder.inputs)
    drawing.takes("last", [1], np.int32)
    drawing.takes("total", [], np.int32)
    layers = list(layers_of(decoder, config))
    made: list[tuple[str, str]] = []  # keys and values of each layer, before they turn
    normed = pencil.normed(x, layers[0][1].attention_norm, name="0.attention_norm")
    for i, (layer, block) in enumerate(layers):
        query, *keys = pencil.projected(normed, block, layer, number=i)
        made.append((keys[0], keys[1]) if layer.keys_of is None else made[layer.keys_of])
        seen, last = pencil.seen(query, made[i], layer, number=i), i + 1 == len(layers)
        if last:  # of the other states no more is wanted than their keys
            kept = drawing.takes("kept", ["m"], np.int64)
            seen, x = (drawing.node("Gather", y, kept, axis=1) for y in (seen, x))
            own[i:] = [drawing.node("Gather", y, kept, axis=1) for y in own[i:]]
        added = pencil.product(seen, block.wo, name=f"{i}.wo")
        added = pencil.post_normed(added, block.attention_post_norm, name=f"{i}.attention_post")
        x, normed = pencil.summed(x, added, block.mlp_norm, name=f"{i}.mlp_norm")
        fed = pencil.fed(normed, block, number=i)
        fed = pencil.post_normed(fed, block.mlp_post_norm, name=f"{i}.mlp_post")
        after = decoder.final_norm if last else layers[i + 1][1].attention_norm
        if block.inlet is not None:
            x, fed = pencil.taken_in(drawing.node("Add", x, fed), block.inlet, own[i], number=i)
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


def _turn(layer: Layer) -> tuple[float, float, float]:
    return layer.rope_base, layer.rope_factor, layer.rope_share


def _draw_embedding(
    table: Form, inputs: Inputs | None, config: ModelConfig, drawing: Drawing, precision: Precision
) -> Drawing:
    """Ids to states and, beside them, to what each layer is given of the id itself."""
    ids = drawing.takes("ids", ["T"], np.int64)
    scaled = [(rows(drawing, ids, table, name="embedding"), config.width)]
    if inputs is not None and config.inputs is not None:
        own = table_form(inputs.embedding, precision=precision)
        scaled.append((rows(drawing, ids, own, name="inputs"), config.inputs.width))
    parts = [drawing.node("Mul", x, drawing.number(width**0.5)) for x, width in scaled]
    drawing.named("states", "Concat", *parts, axis=-1)
    drawing.gives("states", ["T", states_width(config)])
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

    def begun(self, states: str, inputs: Inputs | None) -> tuple[str, list[str]]:
        """The states before the first layer, and the input of each layer."""
        if inputs is None or self.config.inputs is None:
            return states, []
        d, D, L, P = self.drawing, self.config.width, self.config.layers, self.config.inputs.width
        sides = d.number([D, L * P], np.int64)
        x, rows_of_ids = d.nodes("Split", states, sides, names=["x", "rows"], axis=-1)
        flat = d.node(
            "Mul", self.product(x, inputs.projection, name="projection"), d.number(D**-0.5)
        )
        apart = d.node("Reshape", flat, d.number([1, -1, L, P], np.int64))
        normed = self.normed(apart, inputs.norm, name="projection_norm")
        both = d.node(
            "Add", d.node("Reshape", normed, d.number([1, -1, L * P], np.int64)), rows_of_ids
        )
        names = [f"{i}.own" for i in range(L)]
        halved = d.node("Mul", both, d.number(2**-0.5))
        return x, list(d.nodes("Split", halved, names=names, axis=-1, num_outputs=L))

    def taken_in(self, x: str, inlet: Inlet, own: str, *, number: int) -> tuple[str, str]:
        """The states, and what a layer's own input adds to them."""
        name = f"{number}.inlet"
        gate = self.product(x, inlet.gate, name=f"{name}.gate")
        opened = self.drawing.node("Mul", self.gelu(gate), own)
        out = self.product(opened, inlet.out, name=f"{name}.out")
        return x, self.normed(out, inlet.norm, name=f"{name}.norm")

    def gelu(self, x: str) -> str:
        """As `layers.gelu`."""
        return self.drawing.node("Gelu", x, approximate="tanh")

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

    def seen(self, query: str, made: tuple[str, str], layer: Layer, *, number: int) -> str:
        """What attention brings, of all heads; keys and values go into the cache.

        A layer that reads another's puts the same ones into the same places once more: that costs
        next to nothing, and the operator knows no other way to see them without a copy.
        """
        d, config, i = self.drawing, self.config, number
        K, H = config.kv_heads_of(layer), config.head_width_of(layer)
        holder = i if layer.keys_of is None else layer.keys_of
        turns = f"turns.{layer.rope_base}.{layer.rope_factor}.{layer.rope_share}.{H}"
        tables = zip(("cos", "sin"), turn_tables(layer, config), strict=True)
        cos, sin = (d.stored(f"{turns}.{name}", table) for name, table in tables)
        past = [d.takes(f"past.{name}.{holder}", [1, K, "S", H]) for name in "kv"]
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
            *(query, *made, *past, "last", "total", cos, sin, *bias),
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
        closed = self.drawing.node("Mul", self.gelu(gate), up)
        return self.product(closed, block.down, name=f"{number}.down")

    def scored(self, states: str, table: Form) -> str:
        """Logits below their cap."""
        d, cap = self.drawing, self.config.logit_cap
        if cap is None:
            return product(d, states, table, name="embedding", turned=True, result="logits")
        scores = product(d, states, table, name="embedding", turned=True)
        small = d.node("Tanh", d.node("Div", scores, d.number(cap)))
        return d.named("logits", "Mul", small, d.number(cap))

    def projected(self, normed: str, block: Block, layer: Layer, *, number: int) -> list[str]:
        """Queries under their norm, and keys and values where the layer makes its own;
        [1, T, heads * H] each."""
        config, H, i = self.config, self.config.head_width_of(layer), number
        N, K = config.heads, config.kv_heads_of(layer)
        q = self.product(normed, block.wq, name=f"{i}.wq")
        q = self._each_head(q, block.query_norm, N, H, name=f"{i}.query_norm")
        if block.wk is None:
            return [q]
        ones = np.full(H, 1 - config.norm_start, np.float32) if config.value_norm else None
        k = self.product(normed, block.wk, name=f"{i}.wk")
        v = k if block.wv is None else self.product(normed, block.wv, name=f"{i}.wv")
        return [
            q,
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
