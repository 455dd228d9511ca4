"""What is no frame, no whole frame or too large a frame is refused, and changes nothing."""

import json
import os
import re
import socket
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from castor.fleet.frames import LINE, Keeper, host_and_port
from castor.fleet.pieces import piece_to_wire
from castor.fleet.shelf import Shelf, Slot
from tests.fleet.pieces import vector
from tests.fleet.ring import Ring, until

W = next(iter(vector(0)))


@pytest.fixture(scope="module")
def keeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keeper]:
    """One for the whole file: nothing here may harm it."""
    ring = Ring(tmp_path_factory.mktemp("ring"))
    yield ring.start(1)
    ring.end()


@contextmanager
def peer(says: bytes) -> Generator[Keeper]:
    """What looks like a keeper, answers the first request with these bytes and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection, suppress(ConnectionError):
                connection.recv(1000)
                connection.sendall(says)

        thread = threading.Thread(target=answer)
        thread.start()
        yield Keeper(f"127.0.0.1:{listener.getsockname()[1]}", "run", limit_s=20)
        thread.join()


def steps(keeper: Keeper, owner: int) -> list[int]:
    return keeper.status().steps.get(owner, [])


@pytest.mark.parametrize("address", ["", "7777", "host:", "host:x", ":1", "host:70000", "h:٣"])
def test_an_address_without_host_or_port_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="an address is host:port"):
        Keeper(address, "run")


def raw(keeper: Keeper, data: bytes) -> bytes:
    """What comes back when these bytes are all that is said."""
    with socket.create_connection(host_and_port(keeper.address), 20) as connection:
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            return connection.makefile("rb").read()
        except ConnectionError:
            return b""


@pytest.mark.parametrize("part", [0.0, 0.3, 0.9, 1.2, 1.9])
def test_half_a_frame_and_a_dropped_connection_change_nothing(
    keeper: Keeper, tmp_path: Path, part: float
) -> None:
    here, owner = Shelf(tmp_path, "run"), int(10 * part) + 2
    for step in (1, 2):
        here.put(owner, step, vector(step))
        keeper.hold(owner, here.slot(owner, step))
    here.put(owner, 3, vector(3))
    slot = here.slot(owner, 3)
    table = [[*piece_to_wire(one), check] for one, check in slot.sums.items()]
    fields = {"run": "run", "do": "hold", "owner": owner, "step": 3, "table": table}
    line, body = json.dumps(fields).encode() + b"\n", vector(3)[W].tobytes()
    cut = line[: int(part * len(line))] if part < 1 else line + body[: int((part - 1) * len(body))]
    raw(keeper, cut)
    assert 2 in steps(keeper, owner) and 3 not in steps(keeper, owner)
    np.testing.assert_array_equal(keeper.piece(owner, 2, W), vector(2)[W])
    until(lambda: held_after(keeper, owner, slot) == [2, 3])


def held_after(keeper: Keeper, owner: int, slot: Slot) -> list[int]:
    """What is held once the step was given properly; a connection may still be ending."""
    try:
        keeper.hold(owner, slot)
    except ValueError as error:
        assert "being written by another" in str(error)
    return steps(keeper, owner)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"GET / HTTP/1.1\n", "a line is a JSON object; got b'GET / HTTP/1.1"),
        (b"[1]\n", "a line is a JSON object"),
        (b"[" * 100_000 + b"\n", "a line is a JSON object"),
        (b"\xff\n", "a line is a JSON object"),
        (b"{}\n", "it keeps the run 'run' in .*, not None"),
        (b'{"run": "run"}\n', "the request lacks 'do'"),
        (b'{"run": "run", "do": "dance"}\n', "a keeper does not know how to 'dance'"),
        (b'{"run": "run", "do": "stored"}\n', "the request lacks 'step'"),
        (b'{"run": "run", "do": "beat", "step": []}\n', "int.. argument must be"),
        (b'{"run": "run", "do": "beat", "step": Infinity}\n', "cannot convert float infinity"),
        (b'{"run": "run", "do": "pass_to", "ring": "x"}\n', "an address is host:port"),
        (b"{" + b" " * LINE + b"}\n", "a line has at most 16,777,216 bytes"),
    ],
)
def test_what_is_no_request_is_refused_and_the_next_one_is_answered(
    keeper: Keeper, line: bytes, said: str
) -> None:
    answer = raw(keeper, line)
    if len(line) < LINE:  # what is left of a longer one may drown the answer
        refused = json.loads(answer)["refused"]
        assert re.match(said, refused), refused
    assert keeper.status().rank == 1


def test_a_frame_larger_than_the_memory_is_refused_before_it_is_sent(keeper: Keeper) -> None:
    size = 2**50
    table = [["w", [size], "int8", [[0, size]], 0]]
    fields = {"run": "run", "do": "hold", "owner": 0, "step": 3, "table": table}
    answer = json.loads(raw(keeper, json.dumps(fields).encode() + b"\n"))
    assert "has no room for step 3 of rank 0" in answer["refused"]
    assert 0 not in keeper.held()


@pytest.mark.parametrize(
    ("says", "words"),
    [
        (b"220 ready\n", "a line is a JSON object; got b'220 ready"),
        (b"x" * (LINE + 2), "a line has at most 16,777,216 bytes; this one has more"),
        (b'{"sum": 1}\n' + bytes(W.bytes), r"w\[0:1000\] at step 1 of rank 0 arrived damaged"),
    ],
)
def test_an_answer_that_is_none_is_refused(says: bytes, words: str) -> None:
    with peer(says) as stranger, pytest.raises(ValueError, match=words):
        stranger.piece(0, 1, W)


@pytest.mark.parametrize(
    ("says", "words"),
    [
        (b"", "no answer from .*: (the connection ended within a line|.*reset)"),
        (b'{"sum"', "the connection ended within a line"),
        (b'{"sum": 1}\n' + bytes(W.bytes - 1), "the connection ended within an array"),
    ],
)
def test_an_answer_that_is_cut_short_is_no_answer(says: bytes, words: str) -> None:
    with peer(says) as stranger, pytest.raises(ConnectionError, match=words):
        stranger.piece(0, 1, W)


def test_a_slot_that_is_cut_while_it_is_sent_is_not_held(keeper: Keeper, tmp_path: Path) -> None:
    here = Shelf(tmp_path, "run")
    here.put(10, 1, vector(1))
    slot = here.slot(10, 1)
    os.truncate(slot.path, slot.start + 100)
    with pytest.raises(ConnectionError, match="the slot was overwritten while it was sent"):
        keeper.hold(10, slot)
    assert 10 not in keeper.held()


def test_a_step_that_arrives_damaged_is_not_held(keeper: Keeper, tmp_path: Path) -> None:
    here = Shelf(tmp_path, "run")
    here.put(0, 1, vector(1))
    slot = here.slot(0, 1)
    with pytest.raises(ValueError, match=r"refuses: w\[0:1000\] at step 1 of rank 0 arrived damag"):
        keeper.hold(0, slot._replace(sums={W: 5}))
    assert 0 not in keeper.held()
