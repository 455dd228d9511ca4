"""A long day of `castor serve`: thousands of requests of all kinds, some of them cancelled, some
malformed.

    python benchmarks/soak.py [--requests 10000] [--clients 24] [--model DIR]

Says after each thousandth how many ended how and what memory the server holds, and in the end, as
JSON, whether the law held: no request is lost, none still waits, and memory stays within 5 % over
the second half. `tests/serve/test_soak.py` runs the same loop in small.
"""

import argparse
import asyncio
import base64
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from beside import conditions
from load import Castor, Unanswered, pieces

from castor.core.media import png, wav

CANCELLED, MALFORMED = 0.05, 0.02  # of all requests
PATIENCE_S = 300.0  # after which a request is lost
SEED = 0
FLAT = 1.05
Wire = dict[str, Any]


class Sent(NamedTuple):
    """One request of the day."""

    kind: str
    method: str  # of the model
    body: Any
    fate: str  # how it should end: "answered", "cancelled" or "refused"


def main() -> None:
    flags = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    flags.add_argument("--requests", type=int, default=10_000)
    flags.add_argument("--clients", type=int, default=24)
    flags.add_argument("--model", type=Path, metavar="DIR", help="(default: the shipped weights)")
    given = flags.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        Castor(given.model, Path(folder), ["--context", "512", "--warmup"]) as server,
    ):
        print(json.dumps(_record(server, given), indent=1))


def _record(server: Castor, given: argparse.Namespace) -> dict[str, Any]:
    memory, ended, before = [server.memory_mb()], Counter[str](), server.compiled()
    day, began = sent(given.requests), time.perf_counter()
    while part := [each for _, each in zip(range(1000), day, strict=False)]:
        ended += asyncio.run(soak(server.port, server.model, part, clients=given.clients))
        memory.append(server.memory_mb())
        print(f"{ended.total()}: {memory[-1]:.0f} MB, {dict(ended)}", flush=True)
    seconds, metrics = time.perf_counter() - began, server.get("/metrics").splitlines()
    late = memory[len(memory) // 2 :]
    found = {
        "what": "soak",
        "requests": given.requests,
        "clients": given.clients,
        "seconds": round(seconds),
        "ended": dict(ended),
        "lost": sum(ended[name] for name in ended if name.startswith("lost")),
        "still_open": int(next(line.split()[1] for line in metrics if line.startswith(OPEN))),
        "memory_mb": [round(each) for each in memory],
        "memory_flat": max(late) <= FLAT * late[0],
        "compiles_after_warm_up": server.compiled() - before,
    }
    return found | conditions("jaxlib", seed=SEED)


OPEN = "castor_requests_open "


async def soak(port: int, model: str, day: Sequence[Sent], *, clients: int) -> Counter[str]:
    """How many of each kind ended as they should; those that did not are told as "lost …"."""
    left, ended = iter(day), Counter[str]()

    async def client() -> None:
        for each in left:
            try:
                async with asyncio.timeout(PATIENCE_S):
                    told = await _ended(port, f"{model}:{each.method}", each)
            except Exception as error:
                told = f"lost: {type(error).__name__} {error}"[:200]
            ended[each.kind if told == each.fate else f"lost {each.kind}: {told}"] += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client())
    return ended


async def _ended(port: int, path: str, each: Sent) -> str:
    """How one request ends."""
    body, stop = b"", each.fate == "cancelled"
    try:
        async with aclosing(pieces(port, path, each.body)) as answer:
            async for piece in answer:
                body += piece
                if stop and (piece or each.kind == "cancelled early"):
                    return "cancelled"
    except Unanswered as error:
        told = json.loads(error.body)
        error = (told[0] if isinstance(told, list) else told)["error"]
        return "refused" if error["code"] == 400 else f"told {error}"
    if stop:  # it came to its end before it could be cancelled
        return "cancelled"
    return _whole(each, body)


def _whole(each: Sent, body: bytes) -> str:
    """Whether a response of status 200 is all that was asked for."""
    if each.method == "countTokens":
        return "answered" if json.loads(body)["totalTokens"] > 0 else f"told {body!r}"
    if each.method == "embedContent":
        vector = json.loads(body)["embedding"]["values"]
        return "answered" if abs(np.linalg.norm(vector) - 1) < 1e-3 else f"told {body!r}"
    told = [json.loads(event.removeprefix(b"data: ")) for event in body.split(b"\r\n\r\n") if event]
    candidates = [c for chunk in told for c in chunk["candidates"]]
    wanted = each.body["generationConfig"].get("candidateCount", 1)
    finished = [c["index"] for c in candidates if "finishReason" in c]
    if sorted(finished) != list(range(wanted)):
        return f"told {finished} of {wanted} candidates"
    parts = [part for c in candidates for part in c["content"]["parts"]]
    if each.kind == "drawing" and not any("inlineData" in part for part in parts):
        return "told no picture"
    if each.kind == "function" and not any("functionCall" in part for part in parts):
        return "told no call"
    if each.kind == "schema":
        text = "".join(part.get("text", "") for part in parts)
        return "answered" if isinstance(json.loads(text)["n"], bool) else f"told {text}"
    return "answered"


