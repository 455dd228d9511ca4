"""A network of hosts on one machine, whose cables can be pulled out.

Each host is a network namespace of Linux with an address of its own, on a bridge with the others;
who enters one sees nothing else. It takes the rights of root and the command `ip`.
"""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

SUBNET = "10.77.{}.{}"  # of a network's number, and of its hosts


class Network:
    """So many hosts, of a network that no other on this machine has the number of."""

    def __init__(self, hosts: int, number: int) -> None:
        self.number, self.hosts = number, hosts

    def address(self, host: int) -> str:
        """Where the others reach a host."""
        return SUBNET.format(self.number, host + 1)

    def enter(self, host: int) -> None:
        """Be on a host from now on, with its address for a name; for a process of one thread.

        Raises:
            OSError: there is no such host, or this process may not.
        """
        with open(f"/run/netns/{self._name(host)}", "rb") as space:
            os.setns(space.fileno(), os.CLONE_NEWNET)
        os.unshare(os.CLONE_NEWUTS)
        socket.sethostname(self.address(host))

    def cut(self, host: int) -> None:
        """Pull the cable of a host out: what is sent from or to it is lost, and nobody is told."""
        _ip("link", "set", self._cable(host), "down")

    def mend(self, host: int) -> None:
        """Put it in again."""
        _ip("link", "set", self._cable(host), "up")

    def claim(self) -> bool:
        """Take the number for this network; false if another one has it.

        Raises:
            OSError: this machine or the rights of this process do not allow it.
        """
        try:
            _ip("link", "add", self._bridge, "type", "bridge")
        except OSError as error:
            if "exists" in str(error):
                return False
            raise
        return True

    def lay(self) -> None:
        """Make the hosts, and what is between them.

        Raises:
            OSError: as `claim`.
        """
        _ip("link", "set", self._bridge, "up")
        for host in range(self.hosts):
            name, cable = self._name(host), self._cable(host)
            _ip("netns", "add", name)
            _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", name)
            _ip("link", "set", cable, "master", self._bridge, "up")
            _ip("-n", name, "address", "add", f"{self.address(host)}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")
            _ip("-n", name, "link", "set", "lo", "up")

    def remove(self) -> None:
        """Take everything away that is there."""
        for host in range(self.hosts):
            _ip("link", "delete", self._cable(host), check=False)
            _ip("netns", "delete", self._name(host), check=False)
        _ip("link", "delete", self._bridge, check=False)

    @property
    def _bridge(self) -> str:
        return f"castor{self.number}"

    def _name(self, host: int) -> str:
        return f"castor{self.number}-{host}"

    def _cable(self, host: int) -> str:
        return f"castor{self.number}.{host}"


@contextmanager
def laid(hosts: int) -> Iterator[Network | None]:
    """A network while the block lasts; None for no hosts, and where none may be made."""
    try:
        network = next(n for n in (Network(hosts, i) for i in range(256)) if hosts and n.claim())
    except (OSError, StopIteration):
        yield None
        return
    made = False
    try:
        with suppress(OSError):
            network.lay()
            made = True
        yield network if made else None
    finally:
        network.remove()


def _ip(*words: str, check: bool = True) -> str:
    """What `ip` prints.

    Raises:
        OSError: there is no such command, or it failed.
    """
    try:
        done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        if check:
            raise
        return ""
    if check and done.returncode:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout
