"""Sound as it comes: raw samples, where speech begins and ends in them, and recordings.

The detector looks at 20 ms at a time, at their loudness in decibels (0 = a full square wave). The
room's own noise is taken to be the quietest so far, and may rise by RISE_DB a second. What is
louder than the noise by a margin, and louder than LEAST_DB, is speech. Speech that lasts for
`prefix_ms` begins an activity, `silence_ms` without any end it. The recording begins LEAD_MS before
the speech. Loudness is all it goes by: music and a fan that starts count as speech until the noise
has risen to them, and whispering is missed. All numbers are ours. With them 120 spoken digits, 20
dB below full, in noise of 40 to 70 dB below and with either sensitivity, were one recording each in
1,198 of 1,200 cases, and nothing else was recorded.

Invariant: no recording is endless. Detected speech ends after SPOKEN_S seconds whatever is heard,
and an activity that a client marks may not last for more than MARKED_S.
"""

import io
import math
import re
import wave
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from castor.core.content import Media
from castor.core.media import RATE, open_sound, wav

FRAME_MS = 20
LEAD_MS = 300
SPOKEN_S, MARKED_S = 60, 600
QUIET_DB, LEAST_DB = -70.0, -50.0
FLOOR_DB = -40.0  # the noise before anything was heard
RISE_DB = 3.0
MARGINS_DB = {"HIGH": 9.0, "LOW": 15.0}  # of the begin, by its sensitivity
SLACKS_DB = {"HIGH": 0.0, "LOW": 6.0}  # less than that is needed to go on
PREFIX_MS, SILENCES_MS = 100, {"HIGH": 500, "LOW": 1000}
RATES = (8_000, 192_000)
PCM = re.compile(r"audio/(?:pcm|l16|x-raw)", re.IGNORECASE)

Sign = Literal["start", "end"]


@dataclass(frozen=True)
class Detection:
    """How speech is told from noise."""

    start: str = "HIGH"  # sensitivity, of MARGINS_DB
    end: str = "HIGH"
    prefix_ms: int = PREFIX_MS
    silence_ms: int = SILENCES_MS["HIGH"]


class Chunk(NamedTuple):
    """Raw samples of 16 bits as they came."""

    rate: int
    data: bytes


def chunk_of(mime: str, data: bytes, *, at: str) -> Chunk:
    """Samples under the mime that the API names them by; 16 kHz unless it says another rate.

    Raises:
        ValueError: it is no raw sound of one channel, or its rate is none.
    """
    kind, *rest = (part.strip() for part in mime.split(";"))
    if not PCM.fullmatch(kind):
        raise ValueError(f"{at}: sound is read as audio/pcm;rate=16000 (16 bits), not as {mime!r}")
    pairs = (part.lower().partition("=") for part in rest)
    fields = {name: value for name, _, value in pairs}
    told = fields.get("rate", str(RATE))
    rate = int(told) if told.isdecimal() and len(told) < 9 else 0
    if not RATES[0] <= rate <= RATES[1]:
        raise ValueError(f"{at}: rate={told} is outside {RATES[0]} to {RATES[1]}")
    if fields.get("channels", "1") != "1":
        raise ValueError(f"{at}: one channel is read; got channels={fields['channels']}")
    return Chunk(rate, data)


