"""`castor train`, `eval`, `data show` and `doctor` around the functions that do the work."""

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

import castor.train.run
from castor.cli import doctor, main
from castor.cli.live import Live
from castor.cli.machine import MACHINE
from castor.cli.recipes import chosen
from castor.core.recipe import to_json
from castor.evals import suite
from castor.recipes import RECIPES
from castor.train.job import Progress
from castor.train.recipe import CodecRecipe, Recipe


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch, untrained: Path) -> list[Recipe | CodecRecipe]:
    """Training that is over at once, and the recipes that it was asked for."""
    asked: list[Recipe | CodecRecipe] = []

    def train(
        recipe: Recipe | CodecRecipe, *, data: Path, out: Path, report, **where: None
    ) -> Path:
        del out
        report(Progress("model", 1, 1, {"loss": 0.5}, 0.0))
        asked.append(recipe)
        return untrained / "step_000003"

    monkeypatch.setattr(castor.train.run, "train", train)
    return asked


def test_train_changes_the_recipe_and_names_what_it_wrote(
    trained: list[Recipe | CodecRecipe], tmp_path: Path, capsys
) -> None:
    argv = ["train", "demo", "--out", str(tmp_path), "--set", "steps=9", "--set", "seed=4"]
    assert main(argv) == 0
    assert trained == [replace(RECIPES["demo"], steps=9, seed=4)]
    shown = capsys.readouterr().out
    assert "step_000003; its curves are " in shown
    assert f"castor chat --model {tmp_path}" in shown


def test_the_address_of_a_bucket_is_no_folder(
    trained: list[Recipe | CodecRecipe], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "demo", "--out", "gs://models/demo"]) == 1
    assert "--out gs://models/demo is the address of a bucket" in capsys.readouterr().err
    assert not trained and not Path("gs:").exists()


