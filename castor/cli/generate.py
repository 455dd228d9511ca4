"""`castor generate`: one prompt, any number of files, one answer."""

import argparse
import json
import sys
from pathlib import Path

from castor.cli.flags import Verbs, add_verb, device_flags, model_flag, sampling_flags, side_by_side

MORE = """\
Files come before the words, in the order given: pictures (PNG, JPEG, WebP, GIF, BMP), sound (WAV,
FLAC, Ogg, MP3), clips (MP4, MKV, WebM, animated GIF) and folders of frames."""


def add(verbs: Verbs) -> None:
    """The verb and its flags."""
    verb = add_verb(
        verbs, "generate", run, what="answer one prompt, about files or without", more=MORE
    )
    verb.add_argument("prompt", nargs="*", help="the words; without any, standard input is read")
    verb.add_argument(
        "--file", metavar="FILE", action="append", default=[], help="a file to look at or listen to"
    )
    verb.add_argument(
        "--out",
        metavar="PATH",
        type=Path,
        default=Path("."),
        help="where pictures go: a .png or a folder (default: here)",
    )
    model_flag(verb)
    device_flags(verb)
    verb.add_argument("--system", metavar="TEXT", default="", help="instructions before the prompt")
    verb.add_argument("--draw", action="store_true", help="answer with a picture and nothing else")
    verb.add_argument(
        "--grid",
        metavar="HxW",
        type=side_by_side,
        help="codes of a drawn picture (default: as many as the codec was trained on)",
    )
    verb.add_argument(
        "--json", action="store_true", help="print the answer in the Gemini API's form"
    )
    sampling_flags(verb)


def run(arguments: argparse.Namespace) -> None:
    """Answer, as it comes."""
    from castor.cli.answering import document, load_engine, sampling, speak
    from castor.core.content import Document, Turn
    from castor.core.wire import to_wire

    words = " ".join(arguments.prompt) if arguments.prompt else _standard_input(arguments.file)
    asked = document(words, arguments.file, system=arguments.system)
    _, model = load_engine(arguments.model, device=arguments.device, threads=arguments.threads)
    answers = model.stream(asked, sampling(arguments, model, draw=arguments.draw))
    if arguments.json:
        reply = Document((Turn("model", tuple(answers)),))
        print(json.dumps(to_wire(reply), ensure_ascii=False))
    else:
        speak(answers, out=arguments.out)


def _standard_input(files: list[str]) -> str:
    """What was piped in; nothing is waited for where a file alone is the prompt.

    Raises:
        ValueError: there is neither a prompt nor a file.
    """
    if not sys.stdin.isatty():
        text = sys.stdin.read().removesuffix("\n")
        if text or files:
            return text
    elif files:
        return ""
    raise ValueError("there is nothing to answer; give a prompt or a --file, or pipe text in")
