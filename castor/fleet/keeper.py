"""The process beside a training process: it holds state while that one dies and comes back.

Invariant: what it holds lies in its shelf's files alone, so a keeper that is killed and started
again on the same folder holds what it held.
"""

import contextlib
import fcntl
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, NamedTuple

from castor.core.files import write_atomic
from castor.fleet.frames import Keeper as Keeper  # whoever asks one looks for it here
from castor.fleet.frames import Line, Status, host_and_port
from castor.fleet.pieces import piece_from_wire, piece_to_wire
from castor.fleet.shelf import Damaged, Shelf

LIMIT_S = 10.0  # without a byte, and a connection is dropped
OFFER_S = 5.0  # between two looks whether the neighbour still holds the newest step
RETRY_S = 0.2  # after the neighbour failed once; twice as long each time, up to OFFER_S
CONNECTIONS = 64  # at once; more wait
FROM_KEEPERS = ("hold",)  # what one keeper asks another is no sign that the run is alive


class Announced(NamedTuple):
    """Where the keeper of a folder listens, and which process it is."""

    address: str
    pid: int


def command(
    folder: Path,
    run: str,
    *,
    rank: int,
    host: str = "127.0.0.1",
    port: int = 0,
    ring: str | None = None,
    idle_s: float = 3600.0,
) -> list[str]:
    """What starts a keeper as a process; see `serve`."""
    settings = {"rank": rank, "host": host, "port": port, "ring": ring, "idle_s": idle_s}
    place = {"folder": str(folder), "run": run}
    return [sys.executable, "-m", "castor.fleet.keeper", json.dumps(place | settings)]


def announced(folder: Path) -> Announced | None:
    """What the keeper that was last started on a folder said; it may have ended since."""
    try:
        return Announced(**json.loads((folder / "keeper.json").read_bytes()))
    except FileNotFoundError:
        return None


def serve(
    shelf: Shelf,
    *,
    rank: int,
    host: str = "127.0.0.1",
    port: int = 0,
    ring: str | None = None,
    idle_s: float = 3600.0,
) -> None:
    """Keep the shelf of a rank until told to stop, or until its run is gone.

    Port 0 takes a free one; `announced` says which. `ring` is the address of the next keeper, to
    which the newest step of `rank` is passed on. After `idle_s` seconds in which nobody but keepers
    asked for anything, the shelf is cleared and the keeper ends.

    Raises:
        ValueError: another process keeps this shelf, or `ring` is no address.
        OSError: the port is taken.
    """
    if ring is not None:
        host_and_port(ring)
    with _only_one(shelf.folder), socket.create_server((host, port)) as listener:
        keeping = _Keeping(shelf, rank, ring, listener)
        place = {"address": f"{host}:{listener.getsockname()[1]}", "pid": os.getpid()}
        write_atomic(shelf.folder / "keeper.json", json.dumps(place).encode())
        threading.Thread(target=keeping.pass_on, daemon=True).start()
        if not keeping.listen(idle_s):
            shelf.clear()


