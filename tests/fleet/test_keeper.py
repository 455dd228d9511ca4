"""Keepers as processes in a ring: what one is told the next one holds, whoever is killed."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from castor.fleet.frames import host_and_port
from castor.fleet.keeper import Keeper, announced, command, main, serve
from castor.fleet.pieces import newest_whole
from castor.fleet.shelf import Shelf
from tests.fleet.pieces import piece, vector
from tests.fleet.ring import Ring, until

W = next(iter(vector(0)))


@pytest.fixture
def ring(memory: Path) -> Iterator[Ring]:
    made = Ring(memory)
    yield made
    made.end()


def steps(keeper: Keeper, owner: int) -> list[int]:
    return keeper.status().steps.get(owner, [])


def test_a_step_goes_on_to_the_next_keeper_and_comes_back_as_it_was(ring: Ring) -> None:
    keepers = ring.of(3)
    for rank, keeper in enumerate(keepers):
        ring.put(rank, 10 + rank)
        keeper.stored(10 + rank)
    for rank, keeper in enumerate(keepers):
        until(lambda k=keeper, r=rank: k.status().passed == 10 + r)
        following = keepers[(rank + 1) % 3]
        assert following.held()[rank] == {10 + rank: [W]}
        taken = following.piece(rank, 10 + rank, W)
        np.testing.assert_array_equal(taken, vector(10 + rank)[W])


def test_what_a_lost_host_held_is_whole_at_its_neighbour(ring: Ring) -> None:
    keepers, halves = ring.of(2), [((0, 3),), ((3, 6),)]
    array = np.arange(6, dtype=np.float32)
    pieces = [piece(shape=(6,), index=half) for half in halves]
    for rank, keeper in enumerate(keepers):
        ring.shelf(rank).put(rank, 4, {pieces[rank]: array[3 * rank : 3 * rank + 3]})
        keeper.stored(4)
    until(lambda: steps(keepers[1], 0) == [4])
    ring.kill(0)
    ring.shelf(0).clear()
    assert newest_whole([keepers[1].held()], {"w": (6,)}) == 4
    np.testing.assert_array_equal(keepers[1].piece(0, 4, pieces[0]), array[:3])
    again = ring.start(0)
    assert again.held() == {}


def test_a_keeper_that_is_killed_and_started_again_holds_what_it_held(ring: Ring) -> None:
    one, two = ring.of(2)
    for rank, keeper in enumerate((one, two)):
        ring.put(rank, 5)
        keeper.stored(5)
    until(lambda: steps(one, 1) == steps(two, 0) == [5])
    ring.kill(1)
    assert ring.start(1).status().steps == {0: [5], 1: [5]}


def test_a_neighbour_that_is_down_holds_nothing_up_and_then_gets_the_newest(ring: Ring) -> None:
    one, two = ring.of(2)
    ring.kill(1)
    for step in range(4):
        ring.put(0, step)
        begun = time.monotonic()
        one.stored(step)
        assert time.monotonic() - begun < 5
    until(lambda: "no answer from the keeper" in one.status().trouble)
    two = ring.start(1, port=host_and_port(two.address)[1])
    until(lambda: one.status().passed == 3)
    assert steps(two, 0) == [3]
    assert one.status().trouble == ""


def test_a_neighbour_that_hangs_holds_nothing_up(ring: Ring) -> None:
    one, _ = ring.of(2)
    ring.processes[1].send_signal(signal.SIGSTOP)
    ring.put(0, 1, size=5_000_000)
    one.stored(1)
    one.beat(1)
    ring.put(0, 2, size=5_000_000)
    one.stored(2)
    assert one.status().steps == {0: [1, 2]}
    ring.processes[1].send_signal(signal.SIGCONT)
    until(lambda: one.status().passed == 2)


def test_a_neighbour_that_lost_its_memory_is_given_the_step_again(ring: Ring) -> None:
    one, two = ring.of(2)
    ring.put(0, 1)
    one.stored(1)
    until(lambda: steps(two, 0) == [1])
    ring.shelf(1).drop(0)
    one.pass_to(two.address)
    until(lambda: steps(two, 0) == [1])


def test_neighbours_of_another_mesh_are_dropped_once_they_are_behind(ring: Ring) -> None:
    keeper, here = ring.start(1), Shelf(ring.folder / "aside", "run")
    for owner, step in ((7, 10), (0, 10), (0, 11)):
        here.put(owner, step, vector(step))
        keeper.hold(owner, here.slot(owner, step))
    assert keeper.status().steps == {0: [10, 11], 7: [10]}
    here.put(0, 12, vector(12))
    keeper.hold(0, here.slot(0, 12))
    until(lambda: keeper.status().steps == {0: [11, 12]})


def test_a_step_that_is_held_already_does_not_travel_again(ring: Ring) -> None:
    keeper, here = ring.start(1), Shelf(ring.folder / "aside", "run")
    here.put(0, 1, vector(1))
    slot = here.slot(0, 1)
    keeper.hold(0, slot)
    slot.path.unlink()  # it could not be sent
    keeper.hold(0, slot)


def test_a_step_of_nothing_is_held(ring: Ring) -> None:
    keeper, here = ring.start(1), Shelf(ring.folder / "aside", "run")
    here.put(0, 1, {})
    keeper.hold(0, here.slot(0, 1))
    assert keeper.held() == {0: {1: []}}


def test_a_flipped_bit_is_not_passed_on_and_the_step_before_it_still_holds(ring: Ring) -> None:
    one, two = ring.of(2)
    ring.put(0, 1)
    one.stored(1)
    until(lambda: one.status().passed == 1)
    ring.put(0, 2)
    slot = ring.shelf(0).slot(0, 2)
    with slot.path.open("rb+") as file:
        file.seek(slot.stop - 1)
        file.write(b"\xff")
    one.stored(2)
    until(lambda: "w[0:1000] at step 2 of rank 0 does not match" in one.status().damage)
    assert (steps(one, 0), steps(two, 0)) == ([1], [1])


def test_a_piece_whose_bit_flipped_is_not_sent(ring: Ring) -> None:
    keeper = ring.start(0)
    ring.put(0, 2)
    slot = ring.shelf(0).slot(0, 2)
    with slot.path.open("rb+") as file:
        file.seek(slot.start)
        file.write(b"\xff")
    with pytest.raises(ValueError, match=r"refuses: w\[0:1000\] at step 2 of rank 0 does not"):
        keeper.piece(0, 2, W)
    assert keeper.status().damage
    assert keeper.held() == {}


def test_a_heartbeat_is_shown_with_its_age(ring: Ring) -> None:
    keeper = ring.start(0)
    assert (keeper.status().beat, keeper.status().age_s) == (None, None)
    keeper.beat(41)
    status = keeper.status()
    assert (status.run, status.rank, status.beat) == ("run", 0, 41)
    assert status.pid == ring.processes[0].pid
    assert status.age_s is not None and 0 <= status.age_s < 10


def test_a_run_that_goes_back_forgets_what_lay_beyond(ring: Ring) -> None:
    one, two = ring.of(2)
    for step in (5, 6):
        ring.put(0, step)
        one.stored(step)
        until(lambda s=step: one.status().passed == s)
    for keeper in (one, two):
        keeper.forget(5)
    assert steps(one, 0) == steps(two, 0) == [5]


def test_a_keeper_of_another_run_says_which_it_keeps_and_where(ring: Ring) -> None:
    other = Keeper(ring.start(0, run="monday").address, "tuesday")
    folder = ring.folder / "0"
    said = rf"the keeper at {other.address} refuses: it keeps the run 'monday' in {folder}, not 'tu"
    for ask in (other.status, other.stop, lambda: other.stored(1), lambda: other.beat(1)):
        with pytest.raises(ValueError, match=said):
            ask()


def test_a_step_that_is_not_on_the_shelf_cannot_be_passed_on(ring: Ring) -> None:
    with pytest.raises(ValueError, match=r"refuses: .* holds steps \[\] of rank 0, not 7"):
        ring.start(0).stored(7)


def test_a_keeper_is_no_neighbour_of_its_own(ring: Ring) -> None:
    keeper = ring.start(0)
    ring.put(0, 1)
    with pytest.raises(ValueError, match="rank 0 is the one that it is beside"):
        keeper.hold(0, ring.shelf(0).slot(0, 1))


def test_no_keeper_is_one_sentence(ring: Ring) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    with pytest.raises(ConnectionError, match=f"no answer from the keeper at {address}: "):
        Keeper(address, "run").status()


def test_silence_is_not_waited_for(ring: Ring) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ConnectionError, match="no answer from the keeper at .*: timed out"):
            Keeper(address, "run", limit_s=0.05).status()


def test_a_keeper_outlives_the_process_that_started_it(ring: Ring) -> None:
    begin = "import subprocess, sys; subprocess.Popen(sys.argv[1:])"
    words = command(ring.folder / "0", "run", rank=0, idle_s=60)
    subprocess.run([sys.executable, "-c", begin, *words], check=True)
    until(lambda: announced(ring.folder / "0"))
    found = announced(ring.folder / "0")
    assert found is not None
    for number in (signal.SIGINT, signal.SIGHUP):
        os.kill(found.pid, number)
    keeper = Keeper(found.address, "run")
    assert keeper.status().pid == found.pid
    keeper.stop()


def test_a_keeper_that_is_stopped_leaves_what_it_held(ring: Ring) -> None:
    keeper = ring.start(0)
    ring.put(0, 3)
    keeper.stop()
    assert ring.processes[0].wait(20) == 0
    assert ring.shelf(0).take(0, 3, W)[0] == 3


def test_a_keeper_whose_run_is_gone_gives_the_memory_back_and_ends(ring: Ring) -> None:
    keeper = ring.start(0, idle_s=0.5)
    ring.put(0, 3)
    assert keeper.status().steps == {0: [3]}
    assert ring.processes[0].wait(20) == 0
    assert not (ring.folder / "0").exists()


def test_two_keepers_do_not_keep_one_folder(ring: Ring, capfd: pytest.CaptureFixture[str]) -> None:
    keeper = ring.start(0)
    second = subprocess.run(command(ring.folder / "0", "run", rank=0), check=False)
    assert second.returncode == 1
    said = capfd.readouterr().err
    assert f"another process keeps {ring.folder / '0'}" in said and keeper.address in said


def test_a_keeper_cannot_be_started_on_the_folder_of_another_run(memory: Path) -> None:
    Shelf(memory, "monday")
    with pytest.raises(SystemExit, match="holds the run 'monday'"):
        main(command(memory, "tuesday", rank=0)[-1:])


def test_a_ring_without_a_port_is_refused_at_the_start(memory: Path) -> None:
    with pytest.raises(ValueError, match="an address is host:port"):
        serve(Shelf(memory, "run"), rank=0, ring="nowhere")


def test_a_keeper_answers_within_a_process_too(memory: Path) -> None:
    thread = threading.Thread(target=lambda: serve(Shelf(memory, "run"), rank=2), daemon=True)
    thread.start()
    until(lambda: announced(memory))
    found = announced(memory)
    assert found is not None
    keeper, here = Keeper(found.address, "run"), Shelf(memory / "aside", "run")
    here.put(1, 1, vector(1))
    keeper.hold(1, here.slot(1, 1))
    keeper.beat(4)
    assert keeper.status().beat == 4
    np.testing.assert_array_equal(keeper.piece(1, 1, W), vector(1)[W])
    keeper.stop()
    thread.join(20)
    assert not thread.is_alive()
