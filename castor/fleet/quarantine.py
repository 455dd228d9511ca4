"""Devices that a run goes on without.

What a device computes wrong is seen by its replicas alone, so whole replicas are left out: those
that it is part of, and the processes that have no other devices.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import prod
from pathlib import Path

from castor.core.files import write_atomic
from castor.models.layout import AXES, lengths, told

FAULTY = ".faulty"  # in the run's folder


def name(out: Path, devices: Sequence[int]) -> None:
    """Name devices of a run's mesh, by their places in it, for whoever starts the run again."""
    write_atomic(out / FAULTY, json.dumps(sorted(devices)).encode())


def named(out: Path) -> list[int]:
    """The devices that were named since this was last asked."""
    path, found = out / FAULTY, list[int]()
    with suppress(FileNotFoundError):
        found = json.loads(path.read_text())
        path.unlink()
    return found


def without(
    mesh: Mapping[str, int], processes: int, devices: Sequence[int]
) -> tuple[int, dict[str, int]]:
    """How many processes, with as many devices each as before, go on with which mesh.

    Raises:
        ValueError: no replica is left, or the processes do not divide those that are.
    """
    sizes = dict(zip(AXES, lengths(mesh), strict=True))
    replicas, whole = sizes["replica"], prod(sizes.values())
    each = whole // replicas
    left = replicas - len({device // each for device in devices})
    if left == 0:
        raise ValueError(
            f"the devices {sorted(devices)} are part of every replica of {told(mesh)}: nothing is "
            "left to go on with; take that hardware out and start again"
        )
    local = whole // processes
    if left * each % local:
        raise ValueError(
            f"{left} of the {replicas} replicas of {told(mesh)} have {left * each} devices, which "
            f"processes of {local} devices do not share out: start again with another -n"
        )
    kept = {**sizes, "replica": left}
    return left * each // local, {axis: kept[axis] for axis in mesh}
