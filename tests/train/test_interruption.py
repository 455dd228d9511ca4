"""Signals are noted, what they ask for is done at the end, and two runs never share a folder."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from castor.train.interruption import alone, stoppable


@pytest.fixture(autouse=True)
def as_in_a_terminal() -> Iterator[None]:
    """A shell starts what it runs in the background with Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_control_c_waits_for_the_end_of_the_block() -> None:
    reached = False
    with pytest.raises(KeyboardInterrupt), stoppable() as asked:
        assert not asked()
        os.kill(os.getpid(), signal.SIGINT)
        assert asked()
        reached = True
    assert reached
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_control_c_does_not_wait() -> None:
    reached = False
    with pytest.raises(KeyboardInterrupt), stoppable():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        reached = True
    assert not reached


def test_a_request_to_terminate_ends_the_process_with_its_number() -> None:
    with pytest.raises(SystemExit) as end, stoppable() as asked:
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked()
    assert end.value.code == 128 + signal.SIGTERM


def test_an_error_in_the_block_is_not_hidden_by_a_signal() -> None:
    with pytest.raises(ValueError, match="mine"), stoppable():
        os.kill(os.getpid(), signal.SIGTERM)
        raise ValueError("mine")


def test_nothing_is_caught_outside_the_main_thread() -> None:
    asked_in_thread = []

    def work() -> None:
        with stoppable() as asked:
            asked_in_thread.append(asked())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert asked_in_thread == [False]


def test_a_folder_in_use_is_refused_and_free_again_when_its_holder_dies(tmp_path: Path) -> None:
    hold = (
        "import sys, time; from pathlib import Path\n"
        "from castor.train.interruption import alone\n"
        "with alone(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with (
            pytest.raises(ValueError, match="is being trained by another process"),
            alone(tmp_path),
        ):
            pass
        holder.kill()
    with alone(tmp_path):
        pass
