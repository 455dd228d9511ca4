"""Live sessions of clients that nobody here wrote, over TLS with the certificate of the server."""

import os
import subprocess
from pathlib import Path

import pytest

from castor.serve.certificate import certificate

from .fake_desk import FakeDesk
from .test_clients import PYTHON
from .test_live_on_a_port import on_a_port

SCRIPT = Path(__file__).parent / "clients/live_google_genai.py"


@pytest.mark.slow
def test_google_genai_talks_with_the_server(tmp_path: Path) -> None:
    assert PYTHON.exists(), "run `make clients` first: it installs them into .venv-clients"
    files = certificate(tmp_path)
    with on_a_port(FakeDesk(), files=files) as port:
        done = subprocess.run(
            [str(PYTHON), str(SCRIPT), f"https://localhost:{port}"],
            capture_output=True,
            text=True,
            timeout=300,
            env=os.environ | {"SSL_CERT_FILE": str(files[0])},
        )
    assert done.returncode == 0, done.stderr
