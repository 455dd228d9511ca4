"""Variants of a medium that mean the same: pixels shifted, sounds slowed, mel bins warped.

Invariant: what is drawn for one medium holds for all of it: every frame of a clip is shifted alike.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Shaped, UInt8

from castor.core.batch import Signal
from castor.core.media import RATE
from castor.data.pixels import Pixels, resized, rotated, stretched

MEL_STRIDE = 4  # mel frames from one audio window to the next


@dataclass(frozen=True)
class Augment:
    """How much each medium of a part may vary; the default is not at all.

    Ranges are uniform, that of `scale` in its logarithm. A shift repeats the edge. All numbers are
    [ours].
    """

    flip: bool = False  # left and right exchanged, half of the time
    shift: float = 0.0  # most, as a share of a picture's sides: 1/16 is 2 pixels of 32
    scale: tuple[float, float] = (1.0, 1.0)  # of a picture's sides: larger ones take more slots
    turn: float = 0.0  # most degrees that a picture is turned either way
    zoom: float = 1.0  # least share of a picture's sides that is kept, and made as large as before
    light: float = 0.0  # most change of contrast, and of each colour's brightness, as a share
    erase: float = 0.0  # widest square that is blotted out, as a share of the shorter side
    speed: tuple[float, float] = (1.0, 1.0)  # of sound; pitch goes along
    seconds: float | None = None  # a random stretch of sound of this length
    gain_db: float = 0.0  # louder or softer by at most this
    noise_db: tuple[float, float] | None = None  # white noise this far below the sound's level
    warp: float = 0.0  # mel bins stretched by at most this share
    slide: float = 0.0  # and moved up or down by at most this many bins
    tilt: float = 0.0  # most change from the lowest bin to the highest, in units of 30 dB
    mask_bins: int = 0  # widest band of bins that is blotted out
    mask_time: float = 0.0  # longest stretch of time that is blotted out, as a share

    def __post_init__(self) -> None:
        if not 0 <= self.shift < 0.5:
            raise ValueError(f"shift={self.shift} is a share of the side, from 0 to below 0.5")
        if not (0 < self.zoom <= 1 and 0 <= self.light < 1 and 0 <= self.erase < 1):
            raise ValueError(
                f"zoom={self.zoom} is a share above 0 and up to 1, light={self.light} and "
                f"erase={self.erase} are shares from 0 to below 1"
            )
        for name in ("speed", "scale"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name}={(low, high)} is a range of positive factors")

    @property
    def held_out(self) -> "Augment":
        """What remains in evaluation: sounds are as long as in training, nothing else varies."""
        return Augment(seconds=self.seconds)


STILL = Augment()
PHOTOS = Augment(flip=True, shift=2 / 32, turn=12.0, zoom=0.55, light=0.35, erase=0.6)
DRAWINGS = Augment(shift=2 / 32)
SIZES = Augment(shift=2 / 32, scale=(0.75, 2.0))  # drawings that people bring at any size
NAMED = Augment(shift=3 / 32, scale=(0.5, 1.5), turn=12.0)  # few pictures, each seen often
SPEECH = Augment(
    speed=(0.7, 1.42),
    gain_db=6.0,
    noise_db=(-50.0, -15.0),
    warp=0.15,
    slide=2.0,
    tilt=0.4,
    mask_bins=8,
    mask_time=0.125,
)
EVENTS = Augment(
    speed=(0.85, 1.18),
    seconds=2.0,
    gain_db=6.0,
    noise_db=(-50.0, -20.0),
    warp=0.12,
    slide=2.0,
    tilt=0.3,
    mask_bins=8,
    mask_time=0.125,
)


class Varied:
    """One medium's variation: chance is drawn once, then applied to all of its parts."""

    def __init__(self, augment: Augment, rng: np.random.Generator) -> None:
        self._augment, self._rng = augment, rng
        flip, across, down, self._speed, self._gain, self._noise = rng.random(6).tolist()
        low, high = augment.scale
        self._scale = low if low == high else low * (high / low) ** float(rng.random())
        self._stretch, self._move, self._slope = (2 * rng.random(3) - 1).tolist()
        self._degrees = augment.turn * (2 * float(rng.random()) - 1) if augment.turn else 0.0
        self._view = rng.random(3).tolist() if augment.zoom < 1 else None
        self._shades = 2 * rng.random(4) - 1 if augment.light else None
        self._blot = rng.random(3).tolist() if augment.erase else None
        self._flip = augment.flip and flip < 0.5
        self._across, self._down = 2 * across - 1, 2 * down - 1

    def values(self, kind: str, values: np.ndarray) -> np.ndarray:
        """Pixels or samples as they were opened, varied."""
        return self._pixels(values) if kind == "image" else self._samples(values)

    def signal(self, signal: Signal) -> Signal:
        """Mel windows varied as they came out of the front end; pictures and bare samples are left
        alone."""
        if signal.kind != "audio" or signal.values.ndim != 3:
            return signal
        return signal._replace(values=self._mel(signal.values))

    def _pixels(self, pixels: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h2 w2 3"]:
        if self._flip:
            pixels = pixels[:, ::-1]
        if self._degrees:
            pixels = rotated(pixels, self._degrees)
        if self._augment.shift:
            height, width = pixels.shape[:2]
            down = round(self._down * self._augment.shift * height)
            across = round(self._across * self._augment.shift * width)
            rows = np.clip(np.arange(height) + down, 0, height - 1)
            columns = np.clip(np.arange(width) + across, 0, width - 1)
            pixels = pixels[rows][:, columns]
        if self._view:
            pixels = _zoomed(pixels, self._augment.zoom, *self._view)
        if self._shades is not None:
            pixels = _shaded(pixels, self._augment.light * self._shades)
        if self._blot:
            pixels = _blotted(pixels, self._augment.erase, *self._blot)
        return np.ascontiguousarray(resized(pixels, self._scale))

    def _samples(self, samples: Float32[np.ndarray, " n"]) -> Float32[np.ndarray, " m"]:
        augment, rng = self._augment, self._rng
        low, high = augment.speed
        speed = low + (high - low) * self._speed
        if augment.seconds is not None:
            length = round(augment.seconds * speed * RATE)
            start = int(rng.integers(max(1, len(samples) - length + 1)))
            samples = samples[start : start + length]
        if low != high:
            at = np.arange(0, len(samples) - 1, speed)
            samples = np.interp(at, np.arange(len(samples)), samples).astype(np.float32)
        if augment.gain_db:
            samples = samples * np.float32(10 ** (augment.gain_db * (2 * self._gain - 1) / 20))
        if augment.noise_db is not None:
            quiet, loud = augment.noise_db
            level = 10 ** ((quiet + (loud - quiet) * self._noise) / 20)
            scale = np.float32(level * np.sqrt(np.mean(samples**2) + 1e-12))
            samples = samples + scale * rng.standard_normal(len(samples), np.float32)
        return samples

    def _mel(self, values: Shaped[np.ndarray, "M F bins"]) -> Shaped[np.ndarray, "M F bins"]:
        augment, rng = self._augment, self._rng
        windows, frames, bins = values.shape
        mel = values.astype(np.float32)
        if augment.warp or augment.slide:
            middle = (bins - 1) / 2
            at = (np.arange(bins) - middle) * (1 + augment.warp * self._stretch) + middle
            at = np.clip(at + augment.slide * self._move, 0, bins - 1)
            low = np.minimum(at.astype(np.int64), bins - 2)
            part = (at - low).astype(np.float32)
            mel = mel[..., low] * (1 - part) + mel[..., low + 1] * part
        if augment.tilt:
            slope = np.linspace(-0.5, 0.5, bins, dtype=np.float32)
            mel = mel + np.float32(augment.tilt * self._slope) * slope
        mean = mel.mean() if augment.mask_bins or augment.mask_time else np.float32(0)
        if augment.mask_bins:
            wide = int(rng.integers(min(augment.mask_bins, bins) + 1))
            first = int(rng.integers(bins - wide + 1))
            mel[..., first : first + wide] = mean
        if augment.mask_time:
            total = windows * MEL_STRIDE
            wide = int(rng.integers(round(total * augment.mask_time) + 1))
            first = int(rng.integers(total - wide + 1))
            time = MEL_STRIDE * np.arange(windows)[:, None] + np.arange(frames)  # of each frame
            mel[(time >= first) & (time < first + wide)] = mean
        return mel.astype(values.dtype)


def _zoomed(pixels: Pixels, least: float, size: float, right: float, down: float) -> Pixels:
    """A part of the picture, made as large as the whole; all but `least` are chances of 0 to 1."""
    height, width = pixels.shape[:2]
    share = least + (1 - least) * size
    rows, columns = max(1, round(share * height)), max(1, round(share * width))
    top, left = round(down * (height - rows)), round(right * (width - columns))
    return stretched(pixels[top : top + rows, left : left + columns], height, width)


def _shaded(pixels: Pixels, change: Float64[np.ndarray, " 4"]) -> Pixels:
    """Contrast changed around the mean by the first share, then each colour by its own."""
    mean = pixels.mean()
    values = (mean + (pixels - mean) * (1 + change[0])) * (1 + change[1:])
    return np.clip(values + 0.5, 0, 255).astype(np.uint8)


def _blotted(pixels: Pixels, most: float, size: float, right: float, down: float) -> Pixels:
    """A square of the picture's mean colour somewhere; all but `most` are chances of 0 to 1."""
    height, width = pixels.shape[:2]
    side = round(most * size * min(height, width))
    top, left = round(down * (height - side)), round(right * (width - side))
    pixels = pixels.copy()
    pixels[top : top + side, left : left + side] = pixels.mean((0, 1))
    return pixels
