"""What devices send each other, read from a program as XLA has shared it out among them.

Nothing is run. The text is that of the partitioned program before a backend merges or splits
collectives, and before it changes the type of what they carry.
"""

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

HASTY: dict[str, Any] = {"xla_backend_optimization_level": 0}  # of a compiler: nothing is run
WRITES = {"xla_dump_hlo_as_text": True, "xla_dump_hlo_pass_re": "spmd-partitioning"}
PARTITIONED = "*.after_spmd-partitioning*.txt"  # of what it then writes, of its many steps

BITS = {"pred": 8, "s4": 4, "u4": 4, "s8": 8, "u8": 8, "s16": 16, "u16": 16, "bf16": 16}
BITS |= {"f16": 16, "s32": 32, "u32": 32, "f32": 32, "s64": 64, "u64": 64, "f64": 64}

# Bytes that each of n devices sends in a ring, for each byte of its result.
SENT = {
    "all-gather": lambda n: (n - 1) / n,
    "reduce-scatter": lambda n: n - 1,
    "all-reduce": lambda n: 2 * (n - 1) / n,
    "all-to-all": lambda n: (n - 1) / n,
    "collective-permute": lambda n: 1.0 if n > 1 else 0.0,
}

EXCHANGES = (*SENT, "ragged-all-to-all", "collective-broadcast", "send", "recv")  # and -start
INNER = ("while", "call", "conditional")
PARTS = "body|to_apply|branch_computations|true_computation|false_computation"

_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.-]+) = (\(.*?\)|\S+) ([a-z][a-z-]*)\((.*)$")
_ARRAY = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\]")
_NAMED = re.compile(r"replica_groups=mesh\[([^\]]*)\] \{([^}]*)\}")
_COUNTED = re.compile(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?")
_LISTED = re.compile(r"replica_groups=\{\{([\d,]+)\}")
_PAIRS = re.compile(r"source_target_pairs=\{(.*?)\}\}")


class Collective(NamedTuple):
    """All exchanges of one kind along the same axes of a mesh, in one run of a program."""

    kind: str  # "all-gather", "reduce-scatter", "all-reduce", "all-to-all", "collective-permute"
    axes: tuple[str, ...]
    times: int
    sent_bytes: int  # by each device, if the devices of a group form a ring


class _Instruction(NamedTuple):
    name: str
    shape: str
    kind: str
    rest: str  # operands and attributes


def collectives_in(text: str, mesh: Mapping[str, int]) -> tuple[Collective, ...]:
    """The exchanges of a program for a mesh of these axes, the most bytes first.

    What a loop does counts as often as the loop goes round, once where that depends on the data.
    A backend may turn an all-reduce of which each device keeps a part into a reduce-scatter, which
    sends half as much. Groups of one device send nothing and do not appear.
    """
    entry, computations = _parsed(text)
    times: Counter[tuple[str, tuple[str, ...]]] = Counter()
    sent: Counter[tuple[str, tuple[str, ...]]] = Counter()
    for instruction, often in _walked(entry, computations, 1):
        axes, members = _group_of(instruction, mesh)
        if members > 1:
            of = instruction.kind, axes
            times[of] += often
            sent[of] += often * round(SENT[of[0]](members) * _bytes_of(instruction.shape))
    found = (Collective(*of, times[of], sent[of]) for of in times)
    return tuple(sorted(found, key=lambda c: -c.sent_bytes))


def loops_exchange(text: str) -> bool:
    """Whether devices exchange anything within a loop of a program, or another part of it."""
    entry, computations = _parsed(text)

    def exchanges(name: str) -> bool:
        return any(
            instruction.kind.startswith(EXCHANGES) or within(instruction)
            for instruction in computations.get(name, ())
        )

    def within(instruction: _Instruction) -> bool:
        return instruction.kind in INNER and any(map(exchanges, _called(instruction.rest, PARTS)))

    return any(map(within, computations[entry]))


class Program(NamedTuple):
    """What every device of a mesh runs, as text (none where there is but one), and the memory
    that it takes there."""

    text: str
    memory: Any


def partitioned(function: Callable[..., Any], *given: Any) -> Program:
    """The program of a function of arrays, or shapes, that are placed on a mesh; it takes over the
    memory of all but the last."""
    with tempfile.TemporaryDirectory() as folder:

        def named(*given: Any) -> Any:
            return function(*given)

        named.__name__ = Path(folder).name  # else JAX might have it compiled, and write nothing
        jitted = jax.jit(named, donate_argnums=tuple(range(len(given) - 1)))
        compiled = jitted.lower(*given).compile(HASTY | WRITES | {"xla_dump_to": folder})
        texts = [path.read_text(encoding="utf-8") for path in Path(folder).glob(PARTITIONED)]
        return Program("".join(texts), compiled.memory_analysis())


def _parsed(text: str) -> tuple[str, dict[str, list[_Instruction]]]:
    """The name of the program's own computation, and the instructions of every one."""
    entry, here = "", ""
    computations: dict[str, list[_Instruction]] = {}
    for line in text.splitlines():
        if begun := _COMPUTATION.match(line):
            here = begun[2]
            entry = here if begun[1] else entry
            computations[here] = []
        elif here and (found := _INSTRUCTION.match(line)):
            computations[here].append(_Instruction(*found.groups()))
    return entry, computations


def _walked(
    name: str, computations: dict[str, list[_Instruction]], often: int
) -> Iterator[tuple[_Instruction, int]]:
    """Every exchange below a computation, and how often it takes place."""
    for instruction in computations.get(name, ()):
        if instruction.kind in SENT:
            yield instruction, often
        elif instruction.kind in INNER:
            condition = _called(instruction.rest, "condition")
            rounds = _rounds(computations[condition[0]]) if condition else 1
            for inner in _called(instruction.rest, PARTS):
                yield from _walked(inner, computations, often * rounds)


def _called(rest: str, attribute: str) -> list[str]:
    found = re.findall(rf"\b(?:{attribute})=(?:\{{([^}}]*)\}}|%?([\w.-]+))", rest)
    names = ",".join(several or one for several, one in found)
    return [name.strip().lstrip("%") for name in names.split(",") if name.strip()]


def _rounds(condition: list[_Instruction]) -> int:
    """How often a loop that counts up from 0 goes round: as far as a constant, or else once."""
    last = condition[-1]
    if last.kind != "compare" or "direction=LT" not in last.rest:
        return 1
    limit = last.rest.split(")")[0].split(",")[-1].strip().lstrip("%")
    for instruction in condition:
        if instruction.name == limit and instruction.kind == "constant":
            return int(instruction.rest.split(")")[0])
    return 1


def _bytes_of(shape: str) -> int:
    """Of an array, or of all arrays of a tuple."""
    arrays = _ARRAY.findall(shape)
    return sum(BITS[kind] * prod(_numbers(sizes)) // 8 for kind, sizes in arrays)


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",") if part]


