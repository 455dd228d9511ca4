"""Keepers of a run as processes, to be told things, hung and killed."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from castor.fleet.keeper import Keeper, announced, command
from castor.fleet.shelf import Shelf
from tests.fleet.pieces import vector


def until(seen: Callable[[], object], *, seconds: float = 20.0) -> None:
    """Wait for it, but not for ever."""
    end = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.01)


class Ring:
    """Keepers of one run, each beside a shelf."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, rank: int, *, run: str = "run", port: int = 0, idle_s: float = 600) -> Keeper:
        words = command(self.folder / str(rank), run, rank=rank, port=port, idle_s=idle_s)
        self.processes[rank] = subprocess.Popen(words)
        return self.keeper(rank, run=run)

    def keeper(self, rank: int, *, run: str = "run") -> Keeper:
        folder, process = self.folder / str(rank), self.processes[rank]
        until(lambda: (found := announced(folder)) and found.pid == process.pid)
        found = announced(folder)
        assert found is not None
        return Keeper(found.address, run, limit_s=20)

    def of(self, count: int) -> list[Keeper]:
        keepers = [self.start(rank) for rank in range(count)]
        for keeper, following in zip(keepers, keepers[1:] + keepers[:1], strict=True):
            keeper.pass_to(following.address)
        return keepers

    def shelf(self, rank: int) -> Shelf:
        return Shelf(self.folder / str(rank), "run")

    def kill(self, rank: int) -> None:
        self.processes[rank].kill()
        self.processes[rank].wait()

    def put(self, rank: int, step: int, *, size: int = 1000) -> None:
        self.shelf(rank).put(rank, step, vector(step, size=size))

    def end(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()
