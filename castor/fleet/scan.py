"""A scan of idle devices for silent corruption: work whose answer is known, compared bit by bit.

It sees what goes wrong while it looks: no fault that needs other instructions or more heat than its
work has, and not which core of a CPU was wrong. Memory is compared on the device, so that one that
compares wrongly may pass.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from castor.fleet.known import (
    MOST,
    WIDEST,
    Wrong,
    circulant,
    differing,
    elementwise_chain,
    filled,
    inverted,
    misheld,
    outvoted,
    product_answer,
    product_chain,
)

BLOCK = 1 << 22  # words of memory that are filled at once: 16 MiB
PRODUCTS = (
    ("int8 product", jnp.int8, jnp.int32),
    ("bfloat16 product", jnp.bfloat16, jnp.float32),
    ("float16 product", jnp.float16, jnp.float32),
    ("float32 product", jnp.float32, jnp.float32),
)
FILLING = 0.08  # of all time, for filling the memory of all devices once; reading takes as long
Told = Callable[[str, float, float], None]  # (what is done, seconds since the begin, seconds left)


@runtime_checkable
class Device(Protocol):
    """What a scan asks of a device of JAX."""

    platform: str
    device_kind: str

    def memory_stats(self) -> dict[str, int] | None: ...


class Size(NamedTuple):
    """How much work a check is: sides of matrices, words of a chain, and steps of both."""

    side: int
    words: int
    steps: int


HOST, CHIP = Size(512, 1 << 16, 64), Size(WIDEST, 1 << 20, 64)


@dataclass(frozen=True)
class Examined:
    """What one check found on one device: `bytes` are those compared in all rounds, `held` the
    most that were held at once, `wrong` the first round's that was wrong."""

    device: str
    kind: str
    check: str
    rounds: int = 0
    rounds_wrong: int = 0
    bytes: int = 0
    held: int = 0
    wrong: Wrong | None = None

    def after(self, look: "Look") -> "Examined":
        """With one more round."""
        return replace(
            self,
            rounds=self.rounds + 1,
            rounds_wrong=self.rounds_wrong + (look.wrong is not None),
            bytes=self.bytes + look.bytes,
            held=max(self.held, look.held),
            wrong=self.wrong or look.wrong,
        )


class Look(NamedTuple):
    """One round of a check on one device."""

    wrong: Wrong | None
    bytes: int
    held: int


@runtime_checkable
class Check(Protocol):
    """Work that any device can be given."""

    name: str

    def look(self, device: Device, number: int) -> Look:
        """Do it once, as the round of this number."""
        ...


def scan(
    devices: Sequence[Device],
    *,
    seconds: float,
    memory: float,
    seed: int = 0,
    told: Told = lambda *_: None,
) -> list[Examined]:
    """What every check found on every device, each by itself, in rounds for about so many seconds.

    There is one round at least. Of a device's free memory at most the share `memory` is used, and
    as much as it can fill in time; devices of the host share the host's. All work follows from the
    seed; how many rounds there are, and how much memory, depends on the time.

    Raises:
        ValueError: the share is not above 0 and at most 1, or too little for the work; or a device
            does not tell how much memory it has.
    """
    if not 0 < memory <= 1:
        raise ValueError(f"{memory:g} is no share of memory; give one above 0 and at most 1")
    begun = time.monotonic()
    told("preparing", 0.0, seconds)
    found: dict[tuple[str, str], Examined] = {}
    each = FILLING * seconds / len(devices)
    checks = _checks(devices, seed=seed, memory=memory, filling_s=each)
    number, last = 0, 0.0
    while not number or time.monotonic() - begun + last / 2 < seconds:
        round_begun = time.monotonic()
        for check in checks:
            for device in devices:
                gone = time.monotonic() - begun
                told(f"{device} {check.name}", gone, max(0.0, seconds - gone))
                key = (str(device), check.name)
                so_far = found.get(key, Examined(key[0], device.device_kind, key[1]))
                found[key] = so_far.after(check.look(device, number))
        last = time.monotonic() - round_begun
        number += 1
    return list(found.values())


def free_bytes(device: Device) -> int:
    """Memory that nobody uses, on the device or, of a CPU device, its part of the host's.

    Raises:
        ValueError: the device does not tell.
    """
    told = device.memory_stats()
    if told and "bytes_limit" in told:
        return told["bytes_limit"] - told.get("bytes_in_use", 0)
    if device.platform != "cpu" or "SC_AVPHYS_PAGES" not in os.sysconf_names:
        raise ValueError(f"{device} does not tell how much memory it has; scan another one")
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return free // len(jax.local_devices(backend="cpu"))


