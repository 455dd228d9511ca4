"""Made sound at 16 kHz: wavetables for voices and instruments, shaped noise, envelopes.

A wavetable holds one period; reading it at any speed gives any pitch, so a second of sound costs
tens of microseconds however rich it is.
"""

from functools import cache, lru_cache

import numpy as np
from jaxtyping import Float32

from castor.core.content import Media
from castor.core.media import RATE, wav

Wave = Float32[np.ndarray, "_"]  # samples, or one period of them
_PERIOD = 2048  # samples of one stored period
_HIGHEST_HZ = 7200.0  # no harmonic above: twice this is just under the sampling rate


def sound(samples: Wave) -> Media:
    """Samples from -1 to 1 as they stand in a document."""
    return Media("audio/wav", wav(samples))


def count(seconds: float) -> int:
    """Samples in that time."""
    return int(seconds * RATE)


def silence(seconds: float) -> Wave:
    return np.zeros(count(seconds), np.float32)


def period(strengths: Float32[np.ndarray, " k"]) -> Wave:
    """One period with those harmonics (the first is the pitch itself), its peak at 1.

    Phases are spread (Schroeder 1970) so that many harmonics do not add up to a spike.
    """
    number = np.arange(1, len(strengths) + 1)
    spectrum = np.zeros(_PERIOD // 2 + 1, np.complex64)
    spectrum[1 : len(strengths) + 1] = strengths * np.exp(-1j * np.pi * number**2 / len(strengths))
    table = np.fft.irfft(spectrum)
    return (table / np.abs(table).max()).astype(np.float32)


def play(table: Wave, pitch_hz: Wave) -> Wave:
    """The table read at a pitch that may change from sample to sample."""
    turns = np.cumsum(pitch_hz * np.float32(_PERIOD / RATE), dtype=np.float64)
    return table[turns.astype(np.int64) & (_PERIOD - 1)]


def glide(start_hz: float, end_hz: float, *, seconds: float) -> Wave:
    """A pitch that moves from one value to another, equally in equal times to the ear."""
    return np.geomspace(start_hz, end_hz, count(seconds), dtype=np.float32)


def fade(samples: Wave, *, attack: float, release: float) -> Wave:
    """The samples with their beginning and end drawn to 0 within so many seconds."""
    length = len(samples)
    rise, fall = min(count(attack), length), min(count(release), length)
    samples[:rise] *= np.linspace(0, 1, rise, dtype=np.float32)
    samples[length - fall :] *= np.linspace(1, 0, fall, dtype=np.float32)
    return samples


@cache
def decay(length: int, half_life: float) -> Wave:
    """A curve from 1 that halves every `half_life` seconds."""
    return np.exp2(-np.arange(length) / (half_life * RATE)).astype(np.float32)


@cache
def _noise(low_hz: int, high_hz: int) -> Wave:
    """Four seconds of noise in a band, its root mean square at 0.3; always the same."""
    spectrum = np.fft.rfft(np.random.default_rng(low_hz * 8000 + high_hz).standard_normal(4 * RATE))
    hz = np.arange(len(spectrum)) / 4
    spectrum *= np.clip((hz - low_hz) / 200 + 1, 0, 1) * np.clip((high_hz - hz) / 200 + 1, 0, 1)
    samples = np.fft.irfft(spectrum)
    return (0.3 * samples / samples.std()).astype(np.float32)


def hiss(low_hz: int, high_hz: int, *, seconds: float, start: float) -> Wave:
    """Noise in a band; `start`, from 0 to 1, says where in the stored noise it is cut."""
    samples, length = _noise(low_hz, high_hz), count(seconds)
    first = int(start * (len(samples) - length))
    return samples[first : first + length].copy()


def finish(samples: Wave, *, gain: float, noise: float, start: float) -> Media:
    """The sound at a loudness (its peak is `gain`) on a floor of faint noise, as Media."""
    floor = _noise(60, 7000)
    first = int(start * (len(floor) - len(samples)))
    samples = samples * (gain / max(float(np.abs(samples).max()), 1e-6))
    return sound(samples + noise * floor[first : first + len(samples)])


_HARMONICS: dict[str, tuple[float, ...]] = {
    "flute": (1, 0.18, 0.06, 0.02),
    "organ": (1, 0.8, 0.1, 0.6, 0, 0.1, 0, 0.5),
    "trumpet": (0.5, 0.8, 1, 0.95, 0.85, 0.7, 0.6, 0.5, 0.4, 0.3, 0.22, 0.16),
    "buzzer": tuple(1 / k if k % 2 else 0 for k in range(1, 32)),
    "guitar": tuple(1 / k for k in range(1, 16)),
}
INSTRUMENTS = (*_HARMONICS, "bell", "drum")


@lru_cache(512)
def _timbre(instrument: str, most: int) -> Wave:
    return period(np.array(_HARMONICS[instrument][:most], np.float32))


def note(instrument: str, pitch_hz: float, *, seconds: float, start: float = 0.5) -> Wave:
    """One note, its peak about 1."""
    length = count(seconds)
    if instrument == "bell":
        partials = ((1, 1.0, 0.35), (2.76, 0.6, 0.2), (5.4, 0.35, 0.1), (8.93, 0.2, 0.05))
        steps = np.arange(length, dtype=np.float32) * np.float32(2 * np.pi / RATE)
        heard = [p for p in partials if p[0] * pitch_hz < _HIGHEST_HZ]
        waves = [
            np.float32(strength)
            * np.sin(steps * np.float32(ratio * pitch_hz))
            * decay(length, half)
            for ratio, strength, half in heard
        ]
        return fade(np.sum(waves, 0) / 2, attack=0.002, release=0.02)
    if instrument == "drum":
        thud = play(_timbre("flute", 1), glide(pitch_hz * 0.6, pitch_hz * 0.2, seconds=seconds))
        skin = hiss(200, 3000, seconds=seconds, start=start) * decay(length, 0.03)
        return fade(thud * decay(length, 0.05) + skin, attack=0.001, release=0.01)
    table = _timbre(instrument, max(1, int(_HIGHEST_HZ / pitch_hz)))
    if instrument == "guitar":
        samples = play(table, np.full(length, pitch_hz, np.float32)) * decay(length, 0.12)
        return fade(samples, attack=0.002, release=0.02)
    waver = 0.006 if instrument == "flute" else 0.0
    steps = np.arange(length, dtype=np.float32)
    pitch = pitch_hz * (1 + waver * np.sin(steps * np.float32(2 * np.pi * 5.5 / RATE)))
    attack = {"flute": 0.06, "trumpet": 0.03}.get(instrument, 0.008)
    return fade(play(table, pitch.astype(np.float32)), attack=attack, release=0.04)
