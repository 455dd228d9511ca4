"""`castor serve` under load, beside the servers of peers, or alone.

    python benchmarks/serve.py [--peer .venv-peers/bin/python [--llama .peers-llama/llama-server]]
        [--rounds 5] [--clients 32] [--requests 128] [--rate R] [--size DEMO_LARGE]
        [--precision float32] [--whole]

All sides serve over HTTP in processes of their own and take turns in each round, first in a closed
loop, then in an open one (Poisson arrivals; without --rate, 0.7 times what the slowest side did in
the closed loop). Prompts have 8 to 160 ids and replies 16 to 64, the same for all sides, all
decoded greedily; weights are random (or the shipped ones with --size shipped), and no reply ends
early. `peer` is a loop around Hugging Face `generate`, which answers when its batch is done;
`llama` is llama.cpp's server (`make llama`), which streams like ours (with --whole, neither does).
Both run with the settings that are the fastest here. Then ours alone: one request beside the bare
`Engine`, and a short request while a long prompt is read. No side finds a prompt that it kept.
Prints one JSON object.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from beside import conditions, spread
from load import (
    Ask,
    Castor,
    Timed,
    Wish,
    closed,
    figures,
    opened,
    over_rounds,
    pieces,
    post,
)
from rivals import DTYPES, Rival, ask_llama, ask_llama_whole, hugging_face, llama

from castor.checkpoint import Checkpoint, load, save
from castor.cli.answering import SHIPPED
from castor.cli.recipes import sizes
from castor.core.content import Document
from castor.models.decoder import init
from castor.sample.choose import Sampling
from castor.sample.engine import Engine
from castor.tokens.learn import learn
from castor.tokens.vocab import Control

CODES = 1000
PROMPTS, REPLIES = (8, 160), (16, 64)  # ids, from and to
ALONE = (48, 64)  # prompt and reply of one request alone
SHORT = 12  # ids of the prompt that comes beside a long one
OTHERS, OTHERS_SAY = 8, 192
AROUND = 4  # control ids around a prompt
SEED = 0
POSITIONS = 256  # of one request beside ours: the longest prompt and reply fit
RATIOS = {"peer": "ratio", "llama": "ratio_to_llama"}
RARE = list("~^`|{}<>[]#@%&*+=_$!?0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")


def main() -> None:
    flags = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = flags.add_argument
    add("--peer", metavar="PYTHON", help="of an environment that holds the peers (make peers)")
    add("--llama", metavar="SERVER", help="llama.cpp's; needs --peer as well (make llama)")
    add("--rounds", type=int, default=5)
    add("--clients", type=int, default=32)
    add("--requests", type=int, default=128, help="of each loop in a round")
    add("--rate", type=float, help="requests a second in the open loop")
    add("--long", type=int, default=2000, help="ids of the long prompt")
    add("--size", choices=[*sizes(), "shipped"], default="DEMO_LARGE")
    add("--precision", choices=DTYPES, default="float32", help="of our weights")
    add("--whole", action="store_true", help="no side streams in the loops")
    given = flags.parse_args()
    if given.llama and not given.peer:
        flags.error("--llama needs --peer, whose Python writes the model file")
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(_record(given, Path(folder)), indent=1))


def _record(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    context = given.long + 128
    checkpoint = _checkpoint(given.size)
    path = save(folder, checkpoint)
    config = replace(checkpoint.config, context=context)
    engine = Engine(
        checkpoint.model, config=config, vocab=checkpoint.vocab, precision=given.precision
    )
    words = Words(engine)
    flags = ["--context", str(context), "--max-batch", str(given.clients), "--warmup"]
    flags += ["--precision", given.precision, "--queue", str(2 * given.requests)]
    with Castor(path, folder / "data", flags) as server:
        before = server.compiled()
        sides: dict[str, Ask] = {"castor": partial(_ask_whole if given.whole else _ask, server)}
        rivals = _rivals(given, checkpoint, words)
        sides |= {name: rival.ask for name, rival in rivals.items()}
        versions = {
            k: v for each in rivals.values() for k, v in each.peer.hello["versions"].items()
        }
        return {
            "what": "serving",
            "size": given.size,
            "parameters": sum(x.size for x in jax.tree.leaves(checkpoint.model)),
            "precision": given.precision,
            "peer_settings": rivals["peer"].settings if "peer" in rivals else {},
            **({"llama_settings": rivals["llama"].settings} if "llama" in rivals else {}),
            **{name: getattr(given, name) for name in ("rounds", "clients", "requests", "whole")},
            "prompt_tokens": PROMPTS,
            "reply_tokens": REPLIES,
            **loops(sides, words, given),
            "alone": _alone(server, engine, words, runs=4 * given.rounds),
            "beside_a_long_prompt": _long(server, words, given),
            "warm_up_compiles": before,
            "compiles_after_warm_up": server.compiled() - before,
            **conditions("jaxlib", seed=SEED, peer=versions),
        }


class Words:
    """Prompts that nobody asked before, of a certain number of ids."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self.rng = engine, np.random.default_rng(SEED)

    def wish(self, prompt: int, new: int) -> Wish:
        """One of about so many ids; of exactly so many where each character is one."""
        text = "".join(self.rng.choice(RARE, prompt - AROUND))
        length = len(self._engine.tokens(Document.of(text), open_turn="model").ids)
        ids = self.rng.integers(4, self._engine.config.vocab, length)
        return Wish(text, ids.tolist(), new)

    def mixed(self, count: int) -> list[Wish]:
        """Requests of all lengths."""
        prompts = self.rng.integers(*PROMPTS, count, endpoint=True)
        replies = self.rng.integers(*REPLIES, count, endpoint=True)
        return [self.wish(int(p), int(r)) for p, r in zip(prompts, replies, strict=True)]


