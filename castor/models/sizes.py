"""Every model size, and nothing else. [report] = Gemini 1.0 report; [ours] = our choice.

Only numbers that fix an array's shape, or what the arrays mean, live here; they are saved with the
weights and frozen at step 0. Everything about a run lives in its Recipe.
"""

from dataclasses import dataclass, replace

from castor.core.ranges import AMOUNT, COUNT, POSITIVE, Range

LEAST_WINDOW = 12  # pixels along a side: of fewer, a stem's second convolution makes nothing
IDS = Range("from 1 to 2,147,483,647", lambda x: 1 <= x < 2**31)  # ids and positions are int32
ENOUGH_MELS = Range("4 or more, since two convolutions halve them", lambda x: x >= 4)


@dataclass(frozen=True)
class Layer:
    """What may differ from layer to layer: one entry of the repeating pattern.

    Local windows, other head widths, shared caches and experts belong here as further fields.
    """

    rope_base: float = 10_000.0

    def __post_init__(self) -> None:
        POSITIVE.check(self, "rope_base")


@dataclass(frozen=True)
class ImageConfig:
    """How a picture becomes slots. One slot covers (patch * pool)² pixels.

    Raises:
        ValueError: a number is out of its range, the heads cannot share the width, or the windows
            are none that the stem can read.
    """

    patch: int = 8  # pixels along a side of one patch
    halo: int = 4  # pixels around a patch that its window also holds
    pool: int = 1  # patches along a side that are averaged into one slot
    stem: tuple[int, ...] = (48, 96)  # channels of the convolutions; () = encoder-free, linear
    layers: int = 0  # bidirectional transformer layers within each picture
    width: int = 192
    heads: int = 3
    side: int = 64  # most slots along one side; the x and y tables have side * pool rows
    detail: int = 16  # pixels along a side of the picture that one slot stands for, if in bounds
    least: int = 16  # fewest slots of one picture, however small it is
    slots: int = 64  # most slots of one picture, unless a request asks for another budget
    frame_slots: int = 16  # most slots of one frame of a clip

    def __post_init__(self) -> None:
        COUNT.check(self, "patch", "pool", "stem", "width", "heads", "side", "detail")
        COUNT.check(self, "least", "slots", "frame_slots")
        AMOUNT.check(self, "halo", "layers")
        if self.width % self.heads:
            raise ValueError(
                f"ImageConfig.width={self.width} is not a multiple of heads={self.heads}"
            )
        if len(self.stem) not in (0, 2):
            raise ValueError(
                f"ImageConfig.stem={self.stem} must be the channels of two convolutions, or () "
                "for none"
            )
        window = self.patch + 2 * self.halo
        if self.stem and (window % 2 or window < LEAST_WINDOW):
            raise ValueError(
                f"ImageConfig: patch={self.patch} and halo={self.halo} make windows of {window} "
                f"pixels, and stem={self.stem} reads an even number, {LEAST_WINDOW} or more; "
                "stem=() reads any"
            )


@dataclass(frozen=True)
class AudioConfig:
    """How sound becomes slots: 16 kHz [report], log-mel, two strided convolutions, conformers.

    Raises:
        ValueError: a number is out of its range, or the heads cannot share the width.
    """

    mels: int = 64
    channels: tuple[int, int] = (32, 64)
    layers: int = 0  # conformer layers
    width: int = 192
    heads: int = 3
    slots: int = 1500  # most slots of one stretch (at 25 slots a second, one minute)

    def __post_init__(self) -> None:
        COUNT.check(self, "channels", "width", "heads", "slots")
        AMOUNT.check(self, "layers")
        ENOUGH_MELS.check(self, "mels")
        if self.width % (2 * self.heads):
            raise ValueError(
                f"AudioConfig.width={self.width} is not a multiple of 2 * heads={2 * self.heads}: "
                "each head turns its dimensions in pairs"
            )


@dataclass(frozen=True)
class ModelConfig:
    """A decoder and the encoders that feed it. `vocab` counts text, control and code ids.

    Raises:
        ValueError: a number is out of its range, or does not go with another.
    """

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
        COUNT.check(self, "layers", "width", "hidden", "heads", "head_width", "kv_heads")
        IDS.check(self, "vocab", "context")
        if self.head_width % 2:
            raise ValueError(
                f"ModelConfig.head_width={self.head_width} must be even: a head turns its "
                "dimensions in pairs"
            )
        if not self.pattern:
            raise ValueError("ModelConfig.pattern=() must name at least one Layer")
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
DEMO = ModelConfig(  # the recipe `demo`: 4M weights, for two cores [ours]
    layers=6,
    width=192,
    hidden=576,
    heads=3,
    head_width=64,
    vocab=4096,
    context=256,
    image=ImageConfig(slots=100),  # 400 x 100 pixels of small things in 20 x 5
    audio=AudioConfig(slots=256),
)
DEMO_LARGE = replace(  # `demo` on a GPU: 8M weights, the shipped model [ours]
    DEMO, layers=8, width=256, hidden=768, heads=4
)


def _sight(layers: int, width: int, heads: int) -> ImageConfig:
    """Patches of 16 pixels, 2 by 2 to a slot: 256 slots for 512 by 512 pixels, 64 for a frame."""
    return ImageConfig(
        patch=16,
        halo=0,
        pool=2,
        stem=(),
        layers=layers,
        width=width,
        heads=heads,
        detail=32,
        slots=256,
        frame_slots=64,
    )


def _hearing(layers: int, width: int, heads: int) -> AudioConfig:
    """The features of USM [report]: 128 bins, conformers; five minutes at most [ours]."""
    return AudioConfig(
        mels=128, channels=(128, 32), layers=layers, width=width, heads=heads, slots=7500
    )


NANO_1 = ModelConfig(  # 1.8B [report]; shape [ours]
    layers=19,
    width=2048,
    hidden=8192,
    heads=8,
    head_width=256,
    image=_sight(12, 640, 10),
    audio=_hearing(12, 512, 8),
)
NANO_2 = ModelConfig(  # 3.25B [report]; shape [ours]
    layers=26,
    width=2560,
    hidden=10_240,
    heads=10,
    head_width=256,
    image=_sight(12, 768, 12),
    audio=_hearing(12, 512, 8),
)
PRO = ModelConfig(  # 46B, all [ours]: the report gives neither sizes nor shapes of these two
    layers=60,
    width=7168,
    hidden=28_672,
    heads=56,
    head_width=128,
    image=_sight(27, 1152, 16),
    audio=_hearing(24, 1024, 16),
)
ULTRA = ModelConfig(  # 544B, all [ours], after the 540B of PaLM (arXiv:2204.02311)
    layers=118,
    width=18_432,
    hidden=73_728,
    heads=48,
    head_width=256,
    image=_sight(56, 1792, 16),
    audio=_hearing(32, 1536, 16),
)
