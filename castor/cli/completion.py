"""`castor completion`: a script that lets the shell complete verbs, flags and file names."""

import argparse
from collections.abc import Mapping
from typing import Any

from castor.cli.flags import Verbs, add_verb

HOW = """\
  bash  castor completion bash > ~/.local/share/bash-completion/completions/castor
  zsh   castor completion zsh > "${fpath[1]}/_castor"
  tcsh  castor completion tcsh > ~/.castor.tcsh; source it from ~/.tcshrc"""


def add(verbs: Verbs) -> None:
    """The verb and its flags."""
    verb = add_verb(
        verbs, "completion", run, what="print a completion script for a shell", more=HOW
    )
    verb.add_argument("shell", choices=("bash", "zsh", "tcsh"), help="which shell")


def run(arguments: argparse.Namespace) -> None:
    """Print the script."""
    import shtab

    import castor.cli

    top = castor.cli.parser()
    _complete_paths(top, {"DIR": shtab.DIRECTORY, "FILE": shtab.FILE, "PATH": shtab.FILE})
    print(shtab.complete(top, shell=arguments.shell))


def _complete_paths(parser: argparse.ArgumentParser, kinds: Mapping[str, Any]) -> None:
    """shtab reads what to complete from an attribute of each action: set it by metavar."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for verb in action.choices.values():
                _complete_paths(verb, kinds)
        elif str(action.metavar) in kinds:
            vars(action)["complete"] = kinds[str(action.metavar)]