def _checkpoint(size: str) -> Checkpoint:
    """Weights that never end a reply: an id whose logit is always 0 is never the largest."""
    if size == "shipped":
        checkpoint = replace(load(SHIPPED), codec=None)
    else:
        config = replace(sizes()[size], image=None, audio=None)
        rng = np.random.default_rng(SEED)
        letters = np.array(list("etaoinshrdlu"))
        words = ("".join(rng.choice(letters, rng.integers(2, 9))) for _ in range(40_000))
        vocab = learn([" ".join(words)], size=config.vocab - CODES, codes=CODES)
        model = jax.jit(partial(init, config))(jax.random.key(SEED))
        checkpoint = Checkpoint(model, config, vocab, recipe={"name": "random"})
    decoder = checkpoint.model.decoder
    quiet = replace(decoder, embedding=decoder.embedding.at[Control.END].set(0.0))
    return replace(checkpoint, model=replace(checkpoint.model, decoder=quiet))


def _rivals(given: argparse.Namespace, checkpoint: Checkpoint, words: Words) -> dict[str, Rival]:
    """The peers that were asked for."""
    names = ("layers", "width", "hidden", "heads", "kv_heads", "head_width", "vocab")
    shape = {name: getattr(checkpoint.config, name) for name in names} | {"rows": given.clients}
    found = dict[str, Rival]()
    if given.peer:
        found["peer"] = hugging_face(given.peer, shape, prompt=PROMPTS[1], new=REPLIES[1])
    if given.llama:
        wishes = words.mixed(3 * given.clients)
        shape |= {"positions": POSITIONS, "server": given.llama}
        ask = ask_llama_whole if given.whole else ask_llama
        found["llama"] = llama(given.peer, shape, wishes, ask=ask)
    return found


def loops(sides: dict[str, Ask], words: Words, given: argparse.Namespace) -> dict[str, Any]:
    """Both loops of all sides, which take turns."""
    for ask in sides.values():  # warms up what is not
        asyncio.run(closed(ask, words.mixed(given.clients), clients=given.clients))
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for _ in range(given.rounds):
        wishes = words.mixed(given.requests)
        for name, ask in sides.items():
            found = asyncio.run(closed(ask, wishes, clients=given.clients))
            rounds[name].append(figures(found))
    told = {name: over_rounds(each) for name, each in rounds.items()}
    slowest = min(each["requests_per_second"]["median"] for each in told.values())
    rate = given.rate or round(0.7 * slowest, 2)
    arrivals: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    for number in range(given.rounds):
        wishes = words.mixed(given.requests)
        for name, ask in sides.items():
            rng = np.random.default_rng(number)  # the same arrivals for all sides
            arrivals[name].append(figures(asyncio.run(opened(ask, wishes, rate=rate, rng=rng))))
    loop = {name: over_rounds(each) for name, each in arrivals.items()}
    return {"closed": told | ratios(told), "open": {"rate": rate, **loop} | ratios(loop)}


def ratios(told: dict[str, Any]) -> dict[str, Any]:
    """How many times another side's figure ours is, by the medians."""
    names = ("requests_per_second", "tokens_per_second", "first_token_ms_p50", "whole_ms_p50")
    ours = told["castor"]
    return {
        label: {n: round(ours[n]["median"] / told[side][n]["median"], 3) for n in names}
        for side, label in RATIOS.items()
        if side in told
    }


