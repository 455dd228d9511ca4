"""`castor serve`: the Gemini API and the chat page, answered by our own model."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from castor.cli.flags import (
    Verbs,
    add_verb,
    count_from_one,
    device_flags,
    model_flag,
    positive_or_zero,
)
from castor.cli.places import data_home

if TYPE_CHECKING:
    from castor.sample.engine import Engine
    from castor.sample.warming import Warming

MORE = """\
Open the address that is printed for the chat page. Code for the Gemini API works with
GOOGLE_GEMINI_BASE_URL set to it and any GEMINI_API_KEY; OpenAI's clients with /v1 behind it.
docs/serve.md has a page for each client."""
ROWS = 32
CONTEXT = 8192  # tokens, where a model was made for more: a cache of all would not fit [ours]
TEMPERATURE = 0.3  # [ours]: a small model answers worse at 1, and drafts still differ


def add(verbs: Verbs) -> None:
    """The verb and its flags."""
    verb = add_verb(verbs, "serve", run, what="serve the Gemini API and a chat page", more=MORE)
    model_flag(verb)
    device_flags(verb)
    add = verb.add_argument_group("where").add_argument
    add("--host", metavar="NAME", default="127.0.0.1", help="to listen on (default: 127.0.0.1)")
    add("--port", metavar="N", type=port, default=8000, help="0 = any that is free (default: 8000)")
    add("--tls", action="store_true", help="https and wss, with a certificate of its own making")
    add(
        "--data-dir",
        metavar="DIR",
        type=Path,
        help="files, caches and batches (default: ~/.local/share/castor)",
    )
    add = verb.add_argument_group("who").add_argument
    add("--api-key", metavar="KEY", action="append", default=[], help="ask for one of these keys")
    add("--allow-host", metavar="NAME", action="append", default=[], help="also answer to NAME")
    add("--origin", metavar="URL", action="append", default=[], help="let pages of URL call")
    add = verb.add_argument_group("how").add_argument
    add(
        "--max-batch",
        metavar="N",
        type=count_from_one,
        default=ROWS,
        help=f"replies at once ({ROWS})",
    )
    add("--queue", metavar="N", type=count_from_one, default=128, help="requests that wait (128)")
    add(
        "--context",
        metavar="N",
        type=count_from_one,
        help="tokens of prompt and reply, at most (default: what the model was made for, but "
        f"{CONTEXT:,} at most)",
    )
    add(
        "--precision",
        choices=("float32", "bfloat16"),
        help="of weights: float32 is quicker for one reply on a CPU, bfloat16 for many (default: "
        "float32; as they are stored in a published model)",
    )
    add(
        "--temperature",
        metavar="T",
        type=positive_or_zero,
        help=f"where a request names none (default: {TEMPERATURE}, or what a published model's "
        "makers use)",
    )
    add("--warmup", action="store_true", help="compile everything first, then listen")
    add("--quiet", action="store_true", help="no line on standard error for each request")
    add("--strict", action="store_true", help="refuse fields that the API does not have")
    add("--strict-models", action="store_true", help="refuse gemini-… names of other models")


def run(arguments: argparse.Namespace) -> None:
    """Listen, load, answer until told to stop."""
    from castor.cli.answering import load_engine
    from castor.serve.run import Place, listening, serve
    from castor.serve.service import Settings

    tell_of_requests(quiet=arguments.quiet)
    folder = arguments.data_dir or data_home() / "castor"
    place = Place(folder, arguments.host, arguments.port, arguments.tls)
    bound = listening(place)
    found, engine = load_engine(
        arguments.model,
        precision=arguments.precision,
        context=arguments.context,
        most=CONTEXT,
        device=arguments.device,
        threads=arguments.threads,
    )
    made = {"temperature": TEMPERATURE} | found.recipe.get("sampling", {})
    chosen = {name: made[name] for name in ("temperature", "top_k", "top_p") if name in made}
    if arguments.temperature is not None:
        chosen["temperature"] = arguments.temperature
    settings = Settings(
        host=arguments.host,
        allow_hosts=tuple(arguments.allow_host),
        keys=frozenset(arguments.api_key),
        origins=tuple(arguments.origin),
        **chosen,
        strict=arguments.strict,
        strict_models=arguments.strict_models,
        grid=engine.grid,
        prompts=None if engine.embedder is None else engine.embedder.prompts,
    )
    mine = "" if "sampling" in found.recipe else "castor-"  # others' models have their own names
    name = f"{mine}{found.recipe.get('name', 'model')}".replace("/", "-")
    desk, compiled = _desk(engine, name, arguments)
    try:
        serve(desk, settings, place, at=bound, ready=announce, compiled=compiled)
    finally:
        desk.close()


def _desk(
    engine: "Engine", name: str, arguments: argparse.Namespace
) -> "tuple[Any, Callable[[], float]]":
    """What answers, and how much of it is compiled; a device compiles nothing."""
    if arguments.device is not None:
        from castor.device.desk import ROWS as FEW
        from castor.device.desk import Desk as DeviceDesk
        from castor.device.engine import DeviceEngine

        assert isinstance(engine, DeviceEngine)
        rows = min(arguments.max_batch, FEW)
        return DeviceDesk(engine, name=name, rows=rows, queue=arguments.queue), lambda: 1.0
    from castor.sample.embedding import EmbeddingDesk
    from castor.sample.serving import Desk

    warmth = warm_up(engine, rows=arguments.max_batch, wait=arguments.warmup)
    if engine.embedder is not None:
        return EmbeddingDesk(engine, name=name, queue=arguments.queue), lambda: warmth.share
    desk = Desk(engine, name=name, rows=arguments.max_batch, queue=arguments.queue)
    return desk, lambda: warmth.share


def warm_up(engine: "Engine", *, rows: int, wait: bool) -> "Warming":
    """Compile what requests will need: before the first one, or beside the first ones."""
    import threading

    from castor.cli.screen import console
    from castor.sample.warming import warming

    steps = warming(engine, rows=rows)
    if not wait:
        threading.Thread(target=list, args=[steps], name="castor-warming", daemon=True).start()
        return steps
    with console.status("compiling …") as status:
        for done in steps:
            status.update(f"compiling: {done} ({steps.share:.0%})")
    return steps


def tell_of_requests(*, quiet: bool) -> None:
    """Send what the server logs to standard error: requests as JSON, a line each, and troubles."""
    import logging

    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    if not quiet:
        logging.getLogger("castor.serve.access").setLevel(logging.INFO)


def announce(address: str, certificate: Path | None) -> None:
    """Say where the server is, and what its clients need to know."""
    print(f"chat page            {address}/")
    print(f"Gemini API           export GOOGLE_GEMINI_BASE_URL={address} GEMINI_API_KEY=local")
    print(f"OpenAI API           export OPENAI_BASE_URL={address}/v1 OPENAI_API_KEY=local")
    if certificate is not None:
        print(f"Python over TLS      export SSL_CERT_FILE={certificate}")
    print("Ctrl-C stops it.")
    sys.stdout.flush()


def port(text: str) -> int:
    """A port's number, 0 for any that is free."""
    if not text.isdecimal() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; they go from 0 to 65535")
    return int(text)
