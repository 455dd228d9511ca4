"""Clips and limits: frames with their times, gathered until they are too many.

Invariant: no more is held or decoded than the limits say.
"""

import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

DAMAGES = (  # what Pillow and zipfile raise at bytes that they cannot make sense of
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    TypeError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
)
Pixels = UInt8[np.ndarray, "h w 3"]
Samples = Float32[np.ndarray, " n"]


class Refused(ValueError):
    """Not damaged, but more than the limits or not what it should be."""


@dataclass(frozen=True)
class Limits:
    """The most that is decoded; all [ours]."""

    pixels: int = 40_000_000  # of one picture or frame; a clip's frames are thinned to 4 times that
    seconds: float = 3600.0  # of sound or of a clip
    frames: int = 20_000  # of a clip: 11 minutes at 30 a second
    work: int = 20_000_000_000  # pixels of all frames of a clip: about a minute of decoding


class Clip(NamedTuple):
    """A decoded clip: frames with their times in seconds, and its sound if it has any."""

    frames: UInt8[np.ndarray, "F h w 3"]
    times: Float32[np.ndarray, " F"]
    sound: Float32[np.ndarray, " n"] | None


Frames = Iterator[tuple[float, Callable[[], Pixels]]]  # seconds, and what decodes the frame


def refuse_bomb(height: int, width: int, limits: Limits) -> None:
    """Refuses a picture that has more pixels than are opened."""
    if width * height > limits.pixels:
        raise Refused(
            f"the picture has {width} by {height} pixels; at most {limits.pixels:,} are opened"
        )


def gathered(frames: Frames, sound: Samples | None, what: str, limits: Limits) -> Clip:
    """The clip, thinned to half whenever its frames fill the memory that they may take."""
    kept: list[tuple[float, Pixels]] = []
    stride, area = 1, 0
    try:
        for number, (at, decoded) in enumerate(frames):
            if number == limits.frames:
                raise Refused(f"{what} has more than {limits.frames:,} frames")
            if not 0 <= at <= limits.seconds:
                raise Refused(f"{what} has a frame at {at:g} s; 0 to {limits.seconds:g} s are read")
            if (number + 1) * area > limits.work:
                raise Refused(f"{what} has more than {limits.work:,} pixels in all its frames")
            if number % stride:
                continue
            kept.append((at, decoded()))
            area = kept[0][1].size // 3
            if len(kept) > 2 and len(kept) * area > 4 * limits.pixels:
                kept, stride = kept[::2], stride * 2
    except Refused:
        raise
    except DAMAGES as error:
        raise ValueError(f"{what} is damaged or cut short: {error}") from None
    if not kept:
        raise ValueError(f"{what} holds no frame")
    if len({frame.shape for _, frame in kept}) > 1:
        raise Refused(f"the frames of {what} differ in size")
    times = np.array([at for at, _ in kept], np.float32)
    return Clip(np.stack([frame for _, frame in kept]), times, sound)


def times_of(stamps: bytes | None, frames: int, what: str) -> list[float]:
    """The seconds of each frame, from a times.json; one a second without it."""
    times = [float(t) for t in json.loads(stamps)] if stamps else [float(i) for i in range(frames)]
    if len(times) != frames:
        raise Refused(f"{what} has {frames} frames but {len(times)} times")
    if times != sorted(times):
        raise Refused(f"the times of {what} go back")
    return times