async def _ask(
    server: Castor,
    wish: Wish,
    *,
    taken: asyncio.Event | None = None,
    begun: asyncio.Event | None = None,
) -> Timed:
    """One of our streams; the events are set with its head and with its first token."""
    path = f"{server.model}:streamGenerateContent?alt=sse"
    asked, first, last = time.perf_counter(), 0.0, b""
    async with aclosing(pieces(server.port, path, _request(wish))) as answer:
        async for piece in answer:
            if taken is not None:
                taken.set()
            if piece and not first and b'"candidatesTokenCount": 0,' not in piece:
                first = time.perf_counter()
                if begun is not None:
                    begun.set()
            last = piece or last
    done = time.perf_counter()
    _check(json.loads(last.removeprefix(b"data: ")), wish)
    return Timed(asked, first, done, wish.new)


async def _ask_whole(server: Castor, wish: Wish) -> Timed:
    """One of our replies that comes at once."""
    asked = time.perf_counter()
    told = json.loads(await post(server.port, f"{server.model}:generateContent", _request(wish)))
    done = time.perf_counter()
    _check(told, wish)
    return Timed(asked, done, done, wish.new)


def _check(told: dict[str, Any], wish: Wish) -> None:
    usage = told["usageMetadata"]
    assert usage["candidatesTokenCount"] == wish.new, (usage, wish.new)
    assert usage["promptTokenCount"] == len(wish.ids), (usage, len(wish.ids))


def _request(wish: Wish) -> dict[str, Any]:
    contents = [{"role": "user", "parts": [{"text": wish.text}]}]
    options = {"temperature": 0, "maxOutputTokens": wish.new}
    return {"contents": contents, "generationConfig": options}


def _alone(server: Castor, engine: Engine, words: Words, *, runs: int) -> dict[str, Any]:
    """The whole time of one request, and of the engine in this process, in turns."""

    def served() -> float:
        timed = asyncio.run(_ask_whole(server, words.wish(*ALONE)))
        return timed.done - timed.asked

    def bare() -> float:
        document = Document.of(words.wish(*ALONE).text)
        began = time.perf_counter()
        (reply,) = engine.reply([document], Sampling(max_tokens=ALONE[1]))
        seconds = time.perf_counter() - began
        assert len(reply.ids) == ALONE[1]
        return seconds

    sides = {"castor_ms": served, "engine_ms": bare}
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for side in sides.values():
        side()  # warms up
    for _ in range(runs):
        for name, side in sides.items():
            taken[name].append(1000 * side())
    told: dict[str, Any] = {name: spread(each, digits=2) for name, each in taken.items()}
    ratio = told["castor_ms"]["median"] / told["engine_ms"]["median"]
    return {"prompt_tokens": ALONE[0], "reply_tokens": ALONE[1], **told, "ratio": round(ratio, 3)}


def _long(server: Castor, words: Words, given: argparse.Namespace) -> dict[str, Any]:
    """How much later the first token of a short request comes while a long prompt is read."""
    told: dict[str, Any] = {"prompt_tokens": given.long}
    for others in (0, min(OTHERS, given.clients - 2)):
        runs = [
            [asyncio.run(_first(server, words, others, long)) for long in (0, given.long)]
            for _ in range(2 * given.rounds + 1)
        ][1:]
        without, beside = ([run[i] for run in runs] for i in (0, 1))
        heard = [each["first_ms"] for each in beside if each["reading"]]
        step = float(np.median([each["step_ms"] for each in without]))
        base = [each["first_ms"] for each in without]
        found: dict[str, Any] = {
            "decode_step_ms": round(step, 3),
            "first_token_ms_without": spread(base, digits=2),
            "asked_while_reading": f"{len(heard)} of {len(beside)}",
        }
        if heard:
            added = (float(np.median(heard)) - float(np.median(base))) / step
            found |= {"first_token_ms": spread(heard, digits=2), "added_steps": round(added, 2)}
        told[f"beside_{others}_streams"] = found
    return told


async def _first(server: Castor, words: Words, others: int, long: int) -> dict[str, float]:
    """The first token of a short request, with `others` streaming and perhaps a long one read."""
    events = [asyncio.Event() for _ in range(others)]
    async with asyncio.TaskGroup() as group:
        streams = [
            group.create_task(_ask(server, words.wish(SHORT, OTHERS_SAY), begun=event))
            for event in events
        ]
        for event in events:
            await event.wait()
        wish, taken = words.wish(max(long, SHORT), 16), asyncio.Event()
        slow = group.create_task(_ask(server, wish, taken=taken)) if long else None
        if slow is not None:
            await taken.wait()
        short = await _ask(server, words.wish(SHORT, 32))
    reading = slow is not None and slow.result().first > short.asked
    paces = _paces([stream.result() for stream in streams] or [short])
    return {
        "first_ms": 1000 * (short.first - short.asked),
        "step_ms": 1000 * float(np.median(paces)),
        "reading": reading,
    }


def _paces(found: Sequence[Timed]) -> list[float]:
    """Seconds from one token to the next."""
    return [(each.done - each.first) / (each.tokens - 1) for each in found]


if __name__ == "__main__":
    main()
