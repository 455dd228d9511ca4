"""Clients in JavaScript that nobody here wrote, against the whole server."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from castor.core.content import Call, Part, Result
from castor.sample.ask import Ask

from .fake_desk import FakeDesk, Language, Script, echo, says
from .served import served, trusting

CLIENTS = Path(__file__).parent / "clients"
MANUAL = Path(__file__).parent.parent.parent / "docs/serve.md"
MODULES = CLIENTS / "node_modules"
GEMINI = MODULES / "@google/gemini-cli/bundle/gemini.js"
KEY = {"GEMINI_API_KEY": "any"}
SETTINGS = {
    "security": {"auth": {"selectedType": "gemini-api-key"}},
    "privacy": {"usageStatisticsEnabled": False},
    "general": {"enableAutoUpdate": False, "enableAutoUpdateNotification": False},
}
SCHEMES = pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
Done = subprocess.CompletedProcess[str]


def node(script: Path, *arguments: str, at: Path, variables: dict[str, str]) -> Done:
    """What a script did, with a home of its own, started in the folder `at`."""
    program = shutil.which("node")
    assert program, "node is not here: install Node.js 20 or later, then run `make npm`"
    assert MODULES.exists(), f"run `make npm` first: it installs the clients into {MODULES}"
    return subprocess.run(
        [program, str(script), *arguments],
        cwd=at,
        env={"PATH": os.environ["PATH"], "HOME": str(at.parent), "TMPDIR": str(at.parent)}
        | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
    )


def gemini(desk: FakeDesk, prompt: str, *options: str, folder: Path, tls: bool = False) -> Done:
    """What `gemini -p` did in a folder with one file, of which the model knows nothing yet."""
    project, settings = folder / "home/project", folder / "home/.gemini/settings.json"
    for each in (project, settings.parent):
        each.mkdir(parents=True)
    (project / "notes.txt").write_text("The word is plum.\n")
    settings.write_text(json.dumps(SETTINGS))
    with served(desk, folder / "kept", tls=tls) as address:
        variables = {"GOOGLE_GEMINI_BASE_URL": address} | (trusting(folder / "kept") if tls else {})
        given = ("--skip-trust", "-p", prompt, *options)
        return node(GEMINI, *given, at=project, variables=KEY | variables)


def answers(*parts: Part | str, calls: Sequence[Call] = ()) -> FakeDesk:
    """An engine that makes the calls, in one turn, and says the parts when it knows the results.

    gemini-cli first asks which model to use, in JSON: that is answered as always.
    """

    def reply(ask: Ask) -> Script:
        if not (isinstance(ask.constraint, Language) and ask.constraint.kind == "calls"):
            return echo(ask)
        known = any(isinstance(part, Result) for part in ask.document.turns[-1].parts)
        *first, last = parts if known or not calls else calls
        return [*(says(part) for part in first), says(last, finish="stop")]

    return FakeDesk(context=1_000_000, reply=reply)


def results(desk: FakeDesk) -> list[str]:
    """What the functions told the model, in the last request."""
    parts = desk.asks[-1].document.turns[-1].parts
    return [str(part.response) for part in parts if isinstance(part, Result)]


@pytest.mark.npm
@SCHEMES
def test_google_genai_gets_all_it_asks_for(tls: bool, tmp_path: Path) -> None:
    at = tmp_path / "home/project"
    at.mkdir(parents=True)
    with served(FakeDesk(), tmp_path / "kept", tls=tls) as address:
        variables = trusting(tmp_path / "kept") if tls else {}
        script = CLIENTS / "with_google_genai.mjs"
        done = node(script, address, at=at, variables=variables)
    assert done.returncode == 0, done.stderr


@pytest.mark.npm
def test_the_example_of_the_manual_runs_as_it_stands(tmp_path: Path) -> None:
    at = tmp_path / "home/project"
    at.mkdir(parents=True)
    (at / "node_modules").symlink_to(MODULES)
    (example,) = re.findall(r"```js\n(.*?)```", MANUAL.read_text(), re.DOTALL)
    script = at / "example.mjs"
    with served(FakeDesk(), tmp_path / "kept") as address:
        script.write_text(example.replace("http://127.0.0.1:8000", address))
        done = node(script, at=at, variables=KEY)
    assert (done.returncode, done.stdout) == (0, "hello\n"), done.stderr


@pytest.mark.npm
@SCHEMES
def test_gemini_cli_prints_an_answer_once(tls: bool, tmp_path: Path) -> None:
    desk = answers("Hel", "lo, ", "wörld \u2028 ", "😀")
    done = gemini(desk, "say hello", folder=tmp_path, tls=tls)
    assert (done.returncode, done.stdout) == (0, "Hello, wörld \u2028 😀\n"), done.stderr


@pytest.mark.npm
@pytest.mark.parametrize(
    ("call", "told"),
    [
        (Call("read_file", {"file_path": "notes.txt"}), "The word is plum."),
        (Call("list_directory", {"dir_path": "."}), "notes.txt"),
        (Call("grep_search", {"pattern": "pl.m"}), "The word is plum."),
    ],
    ids=lambda given: given.name if isinstance(given, Call) else "",
)
def test_gemini_cli_runs_what_the_model_calls(call: Call, told: str, tmp_path: Path) -> None:
    desk = answers("It is ", "plum.", calls=[call])
    done = gemini(desk, "which word?", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "It is plum.\n"), done.stderr
    (result,) = results(desk)
    assert told in result


@pytest.mark.npm
def test_gemini_cli_runs_two_calls_of_one_turn_and_counts_them(tmp_path: Path) -> None:
    calls = [Call("read_file", {"file_path": name}) for name in ("notes.txt", "none.txt")]
    desk = answers("plum", calls=calls)
    done = gemini(desk, "which word?", "-o", "json", folder=tmp_path)
    told = json.loads(done.stdout)
    assert (done.returncode, told["response"]) == (0, "plum"), done.stderr
    found, missing = results(desk)
    assert "The word is plum." in found and "not found" in missing
    tools, models = told["stats"]["tools"], told["stats"]["models"]
    assert (tools["totalSuccess"], tools["totalFail"]) == (1, 1)
    prompts = sum(ticket.prompt.total for ticket in desk.tickets)
    assert models["castor-fake"]["tokens"]["prompt"] == prompts


@pytest.mark.npm
def test_gemini_cli_says_when_the_context_is_too_small_for_it(tmp_path: Path) -> None:
    done = gemini(FakeDesk(context=16_000), "say hello", folder=tmp_path)
    assert done.returncode != 0 and done.stdout == ""
    assert re.search(r"token count \(\d+\) exceeds the maximum .* \(16000\)", done.stderr)


def test_the_clients_are_pinned_without_the_address_that_they_come_from() -> None:
    wanted = json.loads((CLIENTS / "package.json").read_text())["dependencies"]
    packages = json.loads((CLIENTS / "package-lock.json").read_text())["packages"]
    assert packages[""]["dependencies"] == wanted
    for name, version in wanted.items():
        assert packages[f"node_modules/{name}"]["version"] == version
    for place, package in packages.items():
        assert "resolved" not in package, place
        assert place == "" or package["integrity"].startswith("sha512-"), place
