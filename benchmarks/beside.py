"""What benchmarks share: a peer in a process of its own, and what is printed beside figures."""

import json
import os
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from castor.cli.machine import about

PEERS = Path(__file__).parent / "peers"


class Peer:
    """A script of `peers/` under another Python, asked for one measurement at a time.

    It answers every line of JSON with one; `hello` is what it says first.
    """

    def __init__(self, python: str, script: str, shape: dict[str, Any]) -> None:
        self._process = subprocess.Popen(
            [python, str(PEERS / script), json.dumps(shape)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self.hello = self._answer()

    def ask(self, **wanted: Any) -> dict[str, Any]:
        """What the peer measured. It ends with us: its input closes."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(wanted) + "\n")
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the peer stopped with exit status {self._process.wait()}")
        return json.loads(line)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))


def conditions(*packages: str, seed: int, peer: dict[str, str] | None = None) -> dict[str, Any]:
    """What figures were obtained with and on: the seed, the machine, and the versions of these
    packages and of the peer's."""
    return {
        "seed": seed,
        "machine": about(),
        "cores_used": cores(),
        "load_average": round(os.getloadavg()[0], 2),
        "versions": {name: version(name) for name in packages} | (peer or {}),
    }


def spread(values: Sequence[float], *, digits: int) -> dict[str, float]:
    """The median of repetitions, the lowest of them and the highest."""
    figures = {"median": np.median(values), "lowest": min(values), "highest": max(values)}
    return {name: round(float(figure), digits or None) for name, figure in figures.items()}
