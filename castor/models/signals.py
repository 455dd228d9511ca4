"""How pictures and sound become slots: the configs of every encoder.

All configs of pictures have `slots`, the most slots of one picture unless a request asks for
another budget, `frame_slots`, those of one frame of a clip, and `least`, the fewest of a picture.
"""

from dataclasses import dataclass
from typing import ClassVar

from castor.core.ranges import AMOUNT, COUNT, POSITIVE, Range

LEAST_WINDOW = 12  # pixels along a side: of fewer, a stem's second convolution makes nothing
ENOUGH_MELS = Range("4 or more, since two convolutions halve them", lambda x: x >= 4)


@dataclass(frozen=True)
class ImageConfig:
    """How a picture becomes slots. One slot covers (patch * pool)² pixels.

    Raises:
        ValueError: a number is out of its range, the heads cannot share the width, or the windows
            are none that the stem can read.
    """

    was_alone: ClassVar = True  # files of before there were others do not name it

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
        _share_width(self, self.heads)
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
class SiglipConfig:
    """The tower of Gemma 3 [SigLIP So400m]: pictures are squares of one size, so are their slots.

    Raises:
        ValueError: a number is out of its range, the heads cannot share the width, or the patches
            of a side cannot be pooled.
    """

    patch: int = 14  # pixels along a side of one patch
    pool: int = 4  # patches along a side that are averaged into one slot
    side: int = 64  # patches along a side of a picture
    layers: int = 27
    width: int = 1152
    heads: int = 16
    hidden: int = 4304

    def __post_init__(self) -> None:
        COUNT.check(self, "patch", "pool", "side", "layers", "width", "heads", "hidden")
        _share_width(self, self.heads)
        if self.side % self.pool:
            raise ValueError(f"SiglipConfig.side={self.side} is not a multiple of pool={self.pool}")

    @property
    def pixels(self) -> int:
        """Along a side of the picture that is read."""
        return self.side * self.patch

    @property
    def slots(self) -> int:
        """Of every picture: neither more nor fewer."""
        return (self.side // self.pool) ** 2

    @property
    def frame_slots(self) -> int:
        """A frame is a picture like any other."""
        return self.slots

    @property
    def least(self) -> int:
        """Of every picture."""
        return self.slots


@dataclass(frozen=True)
class VitConfig:
    """The tower of Gemma 4: a picture keeps its aspect, and heads turn by x and by y.

    Raises:
        ValueError: a number is out of its range, or a head cannot turn by two places.
    """

    patch: int = 16  # pixels along a side of one patch
    pool: int = 3  # patches along a side that are averaged into one slot
    layers: int = 16
    width: int = 768
    heads: int = 12
    head_width: int = 64
    hidden: int = 3072
    side: int = 10_240  # rows of the x and y tables: most patches along one side
    rope_base: float = 100.0
    clipped: bool = False  # what goes in and out of a matrix is held within bounds of its own
    standardized: bool = False  # slots are moved and scaled before they leave
    slots: int = 280
    frame_slots: int = 70

    def __post_init__(self) -> None:
        COUNT.check(self, "patch", "pool", "layers", "width", "heads", "head_width", "hidden")
        COUNT.check(self, "side", "slots", "frame_slots")
        POSITIVE.check(self, "rope_base")
        if self.head_width % 4:
            raise ValueError(
                f"VitConfig.head_width={self.head_width} is not a multiple of 4: a half turns by "
                "x and a half by y, in pairs"
            )
        if self.side < self.pool:
            raise ValueError(f"VitConfig.side={self.side} holds no slot of pool={self.pool}")

    @property
    def least(self) -> int:
        """A narrow strip may become a single slot."""
        return 1


@dataclass(frozen=True)
class PatchesConfig:
    """Pictures without an encoder, as in Gemma 4 12B: each slot is one patch, seen by itself.

    Raises:
        ValueError: a number is out of its range.
    """

    patch: int = 48  # pixels along a side of one patch
    width: int = 3840
    side: int = 1120  # rows of the x and y tables: most patches along one side
    slots: int = 280
    frame_slots: int = 70

    def __post_init__(self) -> None:
        COUNT.check(self, "patch", "width", "side", "slots", "frame_slots")

    @property
    def least(self) -> int:
        """A narrow strip may become a single slot."""
        return 1


@dataclass(frozen=True)
class AudioConfig:
    """How sound becomes slots: 16 kHz [report], log-mel, two strided convolutions, conformers.

    Raises:
        ValueError: a number is out of its range, or the heads cannot share the width.
    """

    was_alone: ClassVar = True  # files of before there were others do not name it

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
class ConformerConfig:
    """The ears of Gemma 4: log-mel frames, two strided convolutions, conformers.

    Raises:
        ValueError: a number is out of its range, or does not go with another.
    """

    mels: int = 128
    channels: tuple[int, int] = (128, 32)
    layers: int = 12
    width: int = 1024
    heads: int = 8
    output: int = 1536  # of the layers, before it is projected to the decoder's width
    kernel: int = 5  # slots that a convolution spans, the last of them its own
    past: int = 12  # slots that one hears, itself among them
    future: int = 0  # one hears a slot fewer than this of those after it
    chunk: int = 12  # of training; half of what it is over `past` is added to distances
    cap: float = 50.0  # scores stay below it, by tanh
    clipped: bool = True  # what goes in and out of a matrix is held within bounds of its own
    slots: int = 750  # most slots of one stretch: 30 seconds

    def __post_init__(self) -> None:
        COUNT.check(self, "channels", "layers", "width", "heads", "output", "kernel", "past")
        COUNT.check(self, "chunk", "slots")
        AMOUNT.check(self, "future")
        POSITIVE.check(self, "cap")
        if self.mels < 4 or self.mels % 4:
            raise ValueError(
                f"ConformerConfig.mels={self.mels} is not a multiple of 4: two convolutions halve "
                "them"
            )
        if self.width % 2:
            raise ValueError(f"ConformerConfig.width={self.width} must be even, for distances")
        _share_width(self, self.heads)


@dataclass(frozen=True)
class FramesConfig:
    """Sound without an encoder, as in Gemma 4 12B: a slot is so many samples.

    Raises:
        ValueError: a number is out of its range.
    """

    samples: int = 640
    slots: int = 750  # most slots of one stretch: 30 seconds

    def __post_init__(self) -> None:
        COUNT.check(self, "samples", "slots")


Pictures = ImageConfig | SiglipConfig | VitConfig | PatchesConfig  # what may read pictures
Sounds = AudioConfig | ConformerConfig | FramesConfig  # what may read sound


def _share_width(config: ImageConfig | SiglipConfig | ConformerConfig, heads: int) -> None:
    if config.width % heads:
        name = type(config).__name__
        raise ValueError(f"{name}.width={config.width} is not a multiple of heads={heads}")
