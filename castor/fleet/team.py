"""The processes of one run: who is who, and what they agree on.

Invariant: what is agreed on here goes through the coordinator and never through devices, so that it
may happen beside a training step, and from any thread that has words of its own.
"""

import re
import socket
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import jax
from jax._src import distributed  # JAX has no public name for its coordinator's client

SEAT = re.compile(r"(\d+)/(\d+)@(.+:\d+)")
HEARTBEAT_S = 60  # of silence, and the coordinator gives a process up
APART_S = 10.0  # between the clocks of two hosts
LIMIT_S = 600.0  # for which one process waits for the others


class Seat(NamedTuple):
    """The place of a process among those of its run."""

    process: int
    processes: int
    coordinator: str  # host:port of process 0

    def __str__(self) -> str:
        return f"{self.process}/{self.processes}@{self.coordinator}"


def seat(text: str) -> Seat:
    """The seat that a text such as "2/4@10.0.0.7:7777" names.

    Raises:
        ValueError: it names none.
    """
    found = SEAT.fullmatch(text)
    if found is None or int(found[1]) >= int(found[2]):
        raise ValueError(
            f"{text!r} is no place among hosts: give PROCESS/PROCESSES@HOST:PORT, such as "
            "2/4@10.0.0.7:7777 for the third of four, where HOST is that of process 0"
        )
    return Seat(int(found[1]), int(found[2]), found[3])


def join(seat: Seat | None) -> int:
    """Become one of the processes of a run, and say how many there are; None = as Slurm, Kubernetes
    or MPI say.

    A CPU's devices then add up in the order that gloo has, which is the same for one process.

    Raises:
        ValueError: nothing says which one this is, or the coordinator does not answer.
    """
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    told: dict[str, Any] = {}
    if seat is not None:
        told = dict(zip(("process_id", "num_processes", "coordinator_address"), seat, strict=True))
    try:
        jax.distributed.initialize(heartbeat_timeout_seconds=HEARTBEAT_S, **told)
    except RuntimeError as error:
        raise ValueError(f"the hosts did not find together: {error}") from None
    except ValueError:
        raise ValueError(
            "neither Slurm, Kubernetes nor MPI says which host this is: give "
            "--hosts PROCESS/PROCESSES@HOST:PORT"
        ) from None
    return distributed.global_state.num_processes or 1


def alone() -> Seat:
    """The only seat of a run on this machine, with a port that is free."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return Seat(0, 1, f"127.0.0.1:{listener.getsockname()[1]}")


class Team:
    """The processes that train together; one alone if JAX was told of no others.

    Every method is called by all of them, with the same words in the same order.
    """

    def __init__(self) -> None:
        self.process, self.processes = jax.process_index(), jax.process_count()
        self._turns: Counter[str] = Counter()

    @property
    def first(self) -> bool:
        """Whether this is the process that writes what is written once."""
        return self.process == 0

    @property
    def host(self) -> str:
        """The address of this host, as those see it that see the coordinator."""
        known = distributed.global_state.coordinator_address
        if known is None or self.processes == 1:
            return "127.0.0.1"
        host, _, port = known.rpartition(":")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:  # nothing is sent
            probe.connect((host, int(port)))
            return probe.getsockname()[0]

    def wait(self, what: str, *, limit_s: float = LIMIT_S) -> None:
        """Go on when all have come to the same place.

        Raises:
            RuntimeError: one has not come in time, or has ended.
        """
        if self.processes > 1:
            self._client.wait_at_barrier(self._key(what), round(1000 * limit_s))

    def after_first[T](self, what: str, make: Callable[[], T]) -> T:
        """What `make` gives to each, when the first process has made it, and written it down."""
        if self.first:
            made = make()
            self.wait(what)
            return made
        self.wait(what)
        return make()

    def told(self, what: str, value: str = "", *, limit_s: float = LIMIT_S) -> str:
        """The value that the first process gives; what others give counts for nothing.

        Raises:
            RuntimeError: it has not given one in time.
        """
        if self.processes == 1:
            return value
        key = self._key(what)
        if self.first:
            self._client.key_value_set(key, value)
            return value
        return self._client.blocking_key_value_get(key, round(1000 * limit_s))

    def everyones(self, what: str, value: str, *, limit_s: float = LIMIT_S) -> list[str]:
        """What each process gives, in their order.

        Raises:
            RuntimeError: one has not given it in time.
        """
        if self.processes == 1:
            return [value]
        key = self._key(what)
        self._client.key_value_set(f"{key}/{self.process}", value)
        limit = round(1000 * limit_s)
        get = self._client.blocking_key_value_get
        return [get(f"{key}/{process}", limit) for process in range(self.processes)]

    def publish(self, what: str, value: str) -> None:
        """Let the others know what holds for this process from now on; the last word counts."""
        if self.processes > 1:
            key = f"castor/{what}/now/{self.process}"
            self._client.key_value_set(key, value, allow_overwrite=True)

    def published(self, what: str, process: int, *, limit_s: float = LIMIT_S) -> str:
        """What a process last published.

        Raises:
            RuntimeError: it has published nothing in time.
        """
        key = f"castor/{what}/now/{process}"
        return self._client.blocking_key_value_get(key, round(1000 * limit_s))

    def refuse_clocks(self) -> None:
        """Say whose clock is another than the others': what befalls a run is told by their times.

        Raises:
            ValueError: two are more than `APART_S` apart.
        """
        self.wait("clocks")
        told = [float(text) for text in self.everyones("clock", repr(time.time()))]
        slow, fast = told.index(min(told)), told.index(max(told))
        if (apart := told[fast] - told[slow]) > APART_S:
            raise ValueError(
                f"the clock of host {fast} is {apart:,.0f} s ahead of that of host {slow}: "
                f"{APART_S:g} s are allowed; set them by NTP (timedatectl set-ntp true)"
            )

    def ends(self, n: int, asked: bool) -> bool:
        """Whether the run ends after step n, as any of the processes was asked to make it.

        Each calls it when it has sent step n off and read step n - 1. So when one has named the
        step after the next as the last one, all know of it when they come there.
        """
        if self.processes == 1:
            return asked
        if asked:
            with suppress(RuntimeError):  # another was asked before
                self._client.key_value_set("castor/last", str(n + 2))
        try:
            return n >= int(self._client.key_value_try_get("castor/last"))
        except RuntimeError:  # nobody was asked
            return False

    @property
    def _client(self) -> Any:
        return distributed.global_state.client

    def _key(self, what: str) -> str:
        self._turns[what] += 1
        return f"castor/{what}/{self._turns[what]}"
