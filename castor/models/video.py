"""Video: frames as pictures, each after its time as text, with the sound interleaved by the second.

Invariant: pieces come in the order of time. The frames of a second stand before the sound of that
second, so nothing that is seen or heard stands before something earlier.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

from castor.core.batch import Signal

FEWEST_FRAMES = 8  # [ours]: a sign of two seconds cannot be read from two frames
MOST_FRAMES = 32  # [ours]: at one frame a second, the longest clip that is not thinned further
SLOTS_PER_SECOND = 25  # of sound


def stamp(seconds: float) -> str:
    """A time as a person writes it, to a tenth of a second: "1.5", "2:03.5", "1:02:03.5"."""
    tenths = round(seconds * 10)
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    if not hours and not minutes:
        return f"{tenths / 10:.1f}"
    lead = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{lead}:{tenths / 10:04.1f}"


def choose_frames(times: Float32[np.ndarray, " n"]) -> list[int]:
    """Which frames to look at: one a second, but no fewer than 8 (if there are 8) nor more than 32.

    They are spread evenly over the frames there are; the first and the last are always among them.
    """
    if len(times) == 0:
        return []
    per_second = math.ceil(float(times[-1] - times[0])) + 1
    count = min(len(times), max(FEWEST_FRAMES, min(per_second, MOST_FRAMES)))
    return [int(i) for i in np.linspace(0, len(times) - 1, count).round()]


def interleave(frames: Sequence[tuple[float, Signal]], sound: Signal | None) -> list[str | Signal]:
    """The pieces that stand for a clip: time, frame, time, frame, …, sound of that second, ….

    `frames` are (seconds, picture) in order. `sound` has 25 slots a second and starts at 0.
    """
    pieces: list[str | Signal] = []
    waiting = list(frames)
    slots = 0 if sound is None else len(sound.places)
    for start in range(0, slots, SLOTS_PER_SECOND):
        second = start // SLOTS_PER_SECOND
        while waiting and waiting[0][0] < second + 1:
            at, frame = waiting.pop(0)
            pieces += [stamp(at), frame]
        assert sound is not None
        stop = start + SLOTS_PER_SECOND
        pieces.append(Signal(sound.kind, sound.values[start:stop], sound.places[start:stop]))
    for at, frame in waiting:
        pieces += [stamp(at), frame]
    return pieces
