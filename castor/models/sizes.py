"""Every model size, and nothing else. [report] = Gemini 1.0 report; [ours] = our choice.

Only numbers that fix an array's shape, or what the arrays mean, live here; they are saved with the
weights and frozen at step 0. Everything about a run lives in its Recipe.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

from castor.core.ranges import AMOUNT, COUNT, POSITIVE, SHARE, Range
from castor.models.signals import AudioConfig, ImageConfig, Pictures, Sounds

EPSILON = 1e-6  # of norms
IDS = Range("from 1 to 2,147,483,647", lambda x: 1 <= x < 2**31)  # ids and positions are int32


class Sight(NamedTuple):
    """Which positions a query may see; layers of equal sight share a mask."""

    window: int | None
    blocks: bool
    ahead: bool = False


@dataclass(frozen=True)
class Layer:
    """What may differ from layer to layer: one entry of a repeating pattern.

    Raises:
        ValueError: a number is out of its range, or a layer that reads another's keys has values
            of its own to make.
    """

    rope_base: float = 10_000.0
    rope_factor: float = 1.0  # positions are divided by it
    rope_share: float = 1.0  # of a head's dimensions that turn: the fastest
    window: int | None = None  # how many positions a query sees, itself among them; None = all
    blocks: bool = True  # slots of one medium see each other in both directions
    ahead: bool = False  # all see what comes after them too, as far as the window goes
    head_width: int | None = None  # None = the model's, as in the next two
    kv_heads: int | None = None
    hidden: int | None = None
    tied_values: bool = False  # values are the keys, before their norm and turn
    keys_of: int | None = None  # the layer (from 0) whose keys and values it reads; None = its own

    def __post_init__(self) -> None:
        POSITIVE.check(self, "rope_base", "rope_factor")
        SHARE.check(self, "rope_share")
        for name in ("window", "head_width", "kv_heads", "hidden"):
            if getattr(self, name) is not None:
                COUNT.check(self, name)
        if self.keys_of is not None:
            AMOUNT.check(self, "keys_of")
            if self.tied_values:
                raise ValueError(f"Layer: keys_of={self.keys_of} leaves no values to tie to keys")

    @property
    def sight(self) -> Sight:
        """What its mask depends on."""
        return Sight(self.window, self.blocks, self.ahead)


@dataclass(frozen=True)
class Stage:
    """Layers in groups of a repeating pattern."""

    pattern: tuple[Layer, ...]
    repeats: int = 1

    def __post_init__(self) -> None:
        COUNT.check(self, "repeats")
        if not self.pattern:
            raise ValueError("Stage.pattern=() must name at least one Layer")


@dataclass(frozen=True)
class ExpertsConfig:
    """Experts beside the feed-forward layer, of which each token goes through a few."""

    count: int
    chosen: int
    hidden: int

    def __post_init__(self) -> None:
        COUNT.check(self, "count", "chosen", "hidden")
        if self.chosen > self.count:
            raise ValueError(f"ExpertsConfig.chosen={self.chosen} of count={self.count} experts")


@dataclass(frozen=True)
class InputsConfig:
    """A small embedding of its own for each layer, added at the layer's end."""

    width: int
    vocab: int

    def __post_init__(self) -> None:
        COUNT.check(self, "width", "vocab")


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
    pattern: tuple[Layer, ...] = (Layer(),)  # repeated for the layers that `further` leaves
    further: tuple[Stage, ...] = ()  # the last layers, where they are not the pattern's
    norm_start: float = 1.0  # norms multiply by norm_start + scale; 0 since Gemma 3n
    post_norms: bool = False  # what attention and the feed-forward layer add has a norm too
    value_norm: bool = False  # values have a norm without a scale
    score_scale: float | None = None  # of a query's products with keys; None = head_width ** -0.5
    score_cap: float | None = None  # scores stay below it, by tanh; None = no cap, as in the next
    logit_cap: float | None = None
    layer_scale: bool = False  # what leaves a layer is multiplied by a weight
    experts: ExpertsConfig | None = None
    inputs: InputsConfig | None = None
    image: Pictures | None = None
    audio: Sounds | None = None

    def __post_init__(self) -> None:
        COUNT.check(self, "layers", "width", "hidden", "heads", "head_width", "kv_heads")
        IDS.check(self, "vocab", "context")
        if not self.pattern:
            raise ValueError("ModelConfig.pattern=() must name at least one Layer")
        for name in ("score_scale", "score_cap", "logit_cap"):
            if getattr(self, name) is not None:
                POSITIVE.check(self, name)
        rest = self.layers - sum(len(stage.pattern) * stage.repeats for stage in self.further)
        if rest < 1 or rest % len(self.pattern):
            raise ValueError(
                f"layers={rest} is not a multiple of the pattern's {len(self.pattern)}"
                + (", once those of `further` are taken" if self.further else "")
            )
        for i in range(self.layers):
            _check_layer(self, i)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """All layers: the groups of the pattern, then the further ones."""
        further = sum(len(stage.pattern) * stage.repeats for stage in self.further)
        repeats = (self.layers - further) // len(self.pattern)
        return (Stage(self.pattern, repeats), *self.further)

    @property
    def entries(self) -> tuple[tuple[Layer, int], ...]:
        """Every entry of every pattern with its repeats, as a Decoder's blocks."""
        return tuple((layer, stage.repeats) for stage in self.stages for layer in stage.pattern)

    @property
    def every_layer(self) -> tuple[Layer, ...]:
        """The layers, one by one."""
        return tuple(layer for stage in self.stages for layer in stage.pattern * stage.repeats)

    def head_width_of(self, layer: Layer) -> int:
        """Dimensions of each head of a layer."""
        return layer.head_width or self.head_width

    def kv_heads_of(self, layer: Layer) -> int:
        """Heads of keys and values of a layer."""
        return layer.kv_heads or self.kv_heads


