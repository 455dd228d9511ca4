"""How `benchmarks/serve.py` treats the servers of others: the same work, their best settings."""

import asyncio
import json
import sys
from argparse import Namespace
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path.append(str(BENCHMARKS))
load, rivals = import_module("load"), import_module("rivals")


def by_path(name: str) -> ModuleType:
    """A benchmark whose name a folder of tests bears as well."""
    spec = spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


serve = by_path("serve")

WISH = load.Wish("", [5, 6, 7], 2)
SHAPE = {"rows": 2, "server": "llama-server"}
GIVEN = Namespace(rounds=2, clients=3, requests=5, rate=1000.0)


class Words:
    """Wishes that differ from one another."""

    def __init__(self) -> None:
        self.asked = 0

    def mixed(self, count: int) -> list[Any]:
        self.asked += count
        return [load.Wish("", [n], 1) for n in range(self.asked - count, self.asked)]


class Side:
    """Answers after so many seconds by its own clock, and keeps what it was asked."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.heard, self.log = seconds, [], list[str]()

    async def __call__(self, wish: Any) -> Any:
        self.heard.append(wish)
        at = len(self.heard) * self.seconds
        return load.Timed(at, at + self.seconds / 2, at + self.seconds, wish.new)


def sides(**seconds: float) -> dict[str, Side]:
    return {name: Side(each) for name, each in seconds.items()}


def test_all_sides_are_asked_the_same_in_the_same_rounds():
    three = sides(castor=1.0, peer=2.0, llama=4.0)
    serve.loops(three, Words(), GIVEN)
    warm = GIVEN.clients
    heard = [[wish.ids for wish in side.heard[warm:]] for side in three.values()]
    assert heard[0] == heard[1] == heard[2]
    assert len(heard[0]) == 2 * GIVEN.rounds * GIVEN.requests


def test_our_figures_are_told_as_ratios_to_each_other_side():
    told = serve.loops(sides(castor=1.0, peer=2.0, llama=4.0), Words(), GIVEN)["closed"]
    assert told["ratio"]["requests_per_second"] == 2.0
    assert told["ratio_to_llama"]["requests_per_second"] == 4.0
    assert told["ratio_to_llama"]["whole_ms_p50"] == 0.25


def test_a_side_alone_has_no_ratios():
    told = serve.loops(sides(castor=1.0), Words(), GIVEN)
    assert set(told["closed"]) == {"castor"}
    assert set(told["open"]) == {"castor", "rate"}


def test_the_open_loop_goes_as_fast_as_the_slowest_side_can_bear(monkeypatch: pytest.MonkeyPatch):
    rates = []

    async def opened(ask: Any, wishes: Any, *, rate: float, rng: np.random.Generator) -> Any:
        rates.append(rate)
        return [await ask(wish) for wish in wishes]

    monkeypatch.setattr(serve, "opened", opened)
    given = Namespace(**{**vars(GIVEN), "rate": None})
    serve.loops(sides(castor=1.0, peer=2.0, llama=4.0), Words(), given)
    slowest = GIVEN.requests / (4.0 * GIVEN.requests)  # requests a second
    assert rates == [pytest.approx(0.7 * slowest, abs=0.01)] * len(rates)


def test_llama_without_a_peer_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "argv", ["serve.py", "--llama", "llama-server"])
    with pytest.raises(SystemExit):
        serve.main()
    assert "--llama needs --peer" in capsys.readouterr().err


def test_where_settings_do_not_meddle_the_fastest_is_the_best_of_all():
    rng = np.random.default_rng(0)
    options = {"threads": (2, 1), "weights": ("f32", "f16", "bf16"), "flash": ("on", "off")}
    cost = {(name, each): rng.random() for name, given in options.items() for each in given}

    def seconds(settings: dict[str, Any]) -> float:
        return sum(cost[chosen] for chosen in settings.items())

    every = [dict(zip(options, each, strict=True)) for each in product(*options.values())]
    assert rivals.fastest(options, seconds) == min(every, key=seconds)


def test_what_is_no_faster_is_not_chosen():
    assert rivals.fastest({"a": (1, 2), "b": ("x",)}, lambda _: 1.0) == {"a": 1, "b": "x"}


@asynccontextmanager
async def llama_server(*, says: int) -> AsyncIterator[tuple[int, list[Any]]]:
    """A port where every request gets so many tokens, as llama.cpp's server streams them; and the
    requests."""
    bodies = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].split()[0])
        bodies.append(json.loads(await reader.readexactly(length)))
        counts = {"tokens_predicted": says, "tokens_evaluated": len(bodies[-1]["prompt"])}
        last = json.dumps({"stop": True, **counts})
        if "stream" not in bodies[-1]:
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(last)}\r\n\r\n"
            writer.write(head.encode() + last.encode())
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for event in ['{"content": " w", "stop": false}'] * says + [last]:
                data = f"data: {event}\n\n"
                writer.write(f"{len(data):x}\r\n{data}\r\n".encode())
                await writer.drain()
            writer.write(b"0\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], bodies


ASKS = pytest.mark.parametrize("ask", [rivals.ask_llama, rivals.ask_llama_whole])


async def asked(ask: Any, *, says: int) -> tuple[Any, Any]:
    async with llama_server(says=says) as (port, bodies):
        return await ask(port, WISH), bodies[0]


def test_a_stream_of_llama_begins_with_its_first_token_and_ends_with_its_last():
    timed, _ = asyncio.run(asked(rivals.ask_llama, says=WISH.new))
    assert timed.asked < timed.first < timed.done
    assert timed.tokens == WISH.new


def test_a_whole_reply_of_llama_begins_when_it_ends():
    timed, _ = asyncio.run(asked(rivals.ask_llama_whole, says=WISH.new))
    assert timed.asked < timed.first == timed.done
    assert timed.tokens == WISH.new


@ASKS
def test_llama_reads_ids_afresh_and_decodes_greedily(ask: Any):
    _, body = asyncio.run(asked(ask, says=WISH.new))
    assert (body["prompt"], body["n_predict"]) == (WISH.ids, WISH.new)
    assert (body["temperature"], body["cache_prompt"]) == (0, False)


@ASKS
def test_a_reply_of_llama_that_ends_early_stops_the_benchmark(ask: Any):
    with pytest.raises(AssertionError, match="'tokens_predicted': 1"):
        asyncio.run(asked(ask, says=1))


def test_llama_is_left_with_the_settings_that_were_chosen(monkeypatch: pytest.MonkeyPatch):
    started = []

    class Peer:
        def __init__(self, python: str, script: str, shape: dict[str, Any]) -> None:
            assert (python, script, shape) == ("python", "llama_serve.py", SHAPE)

        def ask(self, **settings: Any) -> dict[str, Any]:
            started.append(settings)
            return {"port": len(started)}

    monkeypatch.setattr(rivals, "Peer", Peer)
    monkeypatch.setattr(rivals, "fastest", lambda options, seconds: {"weights": "f16"})
    found = rivals.llama("python", SHAPE, [WISH], ask=rivals.ask_llama)
    assert started[-1] == found.settings == {"weights": "f16"}
    assert found.ask.args == (len(started),)