@contextlib.contextmanager
def _only_one(folder: Path) -> Generator[None]:
    with (folder / "keeper.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(f"another process keeps {folder}: {announced(folder)}") from None
        yield


class _Keeping:
    """What the threads of a keeper share: one listens, one passes on, one answers each request."""

    def __init__(self, shelf: Shelf, rank: int, ring: str | None, listener: socket.socket) -> None:
        self.shelf, self.rank, self.ring, self.listener = shelf, rank, ring, listener
        self.passed: int | None = None
        self.trouble = self.damage = ""
        self.beat: tuple[int, float] | None = None
        self.heard = time.monotonic()
        self.news, self.stopping = threading.Event(), threading.Event()
        self.free = threading.BoundedSemaphore(CONNECTIONS)

    def listen(self, idle_s: float) -> bool:
        """Answer until told to stop; false if instead nobody asked for anything any more."""
        self.listener.settimeout(min(1.0, idle_s / 4))
        while not self.stopping.is_set():
            try:
                connection, _ = self.listener.accept()
            except TimeoutError:
                if time.monotonic() - self.heard > idle_s:
                    return False
                continue
            except OSError:  # it was shut down, or too many files are open
                self.stopping.wait(0.05)
                continue
            self.free.acquire()
            threading.Thread(target=self.answer, args=[connection], daemon=True).start()
        return True

    def answer(self, connection: socket.socket) -> None:
        """One request, whoever sent it and whatever it is."""
        try:
            with connection, Line(connection, LIMIT_S) as line:
                try:
                    self._answer(line, line.read())
                except (ConnectionError, TimeoutError):
                    return  # nobody is there to be told
                except KeyError as error:
                    line.write({"refused": f"the request lacks {error}"})
                except (ValueError, TypeError, OverflowError, OSError) as error:
                    line.write({"refused": str(error)})
        except OSError:
            return
        finally:
            self.free.release()

    def _answer(self, line: Line, asked: dict[str, Any]) -> None:
        if asked.get("run") != self.shelf.run:
            raise ValueError(
                f"it keeps the run {self.shelf.run!r} in {self.shelf.folder}, "
                f"not {asked.get('run')!r}"
            )
        if asked["do"] not in FROM_KEEPERS:
            self.heard = time.monotonic()
        match asked["do"]:
            case "status":
                line.write(self.status()._asdict())
            case "held":
                line.write({"held": self._held()})
            case "stored":
                self.shelf.slot(self.rank, asked["step"])
                line.write({"passed": self.passed})
                self.news.set()
            case "beat":
                self.beat = int(asked["step"]), time.monotonic()
                line.write({})
            case "pass_to":
                self._pass_to(asked["ring"])
                line.write({})
            case "forget":
                self.shelf.forget(int(asked["after"]))
                line.write({})
            case "piece":
                self._send(line, asked)
            case "hold":
                self._hold(line, asked)
            case "stop":
                self.stopping.set()
                line.write({})
                self.listener.shutdown(socket.SHUT_RDWR)
            case other:
                raise ValueError(f"a keeper does not know how to {other!r}")

    def status(self) -> Status:
        """What the keeper says of itself."""
        step, at = self.beat or (None, None)
        return Status(
            run=self.shelf.run,
            rank=self.rank,
            pid=os.getpid(),
            steps={owner: sorted(steps) for owner, steps in self.shelf.held().items()},
            passed=self.passed,
            ring=self.ring,
            trouble=self.trouble,
            damage=self.damage,
            beat=step,
            age_s=None if at is None else time.monotonic() - at,
        )

    def _held(self) -> dict[int, dict[int, list[Any]]]:
        return {
            owner: {step: [*map(piece_to_wire, pieces)] for step, pieces in steps.items()}
            for owner, steps in self.shelf.held().items()
        }

    def _pass_to(self, ring: str | None) -> None:
        if ring is not None:
            host_and_port(ring)
        self.ring, self.passed = ring, None
        self.news.set()

    def _send(self, line: Line, asked: dict[str, Any]) -> None:
        piece = piece_from_wire(asked["piece"])
        try:
            slot = self.shelf.verify(int(asked["owner"]), int(asked["step"]), piece)
        except Damaged as error:
            self.damage = str(error)
            raise
        line.write({"sum": slot.sums[piece]})
        line.send_file(slot, slot.places[piece], piece.bytes)

    def _hold(self, line: Line, asked: dict[str, Any]) -> None:
        owner, step = int(asked["owner"]), int(asked["step"])
        if owner == self.rank:
            raise ValueError(f"rank {owner} is the one that it is beside, and no neighbour")
        sums = {piece_from_wire(wire): int(check) for *wire, check in asked["table"]}
        if any(slot.step == step and slot.sums == sums for slot in self.shelf.slots(owner)):
            line.write({"wanted": False})
            return
        wanted = False

        def fill(place: memoryview) -> None:
            nonlocal wanted
            if not wanted:  # only now is it known that there is room
                wanted = True
                line.write({"wanted": True})
            line.fill(place)

        self.shelf.receive(owner, step, sums, fill)
        line.write({} if wanted else {"wanted": False})
        self._drop_those_before(owner)

    def _drop_those_before(self, owner: int) -> None:
        """Drop neighbours of another mesh: this one's has written both of its slots since."""
        held = self.shelf.held()
        both = held.get(owner, {})
        for other in held.keys() - {owner, self.rank}:
            if len(both) == 2 and max(held[other]) < min(both):
                self.shelf.drop(other)

    def pass_on(self) -> None:
        """Make the neighbour hold the newest step, for ever: it may lose what it was given."""
        checked, wait_s = 0, OFFER_S
        while not self.stopping.is_set():
            ring = self.ring
            try:
                slots = self.shelf.slots(self.rank)
                if ring is not None and slots:
                    if slots[0].turn != checked:
                        self.shelf.verify(self.rank, slots[0].step)
                        checked = slots[0].turn
                    Keeper(ring, self.shelf.run, LIMIT_S).hold(self.rank, slots[0])
                    self.passed = slots[0].step if ring == self.ring else self.passed
                self.trouble, wait_s = "", OFFER_S
            except (ValueError, OSError) as error:
                self.damage = str(error) if isinstance(error, Damaged) else self.damage
                self.trouble = str(error)
                wait_s = RETRY_S if wait_s == OFFER_S else min(2 * wait_s, OFFER_S / 2)
            self.news.wait(wait_s)
            self.news.clear()


def main(arguments: list[str]) -> None:
    """A keeper as a process of its own: `arguments` are those that `command` writes.

    It outlives the terminal and the process that started it.
    """
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    settings = json.loads(arguments[0])
    folder, run = Path(settings.pop("folder")), settings.pop("run")
    try:
        serve(Shelf(folder, run), **settings)
    except (ValueError, OSError) as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main(sys.argv[1:])