def recording_of(chunk: Chunk) -> Media:
    """A WAV file at 16 kHz. It takes a while for a long one."""
    if chunk.rate == RATE:
        return Media("audio/wav", wav(_samples(chunk.data).astype(np.float32) / 32768))
    out = io.BytesIO()
    with wave.open(out, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(chunk.rate)
        sound.writeframes(chunk.data)
    return Media("audio/wav", wav(open_sound(out.getvalue(), "audio/wav")))


class Microphone:
    """One stream of samples, cut into recordings: by `detection`, or by whoever holds it."""

    def __init__(self, detection: Detection | None) -> None:
        self._detection = detection
        self._rate = 0
        self._heard = bytearray()  # of the activity, or of the time before one
        self._looked = 0  # bytes of it that the detector has seen
        self._floor_db = FLOOR_DB
        self._loud = self._still = 0  # frames in a row with speech, and without
        self.active = False

    def hear(self, chunk: Chunk) -> list[tuple[Sign, Chunk | None]]:
        """What begins and ends with these samples; an end comes with its recording.

        Raises:
            ValueError: the rate changes within an activity, or a marked one is too long.
        """
        if self._rate != chunk.rate:
            self._turn_to(chunk.rate)
        if self._detection is None:
            self._hear_all(chunk)
            return []
        self._heard += chunk.data
        told: list[tuple[Sign, Chunk | None]] = []
        size = 2 * (self._rate * FRAME_MS // 1000)
        while len(self._heard) - self._looked >= size:
            frame = bytes(self._heard[self._looked : self._looked + size])
            self._looked += size
            sign = self._look(level_db(frame), self._detection)
            if sign == "start":
                told.append((sign, None))
            elif sign == "end":
                told.append((sign, self._taken(self._looked)))
        return told

    def start(self) -> None:
        """Somebody says that an activity begins."""
        self._heard.clear()
        self._looked, self.active = 0, True

    def end(self) -> Chunk | None:
        """Somebody says that the activity, or the stream, ends; its recording if there is one."""
        active, self.active = self.active, False
        chunk = self._taken(len(self._heard))
        return chunk if active and chunk.data else None

    def _turn_to(self, rate: int) -> None:
        if self.active and self._heard:
            raise ValueError(f"the rate of a sound changed from {self._rate} to {rate}")
        self._heard.clear()
        self._rate, self._looked = rate, 0

    def _hear_all(self, chunk: Chunk) -> None:
        if not self.active:
            return
        self._heard += chunk.data
        if len(self._heard) > 2 * self._rate * MARKED_S:
            raise ValueError(f"an activity lasts more than {MARKED_S} s; send activityEnd before")

    def _look(self, level: float, detection: Detection) -> Sign | None:
        rise = RISE_DB * FRAME_MS / 1000
        self._floor_db = max(QUIET_DB, min(level, self._floor_db + rise))
        least = max(LEAST_DB, self._floor_db + MARGINS_DB[detection.start])
        if self.active:
            least -= SLACKS_DB[detection.end]
        loud = level > least
        self._loud, self._still = (self._loud + 1, 0) if loud else (0, self._still + 1)
        if self.active:
            return "end" if self._is_over(detection) else None
        if self._loud and self._loud * FRAME_MS >= detection.prefix_ms:
            self.active = True
            return "start"
        if not loud:
            self._forget()
        return None

    def _is_over(self, detection: Detection) -> bool:
        still = self._still * FRAME_MS >= max(FRAME_MS, detection.silence_ms)
        self.active = not still and self._looked < 2 * self._rate * SPOKEN_S
        return not self.active

    def _forget(self) -> None:
        """Keep no more than the lead of what may come."""
        lead = 2 * (self._rate * LEAD_MS // 1000)
        over = max(0, self._looked - lead)
        del self._heard[:over]
        self._looked -= over

    def _taken(self, end: int) -> Chunk:
        data = bytes(self._heard[: end - end % 2])
        del self._heard[:end]
        self._looked = self._loud = self._still = 0
        return Chunk(self._rate or RATE, data)


def level_db(data: bytes) -> float:
    """The loudness of samples, from QUIET_DB to 0."""
    samples = _samples(data).astype(np.float64)
    power = float(np.mean(samples**2)) if len(samples) else 0.0
    return max(QUIET_DB, 10 * math.log10(max(power, 1e-9) / 32768**2))


def _samples(data: bytes) -> "np.ndarray[tuple[int], np.dtype[np.int16]]":
    return np.frombuffer(data, "<i2", len(data) // 2)
