"""Clients that nobody here wrote, against the whole server, in environments of their own."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from .fake_desk import FakeDesk
from .served import served, trusting

REPOSITORY = Path(__file__).resolve().parent.parent.parent
SCRIPTS = sorted((Path(__file__).parent / "clients").glob("with_*.py"))
LIVE = Path(__file__).parent / "clients/live_google_genai.py"  # it speaks TLS alone
ENVIRONMENTS = ("clients", "clients-2")  # requirements/NAME.txt, installed into .venv-NAME


def pinned(environment: str) -> list[str]:
    """The clients that an environment is made for."""
    lines = (REPOSITORY / f"requirements/{environment}.txt").read_text().splitlines()
    return [re.split(r"[=\[]", line)[0] for line in lines if "==" in line]


def client_of(script: Path) -> str:
    return re.sub("^(with|live)_", "", script.stem).replace("_", "-")


def environments_of(name: str) -> list[str]:
    """Where a client is installed, perhaps in several versions."""
    return [
        environment
        for environment in ENVIRONMENTS
        if any(name.startswith(each) or each.startswith(name) for each in pinned(environment))
    ]


MANUAL = (REPOSITORY / "docs/serve.md").read_text()
EXAMPLES = re.findall(r"### (\S+)(?:(?!###).)*?```python\n(.*?)```", MANUAL, re.DOTALL)
RUNS = [(where, script) for script in SCRIPTS for where in environments_of(client_of(script))]


def run(environment: str, script: Path, *, folder: Path, tls: bool = False) -> str:
    """What a script prints that is given a server's address."""
    python = REPOSITORY / f".venv-{environment}/bin/python"
    assert python.exists(), f"run `make clients` first: it installs them into .venv-{environment}"
    with served(FakeDesk(), folder, tls=tls) as address:
        told = {"GOOGLE_GEMINI_BASE_URL": address, "GEMINI_API_KEY": "any"}
        done = subprocess.run(
            [str(python), str(script), address],
            capture_output=True,
            text=True,
            timeout=600,
            env=os.environ | told | (trusting(folder) if tls else {}),
        )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize(("environment", "script"), RUNS, ids=lambda given: Path(given).stem)
def test_a_client_gets_all_it_asks_for(
    environment: str, script: Path, tls: bool, tmp_path: Path
) -> None:
    run(environment, script, folder=tmp_path, tls=tls)


@pytest.mark.slow
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_google_genai_talks_with_the_server(environment: str, tmp_path: Path) -> None:
    run(environment, LIVE, folder=tmp_path, tls=True)


@pytest.mark.slow
@pytest.mark.parametrize(("client", "example"), EXAMPLES, ids=[client for client, _ in EXAMPLES])
def test_an_example_of_the_manual_runs_as_it_stands(
    client: str, example: str, tmp_path: Path
) -> None:
    script = tmp_path / "example.py"
    address = example.replace('"http://127.0.0.1:8000', 'sys.argv[1] + "')
    script.write_text(f"import sys\n\n{address}")
    printed = run(environments_of(client)[0], script, folder=tmp_path / "kept")
    assert re.search("hello|done", printed)


def test_every_client_with_a_script_is_pinned_and_each_that_is_pinned_has_one() -> None:
    for script in (*SCRIPTS, LIVE):
        assert environments_of(client_of(script)), script.name
    names = [client_of(script) for script in SCRIPTS]
    for environment in ENVIRONMENTS:
        for client in pinned(environment):
            assert any(n.startswith(client) or client.startswith(n) for n in names), client
