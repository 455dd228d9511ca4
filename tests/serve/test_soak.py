"""The soak of `benchmarks/soak.py` in small: the whole app on a port, a real engine of random
weights, hundreds of requests of all kinds at once, and nothing is left behind."""

import asyncio
import gc
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import jax
import numpy as np
import psutil
import pytest
import uvicorn
from sample import conftest as tiny

from castor.sample.engine import Engine
from castor.sample.serving import Desk
from castor.serve.run import whole
from castor.serve.service import Settings
from castor.serve.store import Store

from .running import running

engine, vocab = tiny.engine, tiny.vocab

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
benchmark = import_module("soak")

ROWS, CLIENTS, REQUESTS = 8, 12, 500
MODEL = "/v1beta/models/castor-tiny"
STILL_S = 30.0  # for what was cancelled to be swept, on a busy machine


@contextmanager
def on_a_port(engine: Engine, folder: Path, **settings: Any) -> Iterator[tuple[int, Desk]]:
    """The port of the whole server for this engine."""
    desk = Desk(engine, name="castor-tiny", rows=ROWS, keep_bytes=1 << 20)
    served, _ = whole(desk, Settings(grid=engine.grid, **settings), Store(folder))
    config = uvicorn.Config(served, port=0, log_level="critical", lifespan="off", ws="none")
    try:
        with running(config) as port:
            yield port, desk
    finally:
        desk.close()


def settle(desk: Desk) -> None:
    """Wait until nothing is under way."""
    late = time.monotonic() + STILL_S
    while desk.waiting or desk.answering:
        assert time.monotonic() < late, f"{desk.waiting} wait, {desk.answering} are answered"
        time.sleep(0.01)


@pytest.mark.slow
def test_a_day_of_mixed_requests_loses_none_and_leaves_nothing(
    engine: Engine, tmp_path: Path
) -> None:
    day = list(benchmark.sent(REQUESTS))
    ended, memory, arrays = Counter[str](), list[int](), list[int]()
    with on_a_port(engine, tmp_path) as (port, desk):
        for part in (day[: REQUESTS // 2], day[: REQUESTS // 2], day[REQUESTS // 2 :]):
            ended += asyncio.run(benchmark.soak(port, MODEL, part, clients=CLIENTS))
            settle(desk)
            gc.collect()
            memory.append(psutil.Process().memory_info().rss)
            arrays.append(sum(array.nbytes for array in jax.live_arrays()))
        last = [
            benchmark.Sent("text", *benchmark.KINDS["text"](np.random.default_rng(0)), "answered")
        ]
        ended += asyncio.run(benchmark.soak(port, MODEL, last * ROWS, clients=ROWS))
    lost = {name: count for name, count in ended.items() if name.startswith("lost")}
    assert not lost
    assert ended.total() == len(day) + REQUESTS // 2 + ROWS
    assert memory[-1] <= 1.05 * memory[-2]
    assert arrays[-1] <= 1.05 * arrays[-2]


def test_a_day_holds_all_kinds_in_the_shares_that_are_told() -> None:
    day = list(benchmark.sent(10_000))
    fates = Counter(each.fate for each in day)
    assert 0.04 < fates["cancelled"] / len(day) < 0.06
    assert 0.015 < fates["refused"] / len(day) < 0.025
    assert {each.kind for each in day} >= set(benchmark.KINDS)
