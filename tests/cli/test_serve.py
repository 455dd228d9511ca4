"""`castor serve` as a process of its own, from its first line to its last."""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from castor.cli import main
from castor.cli.answering import SHIPPED

ASKED = {"contents": [{"parts": [{"text": "Two plus three?"}]}]}


@contextmanager
def serving(folder: Path, *flags: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A server on a free port, and its address."""
    command = [
        sys.executable,
        "-m",
        "castor.cli",
        "serve",
        "--port",
        "0",
        "--data-dir",
        str(folder),
    ]
    pipe = subprocess.PIPE
    with subprocess.Popen([*command, *flags], stdout=pipe, stderr=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            assert first.startswith("chat page"), process.stderr and process.stderr.read()
            yield first.split()[-1].rstrip("/"), process
        finally:
            process.kill()


@pytest.mark.slow
def test_a_server_answers_logs_and_stops_when_it_is_told(tmp_path: Path) -> None:
    assert SHIPPED.exists()
    with serving(tmp_path, "--api-key", "secret") as (address, process):
        url = f"{address}/v1beta/models/gemini-2.5-flash:generateContent"
        assert httpx.post(url, json=ASKED).status_code == 403
        told = httpx.post(f"{url}?key=secret", json=ASKED, timeout=120).json()
        assert told["candidates"][0]["finishReason"] == "STOP"
        assert told["modelVersion"] == "castor-demo"
        assert "<title>Castor</title>" in httpx.get(f"{address}/").text
        rated = httpx.post(
            f"{address}/feedback", json={"up": 1}, headers={"x-goog-api-key": "secret"}
        )
        assert rated.status_code == 200
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=30)
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert [line["status"] for line in lines] == [403, 200, 200, 200]
    assert "secret" not in log
    assert (tmp_path / "feedback.jsonl").read_text() == '{"up": 1}\n'


@pytest.mark.slow
def test_under_tls_its_certificate_is_what_clients_need(tmp_path: Path) -> None:
    with serving(tmp_path, "--tls", "--quiet") as (address, process):
        assert address.startswith("https://") and process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        certificate = lines[-1].split("SSL_CERT_FILE=")[1].strip()
        verified = ssl.create_default_context(cafile=certificate)
        assert httpx.get(f"{address}/health", verify=verified).json()["model"] == "castor-demo"


def test_a_port_that_is_taken_is_said_in_a_sentence(tmp_path: Path, capsys) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        assert main(["serve", "--port", port, "--data-dir", str(tmp_path)]) == 1
    assert f"cannot listen on 127.0.0.1 port {port}" in capsys.readouterr().err
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("flags", [["--port", "70000"], ["--max-batch", "0"], ["--context", "x"]])
def test_flags_out_of_range_are_wrong_usage(flags: list[str], capsys) -> None:
    with pytest.raises(SystemExit) as end:
        main(["serve", *flags])
    assert end.value.code == 2
    assert flags[1] in capsys.readouterr().err
