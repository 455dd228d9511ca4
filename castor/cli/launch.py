"""`castor launch`: the processes of one run on this machine, started again when one ends."""

import argparse
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from castor.cli.flags import Verbs, add_verb, count, processes_flag

if TYPE_CHECKING:
    from castor.fleet.ledger import Ledger
    from castor.fleet.network import Network
    from castor.fleet.supervise import Limits, Supervisor
    from castor.fleet.team import Seat

MORE = """\
What follows is given to `castor train`, which needs --mesh here:

  castor launch -n 4 tiny --mesh fsdp=8 --out runs/tiny

Each process has an equal part of the mesh's devices. Beside each, a keeper holds the newest state
in memory, its own and that of the process before it. When a process ends or hangs, all are started
again and go on from there, or from the last checkpoint where that is newer. SIGTERM and Ctrl-C let
them save first; the exit code of SIGTERM, 143, means: start me again.

On a mesh with replicas, a device that turns bits is found. When it has done so three times in a
thousand steps of one life, the run goes on with one replica less, until it is launched again. That
the hardware itself is not used meanwhile is for whoever runs it to see to.

What process 1 and the others print is in RUN/log_1.txt and so on, and what libraries say in the
first one in RUN/log_0.txt. What befell the run is in RUN/ledger.jsonl; `castor goodput RUN` tells
it."""
PROCESSES, HANG_S = 2, 60
IMPORTS = (
    "castor.cli.launch",
    "castor.cli.train",
    "castor.train.run",
    "castor.cli.live",
    "orbax.checkpoint",
)  # of a process that trains


def add(verbs: Verbs) -> None:
    """The verb and its flags."""
    verb = add_verb(
        verbs,
        "launch",
        run,
        what="train in several processes on this machine, through their failures",
        more=MORE,
    )
    processes_flag(verb, default=PROCESSES)
    verb.add_argument(
        "--hang",
        metavar="SECONDS",
        type=count,
        default=HANG_S,
        help="a process that takes no step for so long, and for 30 times as long as usual, or is "
        f"stopped for so long, is ended (default: {HANG_S})",
    )
    verb.add_argument(
        "train", nargs=argparse.REMAINDER, metavar="RECIPE ...", help="as of castor train"
    )


def run(arguments: argparse.Namespace) -> int:
    """Start all processes, and again until the run is done.

    Raises:
        ValueError: the flags of `castor train` are not such, or the processes come no further.
    """
    from castor.fleet.ledger import LEDGER, Ledger
    from castor.fleet.supervise import Limits

    out = folder_of(arguments.train)
    out.mkdir(parents=True, exist_ok=True)
    _taken_up(parsed(arguments.train), out)
    with Ledger(out / LEDGER) as ledger:
        limits = Limits(least=float(arguments.hang), stopped=float(arguments.hang))
        given = {"processes": arguments.processes, "limits": limits}
        return supervised(arguments.train, out, ledger, **given).run()


def _taken_up(train: argparse.Namespace, out: Path) -> None:
    """Take the run up from its bucket, if it has one: however long that takes, no process waits."""
    if train.copy is None:
        return
    from castor.checkpoint.bucket import Bucket
    from castor.cli.screen import aside
    from castor.cli.train import asked
    from castor.train.run import take_up

    bucket = Bucket(train.copy, aside.print)
    bucket.refuse()
    take_up(asked(train)[0], bucket, out)


def supervised(
    train: list[str],
    out: Path,
    ledger: "Ledger",
    *,
    processes: int,
    limits: "Limits",
    network: "Network | None" = None,
) -> "Supervisor":
    """Who starts `castor train` with these words in so many processes, and tells of it; each on its
    own host of a network, if there is one."""
    from castor.cli.screen import aside
    from castor.fleet.forked import forked
    from castor.fleet.quarantine import named
    from castor.fleet.supervise import Supervisor

    def say(text: str) -> None:
        aside.print(f"castor: {text}", markup=False)

    def fewer() -> int | None:
        from castor.cli.train import asked
        from castor.fleet.quarantine import without
        from castor.models.layout import told
        from castor.train.run import fits

        nonlocal train, processes
        devices = named(out)
        if not devices:
            return None
        processes, left = without(parsed(train).mesh, processes, devices)
        fits(asked(parsed(train))[0], left)
        train = [*train, "--mesh", told(left)]  # the last one counts
        say(f"the devices {devices} are wrong: going on with the mesh {told(left)}")
        return processes

    named(out)  # of a run before
    return Supervisor(
        lambda seat: command(train, seat),
        processes,
        logs=out,
        ledger=ledger,
        limits=limits,
        environment=os.environ,
        start=forked(partial(_trained, network), IMPORTS),
        address="127.0.0.1" if network is None else network.address(0),
        fewer=fewer,
        tell=say,
    )


def _trained(
    network: "Network | None", words: Sequence[str], environment: Mapping[str, str]
) -> int:
    from castor.cli import main
    from castor.fleet.team import seat

    os.environ.update(environment)
    if network is not None:
        network.enter(seat(parsed(words[1:]).hosts).process)
    return main(words)


def parsed(train: Sequence[str]) -> argparse.Namespace:
    """The flags of `castor train` as it understands them."""
    from castor.cli import parser

    return parser().parse_args(["train", *train])


def folder_of(train: list[str]) -> Path:
    """The run's folder that flags of `castor train` name.

    Raises:
        ValueError: a mesh is wanting, or a flag is there that is given to each process.
    """
    from castor.cli.train import out_of

    told = parsed(train)
    if told.mesh is None:
        raise ValueError("several processes share a run out over a mesh: give --mesh, as in fsdp=8")
    if told.hosts is not None:
        raise ValueError("castor launch gives each process its --hosts; leave it out")
    return out_of(told)


def command(train: list[str], seat: "Seat") -> list[str]:
    """The words of one process, as `castor` is given them."""
    given = [*train, "--hosts", str(seat)]
    keep = [] if any(word.startswith("--keep") for word in train) else ["--keep", "1"]
    return ["train", *given, *keep]
