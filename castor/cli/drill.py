"""`castor drill`: a run that is disturbed on purpose, beside one that is not."""

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from castor.cli.flags import Verbs, add_verb, count, mesh_sizes, processes_flag, set_flag

if TYPE_CHECKING:
    from castor.fleet.drill import Planned
    from castor.fleet.ledger import Ledger
    from castor.fleet.network import Network
    from castor.fleet.supervise import Supervisor

MORE = """\
First the recipe `drill` is trained undisturbed, in one process; then again in several, under
`castor launch`, while faults befall them as a schedule says. The verdict: whether no step is
missing, the weights at the end are the same to the last bit, and what it cost. Exit code 1 if not.

Of the kinds, `memory` and `device` are drilled only if --kinds names them: one loses what is not
saved; the other ends on a smaller mesh, so with other weights, and that is not held against it.
`disk` needs the right to mount a small file system for the run, and `network` that to make hosts
with addresses of their own: each is left out, and named, without it."""
PROCESSES, EVERY_S, HANG_S, ROOM = 4, 60, 6, 256
MESH = {"replica": 2, "fsdp": 4}


def add(verbs: Verbs) -> None:
    """The verb and its flags."""
    verb = add_verb(
        verbs,
        "drill",
        run,
        what="disturb a run on purpose, and judge how it came through",
        more=MORE,
    )
    processes_flag(verb, default=PROCESSES)
    verb.add_argument(
        "--mesh",
        metavar="AXIS=N,...",
        type=mesh_sizes,
        default=MESH,
        help="the mesh; bits turned in devices are seen on one with replicas (default: "
        "replica=2,fsdp=4)",
    )
    verb.add_argument(
        "--every",
        metavar="SECONDS",
        type=count,
        default=EVERY_S,
        help=f"between two faults, on average (default: {EVERY_S})",
    )
    verb.add_argument("--kinds", metavar="KIND,...", help="faults, such as worker,keeper,stop")
    verb.add_argument(
        "--seed", metavar="N", type=int, default=0, help="of the schedule (default: 0)"
    )
    set_flag(verb)
    verb.add_argument(
        "--out", metavar="DIR", type=Path, default=Path("runs/drill"), help="(default: runs/drill)"
    )
    verb.add_argument("--json", action="store_true", help="print the verdict as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Train twice, and compare.

    Raises:
        ValueError: the folder is there already, there is no such fault, or a run failed.
    """
    from castor.fleet.drill import USUAL, schedule
    from castor.fleet.ledger import LEDGER, Ledger
    from castor.fleet.network import laid

    out = arguments.out
    if out.exists():
        raise ValueError(f"{out} is there already: name another folder, or remove it")
    kinds = tuple(arguments.kinds.split(",")) if arguments.kinds else USUAL
    plan = schedule(kinds, arguments.processes, every_s=float(arguments.every), seed=arguments.seed)
    next(plan)  # refuses what it does not know
    calm, troubled = out / "calm", out / "run"
    calm.mkdir(parents=True)
    troubled.mkdir()
    hosts = arguments.processes if "network" in kinds else 0
    with _limited(troubled) as may_fill, laid(hosts) as network:
        if not may_fill:
            kinds = _without("disk", kinds, "no file system may be mounted here")
        if network is None:
            kinds = _without("network", kinds, "no hosts may be made here")
        if not kinds:
            raise ValueError("no fault is left to drill: name others by --kinds, or be root")
        with Ledger(calm / LEDGER) as ledger:
            _supervised(arguments, calm, ledger, processes=1).run()
        done = _disturbed(arguments, kinds, troubled, network)
        verdict = judged(calm, troubled, done)
    (out / "verdict.json").write_text(json.dumps(verdict, indent=1) + "\n")
    if arguments.json:
        print(json.dumps(verdict, indent=1))
    else:
        show(verdict, out)
    return 0 if verdict["held"] else 1


def _without(left_out: str, kinds: tuple[str, ...], why: str) -> tuple[str, ...]:
    if left_out in kinds:
        print(f"castor: {left_out} is left out: {why}", file=sys.stderr)
    return tuple(kind for kind in kinds if kind != left_out)


def _disturbed(
    arguments: argparse.Namespace, kinds: tuple[str, ...], out: Path, network: "Network | None"
) -> "list[Planned]":
    from castor.fleet.drill import Drill, schedule
    from castor.fleet.ledger import LEDGER, Ledger
    from castor.train.memory import Kept, place_of

    every, seed = float(arguments.every), arguments.seed

    def folders() -> list[Path]:
        name = out / ".run"
        if not name.exists():
            return []
        places = range(len(supervisor.running))
        return [place_of(Kept().folder, name.read_text(), process) for process in places]

    with Ledger(out / LEDGER) as ledger:
        given = {"processes": arguments.processes, "network": network}
        supervisor = _supervised(arguments, out, ledger, **given)
        drill = Drill(
            schedule(kinds, arguments.processes, every_s=every, seed=seed),
            out=out,
            ledger=ledger,
            folders=folders,
            running=lambda: supervisor.alive,
            seed=seed,
            network=network,
        )
        with drill:
            supervisor.run()
        return drill.done


def _supervised(
    arguments: argparse.Namespace, out: Path, ledger: "Ledger", **given: Any
) -> "Supervisor":
    from castor.cli.launch import supervised
    from castor.fleet.supervise import Limits
    from castor.models.layout import told

    changes = [word for change in arguments.set for word in ("--set", change)]
    words = ["drill", "--mesh", told(arguments.mesh), "--out", str(out), "--limit", "0", *changes]
    limits = Limits(least=HANG_S, times=5, stopped=HANG_S)
    return supervised(words, out, ledger, limits=limits, **given)


@contextmanager
def _limited(folder: Path) -> Iterator[bool]:
    """A small file system of its own at a folder while the block lasts, if one may be mounted; what
    is on it stays in the folder."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={ROOM}m", "castor", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    try:
        yield mounted
    finally:
        if mounted:
            aside = folder.with_name("aside")
            shutil.copytree(folder, aside)
            subprocess.run(["umount", str(folder)], check=True)
            folder.rmdir()
            aside.rename(folder)


def judged(calm: Path, troubled: Path, done: "list[Planned]") -> dict[str, Any]:
    """What came of it."""
    from collections import Counter

    from castor.checkpoint import WEIGHTS, newest, step_of
    from castor.fleet.account import at_rate, read
    from castor.fleet.ledger import LEDGER

    ends = [newest(calm), newest(troubled)]
    same = None not in ends and len({(end / WEIGHTS).read_bytes() for end in ends if end}) == 1
    one, other = read(calm / LEDGER), read(troubled / LEDGER)
    wanted, steps = (0 if end is None else step_of(end) for end in ends)
    return {
        "held": steps == wanted and (same or any(fault.kind == "device" for fault in done)),
        "same_weights": same,
        "steps": steps,
        "missing_steps": wanted - steps,
        "not_timed": steps - other.steps,  # who took them was killed before writing that down
        "taken_again": other.lost,
        "elapsed": other.elapsed,
        "undisturbed": one.elapsed,
        "goodput": other.goodput,
        "faults": dict(Counter(fault.kind for fault in done)),
        "cost_per_fault": other.cost_per_fault,
        "goodput_at_one_fault_an_hour": at_rate(other, 1.0) if other.faults else None,
    }


def show(verdict: dict[str, Any], out: Path) -> None:
    """The verdict in words."""
    faults = ", ".join(f"{number} {kind}" for kind, number in sorted(verdict["faults"].items()))
    print(f"faults: {faults or 'none'}")
    print(
        f"steps: {verdict['steps']:,}, {verdict['missing_steps']} missing, "
        f"{verdict['taken_again']} taken again"
    )
    print(f"weights: {'the same' if verdict['same_weights'] else 'other'} than undisturbed")
    print(f"goodput {verdict['goodput']:.1%} in {verdict['elapsed']:,.0f} s")
    if verdict["cost_per_fault"] is not None:
        print(
            f"a fault costs {verdict['cost_per_fault']:.1f} s; at one an hour goodput would be "
            f"{verdict['goodput_at_one_fault_an_hour']:.1%}"
        )
    print(f"what befell it: castor goodput {out / 'run'}")
