"""`castor doctor --scan`: what it shows of sound and of wrong devices, and what it refuses."""

import json
import re
from dataclasses import replace

import jax
import pytest

from castor.cli import main
from castor.fleet import scan as scanning
from castor.fleet.known import Wrong
from castor.fleet.scan import Examined, Size

FLIP = Wrong(words=3, first=17, got=0x40000001, wanted=0x40000000, bytes_per_word=4)


def sound(device: str, check: str) -> Examined:
    return Examined(f"cuda:{device}", "H100", check, rounds=4, bytes=1000, held=2000)


def scanned(monkeypatch: pytest.MonkeyPatch, *wrong: tuple[str, str]) -> list[Examined]:
    """Two devices, some of whose checks were wrong in one round."""
    found = [sound(d, check) for check in ("product", "elementwise", "copies") for d in "01"]
    found = [
        replace(one, wrong=FLIP, rounds_wrong=1) if (one.device[-1], one.check) in wrong else one
        for one in found
    ]
    monkeypatch.setattr(scanning, "scan", lambda devices, **how: found)
    return found


def test_a_sound_machine_passes_and_memory_is_told(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    scanned(monkeypatch)
    assert main(["doctor", "--scan"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"cuda:0 \(H100\) +passed +passed +passed", text)
    assert "6.0 kB compared in 4 rounds; at most 2.0 kB of a device's memory held at once" in text
    assert text.endswith("no device gave a wrong bit\n")


def test_a_wrong_device_is_named_with_its_words_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    scanned(monkeypatch, ("1", "product"), ("1", "copies"))
    assert main(["doctor", "--scan"]) == 1
    text = capsys.readouterr().out
    assert re.search(r"cuda:0 \(H100\) +passed +passed +passed", text)
    assert re.search(r"cuda:1 \(H100\) +3 words wrong +passed +3 words wrong", text)
    row = r"cuda:1 +product +1 of 4 +3 +17 +0x44 +0 +0x40000001, 0x40000000"
    assert re.search(row, text)
    assert "\ncuda:1 gave wrong bits in product and copies: keep work away from it, scan" in text
    assert "cuda:0 gave" not in text


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ((("0", "copies"),), "cuda:0, or the way to it, changes what is copied: "),
        ((("0", "elementwise"),), "cuda:0 gave wrong bits in elementwise: "),
        (
            (("0", "elementwise"), ("1", "elementwise")),
            "cuda:1 and its like disagree, and nothing says which is right: ",
        ),
        ((("0", "elementwise"), ("0", "product")), "cuda:0 gave wrong bits in product and elem"),
    ],
)
def test_the_sentence_says_no_more_than_is_known(
    wrong: tuple[tuple[str, str], ...], sentence: str, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    scanned(monkeypatch, *wrong)
    assert main(["doctor", "--scan"]) == 1
    assert sentence in capsys.readouterr().out


def test_json_says_the_same(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    scanned(monkeypatch, ("1", "product"))
    assert main(["doctor", "--scan", "--json", "--seed", "3", "--memory", "0.5"]) == 1
    record = json.loads(capsys.readouterr().out)
    assert (record["passed"], record["seed"], record["memory"]) == (False, 3, 0.5)
    first, second = record["checks"][:2]
    assert (first["device"], first["passed"], first["rounds_wrong"]) == ("cuda:0", True, 0)
    assert (second["device"], second["words_wrong"], second["rounds_wrong"]) == ("cuda:1", 3, 1)
    assert second["first"] == {
        "word": 17,
        "byte": 68,
        "bits": [0],
        "got": 0x40000001,
        "wanted": 0x40000000,
    }


def test_this_machine_is_scanned(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(scanning, "HOST", Size(16, 32, 2))
    monkeypatch.setattr(scanning, "BLOCK", 64)
    here = jax.devices()[:2]
    monkeypatch.setattr(jax, "local_devices", lambda **_: here)
    assert main(["doctor", "--scan", "--seconds", "0"]) == 0
    text = capsys.readouterr().out
    assert "cpu:0" in text
    assert "cpu:1" in text
    assert "no device gave a wrong bit" in text


def test_what_stops_a_scan_is_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    assert main(["doctor", "--scan", "--memory", "1e-12"]) == 1
    assert "scan: 1e-12 of the free memory of cpu:0 is 0 MiB, and a scan" in capsys.readouterr().out

    def full(*_, **__) -> None:
        raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")

    monkeypatch.setattr(scanning, "scan", full)
    assert main(["doctor", "--scan"]) == 1
    assert "scan: there is not enough memory" in capsys.readouterr().out
    with pytest.raises(RuntimeError, match="RESOURCE_EXHAUSTED"):
        main(["doctor", "--scan", "--debug"])


def test_a_flag_of_a_scan_is_refused_without_one(capsys) -> None:
    for flags in (["--seconds", "3"], ["--memory", "0.1"], ["--seed", "0"], ["--json"]):
        assert main(["doctor", *flags]) == 1
        message = f"castor: {flags[0]} belongs to a scan; add --scan\n"
        assert capsys.readouterr().err == message
