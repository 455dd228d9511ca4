"""docs/cli.md: the help of every verb, as `python -m castor.cli.reference` prints it."""

import argparse
import sys
from collections.abc import Iterator
from functools import partial

from castor.cli import parser
from castor.cli.flags import Verbs

HEAD = """\
# The command line

Generated from the parser by `make docs`; a test keeps it in step. Exit codes: 0 done, 1 failed,
2 wrong usage, 130 stopped by Ctrl-C.
"""
WIDTH = 96


def reference() -> str:
    """The whole page as Markdown."""
    sections = [f"## {verb.prog}\n\n```text\n{help_of(verb)}```\n" for verb in walk(parser())]
    return "\n".join([HEAD, *sections])


def help_of(verb: argparse.ArgumentParser) -> str:
    """A verb's help at a fixed width, whatever the terminal and Python's version."""
    given = verb.formatter_class
    verb.formatter_class = partial(given, width=WIDTH, **PLAIN)
    try:
        return "\n".join(line.rstrip() for line in verb.format_help().splitlines()) + "\n"
    finally:
        verb.formatter_class = given


PLAIN = {"color": False} if sys.version_info >= (3, 14) else {}


def walk(verb: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parser, and the parsers of its verbs in their order, depth first."""
    yield verb
    for action in verb._actions:
        if isinstance(action, Verbs):
            for inner in action.choices.values():
                yield from walk(inner)


if __name__ == "__main__":
    print(reference(), end="")
