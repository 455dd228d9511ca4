"""The encoders of pictures and sound as ONNX graphs: one medium's windows in, states out.

All slots of a call belong to one picture or one sound, so every slot sees every other.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from castor.device.drawing import MICROSOFT, Drawing, Store
from castor.device.graph import Pencil
from castor.device.layout import KINDS, encoder
from castor.device.weights import Precision, form, product
from castor.models.audio import REACH, AudioEncoder, Conformer
from castor.models.encoder import EncoderBlock
from castor.models.image import ImageEncoder, Stem
from castor.models.quant import Weight, dense
from castor.models.signals import AudioConfig, ImageConfig
from castor.models.sizes import ModelConfig

ROPE_BASE = 10_000.0  # of conformers


def readable(config: ModelConfig) -> ModelConfig:
    """The config without the kinds of signals whose encoders have no graph."""
    image = config.image if isinstance(config.image, ImageConfig) else None
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
            pencil = Pencil(Drawing(kind, store), replace(config, norm_start=1.0), precision)
            draw = _pictures if kind == "image" else _sounds
            tower = Tower(pencil, kind, of.heads, of.width)
            states = draw(tower, encoders[kind], of)
            pencil.drawing.gives(states, ["M", config.width])
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

    def attended(self, q: str, k: str, v: str) -> str:
        """Every slot's look at every other."""
        return self.node("MultiHeadAttention", q, k, v, domain=MICROSOFT, num_heads=self.heads)

    def apart(self, x: str, parts: int) -> list[str]:
        """Equal parts of the last dimension."""
        d, W = self.pencil.drawing, self.width
        cuts = [[d.number([n], np.int64) for n in (i * W, (i + 1) * W, -1)] for i in range(parts)]
        return [self.node("Slice", x, *cut) for cut in cuts]


def _pictures(tower: Tower, of: ImageEncoder, config: ImageConfig) -> str:
    d, k2 = tower.pencil.drawing, config.pool**2
    span = config.patch + 2 * config.halo
    windows = d.takes("values", ["M", k2, span, span, 3])
    places = d.takes("places", ["M", 2], np.int64)
    centred = tower.node("Sub", windows, d.number(127.5))
    x = _stem(tower, of.stem, tower.node("Div", centred, d.number(127.5)), span)
    for axis, table in enumerate((of.x_table, of.y_table)):
        fine = [(n % config.pool, n // config.pool)[axis] for n in range(k2)]
        coarse = tower.node("Gather", places, d.number([axis], np.int64), axis=1)
        coarse = tower.node("Mul", coarse, d.number(config.pool, np.int64))
        at = tower.shaped(tower.node("Add", coarse, d.number([fine], np.int64)), -1)
        rows = tower.node("Gather", tower.stored(f"{'xy'[axis]}_table", table), at, axis=0)
        x = tower.node("Add", x, rows)
    x = tower.shaped(x, 1, -1, config.width)
    for i in range(config.layers):
        x = _looked_around(tower, x, jax.tree.map(lambda leaf, i=i: leaf[i], of.blocks), i)
    fine_states = tower.shaped(x, -1, k2, config.width)
    pooled = tower.node("ReduceMean", fine_states, d.number([1], np.int64), keepdims=0)
    return tower.out(pooled, of.norm, of.out)


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
