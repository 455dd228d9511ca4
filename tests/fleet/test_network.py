"""Hosts of a network reach each other until a cable is pulled out."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from castor.fleet.network import Network, laid

ANSWERS = """
import socket, sys
from castor.fleet.network import Network
network = Network({hosts}, {number})
network.enter({host})
with socket.create_server((network.address({host}), 7777)) as server:
    print(socket.gethostname(), flush=True)
    while True:
        server.accept()[0].close()
"""
ASKS = """
import socket, sys
from castor.fleet.network import Network
network = Network({hosts}, {number})
network.enter({host})
socket.create_connection((network.address(1), 7777), timeout=0.5).close()
"""


@pytest.fixture
def network() -> Iterator[Network]:
    with laid(3) as found:
        if found is None:
            pytest.skip("needs root and the command ip, to make network namespaces")
        yield found


def script(text: str, network: Network, host: int) -> list[str]:
    given = {"hosts": network.hosts, "number": network.number, "host": host}
    return [sys.executable, "-c", text.format(**given)]


def reached(network: Network, host: int) -> bool:
    asked = subprocess.run(script(ASKS, network, host), capture_output=True, check=False)
    return asked.returncode == 0


def test_a_host_is_reached_until_it_is_cut_off(network: Network) -> None:
    command = script(ANSWERS, network, 1)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline().strip() == network.address(1)
            assert reached(network, 0) and reached(network, 2)
            network.cut(0)
            assert not reached(network, 0) and reached(network, 2)
            network.mend(0)
            assert reached(network, 0)
        finally:
            server.kill()


def test_two_networks_have_nothing_in_common_and_nothing_is_left(network: Network) -> None:
    with laid(1) as other:
        assert other is not None and other.address(0) != network.address(0)
        assert os.path.exists(f"/run/netns/castor{other.number}-0")
    assert not os.path.exists(f"/run/netns/castor{other.number}-0")


def test_where_none_can_be_made_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with laid(2) as found:
        assert found is None
    with laid(0) as found:
        assert found is None
