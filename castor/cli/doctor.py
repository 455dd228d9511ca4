"""`castor doctor`: train the smallest model, stop, resume, answer; say what is wrong here."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from castor.cli.flags import Verbs, add_verb, count, positive_or_zero, share

if TYPE_CHECKING:
    from castor.train.recipe import Recipe

STEPS = 20
LEAST_DISK = 200_000_000
LIBRARIES = (
    *("jax", "optax", "orbax.checkpoint", "grain", "sentencepiece", "safetensors"),
    *("PIL", "soundfile", "soxr", "matplotlib", "fsspec"),
)
MORE = """\
Trains TINY for 20 steps, saves, resumes, answers; says in a sentence what is wrong. With --scan it
gives every device work whose answer is known instead, to find those that compute, hold or copy
wrong bits, and ends with 1 if one does."""
SCANS = {"seconds": 10.0, "memory": 0.2, "seed": 0, "json": False}  # flags of a scan alone
Check = Callable[[], str]


def add(verbs: Verbs) -> None:
    """The verb and its flags."""
    verb = add_verb(
        verbs,
        "doctor",
        run,
        what="check this installation from end to end, in about a minute",
        more=MORE,
    )
    verb.add_argument("--scan", action="store_true", help="find devices that give wrong bits")
    add = verb.add_argument_group("of a scan").add_argument
    add("--seconds", metavar="N", type=positive_or_zero, help="about so long (default: 10)")
    add("--memory", metavar="SHARE", type=share, help="of the free memory, at most (default: 0.2)")
    add("--seed", metavar="N", type=count, help="of the numbers that are used (default: 0)")
    add("--json", action="store_true", default=None, help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Every check in turn; one that fails ends the examination with 1.

    Raises:
        ValueError: a flag of a scan is given without one.
    """
    given = {flag: getattr(arguments, flag) for flag in SCANS}
    if arguments.scan:
        chosen = {flag: SCANS[flag] if x is None else x for flag, x in given.items()}
        return scan_here(**chosen, debug=arguments.debug)
    if extra := [flag for flag, value in given.items() if value is not None]:
        raise ValueError(f"--{extra[0]} belongs to a scan; add --scan")
    return examine(arguments)


def scan_here(*, debug: bool, **how: Any) -> int:
    """A scan of this machine's devices; 1 if one is wrong or cannot be scanned."""
    from castor.cli.scan import run_scan

    try:
        return run_scan(**how)
    except Exception as error:
        if debug:
            raise
        print(diagnosis("scan", error))
        return 1