def sent(count: int, *, seed: int = SEED) -> Iterator[Sent]:
    """The requests of a day, the same for the same seed; some cancelled, some malformed."""
    rng = np.random.default_rng(seed)
    kinds = list(KINDS)
    for number in range(count):
        chance, kind = rng.random(), kinds[rng.integers(len(kinds))]
        method, body = KINDS[kind](rng)
        if chance < MALFORMED:
            yield Sent("malformed", *_malformed(number, method, body), "refused")
        elif chance < MALFORMED + CANCELLED:
            early = " early" if number % 2 else ""
            body = _asking("a long story", rng, maxOutputTokens=100)
            yield Sent(f"cancelled{early}", "streamGenerateContent?alt=sse", body, "cancelled")
        else:
            yield Sent(kind, method, body, "answered")


def _malformed(number: int, method: str, body: Wire) -> tuple[str, Any]:
    spoiled: list[Any] = [
        json.dumps(body)[:-9].encode(),
        b"\xff\xfe not json",
        {**body, "contents": 7, "content": 7},
        {"contents": [{"role": "nobody", "parts": [{"text": "x"}]}]},
        {"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]}]},
        {"contents": [{"parts": [{"text": "x"}]}], "generationConfig": {"temperature": "hot"}},
    ]
    chosen = spoiled[number % len(spoiled)]
    return "generateContent" if number % len(spoiled) > 1 else method, chosen


def _asking(text: str, rng: np.random.Generator, *media: Wire, **options: Any) -> Wire:
    words = f"{text} {rng.integers(1000)}"
    config = {"maxOutputTokens": int(rng.integers(1, 24)), "seed": int(rng.integers(1000))}
    return {
        "contents": [{"role": "user", "parts": [*media, {"text": words}]}],
        "generationConfig": config | options,
    }


def _inline(mime: str, data: bytes) -> Wire:
    return {"inlineData": {"mimeType": mime, "data": base64.b64encode(data).decode()}}


def _text(rng: np.random.Generator) -> tuple[str, Wire]:
    method = ("generateContent", "streamGenerateContent?alt=sse")[rng.integers(2)]
    return method, _asking("tell " * int(rng.integers(1, 20)), rng)


def _picture(rng: np.random.Generator) -> tuple[str, Wire]:
    pixels = rng.integers(0, 256, (*rng.integers(16, 65, 2), 3), np.uint8)
    medium = _inline("image/png", png(pixels))
    return "streamGenerateContent?alt=sse", _asking("what is it?", rng, medium)


def _sound(rng: np.random.Generator) -> tuple[str, Wire]:
    heard = 0.1 * rng.standard_normal(int(rng.integers(2000, 16_000))).astype(np.float32)
    return "generateContent", _asking("heard?", rng, _inline("audio/wav", wav(heard)))


def _drawing(rng: np.random.Generator) -> tuple[str, Wire]:
    wish = _asking("draw", rng, responseModalities=["IMAGE"], maxOutputTokens=200)
    return "generateContent", wish


def _schema(rng: np.random.Generator) -> tuple[str, Wire]:
    shape = {
        "type": "OBJECT",
        "properties": {"n": {"type": "BOOLEAN"}},
        "required": ["n"],
    }
    options = {"responseMimeType": "application/json", "responseSchema": shape}
    return "generateContent", _asking("json", rng, **options, maxOutputTokens=100)


def _function(rng: np.random.Generator) -> tuple[str, Wire]:
    wish = _asking("call", rng, maxOutputTokens=100)
    wish["tools"] = [{"functionDeclarations": [{"name": "f"}]}]
    wish["toolConfig"] = {"functionCallingConfig": {"mode": "ANY"}}
    return "streamGenerateContent?alt=sse", wish


def _candidates(rng: np.random.Generator) -> tuple[str, Wire]:
    return "streamGenerateContent?alt=sse", _asking("thrice", rng, candidateCount=3)


def _embedding(rng: np.random.Generator) -> tuple[str, Wire]:
    return "embedContent", {"content": {"parts": [{"text": f"about {rng.integers(1000)}"}]}}


def _count(rng: np.random.Generator) -> tuple[str, Wire]:
    return "countTokens", {"contents": _asking("count", rng)["contents"]}


KINDS: dict[str, Callable[[np.random.Generator], tuple[str, Wire]]] = {
    "text": _text,
    "picture": _picture,
    "sound": _sound,
    "drawing": _drawing,
    "schema": _schema,
    "function": _function,
    "candidates": _candidates,
    "embedding": _embedding,
    "count": _count,
}


if __name__ == "__main__":
    main()
