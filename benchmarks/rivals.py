"""The servers that `benchmarks/serve.py` runs beside ours, each set to what is the fastest here."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from functools import partial
from itertools import product
from typing import Any, NamedTuple

from beside import Peer, cores
from load import Ask, Timed, Wish, closed, pieces, post

DTYPES = ("float32", "bfloat16")
TRIES = 2  # of each setting, the fastest counts
LLAMA: dict[str, tuple[Any, ...]] = {  # tried in this order; the first of each to begin with
    "weights": ("bf16", "f16", "f32"),
    "threads": (cores(), 1) if cores() > 1 else (1,),
    "sampling": ("on", "off"),  # in the graph
    "unified": ("off", "on"),  # one table of keys for all requests
    "flash": ("on", "off"),
    "cache": ("f16", "bf16", "f32"),
}
GREEDY = {"temperature": 0, "samplers": ["temperature"], "cache_prompt": False}


class Rival(NamedTuple):
    """A server beside ours. It ends when `peer` is no longer held."""

    ask: Ask
    settings: dict[str, Any]
    peer: Peer


def hugging_face(python: str, shape: dict[str, Any], *, prompt: int, new: int) -> Rival:
    """Static batches, in the type and with the threads that are the fastest for a full one."""
    peer = Peer(python, "hf_serve.py", shape)
    batch = {"rows": shape["rows"], "prompt": prompt, "new": new}
    seconds: dict[tuple[str, int], float] = {}
    for dtype, threads in product(DTYPES, sorted({1, cores()})):
        tries = [peer.ask(**batch, dtype=dtype, threads=threads)["seconds"] for _ in range(3)]
        seconds[dtype, threads] = min(tries)
    dtype, threads = min(seconds, key=lambda setting: seconds[setting])
    peer.ask(**batch, dtype=dtype, threads=threads)
    settings = {"dtype": dtype, "threads": threads, "gather_ms": 10}
    return Rival(partial(_ask_hugging_face, peer.hello["port"]), settings, peer)


def llama(
    python: str, shape: dict[str, Any], wishes: Sequence[Wish], *, ask: Callable[..., Any]
) -> Rival:
    """llama.cpp's server, with the settings that answer these wishes the soonest when `ask` asks
    them: one of `ask_llama` and `ask_llama_whole`."""
    peer = Peer(python, "llama_serve.py", shape)

    def seconds(settings: dict[str, Any]) -> float:
        return min(_seconds(start(settings), wishes, shape["rows"]) for _ in range(TRIES))

    def start(settings: dict[str, Any]) -> Ask:
        return partial(ask, peer.ask(**settings)["port"])

    settings = fastest(LLAMA, seconds)
    return Rival(start(settings), settings, peer)


def fastest(
    options: dict[str, tuple[Any, ...]], seconds: Callable[[dict[str, Any]], float]
) -> dict[str, Any]:
    """One option of each, chosen one after the other: no other choice of one of them is faster
    with those before it as chosen and those after it as listed first."""
    chosen = {name: given[0] for name, given in options.items()}
    best = seconds(chosen)
    for name, given in options.items():
        for option in given[1:]:
            taken = seconds(chosen | {name: option})
            if taken < best:
                chosen, best = chosen | {name: option}, taken
    return chosen


def _seconds(ask: Ask, wishes: Sequence[Wish], clients: int) -> float:
    asyncio.run(closed(ask, wishes[:clients], clients=clients))  # warms up
    began = time.perf_counter()
    asyncio.run(closed(ask, wishes, clients=clients))
    return time.perf_counter() - began


async def _ask_hugging_face(port: int, wish: Wish) -> Timed:
    asked = time.perf_counter()
    told = json.loads(await post(port, "/", {"ids": wish.ids, "new": wish.new}))
    assert told["tokens"] == wish.new
    done = time.perf_counter()
    return Timed(asked, done, done, wish.new)


async def ask_llama(port: int, wish: Wish) -> Timed:
    """One stream: an event for each token, and a last one with the counts."""
    body = {"prompt": wish.ids, "n_predict": wish.new, "stream": True, **GREEDY}
    asked, first, last = time.perf_counter(), 0.0, b""
    async with aclosing(pieces(port, "/completion", body)) as answer:
        async for piece in answer:
            if piece and not first:
                first = time.perf_counter()
            last = piece.strip() or last
    done = time.perf_counter()
    _check(json.loads(last.rpartition(b"data: ")[2]), wish)
    return Timed(asked, first, done, wish.new)


async def ask_llama_whole(port: int, wish: Wish) -> Timed:
    """One reply that comes at once."""
    body = {"prompt": wish.ids, "n_predict": wish.new, **GREEDY}
    asked = time.perf_counter()
    told = json.loads(await post(port, "/completion", body))
    done = time.perf_counter()
    _check(told, wish)
    return Timed(asked, done, done, wish.new)


def _check(told: dict[str, Any], wish: Wish) -> None:
    assert told["tokens_predicted"] == wish.new, told
    assert told["tokens_evaluated"] == len(wish.ids), told
