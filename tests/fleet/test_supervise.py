"""Processes that end or hang are started again together, and a run that comes no further is not."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver
from pathlib import Path

import pytest

from castor.fleet.beat import BEAT, Beat, beat_of, beating, pulse_of, pulsing
from castor.fleet.forked import forked
from castor.fleet.ledger import LEDGER, Ledger, entries
from castor.fleet.supervise import AGAIN, Limits, Supervisor, spawned
from castor.fleet.team import Seat, seat

# A process that gives some signs of life and then does what its part says, in its first life.
WORKER = """
import os, signal, sys, time
from pathlib import Path
out, process, what = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
lives = out / f"lives_{process}"
with lives.open("a") as file:
    file.write("x")
first = len(lives.read_text()) == 1
if what in ("stop", "late"):
    if process == 0 or what == "stop":
        Path(os.environ["CASTOR_BEAT"] + ".pulse").write_text("1")
    if process == 1 and first:  # before the first step
        os.kill(os.getpid(), signal.SIGSTOP)
for n in range(1, 12):
    Path(os.environ["CASTOR_BEAT"]).write_text(f"{n} {n}")
    time.sleep(0.02)
print("the last word")
if process == 1 and first and what == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
if process == 1 and first and what == "hang":
    time.sleep(600)
if what == "fail":
    sys.exit(1)
if what == "usage":
    sys.exit(2)
if what == "long":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    time.sleep(600)
"""


def worker(words: Sequence[str], environment: Mapping[str, str]) -> int:
    """The same, in a process that was forked."""
    os.environ.update(environment)
    sys.argv = ["worker", *words[3:]]
    exec(words[2], {})
    return 0


STARTS = {"spawned": spawned, "forked": forked(worker, [__name__])}
USED = {"start": spawned}


@pytest.fixture(params=STARTS)
def start(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How the processes of a test are started."""
    monkeypatch.setitem(USED, "start", STARTS[request.param])


def supervisor(
    out: Path, what: str, ledger: Ledger, told: list[str], fewer: int | None = None
) -> Supervisor:
    def command(seat: Seat) -> list[str]:
        assert seat.processes in (2, fewer) and seat.coordinator.startswith("127.0.0.1:")
        return [sys.executable, "-c", WORKER, str(out), str(seat.process), what]

    return Supervisor(
        command,
        2,
        logs=out,
        ledger=ledger,
        limits=Limits(begin=30.0, least=1.0, stopped=2.0),
        environment=os.environ,
        fewer=lambda: fewer,
        start=USED["start"],
        tell=told.append,
    )


def ran(out: Path, what: str) -> tuple[int, list[str], list[str]]:
    """The exit code, what was told, and what the ledger says was detected."""
    told: list[str] = []
    with Ledger(out / LEDGER) as ledger:
        code = supervisor(out, what, ledger, told).run()
    events = entries((out / LEDGER).read_text().split("\n")).events
    return code, told, [event.details["what"] for event in events if event.event == "detected"]


def lives(out: Path) -> list[int]:
    return [len((out / f"lives_{process}").read_text()) for process in range(2)]


def test_when_all_end_well_the_run_is_done(tmp_path: Path) -> None:
    assert ran(tmp_path, "end") == (0, [], [])
    assert lives(tmp_path) == [1, 1]
    assert (tmp_path / "log_1.txt").read_text() == "the last word\n"


@pytest.mark.usefixtures("start")
def test_when_one_is_killed_all_are_started_again(tmp_path: Path) -> None:
    code, told, seen = ran(tmp_path, "kill")
    assert code == 0 and lives(tmp_path) == [2, 2]
    assert seen == ["process 1 was killed by SIGKILL"]
    assert told == ["process 1 was killed by SIGKILL; starting all 2 again"]


def test_some_may_be_left_out_when_they_are_started_again(tmp_path: Path) -> None:
    told: list[str] = []
    with Ledger(tmp_path / LEDGER) as ledger:
        assert supervisor(tmp_path, "kill", ledger, told, fewer=1).run() == 0
    assert lives(tmp_path) == [2, 1]
    assert told == ["process 1 was killed by SIGKILL; starting all 1 again"]


