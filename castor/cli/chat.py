"""`castor chat`: a conversation in the terminal, streamed, with files and pictures."""

import argparse
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from castor.cli.flags import Verbs, add_verb, device_flags, model_flag, sampling_flags

if TYPE_CHECKING:
    from castor.core.content import Media

MORE = """\
In the conversation: /file PATH shows the model a file with the next words; /draw WORDS asks for a
picture; /new starts over; /quit, or Ctrl-D, ends it."""
HELP = "/file PATH   /draw WORDS   /new   /quit"


def add(verbs: Verbs) -> None:
    """The verb and its flags."""
    verb = add_verb(verbs, "chat", run, what="talk with a model in the terminal", more=MORE)
    model_flag(verb)
    device_flags(verb)
    verb.add_argument(
        "--system", metavar="TEXT", default="", help="instructions for the whole chat"
    )
    verb.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        default=Path("."),
        help="where drawn pictures go (default: here)",
    )
    sampling_flags(verb)


def run(arguments: argparse.Namespace) -> None:
    """Talk until /quit or the end of input; a mistake costs one turn, not the conversation."""
    from castor.cli import sentence
    from castor.cli.answering import attached, document, load_engine, sampling, speak

    _, model = load_engine(arguments.model, device=arguments.device, threads=arguments.threads)
    model.refuse_silent()
    start = talk = document("", [], system=arguments.system)
    shown: list[Media] = []
    if sys.stdin.isatty():
        print(HELP)
    while (line := _line()) is not None:
        command, _, rest = line.partition(" ")
        try:
            if command == "/quit":
                return
            if command == "/new":
                talk, shown = start, []
            elif command == "/file":
                if not rest:
                    raise ValueError("/file needs the path of a picture, a recording or a clip")
                shown = [*shown, *map(attached, shlex.split(rest))]
            elif line.startswith("/") and command != "/draw":
                raise ValueError(f"there is no {command} here; there is {HELP}")
            elif line:
                draws = command == "/draw"
                asked = talk.then(*shown, rest if draws else line, role="user")
                chosen = sampling(arguments, model, draw=draws)
                said = speak(model.stream(asked, chosen), out=arguments.out)
                talk, shown = asked.then(*said), []
        except (ValueError, OSError) as error:
            full = talk != start and "tokens" in str(error)
            print(f"castor: {sentence(error)}{'; /new starts over' * full}", file=sys.stderr)


def _line() -> str | None:
    """The next line of the conversation, or None at its end."""
    try:
        return input("> " if sys.stdin.isatty() else "").strip()
    except EOFError:
        return None