def _checks(
    devices: Sequence[Device], *, seed: int, memory: float, filling_s: float
) -> list[Check]:
    on_host = all(device.platform == "cpu" for device in devices)
    size = HOST if on_host else CHIP
    room = {device: int(memory * free_bytes(device)) for device in devices}
    least = max(4 * BLOCK, 24 * size.side**2)  # a block; or operands, results and sums of a product
    for device, given in room.items():
        if given < least:
            raise ValueError(
                f"{memory:g} of the free memory of {device} is {given / 2**20:.0f} MiB, and a scan "
                f"needs {least / 2**20:.0f}; give a larger share or close other programs"
            )
    products: list[Check] = [
        Product(name, dtype, sums, size=size, seed=seed) for name, dtype, sums in PRODUCTS
    ]
    chain = Elementwise(devices, size=size, seed=seed)
    most = {device: given // (4 * BLOCK) for device, given in room.items()}
    held = Memory(most, seed=seed, filling_s=filling_s)
    return [*products, chain, held, Copies(devices, seed=seed, words=BLOCK)]


class Product:
    """A chain of matrix products, whose answer is exact in any order of sums."""

    def __init__(self, name: str, dtype: Any, sums: Any, *, size: Size, seed: int) -> None:
        self.name, self._steps, self._sums = name, size.steps, sums
        draw = np.random.default_rng([seed, 1])
        a, x = draw.integers(-MOST, MOST + 1, (2, size.side))
        self._given = circulant(a, dtype), circulant(x, dtype)
        answer = product_answer(a, x, steps=size.steps, sums=sums)
        self._answer = circulant(answer, np.uint32)

    def look(self, device: Device, number: int) -> Look:
        """The chain, and the tally of its products against the answer."""
        del number
        a, x, steps = jax.device_put((*self._given, np.int32(self._steps)), device)
        got = fetched(product_chain(a, x, steps, sums=self._sums))
        held = a.nbytes + 2 * (x.nbytes + got.nbytes)
        return Look(differing(got, self._answer), got.nbytes, held)


class Elementwise:
    """Functions of many numbers, against the same device's first time and its like's."""

    def __init__(self, devices: Sequence[Device], *, size: Size, seed: int) -> None:
        self.name = "elementwise"
        self._size, self._seed = size, seed
        self._unseen: dict[Device, Wrong | None] = {}
        self._first: dict[Device, np.ndarray] = {}
        for kind in {device.device_kind for device in devices}:
            alike = [device for device in devices if device.device_kind == kind]
            results = [self._run(device) for device in alike]
            self._unseen |= dict(zip(alike, outvoted(results), strict=True))
            self._first |= dict(zip(alike, results, strict=True))

    def look(self, device: Device, number: int) -> Look:
        """The functions again; the first look also tells whether its like agreed."""
        del number
        got = self._run(device)
        wrong = self._unseen.pop(device, None) or differing(got, self._first[device])
        return Look(wrong, got.nbytes, 3 * got.nbytes)

    def _run(self, device: Device) -> np.ndarray:
        places = np.arange(self._size.words, dtype=np.uint32)
        given = (places, np.int32(self._size.steps), np.uint32(self._seed % 2**32))
        return fetched(elementwise_chain(*jax.device_put(given, device)))


class Memory:
    """Patterns written into many blocks, read back, every bit turned, and read back again."""

    def __init__(self, most: dict[Device, int], *, seed: int, filling_s: float) -> None:
        self.name, self._most, self._seed, self._filling_s = "memory", most, seed, filling_s

    def look(self, device: Device, number: int) -> Look:
        """As many blocks as there is room and time for, one at least."""
        salt = jax.device_put(np.uint32((self._seed + number) % 2**32), device)
        until = time.monotonic() + self._filling_s
        held: list[jax.Array] = []
        while len(held) < self._most[device] and (not held or time.monotonic() < until):
            block = jax.device_put(np.uint32(len(held)), device)
            held.append(jax.block_until_ready(filled(block, salt, words=BLOCK)))
        wrong: Wrong | None = None
        for turned in (False, True):
            for i in range(len(held)):
                held[i] = inverted(held[i]) if turned else held[i]
            for i, words in enumerate(held):
                place = jax.device_put((np.uint32(i), salt, np.bool_(turned)), device)
                wrong = _joined(wrong, misheld(words, *place), before=i * BLOCK)
        return Look(wrong, 8 * BLOCK * len(held), 4 * BLOCK * len(held))


class Copies:
    """Words to a device, on to the next one, and back, against what was sent."""

    def __init__(self, devices: Sequence[Device], *, seed: int, words: int) -> None:
        self.name = "copies"
        self._after = dict(zip(devices, [*devices[1:], devices[0]], strict=True))
        draw = np.random.default_rng([seed, 2])
        self._sent = draw.integers(0, 2**32, words, dtype=np.uint32)

    def look(self, device: Device, number: int) -> Look:
        """There and back, and by way of the next device, if there is one."""
        del number
        there = jax.device_put(self._sent, device, may_alias=False)
        wrong, copies, after = differing(fetched(there), self._sent), 1, self._after[device]
        if after != device:
            further = fetched(jax.device_put(there, after, may_alias=False))
            wrong, copies = _joined(wrong, differing(further, self._sent), before=0), 2
        return Look(wrong, copies * self._sent.nbytes, self._sent.nbytes)


def fetched(result: jax.Array) -> np.ndarray:
    """A copy on the host."""
    return np.array(result)


def _joined(wrong: Wrong | None, more: Wrong | None, *, before: int) -> Wrong | None:
    """Both together; `more` was found that many words further on."""
    if more is None:
        return wrong
    if wrong is None:
        return more._replace(first=more.first + before)
    return wrong._replace(words=wrong.words + more.words)
