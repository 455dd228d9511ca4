"""The encoders of pictures and sound as ONNX graphs: one medium's windows in, states out.

All slots of a call belong to one picture or one sound, so every slot sees every other.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from castor.device.drawing import MICROSOFT, Drawing, Store
from castor.device.graph import Pencil
from castor.device.layout import KINDS, encoder
from castor.device.weights import Precision, form, product
from castor.models.affine import Affine, Clipped, LayerNorm
from castor.models.audio import REACH, AudioEncoder, Conformer
from castor.models.encoder import EncoderBlock
from castor.models.image import ImageEncoder, Stem
from castor.models.quant import Weight, dense
from castor.models.siglip import SiglipEncoder
from castor.models.signals import AudioConfig, ImageConfig, SiglipConfig, VitConfig
from castor.models.sizes import EPSILON, ModelConfig
from castor.models.vit import VitBlock, VitEncoder

Drawable = ImageConfig | SiglipConfig | VitConfig  # pictures that have a graph
ROPE_BASE = 10_000.0  # of conformers


def readable(config: ModelConfig) -> ModelConfig:
    """The config without the kinds of signals whose encoders have no graph."""
    image = config.image if isinstance(config.image, Drawable) else None
    audio = config.audio if isinstance(config.audio, AudioConfig) else None
    return replace(config, image=image, audio=audio)


def draw_encoders(
    encoders: dict[str, Any],
    *,
    config: ModelConfig,
    folder: Path,
    store: Store,
    precision: Precision,
) -> None:
    """Write the graph of each kind of signal that a config of `readable` names."""
    for kind in KINDS:
        of = getattr(config, kind)
        if of is not None:
            start = 0.0 if isinstance(of, VitConfig) else 1.0
            pencil = Pencil(Drawing(kind, store), replace(config, norm_start=start), precision)
            draw = DRAWN[type(of)]
            pencil.drawing.gives(
                draw(Tower(pencil, kind, of.heads, of.width), encoders[kind], of),
                ["M", config.width],
            )
            pencil.drawing.save(folder / encoder(kind))


@dataclass(frozen=True)
class Tower:
    """Draws the parts of an encoder; values are [1, S, W] in its layers."""

    pencil: Pencil
    name: str
    heads: int
    width: int

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        """The first result of an operator."""
        return self.pencil.drawing.node(op, *inputs, **attributes)

    def shaped(self, x: str, *sides: int) -> str:
        """The same numbers in another shape; one side may be -1."""
        return self.node("Reshape", x, self.pencil.drawing.number(sides, np.int64))

    def product(self, x: str, weight: Weight, name: str) -> str:
        """x @ weight."""
        return self.pencil.product(x, weight, name=f"{self.name}.{name}")

    def out(self, x: str, scale: Any, weight: Weight) -> str:
        """The states that leave the encoder."""
        d, matrix = self.pencil.drawing, form(weight, precision=self.pencil.precision)
        normed = self.normed(x, scale, "norm")
        return product(d, normed, matrix, name=f"{self.name}.out", result="states")

    def affine(self, x: str, of: Affine, name: str) -> str:
        """x @ weight + bias."""
        return self.node(
            "Add", self.product(x, of.weight, name), self.stored(f"{name}.bias", of.bias)
        )

    def clipped(self, x: str, of: Clipped, name: str) -> str:
        """x @ weight, within the bounds that it has."""
        if of.bounds is None:
            return self.product(x, of.weight, name)
        bounds = [self.pencil.drawing.number(bound) for bound in np.asarray(of.bounds, np.float32)]
        held = self.node("Clip", x, *bounds[:2])
        return self.node("Clip", self.product(held, of.weight, name), *bounds[2:])

    def levelled(self, x: str, norm: LayerNorm, name: str) -> str:
        """What is left of x when its mean and size are taken away, scaled and moved."""
        parts = self.stored(f"{name}.scale", norm.scale), self.stored(f"{name}.bias", norm.bias)
        return self.node("LayerNormalization", x, *parts, epsilon=EPSILON)

    def normed(self, x: str, scale: Any, name: str) -> str:
        """x over its root mean square, scaled."""
        return self.pencil.normed(x, scale, name=f"{self.name}.{name}")

    def stored(self, name: str, array: Any) -> str:
        """An array in the file."""
        return self.pencil.drawing.stored(f"{self.name}.{name}", np.asarray(array, np.float32))

    def gelu(self, x: str) -> str:
        """As `layers.gelu`."""
        return self.node("Gelu", x, approximate="tanh")

    def silu(self, x: str) -> str:
        """x times its sigmoid."""
        return self.node("Mul", x, self.node("Sigmoid", x))

    def convolved(
        self, x: str, weights: Weight, name: str, *, size: int, stride: int, left: int = 0
    ) -> str:
        """A convolution of [R, c, h, w] by weights [size * size * c, o], as they lie in a model."""
        flat = np.asarray(dense(weights), np.float32)
        kernel = flat.reshape(size, size, -1, flat.shape[1]).transpose(3, 2, 0, 1)
        return self.node(
            "Conv", x, self.stored(name, kernel), strides=[stride, stride], pads=[0, left, 0, 0]
        )

    def attended(self, q: str, k: str, v: str, **more: Any) -> str:
        """Every slot's look at every other; `more` may be the scale of their products."""
        heads = self.heads
        return self.node("MultiHeadAttention", q, k, v, domain=MICROSOFT, num_heads=heads, **more)

    def apart(self, x: str, parts: int) -> list[str]:
        """Equal parts of the last dimension."""
        d, W = self.pencil.drawing, self.width
        cuts = [[d.number([n], np.int64) for n in (i * W, (i + 1) * W, -1)] for i in range(parts)]
        return [self.node("Slice", x, *cut) for cut in cuts]


