"""`castor goodput`: what it tells of a run's time, and what it refuses."""

import json
import re
from pathlib import Path

import pytest

from castor.cli import main
from castor.core.media import open_image
from castor.fleet.ledger import LEDGER, Ledger, ledger_of


@pytest.fixture
def crashed(tmp_path: Path) -> Path:
    """A run of 100 s with a crash that cost 10 s and a lost step of 5."""
    run = tmp_path / "run"
    with Ledger(run / LEDGER) as ledger:
        for number, begun in ((1, 0.0), (2, 45.0), (2, 60.0), (3, 80.0)):
            ended = {0.0: 45.0, 45.0: 50.0, 60.0: 80.0, 80.0: 100.0}[begun]
            ledger.spent("step", begun=begun, ended=ended, step=number)
        ledger.spent("restart", begun=51.0, ended=58.0)
        ledger.spent("restore", begun=58.0, ended=60.0)
        ledger.happened("fault", at=50.5, what="kill", process=2)
        ledger.happened("detected", at=51.0)
    return run


def told(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(["goodput", *argv]) == 0
    return capsys.readouterr().out


def test_causes_faults_and_goodput_are_told(crashed: Path, capsys) -> None:
    text = told(capsys, str(crashed))
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line}
    assert rows["step"] == ["85.0", "85.00%"]
    assert rows["replay"] == ["5.0", "5.00%"]
    assert rows["restart"] == ["7.0", "7.00%"]
    assert rows["elapsed"] == ["100.0"]
    assert "data" not in rows
    assert "kill, process 2" in text
    assert "restart 7.0, replay 5.0, restore 2.0, other 1.0" in text
    assert "goodput 85.0%: 85.0 s of 3 useful steps; 1 lost" in text
    assert "a fault costs 15.0 s (mean of 1); at one an hour goodput would be 99.6%" in text
    assert "cut off" not in text


def test_json_says_the_same(crashed: Path, capsys) -> None:
    record = json.loads(told(capsys, str(crashed), "--json"))
    assert (record["elapsed"], record["goodput"], record["steps"]) == (100, 0.85, 3)
    assert (record["lost_steps"], record["torn_lines"], record["cost_per_fault"]) == (1, 0, 15)
    assert record["goodput_at_one_fault_an_hour"] == pytest.approx(1 - 15 / 3600)
    (fault,) = record["faults"]
    assert (fault["at"], fault["detected"], fault["resumed"]) == (50.5, 51, 80)
    assert (fault["cost"], sum(fault["seconds"].values())) == (15, 15)


def test_without_a_fault_nothing_is_projected(tmp_path: Path, capsys) -> None:
    with Ledger(tmp_path / LEDGER) as ledger:
        ledger.spent("step", begun=0.0, ended=2.0, step=1)
    assert "no fault: nothing says what one costs" in told(capsys, str(tmp_path))
    assert json.loads(told(capsys, str(tmp_path), "--json"))["goodput_at_one_fault_an_hour"] is None


def test_a_fault_that_nobody_saw_has_empty_places(tmp_path: Path, capsys) -> None:
    with Ledger(tmp_path / LEDGER) as ledger:
        ledger.spent("step", begun=0.0, ended=2.0, step=1)
        ledger.happened("fault", at=1.0, what="a bit of a kept shard")
    assert "a bit of a kept shard" in told(capsys, str(tmp_path))


def test_a_torn_line_is_told(crashed: Path, capsys) -> None:
    with (crashed / LEDGER).open("a") as stream:
        stream.write('{"cause": "da')
    assert "lines of the ledger cut off, not counted: 1" in told(capsys, str(crashed))


def test_the_picture_is_drawn(crashed: Path, tmp_path: Path, capsys) -> None:
    picture = tmp_path / "time.png"
    assert f"drawn: {picture}" in told(capsys, str(crashed), "--out", str(picture))
    assert open_image(picture.read_bytes(), "image/png").std() > 5


