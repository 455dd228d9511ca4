"""What travels between a keeper and those who ask it: one line of JSON, then perhaps raw bytes.

A connection carries one request and its answer, so that one cut short leaves nothing half done. The
name of the run keeps runs apart that meet by mistake; it is no password.
"""

import json
import socket
import zlib
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from castor.fleet.pieces import Held, Piece, dtype_of, piece_from_wire, piece_to_wire
from castor.fleet.shelf import Slot

LINE = 2**24  # bytes: the table of 100,000 pieces


class Status(NamedTuple):
    """What a keeper says of itself."""

    run: str
    rank: int
    pid: int
    steps: dict[int, list[int]]  # those held, by owner
    passed: int | None  # the newest step that the neighbour is known to hold
    ring: str | None  # the neighbour's address
    trouble: str  # why the newest step could not be passed on; empty: it could
    damage: str  # the last checksum that did not match, in words; empty: all did
    beat: int | None  # the step of the last heartbeat
    age_s: float | None  # how long ago it was, by the keeper's clock


@dataclass(frozen=True)
class Keeper:
    """The keeper at `address`, "host:port", as those see it who ask it.

    Each call raises ConnectionError if there is none, or if it is silent for `limit_s` seconds;
    and ValueError if it refuses, as it does when it keeps another run.

    Raises:
        ValueError: the address is no host and port.
    """

    address: str
    run: str
    limit_s: float = 10.0

    def __post_init__(self) -> None:
        host_and_port(self.address)

    def status(self) -> Status:
        """What it holds, passes on and hears."""
        fields = self._call("status")
        steps = {int(owner): steps for owner, steps in fields["steps"].items()}
        return Status(**{**{name: fields[name] for name in Status._fields}, "steps": steps})

    def held(self) -> Held:
        """Every piece that it holds."""
        held = self._call("held")["held"]
        return {
            int(owner): {
                int(step): [piece_from_wire(wire) for wire in pieces]
                for step, pieces in steps.items()
            }
            for owner, steps in held.items()
        }

    def stored(self, step: int) -> int | None:
        """Say that a step of its own rank lies on its shelf: it will be checked and passed on.

        Returns the newest step that the neighbour is known to hold. Whoever overwrites a slot
        before the step in it was passed on leaves the neighbour one step behind.
        """
        return self._call("stored", step=step)["passed"]

    def beat(self, step: int) -> None:
        """Say that training is at this step, and alive."""
        self._call("beat", step=step)

    def pass_to(self, ring: str | None) -> None:
        """From now on its neighbour is at this address."""
        self._call("pass_to", ring=ring)

    def forget(self, after: int) -> None:
        """Hold no step beyond this one, of any owner."""
        self._call("forget", after=after)

    def stop(self) -> None:
        """End; what it holds stays where it is."""
        self._call("stop")

    def piece(self, owner: int, step: int, piece: Piece) -> np.ndarray:
        """The array of one piece, with the checksum that it was put with.

        Raises:
            ValueError: as always, or the slot was overwritten while it was sent.
        """
        array = np.empty(piece.extent, dtype_of(piece.dtype))
        place = array.reshape(-1).view(np.uint8).data
        with self._asked("piece", owner=owner, step=step, piece=piece_to_wire(piece)) as line:
            check = self._answer(line)["sum"]
            line.fill(place)
        if zlib.crc32(place) != check:
            raise ValueError(f"{piece} at step {step} of rank {owner} arrived damaged")
        return array

    def hold(self, owner: int, slot: Slot) -> None:
        """Give it a step to hold, unless it has it."""
        table = [[*piece_to_wire(piece), check] for piece, check in slot.sums.items()]
        with self._asked("hold", owner=owner, step=slot.step, table=table) as line:
            if self._answer(line)["wanted"]:
                line.send_file(slot, slot.start, slot.stop - slot.start)
                self._answer(line)

    def _call(self, do: str, **fields: Any) -> dict[str, Any]:
        with self._asked(do, **fields) as line:
            return self._answer(line)

    @contextmanager
    def _asked(self, do: str, **fields: Any) -> Generator["Line"]:
        try:
            with (
                socket.create_connection(host_and_port(self.address), self.limit_s) as connection,
                Line(connection, self.limit_s) as line,
            ):
                line.write({"run": self.run, "do": do, **fields})
                yield line
        except OSError as error:
            raise ConnectionError(f"no answer from the keeper at {self.address}: {error}") from None

    def _answer(self, line: "Line") -> dict[str, Any]:
        answer = line.read()
        if "refused" in answer:
            raise ValueError(f"the keeper at {self.address} refuses: {answer['refused']}")
        return answer


class Line:
    """One end of a connection on which no byte may be waited for longer than `limit_s`."""

    def __init__(self, connection: socket.socket, limit_s: float) -> None:
        connection.settimeout(limit_s)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection, self._stream = connection, connection.makefile("rb")

    def __enter__(self) -> "Line":
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def write(self, fields: Mapping[str, Any]) -> None:
        self._connection.sendall(json.dumps(fields).encode() + b"\n")

    def read(self) -> dict[str, Any]:
        """The next line.

        Raises:
            ValueError: it is no JSON object, or longer than LINE.
            OSError: the connection ends, or nothing comes.
        """
        text = self._stream.readline(LINE + 1)
        if len(text) > LINE:
            raise ValueError(f"a line has at most {LINE:,} bytes; this one has more")
        if not text.endswith(b"\n"):
            raise ConnectionError("the connection ended within a line")
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError):
            fields = None
        if not isinstance(fields, dict):
            raise ValueError(f"a line is a JSON object; got {text!r:.80}")
        return fields

    def fill(self, place: memoryview) -> None:
        """As many bytes as there is place for.

        Raises:
            OSError: the connection ends before, or nothing comes.
        """
        done = 0
        while done < len(place):
            count = self._stream.readinto(place[done:])
            if not count:
                raise ConnectionError("the connection ended within an array")
            done += count

    def send_file(self, slot: Slot, at: int, count: int) -> None:
        """Bytes of a slot, straight from its file."""
        if count:
            with slot.path.open("rb") as file:
                if self._connection.sendfile(file, at, count) < count:
                    raise ConnectionError("the slot was overwritten while it was sent")


def host_and_port(address: str) -> tuple[str, int]:
    """The two halves of "host:port".

    Raises:
        ValueError: it does not have them.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 0 <= int(port) < 2**16:
        raise ValueError(f"an address is host:port, as in 10.0.0.7:7777; got {address!r}")
    return host, int(port)
