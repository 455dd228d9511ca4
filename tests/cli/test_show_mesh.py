"""`castor show --mesh`: what each device of a mesh holds, keeps and sends."""

import json
import re

import pytest

from castor.cli import main
from castor.cli.weights import bytes_on_each
from castor.models.sizes import TINY
from castor.train import plan
from castor.train.collectives import Collective

PLAN = plan.Plan(5_000_000, 7_000_000, (Collective("all-gather", ("fsdp", "tensor"), 24, 1300),))


@pytest.fixture
def stated(monkeypatch: pytest.MonkeyPatch) -> list[plan.Work]:
    """The works that a plan was asked for; each gets the same one, at once."""
    asked: list[plan.Work] = []

    def planned(work: plan.Work, mesh: object) -> plan.Plan:
        asked.append(work)
        return PLAN

    monkeypatch.setattr(plan, "planned", planned)
    return asked


def shown(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(["show", *argv]) == 0
    return capsys.readouterr().out


def test_devices_that_share_the_weights_hold_less_each(stated, capsys) -> None:
    text = shown(capsys, "MINI", "--mesh", "fsdp=4,tensor=2")
    whole, part = (bytes_on_each(TINY, mesh=m)["weights"] for m in ({}, {"fsdp": 2, "tensor": 2}))
    assert "each of 8 devices" in text and "moments" not in text
    assert whole / 4 <= part < whole / 2


def test_a_run_on_a_mesh_holds_gradients_moments_and_averages_too(stated, capsys) -> None:
    text = shown(capsys, "tiny", "--mesh", "fsdp=2")
    sizes = dict(re.findall(r"(weights|gradients|moments|averages) +\W*([\d.]+) MB", text))
    assert sizes["weights"] == sizes["gradients"] == sizes["averages"]
    assert 1 <= float(sizes["moments"]) / float(sizes["weights"]) <= 2


def test_a_step_is_told_with_what_it_keeps_and_sends(stated, capsys) -> None:
    text = shown(capsys, "tiny", "--mesh", "fsdp=2", "--set", "remat=full")
    assert "one step, 8 rows of 256 tokens, on each device" in text
    assert re.search(r"kept for the backward pass \(full\) +5.0 MB", text)
    assert re.search(r"all-gather +fsdp, tensor +24 +1.3 kB", text)
    assert stated[0].optimizer is not None


def test_a_bare_size_is_planned_for_the_rows_that_are_asked_for(stated, capsys) -> None:
    given = ("--mesh", "fsdp=4,tensor=2", "--rows", "8", "--length", "32")
    assert "forward and backward pass, 8 rows of 32 tokens" in shown(capsys, "MINI", *given)
    assert stated[0].batch.tokens.shape == (8, 32)
    shown(capsys, "MINI", "--mesh", "fsdp=4,tensor=2")
    assert stated[1].batch.tokens.shape == (4, 256)


def test_a_cache_is_told_for_the_context_that_is_asked_for(stated, capsys) -> None:
    text = shown(capsys, "MINI", "--mesh", "fsdp=2", "--context", "1000")
    assert "keys and values of a row of 1,000 positions, to serve with: 512.0 kB" in text


def test_json_has_all_of_it(stated, capsys) -> None:
    found = json.loads(shown(capsys, "tiny", "--mesh", "fsdp=2", "--json"))
    assert found["kind"] == "Recipe" and found["values"]["optimizer"] == "Muon"
    assert sum(found["weights"]["groups"].values()) == found["weights"]["count"]
    mesh = found["mesh"]
    assert set(mesh["state_bytes"]) == {"weights", "gradients", "moments", "averages"}
    assert (mesh["devices"], mesh["activation_bytes"], mesh["temporary_bytes"]) == (2, *PLAN[:2])
    assert mesh["collectives"] == [
        {"kind": "all-gather", "axes": ["fsdp", "tensor"], "times": 24, "sent_bytes": 1300}
    ]


def test_more_devices_than_can_be_played_are_told_what_they_hold(stated, capsys) -> None:
    text = shown(capsys, "ULTRA", "--mesh", "fsdp=512,tensor=16")
    assert "each of 8,192 devices" in text and "for 2,048 devices at most" in text
    assert not stated


def test_a_size_alone_is_json_too(capsys) -> None:
    found = json.loads(shown(capsys, "TINY", "--json"))
    assert found["values"]["width"] == TINY.width and "mesh" not in found


@pytest.mark.slow
def test_the_exchanges_of_a_real_step_are_told(capsys) -> None:
    given = ("--mesh", "fsdp=2", "--rows", "2", "--length", "16", "--json")
    mesh = json.loads(shown(capsys, "TINY", *given))["mesh"]
    kinds = {found["kind"] for found in mesh["collectives"]}
    assert {"all-gather", "reduce-scatter"} <= kinds and mesh["activation_bytes"] > 0


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["tiny", "--mesh", "fsdp=7"], r"rows=\d+ cannot be shared out over fsdp=7; "),
        (["MINI", "--mesh", "fsdp=2", "--rows", "3"], "rows=3 cannot be shared out over fsdp=2; "),
        (["DEMO", "--mesh", "tensor=2"], "model.heads=3 cannot be shared out over tensor=2; "),
        (["TINY", "--rows", "3"], "--rows is for --mesh; name one, such as --mesh fsdp=8"),
        (
            ["tiny", "--mesh", "fsdp=2", "--length", "64"],
            "--length is for a bare size; change a recipe with --set length=N",
        ),
        (["tiny", "optimizer", "--json"], "--json prints a whole recipe or size; leave FIELD out"),
    ],
)
def test_what_changes_nothing_or_divides_nothing_is_refused(
    argv: list[str], sentence: str, capsys
) -> None:
    assert main(["show", *argv]) == 1
    assert re.search(sentence, capsys.readouterr().err)


def test_more_devices_than_there_ever_are_are_refused(capsys) -> None:
    with pytest.raises(SystemExit):
        main(["show", "TINY", "--mesh", "fsdp=1000000,tensor=1000000"])
    assert "'fsdp=1000000,tensor=1000000' is more than 1,048,576 in all" in capsys.readouterr().err