def _windows(tower: Tower, pool: int, span: int) -> tuple[str, list[str]]:
    """Pixels from -1 to 1, and the x and the y of each of their patches."""
    d, k2 = tower.pencil.drawing, pool**2
    windows = d.takes("values", ["M", k2, span, span, 3])
    places, at = d.takes("places", ["M", 2], np.int64), list[str]()
    for axis in range(2):
        fine = [(n % pool, n // pool)[axis] for n in range(k2)]
        coarse = tower.node("Gather", places, d.number([axis], np.int64), axis=1)
        coarse = tower.node("Mul", coarse, d.number(pool, np.int64))
        at.append(tower.shaped(tower.node("Add", coarse, d.number([fine], np.int64)), -1))
    centred = tower.node("Sub", windows, d.number(127.5))
    return tower.node("Div", centred, d.number(127.5)), at


def _pictures(tower: Tower, of: ImageEncoder, config: ImageConfig) -> str:
    span = config.patch + 2 * config.halo
    windows, places = _windows(tower, config.pool, span)
    x = _stem(tower, of.stem, windows, span)
    for axis, (table, at) in enumerate(zip((of.x_table, of.y_table), places, strict=True)):
        rows = tower.node("Gather", tower.stored(f"{'xy'[axis]}_table", table), at, axis=0)
        x = tower.node("Add", x, rows)
    x = tower.shaped(x, 1, -1, config.width)
    for i in range(config.layers):
        x = _looked_around(tower, x, jax.tree.map(lambda leaf, i=i: leaf[i], of.blocks), i)
    return tower.out(_pooled(tower, x, config.pool), of.norm, of.out)


def _pooled(tower: Tower, x: str, pool: int) -> str:
    """The mean of each slot's patches."""
    fine = tower.shaped(x, -1, pool**2, tower.width)
    axis = tower.pencil.drawing.number([1], np.int64)
    return tower.node("ReduceMean", fine, axis, keepdims=0)


def _squares(tower: Tower, of: SiglipEncoder, config: SiglipConfig) -> str:
    d = tower.pencil.drawing
    windows, (left, down) = _windows(tower, config.pool, config.patch)
    x = tower.affine(tower.shaped(windows, -1, 3 * config.patch**2), of.patches, "patches")
    rows_before = tower.node("Mul", down, d.number(config.side, np.int64))
    at = tower.node("Add", rows_before, left)
    x = tower.node("Add", x, tower.node("Gather", tower.stored("table", of.table), at, axis=0))
    x = tower.shaped(x, 1, -1, config.width)
    for i in range(config.layers):
        block = jax.tree.map(lambda leaf, i=i: leaf[i], of.blocks)
        normed = tower.levelled(x, block.attention_norm, f"{i}.attention_norm")
        q, k, v = (tower.affine(normed, getattr(block, n), f"{i}.{n}") for n in ("wq", "wk", "wv"))
        x = tower.node("Add", x, tower.affine(tower.attended(q, k, v), block.wo, f"{i}.wo"))
        normed = tower.levelled(x, block.mlp_norm, f"{i}.mlp_norm")
        opened = tower.gelu(tower.affine(normed, block.up, f"{i}.up"))
        x = tower.node("Add", x, tower.affine(opened, block.down, f"{i}.down"))
    pooled = _pooled(tower, tower.levelled(x, of.norm, "last_norm"), config.pool)
    return tower.out(pooled, of.pooled_norm, of.out)


def _stem(tower: Tower, stem: Stem | Any, windows: str, span: int) -> str:
    """One state for each window."""
    if not isinstance(stem, Stem):
        return tower.product(tower.shaped(windows, -1, span * span * 3), stem, "stem")
    half = span // 2
    x = tower.shaped(windows, -1, half, 2, half, 2, 3)
    x = tower.shaped(tower.node("Transpose", x, perm=[0, 2, 4, 5, 1, 3]), -1, 12, half, half)
    x = tower.gelu(tower.convolved(x, stem.first, "first", size=3, stride=1))
    x = tower.gelu(tower.convolved(x, stem.second, "second", size=4, stride=2))
    wide = stem.second.shape[1]
    flat = tower.shaped(tower.node("Transpose", x, perm=[0, 2, 3, 1]), -1, wide)
    flat = tower.node("Add", flat, tower.gelu(tower.product(flat, stem.mix, "mix")))
    return tower.product(tower.shaped(flat, -1, stem.out.shape[0]), stem.out, "out_of_stem")


def _looked_around(tower: Tower, x: str, block: EncoderBlock, i: int) -> str:
    normed = tower.normed(x, block.attention_norm, f"{i}.attention_norm")
    q, k, v = tower.apart(tower.product(normed, block.wqkv, f"{i}.wqkv"), 3)
    x = tower.node("Add", x, tower.product(tower.attended(q, k, v), block.wo, f"{i}.wo"))
    normed = tower.normed(x, block.mlp_norm, f"{i}.mlp_norm")
    opened = tower.gelu(tower.product(normed, block.gate, f"{i}.gate"))
    closed = tower.node("Mul", opened, tower.product(normed, block.up, f"{i}.up"))
    return tower.node("Add", x, tower.product(closed, block.down, f"{i}.down"))


def _of_any_size(tower: Tower, of: VitEncoder, config: VitConfig) -> str:
    d, H = tower.pencil.drawing, config.head_width
    windows, places = _windows(tower, config.pool, config.patch)
    x = tower.product(tower.shaped(windows, -1, 3 * config.patch**2), of.patches, "patches")
    for axis, at in enumerate(places):
        table = tower.stored(f"{'xy'[axis]}_table", of.tables[axis])
        x = tower.node("Add", x, tower.node("Gather", table, at, axis=0))
    pairs = np.arange(H // 4, dtype=np.float32) / np.float32(H // 4)
    rates = np.float32(config.rope_base) ** -pairs
    angles = np.arange(config.side, dtype=np.float32)[:, None] * rates
    turns: list[str] = []
    for name, table in (("cos", np.cos(angles)), ("sin", np.sin(angles))):
        stored = tower.stored(name, table)
        both = tower.node("Concat", *(tower.node("Gather", stored, at) for at in places), axis=1)
        turns.append(tower.shaped(both, 1, -1, 1, 2, 1, H // 4))
    x = tower.shaped(x, 1, -1, config.width)
    for i in range(config.layers):
        x = _turned_to_places(
            tower, x, turns, jax.tree.map(lambda leaf, i=i: leaf[i], of.blocks), i, H
        )
    pooled = tower.node("Mul", _pooled(tower, x, config.pool), d.number(config.width**0.5))
    if of.middle is not None:
        pooled = tower.node("Sub", pooled, tower.stored("middle", of.middle))
        pooled = tower.node("Mul", pooled, tower.stored("factor", of.factor))
    return tower.out(pooled, np.ones(config.width), of.out)


def _turned_to_places(
    tower: Tower, x: str, turns: list[str], block: VitBlock, i: int, H: int
) -> str:
    def heads(weight: Clipped, scale: Any, name: str) -> str:
        apart = tower.shaped(tower.clipped(normed, weight, f"{i}.{name}"), 1, -1, tower.heads, H)
        return tower.normed(apart, scale, f"{i}.{name}.norm")

    def turned(y: str) -> str:
        """The first half of each head by x, the second by y."""
        y = tower.shaped(y, 1, -1, tower.heads, 2, 2, H // 4)
        cuts = [tower.pencil.drawing.number([n], np.int64) for n in range(3)]
        axis = tower.pencil.drawing.number([4], np.int64)
        first, second = (tower.node("Slice", y, *cuts[n : n + 2], axis) for n in range(2))
        (a, b), (c, e) = (
            [tower.node("Mul", half, turn) for turn in turns] for half in (first, second)
        )
        both = tower.node("Sub", a, e), tower.node("Add", c, b)
        return tower.shaped(tower.node("Concat", *both, axis=4), 1, -1, tower.heads * H)

    normed = tower.normed(x, block.attention_norm, f"{i}.attention_norm")
    q = turned(heads(block.wq, block.query_norm, "wq"))
    k = turned(heads(block.wk, block.key_norm, "wk"))
    v = tower.shaped(heads(block.wv, np.ones(H), "wv"), 1, -1, tower.heads * H)
    mixed = tower.clipped(tower.attended(q, k, v, scale=1.0), block.wo, f"{i}.wo")
    x = tower.node("Add", x, tower.normed(mixed, block.attention_post_norm, f"{i}.attention_post"))
    normed = tower.normed(x, block.mlp_norm, f"{i}.mlp_norm")
    opened = tower.gelu(tower.clipped(normed, block.gate, f"{i}.gate"))
    closed = tower.node("Mul", opened, tower.clipped(normed, block.up, f"{i}.up"))
    more = tower.clipped(closed, block.down, f"{i}.down")
    return tower.node("Add", x, tower.normed(more, block.mlp_post_norm, f"{i}.mlp_post"))


def _sounds(tower: Tower, of: AudioEncoder, config: AudioConfig) -> str:
    d = tower.pencil.drawing
    mel = d.takes("values", ["M", REACH, config.mels])
    places = d.takes("places", ["M", 2], np.int64)
    x = tower.shaped(mel, -1, 1, REACH, config.mels)
    x = tower.gelu(tower.convolved(x, of.first, "first", size=3, stride=2, left=1))
    x = tower.gelu(tower.convolved(x, of.second, "second", size=3, stride=2, left=1))
    x = tower.node("Transpose", x, perm=[0, 2, 3, 1])
    x = tower.product(tower.shaped(x, -1, of.stem.shape[0]), of.stem, "stem")
    times = tower.node("Gather", places, d.number(1, np.int64), axis=1)
    x = tower.node("Add", x, tower.node("Gather", tower.stored("table", of.table), times, axis=0))
    x, times = tower.shaped(x, 1, -1, config.width), tower.shaped(times, 1, -1)
    for i in range(config.layers):
        x = _conformed(
            tower, x, times, jax.tree.map(lambda leaf, i=i: leaf[i], of.blocks), i, config
        )
    flat = tower.shaped(x, -1, config.width)
    return tower.out(flat, of.norm, of.out)


def _conformed(
    tower: Tower, x: str, times: str, block: Conformer, i: int, config: AudioConfig
) -> str:
    x = _half_fed(tower, x, block.first_norm, block.first_up, block.first_down, f"{i}.first")
    normed = tower.normed(x, block.attention_norm, f"{i}.attention_norm")
    q, k, v = tower.apart(tower.product(normed, block.wqkv, f"{i}.wqkv"), 3)
    half = config.width // config.heads // 2
    rates = np.float32(ROPE_BASE) ** (-np.arange(half, dtype=np.float32) / np.float32(half))
    angles = np.arange(config.slots, dtype=np.float32)[:, None] * rates
    turns = [tower.stored("cos", np.cos(angles)), tower.stored("sin", np.sin(angles))]
    q, k = (
        tower.node("RotaryEmbedding", y, times, *turns, domain=MICROSOFT, num_heads=tower.heads)
        for y in (q, k)
    )
    x = tower.node("Add", x, tower.product(tower.attended(q, k, v), block.wo, f"{i}.wo"))
    normed = tower.normed(x, block.mix_norm, f"{i}.mix_norm")
    value, gate = tower.apart(tower.product(normed, block.mix_in, f"{i}.mix_in"), 2)
    gated = tower.node("Mul", value, tower.node("Sigmoid", gate))
    kernel = np.asarray(dense(block.kernel), np.float32).T[:, None]
    around = tower.node(
        "Conv",
        tower.node("Transpose", gated, perm=[0, 2, 1]),
        tower.stored(f"{i}.kernel", kernel),
        pads=[2, 2],
        group=config.width,
    )
    mixed = tower.silu(tower.node("Transpose", around, perm=[0, 2, 1]))
    x = tower.node("Add", x, tower.product(mixed, block.mix_out, f"{i}.mix_out"))
    x = _half_fed(tower, x, block.last_norm, block.last_up, block.last_down, f"{i}.last")
    return tower.normed(x, block.norm, f"{i}.norm")


def _half_fed(tower: Tower, x: str, norm: Any, up: Weight, down: Weight, name: str) -> str:
    """Half a step of a feed-forward layer."""
    opened = tower.silu(tower.product(tower.normed(x, norm, f"{name}_norm"), up, f"{name}_up"))
    fed = tower.product(opened, down, f"{name}_down")
    return tower.node("Add", x, tower.node("Mul", fed, tower.pencil.drawing.number(0.5)))


DRAWN: dict[type, Callable[..., str]] = {
    ImageConfig: _pictures,
    SiglipConfig: _squares,
    VitConfig: _of_any_size,
    AudioConfig: _sounds,
}
