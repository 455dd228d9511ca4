"""Every model size, and nothing else. [report] = Gemini 1.0 report; [ours] = our choice.

Only numbers that fix an array's shape, or what the arrays mean, live here; they are saved with the
weights and frozen at step 0. Everything about a run lives in its Recipe.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Layer:
    """What may differ from layer to layer: one entry of the repeating pattern.

    Local windows, other head widths, shared caches and experts belong here as further fields.
    """

    rope_base: float = 10_000.0


@dataclass(frozen=True)
class ImageConfig:
    """How a picture becomes slots. One slot covers (patch * pool)² pixels."""

    patch: int = 8  # pixels along a side of one patch
    halo: int = 4  # pixels around a patch that its window also holds
    pool: int = 1  # patches along a side that are averaged into one slot
    stem: tuple[int, ...] = (48, 96)  # channels of the convolutions; () = encoder-free, linear
    layers: int = 0  # bidirectional transformer layers within each picture
    width: int = 192
    heads: int = 3
    side: int = 64  # most slots along one side: rows of the x and y position tables
    detail: int = 16  # pixels along a side of the picture that one slot stands for, if in bounds
    least: int = 16  # fewest slots of one picture, however small it is
    slots: int = 64  # most slots of one picture, unless a request asks for another budget
    frame_slots: int = 16  # most slots of one frame of a clip


@dataclass(frozen=True)
class AudioConfig:
    """How sound becomes slots: 16 kHz [report], log-mel, two strided convolutions, conformers."""

    mels: int = 64
    channels: tuple[int, int] = (32, 64)
    layers: int = 0  # conformer layers
    width: int = 192
    heads: int = 3
    slots: int = 1500  # most slots of one stretch (at 25 slots a second, one minute)


@dataclass(frozen=True)
class ModelConfig:
    """A decoder and the encoders that feed it. `vocab` counts text, control and code ids."""

    layers: int
    width: int
    hidden: int
    heads: int
    head_width: int
    kv_heads: int = 1  # 1 = multi-query attention [report]
    vocab: int = 256_000
    context: int = 32_768  # [report]
    qk_norm: bool = True
    pattern: tuple[Layer, ...] = (Layer(),)
    image: ImageConfig | None = None
    audio: AudioConfig | None = None

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads:
            raise ValueError(f"heads={self.heads} is not a multiple of kv_heads={self.kv_heads}")
        if self.layers % len(self.pattern):
            raise ValueError(
                f"layers={self.layers} is not a multiple of the pattern's {len(self.pattern)}"
            )


TINY = ModelConfig(  # for tests and the doctor: compiles in seconds, learns a little
    layers=2,
    width=64,
    hidden=128,
    heads=4,
    head_width=16,
    vocab=512,
    context=128,
    image=ImageConfig(stem=(16, 32), width=64, heads=4),
    audio=AudioConfig(channels=(16, 32), width=64, heads=4, slots=128),
)
MINI = ModelConfig(  # the recipe `tiny`: 1.5M weights [ours]
    layers=4,
    width=128,
    hidden=384,
    heads=4,
    head_width=32,
    vocab=2048,
    context=256,
    image=ImageConfig(stem=(32, 64), width=128, heads=4),
    audio=AudioConfig(channels=(16, 32), width=128, heads=4, slots=256),
)
DEMO = ModelConfig(  # the recipe `demo`: 4M weights, the shipped model [ours]
    layers=6,
    width=192,
    hidden=576,
    heads=3,
    head_width=64,
    vocab=4096,
    context=256,
    image=ImageConfig(),
    audio=AudioConfig(slots=256),
)
