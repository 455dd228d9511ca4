"""`castor goodput`: what a run's time went to, and what it would be at another rate of faults."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from castor.cli.flags import Verbs, add_verb

if TYPE_CHECKING:
    from castor.fleet.account import Account, Fault
    from castor.fleet.stragglers import Host

MORE = """\
Goodput is the time of useful new steps over the elapsed time. A fault costs the steps that were
lost and all restart, restore, compile and other time until the next step is done; at another rate
of faults, r an hour that cost c seconds each, goodput is that of the undisturbed time times
1 - r c / 3600; with --hours, of a run that is as long, but starts only once. Of a run on several
hosts it also tells which of them kept the others waiting."""
RATE = 1.0  # faults an hour of the projection


def add(verbs: Verbs) -> None:
    """The verb and its flags."""
    verb = add_verb(verbs, "goodput", run, what="tell what the time of a run went to", more=MORE)
    verb.add_argument("run_folder", metavar="RUN", type=Path, help="the folder of a run")
    verb.add_argument(
        "--hours",
        metavar="N",
        type=float,
        help="what goodput would be if the run went on for so long: its start is spent once",
    )
    verb.add_argument("--json", action="store_true", help="print JSON")
    verb.add_argument("--out", metavar="PNG", type=Path, help="draw the time line into this file")


def run(arguments: argparse.Namespace) -> None:
    """Read the ledgers, print the account of the first and who was late, and draw it.

    Raises:
        ValueError: there is no such run, it has no ledger, or nothing is in it yet.
    """
    from castor.fleet.account import read
    from castor.fleet.ledger import LEDGER
    from castor.fleet.stragglers import read_hosts, stragglers
    from castor.fleet.timeline import draw_timeline

    folder, picture = arguments.run_folder, arguments.out
    if not folder.is_dir():
        raise ValueError(f"there is no run {folder}")
    ledger = folder / LEDGER
    if not ledger.is_file():
        if not (folder / "recipe.json").is_file():
            raise ValueError(f"{folder} is no run: it holds neither {LEDGER} nor recipe.json")
        raise ValueError(f"{folder} has no {LEDGER}; `castor train` writes one")
    account, hosts = read(ledger), stragglers(read_hosts(folder))
    if picture is not None:
        if picture.suffix.lower() != ".png":
            raise ValueError(f"the picture is a PNG, and {picture} is named otherwise")
        draw_timeline(account, picture, title=folder.resolve().name)
    if arguments.json:
        record = {**told(account, arguments.hours), "hosts": [host._asdict() for host in hosts]}
        print(json.dumps(record, indent=1))
        return
    show(account, arguments.hours)
    if hosts:
        print()
        show_hosts(hosts)
    if picture is not None:
        print(f"\ndrawn: {picture}")


def told(account: "Account", hours: float | None = None) -> dict[str, Any]:
    """The account as JSON says it; moments are seconds since `begun`, which is unix seconds."""
    from castor.fleet.account import at_rate

    projected = at_rate(account, RATE, hours=hours) if account.faults else None
    return {
        "begun": account.begun,
        "elapsed": account.elapsed,
        "goodput": account.goodput,
        "steps": account.steps,
        "lost_steps": account.lost,
        "torn_lines": account.torn,
        "seconds": account.seconds,
        "faults": [
            {
                "at": fault.at,
                "what": fault.what,
                "detected": fault.detected,
                "resumed": fault.resumed,
                "cost": fault.cost,
                "seconds": fault.seconds,
            }
            for fault in account.faults
        ],
        "cost_per_fault": account.cost_per_fault,
        "goodput_at_one_fault_an_hour": projected,
        "hours": hours,
    }


def show(account: "Account", hours: float | None = None) -> None:
    """Time by cause, the faults, and goodput as it was and as it would be."""
    from castor.cli.screen import table
    from castor.fleet.account import at_rate

    whole = account.elapsed or 1.0
    spent = [(cause, seconds) for cause, seconds in account.seconds.items() if seconds]
    rows = [(cause, f"{seconds:,.1f}", f"{seconds / whole:.2%}") for cause, seconds in spent]
    table(("cause", "seconds", "share"), [*rows, ("elapsed", f"{account.elapsed:,.1f}", "")])
    if account.faults:
        print()
        heads = ("fault", "at", "seen after", "back after", "cost", "of it")
        table(heads, [_row(fault) for fault in account.faults])
    print(
        f"\ngoodput {account.goodput:.1%}: {account.seconds['step']:,.1f} s of {account.steps:,} "
        f"useful steps; {account.lost:,} lost"
    )
    if account.cost_per_fault is None:
        print("no fault: nothing says what one costs")
    else:
        longer = "" if hours is None else f" in {hours:g} hours"
        print(
            f"a fault costs {account.cost_per_fault:,.1f} s (mean of {len(account.faults)}); at "
            f"one an hour goodput would be {at_rate(account, RATE, hours=hours):.1%}{longer}"
        )
    if account.torn:
        print(f"lines of the ledger cut off, not counted: {account.torn}")


def show_hosts(hosts: "list[Host]") -> None:
    """What each host did by itself before a step, and which of them were slow."""
    from castor.cli.screen import table
    from castor.fleet.stragglers import waited_s

    rows = [
        (
            str(host.host),
            f"{host.steps:,}",
            f"{1000 * host.median_s:,.1f}",
            f"{1000 * host.p99_s:,.1f}",
            f"{host.last:,}",
            f"{host.cost_s:,.1f}",
            "slow" if host.slow else "",
        )
        for host in hosts
    ]
    heads = ("host", "steps", "own ms, median", "99th percentile", "last in", "cost s", "")
    table(heads, rows)
    print(f"\nthe first hosts to be ready waited {waited_s(hosts):,.1f} s for the last ones in all")
    for host in hosts:
        if host.slow:
            print(
                f"host {host.host} is slow: {1000 * host.excess_s:,.1f} ms a step more than the "
                "others; look at its disk, its network and what else runs on it, or replace it"
            )
    if not any(host.slow for host in hosts):
        print("no host is slower than the others beyond noise")


def _row(fault: "Fault") -> tuple[str, ...]:
    after = (fault.detected, fault.resumed)
    parts = sorted(fault.seconds.items(), key=lambda part: -part[1])
    return (
        fault.what,
        f"{fault.at:,.1f}",
        *("" if moment is None else f"{moment - fault.at:,.1f}" for moment in after),
        f"{fault.cost:,.1f}",
        ", ".join(f"{cause} {seconds:,.1f}" for cause, seconds in parts),
    )
