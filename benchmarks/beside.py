"""What benchmarks share: a peer in a process of its own, and which machine this is."""

import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

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


def hardware() -> str:
    """The processor's name and how many of its cores there are."""
    return f"{_processor()}, {cores()} cores"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), "unknown")
