"""Counts and times of the server in the text format that Prometheus reads."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from castor.serve.service import Ticket

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class Tally:
    """A number that only grows, for each combination of labels."""

    def __init__(self, name: str, told: str, labels: Sequence[str] = ()) -> None:
        self.name, self.told, self._labels = name, told, tuple(labels)
        self._counts: Counter[tuple[str, ...]] = Counter()

    def add(self, amount: int = 1, **labels: str) -> None:
        self._counts[tuple(labels[name] for name in self._labels)] += amount

    def lines(self) -> Iterator[str]:
        yield from _head(self.name, self.told, "counter")
        counts = sorted(self._counts.items()) or ([] if self._labels else [((), 0)])
        for values, count in counts:
            yield f"{self.name}{_braced(zip(self._labels, values, strict=True))} {count}"


class Level:
    """A number that rises and falls, read when it is asked for."""

    def __init__(self, name: str, told: str, read: Callable[[], float]) -> None:
        self.name, self.told, self._read = name, told, read

    def lines(self) -> Iterator[str]:
        yield from _head(self.name, self.told, "gauge")
        yield f"{self.name} {self._read():g}"


class Spread:
    """How many observed values were at most each bound, their number and their sum."""

    def __init__(self, name: str, told: str, bounds: Sequence[float] = SECONDS) -> None:
        self.name, self.told, self._bounds = name, told, tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        at = sum(value > bound for bound in self._bounds)
        self._counts[at] += 1
        self._sum += value

    def lines(self) -> Iterator[str]:
        yield from _head(self.name, self.told, "histogram")
        below = 0
        for bound, count in zip((*self._bounds, None), self._counts, strict=True):
            below += count
            upper = "+Inf" if bound is None else f"{bound:g}"
            yield f"{self.name}_bucket{_braced([('le', upper)])} {below}"
        yield f"{self.name}_sum {self._sum:.6f}"
        yield f"{self.name}_count {below}"


class Metrics:
    """What this server counts."""

    def __init__(self) -> None:
        self._tickets: dict[int, Ticket] = {}  # of replies that somebody waits for
        self.requests = Tally(
            "castor_requests_total", "Requests answered.", ("route", "method", "status")
        )
        self.seconds = Spread("castor_request_seconds", "From a request to its last byte.")
        self.first = Spread("castor_first_token_seconds", "From a request to its first token.")
        self.queue = Spread(
            "castor_queue_position", "Requests ahead when one is taken.", (0, 1, 2, 4, 8, 16, 32)
        )
        self.tokens = Tally("castor_tokens_total", "Tokens by kind.", ("kind",))
        self.cancelled = Tally("castor_cancelled_total", "Replies that nobody waited for.")
        self._levels = [
            Level("castor_requests_open", "Replies awaited.", lambda: len(self._tickets)),
            Level("castor_requests_waiting", "Those not begun yet.", lambda: self.waiting),
        ]

    def watch(self, name: str, told: str, read: Callable[[], float]) -> None:
        """One level more, that somebody else knows."""
        self._levels.append(Level(name, told, read))

    def begin(self, ticket: Ticket) -> None:
        """Somebody waits for a reply."""
        self._tickets[id(ticket)] = ticket
        self.queue.observe(ticket.position)

    def end(self, ticket: Ticket) -> None:
        """Nobody does any more."""
        del self._tickets[id(ticket)]

    @property
    def waiting(self) -> int:
        """Replies that are awaited and not begun."""
        return sum(ticket.position > 0 for ticket in self._tickets.values())

    def text(self) -> str:
        """All of it."""
        kinds = (self.requests, self.seconds, self.first, self.queue, self.tokens)
        held = (*kinds, self.cancelled, *self._levels)
        return "".join(f"{line}\n" for metric in held for line in metric.lines())


def _head(name: str, told: str, kind: str) -> Iterator[str]:
    yield f"# HELP {name} {told}"
    yield f"# TYPE {name} {kind}"


def _braced(labels: "zip[tuple[str, str]] | list[tuple[str, str]]") -> str:
    inner = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels)
    return f"{{{inner}}}" if inner else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