def examine(arguments: argparse.Namespace) -> int:
    """The installation, from end to end."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="castor-doctor-") as folder:
        for name, check in checks(Path(folder)).items():
            print(f"{name:<22}", end="", flush=True)
            try:
                print(check())
            except Exception as error:
                print("failed")
                if arguments.debug:
                    raise
                print(f"\n{diagnosis(name, error)}")
                return 1
    print("\neverything works")
    return 0


def checks(folder: Path) -> dict[str, Check]:
    """What is examined, in order, by name; each gives what it found."""
    return {
        "machine": machine,
        "libraries": libraries,
        "media": media,
        "training": lambda: training(folder / "run"),
        "stopping and resuming": lambda: resuming(folder),
        "answering": lambda: answering(folder / "run"),
    }


def machine() -> str:
    """Processor, devices and room on the disk."""
    import shutil
    import tempfile

    from castor.cli.machine import about
    from castor.cli.screen import in_bytes

    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free < LEAST_DISK:
        raise ValueError(f"the disk has {in_bytes(free)} left; a run needs {in_bytes(LEAST_DISK)}")
    found = about()
    return f"{found['processor']}, {found['cores']} cores, {found['devices']}, jax {found['jax']}"


def libraries() -> str:
    """What the lock installs can be imported."""
    from importlib import import_module

    for name in LIBRARIES:
        import_module(name)
    try:
        import_module("av")
    except ImportError:
        return "all there, but MP4, MKV and WebM cannot be read (extra `video`)"
    return "all there"


def media() -> str:
    """Pictures and sounds survive being written and read."""
    import numpy as np

    from castor.core.media import open_image, open_sound, png, wav

    pixels = np.arange(8 * 6 * 3, dtype=np.uint8).reshape(8, 6, 3)
    if not np.array_equal(open_image(png(pixels), "image/png"), pixels):
        raise ValueError("a PNG comes back with other pixels; reinstall Pillow")
    samples = np.sin(np.arange(1600, dtype=np.float32) / 9)
    if np.abs(open_sound(wav(samples), "audio/wav") - samples).max() > 1e-3:
        raise ValueError("a WAV comes back with other samples; reinstall soundfile")
    return "written and read back"


def training(run: Path) -> str:
    """The smallest model takes its steps, and its loss falls."""
    import json

    from castor.train.loop import METRICS
    from castor.train.run import train

    train(smallest(), data=run, out=run)
    lines = [json.loads(line) for line in (run / METRICS).read_text().splitlines()]
    steps = [line for line in lines if "loss" in line]
    first, last = steps[0]["loss"], steps[-1]["loss"]
    if not last < first:
        raise ValueError(f"the loss went from {first:.2f} to {last:.2f}: the arithmetic is wrong")
    return f"loss {first:.2f} to {last:.2f}, {steps[-1]['tokens_per_s']:,.0f} tokens/s"


def resuming(folder: Path) -> str:
    """A run that loses its last checkpoint makes the same one again, bit for bit."""
    import shutil

    from castor.checkpoint import WEIGHTS, checkpoints
    from castor.train.run import train

    shutil.copytree(folder / "run", folder / "again")
    *_, last = checkpoints(folder / "again")
    shutil.rmtree(last)
    made = train(smallest(), data=folder, out=folder / "again")
    if (made / WEIGHTS).read_bytes() != (folder / "run" / last.name / WEIGHTS).read_bytes():
        raise ValueError("a resumed run ends with other weights than one that was not stopped")
    return "the same weights, bit for bit"


def answering(run: Path) -> str:
    """The model says something, and the same thing twice."""
    from castor.cli.answering import load_engine
    from castor.core.content import Document
    from castor.sample.choose import Sampling

    _, engine = load_engine(run)
    question = Document.of("What is 2 plus 3?")
    first, second = engine.reply([question, question], Sampling(max_tokens=8))
    if first.ids != second.ids:
        raise ValueError("the same question has two answers: rows of a batch disturb each other")
    return f"{len(first.ids)} tokens, the same ones twice"


def smallest() -> "Recipe":
    """TINY on questions about drawings, tones and sums, for a few steps."""
    from castor.data.mixture import Mixture, Part
    from castor.data.playground import Playground
    from castor.models.sizes import TINY
    from castor.train.recipe import LearnVocab, Recipe

    tasks = (Playground("shapes"), Playground("sounds"), Playground("sums"))
    return Recipe(
        name="doctor",
        model=TINY,
        vocab=LearnVocab(size=512, characters=40_000),
        mixture=Mixture(tuple(Part(task, 1.0) for task in tasks)),
        steps=STEPS,
        rows=4,
        length=128,
        capacity={"image": 64, "audio": 64},
        log_every=STEPS // 4,
        save_every=STEPS // 2,
        eval_every=0,
        workers=0,
    )


def diagnosis(name: str, error: Exception) -> str:
    """What is wrong, in a sentence, and what to do about it."""
    from castor.cli import sentence

    what = sentence(error)
    if isinstance(error, ImportError):
        return f"{name}: {what}; install what is locked with `make run`"
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in what:
        return f"{name}: there is not enough memory ({what[:120]}); close other programs"
    if isinstance(error, ValueError | OSError):
        return f"{name}: {what}"
    kind = type(error).__name__
    return f"{name}: {kind}: {what[:200]}; `castor doctor --debug` shows where"
