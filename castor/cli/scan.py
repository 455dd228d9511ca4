"""What `castor doctor --scan` shows: devices that gave other bits than they should."""

from json import dumps
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from castor.fleet.scan import Examined

NEXT = "keep work away from it, scan again with --seconds 600, and have it replaced if that fails"


def run_scan(*, seconds: float, memory: float, seed: int, json: bool) -> int:
    """Scan all devices of this machine and print what was found; 1 if any is wrong."""
    import jax

    from castor.cli.screen import progress
    from castor.fleet.scan import scan

    devices = jax.local_devices()
    with progress("scan") as bar:
        found = scan(
            devices,
            seconds=seconds,
            memory=memory,
            seed=seed,
            told=lambda text, gone, left: bar(text, round(gone), max(1, round(gone + left))),
        )
    if json:
        print_json(found, seconds=seconds, memory=memory, seed=seed)
    else:
        show(found)
    return int(any(one.wrong for one in found))


def print_json(found: "list[Examined]", **how: float) -> None:
    """Everything that was found, and how it was looked for."""
    checks = [_record(one) for one in found]
    passed = all(one["passed"] for one in checks)
    print(dumps({"passed": passed, **how, "checks": checks}, indent=1))


def show(found: "list[Examined]") -> None:
    """Devices by checks, what was wrong, and in a sentence what to do about it."""
    from castor.cli.screen import in_bytes, table

    checks = list(dict.fromkeys(one.check for one in found))
    rows: dict[str, list[str]] = {}
    for one in found:
        words = f"{one.wrong.words:,} words wrong" if one.wrong else "passed"
        rows.setdefault(one.device, [f"{one.device} ({one.kind})"]).append(words)
    table(("device", *checks), list(rows.values()))
    compared, held = sum(one.bytes for one in found), max(one.held for one in found)
    rounds = "one round" if found[0].rounds == 1 else f"{found[0].rounds:,} rounds"
    print(
        f"\n{in_bytes(compared)} compared in {rounds}; at most {in_bytes(held)} of a device's "
        "memory held at once"
    )
    wrong = [one for one in found if one.wrong]
    if not wrong:
        print("no device gave a wrong bit")
        return
    print()
    heads = ("device", "check", "rounds wrong", "words", "first", "at byte", "bits", "got, wanted")
    table(heads, [_row(one) for one in wrong])
    print()
    for device in dict.fromkeys(one.device for one in wrong):
        print(verdict(device, found))


def verdict(device: str, found: "list[Examined]") -> str:
    """What a device did wrong, and what to do."""
    wrong = [one for one in found if one.device == device and one.wrong]
    checks = [one.check for one in wrong]
    named = " and ".join([", ".join(checks[:-1]), checks[-1]] if len(checks) > 1 else checks)
    if checks == ["copies"]:
        return f"{device}, or the way to it, changes what is copied: {NEXT}"
    alike = [one for one in found if one.kind == wrong[0].kind and one.check == "elementwise"]
    if checks == ["elementwise"] and len(alike) > 1 and all(one.wrong for one in alike):
        return f"{device} and its like disagree, and nothing says which is right: {NEXT}"
    return f"{device} gave wrong bits in {named}: {NEXT}"


def _record(one: "Examined") -> dict[str, Any]:
    record: dict[str, Any] = {
        "device": one.device,
        "kind": one.kind,
        "check": one.check,
        "passed": one.wrong is None,
        "rounds": one.rounds,
        "rounds_wrong": one.rounds_wrong,
        "bytes_compared": one.bytes,
        "bytes_held": one.held,
    }
    if one.wrong:
        record["words_wrong"] = one.wrong.words
        record["first"] = {
            "word": one.wrong.first,
            "byte": one.wrong.address,
            "bits": one.wrong.bits,
            "got": one.wrong.got,
            "wanted": one.wrong.wanted,
        }
    return record


def _row(one: "Examined") -> tuple[str, ...]:
    assert one.wrong is not None
    digits = 2 * one.wrong.bytes_per_word
    return (
        one.device,
        one.check,
        f"{one.rounds_wrong} of {one.rounds}",
        f"{one.wrong.words:,}",
        f"{one.wrong.first:,}",
        f"{one.wrong.address:#x}",
        " ".join(map(str, one.wrong.bits)),
        f"{one.wrong.got:#0{digits + 2}x}, {one.wrong.wanted:#0{digits + 2}x}",
    )
