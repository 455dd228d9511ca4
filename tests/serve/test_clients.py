"""Clients that nobody here wrote, against the app on a port, in an environment of their own."""

import re
import subprocess
from pathlib import Path

import pytest

from .fake_desk import FakeDesk
from .test_on_a_port import on_a_port

REPOSITORY = Path(__file__).resolve().parent.parent.parent
PYTHON = REPOSITORY / ".venv-clients/bin/python"
SCRIPTS = sorted((Path(__file__).parent / "clients").glob("with_*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_client_gets_all_it_asks_for(script: Path) -> None:
    assert PYTHON.exists(), "run `make clients` first: it installs them into .venv-clients"
    with on_a_port(FakeDesk()) as address:
        command = [str(PYTHON), str(script), address]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_every_client_with_a_script_is_pinned() -> None:
    lines = (REPOSITORY / "requirements/clients.txt").read_text().splitlines()
    pinned = [re.split(r"[=\[]", line)[0] for line in lines if "==" in line]
    for script in SCRIPTS:
        name = script.stem.removeprefix("with_").replace("_", "-")
        assert any(each.startswith(name) or name.startswith(each) for each in pinned), name