def test_what_has_no_ledger_is_refused_in_a_sentence(tmp_path: Path, capsys) -> None:
    def refused(*argv: str) -> str:
        assert main(["goodput", *argv]) == 1
        return capsys.readouterr().err.replace(str(tmp_path), "DIR")

    assert refused(str(tmp_path / "none")) == "castor: there is no run DIR/none\n"
    nothing = "castor: DIR is no run: it holds neither ledger.jsonl nor recipe.json\n"
    assert refused(str(tmp_path)) == nothing
    (tmp_path / "recipe.json").write_text("{}")
    assert refused(str(tmp_path)) == "castor: DIR has no ledger.jsonl; `castor train` writes one\n"
    (tmp_path / LEDGER).touch()
    empty = "castor: DIR/ledger.jsonl: the ledger has no whole line yet\n"
    assert refused(str(tmp_path)) == empty
    (tmp_path / LEDGER).write_text("step 1 of 3\n")
    assert refused(str(tmp_path)).startswith("castor: DIR/ledger.jsonl: line 1 is none of a ledger")


def test_a_picture_that_cannot_be_is_refused(crashed: Path, tmp_path: Path, capsys) -> None:
    assert main(["goodput", str(crashed), "--out", str(tmp_path / "time.pdf")]) == 1
    assert "the picture is a PNG, and " in capsys.readouterr().err
    instant = tmp_path / "instant"
    with Ledger(instant / LEDGER) as ledger:
        ledger.happened("started", at=1.0)
    assert "goodput 0.0%" in told(capsys, str(instant))
    assert main(["goodput", str(instant), "--out", str(tmp_path / "time.png")]) == 1
    assert "the ledger spans no time yet" in capsys.readouterr().err


def host_ledgers(run: Path, *, late_s: float) -> None:
    """Three hosts of 100 steps, the last of which takes so much longer."""
    for host in range(3):
        with Ledger(run / ledger_of(host)) as ledger:
            for n in range(100):
                own = 0.1 + 0.001 * (n % 5) + late_s * (host == 2)
                ledger.spent("step", begun=float(n), ended=n + 1.0, step=n + 1)
                ledger.spent("host", begun=float(n), ended=n + own, step=n + 1)


def test_a_slow_host_is_named_beside_the_others(tmp_path: Path, capsys) -> None:
    host_ledgers(tmp_path, late_s=0.05)
    text = told(capsys, str(tmp_path))
    assert re.search(r"\n *2 +100 +152\.0 +154\.0 +100 +5\.0 +slow *\n", text)
    assert re.search(r"\n *0 +100 +102\.0 +104\.0 +0 +0\.0 *\n", text)
    assert "host 2 is slow: 50.0 ms a step more than the others; look at its disk" in text
    assert "goodput 100.0%" in text  # own times are part of steps
    hosts = json.loads(told(capsys, str(tmp_path), "--json"))["hosts"]
    assert [host["host"] for host in hosts if host["slow"]] == [2]
    assert sum(host["cost_s"] for host in hosts) == pytest.approx(5.0, abs=1e-3)
    assert "waited 5.0 s for the last ones in all" in text


def test_equal_hosts_are_told_as_such_and_one_alone_not_at_all(tmp_path: Path, capsys) -> None:
    host_ledgers(tmp_path, late_s=0.0)
    assert told(capsys, str(tmp_path)).endswith("no host is slower than the others beyond noise\n")
    for host in (1, 2):
        (tmp_path / ledger_of(host)).unlink()
    assert "host" not in told(capsys, str(tmp_path))
    assert json.loads(told(capsys, str(tmp_path), "--json"))["hosts"] == []


def test_a_host_whose_ledger_is_none_is_named(tmp_path: Path, capsys) -> None:
    host_ledgers(tmp_path, late_s=0.0)
    (tmp_path / ledger_of(1)).write_text("step 1\n")
    assert main(["goodput", str(tmp_path)]) == 1
    assert "ledger_1.jsonl: line 1 is none of a ledger" in capsys.readouterr().err
