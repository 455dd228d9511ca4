"""What a drill makes a training process do wrong, so that it is seen what happens then.

A file in the folder in which a process's state is kept asks for it: FLIP, with the `device` of the
process, a `word` and a `bit` as JSON, turns one bit of the gradient of the next step; WEIGHT turns
one in the memory that holds the weights between two steps.
"""

import ctypes
import json
from pathlib import Path
from typing import Any

import jax

from castor.fleet.drill import FLIP, WEIGHT
from castor.train.corruption import NONE, Fault
from castor.train.step import TrainState


def injected(folder: Path, state: TrainState) -> Fault:
    """The fault of the next step that a drill has asked for, once; or a weight is changed now."""
    if (found := _taken(folder / WEIGHT)) is not None:
        turn(state.model, *found)
    found = _taken(folder / FLIP)
    if found is None:
        return NONE
    device, word, bit = found
    return Fault(jax.process_index() * jax.local_device_count() + device, word, bit)


def turn(weights: Any, device: int, word: int, bit: int) -> None:
    """Turn a bit of what one of this process's devices holds of the largest weight.

    Raises:
        ValueError: the device is no CPU: only its memory can be reached.
    """
    largest = max(jax.tree.leaves(weights), key=lambda leaf: leaf.size)
    part = jax.block_until_ready(largest).addressable_shards[device].data
    if part.device.platform != "cpu":
        raise ValueError(f"a bit of a weight can be turned on a CPU, not on {part.device}")
    place = part.unsafe_buffer_pointer() + 4 * (word % part.size)
    ctypes.c_uint32.from_address(place).value ^= 1 << bit


def _taken(path: Path) -> list[int] | None:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    path.unlink()
    return found