def test_one_that_hangs_is_ended(tmp_path: Path) -> None:
    code, _, seen = ran(tmp_path, "hang")
    assert code == 0 and lives(tmp_path)[1] == 2
    assert len(seen) == 1 and seen[0].startswith("process 1 hung for ")


@pytest.mark.parametrize("what", ["stop", "late"])
def test_one_that_is_stopped_is_ended_also_before_its_first_step(tmp_path: Path, what: str) -> None:
    begun = time.monotonic()
    code, _, seen = ran(tmp_path, what)
    assert code == 0 and lives(tmp_path)[1] == 2
    assert seen == ["process 1 hung for 2 s"]
    assert time.monotonic() - begun < 10.0  # of 30


def test_a_pulse_goes_on_while_the_block_lasts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("castor.fleet.beat.PULSE_S", 0.01)
    assert pulse_of(tmp_path / "0") is None
    with pulsing(tmp_path / "0"):
        seen = set()
        end = time.monotonic() + 10.0
        while len(seen) < 3 and time.monotonic() < end:
            seen.add(pulse_of(tmp_path / "0"))
    assert len(seen) == 3
    last = pulse_of(tmp_path / "0")
    time.sleep(0.1)
    assert pulse_of(tmp_path / "0") == last and beat_of(tmp_path / "0") is None


def test_wrong_usage_is_not_tried_again(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"process \d ended with code 2"):
        ran(tmp_path, "usage")
    assert max(lives(tmp_path)) == 1


@pytest.mark.usefixtures("start")
def test_told_to_end_it_lets_them_save_and_says_start_me_again(tmp_path: Path) -> None:
    def ask() -> None:
        while not (tmp_path / "log_1.txt").exists() or not (tmp_path / "log_1.txt").read_text():
            time.sleep(0.05)
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=ask, daemon=True).start()
    assert ran(tmp_path, "long")[0] == AGAIN == 143


def test_what_ends_the_one_that_all_are_forked_from_is_not_sigterm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the shell's `timeout` and Slurm send it to every process."""
    monkeypatch.setitem(USED, "start", STARTS["forked"])
    server = forkserver._forkserver

    def ask() -> None:
        while not (tmp_path / "log_1.txt").exists():
            time.sleep(0.01)
        if server._forkserver_pid is not None:
            os.kill(server._forkserver_pid, signal.SIGTERM)

    threading.Thread(target=ask, daemon=True).start()
    assert ran(tmp_path, "end") == (0, [], [])


def test_signs_of_life_are_counted_until_the_file_is_taken_away(tmp_path: Path) -> None:
    """And steps, which begin anew with each stage."""
    path, seen = tmp_path / "beat", list[tuple[str, int]]()
    report = beating(path, seen.append, place=lambda told: told)
    assert beat_of(path) is None
    told = [("codec", 0), ("codec", 1), ("codec", 1), ("codec", 2), ("model", 0), ("model", 1)]
    found = []
    for place in told:
        report(place)
        found.append(beat_of(path))
    assert seen == told
    assert found == [Beat(0, 1), Beat(1, 2), Beat(1, 3), Beat(2, 4), Beat(0, 5), Beat(1, 6)]
    path.unlink()
    assert beat_of(path) is None


def test_no_process_is_left_behind(tmp_path: Path) -> None:
    ran(tmp_path, "kill")
    found = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, check=False).stdout
    assert not found.split()


def test_a_seat_is_read_as_it_is_written() -> None:
    assert seat("2/4@10.0.0.7:7777") == Seat(2, 4, "10.0.0.7:7777")
    assert seat(str(Seat(0, 1, "[::1]:80"))) == Seat(0, 1, "[::1]:80")


@pytest.mark.parametrize("text", ["", "4/4@host:1", "1/2", "1/2@host", "a/2@host:1", "-1/2@host:1"])
def test_what_is_no_seat_is_refused(text: str) -> None:
    assert BEAT == "CASTOR_BEAT"
    with pytest.raises(ValueError, match="is no place among hosts: give PROCESS/PROCESSES@HOST"):
        seat(text)
