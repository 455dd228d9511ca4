"""Requests that schemathesis makes of our description, right ones and wrong ones, on a port.

The law: no 500, no hang, and each reply is one that is described.
"""

import subprocess
from pathlib import Path

import pytest

from .fake_desk import FakeDesk
from .served import served

REPOSITORY = Path(__file__).resolve().parent.parent.parent
PROGRAM = REPOSITORY / ".venv-clients/bin/schemathesis"
EXPECTED = '[checks]\nnot_a_server_error.expected-statuses = ["2xx", "4xx", 501, 503]\n'
ALWAYS = (
    *("not_a_server_error", "content_type_conformance", "response_schema_conformance"),
    "response_headers_conformance",
)
MODES = {  # what a wrong address is answered with is described nowhere
    "positive": (
        *(*ALWAYS, "status_code_conformance"),
        *("unsupported_method", "allow_header_conformance"),
    ),
    "negative": ALWAYS,
}


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_every_reply_is_described_and_none_is_an_error_of_the_server(
    mode: str, tmp_path: Path
) -> None:
    assert PROGRAM.exists(), "run `make clients` first: it installs it into .venv-clients"
    (tmp_path / "schemathesis.toml").write_text(EXPECTED)
    with served(FakeDesk(context=100_000), tmp_path / "kept") as address:
        done = subprocess.run(
            [
                *(str(PROGRAM), "--config-file", "schemathesis.toml"),
                *("run", f"{address}/openapi.json", "--phases", "coverage,fuzzing"),
                *("--mode", mode, "--checks", ",".join(MODES[mode]), "--max-examples", "5"),
                *("--exclude-path-regex", "tunedModels"),  # answered by what answers for models
                *("--generation-deterministic", "--no-shrink", "--request-timeout", "30"),
                *("--workers", "1", "--warnings", "off", "--no-color"),
                *("--suppress-health-check", "all"),
            ],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=1200,  # on a busy machine
        )
    assert done.returncode == 0, f"{done.stdout[-20_000:]}\n{done.stderr}"
