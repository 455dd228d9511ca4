"""Several processes are one run: the bits of one process, and through the end of any of them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from castor.checkpoint import checkpoints
from castor.core.recipe import to_json
from castor.fleet.account import read
from castor.fleet.ledger import LEDGER
from castor.fleet.team import Team
from train.small import TEXT

RECIPE = replace(TEXT, steps=40, rows=8, groups=4, save_every=100, log_every=5)
MESH = "fsdp=2,tensor=2"


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.Popen[bytes]]:
    """`castor VERB WORDS`, over a recipe that is small, with one cache of programs for all."""
    folder = tmp_path_factory.mktemp("programs")
    recipe = folder / "recipe.json"
    recipe.write_text(json.dumps(to_json(RECIPE)))
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(folder), "XLA_FLAGS": ""}

    def start(out: Path, *verb: str) -> subprocess.Popen[bytes]:
        words = [*verb, str(recipe), "--mesh", MESH, "--out", str(out), "--limit", "0"]
        log = (out.parent / f"{out.name}.log").open("wb")
        with log:
            return subprocess.Popen(
                [sys.executable, "-m", "castor.cli", *words],
                env=environment,
                stdout=log,
                stderr=log,
            )

    return start


@pytest.fixture(scope="module")
def alone(started: Callable[..., subprocess.Popen[bytes]], tmp_path_factory: Any) -> bytes:
    """The weights that one process of four devices ends with."""
    out = tmp_path_factory.mktemp("alone") / "run"
    assert started(out, "train").wait(300) == 0, log_of(out)
    return weights(out)


def log_of(out: Path) -> str:
    return (out.parent / f"{out.name}.log").read_text(errors="replace")[-3000:]


def weights(out: Path) -> bytes:
    assert [path.name for path in checkpoints(out)] == ["step_000040"]
    return (out / "step_000040" / "weights.safetensors").read_bytes()


def process(out: Path, number: int) -> int:
    """The process of that number which trains in a folder: what it prints is added to its log."""
    log = str(out / f"log_{number}.txt")
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is not ours
            if os.readlink(entry / "fd" / "1") == log:
                return int(entry.name)
    raise AssertionError(f"process {number} does not run")


def taken(out: Path) -> int:
    """Steps that the ledger tells of."""
    path = out / LEDGER
    return path.read_text().count('"cause": "step"') if path.exists() else 0


@pytest.mark.slow
@pytest.mark.long
def test_two_processes_end_with_the_bits_of_one(
    tmp_path: Path, started: Callable[..., subprocess.Popen[bytes]], alone: bytes
) -> None:
    out = tmp_path / "run"
    assert started(out, "launch", "-n", "2").wait(300) == 0, log_of(out)
    assert weights(out) == alone
    assert (out / "ledger_1.jsonl").exists() and not (out / "ledger_2.jsonl").exists()


@pytest.mark.slow
@pytest.mark.long
def test_a_killed_process_loses_no_step_and_changes_no_bit(
    tmp_path: Path, started: Callable[..., subprocess.Popen[bytes]], alone: bytes
) -> None:
    out = tmp_path / "run"
    launched = started(out, "launch", "-n", "2")
    end = time.monotonic() + 200
    while taken(out) < 6 and launched.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    os.kill(process(out, 1), signal.SIGKILL)
    assert launched.wait(300) == 0, log_of(out)
    assert weights(out) == alone
    account = read(out / LEDGER)
    assert account.steps == RECIPE.steps and len(account.faults) == 1


def test_one_process_waits_for_nobody() -> None:
    team = Team()
    assert (team.process, team.processes, team.first) == (0, 1, True)
    team.wait("nothing")
    assert team.told("word", "a") == "a" and team.everyones("word", "b") == ["b"]
    assert not team.ends(3, asked=False) and team.ends(3, asked=True)
    assert team.after_first("made", lambda: 7) == 7 and team.host == "127.0.0.1"