def _group_of(instruction: _Instruction, mesh: Mapping[str, int]) -> tuple[tuple[str, ...], int]:
    """The axes of the mesh along which devices exchange, and how many do so with each other."""
    if instruction.kind == "collective-permute":
        pairs = _PAIRS.search(instruction.rest)
        ends = np.array(_numbers(re.sub("[{}]", "", pairs[1])) if pairs else []).reshape(-1, 2)
        axes = _axes_between(ends[:, 0], ends[:, 1], mesh)
        return axes, prod(mesh[axis] for axis in axes)
    group = _first_group(instruction.rest, prod(mesh.values()))
    return _axes_between(group, group[:1].repeat(len(group)), mesh), len(group)


def _axes_between(some: np.ndarray, others: np.ndarray, mesh: Mapping[str, int]) -> tuple[str, ...]:
    """The axes in which the places of devices differ from those of others."""
    sizes = tuple(mesh.values())
    here, there = np.unravel_index(some, sizes), np.unravel_index(others, sizes)
    return tuple(axis for axis, a, b in zip(mesh, here, there, strict=True) if np.any(a != b))


def _first_group(rest: str, devices: int) -> np.ndarray:
    """The numbers of the devices of the first group; the others have the same form."""
    if named := _NAMED.search(rest):
        return _named_group(named[1], named[2])
    if counted := _COUNTED.search(rest):
        groups, sizes = _numbers(counted[1]), _numbers(counted[2])
        order = _numbers(counted[3]) if counted[3] else range(len(sizes))
        return np.arange(devices).reshape(sizes).transpose(*order).reshape(groups)[0].reshape(-1)
    listed = _LISTED.search(rest)
    return np.array(_numbers(listed[1])) if listed else np.arange(devices)


def _named_group(sizes: str, named: str) -> np.ndarray:
    """Of `'fsdp'=4,'tensor'=2` and `'tensor'` or, for a part of an axis, `'fsdp':(2)2`: 2 long,
    after the part of 2 that varies more slowly."""
    lengths = {name: int(size) for name, size in re.findall(r"'([^']+)'=(\d+)", sizes)}
    parts = {
        name: (int(before or 1), int(size or lengths[name]))
        for name, before, size in re.findall(r"'([^']+)'(?::\((\d+)\)(\d+))?", named)
    }
    cut: list[int] = []
    for name, length in lengths.items():
        before, size = parts.get(name, (length, 1))
        cut += [before, size, length // before // size]
    places = np.arange(prod(cut)).reshape(cut)
    chosen = places[tuple(slice(None) if i % 3 == 1 else 0 for i in range(len(cut)))]
    return np.asarray(chosen).reshape(-1)