def _check_layer(config: ModelConfig, i: int) -> None:
    layer = config.every_layer[i]
    heads, width = config.kv_heads_of(layer), config.head_width_of(layer)
    if config.heads % heads:
        raise ValueError(f"heads={config.heads} is not a multiple of kv_heads={heads}")
    if width % 2:
        owner = "ModelConfig" if layer.head_width is None else "Layer"
        raise ValueError(
            f"{owner}.head_width={width} must be even: a head turns its dimensions in pairs"
        )
    if layer.keys_of is None:
        return
    read = config.every_layer[min(layer.keys_of, i)]
    if layer.keys_of not in _unrepeated(config) or layer.keys_of >= i or read.keys_of is not None:
        raise ValueError(
            f"Layer.keys_of={layer.keys_of} must be a layer before it that makes keys, in a stage "
            "that is not repeated"
        )
    if (config.kv_heads_of(read), config.head_width_of(read)) != (heads, width):
        raise ValueError(f"Layer.keys_of={layer.keys_of} has heads of another number or width")


def _unrepeated(config: ModelConfig) -> set[int]:
    """The layers in stages that are not repeated."""
    found: set[int] = set()
    at = 0
    for stage in config.stages:
        end = at + len(stage.pattern) * stage.repeats
        found |= set(range(at, end)) if stage.repeats == 1 else set()
        at = end
    return found


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


# From here on norms also stand after attention and the feed-forward layer [ours]: these decoders
# are those of Hugging Face's gemma3_text and llama.cpp's gemma3.
NANO_1 = ModelConfig(  # 1.8B [report]; shape [ours]
    layers=19,
    width=2048,
    hidden=8192,
    heads=8,
    head_width=256,
    post_norms=True,
    image=_sight(12, 640, 10),
    audio=_hearing(12, 512, 8),
)
NANO_2 = ModelConfig(  # 3.25B [report]; shape [ours]
    layers=26,
    width=2560,
    hidden=10_240,
    heads=10,
    head_width=256,
    post_norms=True,
    image=_sight(12, 768, 12),
    audio=_hearing(12, 512, 8),
)
PRO = ModelConfig(  # 46B, all [ours]: the report gives neither sizes nor shapes of these two
    layers=60,
    width=7168,
    hidden=28_672,
    heads=56,
    head_width=128,
    post_norms=True,
    image=_sight(27, 1152, 16),
    audio=_hearing(24, 1024, 16),
)
ULTRA = ModelConfig(  # 544B, all [ours], after the 540B of PaLM (arXiv:2204.02311)
    layers=118,
    width=18_432,
    hidden=73_728,
    heads=48,
    head_width=256,
    post_norms=True,
    image=_sight(56, 1792, 16),
    audio=_hearing(32, 1536, 16),
)
