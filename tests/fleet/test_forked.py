"""A process that is forked starts as if it were new, ends as it says, and can be ended."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from castor.fleet.forked import Command, Entry, Forked, forked


def told(words: Sequence[str], environment: Mapping[str, str]) -> int:
    """Say what this process knows of itself."""
    there = "colorsys" in sys.modules
    print(*words, environment.get("CASTOR_TRIED"), os.getsid(0) == os.getpid(), there)
    print("aside", file=sys.stderr)
    return 3


def looks(words: Sequence[str], environment: Mapping[str, str]) -> int:
    """Say which of those modules are not there, and how many threads run where it comes from."""
    threads = len(os.listdir(f"/proc/{os.getppid()}/task"))
    print([word for word in words if word not in sys.modules], threads)
    return 0


def waits(words: Sequence[str], environment: Mapping[str, str]) -> int:
    """Wait to be told to end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    Path(words[0]).touch()
    time.sleep(60)
    return 0


def both(words: Sequence[str], environment: Mapping[str, str]) -> int:
    """Print as Python does, and as a library does."""
    print("above", *words)
    os.write(1, b"below\n")
    return 0


def coded(words: Sequence[str], environment: Mapping[str, str]) -> int:
    return int(words[0])


SHOWN = """
import os, sys
from pathlib import Path
from castor.fleet.forked import Command, forked
from fleet.test_forked import both
command = Command(["it"], os.environ, Path(sys.argv[1]), True)
sys.exit(forked(both, [])(command).wait())
"""


LOOKS = """
import os, sys
from pathlib import Path
from castor.cli.launch import IMPORTS
from castor.fleet.forked import Command, forked
from fleet.test_forked import looks
command = Command(IMPORTS, os.environ, Path(sys.argv[1]), False)
sys.exit(forked(looks, IMPORTS)(command).wait())
"""


def by_itself(script: str, log: Path) -> "subprocess.CompletedProcess[str]":
    """A script in a Python of its own, which nothing was forked from before."""
    return subprocess.run(
        [sys.executable, "-c", script, str(log)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )


def begun(entry: Entry, words: list[str], log: Path) -> Forked:
    start = forked(entry, [__name__, "colorsys"])
    return start(Command(words, {**os.environ, "CASTOR_TRIED": "yes"}, log, False))


def waiting(tmp_path: Path) -> Forked:
    process = begun(waits, [str(tmp_path / "here")], tmp_path / "log.txt")
    while not (tmp_path / "here").exists():
        assert process.poll() is None
        time.sleep(0.01)
    return process


def test_it_knows_its_words_and_environment_and_has_a_session_of_its_own(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    log.write_text("before\n")
    assert begun(told, ["a", "b"], log).wait() == 3
    assert sorted(log.read_text().split("\n")) == ["", "a b yes True True", "aside", "before"]


def test_it_ends_when_it_is_told_to(tmp_path: Path) -> None:
    process = waiting(tmp_path)
    process.terminate()
    assert process.wait() == process.poll() == 143


def test_a_signal_that_ends_it_is_its_code(tmp_path: Path) -> None:
    process = waiting(tmp_path)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def test_it_starts_in_a_moment(tmp_path: Path) -> None:
    begun(told, [], tmp_path / "log.txt").wait()  # from now on there is one to fork from
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        begun(told, [], tmp_path / "log.txt").wait()
        times.append(time.perf_counter() - begin)
    assert min(times) < 0.5


def test_what_training_imports_starts_no_thread(tmp_path: Path) -> None:
    """What one holds at a fork, the new process would wait for. OpenBLAS, which sees to that, has
    one for each core but the first."""
    log = tmp_path / "log.txt"
    found = by_itself(LOOKS, log)
    assert found.returncode == 0, found.stderr
    missing, _, threads = log.read_text().rpartition(" ")
    assert missing == "[]" and int(threads) <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize("code", [0, 1, 2])
def test_the_code_is_that_of_the_entry(code: int, tmp_path: Path) -> None:
    start = forked(coded, [])
    assert start(Command([str(code)], os.environ, tmp_path / "log.txt", False)).wait() == code


def test_of_one_that_is_shown_only_what_libraries_say_is_put_aside(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    found = by_itself(SHOWN, log)
    assert found.returncode == 0
    assert (found.stdout, found.stderr) == ("above it\n", "")
    assert log.read_text() == "below\n"
