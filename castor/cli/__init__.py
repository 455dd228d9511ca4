"""The `castor` command: verbs, flags, exit codes; no logic, and nothing heavy imported at the top.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 stopped by Ctrl-C. What the user can act on is one
sentence on standard error; `--debug` shows the traceback behind it.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from castor import __version__
from castor.cli import (
    chat,
    completion,
    data,
    demo,
    doctor,
    drill,
    evaluate,
    export,
    generate,
    goodput,
    importing,
    launch,
    pull,
    quantise,
    serve,
    show,
    train,
    vocab,
)
from castor.cli.flags import Layout, debug_flag

VERBS = (
    demo,
    generate,
    chat,
    serve,
    train,
    launch,
    evaluate,
    goodput,
    show,
    data,
    vocab,
    pull,
    importing,
    quantise,
    export,
    doctor,
    drill,
    completion,
)

EPILOG = """
examples:
  castor demo                                        the shipped model at work
  castor generate "What sound is this?" --file bark.wav
  castor serve                                       the Gemini API and a chat page
  castor train tiny --out runs/tiny                  from nothing to a model, on a laptop
  castor eval --model runs/tiny shapes draw
"""


def parser() -> argparse.ArgumentParser:
    """The whole command line as argparse knows it."""
    top = argparse.ArgumentParser(
        prog="castor",
        description="Build, train, measure and use natively multimodal models.",
        epilog=EPILOG,
        formatter_class=Layout,
    )
    top.add_argument("--version", action="version", version=f"castor {__version__}")
    debug_flag(top, default=False)
    verbs = top.add_subparsers(title="verbs", dest="verb", metavar="VERB", required=True)
    for module in VERBS:
        module.add(verbs)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; wrong usage ends the process with 2."""
    arguments = parser().parse_args(argv)
    try:
        code = arguments.run(arguments) or 0
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print("castor: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone, as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError) as error:
        if arguments.debug:
            raise
        print(f"castor: {sentence(error)}", file=sys.stderr)
        return 1


def sentence(error: Exception) -> str:
    """An error as one line: what was wrong with which file, without Python's own words."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        text = f"{error.filename}: {error.strerror[0].lower()}{error.strerror[1:]}"
    else:
        text = str(error) or type(error).__name__
    return " ".join(text.split())
