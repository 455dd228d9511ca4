"""The ledger loses at most the line that was being written, whoever else writes or dies."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from castor.fleet.ledger import CAUSES, EVENTS, Event, Interval, Ledger, entries

WRITER = """
import sys
from pathlib import Path
from castor.fleet.ledger import Ledger
with Ledger(Path(sys.argv[1])) as ledger:
    for n in range(int(sys.argv[2])):
        ledger.spent("step", begun=float(n), ended=n + 0.5, step=n, stage=sys.argv[3])
"""


def found(path: Path):
    return entries(path.read_text().split("\n"))


def writer(path: Path, lines: int, stage: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(lines), stage])


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "run" / "ledger.jsonl"
    with Ledger(path) as ledger:
        ledger.spent("step", begun=10.0, ended=11.25, step=3, stage="codec")
        ledger.spent("restore", begun=12.0, ended=12.0)
        ledger.happened("fault", at=11.5, what="killed", process=2)
    intervals = [Interval("step", 10.0, 11.25, 3, "codec"), Interval("restore", 12.0, 12.0)]
    events = [Event("fault", 11.5, {"what": "killed", "process": 2})]
    assert found(path) == (intervals, events, 0)


def test_a_block_is_timed_by_a_clock_that_never_goes_back(tmp_path: Path, monkeypatch) -> None:
    path, before = tmp_path / "ledger.jsonl", time.time()
    with Ledger(path) as ledger, ledger.timed("checkpoint"):
        monkeypatch.setattr(time, "time", lambda: 0.0)
    (interval,) = found(path).intervals
    assert before - 0.01 <= interval.begun <= interval.ended <= before + 60


def test_a_block_that_fails_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with Ledger(path) as ledger, pytest.raises(OSError, match="gone"), ledger.timed("data"):
        raise OSError("gone")
    assert path.read_bytes() == b""


def test_an_event_is_of_now_unless_it_says_when(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        ledger.happened("started", process=0)
        assert found(tmp_path / "ledger.jsonl").events[0].at == pytest.approx(ledger.now(), abs=9)


def test_a_cut_at_any_byte_leaves_the_whole_lines_and_room_for_the_next(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with Ledger(path) as ledger:
        for n in range(3):
            ledger.spent("step", begun=float(n), ended=n + 1.0, step=n)
    whole = path.read_bytes()
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        left = whole[:cut].count(b"\n")
        with Ledger(path) as ledger:
            ledger.happened("started", at=5.0)
        after = found(path)
        assert left <= len(after.intervals) <= left + 1  # a whole line may lack its end alone
        assert len(after.events) == 1
        assert after.torn + len(after.intervals) == left + (whole[:cut][-1:] not in (b"", b"\n"))


def test_one_that_was_open_before_begins_a_new_line_after_a_torn_one(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with Ledger(path) as ledger:
        path.write_bytes(b'{"cause": "st')
        ledger.happened("detected", at=5.0)
    assert [event.event for event in found(path).events] == ["detected"]
    assert found(path).torn == 1


def test_a_killed_process_costs_one_line_at_most(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    process = writer(path, 10**9, "")
    deadline = time.monotonic() + 30
    while (not path.exists() or path.stat().st_size < 20_000) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with Ledger(path) as ledger:
        ledger.happened("detected", at=1.0)
    intervals, events, torn = found(path)
    assert [interval.step for interval in intervals] == list(range(len(intervals)))
    assert len(intervals) > 100 and len(events) == 1 and torn <= 1


def test_lines_of_two_processes_never_mix(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    for process in [writer(path, 2000, stage) for stage in ("codec", "model")]:
        assert process.wait() == 0
    intervals, _, torn = found(path)
    assert torn == 0
    for stage in ("codec", "model"):
        assert [i.step for i in intervals if i.stage == stage] == list(range(2000))


def test_lines_wait_for_room_on_a_full_disk(tmp_path: Path, monkeypatch) -> None:
    path, real = tmp_path / "ledger.jsonl", os.write

    def full(handle: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def nearly(handle: int, data: bytes) -> int:
        return real(handle, data[: len(data) // 2 + 3])

    with Ledger(path) as ledger:
        for n, write in enumerate([real, full, full, nearly, nearly, full, real]):
            with monkeypatch.context() as patched:
                patched.setattr(os, "write", write)
                ledger.spent("step", begun=float(n), ended=n + 1.0, step=n)
    intervals, _, torn = found(path)
    assert [interval.step for interval in intervals] == list(range(7))
    assert 1 <= torn <= 2


def test_another_error_of_the_disk_is_told(tmp_path: Path, monkeypatch) -> None:
    def broken(handle: int, data: bytes) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with Ledger(tmp_path / "ledger.jsonl") as ledger, monkeypatch.context() as patched:
        patched.setattr(os, "write", broken)
        with pytest.raises(OSError, match="error"):
            ledger.happened("started")


def test_a_line_that_is_there_twice_counts_once() -> None:
    lines = ['{"cause": "data", "begun": 1, "ended": 2}', '{"event": "ended", "at": 3}']
    assert entries([*lines, "", *lines]) == entries(lines)


@given(st.sampled_from(CAUSES), st.floats(0, 1e10), st.floats(0, 1e5), st.integers(0, 10**6))
def test_any_interval_comes_back(cause: str, begun: float, seconds: float, step: int) -> None:
    line = {"cause": cause, "begun": begun, "ended": begun + seconds, "step": step, "stage": "é"}
    (interval,) = entries([json.dumps(line)]).intervals
    assert interval == Interval(cause, begun, begun + seconds, step, "é")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"cause": "lunch"}, "time has no cause 'lunch'; it has step, compile, restore, data, "),
        ({"cause": "step"}, "a step's time is written with the step's number"),
        ({"ended": 1.5}, "data ends 0.500000 s before it begins; take both moments from one clock"),
        ({"begun": float("nan")}, "nan is no moment; times are unix seconds"),
        ({"ended": 1.8e12}, "1800000000000.0 is no moment; times are unix seconds"),
        ({"begun": -1.0}, "-1.0 is no moment"),
    ],
)
def test_time_that_cannot_be_is_refused(
    tmp_path: Path, wrong: dict[str, Any], message: str
) -> None:
    with Ledger(tmp_path / "ledger.jsonl") as ledger, pytest.raises(ValueError, match=message):
        ledger.spent(**{"cause": "data", "begun": 2.0, "ended": 3.0} | wrong)
    assert not (tmp_path / "ledger.jsonl").read_bytes()


def test_events_that_cannot_be_are_refused(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        with pytest.raises(ValueError, match=f"no event 'lunch'; there is {', '.join(EVENTS)}"):
            ledger.happened("lunch")
        with pytest.raises(ValueError, match="inf is no moment; times are unix seconds"):
            ledger.happened("ended", at=float("inf"))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("loss 3.1", "line 2 is none of a ledger: 'loss 3.1'"),
        ('{"step": 1, "loss": 3.1}', "line 2 is none of a ledger: it has neither a cause nor an"),
        ("[1]", "it has neither a cause nor an event"),
        ('{"event": "ended"}', "its 'at' is None, not unix seconds"),
        ('{"event": "ended", "at": 1e12}', "its 'at' is 1000000000000.0, not unix seconds"),
        ('{"cause": "data", "begun": true, "ended": 2}', "its 'begun' is True, not unix seconds"),
        ('{"cause": "data", "begun": 3, "ended": "4"}', "its 'ended' is '4', not unix seconds"),
        ('{"cause": "data", "begun": 3, "ended": 2}', "data ends 1.000000 s before it begins"),
        ('{"cause": "step", "begun": 3, "ended": 4, "step": 1.5}', "its step is 1.5, not a whole"),
    ],
)
def test_a_whole_line_of_something_else_is_refused(line: str, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("[", r"\[")):
        entries(['{"event": "started", "at": 1}', line])


def test_zeros_of_a_power_cut_are_a_torn_line() -> None:
    assert entries(["\0" * 30, '{"event": "ended", "at": 1}']).torn == 1