def test_a_run_is_copied_to_its_bucket_in_the_end(
    trained: list[Recipe | CodecRecipe], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["train", "tiny_codec", "--limit", "0", "--out", str(tmp_path / "run"), "--copy"]
    assert main([*argv, f"file://{tmp_path}/bucket"]) == 0
    assert (tmp_path / "bucket" / "recipe.json").exists() and len(trained) == 1
    capsys.readouterr()
    (tmp_path / "file").write_text("")
    for address, told in (
        ("nowhere://bucket", "nowhere://bucket cannot be opened: Protocol not known: nowhere"),
        (f"file://{tmp_path}/file/bucket", "file/bucket cannot be written to and read"),
    ):
        assert main([*argv, address]) == 1
        assert told in capsys.readouterr().err.replace("\n", " ")
    assert len(trained) == 1


def test_a_run_notes_the_machine_that_took_its_steps_and_no_other(
    trained: list[Recipe | CodecRecipe], untrained: Path, tmp_path: Path
) -> None:
    argv = ["train", "demo", "--out", str(tmp_path)]
    assert main(argv) == 0
    assert not (tmp_path / MACHINE).exists()

    def train(
        recipe: Recipe | CodecRecipe, *, data: Path, out: Path, report, **where: None
    ) -> Path:
        shutil.copytree(untrained / "step_000003", out / "step_000003")
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(castor.train.run, "train", train)
        assert main(argv) == 130
    assert json.loads((tmp_path / MACHINE).read_text())["jax"]
    (tmp_path / MACHINE).write_text("that of the first")
    assert main(argv) == 0
    assert (tmp_path / MACHINE).read_text() == "that of the first"
    assert not (tmp_path / "codec").exists()


def test_a_codec_is_measured_and_not_talked_to(trained: list[Recipe | CodecRecipe], capsys) -> None:
    assert main(["train", "tiny_codec", "--limit", "3"]) == 0
    assert isinstance(trained[0], CodecRecipe)
    shown = capsys.readouterr().out
    assert "chat" not in shown and "PSNR in dB" in shown and " of 1000" in shown


def test_a_run_that_needs_no_data_is_measured_and_draws(
    trained: list[Recipe | CodecRecipe],
    tmp_path: Path,
    capsys,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("castor.cli.train.MEASURED", {"sums": "sums"})
    assert main(["train", "tiny", "--out", str(tmp_path), "--limit", "2"]) == 0
    shown = capsys.readouterr().out
    assert "playground: arithmetic" in shown
    assert f"{tmp_path / 'drawn.png'}" in shown
    assert (tmp_path / "drawn.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_that_was_stopped_by_control_c_exits_with_130(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def train(recipe: object, **options: object) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(castor.train.run, "train", train)
    assert main(["train", "tiny", "--out", str(tmp_path)]) == 130


def test_recipes_come_by_name_file_or_run(tmp_path: Path) -> None:
    for name in ("tiny", "codec"):
        recipe = RECIPES[name]
        file = tmp_path / "recipe.json"
        file.write_text(json.dumps(to_json(recipe)))
        assert chosen(name) == chosen(str(file)) == chosen(str(tmp_path)) == recipe


def test_each_stage_has_a_bar_and_the_ones_before_it_are_done() -> None:
    screen = io.StringIO()
    with Live(Console(file=screen, force_terminal=True, width=120)) as live:
        live.show(Progress("vocabulary", 0, 0))
        live.show(Progress("model", 3, 10, {"loss": 1.25}, 90.0))
    text = screen.getvalue()
    for piece in ("vocabulary", "1/1", "3/10", "loss 1.25", "90 s left"):
        assert piece in text


def test_eval_prints_a_table(untrained: Path, capsys) -> None:
    assert main(["eval", "sums", "--model", str(untrained), "--limit", "2"]) == 0
    assert "playground: arithmetic" in capsys.readouterr().out


def test_eval_prints_json_with_the_machine_and_the_seed(untrained: Path, capsys) -> None:
    argv = ["eval", "sums", "--model", str(untrained), "--limit", "2", "--seed", "5", "--json"]
    assert main(argv) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["seed"], found["step"]) == ("5", "3")
    assert {"processor", "cores", "devices", "jax"} <= found.keys()
    assert found["castor"] == castor.__version__
    assert found["outcomes"][0]["n"] == 2


def test_eval_keeps_transcripts(untrained: Path, tmp_path: Path) -> None:
    where = ["--transcripts", str(tmp_path)]
    assert main(["eval", "sums", "--model", str(untrained), "--limit", "2", *where]) == 0
    assert len((tmp_path / "sums" / "transcript.jsonl").read_text().splitlines()) == 2


def test_eval_lists_every_benchmark(capsys) -> None:
    assert main(["eval", "--list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in suite.SUITE)


def test_eval_without_names_leaves_out_what_has_no_data(
    untrained: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {name: suite.SUITE[name] for name in ("fsdd", "sums")}
    monkeypatch.setattr(suite, "SUITE", few)
    argv = ["eval", "--model", str(untrained), "--data", str(tmp_path), "--limit", "1"]
    assert main(argv) == 0
    shown = capsys.readouterr()
    assert "castor: left out fsdd: " in shown.err
    assert "sums" in shown.out


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["nothing"], "there is no benchmark 'nothing'; there is fsdd, "),
        (["fsdd"], "index.jsonl"),
    ],
)
def test_eval_refuses_what_it_cannot_measure(
    names: list[str], message: str, untrained: Path, tmp_path: Path, capsys
) -> None:
    assert main(["eval", *names, "--model", str(untrained), "--data", str(tmp_path)]) == 1
    assert message in capsys.readouterr().err


def test_data_show_writes_a_page(tmp_path: Path, capsys) -> None:
    page = tmp_path / "page.html"
    few = [
        "--set",
        "mixture.parts=" + json.dumps(to_json(RECIPES["tiny"])["mixture"]["parts"][-1:]),
    ]
    assert main(["data", "show", "tiny", *few, "--out", str(page), "--count", "1"]) == 0
    assert capsys.readouterr().out == f"wrote {page}: 1 sources\n"
    assert "playground/sums" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("codec", "codes"),
    [(["codec.model.patch=16"], 16), (['codec={"kind":"StoredCodec","path":"RUN"}'], 64)],
)
def test_data_show_leaves_blank_as_many_codes_as_the_codec_makes(
    codec: list[str], codes: int, untrained: Path, tmp_path: Path
) -> None:
    drawn = '[{"source":{"kind":"Playground","task":"draw","scenes":8},"share":1}]'
    changes = [f"mixture.parts={drawn}", "vocab.size=560", *codec]
    given = [flag for c in changes for flag in ("--set", c.replace("RUN", str(untrained)))]
    page = tmp_path / "page.html"
    assert main(["data", "show", "tiny", *given, "--out", str(page), "--count", "1"]) == 0
    assert f"‹code› × {codes}<" in page.read_text(encoding="utf-8")


def test_data_show_of_a_codec_is_refused(capsys) -> None:
    assert main(["data", "show", "codec"]) == 1
    assert "demo/codec learns from pictures alone" in capsys.readouterr().err


def failing(error: Exception):
    def check() -> str:
        raise error

    return check


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ImportError("No module named 'optax'"), "install what is locked with `make run`"),
        (MemoryError(), "there is not enough memory"),
        (ValueError("the disk has 3 MB left"), "check: the disk has 3 MB left\n"),
        (KeyError("bug"), "check: KeyError: 'bug'; `castor doctor --debug` shows where"),
    ],
)
def test_the_doctor_says_in_a_sentence_what_is_wrong(
    error: Exception, message: str, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "checks", lambda folder: {"check": failing(error)})
    assert main(["doctor"]) == 1
    assert message in capsys.readouterr().out


def test_the_doctor_finds_machine_libraries_and_media_in_order() -> None:
    assert "jax" in doctor.machine()
    assert doctor.libraries().startswith("all there")
    assert doctor.media() == "written and read back"


@pytest.mark.slow
def test_the_doctor_finds_nothing_wrong_here(capsys) -> None:
    assert main(["doctor"]) == 0
    assert "everything works" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.long
def test_tiny_goes_from_nothing_to_a_table_and_a_picture(tmp_path: Path, capsys) -> None:
    changes = (
        *("steps=4", "codec.steps=4", "save_every=2", "eval_every=0"),
        *("codec.mixture.parts.0.source.scenes=40", "mixture.parts.1.source.scenes=40"),
    )
    flags = [word for change in changes for word in ("--set", change)]
    argv = ["train", "tiny", "--out", str(tmp_path), "--limit", "2", *flags]
    assert main(argv) == 0
    first = capsys.readouterr().out
    assert "attributes of drawn scenes" in first
    assert (tmp_path / "curves.png").exists()
    assert main(argv) == 0  # done already: nothing is trained again
    assert capsys.readouterr().out == first
